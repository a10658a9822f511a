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
# Largest nside whose pixels are found cell by cell. Those of larger ones are
# much smaller than pixels of the grid: they are found as parts of coarser
# ones, and their counts are put at some places in each, so many per axis and
# coarser pixel.
_LARGEST_FINE = 1024
_COARSE = 128
_PLACES = 32
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
        given, or the Galactic plane is where it should be only in another
        ordering or frame, which tells that ``nested`` or ``frame`` is
        wrong.

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
    _check_reading(counts, healpix)
    image = _on_grid(counts, healpix, seed)
    if not np.isfinite(image).all():
        msg = (f'counts must cover the whole field around the Galactic '
               f'Center, got {np.isfinite(image).mean():.0%} of it')
        raise ValueError(msg)
    if not image.any():
        msg = 'counts must not be 0 in the whole field of the model'
        raise ValueError(msg)
    return CCDData(image, unit=u.count, wcs=grid_wcs())


def _on_grid(counts, healpix, seed):
    """
    Return the grid with the counts; NaN where they are not known.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    if healpix.nside > _LARGEST_FINE:
        return _scattered(counts, healpix, rng)
    resolution = healpix.pixel_resolution.to_value(u.deg)
    number = _pixel_numbers(healpix, max(_FINE, math.ceil(
        _PER_PIXEL * 2 * FIELD / SHAPE[0] / resolution)))
    if rng is None:
        return _spread(counts, healpix, number)
    image = _placed(counts, healpix, np.unique(number), rng)
    image[np.isnan(counts)[number].any((1, 3))] = np.nan
    return image


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


def _placed(counts, healpix, pixels, rng):
    """
    Return the grid with each count at a random place within its pixel.
    """
    pixels = np.repeat(pixels, np.nan_to_num(counts[pixels]).astype(int))
    image = np.zeros(SHAPE)
    for start in range(0, len(pixels), _CHUNK):
        chunk = pixels[start:start + _CHUNK]
        # These offsets are uniform in area.
        _add(image, healpix, chunk, *rng.random((2, len(chunk))), 1.0)
    return image


def _scattered(counts, healpix, rng):
    """
    Return the grid with the counts of pixels much smaller than its own.
    """
    pixels = _fine_pixels(healpix)
    values = counts[pixels]
    unseen = np.zeros(SHAPE)
    bad = pixels[np.isnan(values)]
    for start in range(0, len(bad), _CHUNK):
        _add(unseen, healpix, bad[start:start + _CHUNK], 0.5, 0.5, 1.0)
    some = values > 0
    pixels, values = pixels[some], values[some]
    if rng is not None:
        image = _placed(counts, healpix, pixels, rng)
    else:
        image = np.zeros(SHAPE)
        n_places = max(1, _PLACES * _COARSE // healpix.nside)
        places = (np.arange(n_places) + 0.5) / n_places
        for start in range(0, len(pixels), _CHUNK):
            part = slice(start, start + _CHUNK)
            for dx in places:
                for dy in places:
                    _add(image, healpix, pixels[part], dx, dy,
                         values[part] / n_places**2)
    image[unseen > 0] = np.nan
    return image


def _fine_pixels(healpix):
    """
    Return the pixels of the field, and some around it, of a fine map.
    """
    with needs_extra('galactic', 'to read a HEALPix map'):
        from astropy_healpix import HEALPix

    coarse = HEALPix(_COARSE, order='nested', frame=healpix.frame)
    inside = np.unique(_pixel_numbers(coarse, _FINE))
    with np.errstate(invalid='ignore'):  # some pixels have but seven
        around = np.unique(coarse.neighbours(inside))
    inside = np.union1d(inside, around[around >= 0])
    n_parts = (healpix.nside // _COARSE)**2
    pixels = (inside[:, None] * n_parts + np.arange(n_parts)).ravel()
    return (pixels if healpix.order == 'nested'
            else healpix.nested_to_ring(pixels))


def _add(image, healpix, pixels, dx, dy, weights):
    """
    Add weights to the pixels of the grid that places in pixels lie in.
    """
    sky = healpix.healpix_to_skycoord(pixels, dx, dy)
    row, column = grid_wcs().world_to_array_index(sky)
    inside = ((row >= 0) & (row < SHAPE[0])
              & (column >= 0) & (column < SHAPE[1]))
    weights = np.broadcast_to(weights, row.shape)
    image += np.bincount(row[inside] * SHAPE[1] + column[inside],
                         weights[inside], image.size).reshape(SHAPE)


def _check_reading(counts, healpix):
    """
    Refuse a map whose Galactic plane is right in another reading only.

    That is in the other ordering, or in another frame.
    """
    with needs_extra('galactic', 'to read a HEALPix map'):
        from astropy_healpix import HEALPix

    line = np.arange(-FIELD + 0.1, FIELD, 0.2)
    longitude, latitude = np.meshgrid(line, line[np.abs(line) < _PLANE])
    sky = SkyCoord(longitude, latitude, unit='deg', frame='galactic')

    def level(order, frame):
        pixel = np.unique(HEALPix(healpix.nside, order, frame)
                          .skycoord_to_healpix(sky))
        values = counts[pixel]
        return values[np.isfinite(values)].sum() / len(pixel), len(pixel)

    found, n_pixels = level(healpix.order, healpix.frame)
    given = SkyCoord(0.0, 0.0, unit='deg', frame=healpix.frame).frame.name
    others = {(order, frame): level(order, frame)[0]
              for order in ('nested', 'ring')
              for frame in dict.fromkeys((given, 'galactic', 'icrs'))
              if (order, frame) != (healpix.order, given)}
    best = max(others, key=others.get)
    error = ((found + others[best]) / n_pixels)**0.5
    if others[best] > _BRIGHTER * found + 5.0 * error:
        order, frame = best
        wrong = []
        if order != healpix.order:
            wrong.append(f'nested={healpix.order == "nested"}')
        if frame != given:
            wrong.append(f'frame={given!r}')
        msg = (f'counts have no Galactic plane where it should be, but have '
               f'it in the {order} ordering of HEALPix and the frame '
               f'{frame!r}: {" and ".join(wrong)} must be wrong')
        raise ValueError(msg)
