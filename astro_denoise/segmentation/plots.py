# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Plots of point sources.

Matplotlib is imported when a picture is made. The functions return a
`~matplotlib.figure.Figure` that is not known to pyplot: show it in a
notebook, or save it. To have it shown by pyplot, give a figure of pyplot
as ``figure``.
"""

import numpy as np

from ..exceptions import needs_extra
from ..frames.panels import label_axes, plane_of
from ..sky_maps.galactic_grid import celestial_wcs

__all__ = ['plot_sources']


def plot_sources(sources, *, smallest_snr=3.8, cmap='gray_r',
                 figure=None):
    """
    Show a probability map with the sources found in it.

    Parameters
    ----------
    sources : `~astro_denoise.segmentation.PointSources`
        Of `~astro_denoise.segment_point_sources`. Axes are those of the
        sky if the image has a WCS.

    smallest_snr : float, optional
        Sources with at least this flux over its error get a circle, the
        larger the brighter.

    cmap : str or `~matplotlib.colors.Colormap`, optional
        The colours of the probability. Masked pixels are orange.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw; by default a new one.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The picture.

    Examples
    --------
    >>> from astro_denoise import segment_point_sources
    >>> from astro_denoise.data import load_fermi_map
    >>> figure = segment_point_sources(load_fermi_map()).plot()
    >>> figure.axes[0].get_xlabel()
    'l'
    """
    with needs_extra('plot', 'to draw figures'):
        from matplotlib import colormaps
        from matplotlib.figure import Figure

    values = plane_of(sources.probability, 'probability')
    wcs = celestial_wcs(sources.probability)
    ny, nx = values.shape
    height = float(np.clip(6.0 * ny / nx, 2.5, 10.0))
    if figure is None:
        figure = Figure(figsize=(7.2, height), layout='constrained')
    axes = figure.add_subplot(projection=wcs)
    image = axes.imshow(
        values, origin='lower', vmin=0, vmax=1, interpolation='nearest',
        cmap=colormaps.get_cmap(cmap).with_extremes(bad='tab:orange'))
    figure.colorbar(image, ax=axes, label='probability of a point source',
                    shrink=0.9)
    catalog = sources.catalog
    snr = np.asarray(catalog['snr'])
    bright = np.isfinite(snr) & (snr >= smallest_snr)
    axes.scatter(catalog['x_centroid'][bright], catalog['y_centroid'][bright],
                 s=20.0 * np.sqrt(snr[bright] / max(smallest_snr, 1.0)),
                 facecolors='none', edgecolors='tab:red', linewidths=1.0)
    axes.set_title(f'{len(catalog)} sources, {bright.sum()} of them above '
                   f'{smallest_snr:g} sigma')
    axes.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5))
    label_axes(axes, wcs, with_y=True)
    return figure
