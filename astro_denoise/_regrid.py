# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bring counts onto the grid of the models.
"""

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from ._galactic import FIELD, SHAPE, galactic_degrees, grid_wcs

__all__ = ['from_healpix', 'onto_grid']

# Degrees by which pixel centres may miss those of the grid and be on it.
_ON_GRID = 1e-3

# Share of a pixel of the grid that an image must cover.
_COVERED = 0.99

# HEALPix: pixels of the fine grid per pixel of the grid and axis.
_FINE = 8

# Half the width of the Galactic plane in degrees, and how much brighter it
# may be in the other ordering of a HEALPix map.
_PLANE = 2.5
_BRIGHTER = 1.5

# Where edges of pixels coincide, reproject 0.21 loses what lies between:
# the grid is moved by this many pixels, and more so towards its borders.
_NUDGE = 1e-5


def onto_grid(counts, wcs, name):
    """
    Bring an image onto the grid of the models, counts conserved.

    Parameters
    ----------
    counts : 2D `~numpy.ndarray`
        Counts in each pixel.

    wcs : WCS object
        Its coordinates.

    name : str
        Name of the parameter, for messages.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        Counts on the grid. An image that is on it already, mirrored
        perhaps, comes with the numbers it has; another is resampled:
        each pixel's counts are spread over its area.

    Raises
    ------
    ValueError
        If the image covers none of the grid, or only a part.
    """
    flipped = _on_grid(counts, wcs)
    if flipped is not None:
        return flipped
    from reproject import reproject_exact

    counts, wcs = _near_field(counts, wcs, name)
    area = _pixel_areas(wcs, counts.shape)
    grid = grid_wcs()
    grid.wcs.crpix = grid.wcs.crpix + np.array([1.0, 0.7]) * _NUDGE
    grid.wcs.cdelt = grid.wcs.cdelt * (1.0 - 1e-3 * _NUDGE)
    with np.errstate(invalid='ignore'):
        density, cover = reproject_exact((counts / area, wcs), grid,
                                         shape_out=SHAPE)
    covered = np.mean(cover > _COVERED)
    if not (cover > 0).any():
        raise ValueError(_outside(name))
    if covered < 1 or not np.isfinite(density).all():
        msg = (f'{name} must cover the whole field of the model, '
               f'{2 * FIELD:g} x {2 * FIELD:g} degrees around the Galactic '
               f'Centre, its WCS covers {100 * covered:.0f} per cent')
        raise ValueError(msg)
    return density * _pixel_areas(grid_wcs(), SHAPE)


def _outside(name):
    return (f'{name} must show the Galactic Centre: its WCS does not touch '
            f'the field of the model, {2 * FIELD:g} x {2 * FIELD:g} degrees '
            f'around it')


def _on_grid(counts, wcs):
    """The image itself, or mirrored, if its pixels are those of the grid."""
    if counts.shape != SHAPE:
        return None
    y, x = np.indices(SHAPE)
    position = np.stack(galactic_degrees(wcs, x, y))
    expected = np.stack(galactic_degrees(grid_wcs(), x, y))
    for step_y in (1, -1):
        for step_x in (1, -1):
            flip = (..., slice(None, None, step_y), slice(None, None, step_x))
            distance = np.abs(position[flip] - expected)
            if (distance < _ON_GRID).all():
                return counts[flip]
    return None


def _near_field(counts, wcs, name):
    """The part of an image that the field may touch."""
    y, x = np.indices(counts.shape)
    longitude, latitude = galactic_degrees(wcs, x, y)
    # The pixels of a coarse image may reach in from outside.
    margin = FIELD + 3.0
    near = (np.abs(longitude) < margin) & (np.abs(latitude) < margin)
    if not near.any():
        raise ValueError(_outside(name))
    if not isinstance(wcs, WCS):
        return counts, wcs
    part = tuple(
        slice(max(places.min() - 2, 0), places.max() + 3)
        for places in (np.flatnonzero(near.any(1)),
                       np.flatnonzero(near.any(0))))
    return counts[part], wcs[part]


def _pixel_areas(wcs, shape):
    """
    Solid angles of pixels with great circles for edges, in steradian.
    """
    y, x = np.meshgrid(*(np.arange(length + 1) - 0.5 for length in shape),
                       indexing='ij')
    longitude, latitude = np.radians(galactic_degrees(wcs, x, y))
    corner = np.stack([np.cos(latitude) * np.cos(longitude),
                       np.cos(latitude) * np.sin(longitude),
                       np.sin(latitude)], -1)
    a, b = corner[:-1, :-1], corner[:-1, 1:]
    c, d = corner[1:, 1:], corner[1:, :-1]
    return np.abs(_triangles(a, b, c) + _triangles(a, c, d))


def _triangles(a, b, c):
    """Solid angles, by Oosterom and Strackee; the sign is that of the turn."""
    def dot(first, second):
        return (first * second).sum(-1)

    volume = dot(a, np.cross(b - a, c - a))
    return 2.0 * np.arctan2(volume, 1.0 + dot(a, b) + dot(b, c) + dot(c, a))


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
