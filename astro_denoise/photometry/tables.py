# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Catalogs and apertures: reading, checking, positions on the frame.
"""

from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs import NoConvergence
from astropy.wcs.utils import proj_plane_pixel_area
from photutils.aperture import (
    CircularAperture,
    EllipticalAperture,
    SkyCircularAperture,
    SkyEllipticalAperture,
)

from ..exceptions import needs_extra
from ..frames.files_for_arrays import refuse_files
from .calibration import _plain

__all__ = ['read_table']

# File name endings and the format names of astropy.
FORMATS = {'.fits': 'fits', '.fit': 'fits', '.ecsv': 'ascii.ecsv',
           '.csv': 'ascii.csv', '.parquet': 'parquet'}


def read_table(path):
    """
    Read a catalog or a table of fluxes.

    Parameters
    ----------
    path : str or path-like
        A FITS, ECSV, CSV or Parquet file, told by its name (``.fits``,
        ``.fit``, ``.ecsv``, ``.csv``, ``.parquet``, and compressed
        ``.fits.gz``).

    Returns
    -------
    table : `~astropy.table.QTable`
        The table.

    Raises
    ------
    ValueError
        If the name has another ending.

    OSError
        If the file cannot be read; the message names it.

    ModuleNotFoundError
        If a Parquet file is read without ``pyarrow`` and ``pandas``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astro_denoise.photometry import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / 'fluxes.csv'
    ...     _ = path.write_text('ref_id,flux\\n1,10.5\\n')
    ...     table = read_table(path)
    >>> print(table['flux'][0])
    10.5
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == ['.gz']:
        suffixes.pop()
    kind = FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        msg = (f'path must end in one of {", ".join(FORMATS)}, got '
               f'{str(path)!r}')
        raise ValueError(msg)
    if not path.is_file():
        msg = f'no such file: {str(path)!r}'
        raise OSError(msg)
    if kind == 'parquet':
        with needs_extra('parquet', f'to read {str(path)!r}'):
            import pandas as pd  # noqa: F401
            import pyarrow as pa  # noqa: F401
    try:
        return QTable.read(path, format=kind)
    except Exception as error:  # each format raises its own kinds
        msg = f'cannot read {str(path)!r}: {error}'
        raise OSError(msg) from error


def is_frame(data):
    """
    Tell if something is a DataFrame of pandas.
    """
    return hasattr(data, 'to_numpy') and hasattr(data, 'columns')


def as_table(data, name):
    """
    A QTable view of a table, mapping, structured array or DataFrame.
    """
    refuse_files(data, name, kind='catalog')
    try:
        table = (QTable.from_pandas(data) if is_frame(data)
                 else QTable(data, copy=False))
    except Exception as error:  # whatever the object's own code raises
        msg = f'{name} must be a table, got {type(data).__name__}'
        raise TypeError(msg) from error
    if len(table) == 0:
        msg = f'{name} must have at least one row, got none'
        raise ValueError(msg)
    return table


def require_columns(table, columns, name):
    """
    Raise ValueError that names the columns missing from a table.
    """
    missing = [column for column in columns if column not in table.colnames]
    if missing:
        msg = (f'{name} has no column {", ".join(map(repr, missing))}; it '
               f'has {", ".join(table.colnames)}')
        raise ValueError(msg)


def check_rows(good, values, column, rule, table):
    """
    Raise ValueError that names the first row that breaks a rule.

    Parameters
    ----------
    good : 1D bool `~numpy.ndarray`
        Whether each row obeys.

    values : array_like
        The values of the column.

    column, rule : str
        The column's name and what it must be.

    table : `~astropy.table.QTable`
        The table, asked for the ``ref_id`` of the row.
    """
    if not np.all(good):
        row = np.flatnonzero(~np.asarray(good))[0]
        name = (f' (ref_id {table["ref_id"][row]})'
                if 'ref_id' in table.colnames else '')
        msg = (f'column {column!r} must be {rule}, got {values[row]} in '
               f'row {row}{name}')
        raise ValueError(msg)


def number_column(table, column, *, unit=None, positive=False):
    """
    A column as finite floats in a unit.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        The table.

    column : str
        The column.

    unit : unit-like, optional
        Unit of the result; a column without unit is taken to have it.

    positive : bool, optional
        Whether the values must be larger than 0.

    Returns
    -------
    values : 1D `~numpy.ndarray`
        The numbers.
    """
    values = _plain(table[column], f'column {column!r}')
    if hasattr(values, 'unit'):
        if unit is None or not values.unit.is_equivalent(unit):
            expected = 'no unit' if unit is None else f'the unit {unit}'
            msg = (f'column {column!r} must have {expected}, got '
                   f'{values.unit.to_string()!r}')
            raise ValueError(msg)
        values = values.to_value(unit)
    check_rows(np.isfinite(values), values, column, 'finite', table)
    if positive:
        check_rows(values > 0, values, column, 'positive', table)
    return values


