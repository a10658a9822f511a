# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Candidates for sources: maxima of the intensity of centers, and what the
frame says of each.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import (
    gaussian_filter,
    map_coordinates,
    maximum_filter,
    minimum_filter,
    uniform_filter,
)
from scipy.spatial import cKDTree

__all__ = ['UNKNOWN_FWHM', 'Candidates', 'find_candidates', 'kept_of_pairs',
           'least_distance', 'position_error', 'probabilities',
           'star_features']

#: What is taken for the full width at half maximum of sources where none
#: can be measured, in pixels.
UNKNOWN_FWHM = 3.0

# The intensity is smoothed by this much, and that of a pixel belongs to the
# nearest maximum within this distance.
_SMOOTHING, _REACH = 0.6, 3.5

# Intensities that are looked at: of a pixel, and of a maximum.
_LEAST_PIXEL, _LEAST_PEAK = 1e-4, 2e-3

# The side of the box in which sources make a crowd, and of that in
# which light is smooth; and the most that a pixel counts there, in noise.
_CROWD_BOX, _LIT_BOX, _BRIGHTEST = 193, 33, 5.0

# Pairs of a narrow and a wide filter, in FWHM.
_PAIRS = (0.6, 1.5), (1.0, 1.6)

# Concentration of a point source, until the frame tells: that of a Gaussian;
# the ratio and the number of those that do, and the logits of stars.
_POINT = tuple((1.0 + wide**2) / (1.0 + narrow**2) for narrow, wide in _PAIRS)
_BRIGHT, _N_NEEDED, _STARLIKE = 20.0, 4, (1.0, 0.0)

# The error of a position by the network, over that of a matched filter.
_BY_NETWORK = 1.1

_STEPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@dataclass
class Candidates:
    """
    Candidates for sources in a plane.

    Attributes
    ----------
    x, y : 1D `~numpy.ndarray`
        Positions in pixels.

    x_pixel, y_pixel : 1D `~numpy.ndarray` of int
        Pixels of the maxima.

    expected : 1D `~numpy.ndarray`
        Sum of the intensities: the expected number of sources.

    star_logit, artefact : 1D `~numpy.ndarray`
        Logit of a star, and the share of light of no source, by the
        network.

    snr : 1D `~numpy.ndarray`
        Signal-to-noise ratio of the matched filter.

    concentration : 2D `~numpy.ndarray`
        Light in narrow filters over that in wide ones, shape (n, 2).

    refined : 1D bool `~numpy.ndarray`
        Positions that are those of the matched filter.

    crowding : 1D `~numpy.ndarray`
        Logarithm of the number of sources expected in an area of one FWHM
        squared, around.

    lit : 1D `~numpy.ndarray`
        Light around, in units of the noise.

    fwhm : float
        Full width at half maximum in pixels, measured or assumed.
    """

    x: np.ndarray
    y: np.ndarray
    x_pixel: np.ndarray
    y_pixel: np.ndarray
    expected: np.ndarray
    star_logit: np.ndarray
    artefact: np.ndarray
    snr: np.ndarray
    concentration: np.ndarray
    refined: np.ndarray
    crowding: np.ndarray
    lit: np.ndarray
    fwhm: float

    def __len__(self):
        return len(self.x)

    def chosen(self, which):
        """
        Take some of the candidates.

        Parameters
        ----------
        which : 1D `~numpy.ndarray`
            Booleans or indices.

        Returns
        -------
        candidates : `Candidates`
            Those.
        """
        return Candidates(*(
            value if name == 'fwhm' else value[which]
            for name, value in vars(self).items()))


def least_distance(fwhm, min_separation=None):
    """
    Give the least distance of two sources in pixels.

    Parameters
    ----------
    fwhm : float or `None`
        Full width at half maximum in pixels.

    min_separation : float, optional
        What the user wants; by default half the FWHM, at least one pixel.

    Returns
    -------
    distance : float
        In pixels.

    Examples
    --------
    >>> from astro_denoise.inference.candidates import least_distance
    >>> least_distance(5.0), least_distance(1.2), least_distance(5.0, 3.0)
    (2.5, 1.0, 3.0)
    """
    if min_separation is not None:
        return float(min_separation)
    return max(0.5 * (fwhm or UNKNOWN_FWHM), 1.0)


