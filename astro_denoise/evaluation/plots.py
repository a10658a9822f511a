# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Figures of scores.

`plot_thresholds`, `plot_coverage`, `plot_tarp` and `plot_training_log` draw
one panel, take ``ax`` and return it; the others draw several, take
``figure`` and return it. Without the argument, a new figure is made that is
not known to pyplot.
"""

import math

import numpy as np

from ..exceptions import needs_extra
from ..frames.panels import (
    add_legend,
    axes_for,
    colormap,
    figure_for,
    plane_of,
)
from .parameters import parameter_errors

__all__ = ['plot_auc_histogram', 'plot_coverage', 'plot_image_panels',
           'plot_parameters', 'plot_ranks', 'plot_reliability', 'plot_tarp',
           'plot_thresholds', 'plot_training_log']


def _panels(figure, n_panels, *, width=4.2, height=3.8, n_columns=4):
    """Return a figure and new panels in it."""
    n_columns = min(n_panels, n_columns)
    n_rows = -(-n_panels // n_columns)
    figure = figure_for(figure, width * n_columns, height * n_rows)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for panel in panels[n_panels:]:
        panel.remove()
    return figure, panels[:n_panels]


def _diagonal(ax, **labels):
    ax.plot([0, 1], [0, 1], color='0.5', linewidth=0.8, linestyle='--')
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect='equal', **labels)


def _scored(table, key, function):
    """Return a value that the function of a table put into its meta."""
    if key not in table.meta:
        msg = (f'table must have {key!r} in its meta, as the result of '
               f'{function} has')
        raise ValueError(msg)
    return table.meta[key]


def plot_auc_histogram(*scores, figure=None):
    """
    Plot histograms of the AUC of single images.

    Parameters
    ----------
    *scores : `~astro_denoise.evaluation.SegmentationScores`
        One panel for each. Images without an AUC are left out.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure.

    Raises
    ------
    ValueError
        If there are no scores.

    Examples
    --------
    >>> from astro_denoise.evaluation import (plot_auc_histogram,
    ...                                       score_segmentation)
    >>> from astro_denoise.simulation import GalacticCenterSimulator
    >>> images, _, sources = GalacticCenterSimulator('legacy').sample(
    ...     20, seed=1)
    >>> scores = score_segmentation(images, sources['gc'] + sources['disk'])
    >>> figure = plot_auc_histogram(scores)
    >>> print(figure.axes[0].get_xlabel())
    AUC
    """
    if not scores:
        msg = 'scores must be at least one, got none'
        raise ValueError(msg)
    figure, panels = _panels(figure, len(scores))
    for ax, score in zip(panels, scores, strict=True):
        auc = np.asarray(score.table['auc'])
        auc = auc[np.isfinite(auc)]
        spread = 'not defined'
        if auc.size:
            spread = f'{auc.mean():.2f} ± {auc.std():.2f}'
            ax.hist(auc, bins='auto', color='tab:blue', alpha=0.7)
            ax.axvline(auc.mean(), color='k', linewidth=0.8)
        ax.set(title=f'approach {score.table.meta["approach"]}: {spread}',
               xlabel='AUC', ylabel='images')
    return figure


def plot_thresholds(table, *, ax=None):
    """
    Plot the scores of masks against the cut value.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        Result of `~astro_denoise.evaluation.scan_thresholds`.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in. By default, those of a new figure.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``.

    Raises
    ------
    ValueError
        If the meta of the table does not hold the best threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import (plot_thresholds,
    ...                                       scan_thresholds)
    >>> score = np.array([[0.1, 0.2], [0.6, 0.7]])
    >>> ax = plot_thresholds(scan_thresholds(score, [[0, 0], [1, 2]]))
    >>> print(ax.get_xlabel())
    cut value
    """
    ax = axes_for(ax, 6.0, 3.8)
    for name, label in (('accuracy_a', 'accuracy, all sources (A)'),
                        ('accuracy_b', 'accuracy, N brightest (B)'),
                        ('completeness', 'completeness'),
                        ('purity', 'purity'), ('f1', 'F1')):
        ax.plot(table['threshold'], table[name], label=label)
    ax.axvline(_scored(table, 'best_f1', 'scan_thresholds'), color='0.5',
               linewidth=0.8)
    ax.set(xlabel='cut value', ylim=(0, 1.02))
    ax.legend(fontsize='small')
    return ax


def plot_reliability(table, *, figure=None):
    """
    Plot a reliability diagram.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        Result of `~astro_denoise.evaluation.reliability`.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure with the fraction of pixels with a source, and the
        number of pixels below.

    Raises
    ------
    ValueError
        If the meta of the table does not hold the calibration error.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import plot_reliability, reliability
    >>> table = reliability(np.linspace(0, 1, 100), np.arange(100) > 50)
    >>> figure = plot_reliability(table)
    >>> print(figure.axes[0].get_ylabel())
    fraction with a source
    """
    figure = figure_for(figure, 4.2, 5.2)
    above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    _diagonal(above, ylabel='fraction with a source')
    above.errorbar(table['probability'], table['fraction'], table['error'],
                   marker='o', markersize=4, color='tab:blue')
    error = _scored(table, 'calibration_error', 'reliability')
    above.set_title(f'mean difference {error:.3f}')
    below.plot(table['probability'], table['n'], marker='o', markersize=3,
               color='0.4')
    below.set(yscale='log', ylabel='pixels', xlabel='probability')
    if len(table):
        n = np.maximum(table['n'], 1)
        below.set_ylim(n.min() / 3, n.max() * 3)
    return figure


def plot_parameters(estimated, truth, names=None, *, errors=None,
                    figure=None):
    """
    Plot estimated against true parameters.

    Parameters
    ----------
    estimated, truth : `~astropy.table.Table` or mapping
        Columns named as the parameters, with a row per image.

    names : sequence of str, optional
        The parameters; `None` takes all that both have.

    errors : mapping, optional
        Standard deviations of the estimates; columns ``<name>_std`` of
        ``estimated`` may be given so.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure, a panel for each parameter; titles name the mean
        absolute error on the scale of the prior.

    Raises
    ------
    ValueError
        If the tables are of different length, are empty, hold masked or
        non-finite values, or have no parameter in common.

    Examples
    --------
    >>> from astro_denoise.evaluation import plot_parameters
    >>> figure = plot_parameters({'a_dm': [0.31, 0.52]},
    ...                          {'a_dm': [0.30, 0.50]})
    >>> print(figure.axes[0].get_title())
    a_dm: MAE 0.0150
    """
    table = parameter_errors(estimated, truth, names)
    figure, panels = _panels(figure, len(table))
    for ax, row in zip(panels, table, strict=True):
        name = str(row['parameter'])
        x, y = np.asarray(truth[name]), np.asarray(estimated[name])
        if errors is not None and name in errors:
            ax.errorbar(x, y, np.asarray(errors[name]), fmt='none',
                        elinewidth=0.3, color='tab:blue', alpha=0.3)
        ax.plot(x, y, '.', markersize=2, color='tab:blue', alpha=0.5)
        ends = min(x.min(), y.min()), max(x.max(), y.max())
        ax.plot(ends, ends, color='k', linewidth=0.8)
        ax.set(title=f'{name}: MAE {row["mae"]:.4f}', xlabel='true',
               ylabel='estimated')
    return figure


def plot_ranks(ranks, *, n_bins=20, figure=None):
    """
    Plot rank statistics, which are flat for exact posteriors.

    Parameters
    ----------
    ranks : `~astropy.table.QTable`
        Result of `~astro_denoise.evaluation.rank_statistics`.

    n_bins : int, optional
        Number of bins. The band holds 95 per cent of what chance would
        give.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure, a panel for each parameter.

    Raises
    ------
    ValueError
        If the meta of the table does not hold the number of samples.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import plot_ranks, rank_statistics
    >>> rng = np.random.default_rng(1)
    >>> figure = plot_ranks(rank_statistics(
    ...     rng.normal(size=(300, 50, 2)), rng.normal(size=(300, 2)),
    ...     names=['a_dm', 'n_ps_gc']))
    >>> [ax.get_title() for ax in figure.axes]
    ['a_dm', 'n_ps_gc']
    """
    from scipy.stats import binom

    n_samples = _scored(ranks, 'n_samples', 'rank_statistics')
    figure, panels = _panels(figure, len(ranks.colnames), height=3.0)
    low, high = binom.ppf((0.025, 0.975), len(ranks), 1.0 / n_bins)
    for ax, name in zip(panels, ranks.colnames, strict=True):
        ax.axhspan(low, high, color='0.85')
        ax.hist((np.asarray(ranks[name]) + 0.5) / (n_samples + 1),
                bins=n_bins, range=(0, 1), color='tab:blue', alpha=0.7)
        ax.set(title=name, xlabel='rank of the truth', ylabel='images')
    return figure


def plot_coverage(table, *, ax=None):
    """
    Plot the coverage of credible intervals.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        Result of `~astro_denoise.evaluation.expected_coverage`.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in. By default, those of a new figure.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``, with a line for each
        parameter; the band is two standard deviations.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import (expected_coverage,
    ...                                       plot_coverage)
    >>> rng = np.random.default_rng(1)
    >>> ax = plot_coverage(expected_coverage(
    ...     rng.normal(size=(300, 50, 2)), rng.normal(size=(300, 2))))
    >>> print(ax.get_xlabel())
    probability of the interval
    """
    ax = axes_for(ax, 4.2, 3.8)
    _diagonal(ax, xlabel='probability of the interval',
              ylabel='fraction that holds the truth')
    level, error = np.asarray(table['level']), np.asarray(table['error'])
    ax.fill_between(level, level - 2 * error, level + 2 * error,
                    color='0.85', linewidth=0)
    for name in table.colnames:
        if name not in ('level', 'error'):
            ax.plot(level, table[name], label=name, linewidth=1.0)
    add_legend(ax, fontsize='small')
    return ax


def plot_tarp(table, *, ax=None):
    """
    Plot the coverage of the joint posterior.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        Result of `~astro_denoise.evaluation.tarp_coverage`.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in. By default, those of a new figure.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``; the band is two
        standard deviations.

    Raises
    ------
    ValueError
        If the meta of the table does not hold the largest deviation.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import plot_tarp, tarp_coverage
    >>> rng = np.random.default_rng(1)
    >>> ax = plot_tarp(tarp_coverage(
    ...     rng.normal(size=(300, 50, 2)), rng.normal(size=(300, 2))))
    >>> print(ax.get_xlabel())
    credibility level
    """
    ax = axes_for(ax, 4.2, 3.8)
    _diagonal(ax, xlabel='credibility level', ylabel='expected coverage')
    coverage, error = (np.asarray(table[name])
                       for name in ('coverage', 'error'))
    ax.fill_between(table['level'], coverage - 2 * error,
                    coverage + 2 * error, color='tab:blue', alpha=0.3,
                    linewidth=0)
    ax.plot(table['level'], coverage, color='tab:blue')
    deviation = _scored(table, 'deviation', 'tarp_coverage')
    ax.set_title(f'largest deviation {deviation:.3f}')
    return ax


def plot_training_log(log, *, name='mse', ax=None):
    """
    Plot a column of the training log against the epoch.

    Parameters
    ----------
    log : `~astropy.table.Table`
        As it lies beside the weights, in ``.ecsv``.

    name : str, optional
        ``'mse'``, ``'mae'``, ``'loss'``, or ``'accuracy'`` where there is
        one.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in. By default, those of a new figure.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``, with lines for training
        and validation, and the epoch whose weights were kept.

    Raises
    ------
    ValueError
        If the log does not have the number.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astro_denoise.evaluation import plot_training_log
    >>> log = Table({'epoch': [1, 2], 'train_mse': [0.3, 0.2],
    ...              'validation_mse': [0.4, 0.3], 'kept': [False, True]})
    >>> ax = plot_training_log(log)
    >>> print(ax.get_ylabel())
    mse
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.ticker import MaxNLocator

    for column in (f'train_{name}', f'validation_{name}'):
        if column not in log.colnames:
            msg = f'the log has no column {column!r}, only {log.colnames}'
            raise ValueError(msg)
    ax = axes_for(ax, 6.0, 3.8)
    for part in ('train', 'validation'):
        ax.plot(log['epoch'], log[f'{part}_{name}'], label=part)
    for kept in np.asarray(log['epoch'])[np.asarray(log['kept'], bool)][:1]:
        ax.axvline(kept, color='0.5', linewidth=0.8, label='kept')
    ax.set(xlabel='epoch', ylabel=name,
           yscale='linear' if name == 'accuracy' else 'log')
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return ax


