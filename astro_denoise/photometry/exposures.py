# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fluxes of the same galaxies in several exposures, and their pairs.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from astropy.table import QTable, Table, vstack

from .calibration import _plain, calibrate_flux
from .tables import (
    as_table,
    check_rows,
    is_frame,
    number_column,
    require_columns,
)

__all__ = []


@dataclass(frozen=True)
class FluxColumns:
    """
    Names of the columns of a table of fluxes.

    Attributes
    ----------
    by, image_id, flux, flux_error : str
        Of the galaxy, the exposure, the flux and its error.
    """

    by: str = 'ref_id'
    image_id: str = 'image_id'
    flux: str = 'flux'
    flux_error: str = 'flux_error'

    def renamed(self, table):
        """
        Give the columns of a table the usual names, and refuse two of one.
        """
        for usual in ('image_id', 'flux', 'flux_error'):
            own = getattr(self, usual)
            if own == usual or own not in table.colnames:
                continue
            if usual in table.colnames:
                table.remove_column(usual)
            table.rename_column(own, usual)
        return table


@dataclass
class Exposures:
    """
    Calibrated fluxes, one row per galaxy and exposure.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        The table as given, the exposures stacked.

    galaxy, image : 1D `~numpy.ndarray`
        Which galaxy and exposure a row is of.

    flux, error : 1D `~numpy.ndarray`
        Calibrated fluxes and errors, NaN where there is none.

    unit : `~astropy.units.Unit` or `None`
        Their unit.

    zeropoint, zeropoint_error : 1D `~numpy.ndarray`
        The calibration, without unit.
    """

    table: QTable
    galaxy: np.ndarray
    image: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    unit: object
    zeropoint: np.ndarray
    zeropoint_error: np.ndarray

    def calibrated_error(self, column):
        """
        Another column of flux errors, calibrated like the fluxes.
        """
        unit = getattr(self.table['flux'], 'unit', None)
        error = _values(self.table[column], column, unit)
        flux = _values(self.table['flux'], 'flux', unit)
        return calibrate_flux(flux, error, self.zeropoint,
                              self.zeropoint_error)[1]

    def rows_like(self, other, name):
        """
        For each row of another `Exposures` the row here, -1 for none.
        """
        own, wanted = _keys((self.galaxy, other.galaxy),
                            (self.image, other.image))
        order = np.argsort(own)
        place = np.searchsorted(own[order], wanted)
        found = order[np.minimum(place, len(own) - 1)]
        found = np.where(own[found] == wanted, found, -1)
        if np.all(found < 0):
            msg = (f'{name} has no galaxy and image_id in common with '
                   f'exposures: image_id is {self.image[0]!s:.80} there and '
                   f'{other.image[0]!s:.80} here; measure both with names '
                   f'that are the same, as from a header keyword '
                   f'(--image-id)')
            raise ValueError(msg)
        return found


def _keys(galaxies, images):
    """
    A number for each pair of galaxy and exposure, the same in all tables.
    """
    lengths = np.cumsum([len(galaxy) for galaxy in galaxies])[:-1]
    _, galaxy = np.unique(np.concatenate(galaxies), return_inverse=True)
    labels, image = np.unique(np.concatenate(images), return_inverse=True)
    return np.split(galaxy * len(labels) + image, lengths)


def _values(column, name, unit):
    """
    The numbers of a column in a unit; NaN is allowed.
    """
    values = _plain(column, f'column {name!r}')
    _scale(getattr(values, 'unit', None), unit, f'column {name!r}')
    return values if unit is None else values.to_value(unit)


def open_exposures(exposures, names, name, *, like=None):
    """
    Check and calibrate the fluxes of some exposures.

    Parameters
    ----------
    exposures : table or list of tables
        Columns as in `~astro_denoise.photometry.check_repeatability`.

    names : `FluxColumns`
        The columns.

    name : str
        What to call the table in messages.

    like : `Exposures`, optional
        Convert the calibrated fluxes to the unit of these.

    Returns
    -------
    exposures : `Exposures`
        The calibrated fluxes.
    """
    by = names.by
    if isinstance(exposures, (list, tuple)) and all(
            isinstance(table, Table) or is_frame(table)
            for table in exposures):
        exposures = _stack(exposures, names, name)
    table = as_table(exposures, name)
    require_columns(table, [by, names.image_id, names.flux,
                            names.flux_error], name)
    table = names.renamed(table)
    galaxy, image = np.asarray(table[by]), np.asarray(table['image_id'])
    if len(np.unique(image)) < 2:
        msg = (f'{name} must hold at least two exposures, got image_id '
               f'{image[0]} only')
        raise ValueError(msg)
    zeropoint, zeropoint_error = np.ones(len(table)), np.zeros(len(table))
    zeropoint_unit = None
    if 'zp' in table.colnames:
        zeropoint_unit = getattr(table['zp'], 'unit', None)
        zeropoint = number_column(table, 'zp', unit=zeropoint_unit,
                                  positive=True)
    if 'zp_error' in table.colnames:
        zeropoint_error = number_column(table, 'zp_error',
                                        unit=zeropoint_unit)
        check_rows(zeropoint_error >= 0, zeropoint_error, 'zp_error',
                   'at least 0', table)

    unit = getattr(table['flux'], 'unit', None)
    flux = _values(table['flux'], 'flux', unit)
    error = _values(table['flux_error'], 'flux_error', unit)
    missing = ~np.isfinite(flux)
    check_rows(missing | (np.isfinite(error) & (error > 0)), error,
               'flux_error', 'positive and finite', table)
    if zeropoint_unit is not None:
        unit = zeropoint_unit if unit is None else unit * zeropoint_unit
    if like is not None:
        scale = _scale(unit, like.unit, f"column 'flux' of {name}")
        zeropoint, zeropoint_error = scale * zeropoint, scale * zeropoint_error
        unit = like.unit
    flux, error = calibrate_flux(flux, np.where(missing, np.nan, error),
                                 zeropoint, zeropoint_error)
    result = Exposures(table=table, galaxy=galaxy, image=image, flux=flux,
                       error=error, unit=unit, zeropoint=zeropoint,
                       zeropoint_error=zeropoint_error)
    _check_unique(result, by, name)
    return result


