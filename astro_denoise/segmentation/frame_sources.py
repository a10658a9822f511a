# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Find the sources of an optical frame: candidates of a network, measured on
the frame itself.
"""

from dataclasses import dataclass

import numpy as np
from astropy.table import QTable
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

__all__ = ['FrameOptions', 'FrameSources', 'find_frame_sources']

#: Purity of a catalog, unless the user wants another.
PURITY = 0.95

# Signal-to-noise ratio of sources that the purity is not meant for, and the
# least probability of these.
_BRIGHT, _LIKELY = 10.0, 0.5

# Least probability of candidates that are measured, whatever is wanted.
_LEAST = 0.01

# A source this much fainter than the light around, or than the brightest
# pixel of the frame, is not told from faults of the optics or of a simulation;
# in FWHM, how far around.
_DYNAMIC_RANGE, _OF_FRAME, _AROUND = 1e-5, 3e-5, 4.0

# Where the frame does not tell its seeing, sources of this signal-to-noise
# ratio are looked for in a filter this many times as wide as what is assumed.
_SEEN, _WIDER = 8.0, 3.0

# In FWHM: sources are alone where no other is as close as this.
_ALONE = 2.0


@dataclass(frozen=True)
class FrameOptions:
    """
    Options of a finder of sources in optical frames.

    Parameters
    ----------
    gain, read_noise : float or `None`
        As numbers, in the unit of the frame and electrons.

    purity : float or `None`
        Share of the catalog that is to be true.

    threshold : float or `None`
        Least probability instead.

    min_separation : float or `None`
        Least distance of two sources in pixels.

    n_pixels : int
        Pixels that a source must have.
    """

    gain: float | None = None
    read_noise: float | None = None
    purity: float | None = None
    threshold: float | None = None
    min_separation: float | None = None
    n_pixels: int = 1


@dataclass
class FrameSources:
    """
    The sources of a plane.

    Attributes
    ----------
    probability, flux : 2D `~numpy.ndarray`
        Of a center in each pixel, and of the sources there.

    labels : 2D `~numpy.ndarray` of int
        Number of the source of each pixel.

    catalog : `~astropy.table.QTable`
        The sources.

    threshold : float
        Least probability.

    scale : int
        The power of two that fluxes were divided by.

    measurement : `~astro_denoise.noise.Measurement`
        Of the plane.

    valid : 2D bool `~numpy.ndarray`
        Pixels that counted.

    n_wide : int
        Sources that are far wider than what was looked for, where the
        frame does not tell its seeing.
    """

    probability: np.ndarray
    flux: np.ndarray
    labels: np.ndarray
    catalog: QTable
    threshold: float
    scale: int
    measurement: object
    valid: np.ndarray
    n_wide: int


def find_frame_sources(reader, network, options, *, runtime, progress=None):
    """
    Find the sources of a plane of an optical frame.

    Parameters
    ----------
    reader : `~astro_denoise.frames.PlaneReader`
        The plane.

    network : `~astro_denoise.models.source_finder.SourceFinder`
        The network.

    options : `FrameOptions`
        What is wanted.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute.

    progress : callable, optional
        Called with shares of the plane that are done.

    Returns
    -------
    sources : `FrameSources`
        The sources.
    """
    from ..inference.candidates import (
        UNKNOWN_FWHM,
        find_candidates,
        probabilities,
    )
    from ..inference.source_centers import find_centers
    from ..noise.measurement import measure_plane
    from ..noise.seeing import frame_fwhm

    measurement, whole = measure_plane(
        reader, gain=options.gain, read_noise=options.read_noise, keep=True)
    if whole is None:
        whole = measurement.whole(reader)
    signal = np.where(whole.valid, whole.values - whole.background,
                      0.0).astype(np.float32)
    fwhm = frame_fwhm(measurement, signal, whole.noise_map, whole.valid)
    # A filter averages correlated noise less than its pixels tell.
    noise_map = _bounded_noise(
        signal, whole.noise_map * (1.0 + 2.0 * max(measurement.correlation,
                                                   0.0)),
        fwhm or UNKNOWN_FWHM)
    answers = find_centers(network, signal / noise_map, whole.valid, fwhm,
                           runtime=runtime, progress=progress)
    found = find_candidates(answers, signal, noise_map, whole.valid, fwhm,
                            min_separation=options.min_separation)
    probability, star = probabilities(network.scores, found)
    threshold = options.threshold
    if threshold is None:
        threshold = _threshold(network.scores, found, probability,
                               options.purity or PURITY)
    chosen = probability > max(threshold, _LEAST)
    if options.threshold is None:
        # Purity is that of faint ones; of others, what is more likely than
        # not to be there.
        chosen |= (found.snr > _BRIGHT) & (probability > _LIKELY)
    found, probability, star = (found.chosen(chosen), probability[chosen],
                                star[chosen])
    labels, kept = _labels(found, signal.shape, options.n_pixels)
    found, probability, star = (found.chosen(kept), probability[kept],
                                star[kept])
    catalog = _catalog(found, probability, star)
    _measure(catalog, found, signal, whole)
    n_wide = 0 if fwhm else _count_wide(
        signal / noise_map, catalog, _WIDER * UNKNOWN_FWHM)
    flux = np.zeros_like(signal)
    flux[found.y_pixel, found.x_pixel] = np.nan_to_num(catalog['flux'])
    return FrameSources(answers[0], flux, labels, catalog, threshold,
                        measurement.scale.exponent, measurement, whole.valid,
                        n_wide)


def _count_wide(scaled, catalog, fwhm):
    """Count the sources of a wide filter that a catalog does not have."""
    from ..inference.candidate_light import filter_width

    width = filter_width(fwhm)
    snr = gaussian_filter(scaled, width) * (2.0 * np.sqrt(np.pi) * width)
    top = maximum_filter(snr, 2 * int(fwhm) + 1)
    y, x = np.nonzero((snr == top) & (snr > _SEEN))
    if len(catalog) == 0 or len(y) == 0:
        return len(y)
    listed = np.stack([catalog['y_centroid'], catalog['x_centroid']], 1)
    apart = cKDTree(listed).query(np.stack([y, x], 1))[0]
    return int(np.count_nonzero(apart > fwhm))


def _bounded_noise(signal, noise_map, fwhm):
    """Bound what a pixel may say beside a much brighter one."""
    bright = maximum_filter(signal, 2 * int(_AROUND * fwhm) + 1)
    return np.hypot(noise_map, np.maximum(
        _DYNAMIC_RANGE * bright, _OF_FRAME * max(float(signal.max()), 0.0)))


def _threshold(scores, found, probability, purity):
    """Find the probability above which the catalog has a purity."""
    import torch

    if len(found) == 0:
        return purity
    weight = np.maximum(probability, 1e-3)
    crowding, lit = (np.average(each, weights=weight)
                     for each in (found.crowding, found.lit))
    return float(scores.threshold(
        purity, *torch.tensor([[crowding], [lit]], dtype=torch.float32)))


def _labels(found, shape, n_pixels):
    """
    Number the pixels around each source, those of two for the nearest.

    Returns the labels, and which sources have enough pixels.
    """
    labels = np.zeros(shape, np.int32)
    n = len(found)
    if n == 0:
        return labels, np.zeros(0, bool)
    radius = max(0.5 * found.fwhm, 0.75)
    half = int(np.ceil(radius))
    steps = np.arange(-half, half + 1)
    row = (found.y_pixel[:, None, None] + steps[:, None]
           + 0 * steps)
    column = found.x_pixel[:, None, None] + steps + 0 * steps[:, None]
    distance = np.hypot(row - found.y[:, None, None],
                        column - found.x[:, None, None])
    # The pixel of the maximum is one of its own.
    own = (row == found.y_pixel[:, None, None]) & (
        column == found.x_pixel[:, None, None])
    distance[own] = -1.0
    inside = ((distance <= radius) & (row >= 0) & (row < shape[0])
              & (column >= 0) & (column < shape[1]))
    number = np.broadcast_to(np.arange(n)[:, None, None], row.shape)[inside]
    order = np.argsort(-distance[inside], kind='stable')
    labels[row[inside][order], column[inside][order]] = number[order] + 1
    kept = np.bincount(labels.ravel(), minlength=n + 1)[1:] >= n_pixels
    new = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])
    return new.astype(np.int32)[labels], kept


def _catalog(found, probability, star):
    """Put what is known without fluxes into a catalog."""
    from ..inference.candidates import position_error

    catalog = QTable()
    catalog['label'] = np.arange(1, len(found) + 1)
    catalog['x_centroid'] = found.x
    catalog['y_centroid'] = found.y
    error = position_error(found)
    catalog['x_centroid_error'] = error
    catalog['y_centroid_error'] = error.copy()
    catalog['probability'] = probability
    catalog['star_probability'] = star
    catalog['artefact_probability'] = np.clip(found.artefact, 0.0, 1.0)
    return catalog


def _measure(catalog, found, signal, whole):
    """Measure fluxes; those that are alone tell the profile of stars."""
    from .catalog import measure_fluxes

    alone = np.ones(len(found), bool)
    if len(found) > 1:
        place = np.stack([found.x, found.y], 1)
        alone = cKDTree(place).query(place, k=2)[0][:, 1] > (_ALONE
                                                             * found.fwhm)
    measure_fluxes(catalog, alone, signal, whole.noise_map, whole.valid,
                   sure=catalog['probability'] * catalog['star_probability'],
                   fwhm=found.fwhm)
