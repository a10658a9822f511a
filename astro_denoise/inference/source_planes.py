# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The planes that a finder of sources looks at, by compiled passes.
"""

import numpy as np
import torch

from ..models.source_finder import (
    BOUND,
    LARGEST,
    filter_widths,
    star_kernels,
)
from ..noise.strips import map_strips, strips
from .compiled_centers import (
    box_rows,
    hyperbolic_rows,
    interleaved_rows,
    smoothed_rows,
)
from .compiled_levels import rounded_to_halves

__all__ = ['compiled_planes']

# Rows and columns of the filters on each side, of means of boxes of nine
# taken twice, and of one.
_FILTER, _TWICE, _ONCE = 12, 8, 4


def compiled_planes(image, valid, context, dtype):
    """
    Make what a finder of sources looks at, with its squares as channels.

    Parameters
    ----------
    image, valid, context : `torch.Tensor`
        Of `~astro_denoise.models.source_finder.SourceFinder`, of one image
        on the processor.

    dtype : `torch.dtype`
        Of the result, float32 or bfloat16.

    Returns
    -------
    features : `torch.Tensor`
        As ``unshuffled(network.planes(image, valid, context))`` up to
        rounding.
    """
    kernels = [star_kernels(factor * filter_widths(context))[0].numpy()
               for factor in (1.0, 1.5)]
    image, valid = image[0, 0].numpy(), valid[0, 0].numpy()
    n_rows, n_columns = image.shape
    answer = torch.empty(1, n_rows // 2, n_columns // 2, 32, dtype=dtype)
    out = answer[0]
    halves = dtype == torch.bfloat16
    out = (out.view(torch.int16) if halves else out).numpy()

    def fill(rows):
        part = out[rows.start // 2:rows.stop // 2]
        made = np.empty(part.shape, np.float32) if halves else part
        _fill_strip(image, valid, rows, kernels, made)
        if halves:
            rounded_to_halves(made.reshape(-1).view(np.int32),
                              part.reshape(-1))

    map_strips(fill, strips(n_rows))
    return answer.permute(0, 3, 1, 2)


class _Strip:
    """
    Some rows of an image, and those around that they depend on.

    Planes have all these rows; numbers of rows count from the first.
    """

    def __init__(self, image, valid, rows):
        self.rows, self.n_rows = rows, len(image)
        self.first = max(rows.start - _FILTER - _TWICE, 0)
        part = slice(self.first, rows.stop + _FILTER + _TWICE)
        self.known = valid[part]
        self.light = np.clip(image[part], -LARGEST, LARGEST) * self.known
        self.own = self.inside(0)

    def inside(self, halo):
        """Give the rows within a halo."""
        return slice(max(self.rows.start - halo, 0) - self.first,
                     min(self.rows.stop + halo, self.n_rows) - self.first)

    def means(self, plane, half, halo):
        """Take means of boxes of what is known, in the rows of a halo."""
        part = self.inside(halo)
        total, count = np.empty((2, part.stop - part.start, plane.shape[1]),
                                np.float32)
        box_rows(plane, half, part.start, part.stop, total)
        box_rows(self.known, half, part.start, part.stop, count)
        return total / np.maximum(count, np.float32(0.5))

    def wide(self):
        """Take means of boxes of nine pixels twice."""
        part, wide = self.inside(_FILTER + _ONCE), np.zeros_like(self.light)
        wide[part] = self.means(self.light, 4, _FILTER + _ONCE)
        wide[part] *= self.known[part]
        wide[self.inside(_FILTER)] = self.means(wide, 4, _FILTER)
        return wide

    def smoothed(self, plane, *kernels):
        """Filter the rows with each of some kernels."""
        part, n_columns = self.inside(_FILTER), plane.shape[1]
        height = self.rows.stop - self.rows.start
        padded = np.zeros((height + 2 * _FILTER, n_columns + 2 * _FILTER),
                          np.float32)
        first = part.start + self.first - self.rows.start + _FILTER
        padded[first:first + part.stop - part.start,
               _FILTER:-_FILTER] = plane[part]
        answers = np.empty((len(kernels), height, n_columns), np.float32)
        for kernel, answer in zip(kernels, answers, strict=True):
            smoothed_rows(padded, kernel, 0, height, answer)
        return answers


def _hyperbolic(plane):
    """Compute 0.4 times the inverse hyperbolic sine of a plane."""
    answer, root = np.empty_like(plane), np.empty(plane.size, np.float32)
    hyperbolic_rows(plane.reshape(-1), root, root.view(np.int32),
                    np.float32(0.4), answer.reshape(-1))
    return answer


def _fill_strip(image, valid, rows, kernels, out):
    """Make the planes of some rows, as `SourceFinder.planes` does."""
    strip = _Strip(image, valid, rows)
    own, known = strip.light[strip.own], strip.known[strip.own]
    near, wide = strip.means(strip.light, 1, 0), strip.wide()
    matched, = strip.smoothed(strip.light, kernels[0])
    above, broad = strip.smoothed((strip.light - wide) * strip.known,
                                  *kernels)
    half, three, eight = map(np.float32, (0.5, 3.0, 8.0))
    for number, plane in enumerate((
            _hyperbolic(own), np.float32(0.2) * np.clip(own, -5.0, 10.0),
            three * (own - near) / (three + np.abs(near)),
            _hyperbolic(half * matched), _hyperbolic(half * above),
            eight * (above - broad) / (eight + np.abs(above)),
            _hyperbolic(np.float32(4.0) * wide[strip.own]), known)):
        interleaved_rows(plane, known, np.float32(BOUND),
                         out[:, :, 4 * number:4 * number + 4])
