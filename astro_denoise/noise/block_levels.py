# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Variances of differences of a plane, block by block.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .compiling import compiling_pays
from .strips import map_strips

__all__ = ['BLOCK', 'ORDERS', 'BlockTable', 'block_size', 'block_table',
           'cut_blocks', 'differences', 'lower_mode', 'truncated_variance',
           'without_spikes']

BLOCK = 64  # pixels in a block, a side

# Orders of the differences along y and x. The fourth ones along one axis
# see next to nothing of stars and nebulae, whatever is done along the other.
ORDERS = ((0, 4), (1, 4), (2, 4), (4, 4), (4, 2), (4, 1), (4, 0), (2, 2),
          (8, 8))

_CLIP = 2.0
# Mean square of a normal deviate within the clip, over its variance.
_WITHIN = 1 - 2 * _CLIP * math.exp(-_CLIP**2 / 2) / math.sqrt(
    2 * math.pi) / math.erf(_CLIP / math.sqrt(2))
_TAIL = 4.0
_MEDIAN = 0.4549  # of the square of a normal deviate, over its variance
_CELL = 4  # pixels a side of the cells of which the dark ones are used


def block_size(shape):
    """
    Pixels per side of the blocks that a plane is cut into.
    """
    return BLOCK if min(shape) >= 4 * BLOCK else BLOCK // 2