def find_candidates(answers, signal, noise_map, valid, fwhm, *,
                    min_separation=None):
    """
    Find the candidates in the answers of a network.

    Parameters
    ----------
    answers : 3D `~numpy.ndarray`
        Of `~astro_denoise.inference.source_centers.find_centers`.

    signal, noise_map, valid : 2D `~numpy.ndarray`
        The plane above its background, its noise, and its valid pixels.

    fwhm : float or `None`
        Full width at half maximum of the point sources in pixels.

    min_separation : float, optional
        As for `least_distance`.

    Returns
    -------
    candidates : `Candidates`
        The candidates, in the order of rows and columns.
    """
    intensity = answers[0]
    y, x = _maxima(intensity, valid)
    distance = least_distance(fwhm, min_separation)
    x, y = _apart(x, y, gaussian_filter(intensity, _SMOOTHING)[y, x],
                  distance)
    fwhm = fwhm or UNKNOWN_FWHM
    expected, place_x, place_y = _gathered(answers, x, y)
    maps = _Filters(signal, noise_map, valid, fwhm)
    snr = maps.snr[y, x]
    place_x, place_y, refined = _refined(
        maps.snr, x, y, place_x, place_y, expected, distance)
    crowd = fwhm**2 * _box_share(intensity, valid, _CROWD_BOX)[y, x]
    lit = _box_share(np.clip(signal / noise_map, -_BRIGHTEST, _BRIGHTEST)
                     * valid, valid, _LIT_BOX)[y, x]
    found = Candidates(
        place_x, place_y, x, y, expected, _around(answers[3], intensity, x, y),
        _around(answers[4], np.ones_like(intensity), x, y), snr,
        maps.concentration(place_x, place_y), refined,
        np.log(np.maximum(crowd, 1e-6)), lit, fwhm)
    return found.chosen(kept_of_pairs(_close(place_x, place_y, distance),
                                      expected))


def _box_share(plane, valid, size):
    """Mean over the valid pixels of a box."""
    size = min(size, 2 * max(plane.shape) - 1)
    share = uniform_filter(valid.astype(np.float32), size, mode='constant')
    return (uniform_filter(plane.astype(np.float32), size, mode='constant')
            / np.maximum(share, 1.0 / size**2))


def _maxima(intensity, valid):
    """Find the local maxima of the smoothed intensity."""
    smooth = gaussian_filter(intensity, _SMOOTHING)
    peak = ((smooth == maximum_filter(smooth, 3)) & valid
            & (smooth > _LEAST_PEAK))
    # A plain has no maximum.
    peak &= smooth > (1.0 + 1e-5) * minimum_filter(smooth, 3)
    return np.nonzero(peak)


def _apart(x, y, height, distance):
    """Drop the lower ones of maxima that are too close."""
    kept = kept_of_pairs(_close(x, y, distance), height)
    return x[kept], y[kept]


def _close(x, y, distance):
    """Find the pairs of positions that are closer than a distance."""
    if len(x) < 2:
        return np.zeros((0, 2), int)
    return cKDTree(np.stack([x, y], 1)).query_pairs(
        np.nextafter(distance, 0.0), output_type='ndarray')


def kept_of_pairs(pairs, height):
    """
    Keep the higher of each pair, the highest first.

    Parameters
    ----------
    pairs : 2D `~numpy.ndarray` of int
        Rows of two indices.

    height : 1D `~numpy.ndarray`
        What decides.

    Returns
    -------
    kept : 1D bool `~numpy.ndarray`
        Of each one.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.inference.candidates import kept_of_pairs
    >>> kept_of_pairs(np.array([[0, 1], [1, 2]]), np.array([3.0, 2.0, 1.0]))
    array([ True, False,  True])
    """
    kept = np.ones(len(height), bool)
    rank = np.argsort(np.argsort(-height, kind='stable'))
    first, second = np.take_along_axis(
        pairs, np.argsort(rank[pairs], axis=1), axis=1).T
    for index in np.argsort(rank[first], kind='stable'):
        if kept[first[index]]:
            kept[second[index]] = False
    return kept


