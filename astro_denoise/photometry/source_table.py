# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Positions and shapes of the sources of a catalog.
"""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs.utils import proj_plane_pixel_area

from .calibration import _plain
from .tables import (
    as_table,
    check_rows,
    number_column,
    require_columns,
    sky_positions,
)

__all__ = ['without_pixels', 'source_table']

_POSITIONS = (('x', 'y'), ('x_centroid', 'y_centroid'),
              ('aperture_x', 'aperture_y'))


def source_table(catalog, wcs=None):
    """
    Read positions and shapes of sources.

    Parameters
    ----------
    catalog : table
        Positions as ``x, y``, ``x_centroid, y_centroid`` or ``aperture_x,
        aperture_y`` (pixels, from 0), or on the sky. Shapes as ``r50``
        (pixels or an angle), ``sersic_n``, ``q`` or ``axis_ratio``, and
        ``theta`` (degrees), or as ``aperture_a, aperture_b,
        aperture_theta``. Sources without shape are stars.

    wcs : WCS object, optional
        For positions on the sky and sizes that are angles.

    Returns
    -------
    sources : `~astropy.table.QTable`
        ``ref_id``, ``x``, ``y``, ``r50`` (0 for a star), ``sersic_n``,
        ``q``, ``theta`` (radians) and, if the catalog has apertures and
        no ``r50``, ``a`` and ``b``. Positions are NaN where the WCS does
        not map them on the frame's plane.

    Raises
    ------
    ValueError, TypeError
        If a column is missing or has a bad value; column and row are
        named.
    """
    table = as_table(catalog, 'catalog')
    sources = QTable()
    sources['ref_id'] = (table['ref_id'] if 'ref_id' in table.colnames
                         else np.arange(1, len(table) + 1))
    sources['x'], sources['y'] = _positions(table, wcs)
    n_sources = len(table)
    for name, default in (('r50', 0.0), ('sersic_n', 1.0), ('q', 1.0),
                          ('theta', 0.0)):
        sources[name] = np.full(n_sources, default)
    if 'r50' in table.colnames:
        _read_sersic(table, sources, wcs)
    elif 'aperture_a' in table.colnames:
        require_columns(table, ['aperture_b', 'aperture_theta'], 'catalog')
        for name in ('a', 'b'):
            sources[name] = _size(table, f'aperture_{name}', wcs)
            check_rows(sources[name] > 0, sources[name], f'aperture_{name}',
                       'positive', table)
        sources['theta'] = np.deg2rad(
            number_column(table, 'aperture_theta', unit=u.deg))
    return sources


def without_pixels(catalog, wcs):
    """
    Leave the pixels to the frame, where positions on the sky are known.

    A catalog of a field has the pixels of one frame, and there may be
    others.

    Parameters
    ----------
    catalog : `~astropy.table.QTable`
        With positions of any kind.

    wcs : WCS object or `None`
        World coordinates of the frame.

    Returns
    -------
    catalog : `~astropy.table.QTable`
        Without positions in pixels, if the frame has a WCS and the
        catalog positions on the sky.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from astropy.wcs import WCS
    >>> from astro_denoise.photometry.source_table import without_pixels
    >>> catalog = QTable({'x': [3.0], 'y': [4.0], 'ra': [10.0], 'dec': [-3.0]})
    >>> without_pixels(catalog, WCS(naxis=2)).colnames
    ['ra', 'dec']
    """
    if wcs is None or not (
            {'ra', 'dec'} <= set(catalog.colnames) or any(
                isinstance(catalog[name], SkyCoord)
                for name in catalog.colnames)):
        return catalog
    pixels = [name for pair in _POSITIONS for name in pair
              if name in catalog.colnames]
    catalog = catalog.copy(copy_data=False)
    catalog.remove_columns(pixels)
    return catalog


def _positions(table, wcs):
    for x, y in _POSITIONS:
        if x in table.colnames and y in table.colnames:
            return (number_column(table, x, unit=u.pix),
                    number_column(table, y, unit=u.pix))
    try:
        return sky_positions(table, wcs)
    except ValueError as error:
        if 'no column' not in str(error):
            raise
        names = ' or '.join(f'{x}, {y}' for x, y in _POSITIONS)
        msg = (f'catalog must have the columns {names}, or positions on the '
               f'sky; it has {", ".join(table.colnames)}')
        raise ValueError(msg) from error


def _size(table, column, wcs):
    """Read lengths, in pixels or as angles; NaN where there is none."""
    values = _plain(table[column], f'column {column!r}')
    if not hasattr(values, 'unit'):
        return values
    if values.unit.is_equivalent(u.pix):
        return values.to_value(u.pix)
    if not values.unit.is_equivalent(u.deg):
        msg = (f'column {column!r} must be in pixels or an angle, got '
               f'{values.unit.to_string()!r}')
        raise ValueError(msg)
    if wcs is None:
        msg = f'wcs must be given for {column!r} in {values.unit}, got None'
        raise ValueError(msg)
    return (values.to_value(u.deg)
            / np.sqrt(proj_plane_pixel_area(wcs.celestial)))


def _read_sersic(table, sources, wcs):
    r50 = _size(table, 'r50', wcs)
    # A catalog has no shape for its stars.
    galaxy = np.isfinite(r50) & (r50 != 0)
    check_rows((r50 > 0) | ~galaxy, r50, 'r50', 'not negative', table)
    sources['r50'] = np.where(galaxy, r50, 0.0)
    q = 'q' if 'q' in table.colnames else 'axis_ratio'
    for name, column, low, high in (('sersic_n', 'sersic_n', 0.2, 8.5),
                                    ('q', q, 1e-2, 1.0)):
        if column in table.colnames:
            values = _plain(table[column], f'column {column!r}')
            values = np.asarray(getattr(values, 'value', values))
            good = (values >= low) & (values <= high)
            check_rows(good | ~galaxy, values, column,
                       f'{low} to {high} for a galaxy', table)
            sources[name] = np.where(galaxy, values, 1.0)
    if 'theta' in table.colnames:
        theta = _plain(table['theta'], "column 'theta'")
        theta = (theta.to_value(u.rad) if hasattr(theta, 'unit')
                 else np.deg2rad(theta))
        check_rows(np.isfinite(theta) | ~galaxy, theta, 'theta',
                   'finite for a galaxy', table)
        sources['theta'] = np.where(galaxy, theta, 0.0)