def cut_blocks(values, valid, size, *, most=None, height=None):
    """
    Cut a plane into blocks, NaN where nothing is valid.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane (float32), and `False` where a pixel must not be used.

    size : int
        Pixels per side of a block.

    most : int, optional
        Blocks from all over the plane are taken if there are more.

    height : int, optional
        Only so many rows of each block are taken.

    Returns
    -------
    blocks : 3D `~torch.Tensor`
        One block after the other.

    index : 1D `~torch.Tensor`
        Which of all the blocks they are, counted row by row.

    grid : tuple of int
        Rows and columns of blocks.
    """
    grid = tuple(-(-n // size) for n in values.shape)
    number = grid[0] * grid[1]
    if most is None or number <= most:
        index = torch.arange(number, device=values.device)
    else:
        # multiples of the golden ratio lie everywhere and on no line
        order = (torch.arange(number, dtype=torch.float64)
                 * 0.6180339887498949) % 1
        index = torch.argsort(order)[::1]
        index = torch.sort(index[torch.linspace(
            0, number - 1, most).long()])[0].to(values.device)
    if number > len(index):
        parts = [_one_block(values, valid, size, *divmod(one, grid[1]))
                 for one in index.tolist()]
        return torch.stack(parts)[:, :height], index, grid
    pad = grid[1] * size - values.shape[1]
    height = height or size
    parts = []
    for row in range(grid[0]):
        part = _filled(values, valid, np.s_[row * size:row * size + height])
        if pad or part.shape[0] < height:
            part = F.pad(part, (0, pad, 0, height - part.shape[0]),
                         value=math.nan)
        parts.append(part.reshape(height, grid[1], size).transpose(0, 1))
    return torch.cat(parts), index, grid


def _filled(values, valid, part):
    """Part of a plane, NaN where nothing is valid."""
    good = valid[part]
    return values[part] if good.all() else torch.where(
        good, values[part], math.nan)


def _one_block(values, valid, size, row, column):
    part = _filled(values, valid, np.s_[row * size:(row + 1) * size,
                                        column * size:(column + 1) * size])
    pad = (0, size - part.shape[1], 0, size - part.shape[0])
    return F.pad(part, pad, value=math.nan) if any(pad) else part


def _steps(planes, number, axis):
    for _ in range(number):
        length = planes.shape[axis] - 1
        planes = planes.narrow(axis, 1, length) - planes.narrow(
            axis, 0, length)
    return planes


def differences(blocks, order, axis):
    """
    Binomial differences of some order, with the noise of the pixels.
    """
    return _further(blocks, 0, order, axis)


def sorted_rows(plane):
    """
    Sort each row, what is not a number at the end, as infinite.
    """
    plane = plane.nan_to_num(math.inf, posinf=math.inf)
    if plane.is_cuda:
        return plane.sort(1).values
    # numpy sorts single precision an order of magnitude faster
    return torch.from_numpy(np.sort(plane.numpy(), axis=1))


def _inside(ordered, totals, limit):
    """Number and sum of what lies below a limit in each sorted row."""
    number = torch.searchsorted(ordered, limit[:, None], right=True)
    total = totals.gather(1, (number - 1).clamp(0))[:, 0]
    number = number[:, 0]
    return number, torch.where(number > 0, total, 0.0)


def truncated_variance(squares, *, iterations=8, compiled=False):
    """
    Variance of what is left of a distribution without its tails.

    It is the fixed point of the mean square within two standard
    deviations, corrected for the tails of a normal distribution, and
    begins at that of the median.

    Parameters
    ----------
    squares : 2D `~torch.Tensor`
        Squares of deviates, one block a row, NaN where unknown.

    iterations : int, optional
        How often the limit is set anew.

    compiled : bool, optional
        Whether numba is to be used, which must be installed.

    Returns
    -------
    variance : 1D `~torch.Tensor`
        One a block, NaN without a number.

    number : 1D `~torch.Tensor`
        How many squares are known in each block.

    tail : 1D `~torch.Tensor`
        Mean square within four standard deviations over the variance: 1
        for a normal distribution, more where there are sources.
    """
    if compiled and not squares.is_cuda:
        return _compiled_variance(squares, iterations)
    ordered = sorted_rows(squares)
    totals = ordered.cumsum(1)
    largest = torch.full_like(ordered[:, 0], torch.finfo(ordered.dtype).max)
    number, total = _inside(ordered, totals, largest)
    middle = ordered.gather(1, (number // 2)[:, None])[:, 0]
    variance = torch.where(middle > 0, middle / _MEDIAN, total / number)
    for _ in range(iterations):
        count, total = _inside(ordered, totals, _CLIP**2 * variance)
        variance = total / count / _WITHIN
    count, total = _inside(ordered, totals, _TAIL**2 * variance)
    return variance, number, total / count / variance


def _compiled_variance(squares, iterations):
    """Truncate without sorting, on all cores."""
    from .block_passes import truncated_rows

    squares = squares.contiguous().numpy()
    limits = tuple(map(np.float32, (_CLIP**2, _WITHIN, _TAIL**2, _MEDIAN)))
    variance, tail = np.empty((2, len(squares)), np.float32)
    number = np.empty(len(squares), np.int64)
    step = -(-len(squares) // torch.get_num_threads())
    map_strips(lambda first: truncated_rows(
        squares, iterations, limits, first, min(first + step, len(squares)),
        variance, number, tail), range(0, len(squares), step))
    return tuple(map(torch.from_numpy, (variance, number, tail)))


def lower_mode(sample, error, *, width=3.0, start=0.2):
    """
    Find the mode of a sample with a long upper tail at its lower side.

    Parameters
    ----------
    sample, error : 1D `~torch.Tensor`
        Measurements (finite) and their standard deviations.

    width : float, optional
        Those that lie within so many errors count.

    start : float, optional
        The quantile to begin at.

    Returns
    -------
    mode, mode_error, share : float
        Weighted mean of those that agree, its error, and their share;
        NaN for an empty sample.
    """
    if sample.numel() == 0:
        return math.nan, math.inf, 0.0
    sample, error = sample.double(), error.double()
    weight = error**-2
    mode = torch.quantile(sample, start)
    for _ in range(20):
        near = (sample - mode).abs() <= width * error
        if not near.any():
            nearest = (sample - mode).abs().argmin()
            near[nearest] = True
        last, mode = mode, (sample * weight)[near].sum() / weight[near].sum()
        if last == mode:
            break
    if start < 0.5 and weight[near].sum() < 0.15 * weight.sum():
        # a few that are lower than the crowd
        other = lower_mode(sample, error, width=width, start=0.5)
        if other[2] > 2 * float(weight[near].sum() / weight.sum()):
            return other
    return (float(mode), float(weight[near].sum())**-0.5,
            float(weight[near].sum() / weight.sum()))


@dataclass
class BlockTable:
    """
    Measurements of each block.

    Attributes
    ----------
    log_variance : dict of 1D `~torch.Tensor`
        By orders along y and x; NaN where too little is known.

    number : dict of 1D `~torch.Tensor`
        Differences that were used.

    tail : dict of 1D `~torch.Tensor`
        Logarithm of the mean square within four standard deviations over
        the variance: 0 for normal noise, positive where there are
        sources.

    dark : 1D `~torch.Tensor`
        Mean of the dark part.

    index : 1D `~torch.Tensor`
        Which of all blocks these are, counted row by row.

    grid : tuple of int
        Rows and columns of blocks.
    """

    log_variance: dict
    number: dict
    tail: dict
    dark: torch.Tensor
    index: torch.Tensor
    grid: tuple


def without_spikes(blocks, *, compiled=False):
    """
    NaN for pixels that stand alone: hot ones, cosmic rays.
    """
    inner = blocks[:, 1:-1, 1:-1]
    left, right = blocks[:, 1:-1, :-2], blocks[:, 1:-1, 2:]
    below, above = blocks[:, :-2, 1:-1], blocks[:, 2:, 1:-1]
    low, high = torch.minimum(left, right), torch.maximum(left, right)
    low_2, high_2 = torch.minimum(below, above), torch.maximum(below, above)
    # the mean of the middle two of four
    middle = torch.maximum(low, low_2) + torch.minimum(high, high_2)
    square = (inner - middle / 2)**2
    flat = square.flatten(1)
    step = max(1, flat.shape[1] // 512)
    scale, *_ = truncated_variance(flat[:, ::step], iterations=5,
                                   compiled=compiled)
    spike = square > 36 * scale[:, None, None]
    blocks = blocks.clone()
    blocks[:, 1:-1, 1:-1].masked_fill_(spike, math.nan)
    return blocks


def _dark_cells(blocks, variance):
    """
    The cells of each block that do not stand out, and their mean.

    Half of a block of structure is left, and nearly all of a blank one.
    """
    known = torch.isfinite(blocks)
    total = F.avg_pool2d(torch.where(known, blocks, 0)[:, None], _CELL)
    number = F.avg_pool2d(known.to(blocks.dtype)[:, None], _CELL)
    mean = (total / number)[:, 0]
    flat = mean.flatten(1)
    limit = flat.nanmedian(1).values
    limit += 2 * torch.sqrt(variance.nan_to_num(0.0)) / _CELL
    dark = mean <= limit[:, None, None]
    level = torch.where(dark, mean, math.nan).flatten(1).nanmean(1)
    return dark, level


def _squares(planes, dark, order):
    """
    Squares of differences whose centers lie in the dark part.
    """
    y, x = (n // 2 for n in order)
    rows, columns = planes.shape[1:]
    part = dark[:, y:y + rows, x:x + columns]
    return torch.where(part, planes * planes, math.inf).flatten(1)


def _chunk_table(blocks, orders, compiled):
    blocks = without_spikes(blocks, compiled=compiled)
    along_y = {0: blocks}
    for order in sorted({order for order, _ in orders} - {0}):
        below = max(n for n in along_y if n < order)
        along_y[order] = _further(along_y[below], below, order, 1)
    planes = {}
    for y in along_y:
        plane, last = along_y[y], 0
        for x in sorted(x for first, x in orders if first == y):
            plane, last = _further(plane, last, x, 2), x
            planes[y, x] = plane
    guarded = planes[max(orders, key=min)].flatten(1)
    variance, *_ = truncated_variance(guarded[:, ::7]**2, iterations=5,
                                      compiled=compiled)
    cells, level = _dark_cells(blocks, variance)
    dark = cells.repeat_interleave(_CELL, 1).repeat_interleave(_CELL, 2)
    squares = [_squares(planes[order], dark, order) for order in orders]
    width = max(part.shape[1] for part in squares)
    stack = torch.cat([F.pad(part, (0, width - part.shape[1]),
                             value=math.inf) for part in squares])
    moments = truncated_variance(stack, compiled=compiled)
    rows = dict(zip(orders, zip(*(part.split(len(blocks)) for part in
                                  moments), strict=True), strict=True))
    return rows, level


def _further(planes, below, order, axis):
    """
    Differences of a higher order from those of a lower one.
    """
    planes = _steps(planes, order - below, axis)
    norm = math.comb(2 * below, below) / math.comb(2 * order, order)
    return planes * math.sqrt(norm) if order > below else planes


def block_table(values, valid, *, orders=ORDERS, size=None, most=256,
                rows=None, chunk=16):
    """
    Measure the differences of a plane in blocks.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane (float32), and `False` where a pixel must not be used.

    orders : tuple of tuple of int, optional
        Orders of the differences along y and x.

    size : int, optional
        Pixels per side of a block; that of `block_size` without.

    most : int or `None`, optional
        Blocks that are looked at; `None` for all.

    rows : int, optional
        Only so many rows of each block are used.

    chunk : int, optional
        Blocks worked on at a time on a processor, so that they stay in
        its cache.

    Returns
    -------
    table : `BlockTable`
        One entry a block.
    """
    size = size or block_size(values.shape)
    blocks, index, grid = cut_blocks(values, valid, size, most=most,
                                     height=rows)
    step = chunk * BLOCK**2 // blocks[0].numel()
    step = len(blocks) if blocks.is_cuda else step
    compiled = compiling_pays(values.shape)
    parts = [_chunk_table(part, orders, compiled)
             for part in blocks.split(step)]
    log_variance, number, tail = ({}, {}, {})
    for order in orders:
        variance, count, ends = (
            torch.cat([rows[order][i] for rows, _ in parts])
            for i in range(3))
        few = (count < 50) | ~(variance > 0)
        log_variance[order] = torch.where(few, math.nan, variance.log())
        number[order] = count
        tail[order] = ends.log()
    dark = torch.cat([level for _, level in parts])
    return BlockTable(log_variance, number, tail, dark, index, grid)
