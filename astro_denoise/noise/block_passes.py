# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Truncated variances of blocks, compiled.

The same as `astro_denoise.noise.block_levels.truncated_variance`, without
sorting; a test holds both equal.
"""

import numpy as np

from .compiling import compiled

__all__ = ['truncated_rows']

_LARGEST = np.float32(np.finfo(np.float32).max)


@compiled
def _number_below(values, limit):
    """Count what does not exceed a limit."""
    number = 0
    for j in range(values.shape[0]):
        number += values[j] <= limit
    return number


@compiled
def _sum_below(values, limit):
    """Number and sum of what does not exceed a limit."""
    number, total = 0, np.float32(0)
    for j in range(values.shape[0]):
        inside = values[j] <= limit
        number += inside
        total += values[j] if inside else np.float32(0)
    return number, total


@compiled
def _middle(values, number, bits, limit):
    """
    The median of what is known, exactly.

    Numbers that are not negative have the order of their bits.
    """
    low, high = 0, 0x7f7fffff
    while low < high:
        bits[0] = (low + high) // 2
        if _number_below(values, limit[0]) > number // 2:
            high = bits[0]
        else:
            low = bits[0] + 1
    bits[0] = low
    return limit[0]


@compiled
def truncated_rows(squares, iterations, limits, first, stop, variance,
                   number, tail):
    """
    Truncate some rows of squares.

    Parameters
    ----------
    squares : 2D `~numpy.ndarray`
        Squares of deviates (float32), not finite where unknown.

    iterations : int
        How often the limit is set anew.

    limits : tuple of float
        Square of the clip in standard deviations; the mean square within
        it over the variance; the square of where the tail ends; the square
        of the median deviate.

    first, stop : int
        Rows to work on.

    variance, number, tail : 1D `~numpy.ndarray`
        Changed in place.
    """
    clip, within, end, half = limits
    limit = np.empty(1, np.float32)
    bits = limit.view(np.int32)
    for i in range(first, stop):
        row = squares[i]
        known, total = _sum_below(row, _LARGEST)
        number[i] = known
        value = _middle(row, known, bits, limit) / half
        if value <= 0:
            value = total / np.float32(known)
        for _ in range(iterations):
            count, total = _sum_below(row, clip * value)
            value = total / np.float32(count) / within
        count, total = _sum_below(row, end * value)
        variance[i] = value
        tail[i] = total / np.float32(count) / value
