# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pictures of what two exposures say about fluxes and their errors.

Matplotlib is imported when a picture is made. The functions return a
`~matplotlib.figure.Figure` that is not known to pyplot: show it in a
notebook, or save it. To have it shown by pyplot, give a figure of pyplot
as ``figure``.
"""

import numpy as np

from .photometry.calibration import sigma68
from .photometry.repeatability import FEW_PAIRS, RESPONSE_MARGIN

__all__ = ['plot_differences', 'plot_repeatability', 'plot_response',
           'plot_sigma68']


def plot_differences(report, *, row=None, figure=None):
    r"""
    Show the differences of pairs of fluxes, each over its error.

    The width :math:`\sigma_{68}` of
    :math:`df = (f_1 - f_2)/\sqrt{\sigma_1^2 + \sigma_2^2}` is 1 where the
    errors are right; the unit normal is drawn for comparison. Pairs
    outside -5 to 5 are not drawn, but count.

    Parameters
    ----------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        Of `~astro_denoise.photometry.check_repeatability`.

    row : int, optional
        The bin whose pairs are drawn; all by default.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw; by default a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The picture.

    Raises
    ------
    IndexError
        If the report has no bin ``row``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> from astro_denoise.plotting_photometry import plot_differences
    >>> rng = np.random.default_rng(1)
    >>> fluxes = QTable({'ref_id': np.tile(np.arange(500), 2),
    ...                  'image_id': np.repeat([1, 2], 500),
    ...                  'flux': rng.normal(10, 1, 1000),
    ...                  'flux_error': np.ones(1000),
    ...                  'i_auto': np.full(1000, 21.0)})
    >>> report = check_repeatability(fluxes, seed=1)
    >>> figure = plot_differences(report, row=0)
    >>> print(figure.axes[0].get_title())
    21 ≤ i_auto < 22
    """
    figure, axes = _panel(figure)
    _draw_differences(axes, report, row)
    return figure


def plot_sigma68(report, *, figure=None):
    r"""
    Show the width of the differences in each bin.

    Drawn are :math:`\sigma_{68}` of the raw and of the denoised fluxes,
    the latter also divided by the response R, which is what may be
    compared with the raw one, and, where the report has them, the
    Cramér-Rao floor and the matched filter. Bins with few pairs are left
    out.

    Parameters
    ----------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        Of `~astro_denoise.photometry.check_repeatability`.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw; by default a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The picture.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> from astro_denoise.plotting_photometry import plot_sigma68
    >>> rng = np.random.default_rng(1)
    >>> fluxes = QTable({'ref_id': np.tile(np.arange(500), 2),
    ...                  'image_id': np.repeat([1, 2], 500),
    ...                  'flux': rng.normal(10, 1, 1000),
    ...                  'flux_error': np.ones(1000),
    ...                  'i_auto': np.tile(np.linspace(20, 22, 500), 2)})
    >>> figure = plot_sigma68(check_repeatability(fluxes, seed=1))
    >>> print(figure.axes[0].get_xlabel())
    i_auto
    """
    figure, axes = _panel(figure)
    _draw_sigma68(axes, report)
    return figure


def plot_response(report, *, figure=None):
    """
    Show in each bin how much of the flux is left.

    The response R and the ratio of the fluxes are 1 for a denoiser that
    keeps flux. Bins with few pairs are left out.

    Parameters
    ----------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        Of `~astro_denoise.photometry.check_repeatability`, with raw
        fluxes.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw; by default a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The picture.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> from astro_denoise.plotting_photometry import plot_response
    >>> rng = np.random.default_rng(1)
    >>> raw = QTable({'ref_id': np.tile(np.arange(500), 2),
    ...               'image_id': np.repeat([1, 2], 500),
    ...               'flux': rng.normal(10, 1, 1000),
    ...               'flux_error': np.ones(1000),
    ...               'i_auto': np.tile(np.linspace(20, 22, 500), 2)})
    >>> figure = plot_response(check_repeatability(raw, raw, seed=1))
    >>> print(figure.axes[0].get_ylabel())
    denoised over raw flux
    """
    figure, axes = _panel(figure)
    _draw_response(axes, report)
    return figure


def plot_repeatability(report, *, row=None, figure=None):
    """
    Show differences, their width and the response side by side.

    Parameters
    ----------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        Of `~astro_denoise.photometry.check_repeatability`.

    row : int, optional
        The bin whose pairs are drawn; all by default.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw; by default a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The picture: the panels of `plot_differences`, `plot_sigma68` and
        `plot_response`.

    Raises
    ------
    IndexError
        If the report has no bin ``row``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import check_repeatability
    >>> from astro_denoise.plotting_photometry import plot_repeatability
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
    if figure is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(13, 4), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    _draw_differences(left, report, row)
    _draw_sigma68(middle, report)
    _draw_response(right, report)
    return figure


