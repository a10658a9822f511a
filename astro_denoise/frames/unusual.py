# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Warn of images of counts that are unlike those that a model knows.
"""

import warnings

import numpy as np

from ..exceptions import UnusualImageWarning

__all__ = ['LEAST_P', 'warn_of_unusual']

#: Predictive p-values below which an image is flagged.
LEAST_P = 1e-4


def warn_of_unusual(scores, threshold, p_values=None, *, name, model,
                    index=None, cure='', stacklevel=3):
    """
    Warn of images that a model does not know.

    Parameters
    ----------
    scores : 1D `~numpy.ndarray`
        How unlike the training set each image is.

    threshold : float
        Score above which an image is unlike it. NaN is below none.

    p_values : 1D `~numpy.ndarray`, optional
        Of predictive checks.

    name, model : str
        Names of the parameter and of the model, for the message.

    index : 1D `~numpy.ndarray`, optional
        Numbers of the images; by default they are counted from 0.

    cure : str, optional
        End of the message.

    stacklevel : int, optional
        Of the warning.

    Warns
    -----
    UnusualImageWarning
        If there are such images.
    """
    scores = np.asarray(scores)
    far = ~(scores <= threshold)
    low = np.zeros_like(far)
    if p_values is not None:
        low = np.asarray(p_values) < LEAST_P
    if not (far | low).any():
        return
    reasons = []
    index = np.arange(len(scores)) if index is None else index
    if far.any():
        # NaN counts as larger than any number.
        worst = int(np.argmax(np.nan_to_num(scores, nan=np.inf)))
        reasons.append(f'the largest score is {scores[worst]:.3g} (image '
                       f'{index[worst]}), above {threshold:.3g}')
    if low.any():
        reasons.append(f'the simulator cannot reproduce {low.sum()} of them '
                       f'(image {index[np.flatnonzero(low)[0]]} first)')
    msg = (f'{name}: {(far | low).sum()} of {len(scores)} images are unlike '
           f'those that the model {model!r} was trained on, and its results '
           f'may be far off: {"; ".join(reasons)}{cure}')
    warnings.warn(msg, UnusualImageWarning, stacklevel=stacklevel)
