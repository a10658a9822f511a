# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The noise map that follows from gain and read noise.
"""

import math

import numpy as np

from .compiling import compiling_pays
from .strips import (
    bin_plane,
    binomial,
    block_median,
    fill_holes,
    linear_weights,
    map_strips,
    strip,
    strips,
    upsample,
)

__all__ = ['electrons_of_sky', 'photon_noise_map']

BLOCK = 16  # bins of 4 pixels in a block of the wide mean of a noise map
# sum of squares of the binomial kernel of order 4 without its center
NARROW_SQUARES = ((35 / 128)**2 - (3 / 8)**4) / (1 - (3 / 8)**2)


def photon_noise_map(values, valid, gain, read_noise, *, pedestal=0.0):
    r"""
    Noise map of a frame from its gain and read noise.

    The variance of a pixel is

    .. math::

        \sigma^2 = \max(m - p, 0) / g + (r / g)^2

    with the local mean :math:`m`, the pedestal :math:`p`, the gain
    :math:`g`, and the read noise :math:`r`.  The mean is smoothed, or the
    noise of the pixel would leak into the map: it is the wide background
    where nothing else is seen, and a mean over a few pixels only where that
    differs significantly from the wider one.  The pixel itself counts in
    the cores of stars only.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The frame, including the sky.

    valid : 2D bool `~numpy.ndarray`
        `False` where a pixel must not be used.

    gain : float
        Electrons per unit of ``values`` (1 for a frame in electrons).

    read_noise : float
        Read noise in electrons.

    pedestal : float, optional
        Value of a pixel without electrons.

    Returns
    -------
    sigma : 2D `~numpy.ndarray`
        The noise standard deviation (float32) in the unit of ``values``,
        positive everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.noise import photon_noise_map
    >>> values = np.full((32, 32), 50.0)
    >>> sigma = photon_noise_map(values, values > 0, 2.0, 10.0)
    >>> print(sigma[0, 0])
    7.071068
    """
    # a few hundredths of an electron keep sigma positive without read noise
    constant = np.float32(max(read_noise, 0.03)**2)
    electrons = {'offset': pedestal, 'factor': gain}
    shape = values.shape
    coarse = _coarse_mean(values, valid, electrons, constant)
    sigma = np.empty(shape, np.float32)
    if (compiling_pays(shape) and values.flags.c_contiguous
            and values.dtype in (np.float32, np.float64)):
        fill = _compiled_rows(values, valid, coarse, electrons, constant,
                              sigma)
    else:
        fill = _numpy_rows(values, valid, coarse, electrons, constant, sigma)
    map_strips(fill, strips(shape[0]))
    return sigma


def _compiled_rows(values, valid, coarse, electrons, constant, sigma):
    """
    Fill rows of a map by one compiled pass.
    """
    from .photon_passes import photon_rows

    axes = (*linear_weights(values.shape[0], coarse.shape[0], 4),
            *linear_weights(values.shape[1], coarse.shape[1], 4))
    numbers = (values.dtype.type(electrons['offset']),
               np.float32(electrons['factor']), constant)
    squares = np.float32(NARROW_SQUARES), np.float32(9 / 64)
    coarse = coarse.astype(np.float32)

    def fill(rows):
        photon_rows(values, valid, coarse, axes, numbers, squares,
                    (rows.start, rows.stop), sigma)

    return fill


def _numpy_rows(values, valid, coarse, electrons, constant, sigma):
    """
    Fill rows of a map by passes of numpy.
    """
    gain = electrons['factor']

    def fill(rows):
        mean = upsample(coarse, values.shape, 4, rows)
        data, weight = strip(values, valid, rows, 2, **electrons)

        # standard deviation 1 pixel and without the pixel itself, then 0.7
        # pixels, then the pixel itself: the last two only in the cores of
        # stars and the like, where structure is much larger than noise
        own = np.float32((3 / 8)**2)
        center = np.s_[2:-2, 2:-2]
        total = binomial(data, 4) - own * data[center]
        norm = binomial(weight, 4) - own * weight[center]
        _adopt(mean, total, norm, NARROW_SQUARES, constant, (3, 6), 1 / 8)
        total = binomial(data[1:-1, 1:-1], 2)
        norm = binomial(weight[1:-1, 1:-1], 2)
        _adopt(mean, total, norm, (3 / 8)**2, constant, (4, 7), 1 / 4)
        _adopt(mean, data[center], weight[center], 1, constant, (6, 10), 1)

        np.maximum(mean, 0, out=mean)
        mean += constant
        np.sqrt(mean, out=mean)
        np.multiply(mean, 1 / gain, out=sigma[rows])

    return fill


def electrons_of_sky(sky, level, gain):
    """
    Derive gain, read noise and pedestal from the noise of the sky.

    Parameters
    ----------
    sky, level : float
        Level of the blank sky, and its noise.

    gain : float
        Electrons per unit of the frame.

    Returns
    -------
    gain, read_noise, pedestal : float
        As for `photon_noise_map`.
    """
    # the photons of the sky cannot have more noise than the sky has
    variance = (level * gain)**2
    photons = min(max(sky * gain, 0.0), variance)
    return gain, math.sqrt(variance - photons), sky - photons / gain


def _coarse_mean(values, valid, electrons, constant):
    """
    Mean on bins of 4 pixels, wide where nothing stands out.
    """
    sums, counts = bin_plane(values, valid, 4, **electrons)
    total = binomial(np.pad(sums, 1), 2)
    norm = binomial(np.pad(counts, 1), 2)
    wide = fill_holes(block_median(total / np.maximum(norm, 1e-3), norm > 0,
                                   BLOCK))
    edges = np.pad(np.ones_like(wide), 1)
    wide = binomial(np.pad(wide, 1), 2) / binomial(edges, 2)
    mean = upsample(wide, total.shape, BLOCK)
    _adopt(mean, total, norm, (3 / 8)**2, constant, (3, 6), 1 / 64)
    return mean


def _adopt(mean, total, norm, squares, constant, gates, peak):
    """
    Move a mean to a finer one where they differ significantly, in place.

    Parameters
    ----------
    mean : 2D `~numpy.ndarray`
        The wider mean in electrons, changed in place.

    total, norm : 2D `~numpy.ndarray`
        Weighted sum of the finer mean and of its weights.

    squares : float
        Sum of the squared weights over that of the weights.

    constant : float
        Variance without photons in electrons.

    gates : tuple of float
        Differences in standard deviations of the finer mean where it
        begins to count and where it replaces the wider one.

    peak : float
        Largest weight of a pixel in the finer mean.  The third of it times
        the difference is added to the variance as in Bernstein's
        inequality, for the long tail of few electrons.
    """
    low, high = gates
    usable = norm > 0.1
    norm = np.where(usable, norm, 1)
    difference = total / norm
    difference -= mean
    difference *= usable
    variance = np.maximum(mean, 0)
    variance += constant
    variance *= squares / norm
    share = np.abs(difference)
    variance += share * np.float32(peak / 3)
    np.square(share, out=share)
    share /= variance
    np.sqrt(share, out=share)
    share -= low
    share *= 1 / (high - low)
    np.clip(share, 0, 1, out=share)
    difference *= share
    mean += difference
