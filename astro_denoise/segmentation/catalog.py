# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Make a catalog of sources from what is known of each pixel.
"""

import warnings

import numpy as np
from astropy.table import QTable

from ..exceptions import UnusualImageWarning

__all__ = ['label_sources', 'measure_fluxes', 'measure_sources']

# What is taken for the full width at half maximum of stars where none can be
# measured.
_UNKNOWN_FWHM = 3.5

# Stars of this probability and this signal-to-noise ratio, so many of them,
# show what share of the light the profile holds: the rest of what is within so
# many widths of them.
_CERTAIN, _BRIGHT, _N_NEEDED, _WIDE = 0.5, 20.0, 3, 2.0

# Widths between the nodes of the background: the halos of galaxies belong to
# it.
_BACKGROUND_STEP = 4.0

# What all light is to that of the profile without looking, and how far from
# it in a frame: the wings of stars are not known, nor quite their width. And
# how much the neighbors of a star add to what is seen of that, and the wings
# farther out to what is not seen.
_SHARE, _SHARE_ERROR, _NEIGHBORS, _WINGS = 1.05, 0.05, 0.05, 0.025


def label_sources(probability, height, threshold, *, own=None, n_pixels=1):
    """
    Tell the sources of a probability map apart.

    Pixels above the threshold belong to the first source that is reached
    from them by steepest ascent, so that sources that touch are separate:
    a local maximum, or a pixel that is known to be a source of its own.

    Parameters
    ----------
    probability : 2D `~numpy.ndarray`
        Probability of a source in each pixel.

    height : 2D `~numpy.ndarray`
        What is climbed, such as the flux in each pixel.

    threshold : float
        Pixels must be more probable than this.

    own : 2D bool `~numpy.ndarray`, optional
        Pixels that are sources of their own even beside a higher one.

    n_pixels : int, optional
        Pixels that a source must have.

    Returns
    -------
    labels : 2D `~numpy.ndarray`
        Number of the source of each pixel, 0 for none; int32.

    peaks : 1D `~numpy.ndarray`
        Index of the highest pixel of each source in the flattened map,
        in increasing order.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.segmentation.catalog import label_sources
    >>> flux = np.array([[1.0, 5.0, 3.0, 6.0, 2.0, 0.0, 4.0]])
    >>> labels, peaks = label_sources(flux / 10, flux, 0.05)
    >>> print(labels, peaks)
    [[1 1 2 2 2 0 3]] [1 3 6]
    """
    ny, nx = probability.shape
    labels = np.zeros((ny, nx), np.int32)
    chosen = probability > threshold
    # A border that nobody climbs makes all neighbors exist.
    padded = np.full((ny + 2, nx + 2), -np.inf)
    padded[1:-1, 1:-1][chosen] = height[chosen]
    ground = padded.ravel()
    inner = np.zeros(padded.shape, bool)
    inner[1:-1, 1:-1] = chosen
    pixels = np.flatnonzero(inner)
    best, highest = pixels.copy(), ground[pixels]
    for step in (-nx - 3, -nx - 2, -nx - 1, -1, 1, nx + 1, nx + 2, nx + 3):
        other = ground[pixels + step]
        # Of two of one height the later, so that nobody goes in circles.
        better = (other > highest) | ((other == highest)
                                      & (pixels + step > best))
        best[better] = (pixels + step)[better]
        highest[better] = other[better]
    if own is not None:
        alone = np.zeros(padded.shape, bool)
        alone[1:-1, 1:-1] = own
        best = np.where(alone.ravel()[pixels], pixels, best)
    target = np.searchsorted(pixels, best)
    while True:
        farther = target[target]
        if np.array_equal(farther, target):
            break
        target = farther
    tops, number, sizes = np.unique(target, return_inverse=True,
                                    return_counts=True)
    kept = sizes >= n_pixels
    new = np.where(kept, np.cumsum(kept), 0)
    labels[chosen] = new[number]
    row, column = np.divmod(pixels[tops[kept]], nx + 2)
    return labels, (row - 1) * nx + column - 1


def measure_sources(labels, peaks, answers, *, whole=False):
    """
    Measure labeled sources.

    Parameters
    ----------
    labels, peaks : `~numpy.ndarray`
        Of `label_sources`.

    answers : 3D `~numpy.ndarray`
        Probability, flux, its variance, and offsets of the light in x
        and y from the middle of the pixel, shape (5, ny, nx).

    whole : bool, optional
        Sum the flux over all pixels of a source, and take the middle of
        its light. Otherwise the highest pixel counts alone: of a map in
        which the flux of each source is in one pixel, the others hold
        that of sources too faint to be told.

    Returns
    -------
    catalog : `~astropy.table.QTable`
        A row for each source: ``label``, ``x_centroid``, ``y_centroid``,
        ``probability`` (its maximum), ``flux`` and ``flux_error``.
    """
    n = len(peaks)
    inside = np.flatnonzero(labels)
    number = labels.flat[inside] - 1
    catalog = QTable()
    catalog['label'] = np.arange(1, n + 1)
    most = np.zeros(n)
    np.maximum.at(most, number, answers[0].ravel()[inside])
    pixel = inside if whole else peaks
    number = number if whole else np.arange(n)
    _, flux, variance, dx, dy = (plane.ravel()[pixel].astype(float)
                                 for plane in answers)
    y, x = np.divmod(pixel, labels.shape[1])

    def total(values):
        # Of nothing, bincount makes integers.
        return np.bincount(number, values, n).astype(float)

    weight = np.maximum(flux, 0.0)
    dark = total(weight) <= 0
    weight[dark[number] & (pixel == peaks[number])] = 1.0
    for name, place in (('x_centroid', x + dx), ('y_centroid', y + dy)):
        catalog[name] = total(weight * place) / total(weight)
    catalog['probability'] = most
    catalog['flux'] = total(flux)
    catalog['flux_error'] = np.sqrt(total(variance))
    return catalog


def _all_light(sources, flux, snr, bright, psf, values, **plane):
    """
    Measure all light of the stars of a frame over that of their profile.

    It is a mean of what is left of the frame without the sources in wide
    apertures around bright stars, as far as that is known, and of the usual
    value; returned with its error.
    """
    from ..photometry.apertures import annulus_photometry

    if np.count_nonzero(bright) < _N_NEEDED:
        return _SHARE, _SHARE_ERROR
    left = values - _image_of(sources, flux, snr, psf, values.shape)
    radius = _WIDE * psf.model.fwhm
    size = np.full(np.count_nonzero(bright), radius)
    light = annulus_photometry(left, QTable({
        'ref_id': sources['ref_id'][bright],
        'aperture_x': sources['x'][bright],
        'aperture_y': sources['y'][bright],
        'aperture_a': size, 'aperture_b': size, 'aperture_theta': 0.0 * size}),
        **plane)
    within = 1.0 - (1.0 + (radius / psf.model.alpha.value)**2)**(
        1.0 - psf.model.beta.value)
    ratio, scatter = (np.asarray(light[name]) / (within * flux[bright])
                      for name in ('flux', 'flux_error'))
    ratio += 1.0
    known = np.isfinite(ratio)
    if known.sum() < _N_NEEDED:
        return _SHARE, _SHARE_ERROR
    # The light of neighbors makes some too large: the median.
    error = 1.25 * np.median(np.hypot(scatter[known], _NEIGHBORS)
                             ) / np.sqrt(known.sum())
    weights = np.array([np.hypot(error, _WINGS), _SHARE_ERROR])**-2.0
    return (np.average([np.median(ratio[known]), _SHARE], weights=weights),
            weights.sum()**-0.5)


def measure_fluxes(catalog, alone, values, sigma, valid, *, sure, fwhm=None):
    """
    Measure the fluxes of all sources at once, on the frame itself.

    What a network says of the flux of a source is little where it is not
    sure that there is one. The sky is fitted with them: a mean of what is
    around a source is too bright where others are near. The share of the
    light of stars that their profile holds is measured on the surest ones;
    how well it is known is a part of all errors, but not of the
    signal-to-noise ratio.

    Parameters
    ----------
    catalog : `~astropy.table.QTable`
        Sources; ``flux``, ``flux_error`` and ``snr`` are added. NaN where
        no pixel of a source is valid, or its center is beyond the edge.

    alone : 1D bool `~numpy.ndarray`
        Sources that no other is near.

    values, sigma : 2D `~numpy.ndarray`
        The frame less its background, and its noise.

    valid : 2D bool `~numpy.ndarray`
        Pixels that count.

    sure : 1D `~numpy.ndarray`
        Probability of a star.

    fwhm : float, optional
        Full width at half maximum in pixels, where the sources do not tell.
    """
    from ..noise.seeing import estimate_fwhm
    from ..photometry.forced import forced_photometry

    for name in ('flux', 'flux_error', 'snr'):
        catalog[name] = np.full(len(catalog), np.nan)
    if len(catalog) == 0:
        return
    certain = np.asarray(sure) > _CERTAIN
    stars = [catalog[name][certain] for name in ('x_centroid', 'y_centroid')]
    if alone.any():
        fwhm = estimate_fwhm(values, np.zeros_like(values), sigma, valid,
                             stars=stars) or fwhm
    fwhm = fwhm or _UNKNOWN_FWHM
    psf = _psf_of(fwhm)
    sources = QTable({'ref_id': catalog['label'], 'x': catalog['x_centroid'],
                      'y': catalog['y_centroid']})
    with warnings.catch_warnings():
        # The profile is no wish of the user, and galaxies are wider.
        warnings.simplefilter('ignore', UnusualImageWarning)
        measured = forced_photometry(
            values, sources, psf, error=sigma, mask=~valid,
            background_step=max(_BACKGROUND_STEP * fwhm, 2.0),
            robust=False, shift=False)
    flux, error, floor = (np.asarray(measured[name], dtype=float)
                          for name in ('flux', 'flux_error', 'floor_error'))
    known = np.isfinite(flux) & (floor > 0)
    flux[~known] = np.nan
    bright = known & alone & certain & (flux > _BRIGHT * floor)
    share, share_error = _all_light(sources, flux, flux / floor, bright,
                                    psf, values, error=sigma, mask=~valid)
    catalog['snr'] = flux / floor
    catalog['flux'] = flux * share
    catalog['flux_error'] = np.hypot(error * share, flux * share_error)


def _image_of(sources, flux, snr, psf, shape):
    """Draw the sources whose flux is known, as they were fitted."""
    from ..photometry.source_table import source_table
    from ..photometry.stamp_drawing import render_stamps, stamp_radius

    known = np.isfinite(flux)
    sources = source_table(sources[known])
    radius = stamp_radius(psf, sources, snr[known])
    return render_stamps(psf, sources, radius, shape).image(flux[known])


def _psf_of(fwhm):
    """Make the profile of stars, which keeps what is drawn of it."""
    from photutils.psf import MoffatPSF

    from ..photometry.profile import START_BETA
    from ..photometry.psf_models import open_psf

    alpha = 0.5 * fwhm / np.sqrt(2.0**(1.0 / START_BETA) - 1.0)
    return open_psf(MoffatPSF(alpha=alpha, beta=START_BETA))
