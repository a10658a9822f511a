# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bring HEALPix maps onto the grid of the models.
"""

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData

from ..exceptions import needs_extra
from .galactic_grid import FIELD, SHAPE, grid_wcs

__all__ = ['from_healpix', 'healpix_to_image']


# HEALPix: pixels of the fine grid per pixel of the grid and axis.
_FINE = 8
# Half the width of the Galactic plane in degrees, and how much brighter it
# may be in the other ordering of a HEALPix map.
_PLANE = 2.5
_BRIGHTER = 1.5


def from_healpix(counts, *, nested, frame, seed=None):
    """
    Bring a HEALPix map onto the grid of the models, counts conserved.

    Parameters
    ----------
    counts : 1D `~numpy.ndarray`
        Counts in each pixel.

    nested : bool
        Whether the pixels are in the nested ordering.

    frame : str or `~astropy.coordinates.BaseCoordinateFrame`
        Of the map.

    seed : int, optional
        Put each count at a place within its HEALPix pixel that is drawn
        at random. `None` spreads them over its area.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        Counts on the grid.

    Raises
    ------
    ValueError
        If the map must be in the other ordering.
    """
    with needs_extra('galactic', 'to read a HEALPix map'):
        from reproject import reproject_from_healpix

    _check_ordering(counts, nested, frame)
    shape = tuple(_FINE * length for length in SHAPE)
    wcs = grid_wcs()
    wcs.wcs.crpix = [(length + 1) / 2 for length in shape]
    wcs.wcs.cdelt = wcs.wcs.cdelt / _FINE
    # Which HEALPix pixel each cell of a fine grid is in.
    number, _ = reproject_from_healpix(
        (np.arange(len(counts), dtype=float), frame), wcs, shape_out=shape,
        nested=nested, order='nearest-neighbor')
    number = np.rint(number).astype(int)
    edges = np.sin(np.radians(np.linspace(-FIELD, FIELD, shape[0] + 1)))
    area = np.repeat(np.diff(edges)[:, np.newaxis]
                     * np.radians(2.0 * FIELD / shape[1]), shape[1], axis=1)
    whole = np.bincount(number.ravel(), area.ravel(), len(counts))
    # Of pixels at the border, a part is outside.
    border = np.unique(np.concatenate([number[0], number[-1], number[:, 0],
                                       number[:, -1]]))
    whole[border] = np.maximum(whole[border], 4.0 * np.pi / len(counts))
    share = area / whole[number]
    if seed is None:
        fine = counts[number] * share
    else:
        fine = _scattered(counts, number.ravel(), share.ravel(), seed)
        fine[np.isnan(counts[number.ravel()])] = np.nan
    return fine.reshape(SHAPE[0], _FINE, SHAPE[1], _FINE).sum((1, 3))


def _scattered(counts, number, share, seed):
    """Counts of pixels put into their cells at random, one by one."""
    order = np.argsort(number, kind='stable')
    pixels, first = np.unique(number[order], return_index=True)
    cumulated = np.cumsum(share[order])
    start = np.concatenate([[0.0], cumulated[first[1:] - 1]])
    end = np.append(first[1:], len(order))
    place = np.repeat(np.arange(len(pixels)), np.nan_to_num(
        counts[pixels]).astype(int))
    drawn = np.random.default_rng(seed).random(len(place))
    cell = np.searchsorted(cumulated, start[place] + drawn)
    # Rounding may not lead into the next pixel; a border may.
    full = cumulated[end - 1] - start > 1.0 - 1e-6
    cell = np.where(full[place], np.clip(cell, first[place],
                                         end[place] - 1), cell)
    cell = cell[cell < end[place]]
    return np.bincount(order[cell], minlength=len(number)).astype(float)


def _check_ordering(counts, nested, frame):
    """
    Refuse a map in which the Galactic plane is only where it should be if
    it is read in the other ordering.
    """
    with needs_extra('galactic', 'to read a HEALPix map'):
        from astropy_healpix import HEALPix

    line = np.arange(-FIELD + 0.1, FIELD, 0.2)
    longitude, latitude = np.meshgrid(line, line[np.abs(line) < _PLANE])
    sky = SkyCoord(longitude, latitude, unit='deg', frame='galactic')
    level = {}
    for order in ('nested', 'ring'):
        healpix = HEALPix(round((len(counts) / 12)**0.5), order=order,
                          frame=frame)
        pixel = np.unique(healpix.skycoord_to_healpix(sky))
        values = counts[pixel]
        level[order] = values[np.isfinite(values)].sum() / len(pixel)
    given, other = ('nested', 'ring') if nested else ('ring', 'nested')
    error = ((level[given] + level[other]) / len(pixel))**0.5
    if level[other] > _BRIGHTER * level[given] + 5.0 * error:
        msg = (f'counts have no Galactic plane where it should be, but have '
               f'it in the {other} ordering of HEALPix: nested={nested} must '
               f'be wrong')
        raise ValueError(msg)


# Values from which on downwards a HEALPix pixel counts as not seen.
_UNSEEN = -1e30


def healpix_to_image(counts, *, nested=False, frame='galactic', seed=None):
    """
    Bring counts in HEALPix pixels onto the grid of the models.

    Parameters
    ----------
    counts : 1D `~numpy.ndarray`
        Counts of the whole sky, 12 nside**2 pixels; pixels that were not
        seen are NaN, or -1.6375e30 as is usual with HEALPix.

    nested : bool, optional
        Whether the pixels are in the nested ordering, not that of rings.

    frame : str or `~astropy.coordinates.BaseCoordinateFrame`, optional
        Coordinates of the map, ``'galactic'`` or ``'icrs'`` for
        instance.

    seed : int, optional
        Put each count at a place within its pixel that is drawn at
        random, so that the noise stays that of counts. `None` spreads
        the counts of a pixel over its area, which smooths the noise
        that the models look at: for them, give a seed.

    Returns
    -------
    image : `~astropy.nddata.CCDData`
        Shape (64, 64), in counts, with a WCS; to be given to
        `~astro_denoise.estimate_parameters` and
        `~astro_denoise.segment_point_sources`.

    Raises
    ------
    ValueError
        If the length is that of no HEALPix map, counts are negative, all
        zero or do not cover the field, are no integers where ``seed`` is
        given, or the Galactic plane is where it should be only in the
        other ordering, which tells that ``nested`` is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.sky_maps import healpix_to_image
    >>> image = healpix_to_image(np.full(12 * 32**2, 100), seed=1)
    >>> print(image.shape, image.unit)
    (64, 64) ct
    """
    counts = np.asarray(counts)
    nside = (counts.size / 12)**0.5
    if counts.ndim != 1 or not 12 <= counts.size == 12 * round(nside)**2:
        msg = (f'counts must have the length 12 * nside**2 of a HEALPix map, '
               f'got shape {counts.shape}')
        raise ValueError(msg)
    if nested and round(nside) & (round(nside) - 1):
        msg = (f'counts in nested ordering must have an nside that is a '
               f'power of 2, got {round(nside)}')
        raise ValueError(msg)
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
    image = from_healpix(counts, nested=nested, frame=frame, seed=seed)
    if not np.isfinite(image).all():
        msg = (f'counts must cover the whole field around the Galactic '
               f'Centre, got {np.isfinite(image).mean():.0%} of it')
        raise ValueError(msg)
    if not image.any():
        msg = 'counts must not be 0 in the whole field of the model'
        raise ValueError(msg)
    return CCDData(image, unit=u.count, wcs=grid_wcs())
