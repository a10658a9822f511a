# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise that the pixels of a row or of a column have in common.
"""

import math

import torch

from .block_levels import cut_blocks, differences, without_spikes
from .compiling import compiling_pays

__all__ = ['line_noise']

_LEAST = 0.12         # of the noise of a pixel
_SIGNIFICANT = 5.0
_ORDERS = (4, 8)


def line_noise(values, valid, *, size=64, most=64):
    """
    Measure the noise that rows or columns have in common.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane, and `False` where a pixel must not be used.

    size, most : int, optional
        Pixels per side of a block, and blocks that are looked at along
        each axis.

    Returns
    -------
    axis : {0, 1} or `None`
        0 for rows, 1 for columns, `None` for neither.

    share : float
        Standard deviation that the lines have in common, over that of a
        pixel without it; 0 where it is not significant, or falls with the
        order of the differences from line to line as structure does.

    Notes
    -----
    Differences from line to line are averaged along the lines, block by
    block: what the means of neighboring blocks have in common is the
    noise of the lines. Structure is not coherent over so many pixels.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.lines import line_noise
    >>> generator = torch.Generator().manual_seed(1)
    >>> values = torch.randn(256, 256, generator=generator)
    >>> values += torch.randn(256, 1, generator=generator)
    >>> axis, share = line_noise(values, values > -9)
    >>> print(f'{axis} {share:.1f}')
    0 1.1
    """
    grid = [-(-n // size) for n in values.shape]
    every = max(1, -(-grid[0] * grid[1] // most))
    along = _rows_of_blocks(values, valid, size, every)
    shares = [_share(along)]
    if every == 1 and along:
        # the same blocks, turned
        across = list(torch.stack(along).permute(1, 0, 3, 2).contiguous())
    else:
        across = _rows_of_blocks(values.T, valid.T, size, every)
    shares.append(_share(across))
    axis = 0 if shares[0] > shares[1] else 1
    return (axis, shares[axis]) if shares[axis] else (None, 0.0)


def _rows_of_blocks(values, valid, size, every):
    """
    The blocks side by side in some rows, without spikes.
    """
    found = []
    for row in range(0, -(-values.shape[0] // size), every):
        part = slice(row * size, (row + 1) * size)
        if valid[part].any():
            found.append(without_spikes(
                cut_blocks(values[part], valid[part], size)[0],
                compiled=compiling_pays(values.shape)))
    return found


def _share(rows):
    """
    Measure the noise that lines of blocks share, if all orders agree.
    """
    shares = []
    for order in _ORDERS:
        if not rows:
            return 0.0
        share, error = _common([_line_means(blocks, order)
                                for blocks in rows])
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
    Variance that the lines of neighboring blocks have in common.
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
    # differences of one line are those of its neighbors too
    error = float(products.std()) * math.sqrt(3 / products.numel())
    return float(products.mean()), error
