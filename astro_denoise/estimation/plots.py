# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Figures of posteriors.

The functions draw several panels, take ``figure`` and return it.
Without it, a new figure is made that is not known to pyplot.
"""

import warnings

import numpy as np

from ..exceptions import needs_extra
from ..frames.panels import colormap, figure_for, label_axes
from ..sky_maps.galactic_grid import grid_wcs

__all__ = ['plot_posterior', 'plot_predictive']


_LABELS = {'a_dm': 'dark matter', 'a_ic': 'inverse Compton',
           'a_pi0': 'gas', 'a_bubbles': 'bubbles',
           'n_ps_gc': 'sources, center', 'n_ps_disk': 'sources, disk',
           'n_ps_total': 'sources, all'}


def plot_posterior(samples, *, names=None, truth=None, n_bins=40,
                   color='tab:blue', figure=None):
    """
    Plot the joint posterior of the parameters of one image.

    The figure is a corner plot, made with `corner
    <https://corner.readthedocs.io>`_ [1]_.

    Parameters
    ----------
    samples : 2D `~numpy.ndarray`
        Samples of one image, shape (n_samples, n_parameters), as returned
        by `~astro_denoise.estimate_parameters`.

    names : sequence of str, optional
        Names of the parameters to show, among those of
        ``astro_denoise.estimation.PARAMETER_NAMES``; all by default.

    truth : mapping, optional
        True values by name, drawn as black lines.

    n_bins : int, optional
        Number of bins of the histograms.

    color : str, optional
        Color of histograms and contours.

    figure : `~matplotlib.figure.Figure`, optional
        Empty figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure with n x n panels for n parameters: histograms on the
        diagonal, contours that hold 68 and 95 per cent of the samples
        below it, and nothing above it.

    Raises
    ------
    ValueError
        If the samples have another shape, are not finite or not more than
        the parameters, or a name is unknown.

    References
    ----------
    .. [1] Foreman-Mackey 2016, Journal of Open Source Software 1, 24,
       https://doi.org/10.21105/joss.00024

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.estimation import plot_posterior
    >>> samples = np.random.default_rng(1).random((500, 7))
    >>> figure = plot_posterior(samples, names=['a_dm', 'n_ps_gc'])
    >>> len(figure.axes)
    4
    """
    with needs_extra('plot', 'to draw figures'):
        from corner import corner

    columns, names = _columns(samples, names)
    n = len(names)
    truths = [None if truth is None or name not in truth
              else float(truth[name]) for name in names]
    figure = figure_for(figure, 1.9 * n + 0.6, 1.9 * n + 0.6, layout=None)
    with warnings.catch_warnings():
        # A figure of the user may have a layout engine, which stays.
        warnings.filterwarnings('ignore', 'This figure was using a layout')
        corner(columns.T, bins=n_bins, fig=figure, color=color,
               range=[_range(column) for column in columns],
               labels=[_LABELS[name] for name in names], max_n_ticks=4,
               levels=(0.68, 0.95), smooth=n_bins / 25, quiet=True,
               plot_datapoints=False, plot_density=False,
               fill_contours=True, no_fill_contours=True,
               contour_kwargs={'linewidths': 0.8},
               hist_kwargs={'histtype': 'stepfilled', 'alpha': 0.6},
               # Of a single parameter, corner 2.3 cannot draw the truth.
               truths=truths if n > 1 else None, truth_color='black')
    if n == 1 and truths[0] is not None:
        figure.axes[0].axvline(truths[0], color='black')
    return figure


def plot_predictive(predicted, *, cmap='viridis', figure=None):
    """
    Plot counts, the counts that their posterior predicts, and the residual.

    Parameters
    ----------
    predicted : `~astro_denoise.estimation.PredictedImage`
        Result of `~astro_denoise.estimation.predict_image`.

    cmap : str or `~matplotlib.colors.Colormap`, optional
        Color map of the counts. Masked pixels are orange.

    figure : `~matplotlib.figure.Figure`, optional
        Empty figure to draw in. By default, a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure with three panels: counts and predicted mean in the same
        logarithmic scale, and the residual over the predicted scatter.

    Examples
    --------
    >>> from astro_denoise.data import load_fermi_map
    >>> from astro_denoise.estimation import plot_predictive, predict_image
    >>> predicted = predict_image(load_fermi_map(), exposure=1.0, seed=1,
    ...                           n_images=20)
    >>> figure = plot_predictive(predicted)
    >>> [ax.get_title() for ax in figure.axes[:4:2]]
    ['counts', 'predicted mean']
    """
    figure = figure_for(figure, 12.0, 3.9)
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.colors import LogNorm

    wcs = grid_wcs()
    seen = predicted.mean[predicted.valid]
    norm = LogNorm(max(float(seen.min()), 0.3),
                   max(float(predicted.counts.max()), 1.0))
    pull = predicted.pull
    rms = float(np.sqrt(np.nanmean(pull**2)))
    counts = np.where(predicted.valid, predicted.counts, np.nan)
    for number, (title, plane, options) in enumerate((
            ('counts', np.maximum(counts, 0.1), {'norm': norm}),
            ('predicted mean', predicted.mean, {'norm': norm}),
            (f'residual over scatter, rms {rms:.2f}', pull,
             {'vmin': -4, 'vmax': 4, 'cmap': colormap('RdBu_r')}))):
        ax = figure.add_subplot(1, 3, number + 1, projection=wcs)
        image = ax.imshow(plane, origin='lower', interpolation='nearest',
                          **{'cmap': colormap(cmap), **options})
        figure.colorbar(image, ax=ax, shrink=0.8)
        ax.set_title(title)
        label_axes(ax)
    return figure


def _columns(samples, names):
    """
    Return the samples of the parameters to show, and their names.
    """
    from ..estimation.core import PARAMETER_NAMES

    samples = np.asarray(samples, float)
    if samples.ndim != 2 or samples.shape[1] != len(PARAMETER_NAMES):
        msg = (f'samples must have shape (n_samples, {len(PARAMETER_NAMES)}) '
               f'of one image, got {samples.shape}')
        raise ValueError(msg)
    names = PARAMETER_NAMES if names is None else list(names)
    for name in names:
        if name not in PARAMETER_NAMES:
            msg = (f'names must be among {", ".join(PARAMETER_NAMES)}, got '
                   f'{name!r}')
            raise ValueError(msg)
    if not names:
        msg = 'names must hold at least one parameter, got none'
        raise ValueError(msg)
    columns = samples[:, [PARAMETER_NAMES.index(name) for name in names]].T
    if columns.shape[1] <= len(names):
        msg = (f'samples must be more than the {len(names)} parameters, got '
               f'{columns.shape[1]}')
        raise ValueError(msg)
    bad = ~np.isfinite(columns).all(axis=0)
    if bad.any():
        msg = (f'samples must be finite, got {bad.sum()} of {bad.size} that '
               f'are not: leave them out, samples[np.isfinite(samples)'
               f'.all(axis=1)]')
        raise ValueError(msg)
    return columns, names


def _range(column):
    """
    Return the limits of a panel, those of nearly all samples.
    """
    low, high = np.quantile(column, [0.002, 0.998])
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