def _panel(figure):
    if figure is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.6, 4.2), layout='constrained')
    return figure, figure.add_subplot()


def _draw_differences(axes, report, row):
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
        if np.any(np.isfinite(df)):
            axes.hist(df, edges, density=True, alpha=0.5, color=color,
                      label=rf'{label}, $\sigma_{{68}}$ = {sigma68(df):.2f}')
    x = np.linspace(-5, 5, 201)
    axes.plot(x, np.exp(-x**2 / 2) / np.sqrt(2 * np.pi), 'k-',
              label='unit normal')
    axes.set(xlabel='df', ylabel='density', title=title)
    # Above the peak there is room for what it would else cover.
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])
    axes.legend(fontsize='small')


def _bins(axes, report):
    """
    The bins with enough pairs, their centres, and a step to the side.

    Their edges become thin lines, so that the points of a bin may stand
    side by side.
    """
    table = report.table[report.table['n'] >= FEW_PAIRS]
    edges = np.unique([table['low'], table['high']])
    for edge in edges:
        axes.axvline(edge, color='0.9', linewidth=0.8, zorder=0)
    center = (np.asarray(table['low']) + np.asarray(table['high'])) / 2
    axes.set_xlabel(report.column)
    step = 0.02 * np.ptp(edges) if len(edges) else 0.0
    return table, center, step


def _draw_sigma68(axes, report):
    table, center, step = _bins(axes, report)
    for name, label, style, color, shift in (
            ('raw_sigma68', 'raw', 'o', 'tab:orange', -1),
            ('sigma68', 'denoised', 's', 'tab:blue', 0),
            ('sigma68_over_response', 'denoised, over R', '^', 'tab:green',
             1)):
        if np.any(np.isfinite(table[name])):
            axes.errorbar(center + shift * step, table[name],
                          table[f'{name}_error'], fmt=style, color=color,
                          capsize=2, label=label)
    for name, label, style in (('floor', 'Cramér-Rao floor', 'k--'),
                               ('profile_sigma68', 'matched filter', 'k:')):
        if np.any(np.isfinite(table[name])):
            axes.plot(center, table[name], style, label=label)
    axes.axhline(1, color='0.7', zorder=0)
    axes.set_ylabel(r'$\sigma_{68}$(df)')
    axes.legend(fontsize='small')


def _draw_response(axes, report):
    table, center, step = _bins(axes, report)
    axes.axhspan(1 - RESPONSE_MARGIN, 1 + RESPONSE_MARGIN, color='0.95',
                 zorder=-1, label='flux kept')
    for name, label, style, color, shift in (
            ('response', 'response R', 's', 'tab:blue', -0.5),
            ('flux_ratio', 'flux ratio', 'x', 'tab:red', 0.5)):
        axes.errorbar(center + shift * step, table[name],
                      table[f'{name}_error'], fmt=style, color=color,
                      capsize=2, label=label)
    axes.set_ylabel('denoised over raw flux')
    axes.legend(fontsize='small')
