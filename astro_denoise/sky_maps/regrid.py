# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bring counts onto the grid of the models.
"""

import numpy as np
from astropy.wcs import WCS

from ..exceptions import needs_extra
from .galactic_grid import FIELD, SHAPE, galactic_degrees, grid_wcs

__all__ = ['onto_grid', 'valid_onto_grid']

# Degrees by which pixel centers may miss those of the grid and be on it.
_ON_GRID = 1e-3

# Share of a pixel of the grid that an image must cover.
_COVERED = 0.99

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
    counts, wcs = _near_field(counts, wcs, name)
    density, cover = _resampled(counts / _pixel_areas(wcs, counts.shape),
                                wcs)
    covered = np.mean(cover > _COVERED)
    if not (cover > 0).any():
        raise ValueError(_outside(name))
    if covered < 1 or not np.isfinite(density).all():
        msg = (f'{name} must cover the whole field of the model, '
               f'{2 * FIELD:g} x {2 * FIELD:g} degrees around the Galactic '
               f'Center, its WCS covers {100 * covered:.0f} per cent')
        raise ValueError(msg)
    return density * _pixel_areas(grid_wcs(), SHAPE)


def valid_onto_grid(valid, wcs, name):
    """
    Bring the valid pixels of an image onto the grid of the models.

    Parameters
    ----------
    valid : 2D bool `~numpy.ndarray`
        Pixels that count.

    wcs : WCS object
        Coordinates of the image.

    name : str
        Name of the parameter, for messages.

    Returns
    -------
    valid : 2D bool `~numpy.ndarray`
        Pixels of the grid that valid ones cover.
    """
    flipped = _on_grid(valid, wcs)
    if flipped is not None or valid.all():
        return np.ones(SHAPE, bool) if flipped is None else flipped
    valid, wcs = _near_field(valid, wcs, name)
    return _resampled(valid.astype(float), wcs)[0] > _COVERED


def _resampled(density, wcs):
    """Bring a density onto the grid; also gives what is covered."""
    with needs_extra('galactic', "to put an image on the model's grid"):
        from reproject import reproject_exact

    grid = grid_wcs()
    grid.wcs.crpix = grid.wcs.crpix + np.array([1.0, 0.7]) * _NUDGE
    grid.wcs.cdelt = grid.wcs.cdelt * (1.0 - 1e-3 * _NUDGE)
    with np.errstate(invalid='ignore'):
        return reproject_exact((density, wcs), grid, shape_out=SHAPE)


def _outside(name):
    return (f'{name} must show the Galactic Center: its WCS does not touch '
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
