# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Check that fluxes repeat, and that none is lost.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from astropy.table import QTable

from ..frames.provenance import table_meta
from .calibration import _plain, normalized_difference, sigma68
from .exposures import FluxColumns, make_pairs, open_exposures
from .resampling import pair_errors
from .response import pair_response
from .tables import require_columns
from .verdict import verdict

__all__ = ['RepeatabilityReport', 'check_repeatability']

# What is printed, and under which heading: a line has to fit a terminal.
SHOWN = {'low': 'low', 'high': 'high', 'n': 'n', 'raw_sigma68': 'raw s68',
         'sigma68': 's68', 'sigma68_error': '+-', 'response': 'R',
         'response_error': '+- ', 'sigma68_over_response': 's68/R',
         'flux_ratio': 'ratio', 'floor': 'floor',
         'profile_sigma68': 'matched', 'forced_sigma68': 'forced',
         'forced_response': 'forced R', 'mean_df': 'mean', 'coverage68': '68%',
         'coverage95': '95%'}


@dataclass
class RepeatabilityReport:
    """
    Result of `check_repeatability`.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        A row per bin.

    pairs : `~astropy.table.QTable`
        A row per pair: its galaxy, the binned column, ``df`` and
        ``raw_df``.

    column : str
        The binned column.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> rng = np.random.default_rng(1)
    >>> fluxes = QTable({
    ...     'ref_id': np.tile(np.arange(1000), 2),
    ...     'image_id': np.repeat([1, 2], 1000),
    ...     'i_auto': np.full(2000, 21.0),
    ...     'flux': rng.normal(10.0, 1.0, 2000),
    ...     'flux_error': np.ones(2000)})
    >>> report = check_repeatability(fluxes, bins=[20, 22], seed=1)
    >>> len(report.pairs)
    1000
    >>> print(str(report).splitlines()[0])
    Repeatability in bins of i_auto: 1000 pairs
    """

    table: QTable
    pairs: QTable
    column: str

    def __str__(self):
        shown = QTable()
        for name, heading in SHOWN.items():
            column = self.table[name]
            if np.any(np.isfinite(column)):
                shown[heading] = column
                shown[heading].info.format = {
                    'n': 'd', 'low': '.3g', 'high': '.3g'}.get(name, '.3f')
        title = (f'Repeatability in bins of {self.column}: '
                 f'{len(self.pairs)} pairs')
        lines = [title, *shown.pformat(max_lines=-1, max_width=-1)]
        lines += [f'{row["low"]:.3g}-{row["high"]:.3g}: {row["verdict"]}'
                  for row in self.table]
        return '\n'.join(lines)

    def plot(self, *, row=None, figure=None):
        """
        Draw the differences, their width and the response.

        Parameters
        ----------
        row : int, optional
            The bin whose differences are drawn; all by default.

        figure : `~matplotlib.figure.Figure`, optional
            Figure to draw in. By default, a new one that is not known to
            pyplot.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`
            Three panels: histograms of df beside the unit normal; sigma68
            with and without response and the floor against the binned
            column; the response against the column.
        """
        from .plots import plot_repeatability

        return plot_repeatability(self, row=row, figure=figure)


