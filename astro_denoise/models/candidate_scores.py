# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Probabilities of candidates for sources: that there is one, by kind of field,
and that it is a star.
"""

import math

import torch
from torch import nn

__all__ = ['PURITIES', 'CandidateScores', 'corners', 'odds']

#: Purities for which thresholds are known.
PURITIES = (0.5, 0.8, 0.9, 0.95, 0.99)

# The kinds of fields: sources per FWHM squared, and light around in noise.
_CROWDING = tuple(math.log(10.0) * x for x in (-3.5, -2.5, -1.5, -0.75, 0.0))
_LIT = (0.1, 0.7)

# Logits of the expected number of sources between which the map is linear.
_POINTS = (-5.0, 7.0, 13)

_N_FEATURES = 13


def odds(expected):
    """
    Compute the logit of an expected number of sources, bounded.

    Parameters
    ----------
    expected : `torch.Tensor`
        Sums of intensities.

    Returns
    -------
    logit : `torch.Tensor`
        Same shape.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.candidate_scores import odds
    >>> print(odds(torch.tensor([0.5, 3.0])).round(decimals=1))
    tensor([0.0000, 6.9000])
    """
    return torch.logit(expected.clamp(1e-4, 0.999))


def corners(values, line):
    """
    Find the points of a line that values lie between, and their shares.

    Parameters
    ----------
    values : `torch.Tensor`
        Shape (n,).

    line : sequence of float
        The points, which increase; values beyond them count as the last.

    Returns
    -------
    low : `torch.Tensor`
        Index of the point below, shape (n,).

    share : `torch.Tensor`
        Share of the point above.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.candidate_scores import corners
    >>> low, share = corners(torch.tensor([-1.0, 0.25, 9.0]), (0.0, 1.0, 2.0))
    >>> print(low.tolist(), share.tolist())
    [0, 0, 1] [0.0, 0.25, 1.0]
    """
    line = torch.as_tensor(line, dtype=values.dtype, device=values.device)
    values = values.clamp(line[0], line[-1])
    low = (torch.searchsorted(line, values, right=True) - 1).clamp(
        0, len(line) - 2)
    return low, (values - line[low]) / (line[low + 1] - line[low])


class CandidateScores(nn.Module):
    """
    Turn what is known of candidates into probabilities.

    Attributes
    ----------
    calibration : `torch.Tensor`
        Logit of the probability for each kind of field (crowding, light
        around) and each logit of the expected number of sources.

    thresholds : `torch.Tensor`
        Logit of the probability from which on the candidates of a kind of
        field have one of the purities of `PURITIES`, without bright ones.
    """

    def __init__(self):
        super().__init__()
        kinds = len(_CROWDING), len(_LIT)
        line = torch.linspace(*_POINTS)
        self.register_buffer('calibration', line.expand(*kinds, -1).clone())
        purities = torch.logit(torch.tensor(PURITIES))
        self.register_buffer('thresholds',
                             purities.expand(*kinds, -1).clone())
        self.doubt = nn.Sequential(nn.Linear(_N_FEATURES + 1, 24), nn.SiLU(),
                                   nn.Linear(24, 1))
        nn.init.zeros_(self.doubt[2].weight)
        nn.init.zeros_(self.doubt[2].bias)
        self.star = nn.Sequential(nn.Linear(_N_FEATURES, 24),
                                  nn.SiLU(), nn.Linear(24, 24),
                                  nn.SiLU(), nn.Linear(24, 1))

    @staticmethod
    def kinds(crowding, lit):
        """
        Find the kinds of fields that candidates are between.

        Parameters
        ----------
        crowding, lit : `torch.Tensor`
            Logarithm of the sources per FWHM squared, and light around in
            units of the noise; shape (n,).

        Returns
        -------
        parts : list of tuple of `torch.Tensor`
            Four times the indices of a kind, and its share.
        """
        (row, down), (column, right) = (corners(crowding, _CROWDING),
                                        corners(lit, _LIT))
        return [(row + i, column + j,
                 (down if i else 1.0 - down) * (right if j else 1.0 - right))
                for i in (0, 1) for j in (0, 1)]

    def logit(self, expected, crowding, lit, features=None, artefact=None,
              table=None):
        """
        Compute the logit of the probability that there is a source.

        A monotone map of the expected number for each kind of field, less
        what the shape of the light tells against a source.

        Parameters
        ----------
        expected, crowding, lit : `torch.Tensor`
            Of `~astro_denoise.inference.candidates.Candidates`, shape (n,).

        features, artefact : `torch.Tensor`, optional
            Shape of the light, (n, 13), and share of artefacts, (n,);
            without them nothing is told against a source.

        table : `torch.Tensor`, optional
            Instead of ``calibration``.

        Returns
        -------
        logit : `torch.Tensor`
            Shape (n,).
        """
        table = self.calibration if table is None else table
        low, share = corners(odds(expected), torch.linspace(*_POINTS))
        logit = sum(weight * ((1.0 - share) * table[row, column, low]
                              + share * table[row, column, low + 1])
                    for row, column, weight in self.kinds(crowding, lit))
        if features is None:
            return logit
        known = torch.cat([features, 5.0 * artefact[:, None]], 1)
        return logit - self.doubt(known)[:, 0]

    def threshold(self, purity, crowding, lit):
        """
        Compute the probability above which candidates have a purity.

        Parameters
        ----------
        purity : float
            The share of true sources among all candidates above it.

        crowding, lit : `torch.Tensor`
            The kind of field, shape (n,).

        Returns
        -------
        threshold : `torch.Tensor`
            Shape (n,).
        """
        line = torch.logit(torch.tensor(PURITIES))
        wanted = torch.logit(torch.tensor([float(purity)])).expand(
            len(crowding))
        low, share = corners(wanted, line)
        return torch.sigmoid(sum(
            weight * ((1.0 - share) * self.thresholds[row, column, low]
                      + share * self.thresholds[row, column, low + 1])
            for row, column, weight in self.kinds(crowding, lit)))

    def star_logit(self, features):
        """
        Compute the logit of the probability of a star.

        Parameters
        ----------
        features : `torch.Tensor`
            Shape (n, 13), see
            `~astro_denoise.inference.candidates.star_features`.

        Returns
        -------
        logit : `torch.Tensor`
            Shape (n,).
        """
        return self.star(features)[:, 0]
