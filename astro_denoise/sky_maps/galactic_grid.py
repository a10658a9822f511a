# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Positions of gamma-ray images on the sky.
"""

import numpy as np
from astropy.nddata import NDData
from astropy.wcs import WCS

__all__ = ['FIELD', 'SHAPE', 'celestial_wcs', 'galactic_degrees', 'grid_wcs',
           'position_planes']

# Grid of the models: pixels, and degrees from the center to its edges.
SHAPE = (64, 64)
FIELD = 15.0


def grid_wcs():
    """
    Return the WCS of the grid of the models.

    Returns
    -------
    wcs : `~astropy.wcs.WCS`
        Longitude and latitude grow along x and y.

    Examples
    --------
    >>> from astro_denoise.sky_maps.galactic_grid import grid_wcs
    >>> print(grid_wcs().pixel_to_world(31.5, 31.5).galactic.b)
    0d00m00s
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'GLON-CAR', 'GLAT-CAR'
    wcs.wcs.crpix = [(length + 1) / 2 for length in SHAPE]
    wcs.wcs.cdelt = [2.0 * FIELD / length for length in SHAPE]
    wcs.wcs.crval = 0.0, 0.0
    wcs.wcs.cunit = 'deg', 'deg'
    wcs.pixel_shape = SHAPE
    return wcs


def celestial_wcs(data):
    """
    Return the WCS of the last two axes of a frame if they are on the sky.

    Parameters
    ----------
    data : object
        What the user gave.

    Returns
    -------
    wcs : WCS object or `None`
        `None` if there is none, or its axes are not both on the sky.
    """
    wcs = getattr(data, 'wcs', None) if isinstance(data, NDData) else None
    if wcs is None:
        return None
    if isinstance(wcs, WCS):
        if not wcs.has_celestial:
            return None
        return wcs if wcs.naxis == 2 else wcs.celestial
    kinds = [str(kind) for kind in wcs.low_level_wcs.world_axis_physical_types]
    on_sky = len(kinds) == 2 and all(kind.startswith('pos.')
                                     for kind in kinds)
    return wcs if on_sky else None


def galactic_degrees(wcs, x, y):
    """
    Compute the Galactic coordinates of positions on a frame.

    Parameters
    ----------
    wcs : WCS object
        Of the frame.

    x, y : `~numpy.ndarray`
        Pixels.

    Returns
    -------
    longitude, latitude : `~numpy.ndarray`
        Degrees, the longitude from -180 to 180; NaN where the WCS maps a
        position to no sky.
    """
    sky = wcs.pixel_to_world(x, y).galactic
    longitude = np.array(sky.l.wrap_at('180d').deg, float)
    return longitude, np.array(sky.b.deg, float)


def position_planes(wcs, shape):
    """
    Compute the position planes that networks for gamma-ray images take.

    Parameters
    ----------
    wcs : WCS object or `None`
        Of the frame.

    shape : tuple of int
        ``(ny, nx)`` of the frame.

    Returns
    -------
    position : 3D `~numpy.ndarray`
        Shape (3, ny, nx), float32: Galactic longitude and latitude over
        15 degrees, and 1; zeros where the position is not known or
        outside the field that the models know. A frame without WCS is
        taken to be on their grid if it has their shape.
    """
    position = np.zeros((3, *shape), np.float32)
    if wcs is None:
        if tuple(shape) != SHAPE:
            return position
        wcs = grid_wcs()
    # Exact at the nodes, and linear between those of a large frame: an
    # arc of 3 degrees is bent by 0.01 degrees.
    step = max(1, max(shape) // 128)
    nodes = [np.arange(0, length + step, step) for length in shape]
    y, x = np.meshgrid(*nodes, indexing='ij')
    longitude, latitude = np.radians(galactic_degrees(wcs, x, y))
    vector = np.stack([np.cos(latitude) * np.cos(longitude),
                       np.cos(latitude) * np.sin(longitude),
                       np.sin(latitude)])
    for axis, length in ((1, shape[0]), (2, shape[1])):
        vector = _refined(vector, axis, length, step)
    longitude = np.degrees(np.arctan2(vector[1], vector[0]))
    latitude = np.degrees(np.arctan2(vector[2], np.hypot(vector[0],
                                                         vector[1])))
    known = (np.abs(longitude) <= FIELD) & (np.abs(latitude) <= FIELD)
    for plane, values in zip(position, (longitude, latitude, FIELD),
                             strict=True):
        plane[...] = np.where(known, values / FIELD, 0.0)
    return position


def _refined(vector, axis, length, step):
    """Interpolate linearly along an axis whose nodes are a step apart."""
    pixel = np.arange(length)
    share = (pixel % step / step).reshape((-1, 1) if axis == 1 else -1)
    low = vector.take(pixel // step, axis)
    if step == 1:
        return low
    high = vector.take(pixel // step + 1, axis)
    return low + share * (high - low)
