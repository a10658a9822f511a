# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Rows of a photon noise map, compiled.

The same as in `astro_denoise.noise.photon_map`, in one pass; a test holds
both equal.
"""

import numpy as np

from .compiling import compiled

__all__ = ['photon_rows']

_ZERO = np.float32(0)
_NARROW, _CENTER = np.float32(1 / 256), np.float32(9 / 64)


@compiled
def _stretched(line, column, fraction, out):
    """Interpolate a line of bins on its pixels."""
    last = line.shape[0] - 1
    for j in range(out.shape[0]):
        left = line[column[j]]
        right = line[min(column[j] + 1, last)]
        out[j] = left + fraction[j] * (right - left)


@compiled
def _read(values, valid, row, offset, factor, data, weight):
    """Take a row with two empty pixels at each end."""
    if row < 0 or row >= values.shape[0]:
        data[:] = _ZERO
        weight[:] = _ZERO
        return
    for j in range(values.shape[1]):
        good = valid[row, j]
        value = np.float32(values[row, j] - offset) * factor
        data[j + 2] = value if good else _ZERO
        weight[j + 2] = np.float32(good)


@compiled
def _columns(planes, n, five, three):
    """Sum five and three rows of a ring, weighted; ``n`` is the middle."""
    a, b, c = planes[(n - 2) % 5], planes[(n - 1) % 5], planes[n % 5]
    d, e = planes[(n + 1) % 5], planes[(n + 2) % 5]
    for j in range(c.shape[0]):
        near = b[j] + d[j]
        five[j] = (a[j] + e[j] + np.float32(4) * near
                   + np.float32(6) * c[j])
        three[j] = near + np.float32(2) * c[j]


@compiled
def _adopt(mean, total, norm, squares, constant, low, high, peak):
    """Move a mean to a finer one, as `photon_map._adopt`."""
    if norm <= np.float32(0.1):
        return mean
    difference = total / norm - mean
    size = abs(difference)
    variance = (max(mean, _ZERO) + constant) * (squares / norm) + size * peak
    share = (np.sqrt(size * size / variance) - low) * (
        np.float32(1) / (high - low))
    share = _ZERO if share < _ZERO else share
    share = np.float32(1) if share > np.float32(1) else share
    return mean + difference * share


@compiled
def photon_rows(values, valid, coarse, axes, electrons, squares, rows, out):
    """
    Make some rows of a photon noise map.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        The plane, and `False` where a pixel must not be used.

    coarse : 2D `~numpy.ndarray`
        Mean on bins of 4 pixels, in electrons.

    axes : tuple of 1D `~numpy.ndarray`
        The bin before each row and the distance from its center in bins, and
        the same of each column.

    electrons : tuple of float
        Pedestal, gain, and variance without photons.

    squares : tuple of float
        Sums of squared weights of the two means of a few pixels.

    rows : tuple of int
        First row and the one after the last.

    out : 2D `~numpy.ndarray`
        The noise map, changed in place.
    """
    row_bin, row_share, column, fraction = axes
    offset, gain, constant = electrons
    n = values.shape[1]
    ring = np.zeros((5, n + 4), np.float32)
    weights = np.zeros((5, n + 4), np.float32)
    five, three, five_n, three_n = np.empty((4, n + 4), np.float32)
    upper, lower = np.empty((2, n), np.float32)
    first, stop = rows
    for row in range(first - 2, first + 2):
        _read(values, valid, row, offset, gain, ring[row % 5],
              weights[row % 5])
    last_bin = -1
    for row in range(first, stop):
        _read(values, valid, row + 2, offset, gain, ring[(row + 2) % 5],
              weights[(row + 2) % 5])
        _columns(ring, row, five, three)
        _columns(weights, row, five_n, three_n)
        if row_bin[row] != last_bin:
            last_bin = row_bin[row]
            below = min(last_bin + 1, coarse.shape[0] - 1)
            _stretched(coarse[last_bin], column, fraction, upper)
            _stretched(coarse[below], column, fraction, lower)
        own, own_n, share = ring[row % 5], weights[row % 5], row_share[row]
        for j in range(n):
            mean = upper[j] + share * (lower[j] - upper[j])
            k = j + 2
            # 1 pixel wide and without the pixel itself, 0.7 pixels, itself
            total = (five[k - 2] + five[k + 2]
                     + np.float32(4) * (five[k - 1] + five[k + 1])
                     + np.float32(6) * five[k]) * _NARROW - _CENTER * own[k]
            norm = (five_n[k - 2] + five_n[k + 2]
                    + np.float32(4) * (five_n[k - 1] + five_n[k + 1])
                    + np.float32(6) * five_n[k]
                    ) * _NARROW - _CENTER * own_n[k]
            mean = _adopt(mean, total, norm, squares[0], constant,
                          np.float32(3), np.float32(6), np.float32(1 / 24))
            total = (three[k - 1] + three[k + 1]
                     + np.float32(2) * three[k]) * np.float32(1 / 16)
            norm = (three_n[k - 1] + three_n[k + 1]
                    + np.float32(2) * three_n[k]) * np.float32(1 / 16)
            mean = _adopt(mean, total, norm, squares[1], constant,
                          np.float32(4), np.float32(7), np.float32(1 / 12))
            mean = _adopt(mean, own[k], own_n[k], np.float32(1), constant,
                          np.float32(6), np.float32(10), np.float32(1 / 3))
            out[row, j] = np.sqrt(max(mean, _ZERO) + constant) / gain
