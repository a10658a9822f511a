# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Means for the log of a training, and the weights of its best score.
"""

import math

__all__ = ['BestWeights', 'RunningMeans']


class RunningMeans:
    """
    Means of named numbers.

    Parameters
    ----------
    sums : dict of float, optional
        Sums to go on from.

    weight : float, optional
        Sum of the weights that they have.
    """

    def __init__(self, sums=None, weight=0):
        self.sums = dict(sums or {})
        self.weight = weight

    def add(self, numbers, weight=1):
        """
        Add a value of each number.

        Parameters
        ----------
        numbers : dict of float
            The values.

        weight : float, optional
            How much they count.
        """
        for name, value in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + weight * value
        self.weight += weight

    def row(self):
        """
        Compute the means.

        Returns
        -------
        row : dict of float
            A mean for each name.
        """
        return {name: total / self.weight
                for name, total in self.sums.items()}

    def state(self):
        """
        Give what a checkpoint keeps.

        Returns
        -------
        state : dict
            Arguments of `RunningMeans`.
        """
        return {'sums': self.sums, 'weight': self.weight}


class BestWeights:
    """
    The weights of the lowest score so far.

    Parameters
    ----------
    patience : int or `None`
        Number of scores without a lower one after which it is over.
    """

    def __init__(self, patience):
        self.patience = patience
        self._score = math.inf
        self._weights = None
        self._waited = 0

    @property
    def exhausted(self):
        """True if the lowest score lies too far back."""
        return self.patience is not None and self._waited >= self.patience

    def judge(self, score, network):
        """
        Keep the weights of a network if its score is the lowest.

        Parameters
        ----------
        score : float
            The score, the lower the better.

        network : `torch.nn.Module`
            The network.

        Returns
        -------
        improved : bool
            Whether the weights were kept.
        """
        improved = score < self._score
        if improved:
            self._score, self._waited = score, 0
            self._weights = {name: value.clone() for name, value
                             in network.state_dict().items()}
        else:
            self._waited += 1
        return improved

    def restore(self, network):
        """
        Give a network the best weights, if there was a score.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network; its weights are set.
        """
        if self._weights is not None:
            network.load_state_dict(self._weights)

    def state(self):
        """
        Give what a checkpoint keeps.

        Returns
        -------
        state : dict
            For `load`.
        """
        return {'score': self._score, 'weights': self._weights,
                'waited': self._waited}

    def load(self, state):
        """
        Go on from a checkpoint.

        Parameters
        ----------
        state : dict
            From `state`.
        """
        self._score, self._weights = state['score'], state['weights']
        self._waited = state['waited']
