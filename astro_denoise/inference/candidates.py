# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Candidates for sources: maxima of the intensity of centers, and what the
frame says of each.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.spatial import cKDTree

from ..noise.compiling import compiling_pays
from .candidate_light import (
    POINT,
    concentration,
    filter_width,
    significance,
    starlike_misfit,
)

__all__ = ['UNKNOWN_FWHM', 'Candidates', 'find_candidates', 'kept_of_pairs',
           'least_distance', 'position_error', 'probabilities',
           'star_features']

#: What is taken for the full width at half maximum of sources where none
#: can be measured, in pixels.
UNKNOWN_FWHM = 3.0

# The intensity is smoothed by this much, and that of a pixel belongs to the
# nearest maximum within this distance.
_SMOOTHING, _REACH = 0.6, 3.5
_HALF_SMOOTHING = 2  # pixels of the filter, on each side

# Within this many pixels of a maximum, pixels name its center.
_CORE = 1.6

# Least intensity of a maximum, and expected number of sources.
_LEAST_PEAK, _LEAST_EXPECTED = 3e-3, 0.08

# What is more than one source, and the least part of it.
_SINGLE, _LEAST_PART = 1.15, 0.2

# Positions are those of a matched filter unless another source that is this
# probable is so near, in FWHM.
_PROBABLE, _BLENDED = 0.25, 1.6

# Blocks in which light and centers are summed, and the boxes of blocks in
# which sources make a crowd and light is smooth; and the most that a pixel
# counts there, in noise.
_BLOCK, _CROWD_BOX, _LIT_BOX, _BRIGHTEST = 8, 25, 5, 5.0

# Bright sources show what the concentration of a star is: so bright, so many
# of them; the scatter of it, beside that of their noise; and the share of the
# densest place that the sharpest stars make.
_BRIGHT, _N_NEEDED, _SCATTER, _SHARE = 15.0, 4, 0.02, 0.35

# Where the width of stars is known to 15 per cent, theirs is this much of that
# of a Gaussian, whatever the wings: knots of a galaxy may be far more, but are
# wider. And the usual one.
_OF_GAUSSIAN, _USUAL = (0.78, 1.2), 0.95

# The error of a position by the network, over that of a matched filter.
_BY_NETWORK = 1.1

_STEPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]

# Pixels within reach of a maximum, the farthest first.
_DISK = np.stack(np.meshgrid(*2 * [np.arange(-3, 4)]), -1).reshape(-1, 2)
_DISK = _DISK[np.argsort(-(_DISK**2).sum(1), kind='stable')]
_DISK = _DISK[(_DISK**2).sum(1) <= _REACH**2]


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

    shapes : 2D `~numpy.ndarray`
        Of `~astro_denoise.inference.candidate_light.starlike_misfit`.

    refined : 1D bool `~numpy.ndarray`
        Positions that are those of the matched filter.

    crowding : 1D `~numpy.ndarray`
        Logarithm of the number of sources expected in an area of one FWHM
        squared, around.

    lit : 1D `~numpy.ndarray`
        Light around, in units of the noise.

    rough : 1D `~numpy.ndarray`
        Logarithm of the root mean square of the light around, in units of
        the noise: below 0 where neighbors share their noise, above it where
        there is structure.

    fwhm : float
        Full width at half maximum in pixels, measured or assumed.

    fwhm_is_measured : bool
        Whether it was measured.
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
    shapes: np.ndarray
    refined: np.ndarray
    crowding: np.ndarray
    lit: np.ndarray
    rough: np.ndarray
    fwhm: float
    fwhm_is_measured: bool

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
            value[which] if isinstance(value, np.ndarray) else value
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
    compiled = (compiling_pays(valid.shape)
                and min(valid.shape) > _HALF_SMOOTHING)
    x, y, height = _maxima(intensity, valid, compiled)
    distance = least_distance(fwhm, min_separation)
    kept = kept_of_pairs(_close(x, y, distance), height)
    x, y = x[kept], y[kept]
    is_measured = fwhm is not None
    fwhm = fwhm or UNKNOWN_FWHM
    expected, place_x, place_y, x, y = _gathered(answers, x, y, distance,
                                                 compiled)
    scaled = np.where(valid, signal / noise_map, 0.0).astype(np.float32)
    planes = (np.where(valid, signal, 0.0).astype(np.float32),
              np.where(valid, noise_map, np.inf).astype(np.float32)**-2.0)
    snr = significance(planes, x, y, fwhm)
    place_x, place_y, refined = _refined(
        snr, x, y, place_x, place_y, expected, distance, signal.shape,
        _blended(place_x, place_y, expected, _BLENDED * fwhm))
    scaled = np.clip(scaled, -_BRIGHTEST, _BRIGHTEST)
    crowd, lit, power = _around_in_blocks((intensity, scaled, scaled**2),
                                          valid, x, y)
    place = planes, x, y, place_x, place_y, fwhm
    found = Candidates(
        place_x, place_y, x, y, expected, _around(answers[3], intensity, x, y),
        _around(answers[4], np.ones_like(intensity), x, y), snr[:, 2, 2],
        concentration(*place), starlike_misfit(*place), refined,
        np.log(np.maximum(fwhm**2 * crowd, 1e-6)), lit,
        0.5 * np.log(np.maximum(power, 1e-4)), fwhm, is_measured)
    return found.chosen(kept_of_pairs(_close(place_x, place_y, distance),
                                      expected))


