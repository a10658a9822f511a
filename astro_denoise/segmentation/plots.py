# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Figures of point sources.

`plot_sources` draws one panel, takes ``ax`` and returns it. Without it, a
new figure is made that is not known to pyplot.
"""

import numpy as np
from astropy.stats import mad_std

from ..frames.panels import (
    axes_for,
    colormap,
    label_axes,
    plane_of,
    stretch_of,
)
from ..sky_maps.galactic_grid import celestial_wcs

__all__ = ['plot_sources']

# Models that list only what stands out.
_SMALLEST_SNR = {'galactic-sky': 0.0}


def plot_sources(sources, *, image=None, smallest_snr=None, cmap='gray_r',
                 ax=None):
    """
    Plot an image, or its probability map, with the sources found in it.

    Parameters
    ----------
    sources : `~astro_denoise.segmentation.PointSources`
        Result of `~astro_denoise.segment_point_sources`.

    image : `~astropy.nddata.NDData`, `~astropy.units.Quantity` or 2D array, \
            optional
        The image that was searched. It is shown in the place of the
        probability, linearly within its noise and logarithmically above.

    smallest_snr : float, optional
        Sources with at least this signal-to-noise ratio get a circle,
        larger for brighter ones. By default all of ``'galactic-sky'``, and
        those above 3.8 of other models, which list fainter ones too.

    cmap : str or `~matplotlib.colors.Colormap`, optional
        Color map. Masked pixels are orange.

    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw in, plain ones or with a WCS as ``projection``; the
        color bar takes a part of them. By default, those of a new figure,
        on the sky if the image has a celestial WCS.

    Returns
    -------
    ax : `~matplotlib.axes.Axes`
        The axes, whose figure is ``ax.figure``.

    Raises
    ------
    ValueError
        If ``image`` has another shape than the probability.

    Examples
    --------
    >>> from astro_denoise import segment_point_sources
    >>> from astro_denoise.data import load_fermi_map
    >>> ax = segment_point_sources(load_fermi_map(), 'galactic-sky').plot()
    >>> ax.get_xlabel()
    'l'
    """
    values = plane_of(sources.probability, 'probability')
    limits, label = {'vmin': 0, 'vmax': 1}, 'probability of a point source'
    if image is not None:
        shape, values = values.shape, plane_of(image, 'image')
        if values.shape != shape:
            msg = (f'image must have the shape of the probability {shape}, '
                   f'got {values.shape}')
            raise ValueError(msg)
        unit = getattr(image, 'unit', None)
        norm, _ = stretch_of(values, mad_std(values, ignore_nan=True), 99.7)
        limits, label = {'norm': norm}, str(unit or 'pixel values')
    ny, nx = values.shape
    ax = axes_for(ax, 7.2, float(np.clip(6.0 * ny / nx, 2.5, 10.0)),
                  projection=celestial_wcs(sources.probability))
    picture = ax.imshow(values, origin='lower', interpolation='nearest',
                        cmap=colormap(cmap), **limits)
    ax.figure.colorbar(picture, ax=ax, label=label, shrink=0.9)
    catalog = sources.catalog
    if smallest_snr is None:
        smallest_snr = _SMALLEST_SNR.get(catalog.meta.get('model'), 3.8)
    n = len(catalog)
    snr = np.asarray(catalog['snr'])
    bright = np.isfinite(snr) & (snr >= smallest_snr)
    ax.scatter(catalog['x_centroid'][bright], catalog['y_centroid'][bright],
               s=20.0 * np.sqrt(snr[bright] / max(smallest_snr, 1.0)),
               facecolors='none', edgecolors='tab:red', linewidths=1.0)
    ax.set_title(f'{n} source{"s"[:n != 1]}, {bright.sum()} of them above '
                 f'{smallest_snr:g} sigma')
    ax.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5))
    label_axes(ax)
    return ax
