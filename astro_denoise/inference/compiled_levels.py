# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Steps from one level of a denoiser to the next in bfloat16, compiled.

Tensors of bfloat16 are seen as integers of 16 bits: the upper half of those
of a float32.
"""

import numpy as np

from ..noise.compiling import compiled

__all__ = ['joined_rows', 'rounded_to_halves']

_FAR = np.float32(0.25)
_NEAR = np.float32(0.75)
_HALF = np.int32(16)  # bits


@compiled
def rounded_to_halves(bits, out):
    """
    Round float32 to bfloat16, to the even one of two that are as near.

    Parameters
    ----------
    bits : 1D `~numpy.ndarray`
        Values of float32, seen as int32.

    out : 1D `~numpy.ndarray`
        Those of bfloat16, seen as int16; changed in place.
    """
    for k in range(bits.shape[0]):
        value = bits[k]
        even = (value >> _HALF) & np.int32(1)
        out[k] = np.int16((value + np.int32(0x7fff) + even) >> _HALF)


@compiled
def joined_rows(small, row, skip, first, stop, out):
    """
    Make rows of the sum of enlarged features and a skip.

    As `~astro_denoise.models.denoiser.CCDDenoiser.joined`.

    Parameters
    ----------
    small : 3D `~numpy.ndarray`
        What is to be enlarged, float32, channels last.

    row : int
        Row of what is enlarged that the first one of the skip is added to.

    skip, out : 3D `~numpy.ndarray`
        Twice as wide, bfloat16 seen as int16, channels last; ``out`` is
        changed in place.

    first, stop : int
        Rows of the skip to add.
    """
    n_rows, width, channels = small.shape
    line = np.empty((width + 2, channels), np.float32)
    total = np.empty((width, 2, channels), np.float32)
    values = line[1:-1].reshape(-1)
    total_bits = total.reshape(-1).view(np.int32)
    for i in range(first, stop):
        near = (row + i) // 2
        far = near + 1 if (row + i) % 2 else near - 1
        far = min(max(far, 0), n_rows - 1)
        one, other = small[near].reshape(-1), small[far].reshape(-1)
        for k in range(values.shape[0]):
            values[k] = _NEAR * one[k] + _FAR * other[k]
        line[0], line[width + 1] = line[1], line[width]
        added = skip[i].reshape(-1)
        for k in range(added.shape[0]):
            total_bits[k] = np.int32(added[k]) << _HALF
        for j in range(width):
            # Arrays of their own, or the loops are not vectorized.
            before, here, after = line[j], line[j + 1], line[j + 2]
            left, right = total[j, 0], total[j, 1]
            for k in range(channels):
                left[k] += _NEAR * here[k] + _FAR * before[k]
            for k in range(channels):
                right[k] += _NEAR * here[k] + _FAR * after[k]
        rounded_to_halves(total_bits, out[i].reshape(-1))
