# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Figures, axes, planes and stretches shared by the plotting functions.

All public plotting functions follow one rule. A function that draws one
panel takes ``ax``, draws in it and returns it; a function that draws
several takes ``figure``, adds its panels and returns it. Without the
argument, a new figure is made that is not known to pyplot: it needs no
display and is freed with its last reference.
"""

import numpy as np
from astropy.nddata import NDData

from ..exceptions import needs_extra
from .files_for_arrays import refuse_files

__all__ = ['BAD_COLOR', 'add_legend', 'axes_for', 'colormap', 'figure_for',
           'label_axes', 'plane_of', 'stretch_of']


BAD_COLOR = 'tab:orange'
# Names of the axes for the physical types of a WCS.
_SKY_LABELS = {'pos.eq.ra': 'RA', 'pos.eq.dec': 'Dec',
               'pos.galactic.lon': 'l', 'pos.galactic.lat': 'b'}


def figure_for(figure, width, height, *, layout='constrained'):
    """
    Return the figure of the user, or make one.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure` or `None`
        Returned as it is. `None` makes a figure unknown to pyplot.

    width, height : float
        Size of a new figure in inches.

    layout : str or `None`, optional
        Layout engine of a new figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure.

    Raises
    ------
    TypeError
        If ``figure`` is something else.
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.figure import Figure, FigureBase

    if figure is None:
        return Figure(figsize=(width, height), layout=layout)
    if not isinstance(figure, FigureBase):
        msg = (f'figure must be a matplotlib Figure, got '
               f'{type(figure).__name__}')
        raise TypeError(msg)
    return figure


def axes_for(ax, width, height, *, projection=None):
    """
    Return the axes of the user, or make some in a new figure.

    Parameters
    ----------
    ax : `~matplotlib.axes.Axes` or `None`
        Returned as they are. `None` makes a figure with one panel, unknown
        to pyplot.

    width, height : float
        Size of a new figure in inches.

    projection : object, optional
        Projection of new axes, for example a WCS.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes.

    Raises
    ------
    TypeError
        If ``ax`` is something else.
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib.axes import Axes

    if ax is None:
        return figure_for(None, width, height).add_subplot(
            projection=projection)
    if not isinstance(ax, Axes):
        msg = f'ax must be matplotlib Axes, got {type(ax).__name__}'
        raise TypeError(msg)
    return ax


def add_legend(ax, **options):
    """
    Add a legend if there is something to name.
    """
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**options)


def colormap(cmap):
    """
    Return a color map that shows bad pixels in orange.
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib import colormaps

    return colormaps.get_cmap(cmap).with_extremes(bad=BAD_COLOR)


def plane_of(data, name):
    """
    Return a plane as floats, NaN where masked or not finite.
    """
    refuse_files(data, name, kind='data')
    values = data.data if isinstance(data, NDData) else data
    values = getattr(values, 'value', values)
    values = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    if isinstance(data, NDData) and data.mask is not None:
        values[np.broadcast_to(data.mask, values.shape) != 0] = np.nan
    if values.ndim != 2 or 0 in values.shape:
        msg = f'{name} must be a 2D image, got shape {values.shape}'
        raise ValueError(msg)
    values[~np.isfinite(values)] = np.nan
    return values


def stretch_of(values, scatter, percent):
    """
    Normalize linearly within the noise, logarithmically above.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The plane, NaN where bad.

    scatter : float
        Its noise.

    percent : float
        Percentile of the values shown brightest.

    Returns
    -------
    norm : `~astropy.visualization.ImageNormalize`
        The normalization.

    sky : float
        The median of the values.
    """
    from astropy.visualization import AsinhStretch, ImageNormalize

    sky = float(np.nanmedian(values))
    low = sky - 4.0 * scatter
    high = max(float(np.nanpercentile(values, percent)),
               sky + 8.0 * scatter)
    norm = ImageNormalize(vmin=low, vmax=high, clip=False,
                          stretch=AsinhStretch(4.0 * scatter / (high - low)))
    return norm, sky


def label_axes(ax, *, with_y=True):
    """
    Name the axes of a picture: pixels, or the sky if they have a WCS.
    """
    wcs = getattr(ax, 'wcs', None)
    if wcs is None:
        ax.set(xlabel='x [pixel]', ylabel='y [pixel]' if with_y else '')
        ax.tick_params(labelleft=with_y)
        return
    kinds = wcs.low_level_wcs.world_axis_physical_types
    for coordinate, kind in zip(ax.coords, kinds, strict=True):
        coordinate.set_axislabel(_SKY_LABELS.get(kind, kind or 'pixel'))
        coordinate.set_ticks(number=3)
        coordinate.set_ticklabel(size='small', exclude_overlapping=True)
        if not with_y:
            # Either may be on the left, as the sky may be rotated.
            coordinate.set_ticklabel_position('b')
            coordinate.set_axislabel_position('b')
