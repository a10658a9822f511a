# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Make a catalog of point sources that may lie anywhere in their pixels.
"""

import numpy as np
from astropy.table import QTable
from scipy.ndimage import uniform_filter

__all__ = ['find_sky_sources']

# Probabilities that one source is in either of some pixels add up to 1, and to
# no more than this where they are not exact: beyond it, there are two.
_MOST = 1.2

# Signal-to-noise ratio of sources that stand out, in the photons alone.
_STANDS_OUT = 4.0

# Pixels with less than this share of the probability of a source are not
# shown as its own.
_LEAST_SHARE = 0.1


def find_sky_sources(answers, noise, threshold, *, n_pixels=1):
    """
    Find sources in the answers of a network for real skies.

    The answers of pixels are means over what is not known, also over the
    pixel that a source is in: sums over neighbors are those of a source.
    From the highest flux downward, each pixel takes those around it that no
    other has, the most probable first, as long as they may be one source.

    Where a source has all of them, and its flux stands out, its probability
    is also no less than about the squared mean of the flux over the mean of
    the square: by the inequality of Cauchy and Schwarz, no flux that is more
    often 0 has such a mean and variance.

    Parameters
    ----------
    answers : 3D `~numpy.ndarray`
        Shape (6, ny, nx): probability, flux, its variance, offsets of the
        light in x and y from the middle of the pixel, and variance of the
        flux in 3x3 pixels.

    noise : 2D `~numpy.ndarray`
        Error of the flux of a source in each pixel from the photons alone.

    threshold : float
        Sources must be more probable than this.

    n_pixels : int, optional
        Pixels that a source must have.

    Returns
    -------
    catalog : `~astropy.table.QTable`
        A row for each source: ``label``, ``x_centroid``, ``y_centroid``,
        ``probability``, ``flux`` and ``flux_error``.

    labels : 2D `~numpy.ndarray`
        Number of the source of each pixel, 0 for none; int32.

    peaks : 1D `~numpy.ndarray`
        Index of the highest pixel of each source in the flattened map,
        in increasing order.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.segmentation.sky_catalog import find_sky_sources
    >>> answers = np.zeros((6, 5, 5))
    >>> answers[5] = 4.0
    >>> answers[0, 2, 1:3] = 0.5, 0.4  # either of two pixels
    >>> answers[1, 2, 1:3] = 50.0, 40.0
    >>> catalog, labels, peaks = find_sky_sources(
    ...     answers, np.full((5, 5), 25.0), 0.5)
    >>> catalog['x_centroid'].info.format = '.2f'
    >>> print(catalog['x_centroid', 'probability', 'flux'])
    x_centroid probability flux
    ---------- ----------- ----
          1.44         0.9 90.0
    >>> print(labels[2], peaks)
    [0 1 1 0 0] [11]
    """
    probability, flux, _, dx, dy, variance = answers.astype(float)
    flux = np.maximum(flux, 0.0)
    labels = np.zeros(flux.shape, np.int32)
    found, taken = [], np.zeros(flux.shape, bool)
    near, light = (9.0 * uniform_filter(plane, 3, mode='constant')
                   for plane in (probability, flux))
    # Of masked pixels all answers are 0.
    may_be = np.flatnonzero(
        (flux > 0) & (variance > 0)
        & ((near > threshold) | (light > _STANDS_OUT * noise)))
    for peak in may_be[np.argsort(-flux.flat[may_be], kind='stable')]:
        if taken.flat[peak]:
            continue
        pixels, whole = _around(peak, probability, taken)
        total, light = (plane.flat[pixels].sum()
                        for plane in (probability, flux))
        if whole and light > _STANDS_OUT * noise.flat[peak]:
            total = max(total, light**2 / (light**2 + variance.flat[peak]))
        if total <= threshold:
            continue
        taken.flat[pixels] = True
        own = pixels[(probability.flat[pixels] > _LEAST_SHARE * total)
                     | (pixels == peak)]
        if len(own) >= n_pixels:
            found.append((peak, pixels, own, total))
    found.sort(key=lambda each: each[0])
    y, x = np.indices(flux.shape)
    columns = np.zeros((5, len(found)))
    for number, (peak, pixels, own, total) in enumerate(found):
        labels.flat[own] = number + 1
        light = flux.flat[pixels]
        places = ((plane + offset).flat[pixels]
                  for plane, offset in ((x, dx), (y, dy)))
        columns[:, number] = (
            *(np.average(place, weights=light) for place in places),
            min(total, 1.0), light.sum(), np.sqrt(variance.flat[peak]))
    catalog = QTable([np.arange(1, len(found) + 1), *columns], names=[
        'label', 'x_centroid', 'y_centroid', 'probability', 'flux',
        'flux_error'])
    return catalog, labels, np.array([each[0] for each in found], int)


def _around(peak, probability, taken):
    """
    Find the pixels at a peak that may hold the same source as it.

    Returns them, and whether they are all there are.
    """
    row, column = np.divmod(peak, probability.shape[1])
    rows, columns = (np.arange(max(middle - 1, 0), min(middle + 2, length))
                     for middle, length in ((row, probability.shape[0]),
                                            (column, probability.shape[1])))
    window = (rows[:, None] * probability.shape[1] + columns).ravel()
    near = window[~taken.flat[window] & (window != peak)]
    near = near[np.argsort(-probability.flat[near], kind='stable')]
    total = probability.flat[peak]
    chosen = [peak]
    for pixel in near:
        if total + probability.flat[pixel] <= _MOST:
            total += probability.flat[pixel]
            chosen.append(pixel)
    return np.array(chosen), len(chosen) == len(window)
