# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pictures of what two exposures say about fluxes and their errors.

Matplotlib is imported when a picture is made. The functions return a
`~matplotlib.figure.Figure` that is not known to pyplot: show it in a
notebook, or save it. To have it shown by pyplot, give a figure of pyplot
as ``figure``.
"""

import numpy as np
from astropy.stats import mad_std

from ..exceptions import needs_extra
from ..frames.panels import BAD_COLOR, plane_of, stretch_of
from .calibration import sigma68
from .tables import aperture_table
from .verdict import FEW_PAIRS, RESPONSE_MARGIN

__all__ = ['plot_apertures', 'plot_differences', 'plot_repeatability',
           'plot_response', 'plot_sigma68']


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
    >>> from astro_denoise.photometry.plots import plot_differences
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
    >>> from astro_denoise.photometry.plots import plot_sigma68
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
    >>> from astro_denoise.photometry.plots import plot_response
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
    if figure is None:
        with needs_extra('plot', 'to draw figures'):
            from matplotlib.figure import Figure

        figure = Figure(figsize=(13, 4), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    _draw_differences(left, report, row)
    _draw_sigma68(middle, report)
    _draw_response(right, report)
    return figure


def _panel(figure):
    if figure is None:
        with needs_extra('plot', 'to draw figures'):
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


def plot_apertures(data, table, *, r_in=30, r_out=45, theta_sign=1,
                   percent=99.7, cmap='gray', figure=None):
    """
    Show where fluxes were measured.

    The frame with all apertures, and nine sources from the highest to the
    lowest signal-to-noise ratio with aperture and annulus. Apertures are
    blue, or red where ``flag`` is not 0.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity` or 2D `~numpy.ndarray`
        The frame.

    table : `~astropy.table.QTable`
        Columns of the catalogue and of the result of
        `~astro_denoise.photometry.annulus_photometry`.

    r_in, r_out, theta_sign : optional
        As for `~astro_denoise.photometry.annulus_photometry`.

    percent : float, optional
        The percentile of the frame that is shown brightest.

    cmap : str or `~matplotlib.colors.Colormap`, optional
        The colours of the frame. Pixels that are masked or not finite
        are orange.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw; by default a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The picture.

    Raises
    ------
    ValueError
        If the frame is not 2D or nothing in it is finite, or a column is
        missing or bad.

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
        from matplotlib import colormaps
        from matplotlib.figure import Figure
        from matplotlib.patches import Circle

    values = plane_of(data, 'data')
    good = values[np.isfinite(values)]
    if good.size == 0:
        msg = 'data must have finite pixels, got none'
        raise ValueError(msg)
    scatter = float(mad_std(good)) or float(np.std(good)) or 1.0
    options = {'origin': 'lower', 'interpolation': 'nearest',
               'norm': stretch_of(values, scatter, percent)[0],
               'cmap': colormaps.get_cmap(cmap).with_extremes(
                   bad=BAD_COLOR)}
    apertures = aperture_table(table, wcs=getattr(data, 'wcs', None),
                               theta_sign=theta_sign)
    flagged = np.asarray(table['flag']) != 0
    snr = np.ma.filled(np.ma.asarray(
        np.asarray(table['flux'] / table['flux_error'])), np.nan)

    ny, nx = values.shape
    width = np.clip(7.0 * nx / ny, 3.5, 14.0)
    if figure is None:
        figure = Figure(figsize=(width + 7.0, 7.5), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(width, 7.0))
    axes = left.subplots()
    axes.imshow(values, **options)
    _draw_apertures(axes, apertures, flagged)
    axes.set(xlabel='x [pixel]', ylabel='y [pixel]', title=(
        f'{len(table)} aperture{"s"[:len(table) > 1]}, '
        f'{np.sum(flagged)} flagged'))

    order = np.flatnonzero(np.isfinite(snr))
    order = order[np.argsort(-snr[order])]
    if len(order) > 9:
        order = order[np.linspace(0, len(order) - 1, 9).astype(int)]
    half = r_out + 4
    for axes, row in zip(right.subplots(3, 3).flat, order, strict=False):
        x, y = apertures['x'][row], apertures['y'][row]
        axes.imshow(values, **options)
        _draw_apertures(axes, apertures, flagged)
        for radius in (r_in, r_out):
            axes.add_patch(Circle((x, y), radius, fill=False, color='w'))
        axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half))
        axes.set_title(f'{apertures["ref_id"][row]}: S/N {snr[row]:.1f}',
                       size='small')
    for axes in right.axes:
        axes.set_axis_off()
    return figure


def _draw_apertures(axes, apertures, flagged):
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.collections import EllipseCollection

    axes.add_collection(EllipseCollection(
        2 * apertures['a'], 2 * apertures['b'],
        np.rad2deg(apertures['theta']), units='xy', facecolors='none',
        edgecolors=np.where(flagged, 'tab:red', 'tab:blue'),
        offsets=np.column_stack([apertures['x'], apertures['y']]),
        offset_transform=axes.transData))