def check_repeatability(exposures, raw=None, *, by='ref_id', bins=None,
                        column='i_auto', profile=None, forced=None,
                        image_id='image_id', flux='flux',
                        flux_error='flux_error', min_pairs=50,
                        n_resamples=200, seed=None):
    r"""
    Compare fluxes of the same galaxies in different exposures.

    For every pair of exposures of a galaxy, each once and in random
    order, :math:`df = (f_1 - f_2)/\sqrt{\sigma_1^2 + \sigma_2^2}` is
    taken from calibrated fluxes. A small width of ``df`` is no merit by
    itself: a denoiser that pulls faint fluxes towards a typical value
    gets it for free. So the report has the response R of the denoised
    fluxes (see `pair_response`) and the ratio of the fluxes beside the
    width, the width divided by R, which may be compared with the raw
    one, and the Cramér-Rao floor below which only a prior gets. The
    response of a bin is mostly that of its brightest galaxies, the flux
    ratio that of all: a denoiser must keep both.

    Parameters
    ----------
    exposures : table, DataFrame of pandas, or list of them
        The fluxes to check, usually of denoised frames: columns
        ``ref_id`` (see ``by``), ``image_id``, ``flux``, ``flux_error``
        (or other names, see below), optionally the zero points ``zp`` and
        ``zp_error``, and the ``column`` of the bins. Or a list of such
        tables, one per exposure, where ``image_id`` may be missing. Rows
        whose flux is NaN are left out.

    raw : table or list of tables, optional
        The fluxes of the raw frames, matched by galaxy and exposure.
        Without them there is no response.

    by : str, optional
        The column that names a galaxy.

    bins : int or sequence of float, optional
        Edges of the bins, or a number of bins with equally many pairs.
        By default whole magnitudes for ``i_auto``, else 5, of which those
        with fewer than ``min_pairs`` are merged with the next.

    column : str, optional
        The column to bin by. ``'snr'`` is computed where the table has no
        such column: the signal-to-noise ratio of a galaxy in those of its
        exposures that are not in the pair (a bin chosen by the fluxes of
        the pair would feign a low response).

    profile : table or list of tables, optional
        Fluxes and ``floor_error`` of the raw frames from
        `profile_photometry`, the rival of every denoiser. A column
        ``floor_error`` in ``raw`` or ``exposures`` gives the floor alone.

    forced : table or list of tables, optional
        Fluxes and ``floor_error`` of the raw frames from
        `forced_photometry`, another rival.

    image_id, flux, flux_error : str, optional
        Names of these columns in all tables, if they are others.

    min_pairs : int, optional
        Pairs that a bin must have, if ``bins`` is not given.

    n_resamples : int, optional
        Number of bootstrap resamplings of the galaxies.

    seed : int, optional
        The seed of the order of the pairs and of the bootstrap.

    Returns
    -------
    report : `RepeatabilityReport`
        Its ``table`` has the columns ``low``, ``high`` (of the bin),
        ``n`` (pairs), ``n_galaxies``, then each with an ``_error``
        ``sigma68``, ``raw_sigma68``, ``mean_df``, ``response``,
        ``sigma68_over_response``, ``flux_ratio`` (sum of denoised over sum
        of raw fluxes) and ``sigma68_over_raw``; ``coverage68`` and
        ``coverage95`` (share of pairs with ``abs(df)`` below 1 and 2;
        0.683 and 0.954 where the errors are right), ``profile_sigma68``,
        ``forced_sigma68`` (over the response of all forced fluxes, which
        are all the light of a galaxy and not what is in its aperture) and
        ``forced_response`` (both with ``raw``; 1.6 for apertures with 62.5
        per cent of the light), ``floor`` (as a sigma68, of fluxes in
        apertures) and ``verdict``. Scatter that raw and
        denoised fluxes share cancels in ``sigma68_over_raw``, which is
        therefore what the verdict compares with the floor.

    Raises
    ------
    ValueError
        If a column is missing, has mixed units or a bad value (column and
        row are named), there are fewer than two exposures or no pairs, or
        the bins make no sense.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> rng = np.random.default_rng(1)
    >>> galaxy = np.tile(np.arange(2000), 2)
    >>> flux = 10.0**rng.uniform(0.5, 1.5, 2000)[galaxy]
    >>> raw = QTable({'ref_id': galaxy, 'image_id': np.repeat([1, 2], 2000),
    ...               'flux': flux + rng.normal(size=4000),
    ...               'flux_error': np.ones(4000), 'i_auto': 21.0 + 0 * flux})
    >>> shrunk = raw.copy()
    >>> shrunk['flux'] = 0.5 * raw['flux'] + 5
    >>> report = check_repeatability(shrunk, raw, bins=[20, 22], seed=1)
    >>> print(report.table['verdict'][0])
    flux differences shrunk: response 0.50, flux ratio 0.90
    >>> report = check_repeatability(raw, raw, bins=[20, 22], seed=1)
    >>> print(report.table['verdict'][0])
    flux kept, errors right
    """
    names = FluxColumns(by, image_id, flux, flux_error)
    data = open_exposures(exposures, names, 'exposures')
    usable = np.isfinite(data.flux)
    own, rivals = data, {}
    if raw is not None:
        raw = open_exposures(raw, names, 'raw', like=data)
        raw_rows = raw.rows_like(data, 'raw')
        usable &= (raw_rows >= 0) & np.isfinite(raw.flux[raw_rows])
        own = raw
    else:
        raw_rows = np.arange(len(data.flux))
    for name, tables in (('profile', profile), ('forced', forced)):
        if tables is not None:
            rival = open_exposures(tables, names, name, like=data)
            rivals[name] = rival, rival.rows_like(data, name)
    rng = np.random.default_rng(seed)
    pairs = make_pairs(data.galaxy, usable, rng, by)
    values = _bin_values(data, own, raw_rows, pairs, column)
    edges = _bin_edges(values, bins, column)
    if bins is None:
        edges = _merged(edges, values, min_pairs)

    columns = _pair_columns(data, raw, raw_rows, rivals, pairs)
    # Forced fluxes are all the light of a source, the others what of it is
    # in an aperture.
    scale = pair_response(*(columns[name] for name in (
        'forced1', 'raw1', 'forced2', 'raw2')))
    scale = scale if scale > 0 else np.nan
    number = np.searchsorted(edges, values, side='right') - 1
    rows = []
    for index, (low, high) in enumerate(pairwise(edges)):
        here = number == index
        rows.append({'low': low, 'high': high} | _bin_row(
            {name: array[here] for name, array in columns.items()},
            pairs.group[here], scale, n_resamples, rng))
    table = QTable(rows=rows)
    table.meta.update(table_meta(), column=column, by=by,
                      n_resamples=n_resamples)
    pair_table = QTable({by: data.galaxy[pairs.first], column: values,
                         'df': columns['df'], 'raw_df': columns['raw_df']})
    return RepeatabilityReport(table=table, pairs=pair_table, column=column)


