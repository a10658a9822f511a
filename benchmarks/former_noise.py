# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The estimator that `~astro_denoise.noise.findings.measure_noise` replaced.

It gives one number for a plane: medians over blocks of the scatter of the
blank sky. It is kept to be compared with.
"""

import math

import numpy as np

from astro_denoise.noise.levels import MESH, Sky
from astro_denoise.noise.strips import (
    binomial,
    map_strips,
    strip,
    strips,
    upsample,
)

__all__ = ['former_noise']


def former_noise(values, valid):
    """
    Estimate noise level and autocorrelation as before.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        The plane, and `False` where a pixel must not be used.

    Returns
    -------
    level, correlation : float
        Of the blank sky.
    """
    sky = Sky(values, valid)
    level, correlation = sky_noise(sky)
    return level * sky.scale, correlation


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
