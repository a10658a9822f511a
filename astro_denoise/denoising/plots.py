# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Figures of a frame before and after denoising.

`plot_profile` draws one panel, takes ``ax`` and returns it;
`plot_denoised` draws several, takes ``figure`` and returns it. Without
the argument, a new figure is made that is not known to pyplot.
"""

import numpy as np
from astropy.nddata import StdDevUncertainty
from astropy.stats import mad_std
from astropy.units import Quantity

from ..frames.panels import (
    axes_for,
    colormap,
    figure_for,
    label_axes,
    plane_of,
    stretch_of,
)

__all__ = ['plot_denoised', 'plot_profile']


def plot_denoised(before, after, *, uncertainty=None, percent=99.7,
                  cmap='gray', figure=None):
    """
    Plot a frame before and after denoising, and the residual.

    Both frames have the same stretch. The residual is in units of the
    noise; if the denoiser is good, it contains noise only and no trace of
    the sources.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity` or 2D `~numpy.ndarray`
        The frames. The axes are those of the sky if ``before`` has a WCS.

    uncertainty : `~astropy.nddata.NDUncertainty`, 2D `~numpy.ndarray` \
            or float, optional
        Noise of ``before``; plain numbers are standard deviations in
        its unit. `None` takes the uncertainty of ``before`` and, if
        there is none, the robust standard deviation of the residual.

    percent : float, optional
        The percentile of ``before`` that is shown brightest.

    cmap : str or `~matplotlib.colors.Colormap`, optional
        Color map of the frames. Pixels that are masked or not finite
        are orange.

    figure : `~matplotlib.figure.Figure`, optional
        Figure to draw in, best with ``layout='compressed'``. By default,
        a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure with three panels and two color bars.

    Raises
    ------
    ValueError
        If the frames are not 2D, their shapes differ, or no pixel is
        finite in both.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.denoising import plot_denoised
    >>> noisy = np.random.default_rng(1).normal(100, 5, (64, 64))
    >>> figure = plot_denoised(noisy, np.full((64, 64), 100.0))
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['before', 'after', 'residual']
    """
    frames, unit, wcs = _frames(before, after)
    ny, nx = frames[0].shape
    height = np.clip(3.9 * ny / nx, 1.5, 9.0) + 1.25
    figure = figure_for(figure, 12.6, height, layout='compressed')
    residual = frames[0] - frames[1]
    good = residual[np.isfinite(residual)]
    if good.size == 0:
        msg = 'before and after must have pixels finite in both, got none'
        raise ValueError(msg)
    scatter = float(mad_std(good)) or float(np.std(good)) or 1.0
    sigma = _noise(before, uncertainty)
    if sigma is None:
        sigma = scatter
    elif np.any(known := np.isfinite(sigma) & (sigma > 0)):
        scatter = float(np.median(sigma[known]))
    with np.errstate(divide='ignore', invalid='ignore'):
        residual = residual / sigma

    norm, sky = stretch_of(frames[0], scatter, percent)
    axes = [figure.add_subplot(1, 3, 1, projection=wcs)]
    axes += [figure.add_subplot(1, 3, number, projection=wcs,
                                sharex=axes[0], sharey=axes[0])
             for number in (2, 3)]
    images = [ax.imshow(frame, origin='lower', norm=norm,
                        cmap=colormap(cmap), interpolation='nearest')
              for ax, frame in zip(axes, frames, strict=False)]
    images.append(axes[2].imshow(
        residual, origin='lower', vmin=-3, vmax=3, interpolation='nearest',
        cmap=colormap('RdBu_r')))
    for ax, title in zip(axes, ('before', 'after', 'residual'), strict=True):
        ax.set_title(title)
        label_axes(ax, with_y=ax is axes[0])

    options = {'orientation': 'horizontal', 'pad': 0.02, 'aspect': 40}
    levels = _round_levels(sky, scatter, norm.vmin, norm.vmax)
    figure.colorbar(images[0], ax=axes[:2], shrink=0.6, ticks=levels,
                    label=_unit_label('value', unit), format='%g', **options)
    figure.colorbar(images[2], ax=axes[2],
                    label='(before - after) / noise',
                    **{**options, 'aspect': 25})
    return figure


def plot_profile(before, after, *, row=None, column=None, sigma=1.0,
                 ax=None):
    """
    Plot one row or column of a frame before and after denoising.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, \
            `~astropy.units.Quantity` or 2D `~numpy.ndarray`
        The frames. The uncertainty of ``after``, if it has one, is drawn
        as a band.

    row, column : int, optional
        The row or the column to show; without either, the middle row.

    sigma : float, optional
        Half width of the band in standard deviations.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in. By default, those of a new figure.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``.

    Raises
    ------
    ValueError
        If the frames are not 2D, their shapes differ, both ``row`` and
        ``column`` are given, or it is outside the frame.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.denoising import plot_profile
    >>> noisy = np.random.default_rng(1).normal(100, 5, (64, 64))
    >>> ax = plot_profile(noisy, np.full((64, 64), 100.0), row=20)
    >>> print(ax.get_title())
    row 20
    """
    ax = axes_for(ax, 9.0, 4.0)
    frames, unit, _ = _frames(before, after)
    if row is not None and column is not None:
        msg = f'give row or column, not both, got {row!r} and {column!r}'
        raise ValueError(msg)
    name, number, axis = 'row', row, 0
    if column is not None:
        name, number, axis = 'column', column, 1
    elif row is None:
        number = frames[0].shape[0] // 2
    if not 0 <= number < frames[0].shape[axis]:
        msg = (f'{name} must lie within 0-{frames[0].shape[axis] - 1}, got '
               f'{number!r}')
        raise ValueError(msg)

    lines = [np.take(frame, number, axis=axis) for frame in frames]
    pixels = np.arange(len(lines[0]))
    ax.step(pixels, lines[0], where='mid', color='0.6', linewidth=0.8,
            label='before')
    ax.step(pixels, lines[1], where='mid', color='tab:blue', linewidth=1.2,
            label='after')
    error = _noise(after, None)
    if error is not None:
        error = sigma * np.take(error, number, axis=axis)
        ax.fill_between(pixels, lines[1] - error, lines[1] + error,
                        step='mid', color='tab:blue', alpha=0.3,
                        linewidth=0, label=f'after ± {sigma:g} sigma')
    ax.set(title=f'{name} {number}',
           xlabel=('x' if axis == 0 else 'y') + ' [pixel]',
           ylabel=_unit_label('value', unit))
    ax.margins(x=0)
    ax.legend()
    return ax


def _frames(before, after):
    """
    Return two planes with NaN where masked, their unit, and the WCS.
    """
    planes = [plane_of(before, 'before'), plane_of(after, 'after')]
    if planes[0].shape != planes[1].shape:
        msg = (f'before and after must have one shape, got '
               f'{planes[0].shape} and {planes[1].shape}')
        raise ValueError(msg)
    return planes, getattr(before, 'unit', None), getattr(before, 'wcs', None)


def _noise(data, uncertainty):
    """
    Return the standard deviations of a frame, or `None`.
    """
    if uncertainty is None:
        uncertainty = getattr(data, 'uncertainty', None)
    if uncertainty is None:
        return None
    if hasattr(uncertainty, 'represent_as'):
        uncertainty = uncertainty.represent_as(StdDevUncertainty).array
    elif isinstance(uncertainty, Quantity):
        uncertainty = uncertainty.to_value(getattr(data, 'unit', None)
                                           or uncertainty.unit)
    return np.asarray(uncertainty, dtype=float)


def _round_levels(sky, scatter, low, high):
    """
    Return tick values of a stretch that is linear, then logarithmic.
    """
    steps = scatter * 10.0**np.arange(0.7, 6.0, 0.6)
    levels = np.array([sky, *(sky + steps)])
    levels = levels[(levels > low) & (levels < high)]
    digits = -int(np.floor(np.log10(scatter)))
    return np.unique(np.round(levels, digits))


def _unit_label(text, unit):
    return text if unit is None else f'{text} [{unit}]'
