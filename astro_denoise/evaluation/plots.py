# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Figures of the evaluation.

Matplotlib is imported when a figure is made. The functions return a
`~matplotlib.figure.Figure` that is not known to pyplot: show it in a
notebook, or save it.
"""

import math

import numpy as np

from ..exceptions import needs_extra
from .parameters import parameter_errors

__all__ = ['plot_auc_histogram', 'plot_coverage', 'plot_image_panels',
           'plot_parameters', 'plot_ranks', 'plot_reliability', 'plot_tarp',
           'plot_thresholds', 'plot_training_log']


def _figure(n_panels=1, *, width=4.2, height=3.8, n_columns=4):
    """A figure with some panels."""
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.figure import Figure

    n_columns = min(n_panels, n_columns)
    n_rows = -(-n_panels // n_columns)
    figure = Figure(figsize=(width * n_columns, height * n_rows),
                    layout='constrained')
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for panel in panels[n_panels:]:
        panel.remove()
    return figure, panels[:n_panels]


def _diagonal(axes, **labels):
    axes.plot([0, 1], [0, 1], color='0.5', linewidth=0.8, linestyle='--')
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect='equal', **labels)


def plot_auc_histogram(*scores):
    """
    Show the AUC of each image.

    Parameters
    ----------
    *scores : `~astro_denoise.evaluation.SegmentationScores`
        One panel for each.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure.

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
    figure, panels = _figure(len(scores))
    for axes, score in zip(panels, scores, strict=True):
        auc = np.asarray(score.table['auc'])
        auc = auc[np.isfinite(auc)]
        axes.hist(auc, bins='auto', color='tab:blue', alpha=0.7)
        axes.axvline(auc.mean(), color='k', linewidth=0.8)
        axes.set(title=f'approach {score.approach}: {auc.mean():.2f} ± '
                       f'{auc.std():.2f}', xlabel='AUC', ylabel='images')
    return figure


def plot_thresholds(table):
    """
    Show what a cut value does to the masks.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        From `~astro_denoise.evaluation.scan_thresholds`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import (plot_thresholds,
    ...                                       scan_thresholds)
    >>> score = np.array([[0.1, 0.2], [0.6, 0.7]])
    >>> figure = plot_thresholds(scan_thresholds(score, [[0, 0], [1, 2]]))
    >>> len(figure.axes)
    1
    """
    figure, (axes,) = _figure(width=6.0)
    for name, label in (('accuracy_a', 'accuracy, all sources (A)'),
                        ('accuracy_b', 'accuracy, N brightest (B)'),
                        ('completeness', 'completeness'),
                        ('purity', 'purity'), ('f1', 'F1')):
        axes.plot(table['threshold'], table[name], label=label)
    axes.axvline(table.meta['best_f1'], color='0.5', linewidth=0.8)
    axes.set(xlabel='cut value', ylim=(0, 1.02))
    axes.legend(fontsize='small')
    return figure