def _merged(edges, values, fewest):
    """
    Merge bins of few pairs with the next, the last with that before.
    """
    if fewest < 1:
        msg = f'min_pairs must be at least 1, got {fewest!r}'
        raise ValueError(msg)
    kept = [edges[0]]
    for edge in edges[1:-1]:
        if np.count_nonzero((values >= kept[-1]) & (values < edge)) >= fewest:
            kept.append(edge)
    if len(kept) > 1 and np.count_nonzero(values >= kept[-1]) < fewest:
        kept.pop()
    return np.array([*kept, edges[-1]])


def _pair_columns(data, raw, raw_rows, rivals, pairs):
    """
    Collect all that is known of each pair.
    """
    first, second = pairs.first, pairs.second
    error = np.hypot(data.error[first], data.error[second])
    unknown = np.full(len(first), np.nan)
    columns = {
        'df': normalized_difference(data.flux[first], data.error[first],
                                    data.flux[second], data.error[second]),
        'raw_df': unknown, 'raw1': unknown, 'raw2': unknown,
        'flux1': data.flux[first], 'flux2': data.flux[second],
        'floor': _floor(data, raw, raw_rows, rivals, pairs) / error,
        'forced_floor': _bound(*rivals.get('forced', (None, None)),
                               pairs, in_aperture=False) / error}
    if raw is not None:
        one, two = raw_rows[first], raw_rows[second]
        columns['raw1'], columns['raw2'] = raw.flux[one], raw.flux[two]
        columns['raw_df'] = normalized_difference(
            raw.flux[one], raw.error[one], raw.flux[two], raw.error[two])
    for name in ('profile', 'forced'):
        found = np.full(len(data.flux), np.nan)
        if name in rivals:
            rival, rows = rivals[name]
            flux = _in_aperture(rival, rival.flux)
            found = np.where(rows >= 0, flux[rows], np.nan)
        columns[f'{name}_df'] = (found[first] - found[second]) / error
        columns[f'{name}1'], columns[f'{name}2'] = found[first], found[second]
    return columns


def _in_aperture(profile, values):
    """
    Fluxes or errors of profiles on the scale of the aperture fluxes.
    """
    if 'aperture_fraction' not in profile.table.colnames:
        return values
    return values * _plain(profile.table['aperture_fraction'],
                           "column 'aperture_fraction'")


def _floor(data, raw, raw_rows, rivals, pairs):
    """
    Cramér-Rao bound of the flux difference of each pair, in apertures.
    """
    for source, rows in (rivals.get('profile', (None, None)),
                         (raw, raw_rows),
                         (data, np.arange(len(data.flux)))):
        floor = _bound(source, rows, pairs)
        if not np.isnan(floor).all():
            return floor
    return floor


def _bound(source, rows, pairs, *, in_aperture=True):
    """The same by one table; NaN if it has none."""
    if source is None or 'floor_error' not in source.table.colnames:
        return np.full(len(pairs.first), np.nan)
    error = source.calibrated_error('floor_error')
    if not in_aperture:
        error = _in_aperture(source, error)
    error = np.where(rows >= 0, error[rows], np.nan)
    return np.hypot(error[pairs.first], error[pairs.second])


