# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Passes of a denoiser over single pixels and their neighbors, compiled.

Each function makes some rows of its result in one pass and holds no lock
meanwhile. The formulas are those of the torch modules that are named; a test
holds both equal. Planes are 2D and float32.
"""

import math

import numpy as np

from ..noise.compiling import compiled

__all__ = ['calibrated_rows', 'feature_rows', 'found_rows', 'hyperbolic',
           'unpacked_rows']

_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)
_EDGE = np.float32(1.5)   # of a mean of nine pixels, of which six exist


@compiled
def _nine(plane, row, column, total):
    """Sum 3x3 pixels around those of a row, those at edges half as much."""
    n_rows, n_columns = plane.shape
    above, below = max(row - 1, 0), min(row + 1, n_rows - 1)
    factor = _ONE
    if above == row or below == row:
        factor = _EDGE
    column[0] = column[n_columns + 1] = _ZERO
    if above == row:
        for j in range(n_columns):
            column[j + 1] = factor * (plane[row, j] + plane[below, j])
    elif below == row:
        for j in range(n_columns):
            column[j + 1] = factor * (plane[row, j] + plane[above, j])
    else:
        for j in range(n_columns):
            column[j + 1] = plane[above, j] + plane[row, j] + plane[below, j]
    for j in range(n_columns):
        total[j] = column[j] + column[j + 1] + column[j + 2]
    total[0] *= _EDGE
    total[n_columns - 1] *= _EDGE


@compiled
def _weighted(plane, weight, first, stop, out):
    """Multiply some rows of two planes."""
    for i in range(first, stop):
        for j in range(plane.shape[1]):
            out[i - first, j] = plane[i, j] * weight[i, j]


@compiled
def _logarithm(values, bits, out):
    """Compute logarithms of normal numbers, to rounding."""
    # Cephes' logf, without a branch.
    n = values.shape[0]
    for j in range(n):
        # The mantissa from sqrt(1/2) to sqrt(2).
        shifted = bits[j] - np.int32(0x3f3504f3)
        exponent = shifted >> np.int32(23)
        bits[j] = (shifted & np.int32(0x007fffff)) + np.int32(0x3f3504f3)
        out[j] = np.float32(exponent)
    for j in range(n):
        f = values[j] - _ONE
        square = f * f
        p = np.float32(7.0376836292e-2)
        p = p * f + np.float32(-1.1514610310e-1)
        p = p * f + np.float32(1.1676998740e-1)
        p = p * f + np.float32(-1.2420140846e-1)
        p = p * f + np.float32(1.4249322787e-1)
        p = p * f + np.float32(-1.6668057665e-1)
        p = p * f + np.float32(2.0000714765e-1)
        p = p * f + np.float32(-2.4999993993e-1)
        p = p * f + np.float32(3.3333331174e-1)
        out[j] = (out[j] * np.float32(math.log(2.0))
                  + (f - np.float32(0.5) * square + f * square * p))


@compiled
def hyperbolic(row, root, bits, out):
    """
    Compute the inverse hyperbolic sine of a row.

    Parameters
    ----------
    row : 1D `~numpy.ndarray`
        Values up to 1e18.

    root, bits : 1D `~numpy.ndarray`
        Memory to work in: of float32, and the same seen as int32.

    out : 1D `~numpy.ndarray`
        Changed in place.
    """
    n = row.shape[0]
    for j in range(n):
        root[j] = abs(row[j]) + np.sqrt(row[j] * row[j] + _ONE)
    _logarithm(root, bits, out)
    for j in range(n):
        out[j] = -out[j] if row[j] < _ZERO else out[j]


@compiled
def _surroundings(plane, first, stop, means, column, out):
    """Take the mean of nine twice; nine times as large both times."""
    n_rows = plane.shape[0]
    low, high = max(first - 1, 0), min(stop + 1, n_rows)
    for i in range(low, high):
        _nine(plane, i, column, means[i - low])
    for i in range(first, stop):
        # The edges of what is there are those of the plane, or not used.
        _nine(means[:high - low], i - low, column, out[i - first])


@compiled
def feature_rows(x, log_sigma, valid, all_count, first, stop, out):
    """
    Make rows of the features that a network sees.

    As `~astro_denoise.models.denoiser.CCDDenoiser.features`.

    Parameters
    ----------
    x, log_sigma, valid : 2D `~numpy.ndarray`
        The input of the network.

    all_count : bool
        True if all pixels are valid.

    first, stop : int
        Rows of the planes to make features of, even numbers.

    out : 3D `~numpy.ndarray`
        Features at half resolution, channels last, from that of the first
        row on; changed in place.
    """
    n_columns = x.shape[1]
    n_rows = stop - first
    column = np.empty(n_columns + 2, np.float32)
    means = np.empty((n_rows + 2, n_columns), np.float32)
    around = np.empty((n_rows, n_columns), np.float32)
    norm = np.empty((1, n_columns), np.float32)
    root = np.empty(n_columns, np.float32)
    bits = root.view(np.int32)
    detail = np.empty(n_columns, np.float32)
    answers = np.empty((2, n_columns), np.float32)
    _surroundings(x, first, stop, means, column, around)
    if not all_count:
        counts = np.empty((n_rows, n_columns), np.float32)
        _surroundings(valid, first, stop, means, column, counts)
    for i in range(first, stop):
        if all_count:
            for j in range(n_columns):
                norm[0, j] = np.float32(1 / 81)
        else:
            for j in range(n_columns):
                norm[0, j] = _ONE / max(counts[i - first, j],
                                        np.float32(81e-3))
        for j in range(n_columns):
            detail[j] = (x[i, j] - around[i - first, j] * norm[0, j]
                         ) * valid[i, j]
        hyperbolic(x[i], root, bits, answers[0])
        hyperbolic(detail, root, bits, answers[1])
        below, half = 2 * (i % 2), (i - first) // 2
        for j in range(n_columns // 2):
            for k in range(2):
                out[half, j, below + k] = answers[0, 2 * j + k]
                out[half, j, 4 + below + k] = answers[1, 2 * j + k]
                out[half, j, 8 + below + k] = log_sigma[i, 2 * j + k]
                out[half, j, 12 + below + k] = valid[i, 2 * j + k]


@compiled
def unpacked_rows(answer, valid, largest, first, stop, noise, log_variance):
    """
    Unpack rows of noise and log variance from the answer of a network.

    As `~astro_denoise.models.denoiser.CCDDenoiser.estimated`.

    Parameters
    ----------
    answer : 3D `~numpy.ndarray`
        At half resolution, channels last.

    valid : 2D `~numpy.ndarray`
        1 where pixels count.

    largest : float
        Of the noise.

    first, stop : int
        Rows of the planes, even numbers.

    noise, log_variance : 2D `~numpy.ndarray`
        Changed in place.
    """
    for i in range(first, stop):
        below, half = 2 * (i % 2), i // 2
        for j in range(answer.shape[1]):
            for k in range(2):
                value = answer[half, j, below + k]
                value = largest if value > largest else value
                value = -largest if value < -largest else value
                noise[i, 2 * j + k] = value * valid[i, 2 * j + k]
                log_variance[i, 2 * j + k] = answer[half, j, 4 + below + k]


@compiled
def _support(value, near, support):
    """Tell how far a pixel is supported, from 0 to 1."""
    share = near * value / max(support * value * value, np.float32(1e-12))
    share = _ZERO if share < _ZERO else share
    return _ONE if share > _ONE else share


@compiled
def _near_rows(plane, weight, all_count, first, stop, out):
    """Compute the mean of the eight pixels around, by their weight."""
    n_rows, n_columns = plane.shape
    low, high = max(first - 1, 0), min(stop + 1, n_rows)
    column = np.empty(n_columns + 2, np.float32)
    total = np.empty(n_columns, np.float32)
    if all_count:
        for i in range(first, stop):
            _nine(plane, i, column, total)
            for j in range(n_columns):
                out[i - first, j] = (total[j] - plane[i, j]
                                     ) * np.float32(1 / 8)
        return
    product = np.empty((high - low, n_columns), np.float32)
    norm = np.empty(n_columns, np.float32)
    _weighted(plane, weight, low, high, product)
    for i in range(first, stop):
        _nine(product, i - low, column, total)
        _nine(weight[low:high], i - low, column, norm)
        for j in range(n_columns):
            out[i - first, j] = (total[j] - product[i - low, j]) / max(
                norm[j] - weight[i, j], np.float32(0.5))


@compiled
def _supported_rows(x, valid, all_count, support, lone, first, stop, share,
                    ray):
    """Find cosmic rays in some rows; tell if there are any."""
    any_ray = False
    _near_rows(x, valid, all_count, first, stop, share)
    low, high = lone
    for i in range(first, stop):
        for j in range(x.shape[1]):
            value = x[i, j]
            part = _support(value, share[i - first, j], support)
            above = (abs(value) - low) / (high - low) - _ONE
            above = _ZERO if above < _ZERO else above
            above = _ONE if above > _ONE else above
            share[i - first, j] = part
            ray[i - first, j] = (_ONE - part) * above
            any_ray |= ray[i - first, j] > _ZERO
    return any_ray


@compiled
def found_rows(planes, all_count, support, lone, faint, scatter, first, stop,
               noise_out, log_variance_out):
    """
    Find lone pixels and leave faint sources to the kernel, in some rows.

    As `~astro_denoise.models.lone_pixels.find_lone_pixels` and what follows
    in `~astro_denoise.models.denoiser.CCDDenoiser.finished`.

    Parameters
    ----------
    planes : tuple of 2D `~numpy.ndarray`
        Noise, log variance, the standardized frame and its valid pixels.

    all_count : bool
        True if all pixels are valid.

    support : float
        What neighbors must have of a pixel.

    lone : tuple of float
        Where a pixel that stands alone begins to be and is a cosmic ray.

    faint : float
        Square of the signal from which on a network is believed; 0 if it is
        everywhere.

    scatter : float
        Logarithm of the sum of squares of the kernel.

    first, stop : int
        Rows to make.

    noise_out, log_variance_out : 2D `~numpy.ndarray`
        Changed in place.
    """
    noise, log_variance, x, valid = planes
    n_rows, n_columns = x.shape
    low, high = max(first - 1, 0), min(stop + 1, n_rows)
    share = np.empty((high - low, n_columns), np.float32)
    ray = np.empty((high - low, n_columns), np.float32)
    any_ray = _supported_rows(x, valid, all_count, support, lone, low, high,
                              share, ray)
    # From here on, rows begin at the first that a neighbor is in.
    good = valid[low:high]
    here, end = first - low, stop - low
    near = np.empty((stop - first, n_columns), np.float32)
    if any_ray:
        good = good * (_ONE - ray)
        all_count = False
        _near_rows(x[low:high], good, all_count, here, end, near)
        for i in range(here, end):
            for j in range(n_columns):
                share[i, j] = _support(x[low + i, j], near[i - here, j],
                                       support)
    usual = np.empty((stop - first, n_columns), np.float32)
    signal = x[low:high] - noise[low:high]
    _near_rows(signal, good, all_count, here, end, near)
    _near_rows(log_variance[low:high], good, all_count, here, end, usual)
    for i in range(here, end):
        for j in range(n_columns):
            value, size = signal[i, j], abs(signal[i, j])
            beside = near[i - here, j]
            # Where either crosses zero nothing may jump.
            part = min(share[i, j], max(_support(value, beside, support),
                                        np.float32(1.5) - size))
            own = abs(x[low + i, j])
            sure = max((own - lone[0]) / (lone[1] - lone[0]),
                       _ONE - np.float32(2.0) * own)
            sure = _ZERO if sure < _ZERO else sure
            part = max(part, _ONE if sure > _ONE else sure)
            beside = -size if beside < -size else beside
            beside = size if beside > size else beside
            taken = noise[low + i, j] + (value - beside) * (_ONE - part)
            variance = log_variance[low + i, j]
            least = min(usual[i - here, j], variance)
            variance = least + part * (variance - least)
            if faint > _ZERO:
                value = x[low + i, j] - taken
                doubt = faint / (value * value + faint)
                variance += doubt * (scatter - variance)
                taken += value * doubt
            noise_out[low + i, j] = (taken * (_ONE - ray[i, j])
                                     * valid[low + i, j])
            log_variance_out[low + i, j] = variance


@compiled
def calibrated_rows(planes, relative, calibration, knots, scale, first, stop,
                    noise_out, log_variance_out):
    """
    Give flux back and calibrate errors, in some rows.

    As the end of `~astro_denoise.models.denoiser.CCDDenoiser.finished`.

    Parameters
    ----------
    planes : tuple of 2D `~numpy.ndarray`
        Noise, log variance, the standardized frame and the flux that is
        given back.

    relative : 2D `~numpy.ndarray`
        Noise in units of that of the blank sky.

    calibration : 1D `~numpy.ndarray`
        Correction at the knots.

    knots : tuple of float
        The first knot and the step between them, in asinh.

    scale : float
        Signal over noise that the knots are in units of.

    first, stop : int
        Rows to make, even numbers.

    noise_out, log_variance_out : 2D `~numpy.ndarray`
        Changed in place.
    """
    noise, log_variance, x, flux = planes
    n_half = x.shape[1] // 2
    quarter = np.float32(0.25 / scale)
    last = np.float32(calibration.shape[0] - 1.001)
    mean = np.empty(n_half, np.float32)
    root = np.empty(n_half, np.float32)
    bits = root.view(np.int32)
    place = np.empty(n_half, np.float32)
    for top in range(first, stop, 2):
        for j in range(n_half):
            mean[j] = _ZERO
        for i in range(top, top + 2):
            for j in range(x.shape[1]):
                noise_out[i, j] = noise[i, j] - flux[i, j]
            for j in range(n_half):
                mean[j] += ((x[i, 2 * j] - noise_out[i, 2 * j])
                            * relative[i, 2 * j]
                            + (x[i, 2 * j + 1] - noise_out[i, 2 * j + 1])
                            * relative[i, 2 * j + 1])
        for j in range(n_half):
            mean[j] *= quarter
        hyperbolic(mean, root, bits, place)
        for j in range(n_half):
            at = (place[j] - knots[0]) / knots[1]
            # What is not a number has no place.
            at = at if at > _ZERO else _ZERO
            at = last if at > last else at
            lower = int(at)
            mean[j] = (calibration[lower] + (at - np.float32(lower))
                       * (calibration[lower + 1] - calibration[lower]))
        for i in range(top, top + 2):
            for j in range(x.shape[1]):
                value = log_variance[i, j]
                value = np.float32(-12.0) if value < -12.0 else value
                value = np.float32(8.0) if value > 8.0 else value
                # No error is made larger than the noise of the pixel.
                most = value if value > _ZERO else _ZERO
                value += mean[j // 2]
                log_variance_out[i, j] = most if value > most else value
