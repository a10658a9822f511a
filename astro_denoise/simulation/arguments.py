# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Check the arguments of simulators.
"""

import numpy as np

__all__ = ['check_not_negative', 'check_positive', 'interval']


def check_positive(options, *names):
    """
    Raise ValueError unless attributes of an object are positive.
    """
    for name in names:
        if not getattr(options, name) > 0:
            msg = f'{name} must be positive, got {getattr(options, name)!r}'
            raise ValueError(msg)


def check_not_negative(options, *names):
    """
    Raise ValueError if an attribute of an object is negative or NaN.
    """
    for name in names:
        if not getattr(options, name) >= 0:
            msg = (f'{name} must not be negative, got '
                   f'{getattr(options, name)!r}')
            raise ValueError(msg)


def interval(name, value, low=0.0):
    """
    Make a pair of a fixed value or a range.

    Parameters
    ----------
    name : str
        Name of the parameter, for messages.

    value : float or tuple of float
        A number or an increasing pair of numbers.

    low : float, optional
        The least that it may be.

    Returns
    -------
    interval : tuple of float
        The least and the largest value.

    Raises
    ------
    ValueError
        If the value is neither, not finite, or below ``low``.

    Examples
    --------
    >>> from astro_denoise.simulation.arguments import interval
    >>> interval('sky_rate', 2)
    (2.0, 2.0)
    """
    pair = np.broadcast_to(np.asarray(value, dtype=float), (2,))
    if not np.all(np.isfinite(pair)) or pair[1] < pair[0]:
        msg = (f'{name} must be a number or an increasing pair of numbers, '
               f'got {value!r}')
        raise ValueError(msg)
    if pair[0] < low:
        msg = f'{name} must be at least {low:g}, got {value!r}'
        raise ValueError(msg)
    return float(pair[0]), float(pair[1])
