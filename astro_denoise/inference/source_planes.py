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
from ..noise.strips import STRIP, map_strips, strips

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
    from .compiled_levels import rounded_to_halves

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


def _fill_strip(image, valid, rows, kernels, out):
    """Make the planes of a strip, as `SourceFinder.planes` does."""
    from .compiled_centers import (
        box_rows,
        hyperbolic_rows,
        interleaved_rows,
        smoothed_rows,
    )

    n_rows, n_columns = image.shape
    low, high = (max(rows.start - _FILTER - _TWICE, 0),
                 min(rows.stop + _FILTER + _TWICE, n_rows))
    known = valid[low:high]
    light = np.clip(image[low:high], -LARGEST, LARGEST) * known

    def inside(halo):
        """First and last row, with a halo as far as there is one."""
        return (max(rows.start - halo, 0) - low,
                min(rows.stop + halo, n_rows) - low)

    def boxes(plane, half, part):
        total = np.empty((part[1] - part[0], n_columns), np.float32)
        box_rows(plane, half, *part, total)
        return total

    def counts(half, part):
        return np.maximum(boxes(known, half, part), np.float32(0.5))

    around, wider = inside(_FILTER), inside(_FILTER + _ONCE)
    own = slice(*inside(0))
    count = counts(4, wider)
    wide = np.zeros_like(light)
    wide[slice(*wider)] = boxes(light, 4, wider) / count * known[
        slice(*wider)]
    shift = slice(around[0] - wider[0], around[1] - wider[0])
    wide[slice(*around)] = boxes(wide, 4, around) / count[shift]
    # Only these rows are read from here on.
    filled = [np.zeros((rows.stop - rows.start + 2 * _FILTER,
                        n_columns + 2 * _FILTER), np.float32)
              for _ in range(2)]
    place = around[0] + low - rows.start + _FILTER
    place = np.s_[place:place + around[1] - around[0],
                  _FILTER:_FILTER + n_columns]
    filled[0][place] = light[slice(*around)]
    filled[1][place] = (light - wide)[slice(*around)] * known[slice(*around)]

    def smoothed(plane, kernel):
        answer = np.empty((rows.stop - rows.start, n_columns), np.float32)
        smoothed_rows(plane, kernel, 0, len(answer), answer)
        return answer

    star = light[own]
    root = np.empty(star.size, np.float32)

    def hyperbolic(plane):
        answer = np.empty_like(plane)
        hyperbolic_rows(plane.reshape(-1), root, root.view(np.int32),
                        np.float32(0.4), answer.reshape(-1))
        return answer

    near = boxes(light, 1, inside(0)) / counts(1, inside(0))
    matched, above, broad = (
        smoothed(filled[which], kernels[number])
        for which, number in ((0, 0), (1, 0), (1, 1)))
    half, four = np.float32(0.5), np.float32(4.0)
    for number, plane in enumerate((
            hyperbolic(star), np.float32(0.2) * np.clip(star, -5.0, 10.0),
            np.float32(3.0) * (star - near) / (3.0 + np.abs(near)),
            hyperbolic(half * matched), hyperbolic(half * above),
            np.float32(8.0) * (above - broad) / (8.0 + np.abs(above)),
            hyperbolic(four * wide[own]), known[own])):
        interleaved_rows(plane, known[own], np.float32(BOUND),
                         out[:, :, 4 * number:4 * number + 4])
