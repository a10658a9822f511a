# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The blank sky of a plane: background mesh, noise level, photon slope.
"""

import logging
import math

import numpy as np
from astropy.stats import SigmaClip
from scipy.ndimage import binary_dilation

from .strips import (
    bin_plane,
    bin_sums,
    binomial,
    map_strips,
    strip,
    strips,
    upsample,
)

__all__ = ['MESH', 'Sky', 'photon_slope', 'sky_noise']

logger = logging.getLogger(__name__)

# Scatter over value that is of the rounding, in single and in double
# precision.
_LEAST_SCATTER = 1e-7, 1e-15

MESH = 64  # pixels in a mesh of the background, a side


class Sky:
    """
    Background mesh and blank sky of one plane.

    Everything is done on ``(values - centre) / scale`` with a robust
    centre and scale, so that a frame shifted or scaled gives the same,
    shifted or scaled, whatever its numbers are.
    """

    def __init__(self, values, valid):
        self.values = values
        self.valid = valid
        self.centre, self.scale = _centre_and_scale(values, valid)
        self.size = 4 if min(values.shape) >= MESH else 2
        if self.scale == 0:
            self.mesh = np.zeros((1, 1), np.float32)
            self.blank = np.ones([-(-n // self.size) for n in values.shape],
                                 bool)
            return
        sums, counts = bin_plane(values, valid, self.size,
                                 **self.standard)
        known = counts > 0
        means = sums / np.maximum(counts, 1)
        self.mesh = _background_mesh(means, known, MESH // self.size)

        grid = upsample(self.mesh, means.shape, MESH // self.size)
        residual = (means - grid) * np.sqrt(counts)
        self.blank = known & ~_sources(residual, known)

    @property
    def standard(self):
        """What brings values to the centre and scale of the sky."""
        return {'offset': self.centre, 'factor': 1 / self.scale}

    @property
    def level(self):
        """
        Median background.
        """
        return self.centre + self.scale * float(np.median(self.mesh))

    def background(self):
        """
        The background on every pixel.
        """
        out = np.empty(self.values.shape,
                       np.result_type(self.values.dtype, np.float32))

        def fill(rows):
            part = upsample(self.mesh, out.shape, MESH, rows)
            np.multiply(part, self.scale, out=out[rows])
            out[rows] += self.centre

        map_strips(fill, strips(out.shape[0]))
        return out

    def blank_pixels(self, rows=slice(None), columns=slice(None)):
        """
        Blank sky in some rows and columns of pixels.
        """
        rows, columns = (np.arange(n)[part] // self.size for n, part in
                         zip(self.values.shape, (rows, columns),
                             strict=True))
        return self.blank[rows][:, columns]


def _centre_and_scale(values, valid):
    """
    Robust centre and scale from at most some 250,000 pixels.
    """
    step = max(1, math.isqrt(values.size // 250_000))
    sample = values[::step, ::step][valid[::step, ::step]]
    if sample.size < 1000:
        sample = values[valid]
    sample = sample.astype(float)
    if sample.size == 0:
        return 0.0, 0.0
    low, centre, high = np.percentile(sample, [15.87, 50, 84.13])
    scale = (high - low) / 2
    least = _LEAST_SCATTER[values.dtype.itemsize > 4] * abs(centre)
    if scale <= least:
        # more than two thirds of the pixels have the same value
        scale = np.std(sample)
    if scale <= least:
        scale = 0.0
    return float(centre), float(scale)


def _background_mesh(means, known, box):
    """
    Sigma-clipped background in boxes of bins, filtered, without holes.
    """
    from photutils.background import Background2D

    fullest = bin_sums(known.astype(np.float32), box).max()
    if fullest == 0:
        return np.zeros((1, 1), np.float32)
    background = Background2D(
        means, tuple(min(box, n) for n in means.shape), mask=~known,
        exclude_percentile=90 if fullest > 0.1 * box**2 + 1 else 100,
        filter_size=3, sigma_clip=SigmaClip(3, maxiters=5))
    return background.background_mesh


def _sources(residual, known):
    """
    Bins with sources, from the residual in equal noise.

    A bin counts that is significant itself or with its neighbours.
    """
    weight = np.pad(known.astype(np.float32), 1)
    norm = binomial(weight, 2)
    # white noise keeps its scatter where all neighbours are known
    smooth = binomial(np.pad(residual, 1), 2) / (3 / 8)
    found = np.zeros(known.shape, bool)
    for plane in (residual, smooth):
        use = known & (norm > 0.5)
        if not use.any():
            use = known.copy()
        for _ in range(5):
            part = plane[use]
            if part.size == 0:
                break
            centre = np.median(part)
            limit = 3 * 1.4826 * np.median(np.abs(part - centre))
            far = np.abs(plane - centre) > max(limit, 1e-3)
            n_used = part.size
            use &= ~far
            if part.size - np.count_nonzero(use) < 1e-3 * n_used:
                break
        found |= far
    return binary_dilation(found, np.ones((3, 3)))


def _clipped(data, weight):
    """
    Weight without the outliers beyond about 6 sigma, in place.

    The 99th percentile gives the scale, since the median deviation is 0
    where most pixels hold no electron.
    """
    size = np.abs(data[::2, ::2][weight[::2, ::2] > 0])
    if size.size > 0:
        limit = 6 / 2.576 * np.percentile(size, 99)
        weight *= np.abs(data) <= limit
    return weight


class _BlockSums:
    """
    Moments of a plane in blocks of one strip of rows.
    """

    def __init__(self, n_columns):
        self.n_blocks = -(-n_columns // MESH)

    def total(self, plane):
        columns = plane.sum(axis=0).astype(float)
        columns = np.pad(columns, (0, self.n_blocks * MESH - columns.size))
        return columns.reshape(self.n_blocks, MESH).sum(axis=1)

    def covariance(self, first, second, weight):
        """
        Number of pixels, and covariance of two planes zero where unused.
        """
        n_pixels = self.total(weight)
        count = np.maximum(n_pixels, 1)
        means = self.total(first * weight) * self.total(second * weight)
        product = self.total(first * second)
        return n_pixels, (product - means / count) / np.maximum(count - 1, 1)


def sky_noise(sky):
    """
    Noise level (in units of ``sky.scale``) and lag-1 autocorrelation.

    Medians over blocks, so that blocks with nebulae or the wings of stars
    do not count.  The level comes from second differences, which see no
    structure, unless they miss noise that is correlated.  The lag-1
    autocorrelation is 0 where it is within three times its error.
    """
    if sky.scale == 0:
        return 0.0, 0.0
    table = _block_table(sky)
    n_pixels, pixel, n_inner, second, *products = table
    use = (n_pixels >= max(n_pixels.max() / 4, 16)) & (pixel > 0)
    if not use.any():
        return 1.0, 0.0  # a robust scale of all pixels
    lag1, white = _without_structure(*(np.median(part[use] / pixel[use])
                                       for part in products))
    number = n_pixels[use].sum()
    if abs(lag1) < 3 * 2.5 / math.sqrt(2 * number):
        lag1 = 0.0

    pixel = np.median(pixel[use])
    use &= n_inner >= max(n_inner.max() / 4, 16)
    second = np.median(second[use]) if use.any() else pixel
    # 3.8: what the overlap of second differences adds to their error
    if lag1 == 0 and abs(pixel - second) < 2 * second * math.sqrt(
            2 * 3.8 / number):
        return math.sqrt(pixel), lag1
    share = np.clip((abs(lag1) - 0.01) / 0.03, 0, 1)
    level = math.sqrt(share * white * pixel + (1 - share) * second)
    return level, float(lag1)


def _without_structure(lag1, lag3, lag5):
    """
    Lag-1 autocorrelation, and share of the variance, of the noise alone.

    What is left of nebulae and galaxies is smooth, so that its
    autocorrelation at lags 3 and 5 gives that at lags 0 and 1.
    """
    lag3 = min(max(lag3, 0), 2 * max(lag5, 0))
    white = 1 - (2.5 * lag3 - 1.5 * lag5)
    if white > 0.25:
        noise = (lag1 - (2 * lag3 - lag5)) / white
        if noise < 0.5:
            return noise, white
    # noise that is correlated over several pixels looks the same
    return lag1, 1.0


def _block_table(sky):
    """
    Moments of the blank sky in blocks of 64 x 64 pixels, one a column.

    The rows are number of pixels and variance of the sky and of its second
    differences, and the autocovariance at lags 1, 3 and 5.
    """
    blocks = _BlockSums(sky.values.shape[1])
    every = max(1, sky.values.size // 4_000_000)

    def column(rows):
        data, weight = strip(sky.values, sky.valid, rows, 0,
                             **sky.standard)
        data -= upsample(sky.mesh, sky.values.shape, MESH, rows)
        weight *= sky.blank_pixels(rows)
        second = np.diff(np.diff(data, 2, axis=0), 2, axis=1) / 6
        inner = _clipped(second, np.floor(binomial(weight, 2)))
        second *= inner
        weight = _clipped(data, weight)
        data *= weight
        row = [*blocks.covariance(data, data, weight),
               *blocks.covariance(second, second, inner)]
        for lag in (1, 3, 5):
            along = [blocks.covariance(data[one], data[two],
                                       weight[one] * weight[two])[1]
                     for one, two in ((np.s_[:, :-lag], np.s_[:, lag:]),
                                      (np.s_[:-lag], np.s_[lag:]))]
            row.append((along[0] + along[1]) / 2)
        return row

    parts = list(strips(sky.values.shape[0]))[::every]
    return np.concatenate(map_strips(column, parts), axis=1)


def _bright_sample(sky, level):
    """
    Mean, high-pass residual and curvature of pixels above the sky.

    All are in units of the noise level; also the variance of the
    high-pass residual of the sky itself.
    """
    def sample(rows):
        data, weight = strip(sky.values, sky.valid, rows, 3,
                             offset=sky.level, factor=1 / level)
        smooth = binomial(data, 6)
        # fourth differences see next to nothing of what the optics let by
        residual = np.diff(np.diff(data, 4, axis=0), 4, axis=1)[1:-1, 1:-1]
        residual /= 70
        mean = binomial(data[2:-2, 2:-2], 2)
        full = binomial(weight, 6) == 1
        bright = np.flatnonzero(full & (smooth > 1))
        bright = bright[::1 + bright.size // 20_000]
        dark = np.flatnonzero(full & (np.abs(smooth) < 1))
        return ([part.ravel()[bright]
                 for part in (mean, residual, mean - smooth)],
                residual.ravel()[dark[::1 + dark.size // 5000]])

    samples, blank = zip(*map_strips(sample, strips(sky.values.shape[0])),
                         strict=True)
    return (*np.concatenate(samples, axis=1), _variance(np.concatenate(blank)))


def _variance(sample):
    if sample.size == 0:
        return 0.0
    return np.quantile(np.abs(sample), 0.6827)**2


def photon_slope(sky, level):
    """
    Slope of the variance with the mean, in units of the noise level.

    Returns 0 where it is not significant.  Structure that the high-pass
    residual still sees grows with the square of the mean, photon noise
    with the mean: both are fitted and only the latter is kept.
    """
    mean, residual, curvature, blank = _bright_sample(sky, level)
    if blank == 0:
        return 0.0
    edges = 1.5 * 1.4**np.arange(50)
    which = np.digitize(mean, edges)
    points = []
    for i in range(1, edges.size):
        inside = which == i
        if np.count_nonzero(inside) < 50:
            continue
        flat = np.abs(curvature[inside])
        flat = flat <= np.median(flat)
        points.append((mean[inside][flat].mean(),
                       _variance(residual[inside][flat]) / blank,
                       np.count_nonzero(flat)))
    if len(points) < 4:
        return 0.0
    mean, variance, number = np.array(points).T

    # the brightest bins are left out until the two terms fit the others
    for last in range(len(mean), 3, -1):
        slope, error, misfit = _fit_slope(mean[:last], variance[:last],
                                          number[:last])
        if misfit < 2:
            logger.debug('photon slope %s +- %s', slope, error)
            return slope - error if slope > 4 * error else 0.0
    return 0.0


def _fit_slope(mean, variance, number):
    """
    Fit ``1 + slope * mean + structure * mean**2``, both not negative.

    Returns the slope, its error and the reduced chi-squared.
    """
    columns = np.stack([mean, mean**2], axis=1)
    model = variance
    for _ in range(5):
        # variance of a 68.27 % quantile, and of residuals that overlap
        weight = np.sqrt(number / 6.6) / model
        design = columns * weight[:, np.newaxis]
        covariance = np.linalg.inv(design.T @ design)
        solution = covariance @ design.T @ ((variance - 1) * weight)
        if solution[-1] < 0 and columns.shape[1] == 2:
            columns = columns[:, :1]
        else:
            model = np.maximum(1 + columns @ solution, 0.5)
    misfit = np.sum(((variance - model) * weight)**2)
    misfit /= variance.size - columns.shape[1]
    error = math.sqrt(covariance[0, 0] * max(misfit, 1))
    return float(solution[0]), error, misfit