def _bin_values(data, own, raw_rows, pairs, column):
    """
    The value of the binned column for each pair.
    """
    for source, rows in ((data, np.arange(len(data.flux))),
                         (own, raw_rows)):
        if column in source.table.colnames:
            values = _plain(source.table[column], f'column {column!r}')
            values = np.asarray(getattr(values, 'value', values))[rows]
            return (values[pairs.first] + values[pairs.second]) / 2
    if column != 'snr':
        require_columns(data.table, [column], 'exposures')
    snr = (own.flux / own.error)[raw_rows]
    found = np.isfinite(snr)
    _, galaxy = np.unique(data.galaxy, return_inverse=True)
    total = np.bincount(galaxy, np.where(found, snr, 0))
    count = np.bincount(galaxy, found)
    group = galaxy[pairs.first]
    rest = count[group] - 2
    if not np.any(rest > 0):
        msg = ("column 'snr' is not in exposures and cannot be computed "
               'from fewer than three exposures of a galaxy')
        raise ValueError(msg)
    others = total[group] - snr[pairs.first] - snr[pairs.second]
    return np.where(rest > 0, others / np.maximum(rest, 1), np.nan)


def _bin_edges(values, bins, column):
    """
    Edges of the bins.
    """
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        msg = f'column {column!r} has no finite value among the pairs'
        raise ValueError(msg)
    if bins is None:
        if column == 'i_auto':
            return np.arange(np.floor(finite.min()),
                             np.floor(finite.max()) + 2)
        bins = 5
    if np.ndim(bins) == 0:
        if bins < 1 or int(bins) != bins:
            msg = f'bins must be a positive integer, got {bins!r}'
            raise ValueError(msg)
        edges = np.quantile(finite, np.linspace(0, 1, int(bins) + 1))
        edges[-1] = np.nextafter(edges[-1], np.inf)
        return np.unique(edges)
    edges = np.asarray(bins, dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        msg = f'bins must be increasing edges, at least two, got {bins!r}'
        raise ValueError(msg)
    return edges


def _statistics(df, raw_df, flux1, raw1, flux2, raw2):
    """
    The figures of a bin that have a bootstrap error.
    """
    width, raw_width = sigma68(df), sigma68(raw_df)
    response = pair_response(flux1, raw1, flux2, raw2)
    raw_total = np.sum(raw1 + raw2)
    return np.array([
        width, raw_width, np.mean(df) if len(df) else np.nan, response,
        width / response if response > 0 else np.nan,
        np.sum(flux1 + flux2) / raw_total if raw_total != 0 else np.nan,
        width / raw_width if raw_width > 0 else np.nan])


def _median(values):
    values = values[np.isfinite(values)]
    return np.median(values) if len(values) else np.nan


def _bin_row(columns, group, scale, n_resamples, rng):
    """
    One row of the report.
    """
    names = ('sigma68', 'raw_sigma68', 'mean_df', 'response',
             'sigma68_over_response', 'flux_ratio', 'sigma68_over_raw')
    arrays = [columns[name] for name in ('df', 'raw_df', 'flux1', 'raw1',
                                         'flux2', 'raw2')]
    n_pairs = len(group)
    row = {'n': n_pairs, 'n_galaxies': len(np.unique(group))}
    values = _statistics(*arrays)
    errors = np.full(len(names), np.nan)
    if row['n_galaxies'] > 1:
        errors = pair_errors(*arrays, group=group, n_resamples=n_resamples,
                             rng=rng)
    for name, value, error in zip(names, values, errors, strict=True):
        row[name], row[f'{name}_error'] = value, error
    size = np.abs(columns['df'])
    for name, limit in (('coverage68', 1), ('coverage95', 2)):
        row[name] = np.mean(size < limit) if n_pairs else np.nan
    row['profile_sigma68'] = sigma68(columns['profile_df'])
    row['forced_sigma68'] = sigma68(columns['forced_df']) / scale
    row['forced_response'] = pair_response(*(columns[name] for name in (
        'forced1', 'raw1', 'forced2', 'raw2')))
    row['floor'] = _median(columns['floor'])
    if np.isnan(row['floor']):
        row['floor'] = _median(columns['forced_floor']) / scale
    row['verdict'] = verdict(row)
    return row
