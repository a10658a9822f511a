# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Gain and read noise, from whatever the user gave.
"""

import logging
import math

import astropy.units as u
import numpy as np

from ..frames.units import parse_quantity

__all__ = ['check_positive', 'resolve_gain']

logger = logging.getLogger(__name__)

_LARGEST_NOISE = 1e12  # of a detector, in electrons


def check_positive(name, value):
    """
    Raise ValueError unless a number is positive and finite.
    """
    if not (math.isfinite(value) and value > 0):
        msg = f'{name} must be positive and finite, got {value!r}'
        raise ValueError(msg)
    return float(value)


def resolve_gain(gain, header, unit, name='gain',
                 default_unit=u.electron / u.adu):
    """
    Gain (or read noise) as a number, from whatever the user gave.

    Parameters
    ----------
    gain : float, `~astropy.units.Quantity`, str, or `None`
        The value, or the name of a keyword of ``header``.

    header : mapping
        Where a keyword is looked up.

    unit : `~astropy.units.Unit` or `None`
        Unit of the frame.  A frame in electrons has gain 1.

    name : str, optional
        Name of the parameter, for messages.

    default_unit : `~astropy.units.Unit`, optional
        Unit of a plain number: electron / adu for a gain, electron for a
        read noise.

    Returns
    -------
    value : float or `None`
        A gain in electrons per unit of the frame, a read noise in
        electrons, `None` where nothing was given.

    Raises
    ------
    ValueError
        If the value is not positive and finite, its unit does not fit the
        frame, or the keyword is missing or not a number.

    TypeError
        If ``gain`` is none of the types above.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astro_denoise.noise import resolve_gain
    >>> resolve_gain('GAIN', {'GAIN': 1.5}, u.adu)
    1.5
    >>> resolve_gain(1.5 * u.electron / u.adu, {}, u.electron)
    1.0
    """
    is_gain = u.Unit(default_unit).is_equivalent(u.electron / u.adu)
    if is_gain and unit == u.electron:
        if gain is not None:
            logger.info('%s=%s is not used: the frame is in electrons',
                        name, gain)
        return 1.0
    if gain is None:
        return None

    label = name
    if isinstance(gain, str):
        if gain not in header:
            msg = (f'{name}={gain!r} is not a keyword of the header: give '
                   f'another keyword, or a number')
            raise ValueError(msg)
        label = f'{name} (header keyword {gain!r})'
        gain = _number_in_header(header[gain], label)
    if isinstance(gain, bool | np.bool_) or np.ndim(gain) > 0 or not (
            np.isscalar(gain) or isinstance(gain, np.ndarray)):
        msg = (f'{label} must be a number, a scalar Quantity or the name of '
               f'a header keyword, got {gain!r}')
        raise TypeError(msg)

    if isinstance(gain, u.Quantity):
        wanted = default_unit
        if is_gain and unit not in (None, u.dimensionless_unscaled):
            wanted = u.electron / unit
        try:
            gain = gain.to_value(wanted)
        except u.UnitConversionError as exc:
            msg = f'{label}={gain} cannot be converted to {wanted}'
            raise ValueError(msg) from exc
    elif is_gain and unit not in (None, u.adu, u.dimensionless_unscaled,
                                  u.count):
        msg = (f'{label}={gain!r} is taken as electron / adu and does not '
               f'apply to a frame in {unit}; give a Quantity in '
               f'electron / ({unit})')
        raise ValueError(msg)
    value = check_positive(label, _as_float(gain, label))
    if not is_gain and u.Unit(default_unit) == u.electron and not (
            1 / _LARGEST_NOISE < value < _LARGEST_NOISE):
        msg = (f'{label} must be that of a detector, in electron, got '
               f'{value:g}')
        raise ValueError(msg)
    return value


def _as_float(value, label):
    """A real number, however large, as a float."""
    try:
        return float(value)
    except TypeError as error:  # a complex one
        msg = f'{label} must be a real number, got {value!r}'
        raise TypeError(msg) from error
    except OverflowError as error:
        msg = (f'{label} must be finite, got a number of {len(str(value))} '
               f'digits')
        raise ValueError(msg) from error


def _number_in_header(value, label):
    """The value of a card, which may be text: a number, and its unit."""
    if not isinstance(value, str):
        return value
    try:
        return parse_quantity(value)
    except ValueError as error:
        msg = (f'{label} must be a number, got {value!r} ({error}): give the '
               f'number instead of the keyword')
        raise ValueError(msg) from error
