# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pictures of posteriors.
"""

import numpy as np

from ..exceptions import needs_extra

__all__ = ['plot_posterior']


_LABELS = {'a_dm': 'dark matter', 'a_ic': 'inverse Compton',
           'a_pi0': 'gas', 'a_bubbles': 'bubbles',
           'n_ps_gc': 'sources, centre', 'n_ps_disk': 'sources, disk',
           'n_ps_total': 'sources, all'}


def plot_posterior(samples, *, names=None, truth=None, n_bins=40,
                   color='tab:blue', figure=None):
    """
    Show the joint posterior of parameters, one against the other.

    Parameters
    ----------
    samples : 2D `~numpy.ndarray`
        Samples of one image, shape (n_samples, n_parameters), as those
        of `~astro_denoise.estimate_parameters`.

    names : sequence of str, optional
        Names of the parameters to show, among those of
        ``astro_denoise.estimation.PARAMETER_NAMES``; all by default.

    truth : mapping, optional
        True values by name, drawn as lines.

    n_bins : int, optional
        Bins of the histograms.

    color : str, optional
        The colour of the histograms.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw; by default a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The picture: histograms on the diagonal, below it contours that
        hold 68 and 95 per cent.

    Raises
    ------
    ValueError
        If the samples have another shape, or a name is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.estimation import plot_posterior
    >>> samples = np.random.default_rng(1).random((500, 7))
    >>> figure = plot_posterior(samples, names=['a_dm', 'n_ps_gc'])
    >>> len(figure.axes)
    3
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.figure import Figure

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
    columns = samples[:, [PARAMETER_NAMES.index(name) for name in names]].T
    n = len(names)
    if figure is None:
        figure = Figure(figsize=(1.9 * n + 0.6, 1.9 * n + 0.4),
                        layout='constrained')
    edges = [np.linspace(*_range(column), n_bins + 1) for column in columns]
    for row in range(n):
        for column in range(row + 1):
            axes = figure.add_subplot(n, n, row * n + column + 1)
            lines = [axes.axvline]
            if row == column:
                axes.hist(columns[row], edges[row], color=color,
                          histtype='stepfilled', alpha=0.6)
                axes.set_yticks([])
            else:
                _contours(axes, columns[column], columns[row],
                          edges[column], edges[row], color)
                axes.set_ylim(edges[row][0], edges[row][-1])
                lines.append(axes.axhline)
            axes.set_xlim(edges[column][0], edges[column][-1])
            for line, name in zip(lines, (names[column], names[row]),
                                  strict=False):
                if truth is not None and name in truth:
                    line(float(truth[name]), color='black', linewidth=1.0)
            axes.tick_params(labelsize='small', rotation=30)
            if row == n - 1:
                axes.set_xlabel(_LABELS[names[column]])
            else:
                axes.tick_params(labelbottom=False)
            if column == 0 and row > 0:
                axes.set_ylabel(_LABELS[names[row]])
            elif row != column:
                axes.tick_params(labelleft=False)
    return figure


def _range(column):
    low, high = np.quantile(column, [0.002, 0.998])
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _contours(axes, x, y, x_edges, y_edges, color):
    """Areas that hold 68 and 95 per cent of the samples."""
    from scipy.ndimage import gaussian_filter

    density, _, _ = np.histogram2d(x, y, [x_edges, y_edges])
    density = gaussian_filter(density.T, len(x_edges) / 25)
    ordered = np.sort(density.ravel())[::-1]
    share = np.cumsum(ordered) / ordered.sum()
    levels = [ordered[np.searchsorted(share, part)] for part in (0.95, 0.68)]
    if levels[0] < levels[1] < ordered[0]:
        middles = [(edges[1:] + edges[:-1]) / 2 for edges in (x_edges,
                                                              y_edges)]
        axes.contourf(*middles, density, [*levels, ordered[0]],
                      colors=[color, color], alpha=0.4)
        axes.contour(*middles, density, levels, colors=[color],
                     linewidths=0.8)
    else:
        axes.plot(x, y, '.', color=color, markersize=1.0)
