# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Objects of classes that others derived from `~astropy.nddata.NDData`.
"""

import copy
import functools
import warnings

import numpy as np
from astropy.nddata import NDData
from astropy.utils import lazyproperty
from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['copy_attributes', 'new_like']

# Values that are computed from others, and kept until these change.
_CACHES = (lazyproperty, functools.cached_property)


def _astropy_class(data):
    """The class of astropy that an object's class was derived from."""
    return next(each for each in type(data).__mro__
                if each.__module__.partition('.')[0] == 'astropy')


def copy_attributes(data, *, stacklevel=5):
    """
    Copy the attributes that a class of astropy does not know.

    Parameters
    ----------
    data : object
        What the user gave.

    stacklevel : int, optional
        Of the warning.

    Returns
    -------
    attributes : dict
        Copies, by name, without those that cannot be copied; none of what
        is no `~astropy.nddata.NDData`.

    Warns
    -----
    AstropyUserWarning
        If there is one that cannot be copied.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astro_denoise.frames.subclasses import copy_attributes
    >>> ccd = CCDData(np.ones((2, 2)), unit='adu')
    >>> ccd.night = '2019-03-02'
    >>> copy_attributes(ccd)
    {'night': '2019-03-02'}
    """
    if not isinstance(data, NDData):
        return {}
    kind = _astropy_class(data)
    known = vars(kind(np.zeros((1, 1)), unit=data.unit))
    attributes, lost = {}, []
    for name, value in vars(data).items():
        if name in known or isinstance(getattr(type(data), name, None),
                                       _CACHES):
            continue
        try:
            attributes[name] = copy.deepcopy(value)
        except Exception as error:  # noqa: BLE001 - code of the user's class
            lost.append(f'{name} ({type(error).__name__}: {error})')
    if lost:
        msg = (f'the result is without the attributes of '
               f'{type(data).__name__} that cannot be copied: '
               f'{", ".join(lost)}')
        warnings.warn(msg, AstropyUserWarning, stacklevel=stacklevel)
    return attributes


def new_like(data, values, attributes, **options):
    """
    Make an object of the class of another one.

    Parameters
    ----------
    data : `~astropy.nddata.NDData`
        The other one.

    values : `~numpy.ndarray`
        The pixels.

    attributes : dict
        From `copy_attributes`.

    **options
        As for the class of astropy.

    Returns
    -------
    result : same type as ``data``
        The new object. Where the class has another ``__init__``, which
        cannot be called, that of astropy's class fills it.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astro_denoise.frames.subclasses import new_like
    >>> ccd = CCDData(np.ones((2, 2)), unit='adu')
    >>> print(new_like(ccd, np.zeros((2, 2)), {'night': 3},
    ...                unit='adu').night)
    3
    """
    kind = type(data)
    base = _astropy_class(data)
    if kind.__init__ is base.__init__:
        result = kind(values, **options)
    else:
        # Not its own: it may want more, or change what it is given.
        result = kind.__new__(kind)
        base.__init__(result, values, **options)
    vars(result).update(attributes)
    return result
