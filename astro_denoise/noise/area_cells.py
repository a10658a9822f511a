# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Squares of what noise leaves in small cells of a plane.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import beta

from .block_levels import BLOCK

__all__ = ['AreaCells', 'area_cells', 'dispersion', 'likelihood']

_CELL = 4         # pixels a side of what the squares are summed over
_LARGE_CELL = 16  # likewise in a large plane, of which a stripe is used
_FAR = 6.0        # times the largest variance near, no noise
_BRIGHT = 2.0     # errors of the mean of a cell above the sky


def _contrasts():
    """
    Cosines over a cell that see no plane and no curvature of it.

    Their squares are independent, for white noise. What is left out are
    the mean, the slopes, the curvatures and the twist.
    """
    number = np.arange(_CELL)
    waves = np.stack([np.cos(math.pi * (number + 0.5) * order / _CELL)
                      for order in number])
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    return torch.from_numpy(np.stack([
        np.outer(waves[y], waves[x]) for y in number for x in number
        if y + x > 2]).astype(np.float32))


_CONTRASTS = _contrasts()


@dataclass(frozen=True)
class AreaCells:
    """
    Squares of what noise leaves in small cells of a plane.

    Attributes
    ----------
    squares, number : 2D `~numpy.ndarray`
        Their sum over each cell, and how many there are: 0 where a source
        is, or pixels are missing.

    light : 2D `~numpy.ndarray`
        Mean of the pixels that were used.

    size : int
        Pixels per side of a cell.
    """

    squares: np.ndarray = field(repr=False)
    number: np.ndarray = field(repr=False)
    light: np.ndarray = field(repr=False)
    size: int

    def without_photons(self, sky, growth):
        """
        Take the photons of light above the sky out of the squares.

        Parameters
        ----------
        sky : float
            Value of the sky.

        growth : float
            Growth of the variance with the light, over that of the sky.

        Returns
        -------
        cells : `AreaCells`
            As if all had the light of the sky.
        """
        light = np.maximum(self.light - sky, 0)
        return replace(self, squares=self.squares / (1 + growth * light))


def area_cells(plane, valid, blocks):
    """
    Sum up the squares of what noise leaves in small cells.

    Parameters
    ----------
    plane, valid : 2D `~torch.Tensor`
        The plane (float32), and `False` where a pixel must not be used.

    blocks : `~astro_denoise.noise.block_map.BlockLevels`
        Of the plane: what is far above the noise or the sky of a block and
        those around it is a source. Where they are large, so are the
        cells, of which a quarter of the rows is used.

    Returns
    -------
    cells : `AreaCells`
        Of the whole cells of the plane.
    """
    size = _LARGE_CELL if blocks.size == BLOCK else _CELL
    rows, columns = (n // size for n in plane.shape)
    window = (slice(rows * size), slice(columns * size))
    parts, used = (each[window].reshape(rows, size, columns * size)[
        :, :_CELL].reshape(rows * _CELL, columns * size)
        for each in (plane, valid))
    across = size // _CELL  # parts of a cell that are used
    pixels = parts.reshape(rows, _CELL, columns * across, _CELL)
    pixels = pixels.transpose(1, 2).flatten(2)
    # a convolution would be one of half precision on some devices
    squares = (pixels @ _CONTRASTS.to(plane).flatten(1).T).square().sum(2)
    light = pixels.mean(2)
    good = squares.isfinite()
    if not used.all():
        good &= F.max_pool2d((~used).float()[None], _CELL)[0] == 0
    step = blocks.size // _CELL
    dark, most = (_over_cells(each, size, step, light.shape)
                  for each in (blocks.dark, blocks.logs.exp()))
    good &= squares < _FAR * len(_CONTRASTS) * most
    good &= light < dark + _BRIGHT / _CELL * most.sqrt()
    total, light, number = (
        each.reshape(rows, columns, across).sum(2).cpu().double().numpy()
        for each in (torch.where(good, squares, 0.0),
                     torch.where(good, light, 0.0), good))
    light /= np.maximum(number, 1)
    return AreaCells(total, len(_CONTRASTS) * number, light, size)


def _over_cells(blocks, size, step, shape):
    """
    The largest of each block and those around it, on parts of cells.
    """
    blocks = blocks.nan_to_num(-math.inf)
    near = F.max_pool2d(blocks[None], 3, stride=1, padding=1)[0]
    near = near.repeat_interleave(step * _CELL // size, 0)[:shape[0]]
    return near.repeat_interleave(step, 1)[:, :shape[1]]


def likelihood(cells, variance):
    """
    Compute the log-likelihood of the squares for variances of any scale.

    Parameters
    ----------
    cells : `AreaCells`
        Of a plane.

    variance : 2D `~numpy.ndarray`
        Of each cell.

    Returns
    -------
    likelihood : float
        The largest for all multiples of the variances.
    """
    number = cells.number.sum()
    scale = (cells.squares / variance).sum() / number
    return -0.5 * float((cells.number * np.log(scale * variance)).sum()
                        + number)


def dispersion(cells):
    """
    Variance of the squares of neighbors over that of white noise.

    Parameters
    ----------
    cells : `AreaCells`
        Of a plane.

    Returns
    -------
    dispersion : float
        1 for white noise, more where there is structure or correlation.
    """
    largest = 1.0
    for step in (1, 2):
        squares, number = (_binned(each, step) for each in (
            cells.squares, cells.number))
        for axis in (0, 1):
            near, far = (np.take(squares, range(first, squares.shape[axis]
                                                - 1 + first), axis)
                         for first in (0, 1))
            n, m = (np.take(number, range(first, number.shape[axis] - 1
                                          + first), axis)
                    for first in (0, 1))
            full = number.max()
            both = (n == full) & (m == full)
            if full == 0 or both.sum() < 100:
                continue
            share = np.abs(near - far)[both] / (near + far)[both]
            # those of white noise have a beta distribution
            half = 2 * beta.ppf(0.75, full / 2, full / 2) - 1
            largest = max(largest, float(np.median(share) / half)**2)
    return largest


def _binned(plane, step):
    rows, columns = (n // step for n in plane.shape)
    return plane[:rows * step, :columns * step].reshape(
        rows, step, columns, step).sum((1, 3))
