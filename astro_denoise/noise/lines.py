# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise that the pixels of a row or of a column have in common.
"""

import math

import torch

from .block_levels import cut_blocks, differences, without_spikes

__all__ = ['line_noise']

_LEAST = 0.12         # of the noise of a pixel
_SIGNIFICANT = 5.0
_ORDERS = (4, 8)


def line_noise(values, valid, *, axis, size=64, most=64):
    """
    Measure the noise that rows (or columns) have in common.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane, and `False` where a pixel must not be used.

    axis : {0, 1}
        0 for rows, 1 for columns.

    size, most : int, optional
        Pixels per side of a block, and blocks that are looked at.

    Returns
    -------
    share : float
        Standard deviation that the lines have in common, over that of a
        pixel without it; 0 where it is not significant, or falls with the
        order of the differences from line to line as structure does.

    Notes
    -----
    Differences from line to line are averaged along the lines, block by
    block: what the means of neighbouring blocks have in common is the
    noise of the lines. Structure is not coherent over so many pixels.
    """
    if axis == 1:
        values, valid = values.T, valid.T
    n_rows, n_columns = (-(-n // size) for n in values.shape)
    every = max(1, -(-n_rows * n_columns // most))
    parts = [slice(row * size, (row + 1) * size)
             for row in range(0, n_rows, every)]
    found = {order: [] for order in _ORDERS}
    for rows in parts:
        good = valid[rows]
        if good.shape[0] < 2 * max(_ORDERS) or not good.any():
            continue
        height = good.shape[0]
        blocks = without_spikes(cut_blocks(values[rows], good, size)[0])
        for order in _ORDERS:
            found[order].append(_line_means(blocks[:, :height], order))
    shares = []
    for order in _ORDERS:
        if not found[order]:
            return 0.0
        share, error = _common(found[order])
        if share < _SIGNIFICANT * error or share <= 0:
            return 0.0
        shares.append(math.sqrt(share))
    steady = shares[1] > 0.75 * shares[0]
    return shares[0] if steady and shares[0] > _LEAST else 0.0


def _line_means(blocks, order):
    """
    Mean differences of the lines of each block, over the noise of a pixel.

    Also their variance without anything in common.
    """
    planes = differences(blocks, order, 1)
    across = differences(planes, 1, 2).square().flatten(1)
    noise = torch.sqrt(across[:, ::5].nanmedian(1).values / 0.4549)
    planes = planes / noise[:, None, None]
    planes = planes.clamp(-3, 3)
    known = torch.isfinite(planes)
    number = known.to(planes.dtype).sum(2)
    means = torch.where(known, planes, 0).sum(2) / number.clamp(1)
    full = number >= blocks.shape[2] // 4
    return torch.where(full, means, math.nan), 1 / number.clamp(1)


def _common(found):
    """
    Variance that the lines of neighbouring blocks have in common.
    """
    products, alone = [], []
    for means, variance in found:
        if len(means) > 1:
            products.append((means[1:] * means[:-1]).flatten())
            alone.append(torch.sqrt(variance[1:] * variance[:-1]).flatten())
        else:
            products.append((means**2 - variance).flatten())
            alone.append(math.sqrt(2) * variance.flatten())
    products, alone = torch.cat(products), torch.cat(alone)
    known = torch.isfinite(products)
    products, alone = products[known].double(), alone[known].double()
    if products.numel() < 16:
        return 0.0, 1.0
    # a few lines that cross a star do not count
    limit = 6 * products.abs().median() / 0.4
    products = products.clamp(-limit, limit)
    # differences of one line are those of its neighbours too
    error = float(products.std()) * math.sqrt(3 / products.numel())
    return float(products.mean()), error