def aperture_table(catalog, *, wcs=None, theta_sign=1):
    """
    Elliptical apertures on the frame from any kind of catalog.

    Parameters
    ----------
    catalog : table, aperture, or list of apertures
        As in `~astro_denoise.photometry.annulus_photometry`.

    wcs : WCS object, optional
        For positions on the sky and axes in angular units.

    theta_sign : {1, -1}, optional
        Sign of the angles of a table.

    Returns
    -------
    apertures : `~astropy.table.QTable`
        Columns ``ref_id``, ``x``, ``y``, ``a``, ``b`` (pixels) and
        ``theta`` (radians). ``x`` and ``y`` are NaN for a position on the
        sky that the WCS does not map on the frame's plane.
    """
    if theta_sign not in (1, -1):
        msg = f'theta_sign must be 1 or -1, got {theta_sign!r}'
        raise ValueError(msg)
    if isinstance(catalog, (CircularAperture, EllipticalAperture,
                            SkyCircularAperture, SkyEllipticalAperture)):
        catalog = [catalog]
    if isinstance(catalog, (list, tuple)) and any(
            hasattr(item, 'positions') for item in catalog):
        return _from_apertures(catalog, wcs)
    return _from_table(as_table(catalog, 'catalog'), wcs, theta_sign)


def _from_apertures(apertures, wcs):
    rows = []
    for number, aperture in enumerate(apertures):
        if isinstance(aperture, (SkyCircularAperture,
                                 SkyEllipticalAperture)):
            if wcs is None:
                msg = (f'wcs must be given for apertures on the sky, got '
                       f'None for aperture {number}')
                raise ValueError(msg)
            aperture = aperture.to_pixel(wcs)
        if isinstance(aperture, CircularAperture):
            shape = (aperture.r, aperture.r, 0.0)
        elif isinstance(aperture, EllipticalAperture):
            shape = (aperture.a, aperture.b,
                     u.Quantity(aperture.theta, u.rad).value)
        else:
            msg = ('catalog must hold circular or elliptical apertures, got '
                   f'{type(aperture).__name__} as number {number}')
            raise TypeError(msg)
        for x, y in np.atleast_2d(aperture.positions):
            rows.append((len(rows) + 1, x, y, *shape))
    return QTable(rows=rows, names=('ref_id', 'x', 'y', 'a', 'b', 'theta'))


def _from_table(table, wcs, theta_sign):
    require_columns(table, ['aperture_a', 'aperture_b', 'aperture_theta'],
                    'catalog')
    if 'aperture_x' in table.colnames or 'aperture_y' in table.colnames:
        require_columns(table, ['aperture_x', 'aperture_y'], 'catalog')
        x = number_column(table, 'aperture_x', unit=u.pix)
        y = number_column(table, 'aperture_y', unit=u.pix)
    else:
        x, y = sky_positions(table, wcs)

    angular = [hasattr(table[column], 'unit') and table[column].unit
               is not None and table[column].unit.is_equivalent(u.arcsec)
               for column in ('aperture_a', 'aperture_b')]
    if angular[0] != angular[1]:
        units = [str(getattr(table[column], 'unit', None))
                 for column in ('aperture_a', 'aperture_b')]
        msg = ("columns 'aperture_a' and 'aperture_b' must have one kind of "
               f'unit, got mixed units {units[0]!r} and {units[1]!r}')
        raise ValueError(msg)
    unit, scale = u.pix, 1.0
    if angular[0]:
        if wcs is None:
            msg = ("wcs must be given for 'aperture_a' in "
                   f'{table["aperture_a"].unit}, got None')
            raise ValueError(msg)
        unit = u.deg
        scale = 1 / np.sqrt(proj_plane_pixel_area(wcs.celestial))
    apertures = QTable()
    apertures['ref_id'] = (table['ref_id'] if 'ref_id' in table.colnames
                           else np.arange(1, len(table) + 1))
    apertures['x'], apertures['y'] = x, y
    apertures['a'] = scale * number_column(table, 'aperture_a', unit=unit,
                                           positive=True)
    apertures['b'] = scale * number_column(table, 'aperture_b', unit=unit,
                                           positive=True)
    apertures['theta'] = theta_sign * np.deg2rad(
        number_column(table, 'aperture_theta', unit=u.deg))
    return apertures


def sky_positions(table, wcs):
    """
    Positions on the frame of a table with positions on the sky.
    """
    sky = [name for name in table.colnames
           if isinstance(table[name], SkyCoord)]
    if sky:
        position = table[sky[0]]
        angles = position.spherical
        check_rows(np.isfinite(angles.lon) & np.isfinite(angles.lat),
                   position.to_string(), sky[0], 'finite', table)
    else:
        if not {'ra', 'dec'} <= set(table.colnames):
            require_columns(table, ['aperture_x', 'aperture_y'], 'catalog')
        position = SkyCoord(number_column(table, 'ra', unit=u.deg),
                            number_column(table, 'dec', unit=u.deg),
                            unit='deg')
    if wcs is None:
        msg = ('wcs must be given for a catalog without aperture_x and '
               'aperture_y, got None')
        raise ValueError(msg)
    try:
        return wcs.world_to_pixel(position)
    except NoConvergence as error:
        # Far off the frame, distortions have no meaning.
        x, y = np.array(error.best_solution, float).T
        for rows in (error.divergent, error.slow_conv):
            if rows is not None:
                x[rows] = y[rows] = np.nan
        return x, y
