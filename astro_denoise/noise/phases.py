# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Patterns of 2 x 2 pixels: color-filter mosaics, gains of even and odd rows.
"""

import math
from dataclasses import dataclass

import torch

from .block_levels import cut_blocks, sorted_rows

__all__ = ['PhasePattern', 'find_phases', 'split_phases']

_SIGNIFICANT = 5.0
_FEW = 6             # rows or columns of blocks whose scatter is not known
_SIGNIFICANT_FEW = 8.0
_LEAST = 0.05        # of the noise

# Contrasts of the phases (0, 0), (0, 1), (1, 0), (1, 1).
_CONTRASTS = torch.tensor([[1.0, 1.0, -1.0, -1.0],
                           [1.0, -1.0, 1.0, -1.0],
                           [1.0, -1.0, -1.0, 1.0]]) / 2


@dataclass(frozen=True)
class PhasePattern:
    """
    Differences between the pixels of a 2 x 2 pattern.

    Attributes
    ----------
    contrasts : tuple of float
        Even less odd rows, even less odd columns, and the diagonal less
        the other one, in the unit of the plane.

    significance : tuple of float
        The same over their errors.

    found : bool
        Whether there is a pattern of pixels, and not only of lines.

    lines : int or `None`
        The axis of which even and odd lines differ, where nothing else
        does.
    """

    contrasts: tuple
    significance: tuple
    found: bool
    lines: int | None = None


def split_phases(plane):
    """
    The four planes of a 2 x 2 pattern, row by row.
    """
    return [plane[y::2, x::2] for y in (0, 1) for x in (0, 1)]


def find_phases(values, valid, level, *, size=64, most=256):
    """
    Look for a pattern of 2 x 2 pixels.

    Medians of the four phases are compared in blocks; a contrast counts
    that is significant over the rows of blocks and over their columns, so
    that noise which rows or columns have in common does not.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane, and `False` where a pixel must not be used.

    level : float
        Noise of a pixel, from differences along diagonals or any other
        that a pattern may have made too large; only small contrasts are
        judged by it.

    size, most : int, optional
        Pixels per side of a block, and blocks that are looked at.

    Returns
    -------
    pattern : `PhasePattern`
        What was found.
    """
    size = min(size, 2 * (max(2, min(values.shape)) // 2))
    blocks, index, grid = cut_blocks(values, valid, size, most=most)
    medians = torch.stack([_medians(phase.flatten(1)) for phase in (
        blocks[:, y::2, x::2] for y in (0, 1) for x in (0, 1))], 1)
    contrasts = medians @ _CONTRASTS.T.to(medians)
    known = torch.isfinite(contrasts).all(1)
    contrasts = contrasts[known].double()
    index = index[known]
    if len(contrasts) == 0:
        return PhasePattern((0.0,) * 3, (0.0,) * 3, found=False)
    within = (contrasts - contrasts.median(0).values).abs()
    block_error = 1.4826 * within.median(0).values
    least_error = 1.2533 * 2 * level / size
    block_error = torch.clamp(block_error, min=least_error)
    value = contrasts.median(0).values
    significance = torch.full_like(value, math.inf)
    for lines in (index // grid[1], index % grid[1]):
        means = torch.stack([contrasts[lines == one].mean(0)
                             for one in torch.unique(lines)])
        expected = 1.2533 * block_error / math.sqrt(len(contrasts))
        if len(means) > 1:
            scatter = means.std(0) / math.sqrt(len(means))
            expected = torch.maximum(expected, scatter)
        share = value.abs() / expected
        if len(means) < _FEW:
            share *= _SIGNIFICANT / _SIGNIFICANT_FEW
        significance = torch.minimum(significance, share)
    seen = ((significance > _SIGNIFICANT)
            & (value.abs() > _LEAST * level)).tolist()
    found = bool(seen[2] or (seen[0] and seen[1]))
    lines = None if found or not any(seen) else (0 if seen[0] else 1)
    return PhasePattern(tuple(value.tolist()), tuple(significance.tolist()),
                        found, lines)


def _medians(rows):
    """Median of what is known in each row, NaN without half of it."""
    ordered = sorted_rows(rows)
    number = torch.isfinite(ordered).sum(1)
    middle = ordered.gather(1, ((number - 1).clamp(0) // 2)[:, None])
    upper = ordered.gather(1, (number // 2).clamp(
        max=rows.shape[1] - 1)[:, None])
    half = ((middle + upper) / 2)[:, 0]
    return torch.where(number > rows.shape[1] // 4, half, math.nan)
