# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Passes over the planes that a finder of sources looks at, compiled.

The formulas are those of the torch modules; a test holds both equal. Planes
are 2D and float32.
"""

import numpy as np

from ..noise.compiling import compiled
from .compiled_passes import hyperbolic

__all__ = ['box_rows', 'hyperbolic_rows', 'interleaved_rows',
           'smoothed_rows']


@compiled
def box_rows(plane, half, first, stop, out):
    """
    Sum boxes around the pixels of some rows.

    Parameters
    ----------
    plane : 2D `~numpy.ndarray`
        The plane; pixels outside it are 0.

    half : int
        Half the side of a box.

    first, stop : int
        The rows.

    out : 2D `~numpy.ndarray`
        So many rows; changed in place.
    """
    n_rows, n = plane.shape
    padded = np.zeros(n + 2 * half, np.float32)
    middle = padded[half:half + n]
    for i in range(first, stop):
        low, high = max(i - half, 0), min(i + half + 1, n_rows)
        middle[:] = plane[low]
        for row in range(low + 1, high):
            line = plane[row]
            for j in range(n):
                middle[j] += line[j]
        total = out[i - first]
        for j in range(n):
            total[j] = padded[j]
        for step in range(1, 2 * half + 1):
            moved = padded[step:step + n]
            for j in range(n):
                total[j] += moved[j]


@compiled
def _filtered(line, step, n, kernel, out):
    """Filter ``n`` values that lie some steps apart, two on each side."""
    half = kernel.shape[0] // 2
    center = half * step
    middle, weight = line[center:center + n], kernel[half]
    for j in range(n):
        out[j] = weight * middle[j]
    for k in range(1, half, 2):
        one, two = kernel[half + k], kernel[half + k + 1]
        left, right = line[center - k * step:], line[center + k * step:]
        far_left = line[center - (k + 1) * step:]
        far_right = line[center + (k + 1) * step:]
        for j in range(n):
            out[j] += (one * (left[j] + right[j])
                       + two * (far_left[j] + far_right[j]))


@compiled
def smoothed_rows(plane, kernel, first, stop, out):
    """
    Filter some rows with a symmetric kernel along both axes.

    Parameters
    ----------
    plane : 2D `~numpy.ndarray`
        The plane, with half a kernel more on each side.

    kernel : 1D `~numpy.ndarray`
        Float32; half of it is an even number of values.

    first, stop : int
        The rows, of those without the sides.

    out : 2D `~numpy.ndarray`
        So many rows; changed in place.
    """
    width = plane.shape[1]
    half = kernel.shape[0] // 2
    flat = plane.reshape(-1)
    line = np.empty(width, np.float32)
    for i in range(first, stop):
        _filtered(flat[i * width:], width, width, kernel, line)
        _filtered(line, 1, width - 2 * half, kernel, out[i - first])


@compiled
def hyperbolic_rows(values, root, bits, factor, out):
    """
    Compute the inverse hyperbolic sine of values, and multiply it.

    Parameters
    ----------
    values, root, bits, out : 1D `~numpy.ndarray`
        Of `~astro_denoise.inference.compiled_passes.hyperbolic`.

    factor : float
        Float32.
    """
    hyperbolic(values, root, bits, out)
    for j in range(values.shape[0]):
        out[j] *= factor


@compiled
def interleaved_rows(plane, valid, bound, out):
    """
    Bound the pixels of rows, and put squares of them side by side.

    Parameters
    ----------
    plane, valid : 2D `~numpy.ndarray`
        An even number of rows and columns.

    bound : float
        Float32.

    out : 3D `~numpy.ndarray`
        Half as many rows and columns, four channels; changed in place.
    """
    for i in range(plane.shape[0]):
        line, known = plane[i], valid[i]
        for j in range(plane.shape[1]):
            value = line[j]
            value = -bound if value < -bound else value
            value = bound if value > bound else value
            out[i >> 1, j >> 1, 2 * (i & 1) + (j & 1)] = value * known[j]
