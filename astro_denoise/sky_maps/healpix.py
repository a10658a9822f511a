# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Put HEALPix maps onto the grid of the models.
"""

import math

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData

from ..exceptions import needs_extra
from .galactic_grid import FIELD, SHAPE, grid_wcs

__all__ = ['healpix_to_image']


# Cells per pixel of the grid and axis in which areas are measured, and at
# least so many per HEALPix pixel and axis.
_FINE = 8
_PER_PIXEL = 4
# Counts that are placed at once.
_CHUNK = 2**20
# Half the width of the Galactic plane in degrees, and how much brighter it
# may be in the other ordering of a HEALPix map.
_PLANE = 2.5
_BRIGHTER = 1.5
# Values from which on downwards a HEALPix pixel counts as not seen.
_UNSEEN = -1e30


def healpix_to_image(counts, *, nested=False, frame='galactic', seed=None):
    """
    Put counts in HEALPix pixels onto the grid of the models.

    The counts of each pixel are conserved.

    Parameters
    ----------
    counts : 1D `~numpy.ndarray`
        Counts of the whole sky, 12 nside**2 pixels, where ``nside`` is a
        power of 2; pixels that were not seen are NaN, or -1.6375e30 as
        is usual with HEALPix.

    nested : bool, optional
        Whether the pixels are in the nested ordering, not that of rings.

    frame : str or `~astropy.coordinates.BaseCoordinateFrame`, optional
        Coordinates of the map, ``'galactic'`` or ``'icrs'`` for
        instance.

    seed : int, optional
        Put each count at a place within its pixel that is drawn at
        random, so that the noise stays that of counts. `None` spreads
        the counts of a pixel over its area, which smooths the noise that
        the models look at: for them, give a seed.

    Returns
    -------
    image : `~astropy.nddata.CCDData`
        Shape (64, 64), in counts, with a WCS; to be given to
        `~astro_denoise.estimate_parameters` and
        `~astro_denoise.segment_point_sources`.

    Raises
    ------
    ValueError
        If the length is that of no such map, counts are negative, all
        zero or do not cover the field, are no integers where ``seed`` is
        given, or the Galactic plane is where it should be only in the
        other ordering, which tells that ``nested`` is wrong.

    TypeError
        If the counts are neither integers nor floating-point numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.sky_maps import healpix_to_image
    >>> image = healpix_to_image(np.full(12 * 32**2, 100), seed=1)
    >>> print(image.shape, image.unit)
    (64, 64) ct
    """
    counts = np.asarray(counts)
    healpix = _healpix(counts, nested, frame)
    if counts.dtype.kind not in 'iuf':
        msg = (f'counts must have an integer or floating-point type, got '
               f'{counts.dtype}')
        raise TypeError(msg)
    counts = counts.astype(float)
    counts[counts < _UNSEEN] = np.nan
    if (counts < 0).any():
        pixel = int(np.argmax(counts < 0))
        msg = (f'counts must not be negative, got {counts[pixel]:g} in pixel '
               f'{pixel}')
        raise ValueError(msg)
    if seed is not None and (counts % 1 > 0).any():
        pixel = int(np.argmax(counts % 1 > 0))
        msg = (f'counts must be integers to be placed one by one with '
               f'seed={seed!r}, got {counts[pixel]:g} in pixel {pixel}')
        raise ValueError(msg)
    _check_ordering(counts, healpix)
    resolution = healpix.pixel_resolution.to_value(u.deg)
    number = _pixel_numbers(healpix, max(_FINE, math.ceil(
        _PER_PIXEL * 2 * FIELD / SHAPE[0] / resolution)))
    image = (_spread(counts, healpix, number) if seed is None else
             _placed(counts, healpix, number, np.random.default_rng(seed)))
    if not np.isfinite(image).all():
        msg = (f'counts must cover the whole field around the Galactic '
               f'Center, got {np.isfinite(image).mean():.0%} of it')
        raise ValueError(msg)
    if not image.any():
        msg = 'counts must not be 0 in the whole field of the model'
        raise ValueError(msg)
    return CCDData(image, unit=u.count, wcs=grid_wcs())


def _healpix(counts, nested, frame):
    """
    Return the pixelization of a map, whose shape is checked.
    """
    with needs_extra('galactic', 'to read a HEALPix map'):
        from astropy_healpix import HEALPix, npix_to_nside, nside_to_level

    try:
        nside = int(npix_to_nside(counts.size))
    except ValueError:
        nside = 0
    if counts.ndim != 1 or nside == 0:
        msg = (f'counts must have the length 12 * nside**2 of a HEALPix map, '
               f'got shape {counts.shape}')
        raise ValueError(msg)
    if nside_to_level(nside) < 0:
        # astropy_healpix knows no other, not even in ring ordering.
        msg = (f'counts must have an nside that is a power of 2, got {nside}')
        raise ValueError(msg)
    return HEALPix(nside, order='nested' if nested else 'ring', frame=frame)


def _pixel_numbers(healpix, fine):
    """
    Return the pixel at the center of each cell of a finer grid.

    Parameters
    ----------
    healpix : `~astropy_healpix.HEALPix`
        The pixelization.

    fine : int
        Cells per pixel of the grid and axis.

    Returns
    -------
    number : 4D `~numpy.ndarray` of int
        Shape (ny, fine, nx, fine) for a grid with shape (ny, nx).
    """
    number = np.empty((SHAPE[0], fine, SHAPE[1], fine), np.int64)
    y, x = ((np.arange(length * fine) + 0.5) / fine - 0.5
            for length in SHAPE)
    for row, band in zip(number, y.reshape(SHAPE[0], fine), strict=True):
        sky = grid_wcs().pixel_to_world(*np.meshgrid(x, band))
        row[...] = healpix.skycoord_to_healpix(sky).reshape(row.shape)
    return number


def _spread(counts, healpix, number):
    """
    Return the grid with the counts of each pixel spread over its area.
    """
    ny, fine = number.shape[:2]
    edges = np.sin(np.radians(np.linspace(-FIELD, FIELD, ny * fine + 1)))
    area = (np.diff(edges) * np.radians(2.0 * FIELD / ny / fine)).reshape(
        ny, fine, 1, 1)
    area = np.broadcast_to(area, number.shape)
    whole = np.bincount(number.ravel(), area.ravel(), len(counts))
    # Of pixels at the border, a part is outside.
    border = np.unique(np.concatenate([
        part.ravel() for part in (number[0, 0], number[-1, -1],
                                  number[:, :, 0, 0], number[:, :, -1, -1])]))
    whole[border] = np.maximum(whole[border],
                               healpix.pixel_area.to_value(u.sr))
    return (counts[number] * area / whole[number]).sum((1, 3))


def _placed(counts, healpix, number, rng):
    """
    Return the grid with each count at a random place within its pixel.
    """
    pixels = np.unique(number)
    pixels = np.repeat(pixels, np.nan_to_num(counts[pixels]).astype(int))
    image = np.zeros(SHAPE)
    for start in range(0, len(pixels), _CHUNK):
        chunk = pixels[start:start + _CHUNK]
        # These offsets are uniform in area.
        sky = healpix.healpix_to_skycoord(chunk, *rng.random((2,
                                                              len(chunk))))
        row, column = grid_wcs().world_to_array_index(sky)
        inside = ((row >= 0) & (row < SHAPE[0])
                  & (column >= 0) & (column < SHAPE[1]))
        np.add.at(image, (row[inside], column[inside]), 1.0)
    image[np.isnan(counts)[number].any((1, 3))] = np.nan
    return image


def _check_ordering(counts, healpix):
    """
    Refuse a map whose Galactic plane is right in the other ordering only.
    """
    with needs_extra('galactic', 'to read a HEALPix map'):
        from astropy_healpix import HEALPix

    line = np.arange(-FIELD + 0.1, FIELD, 0.2)
    longitude, latitude = np.meshgrid(line, line[np.abs(line) < _PLANE])
    sky = SkyCoord(longitude, latitude, unit='deg', frame='galactic')
    level = {}
    for order in ('nested', 'ring'):
        pixel = np.unique(HEALPix(healpix.nside, order, healpix.frame)
                          .skycoord_to_healpix(sky))
        values = counts[pixel]
        level[order] = values[np.isfinite(values)].sum() / len(pixel)
    given = healpix.order
    other = 'ring' if given == 'nested' else 'nested'
    error = ((level[given] + level[other]) / len(pixel))**0.5
    if level[other] > _BRIGHTER * level[given] + 5.0 * error:
        msg = (f'counts have no Galactic plane where it should be, but have '
               f'it in the {other} ordering of HEALPix: nested='
               f'{given == "nested"} must be wrong')
        raise ValueError(msg)
