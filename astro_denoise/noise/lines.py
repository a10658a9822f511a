# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise that the pixels of a row or of a column have in common.
"""

import math

import torch

from .block_levels import cut_blocks, differences, truncated_variance

__all__ = ['line_noise']

_LEAST = 0.1          # of the noise of a pixel
_SIGNIFICANT = 5.0
_ORDERS = (4, 8)


def line_noise(values, valid, level, *, axis, size=64, most=256):
    """
    Measure the noise that rows (or columns) have in common.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane, and `False` where a pixel must not be used.

    level : float
        Noise of a pixel without that of the lines.

    axis : {0, 1}
        0 for rows, 1 for columns.

    size, most : int, optional
        Pixels per side of a block, and blocks that are looked at.

    Returns
    -------
    line_level : float
        Standard deviation that the lines have in common; 0 where it is
        not significant, or falls with the order of the differences from
        line to line as structure does.

    Notes
    -----
    Differences from line to line are averaged along the lines: what is
    left is the noise of the pixels over the root of their number, and that
    of the lines.
    """
    blocks, *_ = cut_blocks(values, valid, size, most=most)
    if axis == 1:
        blocks = blocks.transpose(1, 2)
    found = []
    for order in _ORDERS:
        planes = differences(blocks, order, 1)
        planes = planes.clamp(-4 * level, 4 * level)
        known = torch.isfinite(planes)
        number = known.sum(2)
        means = torch.where(known, planes, 0).sum(2) / number.clamp(1)
        full = number >= size // 4
        if not full.any():
            return 0.0
        # in units of what pixels alone would leave
        squares = means**2 * number / level**2
        squares = torch.where(full, squares, math.nan).reshape(1, -1)
        variance, count, _ = truncated_variance(squares)
        typical = float(number[full].double().mean())
        error = 3.5 * math.sqrt(order / 4) / math.sqrt(max(int(count), 1))
        excess = float(variance) - 1
        if excess < _SIGNIFICANT * error:
            return 0.0
        found.append(math.sqrt(excess / typical) * level)
    small = found[0] < _LEAST * level
    return 0.0 if small or found[1] < 0.75 * found[0] else found[0]