def _scale(unit, expected, name):
    """
    Factor from one unit to another.
    """
    if (unit is None) != (expected is None) or (
            unit is not None and not unit.is_equivalent(expected)):
        msg = (f'{name} must have the unit of the fluxes, got mixed units '
               f'{unit} and {expected}')
        raise ValueError(msg)
    return 1.0 if unit is None else unit.to(expected)


def _stack(tables, names, name):
    """
    One table of several, numbered by ``image_id`` where they are not.
    """
    if len(tables) < 2:
        msg = (f'{name} must hold at least two exposures, got a list of '
               f'{len(tables)}')
        raise ValueError(msg)
    numbered = []
    for number, table in enumerate(tables):
        table = as_table(table, f'{name}[{number}]')
        require_columns(table, [names.by, names.flux, names.flux_error],
                        f'{name}[{number}]')
        first = numbered[0] if numbered else table
        for column in (names.flux, names.flux_error):
            _scale(getattr(table[column], 'unit', None),
                   getattr(first[names.flux], 'unit', None),
                   f'column {column!r} of {name}[{number}]')
        if names.image_id not in table.colnames:
            table[names.image_id] = np.full(len(table), number)
        table.meta = {}
        numbered.append(table)
    return vstack(numbered, join_type='inner')


def _check_unique(exposures, by, name):
    keys, = _keys((exposures.galaxy,), (exposures.image,))
    order = np.argsort(keys, kind='stable')
    same = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(same):
        first, second = order[same[0]:same[0] + 2]
        msg = (f'{name} must have one row per {by} and image_id, got {by} '
               f'{exposures.galaxy[first]}, image_id '
               f'{exposures.image[first]} in rows {first} and {second}')
        raise ValueError(msg)


@dataclass
class Pairs:
    """
    Pairs of rows of the same galaxy.

    Attributes
    ----------
    first, second : 1D int `~numpy.ndarray`
        Rows of the two exposures, in random order.

    group : 1D int `~numpy.ndarray`
        Number of the galaxy.
    """

    first: np.ndarray
    second: np.ndarray
    group: np.ndarray


def make_pairs(galaxy, usable, rng, by):
    """
    Every pair of usable rows of a galaxy once, in random order.

    Parameters
    ----------
    galaxy : 1D `~numpy.ndarray`
        The galaxy of each row.

    usable : 1D bool `~numpy.ndarray`
        The rows to pair.

    rng : `~numpy.random.Generator`
        Draws the order.

    by : str
        Name of the galaxies' column, for the message.

    Returns
    -------
    pairs : `Pairs`
        The pairs.
    """
    rows = np.flatnonzero(usable)
    _, group = np.unique(galaxy[rows], return_inverse=True)
    order = np.argsort(group, kind='stable')
    rows, group = rows[order], group[order]
    counts = np.bincount(group) if len(group) else np.zeros(0, dtype=int)
    starts = np.cumsum(counts) - counts
    found = [np.zeros((0, 2), dtype=int)]
    for count in np.unique(counts[counts > 1]):
        members = starts[counts == count][:, np.newaxis] + np.arange(count)
        for pair in combinations(range(count), 2):
            found.append(members[:, pair])
    found = np.concatenate(found)
    if len(found) == 0:
        msg = (f'exposures hold no pairs: no {by} has a flux in two '
               'exposures')
        raise ValueError(msg)
    group = group[found[:, 0]]
    flip = rng.integers(2, size=len(found))
    which = np.arange(len(found))
    return Pairs(first=rows[found[which, flip]],
                 second=rows[found[which, 1 - flip]], group=group)