def plot_image_panels(original, noisy, denoised, *, row=None,
                      cmap='inferno', figure=None):
    """
    Plot an image, its noisy version, the denoised one and a profile.

    Parameters
    ----------
    original, noisy : 2D `~numpy.ndarray`
        The images.

    denoised : 2D `~numpy.ndarray` or mapping
        The denoised image, or several under their names.

    row : int, optional
        Row of the profile; `None` takes the one with the brightest pixel
        of the original.

    cmap : str or `~matplotlib.colors.Colormap`, optional
        Color map; all panels have the same stretch, a square root. Pixels
        that are masked or not finite are orange.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure.

    Raises
    ------
    ValueError
        If the images are not 2D and of one shape, or nothing in the
        original is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import plot_image_panels
    >>> image = np.eye(8)
    >>> figure = plot_image_panels(image, 1 - image, {'a': image})
    >>> [ax.get_title() for ax in figure.axes]
    ['original', 'noisy', 'a', 'row 0']
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.colors import PowerNorm

    if not hasattr(denoised, 'items'):
        denoised = {'denoised': denoised}
    images = {'original': original, 'noisy': noisy, **denoised}
    images = {name: plane_of(image, name) for name, image in images.items()}
    shapes = {image.shape for image in images.values()}
    if len(shapes) > 1:
        msg = f'the images must be of one shape, got {sorted(shapes)}'
        raise ValueError(msg)
    original = images['original']
    if not np.isfinite(original).any():
        msg = 'original must have finite pixels, got none'
        raise ValueError(msg)
    if row is None:
        row = int(np.nanargmax(original) // original.shape[1])
    figure, panels = _panels(figure, len(images) + 1, width=3.4, height=3.2,
                             n_columns=math.ceil((len(images) + 1) / 2)
                             if len(images) > 4 else 5)
    brightest = float(np.nanmax(original))
    norm = PowerNorm(0.5, vmin=0.0, vmax=brightest if brightest > 0 else 1.0)
    for ax, (name, image) in zip(panels[:-1], images.items(), strict=True):
        ax.imshow(image, origin='lower', norm=norm, cmap=colormap(cmap),
                  interpolation='nearest')
        ax.set_title(name)
        ax.axhline(row, color='w', linewidth=0.5, linestyle=':')
    styles = {'original': {'color': 'k'},
              'noisy': {'color': '0.7', 'linewidth': 0.8}}
    for name, image in images.items():
        panels[-1].step(np.arange(image.shape[1]), image[row], where='mid',
                        label=name, **styles.get(name, {}))
    panels[-1].set(title=f'row {row}', xlabel='x [pixel]')
    panels[-1].legend(fontsize='small')
    return figure
