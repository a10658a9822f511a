# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A noise level that differs from place to place, in blocks.
"""

import math

import torch
import torch.nn.functional as F

from .block_levels import lower_mode

__all__ = ['block_map']

_MANY = 0.03     # of the blocks that must differ
_DIFFERENT = 3.0  # errors


def block_map(levels, errors, index, grid):
    """
    Noise of each block, where there is more than one level.

    Parameters
    ----------
    levels, errors : 1D `~torch.Tensor`
        Noise of each block and its error, NaN where unknown.

    index : 1D `~torch.Tensor`
        Which of all blocks they are, counted row by row.

    grid : tuple of int
        Rows and columns of blocks.

    Returns
    -------
    plane : 2D `~torch.Tensor` or `None`
        Noise of all blocks, drawn towards the median of each and its
        neighbours where that lies within the errors; `None` where one
        level is enough.
    """
    known = torch.isfinite(levels) & (levels > 0)
    if int(known.sum()) < 4:
        return None
    logs, log_errors = levels[known].log(), (errors / levels)[known]
    mode, *_ = lower_mode(logs, log_errors)
    far = (logs - mode).abs() > _DIFFERENT * log_errors
    if float(far.double().mean()) <= _MANY:
        return None
    plane = torch.full((grid[0] * grid[1],), math.nan, dtype=logs.dtype,
                       device=logs.device)
    error = torch.full_like(plane, math.inf)
    plane[index[known]], error[index[known]] = logs, log_errors.to(plane)
    plane, error = plane.reshape(grid), error.reshape(grid)
    middle = _neighbour_median(plane)
    while not torch.isfinite(middle).all():
        middle = torch.where(torch.isfinite(middle), middle,
                             _neighbour_median(middle))
    plane = torch.where(torch.isfinite(plane), plane, middle)
    away = plane - middle
    kept = (1 - (2 * error / away.abs().clamp(1e-9))**2).clamp(0)
    return (middle + kept * away).exp()


def _neighbour_median(plane):
    """
    Median of each cell and its eight neighbours, of those known.
    """
    padded = F.pad(plane[None, None], (1, 1, 1, 1), value=math.nan)
    near = F.unfold(padded.nan_to_num(math.inf), 3)[0].T
    near = torch.where(torch.isinf(near), math.nan, near)
    return near.nanmedian(1).values.reshape(plane.shape)
