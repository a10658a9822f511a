# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Check that images hold counts.
"""

import warnings

import astropy.units as u
import numpy as np

from ..exceptions import CountsWarning

__all__ = ['check_counts', 'check_counts_unit']


# Units in which a number may be that of photons. Frames without a unit are
# often given adu.
_COUNT_UNITS = (u.dimensionless_unscaled, u.count, u.photon, u.electron,
                u.adu)


def check_counts_unit(unit):
    """
    Raise ValueError if a unit is not one of counts.
    """
    if unit is not None and unit not in _COUNT_UNITS:
        msg = (f'image must hold counts, got the unit '
               f"'{unit}' (multiply rates by the exposure first)")
        raise ValueError(msg)


def check_counts(values, valid, name, *, stacklevel=3):
    """
    Raise ValueError unless images hold counts.

    Parameters
    ----------
    values, valid : 3D `~numpy.ndarray`
        Images and their valid pixels, shape (n, ny, nx).

    name : str
        Name of the parameter, for messages.

    stacklevel : int, optional
        Of the warning.

    Raises
    ------
    ValueError
        If a valid pixel is negative, or all those of an image are 0.

    Warns
    -----
    CountsWarning
        If numbers are not integers: rates, or resampled images.
    """
    negative = valid & (values < 0)
    if negative.any():
        index = tuple(int(i) for i in np.argwhere(negative)[0])
        msg = (f'{name} must hold counts, which are not negative, got '
               f'{values[index]:g} at pixel {index[-2:]} of image '
               f'{index[0]}')
        raise ValueError(msg)
    empty = ~(values * valid).any((1, 2))
    if empty.any():
        msg = (f'{name} must hold counts, got 0 in all pixels of image '
               f'{int(np.flatnonzero(empty)[0])}')
        raise ValueError(msg)
    if (valid & (values != np.rint(values))).any():
        msg = (f'{name} holds numbers that are not integers: the models are '
               f'trained on counts, and rates mean something else to them')
        warnings.warn(msg, CountsWarning, stacklevel=stacklevel)