def _gathered(answers, x, y):
    """
    Give the intensity of each pixel to the nearest maximum.

    Returns the sums, and the means of the centers that the pixels name.
    """
    n = len(x)
    if n == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    row, column = np.nonzero(answers[0] > _LEAST_PIXEL)
    distance, nearest = cKDTree(np.stack([x, y], 1)).query(
        np.stack([column, row], 1), distance_upper_bound=_REACH)
    near = np.isfinite(distance)
    row, column, nearest = row[near], column[near], nearest[near]
    weight = answers[0][row, column].astype(float)
    total = np.bincount(nearest, weight, n)
    # Centers are named by the pixels beside them.
    weight = weight * (distance[near] < 1.6)
    core = np.maximum(np.bincount(nearest, weight, n), 1e-12)
    return (total,
            np.bincount(nearest, weight * (column + answers[1][row, column]),
                        n) / core,
            np.bincount(nearest, weight * (row + answers[2][row, column]), n)
            / core)


def _around(plane, weight, x, y):
    """Weighted mean of 3x3 pixels."""
    total, norm = np.zeros(len(x)), np.zeros(len(x))
    for dy, dx in _STEPS:
        row = np.clip(y + dy, 0, plane.shape[0] - 1)
        column = np.clip(x + dx, 0, plane.shape[1] - 1)
        total += weight[row, column] * plane[row, column]
        norm += weight[row, column]
    return total / np.maximum(norm, 1e-12)


class _Filters:
    """
    Filters that are matched to point sources, and others beside them.

    Parameters
    ----------
    signal, noise_map, valid : 2D `~numpy.ndarray`
        The plane above its background, its noise, and its valid pixels.

    fwhm : float
        Full width at half maximum in pixels.
    """

    def __init__(self, signal, noise_map, valid, fwhm):
        self.width = np.hypot(fwhm / 2.3548, 12.0**-0.5)
        weight = valid / noise_map**2
        clean = np.where(valid, signal, 0.0).astype(np.float32)
        self.clean = clean
        # The flux over its error, with the squared profile as wide as it is.
        information = (gaussian_filter(weight.astype(np.float32),
                                       self.width / np.sqrt(2.0))
                       / (4.0 * np.pi * self.width**2))
        self.snr = gaussian_filter(
            (clean * weight).astype(np.float32), self.width) / np.sqrt(
                np.maximum(information, 1e-30))

    def concentration(self, x, y):
        """Light in narrow filters over that in wide ones."""
        light = {factor: map_coordinates(
            gaussian_filter(self.clean, factor * self.width), [y, x],
            order=1, mode='nearest') for factor in {*sum(_PAIRS, ())}}
        ratios = []
        for (narrow, wide), point in zip(_PAIRS, _POINT, strict=True):
            floor = 1e-3 * np.abs(light[narrow]) + 1e-30
            ratios.append(np.clip(
                light[narrow] / np.maximum(light[wide], floor), 0.0,
                3.0 * point))
        return np.stack(ratios, 1)


def _refined(snr, x, y, place_x, place_y, expected, distance):
    """
    Take the maxima of the matched filter, where sources are bright.

    A parabola through three pixels along each axis; where there is no
    maximum near, sources are blended, and the network knows better.
    """
    first_x, first_y = place_x, place_y
    place_x, place_y = place_x.copy(), place_y.copy()
    refined = np.zeros(len(x), bool)
    best = snr[y, x]
    top_x, top_y = x.copy(), y.copy()
    for dy, dx in _STEPS:
        row = np.clip(y + dy, 1, snr.shape[0] - 2)
        column = np.clip(x + dx, 1, snr.shape[1] - 2)
        better = snr[row, column] > best
        best = np.where(better, snr[row, column], best)
        top_x, top_y = (np.where(better, column, top_x),
                        np.where(better, row, top_y))
    inside = ((top_x > 0) & (top_x < snr.shape[1] - 1)
              & (top_y > 0) & (top_y < snr.shape[0] - 1))
    index = np.flatnonzero(inside & (best > 10.0))
    top_x, top_y = top_x[index], top_y[index]
    middle = snr[top_y, top_x]
    offsets, peaked = [], np.ones(len(index), bool)
    for dy, dx in ((0, 1), (1, 0)):
        low, high = (snr[top_y - dy, top_x - dx], snr[top_y + dy,
                                                      top_x + dx])
        bend = 2.0 * middle - low - high
        peaked &= (middle >= low) & (middle >= high) & (bend > 0)
        offsets.append(0.5 * (high - low) / np.where(bend > 0, bend, 1.0))
    found = index[peaked]
    place_x[found] = (top_x + offsets[0])[peaked]
    place_y[found] = (top_y + offsets[1])[peaked]
    refined[found] = True
    # The fainter of two that share a maximum stays where it was.
    kept = kept_of_pairs(_close(place_x, place_y, distance), expected)
    refined &= kept
    return (np.where(kept, place_x, first_x), np.where(kept, place_y, first_y),
            refined)


