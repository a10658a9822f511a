# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A two-dimensional frame, opened for measurements.
"""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.nddata import NDData, NDUncertainty

from ..frames.results import unpack
from ..noise.gain import resolve_gain

__all__ = []

# What to do where a frame was denoised: its own errors are too small.
ERROR_OF_RAW = ('flux_error is too small: give the noise of the raw frame '
                'as error, or take the errors of the raw fluxes')

SATURATED_BIT = 1024  # of an integer mask, as in the PAU survey


@dataclass
class Plane:
    """
    A two-dimensional frame as the measurements need it.

    Attributes
    ----------
    values, valid : 2D `~numpy.ndarray`
        Pixels (0 where invalid) and whether they are valid.

    sigma : 2D `~numpy.ndarray` or `None`
        Standard deviation of the pixels.

    original : 2D `~numpy.ndarray`
        The pixels as they were given.

    saturated : 2D bool `~numpy.ndarray` or `None`
        Pixels that an integer mask calls saturated.

    saturation : float
        Level from which on a pixel is saturated.

    gain : float or `None`
        Electrons per unit of the frame.

    unit : `~astropy.units.Unit` or `None`
        The unit of the frame.

    wcs : WCS object or `None`
        The world coordinates.

    flags : 2D `~numpy.ndarray` or `None`
        Not 0 in the footprints of a catalog that the frame was denoised
        with.
    """

    values: np.ndarray
    valid: np.ndarray
    sigma: np.ndarray | None
    original: np.ndarray
    saturated: np.ndarray | None
    saturation: float
    gain: float | None
    unit: u.Unit | None
    wcs: object
    flags: np.ndarray | None = None

    def variance(self, here):
        """
        Variance of the pixels of a slice, 1 where they are not valid.
        """
        sigma = self.sigma[here].astype(float)
        return np.where(self.valid[here], sigma, 1.0)**2

    def cutout(self, x_low, x_high, y_low, y_high):
        """
        Slices of the part of a box that is on the frame, and of the box.
        """
        return cutout(self.values.shape, x_low, x_high, y_low, y_high)


def cutout(shape, x_low, x_high, y_low, y_high):
    """
    Slices of the part of a box that is on a frame, and of the box.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the frame.

    x_low, x_high, y_low, y_high : int
        The box.

    Returns
    -------
    here, part : tuple of slice or `None`
        `None` if the box is not on the frame.
    """
    ny, nx = shape
    x1, x2 = max(x_low, 0), min(x_high, nx)
    y1, y2 = max(y_low, 0), min(y_high, ny)
    if x1 >= x2 or y1 >= y2:
        return None, None
    return ((slice(y1, y2), slice(x1, x2)),
            (slice(y1 - y_low, y2 - y_low),
             slice(x1 - x_low, x2 - x_low)))


def open_plane(data, *, error=None, gain=None, mask=None, wcs=None,
               saturation=None):
    """
    Take the arrays out of a frame.

    The arguments are those of
    `~astro_denoise.photometry.annulus_photometry`.

    Returns
    -------
    plane : `Plane`
        The frame.
    """
    frame = unpack(data, uncertainty=error, mask=mask)
    if error is not None and frame.unit not in (
            None, u.dimensionless_unscaled) and not isinstance(
                error, u.Quantity | NDUncertainty):
        msg = (f'error must have a unit, as data is in {frame.unit}: give '
               f"error * astropy.units.Unit('{frame.unit}')")
        raise ValueError(msg)
    is_nddata = isinstance(data, NDData)
    original = np.asarray(data.data if is_nddata else np.ma.getdata(
        getattr(data, 'unmasked', data)))
    if original.ndim != 2:
        msg = f'data must have 2 dimensions, got shape {original.shape}'
        raise ValueError(msg)
    if gain is not None:
        gain = resolve_gain(gain, frame.header, frame.unit)
    saturated = None
    for bits in (mask, getattr(data, 'mask', None) if is_nddata else None):
        if bits is not None and np.asarray(bits).dtype.kind in 'iu':
            found = (np.asarray(bits) & SATURATED_BIT) > 0
            saturated = found if saturated is None else saturated | found
    return Plane(values=frame.values[0], valid=frame.valid[0],
                 sigma=None if frame.sigma is None else frame.sigma[0],
                 original=original, saturated=saturated,
                 saturation=_saturation(saturation, frame),
                 gain=gain, unit=frame.unit,
                 wcs=getattr(data, 'wcs', None) if wcs is None else wcs,
                 flags=_footprints(data))


def _footprints(data):
    """Read the flags of a frame that was denoised with a catalog."""
    if not isinstance(data, NDData) or (data.meta or {}).get(
            'DNGUIDE') != 'blend':
        return None
    flags = getattr(data, 'flags', None)
    if not isinstance(flags, np.ndarray) or flags.shape != data.data.shape:
        return None
    return flags


def _saturation(saturation, frame):
    if saturation is None:
        saturation = frame.header.get('SATURATE')
        if not isinstance(saturation, (int, float)):
            return np.inf  # no such keyword, or one without a value
    elif isinstance(saturation, str):
        if saturation not in frame.header:
            msg = f'saturation {saturation!r} is not in the header'
            raise ValueError(msg)
        saturation = frame.header[saturation]
    if isinstance(saturation, u.Quantity):
        try:
            saturation = saturation.to_value(
                u.dimensionless_unscaled if frame.unit is None
                else frame.unit)
        except u.UnitConversionError as error:
            msg = (f'saturation must have the unit of data, got '
                   f'{saturation.unit} and {frame.unit}')
            raise ValueError(msg) from error
    try:
        return float(saturation)
    except (TypeError, ValueError) as error:
        msg = f'saturation must be a number, got {saturation!r}'
        raise ValueError(msg) from error


def with_unit(values, unit):
    """
    Attach a unit, if there is one.
    """
    return values if unit is None else u.Quantity(values, unit, copy=False)
