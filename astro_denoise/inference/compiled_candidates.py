# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Candidates for sources and the light around them, compiled.

The same as in `astro_denoise.inference.candidates` and
`astro_denoise.inference.candidate_light`; tests hold both equal.
"""

import numpy as np

from ..noise.compiling import compiled

__all__ = ['light_of_filters', 'misfit_of_stars', 'owned_pixels', 'peak_rows']

_ZERO = np.float32(0)
_VECTOR = 32  # values that loops take at a time


@compiled
def _blurred(plane, row, kernel, line, out):
    """Filter a row, mirrored at the edges, as `scipy.ndimage` does."""
    n_rows, n = plane.shape
    half = kernel.shape[0] - 1
    for j in range(n):
        line[j + half] = 0.0
    for step in range(half, -1, -1):
        above, below = row - step, row + step
        above = -above - 1 if above < 0 else above
        below = 2 * n_rows - 1 - below if below >= n_rows else below
        one, other = plane[above], plane[below]
        weight = kernel[step] if step else 0.5 * kernel[0]
        for j in range(n):
            line[j + half] += weight * (np.float64(one[j])
                                        + np.float64(other[j]))
    for j in range(n):
        line[j + half] = np.float64(np.float32(line[j + half]))
    for step in range(half):
        line[half - 1 - step] = line[half + step]
        line[half + n + step] = line[half + n - 1 - step]
    for j in range(n):
        total = kernel[0] * line[j + half]
        for step in range(1, half + 1):
            total += kernel[step] * (line[j + half - step]
                                     + line[j + half + step])
        out[j] = np.float32(total)


@compiled
def peak_rows(intensity, valid, kernel, least, smooth, peak):
    """
    Find the local maxima of the smoothed intensity.

    Parameters
    ----------
    intensity, valid : 2D `~numpy.ndarray`
        At least as many pixels along each axis as the kernel reaches.

    kernel : 1D `~numpy.ndarray`
        Half of it, float64, the middle first.

    least : float
        Of a maximum.

    smooth, peak : 2D `~numpy.ndarray`
        The smoothed intensity, and `True` at maxima; changed in place.
    """
    n_rows, n = intensity.shape
    line = np.empty(n + 2 * kernel.shape[0], np.float64)
    for i in range(n_rows):
        _blurred(intensity, i, kernel, line, smooth[i])
    for i in range(n_rows):
        above, below = smooth[max(i - 1, 0)], smooth[min(i + 1, n_rows - 1)]
        own, known, found = smooth[i], valid[i], peak[i]
        for j in range(n):
            found[j] = known[j] and own[j] > least
        for j in range(n):
            if not found[j]:
                continue
            left, right = max(j - 1, 0), min(j + 1, n - 1)
            high, low = own[j], own[j]
            for row in (above, own, below):
                for k in (left, j, right):
                    high, low = max(high, row[k]), min(low, row[k])
            # A plain has no maximum.
            found[j] = own[j] >= high and own[j] > (1.0 + 1e-5) * low


@compiled
def owned_pixels(planes, x, y, disk, owner, total, place_x, place_y):
    """
    Sum the intensity of the pixels nearest to each maximum.

    Parameters
    ----------
    planes : tuple of 2D `~numpy.ndarray`
        Intensity, and the offsets that pixels name.

    x, y : 1D `~numpy.ndarray` of int
        The maxima.

    disk : 2D `~numpy.ndarray` of int
        Pixels within reach, along x and y, the farthest first.

    owner : 2D `~numpy.ndarray` of int
        Number of the maximum of each pixel; changed in place.

    total, place_x, place_y : 1D `~numpy.ndarray`
        Sums, and means of the centers that the nearest pixels name;
        changed in place.
    """
    intensity, offset_x, offset_y = planes
    n_rows, n_columns = intensity.shape
    for step in range(disk.shape[0]):
        for k in range(x.shape[0]):
            i, j = y[k] + disk[step, 0], x[k] + disk[step, 1]
            if 0 <= i < n_rows and 0 <= j < n_columns:
                owner[i, j] = k
    for k in range(x.shape[0]):
        all_light, core, sum_x, sum_y = 0.0, 0.0, 0.0, 0.0
        for step in range(disk.shape[0]):
            i, j = y[k] + disk[step, 0], x[k] + disk[step, 1]
            if not (0 <= i < n_rows and 0 <= j < n_columns) or (
                    owner[i, j] != k):
                continue
            light = np.float64(intensity[i, j])
            all_light += light
            if disk[step, 0]**2 + disk[step, 1]**2 < 1.6**2:
                core += light
                sum_x += light * (j + np.float64(offset_x[i, j]))
                sum_y += light * (i + np.float64(offset_y[i, j]))
        total[k] = all_light
        core = max(core, 1e-12)
        place_x[k], place_y[k] = sum_x / core, sum_y / core


@compiled
def _mirrored(center, half, length, index, known):
    """Pixels of a stamp along an axis; those beyond the edge are mirrored."""
    for k in range(2 * half + 1):
        place = center + k - half
        known[k] = np.float32(0 <= place < length)
        place = -place - 1 if place < 0 else place
        place = 2 * length - 1 - place if place >= length else place
        index[k] = min(max(place, 0), length - 1)


@compiled
def _gaussian(offset, width, line):
    """Fill in a Gaussian of a sum of 1, with one exponential for all."""
    half = line.shape[0] // 2
    ratio = np.exp(offset / width**2)
    up = down = 1.0
    line[half] = 1.0
    total = 1.0
    for k in range(1, half + 1):
        up *= ratio
        down /= ratio
        weight = np.exp(-0.5 * (k / width)**2)
        line[half + k], line[half - k] = weight * up, weight * down
        total += line[half + k] + line[half - k]
    for k in range(line.shape[0]):
        line[k] /= total


@compiled
def light_of_filters(signal, x, y, offsets, widths, half, out):
    """
    Compute the light of sources in Gaussian filters.

    Parameters
    ----------
    signal : 2D `~numpy.ndarray`
        The plane.

    x, y : 1D `~numpy.ndarray` of int
        The pixels.

    offsets : tuple of 1D `~numpy.ndarray`
        From the pixels to the positions, along x and y.

    widths : 1D `~numpy.ndarray`
        Of the filters, in pixels.

    half : int
        Half the side of a stamp.

    out : 2D `~numpy.ndarray`
        Shape (n, n_widths); changed in place.
    """
    side = 2 * half + 1
    n_widths = widths.shape[0]
    rows, columns = np.empty((2, side), np.uintp)
    known = np.empty(side, np.float32)
    profile = np.empty(side)
    padded = -(-side // _VECTOR) * _VECTOR
    down, along = np.zeros((2, n_widths, padded), np.float32)
    line = np.zeros(padded, np.float32)
    for k in range(x.shape[0]):
        _mirrored(y[k], half, signal.shape[0], rows, known)
        _mirrored(x[k], half, signal.shape[1], columns, known)
        for m in range(n_widths):
            _gaussian(offsets[1][k], widths[m], profile)
            down[m, :side] = profile
            _gaussian(offsets[0][k], widths[m], profile)
            along[m, :side] = profile
        out[k] = _ZERO
        for i in range(side):
            row = rows[i]
            for j in range(side):
                line[j] = signal[row, columns[j]]
            for m in range(n_widths):
                total = _ZERO
                for j in range(padded):
                    total += along[m, j] * line[j]
                out[k, m] += down[m, i] * total


@compiled
def misfit_of_stars(signal, weight, x, y, offsets, width, half, out):
    """
    Fit a Gaussian and a constant to the core of each source.

    Parameters
    ----------
    signal, weight, x, y, offsets, half
        As for `light_of_filters`; the weights are inverse variances, 0
        where nothing is known.

    width : float
        Of the Gaussian, in pixels.

    out : 2D `~numpy.ndarray`
        Shape (n, 4): flux and the sum of squares of what is left, both in
        units of the noise, the highest pixel of that, and the pixels that
        count; changed in place.
    """
    side = 2 * half + 1
    rows, columns = np.empty((2, side), np.uintp)
    row_known, column_known = np.empty((2, side), np.float32)
    down, along = np.empty((2, side))
    star, light, known = np.empty((3, side * side), np.float32)
    for k in range(x.shape[0]):
        _mirrored(y[k], half, signal.shape[0], rows, row_known)
        _mirrored(x[k], half, signal.shape[1], columns, column_known)
        _gaussian(offsets[1][k], width, down)
        _gaussian(offsets[0][k], width, along)
        total, mean_star, mean_light, number = _ZERO, _ZERO, _ZERO, 0
        for i in range(side):
            row = rows[i]
            for j in range(side):
                place = i * side + j
                star[place] = np.float32(down[i] * along[j])
                light[place] = signal[row, columns[j]]
                known[place] = (weight[row, columns[j]] * row_known[i]
                                * column_known[j])
        for place in range(side * side):
            total += known[place]
            mean_star += known[place] * star[place]
            mean_light += known[place] * light[place]
            number += np.int32(known[place] > 0)
        total = max(total, np.float32(1e-30))
        mean_star /= total
        mean_light /= total
        power, product = _ZERO, _ZERO
        for place in range(side * side):
            star[place] -= mean_star
            light[place] -= mean_light
            power += known[place] * star[place] * star[place]
            product += known[place] * star[place] * light[place]
        power = max(power, np.float32(1e-30))
        height = product / power
        squares, highest = _ZERO, np.float32(-np.inf)
        for place in range(side * side):
            rest = (light[place] - height * star[place]) * np.sqrt(
                known[place])
            squares += rest * rest
            highest = max(highest, rest)
        out[k, 0], out[k, 1] = height * np.sqrt(power), squares
        out[k, 2], out[k, 3] = highest, np.float32(number)