def _around_in_blocks(planes, valid, x, y):
    """Mean over the valid pixels of boxes around, one size for each plane."""
    ny, nx = (-(-length // _BLOCK) * _BLOCK for length in valid.shape)
    sums = []
    for plane in (valid, *planes):
        whole = np.zeros((ny, nx), np.float32)
        whole[:valid.shape[0], :valid.shape[1]] = plane
        sums.append(whole.reshape(-1, _BLOCK, nx).sum(1).reshape(
            ny // _BLOCK, -1, _BLOCK).sum(2))
    means = []
    for total, size in zip(sums[1:], (_CROWD_BOX, _LIT_BOX, _LIT_BOX),
                           strict=True):
        size = min(size, 2 * max(total.shape) - 1)
        share = uniform_filter(sums[0], size, mode='constant')
        mean = uniform_filter(total, size, mode='constant') / np.maximum(
            share, 1.0 / size**2)
        means.append(mean[y // _BLOCK, x // _BLOCK])
    return means


def _maxima(intensity, valid, compiled):
    """Find the local maxima of the smoothed intensity, and their height."""
    if compiled:
        from .compiled_candidates import peak_rows

        kernel = np.exp(-0.5 * (np.arange(_HALF_SMOOTHING + 1)
                                / _SMOOTHING)**2)
        kernel /= kernel[0] + 2.0 * kernel[1:].sum()
        smooth, peak = np.empty_like(intensity), np.empty(valid.shape, bool)
        peak_rows(intensity, valid, kernel, _LEAST_PEAK, smooth, peak)
        y, x = np.nonzero(peak)
        return x, y, smooth[y, x]
    smooth = gaussian_filter(intensity, _SMOOTHING, radius=_HALF_SMOOTHING)
    # Few pixels are that high: faster than a filter of all.
    y, x = np.nonzero(valid & (smooth > _LEAST_PEAK))
    height = smooth[y, x]
    around = [smooth[np.clip(y + dy, 0, smooth.shape[0] - 1),
                     np.clip(x + dx, 0, smooth.shape[1] - 1)]
              for dy, dx in _STEPS]
    # A plain has no maximum.
    peaked = (height >= np.max(around, axis=0)) & (
        height > (1.0 + 1e-5) * np.min(around, axis=0))
    return x[peaked], y[peaked], height[peaked]


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
    order = np.argsort(rank[first], kind='stable')
    for one, other in zip(first[order].tolist(), second[order].tolist(),
                          strict=True):
        if kept[one]:
            kept[other] = False
    return kept


def _gathered(answers, x, y, distance, compiled):
    """
    Give the intensity of each pixel to the nearest maximum.

    Returns the sums, the means of the centers that the pixels name, and the
    pixels of the maxima. Where a sum is that of more than one source, it is
    split, if the pixels name two centers.
    """
    owner = np.full(answers[0].shape, -1, np.int32)
    if compiled:
        from .compiled_candidates import owned_pixels

        total, place_x, place_y = np.empty((3, len(x)))
        owned_pixels(tuple(answers[:3]), x, y, _DISK, owner, total, place_x,
                     place_y)
    else:
        number = np.arange(len(x), dtype=np.int32)
        for dy, dx in _DISK:
            row, column = y + dy, x + dx
            inside = _is_inside(row, column, owner.shape)
            owner[row[inside], column[inside]] = number[inside]
        weight, named, *_ = _owned(answers, owner, x, y, number)
        total = weight.sum(1)
        # Centers are named by the pixels beside them.
        core = weight * ((_DISK**2).sum(1) < _CORE**2)
        place_x, place_y = ((core * named).sum(2)
                            / np.maximum(core.sum(1), 1e-12))
    kept = total > _LEAST_EXPECTED
    double = np.flatnonzero(total > _SINGLE)
    parts, two = _split(*_owned(answers, owner, x[double], y[double], double),
                        distance)
    kept[double[two]] = False
    return [np.concatenate([each[kept], part]) for each, part in zip(
        (total, place_x, place_y, x, y), parts, strict=True)]


def _is_inside(row, column, shape):
    """Tell which pixels are in a plane."""
    return ((row >= 0) & (row < shape[0]) & (column >= 0)
            & (column < shape[1]))


def _owned(answers, owner, x, y, number):
    """
    Give the pixels around maxima: intensity, centers, columns and rows.

    The intensity is 0 where pixels belong to another maximum.
    """
    row, column = y[:, None] + _DISK[:, 0], x[:, None] + _DISK[:, 1]
    inside = _is_inside(row, column, owner.shape)
    row, column = (np.clip(place, 0, length - 1) for place, length in zip(
        (row, column), owner.shape, strict=True))
    weight = answers[0][row, column].astype(float)
    weight *= inside & (owner[row, column] == number[:, None])
    return weight, np.stack([column + answers[1][row, column],
                             row + answers[2][row, column]]), column, row


def _split(weight, named, column, row, distance):
    """
    Split what holds two sources into the two centers that pixels name.

    Returns what `_gathered` does, of both parts of those that were split,
    and which these are.
    """
    total = weight.sum(1)
    offset = named - ((weight * named).sum(2) / total)[..., None]
    xx, yy, xy = ((weight * each).sum(1) for each in (
        offset[0]**2, offset[1]**2, offset[0] * offset[1]))
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)[:, None]
    first = offset[0] * np.cos(angle) + offset[1] * np.sin(angle) > 0
    for _ in range(4):
        shares = np.stack([weight * first, weight * ~first])
        sums = shares.sum(2)
        centers = (shares[:, None] * named).sum(3) / np.maximum(
            sums, 1e-12)[:, None]
        away = ((named - centers[..., None])**2).sum(1)
        first = away[0] < away[1]
    two = ((np.hypot(*(centers[0] - centers[1])) >= distance)
           & (sums.min(0) > _LEAST_PART))
    # One center is one source at most: what is above belongs to the other.
    sums = np.where(sums > sums[::-1], np.minimum(sums, 1.0),
                    np.maximum(sums, total - 1.0))
    pixel = shares.argmax(2)
    every = np.arange(len(total))
    return [np.concatenate([each[two] for each in both]) for both in (
        sums, centers[:, 0], centers[:, 1],
        [column[every, each] for each in pixel],
        [row[every, each] for each in pixel])], two


def _around(plane, weight, x, y):
    """Weighted mean of 3x3 pixels."""
    total, norm = np.zeros(len(x)), np.zeros(len(x))
    for dy, dx in _STEPS:
        row = np.clip(y + dy, 0, plane.shape[0] - 1)
        column = np.clip(x + dx, 0, plane.shape[1] - 1)
        total += weight[row, column] * plane[row, column]
        norm += weight[row, column]
    return total / np.maximum(norm, 1e-12)


def _blended(x, y, expected, distance):
    """Tell which sources have another near that is probable."""
    probable = np.flatnonzero(expected > _PROBABLE)
    if len(probable) < 2:
        return np.zeros(len(x), bool)
    place = np.stack([x, y], 1)
    # The nearest one of the probable may be the source itself.
    apart = cKDTree(place[probable]).query(place, k=2)[0]
    itself = expected > _PROBABLE
    return apart[np.arange(len(x)), itself.astype(int)] < distance


def _refined(snr, x, y, place_x, place_y, expected, distance, shape, blended):
    """
    Take the maxima of the matched filter, where sources are bright.

    A parabola through three pixels along each axis; where sources are
    blended, or there is no maximum near, the network knows better.
    """
    first_x, first_y = place_x, place_y
    place_x, place_y = place_x.copy(), place_y.copy()
    refined = np.zeros(len(x), bool)
    top = snr[:, 1:4, 1:4].reshape(len(x), 9).argmax(1)
    row, column = top // 3 + 1, top % 3 + 1
    top_x, top_y = x + column - 2, y + row - 2
    inside = ((top_x > 0) & (top_x < shape[1] - 1)
              & (top_y > 0) & (top_y < shape[0] - 1))
    every = np.arange(len(x))
    middle = snr[every, row, column]
    peaked = inside & (middle > 10.0) & ~blended
    offsets = []
    for dy, dx in ((0, 1), (1, 0)):
        low, high = (snr[every, row - dy, column - dx],
                     snr[every, row + dy, column + dx])
        bend = 2.0 * middle - low - high
        peaked &= (middle >= low) & (middle >= high) & (bend > 0)
        offsets.append(0.5 * (high - low) / np.where(bend > 0, bend, 1.0))
    place_x[peaked] = (top_x + offsets[0])[peaked]
    place_y[peaked] = (top_y + offsets[1])[peaked]
    refined[peaked] = True
    # The fainter of two that share a maximum stays where it was.
    kept = kept_of_pairs(_close(place_x, place_y, distance), expected)
    refined &= kept
    return (np.where(kept, place_x, first_x), np.where(kept, place_y, first_y),
            refined)


def _point_concentration(candidates):
    """
    Find the concentration that the stars of a plane have.

    Stars are the sharpest sources, and all are alike: the sharpest place
    at which bright ones crowd, in the light of narrow and wide filters,
    among those that stars of this width may have.
    """
    bright = ((candidates.snr > _BRIGHT) & (candidates.artefact < 0.3)
              & candidates.refined)
    if np.count_nonzero(bright) < _N_NEEDED:
        return POINT
    point = []
    for column, usual in zip(candidates.concentration.T, POINT, strict=True):
        values = np.log(np.clip(column[bright] / usual, 0.2, 3.0))
        spread = np.hypot(_SCATTER, 1.0 / candidates.snr[bright])
        line = np.arange(*(np.log(_OF_GAUSSIAN) if candidates.fwhm_is_measured
                           else (-1.0, 1.0)), 0.01)
        crowd = (np.exp(-0.5 * ((line[:, None] - values) / spread)**2)
                 / spread).sum(1)
        tops = np.flatnonzero((crowd[1:-1] >= crowd[:-2])
                              & (crowd[1:-1] > crowd[2:])) + 1
        if len(tops):
            place = line[tops[crowd[tops] > _SHARE * crowd[tops].max()][-1]]
        else:
            place = (np.log(_USUAL) if candidates.fwhm_is_measured
                     else np.median(values))
        point.append(usual * np.exp(place))
    return tuple(point)


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
        Shape (n, 13), float32, each of order 1; the second is the logarithm
        of the signal-to-noise ratio, less 2.5.
    """
    point = _point_concentration(candidates)
    excess = candidates.concentration / np.maximum(point, 0.5) - 1.0
    absolute = candidates.concentration[:, 1] / POINT[1] - 1.0
    snr = np.maximum(candidates.snr, 0.1)[:, None]
    return np.concatenate([
        np.stack([candidates.star_logit / 3.0, np.log(snr[:, 0]) - 2.5,
                  np.full(len(snr), np.log(candidates.fwhm) - 1.0),
                  candidates.crowding / 3.0 + 1.0, 5.0 * absolute], 1),
        np.clip(5.0 * excess, -4.0, 4.0), np.arcsinh(0.3 * excess * snr),
        candidates.shapes, candidates.rough[:, None]], 1).astype(np.float32)


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
    error = (np.sqrt(2.0) * filter_width(candidates.fwhm)
             / np.maximum(candidates.snr, 0.1))
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
