# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A noise level that differs from place to place, in blocks.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from .area_cells import dispersion, likelihood
from .area_tree import find_areas
from .block_levels import BLOCK, block_table, lower_mode
from .strips import upsample

__all__ = ['BlockLevels', 'blank_blocks', 'block_levels', 'relative_map']

_LARGE = 2**22      # pixels of a plane above which the map is coarser
_FINE = 32          # pixels a side of a block of other maps
_ROWS = 16          # of each block of a large plane that are looked at
_MANY = 0.03     # of the blocks that must differ
_DIFFERENT = 3.0  # errors
_ALIKE = 2.0      # errors, within which blocks are averaged
_REACH = 2        # blocks
_DEGREE = 4       # of a polynomial
_AGREE = 1.3      # mean square of what it leaves, in errors
_AN_AREA = 10.0   # gain in log-likelihood that each is to bring


def _of_alike(plane, error):
    """
    Mean of each block and those around it that are like it.

    Edges between amplifiers and depths of a stack stay as they are (the
    sigma filter of Lee 1983, CVGIP 24, 255); blocks of which nothing is
    known get the median of what is near.
    """
    near = _near(plane)
    mean = plane
    while not torch.isfinite(mean).all():
        mean = torch.where(torch.isfinite(mean), mean,
                           _near(mean).nanmedian(0).values)
    weight = torch.where(torch.isfinite(near), _near(error)**-2, 0.0)
    mean_error = torch.where(torch.isfinite(error), error, 1.0)
    for _ in range(2):
        limit = _ALIKE * torch.sqrt(weight**-1 + mean_error**2)
        used = weight * ((near - mean).abs() < limit)
        total = used.sum(0)
        known = total > 0
        mean = torch.where(known, (used * near.nan_to_num(0.0)).sum(0)
                           / total.clamp(1e-30), mean)
        mean_error = torch.where(known, total.clamp(1e-30)**-0.5, mean_error)
    return mean


@dataclass(frozen=True)
class BlockLevels:
    """
    Noise and light of all blocks of a plane, or of a part of one.

    Attributes
    ----------
    logs, errors : 2D `~torch.Tensor`
        Logarithm of the variance of each block and its error, NaN where
        too little is known.

    dark : 2D `~torch.Tensor`
        Mean of the dark part of each block.

    size : int
        Pixels per side of a block.
    """

    logs: torch.Tensor = field(repr=False)
    errors: torch.Tensor = field(repr=False)
    dark: torch.Tensor = field(repr=False)
    size: int


def block_levels(plane, valid, *, large=None):
    """
    Measure noise and light of all blocks.

    Parameters
    ----------
    plane, valid : 2D `~torch.Tensor`
        The plane (float32), and `False` where a pixel must not be used.

    large : bool, optional
        Whether blocks are larger, and not all of their pixels are used;
        by default if the plane has more than four million pixels.

    Returns
    -------
    blocks : `BlockLevels`
        What is known of each.
    """
    if large is None:
        large = plane.numel() > _LARGE
    size = BLOCK if large else _FINE
    table = block_table(plane, valid, orders=((2, 2), (4, 4)), most=None,
                        size=size, rows=_ROWS if large else None)
    logs = table.log_variance[4, 4]
    number = table.number[4, 4].double().clamp(1)
    errors = 4.7 / torch.sqrt(number)
    # second differences where they see no more than fourth ones
    fine = table.log_variance[2, 2] - logs < 3 * 2.5 / torch.sqrt(number)
    logs = torch.where(fine, table.log_variance[2, 2], logs)
    errors = torch.where(fine, errors * 3.5 / 4.7, errors)
    return BlockLevels(*(one.reshape(table.grid) for one in (
        logs, errors, table.dark)), size)


def blank_blocks(dark, level):
    """
    Find the blocks of one sky, and say whether most are of it.

    Parameters
    ----------
    dark : `~torch.Tensor`
        Mean of the dark part of each block.

    level : float
        Noise of a pixel.

    Returns
    -------
    blank : bool `~torch.Tensor`
        `True` for blocks of the sky.

    enough : bool
        Whether they are 60 per cent.
    """
    known = torch.isfinite(dark)
    blank = known & ((dark - dark[known].median()).abs() < level / 2)
    return blank, int(blank.sum()) >= 0.6 * int(known.sum())