def plot_reliability(table):
    """
    Show how often what was called likely was there.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        From `~astro_denoise.evaluation.reliability`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure, with the number of pixels below.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import plot_reliability, reliability
    >>> table = reliability(np.linspace(0, 1, 100), np.arange(100) > 50)
    >>> figure = plot_reliability(table)
    >>> print(figure.axes[0].get_ylabel())
    fraction with a source
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 5.2), layout='constrained')
    above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    _diagonal(above, ylabel='fraction with a source')
    above.errorbar(table['probability'], table['fraction'], table['error'],
                   marker='o', markersize=4, color='tab:blue')
    error = table.meta['calibration_error']
    above.set_title(f'mean difference {error:.3f}')
    below.plot(table['probability'], table['n'], marker='o', markersize=3,
               color='0.4')
    n = np.maximum(table['n'], 1)
    below.set(yscale='log', ylabel='pixels', xlabel='probability',
              ylim=(n.min() / 3, n.max() * 3))
    return figure


def plot_parameters(estimated, truth, names=None, *, errors=None):
    """
    Show estimated against true parameters.

    Parameters
    ----------
    estimated, truth : `~astropy.table.Table` or mapping
        Columns named as the parameters, with a row per image.

    names : sequence of str, optional
        The parameters; `None` takes all that both have.

    errors : mapping, optional
        Standard deviations of the estimates; columns ``<name>_std`` of
        ``estimated`` may be given so.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure, a panel for each parameter; titles name the mean
        absolute error on the scale of the prior.

    Examples
    --------
    >>> from astro_denoise.evaluation import plot_parameters
    >>> figure = plot_parameters({'a_dm': [0.31, 0.52]},
    ...                          {'a_dm': [0.30, 0.50]})
    >>> print(figure.axes[0].get_title())
    a_dm: MAE 0.0150
    """
    table = parameter_errors(estimated, truth, names)
    figure, panels = _figure(len(table))
    for axes, row in zip(panels, table, strict=True):
        name = str(row['parameter'])
        x, y = np.asarray(truth[name]), np.asarray(estimated[name])
        if errors is not None and name in errors:
            axes.errorbar(x, y, np.asarray(errors[name]), fmt='none',
                          elinewidth=0.3, color='tab:blue', alpha=0.3)
        axes.plot(x, y, '.', markersize=2, color='tab:blue', alpha=0.5)
        ends = min(x.min(), y.min()), max(x.max(), y.max())
        axes.plot(ends, ends, color='k', linewidth=0.8)
        axes.set(title=f'{name}: MAE {row["mae"]:.4f}', xlabel='true',
                 ylabel='estimated')
    return figure


def plot_ranks(ranks, n_samples, *, names=None, n_bins=20):
    """
    Show rank statistics, which are flat for exact posteriors.

    Parameters
    ----------
    ranks : 2D `~numpy.ndarray` of int
        From `~astro_denoise.evaluation.rank_statistics`.

    n_samples : int
        Number of posterior samples that were ranked.

    names : sequence of str, optional
        Names of the parameters.

    n_bins : int, optional
        Number of bins. The band holds 95 per cent of what chance would
        give.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure, a panel for each parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import plot_ranks
    >>> ranks = np.random.default_rng(1).integers(0, 101, (500, 2))
    >>> figure = plot_ranks(ranks, 100, names=['a_dm', 'n_ps_gc'])
    >>> [axes.get_title() for axes in figure.axes]
    ['a_dm', 'n_ps_gc']
    """
    from scipy.stats import binom

    ranks = np.asarray(ranks)
    n, k = ranks.shape
    names = names or [f'parameter_{index}' for index in range(k)]
    figure, panels = _figure(k, height=3.0)
    low, high = binom.ppf((0.025, 0.975), n, 1.0 / n_bins)
    for axes, name, column in zip(panels, names, ranks.T, strict=True):
        axes.axhspan(low, high, color='0.85')
        axes.hist((column + 0.5) / (n_samples + 1), bins=n_bins,
                  range=(0, 1), color='tab:blue', alpha=0.7)
        axes.set(title=name, xlabel='rank of the truth', ylabel='images')
    return figure


def plot_coverage(table):
    """
    Show how often credible intervals hold the truth.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        From `~astro_denoise.evaluation.expected_coverage`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure, a line for each parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import (expected_coverage,
    ...                                       plot_coverage)
    >>> rng = np.random.default_rng(1)
    >>> figure = plot_coverage(expected_coverage(
    ...     rng.normal(size=(300, 50, 2)), rng.normal(size=(300, 2))))
    >>> print(figure.axes[0].get_xlabel())
    probability of the interval
    """
    figure, (axes,) = _figure()
    _diagonal(axes, xlabel='probability of the interval',
              ylabel='fraction that holds the truth')
    level, error = np.asarray(table['level']), np.asarray(table['error'])
    axes.fill_between(level, level - 2 * error, level + 2 * error,
                      color='0.85', linewidth=0)
    for name in table.colnames:
        if name not in ('level', 'error'):
            axes.plot(level, table[name], label=name, linewidth=1.0)
    axes.legend(fontsize='small')
    return figure


def plot_tarp(table):
    """
    Show the coverage of the joint posterior.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        From `~astro_denoise.evaluation.tarp_coverage`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure; the band is two standard deviations.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import plot_tarp, tarp_coverage
    >>> rng = np.random.default_rng(1)
    >>> figure = plot_tarp(tarp_coverage(
    ...     rng.normal(size=(300, 50, 2)), rng.normal(size=(300, 2))))
    >>> print(figure.axes[0].get_xlabel())
    credibility level
    """
    figure, (axes,) = _figure()
    _diagonal(axes, xlabel='credibility level', ylabel='expected coverage')
    coverage, error = (np.asarray(table[name])
                       for name in ('coverage', 'error'))
    axes.fill_between(table['level'], coverage - 2 * error,
                      coverage + 2 * error, color='tab:blue', alpha=0.3,
                      linewidth=0)
    axes.plot(table['level'], coverage, color='tab:blue')
    axes.set_title(f'largest deviation {table.meta["deviation"]:.3f}')
    return figure


def plot_training_log(log, *, name='mse'):
    """
    Show a number of the training log against the epoch.

    Parameters
    ----------
    log : `~astropy.table.Table`
        As it lies beside the weights, in ``.ecsv``.

    name : str, optional
        ``'mse'``, ``'mae'``, ``'loss'``, or ``'accuracy'`` where there is
        one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure: lines for training and validation, and the epoch
        whose weights were kept.

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
    >>> figure = plot_training_log(log)
    >>> print(figure.axes[0].get_ylabel())
    mse
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.ticker import MaxNLocator

    for column in (f'train_{name}', f'validation_{name}'):
        if column not in log.colnames:
            msg = f'the log has no column {column!r}, only {log.colnames}'
            raise ValueError(msg)
    figure, (axes,) = _figure(width=6.0)
    for part in ('train', 'validation'):
        axes.plot(log['epoch'], log[f'{part}_{name}'], label=part)
    kept = np.asarray(log['epoch'])[np.asarray(log['kept'], bool)]
    axes.axvline(kept[0], color='0.5', linewidth=0.8, label='kept')
    axes.set(xlabel='epoch', ylabel=name,
             yscale='linear' if name == 'accuracy' else 'log')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def plot_image_panels(original, noisy, denoised, *, row=None,
                      cmap='inferno'):
    """
    Show an image, its noisy version, the denoised one and a profile.

    Parameters
    ----------
    original, noisy : 2D `~numpy.ndarray`
        The images.

    denoised : 2D `~numpy.ndarray` or mapping
        What came out, or several under their names.

    row : int, optional
        Row of the profile; `None` takes the one with the brightest pixel
        of the original.

    cmap : str, optional
        The colours, one stretch (square root) for all panels.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure.

    Raises
    ------
    ValueError
        If the images are not of one shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import plot_image_panels
    >>> image = np.eye(8)
    >>> figure = plot_image_panels(image, 1 - image, {'a': image})
    >>> [axes.get_title() for axes in figure.axes]
    ['original', 'noisy', 'a', 'row 0']
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.colors import PowerNorm

    if not hasattr(denoised, 'items'):
        denoised = {'denoised': denoised}
    images = {'original': original, 'noisy': noisy, **denoised}
    images = {name: np.asarray(image) for name, image in images.items()}
    shapes = {image.shape for image in images.values()}
    if len(shapes) > 1 or images['original'].ndim != 2:
        msg = f'the images must be 2D and of one shape, got {sorted(shapes)}'
        raise ValueError(msg)
    original = images['original']
    if row is None:
        row = int(np.nanargmax(original) // original.shape[1])
    figure, panels = _figure(len(images) + 1, width=3.4, height=3.2,
                             n_columns=math.ceil((len(images) + 1) / 2)
                             if len(images) > 4 else 5)
    norm = PowerNorm(0.5, vmin=0.0, vmax=float(np.nanmax(original)))
    for axes, (name, image) in zip(panels[:-1], images.items(),
                                   strict=True):
        axes.imshow(image, origin='lower', norm=norm, cmap=cmap,
                    interpolation='nearest')
        axes.set_title(name)
        axes.axhline(row, color='w', linewidth=0.5, linestyle=':')
    styles = {'original': {'color': 'k'},
              'noisy': {'color': '0.7', 'linewidth': 0.8}}
    for name, image in images.items():
        panels[-1].step(np.arange(image.shape[1]), image[row], where='mid',
                        label=name, **styles.get(name, {}))
    panels[-1].set(title=f'row {row}', xlabel='x [pixel]')
    panels[-1].legend(fontsize='small')
    return figure
