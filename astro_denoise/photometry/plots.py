# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Figures of fluxes and of their repeatability.

`plot_differences`, `plot_sigma68` and `plot_response` draw one panel, take
``ax`` and return it; `plot_repeatability` and `plot_apertures` draw
several, take ``figure`` and return it. Without the argument, a new figure
is made that is not known to pyplot.
"""

import numpy as np
from astropy.stats import mad_std

from ..exceptions import needs_extra
from ..frames.panels import (
    add_legend,
    axes_for,
    colormap,
    figure_for,
    plane_of,
    stretch_of,
)
from .calibration import sigma68
from .tables import aperture_table
from .verdict import FEW_PAIRS, RESPONSE_MARGIN

__all__ = ['plot_apertures', 'plot_differences', 'plot_repeatability',
           'plot_response', 'plot_sigma68']


def plot_differences(report, *, row=None, ax=None):
    r"""
    Plot the differences of pairs of fluxes, each over its error.

    The width :math:`\sigma_{68}` of
    :math:`df = (f_1 - f_2)/\sqrt{\sigma_1^2 + \sigma_2^2}` is 1 where the
    errors are right; the unit normal is drawn for comparison. Pairs
    outside -5 to 5 are not drawn, but count.

    Parameters
    ----------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        Result of `~astro_denoise.photometry.check_repeatability`.

    row : int, optional
        The bin whose pairs are drawn; all by default.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in. By default, those of a new figure.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``.

    Raises
    ------
    IndexError
        If the report has no bin ``row``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> from astro_denoise.photometry.plots import plot_differences
    >>> rng = np.random.default_rng(1)
    >>> fluxes = QTable({'ref_id': np.tile(np.arange(500), 2),
    ...                  'image_id': np.repeat([1, 2], 500),
    ...                  'flux': rng.normal(10, 1, 1000),
    ...                  'flux_error': np.ones(1000),
    ...                  'i_auto': np.full(1000, 21.0)})
    >>> report = check_repeatability(fluxes, seed=1)
    >>> ax = plot_differences(report, row=0)
    >>> print(ax.get_title())
    21 ≤ i_auto < 22
    """
    ax = axes_for(ax, 5.6, 4.2)
    chosen = np.ones(len(report.pairs), dtype=bool)
    title = 'all bins'
    if row is not None:
        low, high = report.table['low'][row], report.table['high'][row]
        values = report.pairs[report.column]
        chosen = (values >= low) & (values < high)
        title = f'{low:g} ≤ {report.column} < {high:g}'
    edges = np.linspace(-5, 5, 51 if chosen.sum() > 1000 else 26)
    for name, label, color in (('raw_df', 'raw', 'tab:orange'),
                               ('df', 'denoised', 'tab:blue')):
        df = np.asarray(report.pairs[name])[chosen]
        if np.any(np.abs(df) <= edges[-1]):
            ax.hist(df, edges, density=True, alpha=0.5, color=color,
                    label=rf'{label}, $\sigma_{{68}}$ = {sigma68(df):.2f}')
    x = np.linspace(-5, 5, 201)
    ax.plot(x, np.exp(-x**2 / 2) / np.sqrt(2 * np.pi), 'k-',
              label='unit normal')
    ax.set(xlabel='df', ylabel='density', title=title)
    # Above the peak there is room for what it would else cover.
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])
    ax.legend(fontsize='small')
    return ax


def plot_sigma68(report, *, ax=None):
    r"""
    Plot the width of the differences in each bin.

    Drawn are :math:`\sigma_{68}` of the raw and of the denoised fluxes,
    the latter also divided by the response R, which is what may be
    compared with the raw one, and, where the report has them, the
    Cramér-Rao floor and the matched filter. Bins with few pairs are left
    out.

    Parameters
    ----------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        Result of `~astro_denoise.photometry.check_repeatability`.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in. By default, those of a new figure.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> from astro_denoise.photometry.plots import plot_sigma68
    >>> rng = np.random.default_rng(1)
    >>> fluxes = QTable({'ref_id': np.tile(np.arange(500), 2),
    ...                  'image_id': np.repeat([1, 2], 500),
    ...                  'flux': rng.normal(10, 1, 1000),
    ...                  'flux_error': np.ones(1000),
    ...                  'i_auto': np.tile(np.linspace(20, 22, 500), 2)})
    >>> ax = plot_sigma68(check_repeatability(fluxes, seed=1))
    >>> print(ax.get_xlabel())
    i_auto
    """
    ax = axes_for(ax, 5.6, 4.2)
    table, center, step = _bins(ax, report)
    for name, label, style, color, shift in (
            ('raw_sigma68', 'raw', 'o', 'tab:orange', -1),
            ('sigma68', 'denoised', 's', 'tab:blue', 0),
            ('sigma68_over_response', 'denoised, over R', '^', 'tab:green',
             1)):
        if np.any(np.isfinite(table[name])):
            ax.errorbar(center + shift * step, table[name],
                        table[f'{name}_error'], fmt=style, color=color,
                        capsize=2, label=label)
    for name, label, style in (('floor', 'Cramér-Rao floor', 'k--'),
                               ('profile_sigma68', 'matched filter', 'k:')):
        if np.any(np.isfinite(table[name])):
            ax.plot(center, table[name], style, label=label)
    ax.axhline(1, color='0.7', zorder=0)
    ax.set_ylabel(r'$\sigma_{68}$(df)')
    add_legend(ax, fontsize='small')
    return ax


def plot_response(report, *, ax=None):
    """
    Plot the fraction of the flux that is left in each bin.

    The response R and the ratio of the fluxes are 1 for a denoiser that
    keeps flux. Bins with few pairs are left out.

    Parameters
    ----------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        Result of `~astro_denoise.photometry.check_repeatability` with
        raw fluxes.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in. By default, those of a new figure.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> from astro_denoise.photometry.plots import plot_response
    >>> rng = np.random.default_rng(1)
    >>> raw = QTable({'ref_id': np.tile(np.arange(500), 2),
    ...               'image_id': np.repeat([1, 2], 500),
    ...               'flux': rng.normal(10, 1, 1000),
    ...               'flux_error': np.ones(1000),
    ...               'i_auto': np.tile(np.linspace(20, 22, 500), 2)})
    >>> ax = plot_response(check_repeatability(raw, raw, seed=1))
    >>> print(ax.get_ylabel())
    denoised over raw flux
    """
    ax = axes_for(ax, 5.6, 4.2)
    table, center, step = _bins(ax, report)
    ax.axhspan(1 - RESPONSE_MARGIN, 1 + RESPONSE_MARGIN, color='0.95',
               zorder=-1, label='flux kept')
    for name, label, style, color, shift in (
            ('response', 'response R', 's', 'tab:blue', -0.5),
            ('flux_ratio', 'flux ratio', 'x', 'tab:red', 0.5)):
        ax.errorbar(center + shift * step, table[name],
                    table[f'{name}_error'], fmt=style, color=color,
                    capsize=2, label=label)
    ax.set_ylabel('denoised over raw flux')
    ax.legend(fontsize='small')
    return ax


def plot_repeatability(report, *, row=None, figure=None):
    """
    Plot differences, their width and the response side by side.

    Parameters
    ----------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        Result of `~astro_denoise.photometry.check_repeatability`.

    row : int, optional
        The bin whose pairs are drawn; all by default.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure with the panels of `plot_differences`, `plot_sigma68`
        and `plot_response`.

    Raises
    ------
    IndexError
        If the report has no bin ``row``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> from astro_denoise.photometry.plots import plot_repeatability
    >>> rng = np.random.default_rng(1)
    >>> raw = QTable({'ref_id': np.tile(np.arange(500), 2),
    ...               'image_id': np.repeat([1, 2], 500),
    ...               'flux': rng.normal(10, 1, 1000),
    ...               'flux_error': np.ones(1000),
    ...               'i_auto': np.tile(np.linspace(20, 22, 500), 2)})
    >>> report = check_repeatability(raw, raw, seed=1)
    >>> len(plot_repeatability(report).axes)
    3
    """
    figure = figure_for(figure, 13, 4)
    left, middle, right = figure.subplots(1, 3)
    plot_differences(report, row=row, ax=left)
    plot_sigma68(report, ax=middle)
    plot_response(report, ax=right)
    return figure


def _bins(ax, report):
    """
    Return the bins with enough pairs, their centers, and a step aside.

    Thin lines mark the edges, so that the points of a bin may stand side
    by side.
    """
    table = report.table[report.table['n'] >= FEW_PAIRS]
    edges = np.unique([table['low'], table['high']])
    for edge in edges:
        ax.axvline(edge, color='0.9', linewidth=0.8, zorder=0)
    center = (np.asarray(table['low']) + np.asarray(table['high'])) / 2
    ax.set_xlabel(report.column)
    step = 0.02 * np.ptp(edges) if len(edges) else 0.0
    return table, center, step


def plot_apertures(data, table, *, r_in=30, r_out=45, theta_sign=1,
                   percent=99.7, cmap='gray', figure=None):
    """
    Plot the apertures of a flux measurement on the frame.

    The figure shows the frame with all apertures, and nine sources from
    the highest to the lowest signal-to-noise ratio with aperture and
    annulus. Apertures are blue, or red where ``flag`` is not 0.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity` or 2D `~numpy.ndarray`
        The frame.

    table : `~astropy.table.QTable`
        Columns of the catalog and of the result of
        `~astro_denoise.photometry.annulus_photometry`.

    r_in, r_out, theta_sign : optional
        As for `~astro_denoise.photometry.annulus_photometry`.

    percent : float, optional
        The percentile of the frame that is shown brightest.

    cmap : str or `~matplotlib.colors.Colormap`, optional
        Color map of the frame. Pixels that are masked or not finite
        are orange.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure.

    Raises
    ------
    ValueError
        If the frame is not 2D or nothing in it is finite, or the table is
        empty or a column of it missing or bad.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable, hstack
    >>> from astro_denoise.photometry import annulus_photometry
    >>> from astro_denoise.photometry.plots import plot_apertures
    >>> image = np.random.default_rng(1).normal(100, 2, (120, 120))
    >>> catalog = QTable({'aperture_x': [60.0], 'aperture_y': [50.0],
    ...                   'aperture_a': [5.0], 'aperture_b': [4.0],
    ...                   'aperture_theta': [30.0]})
    >>> table = hstack([annulus_photometry(image, catalog), catalog])
    >>> figure = plot_apertures(image, table)
    >>> print(figure.axes[0].get_title())
    1 aperture, 0 flagged
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.patches import Circle

    values = plane_of(data, 'data')
    good = values[np.isfinite(values)]
    if good.size == 0:
        msg = 'data must have finite pixels, got none'
        raise ValueError(msg)
    scatter = float(mad_std(good)) or float(np.std(good)) or 1.0
    options = {'origin': 'lower', 'interpolation': 'nearest',
               'norm': stretch_of(values, scatter, percent)[0],
               'cmap': colormap(cmap)}
    apertures = aperture_table(table, wcs=getattr(data, 'wcs', None),
                               theta_sign=theta_sign)
    flagged = np.asarray(table['flag']) != 0
    snr = np.ma.filled(np.ma.asarray(
        np.asarray(table['flux'] / table['flux_error'])), np.nan)

    ny, nx = values.shape
    width = np.clip(7.0 * nx / ny, 3.5, 14.0)
    figure = figure_for(figure, width + 7.0, 7.5)
    left, right = figure.subfigures(1, 2, width_ratios=(width, 7.0))
    ax = left.subplots()
    ax.imshow(values, **options)
    _draw_apertures(ax, apertures, flagged)
    ax.set(xlabel='x [pixel]', ylabel='y [pixel]', title=(
        f'{len(table)} aperture{"s"[:len(table) != 1]}, '
        f'{np.sum(flagged)} flagged'))

    order = np.flatnonzero(np.isfinite(snr + apertures['x']
                                       + apertures['y']))
    order = order[np.argsort(-snr[order])]
    if len(order) > 9:
        order = order[np.linspace(0, len(order) - 1, 9).astype(int)]
    half = r_out + 4
    for ax, row in zip(right.subplots(3, 3).flat, order, strict=False):
        x, y = apertures['x'][row], apertures['y'][row]
        ax.imshow(values, **options)
        _draw_apertures(ax, apertures, flagged)
        for radius in (r_in, r_out):
            ax.add_patch(Circle((x, y), radius, fill=False, color='w'))
        ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half))
        ax.set_title(f'{apertures["ref_id"][row]}: S/N {snr[row]:.1f}',
                     size='small')
    for ax in right.axes:
        ax.set_axis_off()
    return figure


def _draw_apertures(ax, apertures, flagged):
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.collections import EllipseCollection

    ax.add_collection(EllipseCollection(
        2 * apertures['a'], 2 * apertures['b'],
        np.rad2deg(apertures['theta']), units='xy', facecolors='none',
        edgecolors=np.where(flagged, 'tab:red', 'tab:blue'),
        offsets=np.column_stack([apertures['x'], apertures['y']]),
        offset_transform=ax.transData))