def relative_map(blocks, level, sky, slope, *, absolute=False, cells=None):
    """
    Noise of each block over that of the sky, without its photons.

    Parameters
    ----------
    blocks : `BlockLevels`
        Of all blocks.

    level, sky : float
        Noise of a pixel of the sky, and its value.

    slope : float
        Variance per unit of light above the sky.

    absolute : bool, optional
        Whether ``level`` is what differences see, as of noise that is
        independent from pixel to pixel. Else it is that of most blocks.

    cells : callable, optional
        Gives `~astro_denoise.noise.areas.AreaCells` of the plane, where
        areas of constant noise are to be looked for.

    Returns
    -------
    relative : 2D `~torch.Tensor` or `None`
        1 where the noise is that of the level, the mean of each block and
        those near it that are alike; `None` where one level is enough.

    areas : `~astro_denoise.noise.areas.NoiseAreas` or `None`
        Areas of constant noise, where they tell more than the blocks; the
        noise of a pixel is then the product of both.
    """
    known = torch.isfinite(blocks.logs)
    if int(known.sum()) < 4:
        return None, None
    # Of the noise, half of what they are of the variance.
    errors = torch.where(known, blocks.errors / 2, math.inf)
    mode = 2 * math.log(level) if absolute else lower_mode(
        blocks.logs[known], blocks.errors[known])[0]
    light = (blocks.dark - sky).clamp(0).nan_to_num(0.0)
    logs = torch.where(known, (blocks.logs - mode - torch.log1p(
        slope * light / level**2)) / 2, math.nan)
    mode = lower_mode(logs[known], errors[known])[0]
    far = (logs - mode).abs()[known] > _DIFFERENT * errors[known]
    if float(far.double().mean()) <= _MANY:
        return None, None
    without = _without_borders(logs, errors)
    if cells is None:
        return without, None
    cells = cells().without_photons(sky, slope / level**2)
    areas = find_areas(cells)
    if areas is None:
        return without, None
    within = _within_areas(logs, errors, areas, blocks.size)
    gain = (_likelihood(cells, within, blocks.size, areas)
            - _likelihood(cells, without, blocks.size))
    if gain < _AN_AREA * len(areas) * dispersion(cells):
        return without, None
    return within, areas


def _without_borders(logs, errors):
    """
    Noise of each block, smooth where that fits.
    """
    smooth = _surface(logs, errors)
    return (_of_alike(logs, errors) if smooth is None else smooth).exp()


def _within_areas(logs, errors, areas, size):
    """
    Noise of each block over that of its areas: one number, if that will do.
    """
    means, crossed = (torch.from_numpy(each).to(logs.device)
                      for each in areas.means(tuple(logs.shape), size))
    rest = logs - means.to(logs.dtype)
    clear = torch.isfinite(rest) & ~crossed
    if int(clear.sum()) < 4:
        return torch.full_like(logs, float(rest.nanmedian().exp()))
    rest = torch.where(clear, rest, math.nan)
    errors = torch.where(clear, errors, math.inf)
    mode = lower_mode(rest[clear], errors[clear])[0]
    far = (rest - mode).abs()[clear] > _DIFFERENT * errors[clear]
    if float(far.double().mean()) <= _MANY:
        return torch.full_like(logs, math.exp(mode))
    return _without_borders(rest, errors)


def _likelihood(cells, relative, size, areas=None):
    """
    Log-likelihood of cells for a map of blocks, and of areas.
    """
    shape = cells.squares.shape
    variance = upsample(relative.cpu().double().numpy(), shape,
                        size // cells.size)**2
    if areas is not None:
        means, _ = areas.means(shape, cells.size)
        variance *= np.exp(2 * means)
    return likelihood(cells, variance)


def _surface(logs, errors):
    """
    A polynomial in x and y that all blocks agree with, else `None`.

    Noise behind a flat field is one; edges of amplifiers are not.
    """
    known = torch.isfinite(logs)
    if min(logs.shape) < 2 * _DEGREE or float(known.double().mean()) < 0.5:
        return None
    y, x = torch.meshgrid(*(torch.linspace(
        -1, 1, n, dtype=torch.float64, device=logs.device)
        for n in logs.shape), indexing='ij')
    terms = torch.stack([x**i * y**j for i in range(_DEGREE + 1)
                         for j in range(_DEGREE + 1 - i)], -1)
    weight = torch.where(known, 1 / errors.double(), 0.0)
    wanted = logs.double().nan_to_num(0.0)
    for _ in range(2):
        # the same on all devices: few terms, well conditioned
        design = (terms * weight[..., None]).flatten(0, 1)
        factors = torch.linalg.solve(design.T @ design, design.T @ (
            wanted * weight).flatten())
        far = (terms @ factors - wanted).abs() * weight
        weight = torch.where(far < 4, weight, 0.0)
    used = weight > 0
    chance = int(used.sum()) > 0.97 * int(known.sum()) and float(
        far[used].square().mean()) < _AGREE
    return (terms @ factors).to(logs.dtype) if chance else None


def _near(plane):
    """
    Each cell and those up to two cells away, NaN where nothing is known.
    """
    size = 2 * _REACH + 1
    padded = F.pad(plane[None, None], (_REACH,) * 4, value=math.nan)
    near = F.unfold(padded.nan_to_num(math.inf, posinf=math.inf), size)[0]
    near = near.reshape(size**2, *plane.shape)
    return torch.where(torch.isinf(near), math.nan, near)
