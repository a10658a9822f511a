# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Checks of what is scored.
"""

import numpy as np

__all__ = ['finite_array']


def finite_array(values, name):
    """
    Return numbers as an array, all of them there and finite.

    A score of something that is masked, not finite or not there would be
    a number without meaning, or one of other pixels than the user thinks.

    Parameters
    ----------
    values : array_like
        Numbers or booleans, of any shape.

    name : str
        Name of the parameter, for messages.

    Returns
    -------
    array : `~numpy.ndarray`
        The numbers.

    Raises
    ------
    ValueError
        If a value is masked or not finite, or there is none.
    """
    mask = getattr(values, 'mask', None)
    array = np.asarray(getattr(values, 'unmasked', values))
    if array.size == 0:
        msg = f'{name} must hold at least one value, got shape {array.shape}'
        raise ValueError(msg)
    if mask is not None and np.any(mask):
        msg = (f'{name} must not be masked, got {np.sum(mask != 0)} masked '
               f'values: leave them out')
        raise ValueError(msg)
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(index) for index in np.argwhere(bad)[0])
        msg = (f'{name} must be finite, got {array[where]} at index {where}: '
               f'leave such values out')
        raise ValueError(msg)
    return array