def star_features(candidates):
    """
    Put together what tells stars from galaxies.

    Parameters
    ----------
    candidates : `Candidates`
        Of one plane, whose bright stars show what the concentration of a
        point source is.

    Returns
    -------
    features : 2D `~numpy.ndarray`
        Shape (n, 9), float32, each of order 1; the second is the logarithm
        of the signal-to-noise ratio, less 2.5.
    """
    bright = ((candidates.snr > _BRIGHT) & (candidates.artefact < 0.3)
              & candidates.refined)
    point = _POINT
    for least in _STARLIKE:
        starlike = bright & (candidates.star_logit > least)
        if np.count_nonzero(starlike) >= _N_NEEDED:
            point = np.median(candidates.concentration[starlike], 0)
            break
    excess = candidates.concentration / np.maximum(point, 0.5) - 1.0
    absolute = candidates.concentration[:, 1] / _POINT[1] - 1.0
    snr = np.maximum(candidates.snr, 0.1)[:, None]
    return np.concatenate([
        np.stack([candidates.star_logit / 3.0, np.log(snr[:, 0]) - 2.5,
                  np.full(len(snr), np.log(candidates.fwhm) - 1.0),
                  candidates.crowding / 3.0 + 1.0, 5.0 * absolute], 1),
        np.clip(5.0 * excess, -4.0, 4.0), np.arcsinh(0.3 * excess * snr)],
        1).astype(np.float32)


def position_error(candidates):
    """
    Compute the error of the positions of candidates.

    Parameters
    ----------
    candidates : `Candidates`
        The candidates of one plane.

    Returns
    -------
    error : 1D `~numpy.ndarray`
        Standard deviation along each axis in pixels: that of a Gaussian
        matched filter, the root of two times its width over the
        signal-to-noise ratio (Lindegren 1978), and at most the FWHM over
        the root of 12.

    References
    ----------
    Lindegren, L. 1978, in IAU Colloq. 48, Modern Astrometry, 197
    """
    width = np.hypot(candidates.fwhm / 2.3548, 12.0**-0.5)
    error = np.sqrt(2.0) * width / np.maximum(candidates.snr, 0.1)
    error = np.where(candidates.refined, error, _BY_NETWORK * error)
    return np.minimum(error, candidates.fwhm / np.sqrt(12.0))


def probabilities(scores, candidates):
    """
    Compute the probabilities of candidates.

    Parameters
    ----------
    scores : `~astro_denoise.models.candidate_scores.CandidateScores`
        What was calibrated on simulated candidates.

    candidates : `Candidates`
        The candidates of one plane.

    Returns
    -------
    probability, star : 1D `~numpy.ndarray`
        That there is a source, and that it is a star if there is one.
    """
    scores = scores.cpu()
    with torch.inference_mode():
        expected, crowding, lit, artefact, features = (
            torch.from_numpy(np.asarray(each, np.float32)) for each in (
                candidates.expected, candidates.crowding, candidates.lit,
                candidates.artefact, star_features(candidates)))
        probability = torch.sigmoid(scores.logit(
            expected, crowding, lit, features, artefact))
        star = torch.sigmoid(scores.star_logit(features))
    return probability.numpy().astype(float), star.numpy().astype(float)
