# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
All that one look at a plane says about its noise.
"""

import logging
import math
from dataclasses import dataclass, field, replace

import torch

from .area_cells import area_cells
from .areas import NoiseAreas
from .block_levels import block_size, block_table, lower_mode
from .block_map import (
    blank_blocks,
    block_levels,
    relative_map,
)
from .correlation import find_level, uncorrelated
from .defects import find_defects
from .lines import line_noise
from .phases import PhasePattern, find_phases, split_phases
from .photon_slope import (
    PhotonSlope,
    believed_slope,
    photon_slope,
    sharpest_light,
)
from .psf_width import PsfWidth, psf_width
from .quantization import dither, quantization_step, rounding_noise

__all__ = ['NoData', 'NoiseFindings', 'find_no_data', 'measure_noise']

logger = logging.getLogger(__name__)

MOST_BLOCKS = 128  # looked at for the level
_HIGH_ORDERS = ((0, 8), (1, 8), (8, 8), (8, 1), (8, 0))
_LOW_ORDERS = ((0, 2), (1, 2), (2, 2), (2, 1), (2, 0))
_WIDE = 1.3          # range of a level, beyond which light is structure
_COARSE = 0.75      # steps, below which rounding is most of the noise
_NO_PATTERN = PhasePattern((0.0,) * 3, (0.0,) * 3, found=False)
_MANY_BRIGHT = 100   # pixels
_SMALL = 64**2       # pixels, of which too few are sky
_FEW = 60_000      # fourth differences, below which second ones are used too


@dataclass(frozen=True)
class NoData:
    """
    Pixels of a plane that hold no measurement.

    Attributes
    ----------
    step : float
        What the values are counted in; 0 for a continuous range.

    mask : 2D bool `~torch.Tensor`
        `True` where a pixel holds none.

    defects : tuple of `~astro_denoise.noise.defects.Defect`
        The values of these.
    """

    step: float
    mask: torch.Tensor = field(repr=False)
    defects: tuple


def find_no_data(values, valid):
    """
    Find what of a plane holds no measurement.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        As for `measure_noise`.

    Returns
    -------
    no_data : `NoData`
        The pixels and their values.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.findings import find_no_data
    >>> values = torch.randn(100, 100) + 20
    >>> values[:30] = 0
    >>> print(int(find_no_data(values, values > -1).mask.sum()))
    3000
    """
    values = values.nan_to_num(0.0) if not valid.all() else values
    step = quantization_step(values, valid)
    mask, defects = find_defects(values, valid, step=step)
    return NoData(step, mask, defects)


@dataclass(frozen=True)
class NoiseFindings:
    """
    Findings about the noise of a plane.

    Attributes
    ----------
    level, level_error : float
        Standard deviation of a pixel of the sky, without what its line has
        in common, and the error of it; 0 where all pixels are alike.

    level_range : tuple of float
        Where the level may lie; wide where the verdict is 'cannot tell'.

    verdict : {'white', 'correlated', 'cannot tell'}
        Whether the noise is independent from pixel to pixel.

    correlation : tuple of float
        Lag-1 correlation along y and x, 0 where it is not significant.

    step : float
        What the values are counted in; 0 for a continuous range.

    phases : `~astro_denoise.noise.phases.PhasePattern`
        The pattern of 2 x 2 pixels.

    phase_levels : tuple of float or `None`
        Noise of the four phases, where there is a pattern.

    line_axis : {0, 1} or `None`
        0 where rows, 1 where columns have noise in common.

    line_level : float
        The standard deviation of it.

    defects : tuple of `~astro_denoise.noise.defects.Defect`
        Values that are no measurement.

    defect_mask : 2D bool `~torch.Tensor`
        `True` for their pixels.

    sky : float
        Value of the sky where the noise is that of the level.

    photon_slope : float
        Variance per unit of light above the sky; 0 where it is not
        significant.

    photon_limit : float
        What the slope may be; infinite where the plane does not tell.

    photon_mean : float
        What is to be expected of it, significant or not; 0 where the plane
        does not tell.

    bright_light : float
        Median light above the sky of the pixels that have at least ten
        times the level of it; 0 where there are few.

    bright_share : float
        Share of them in the valid pixels.

    seeing : `~astro_denoise.noise.psf_width.PsfWidth`
        Width of the point sources, and whether it is a locus, an upper
        limit, or unknown.

    block_size : int
        Pixels per side of a block of the map.

    block_map : 2D `~torch.Tensor` or `None`
        Noise of each block, where it differs from place to place; that of
        its sky, where it has more light and the photon slope is not 0.

    areas : `~astro_denoise.noise.areas.NoiseAreas` or `None`
        Areas of constant noise, by whose factors the map is to be
        multiplied.

    poisson : bool
        Whether values are counts from 0 whose variance is their mean.

    pedestal : float
        What was taken off the values before, and is in none of these.
    """

    level: float
    level_error: float
    level_range: tuple
    verdict: str
    correlation: tuple
    step: float
    phases: PhasePattern
    phase_levels: tuple | None
    line_axis: int | None
    line_level: float
    defects: tuple
    defect_mask: torch.Tensor = field(repr=False)
    sky: float = 0.0
    photon_slope: float = 0.0
    photon_limit: float = 0.0
    photon_mean: float = 0.0
    bright_light: float = 0.0
    bright_share: float = 0.0
    seeing: PsfWidth = field(
        default_factory=lambda: PsfWidth(None, 'unknown', 0))
    block_size: int = 64
    block_map: torch.Tensor | None = field(default=None, repr=False)
    areas: NoiseAreas | None = field(default=None, repr=False)
    poisson: bool = False
    pedestal: float = 0.0

    @property
    def largest_correlation(self):
        """
        That of the axis along which it is farther from 0.
        """
        return max(self.correlation, key=abs)

    @property
    def may_have_map(self):
        """
        True if noise that differs from place to place can be told.
        """
        return (self.level > 0 and not self.phases.found
                and self.level >= _COARSE * self.step)

    @property
    def bright_factor(self):
        """
        Factor by which the noise of bright pixels may be off.
        """
        if self.bright_light == 0 or self.level == 0:
            return 1.0
        least, expected, most = (
            self.level**2 + slope * self.bright_light for slope in (
                self.photon_slope, self.photon_mean, self.photon_limit))
        return math.sqrt(max(most / expected, expected / least))

    def with_map(self, blocks, *, slope=None, cells=None):
        """
        Add the noise of each block, where it differs.

        Parameters
        ----------
        blocks : `~astro_denoise.noise.block_map.BlockLevels`
            Noise and light of all blocks.

        slope : float, optional
            Variance per unit of light, if it is known better than from
            the plane.

        cells : callable, optional
            As for `~astro_denoise.noise.block_map.relative_map`.

        Returns
        -------
        findings : `NoiseFindings`
            With the level of the blank sky of the map.
        """
        slope = self.photon_slope if slope is None else slope
        relative, areas = relative_map(
            blocks, self.level, self.sky, slope,
            absolute=self.verdict == 'white' and not self.step,
            cells=None if self.verdict == 'cannot tell' else cells)
        if relative is None:
            return self
        blank, enough = blank_blocks(blocks.dark, self.level)
        noise = relative
        if areas is not None:
            means, _ = areas.means(tuple(relative.shape), blocks.size)
            noise = relative * torch.from_numpy(means).to(relative).exp()
        factor = float(noise[blank].median()) if enough else 1.0
        return replace(
            self, level=factor * self.level,
            level_error=factor * self.level_error,
            level_range=tuple(factor * one for one in self.level_range),
            line_level=factor * self.line_level,
            block_map=self.level * relative, block_size=blocks.size,
            areas=areas)

    def times(self, factor):
        """
        Put all that is in the unit of the plane in another one.

        Parameters
        ----------
        factor : float
            The unit of the plane over the other one.

        Returns
        -------
        findings : `NoiseFindings`
            The same of the plane times the factor.
        """
        return replace(
            self, **{name: factor * getattr(self, name) for name in (
                'level', 'level_error', 'step', 'line_level', 'sky',
                'photon_slope', 'photon_limit', 'photon_mean',
                'bright_light', 'pedestal')},
            level_range=tuple(factor * one for one in self.level_range),
            phase_levels=self.phase_levels and tuple(
                factor * one for one in self.phase_levels),
            defects=tuple(replace(one, value=factor * one.value)
                          for one in self.defects),
            phases=replace(self.phases, contrasts=tuple(
                factor * one for one in self.phases.contrasts)),
            block_map=None if self.block_map is None else (
                factor * self.block_map))

    @property
    def pixel_level(self):
        """
        Standard deviation of a pixel, with what its line has in common.
        """
        return math.hypot(self.level, self.line_level)


def _look(values, valid, *, most):
    """
    Level and correlation of a plane, by differences as high as it allows.
    """
    size = block_size(values.shape)
    table = block_table(values, valid, size=size, most=most)
    findings = find_level(table)
    if findings.verdict == 'correlated':
        findings = _confirmed(values, valid, table, findings, most)
    number = int(table.number[4, 4].sum())
    pixels = len(table.index) * size**2 * float(valid[::7, ::7].double(
        ).mean())
    if number < 0.2 * pixels and number < _FEW:
        # pixels are missing everywhere: differences that reach less far
        table = block_table(values, valid, size=size, most=most,
                            orders=_LOW_ORDERS)
        findings = find_level(table, guard=2)
    return findings, table


def _confirmed(values, valid, table, findings, most):
    """
    Look at a correlation again with less of the structure.

    Differences of order 8 across see far less of structure than those of
    order 4, but the same correlation.
    """
    others = block_table(values, valid, orders=_HIGH_ORDERS, most=most,
                         size=block_size(values.shape))
    return find_level(table, second=others)


def _without_dither(findings, step):
    """
    Factor by which the level falls when dither is taken out.
    """
    variance = findings.level**2 - step**2 / 12
    return math.sqrt(max(variance, 0.0)) / findings.level


def _smallest_noise(table, step):
    """
    Noise below a step, from the mean squares of dithered differences.

    Most values are alike, so that medians say nothing. What rounding
    leaves of noise ``s`` (in steps) on a sky that takes all values between
    two steps is ``s**2 + 1/12`` less the part that is smooth, the sum over
    k of ``exp(-(2 pi k s)**2) / (2 pi**2 k**2)``.
    """
    order = (2, 2)
    variance = (table.log_variance[order] + table.tail[order]).exp()
    known = torch.isfinite(variance)
    if not known.any():
        return rounding_noise(step)
    limit = 2 * variance[known].quantile(0.5)
    usual = variance[known & (variance <= limit)]
    random = max(float(usual.double().mean()) / step**2 - 1 / 12, 0.0)
    low, high = 0.0, 2.0
    for _ in range(40):
        middle = (low + high) / 2
        smooth = sum(math.exp(-(2 * math.pi * k * middle)**2)
                     / (2 * math.pi**2 * k**2) for k in range(1, 30))
        if middle**2 + 1 / 12 - smooth > random:
            high = middle
        else:
            low = middle
    return step * math.sqrt(low**2 + 1 / 12)


def _counts_level(values, valid, step):
    """
    Noise of counts from 0 whose variance is their mean, else `None`.
    """
    size = block_size(values.shape)
    rows, columns = (n // size * size for n in values.shape)
    if rows == 0 or columns == 0:
        rows, columns, size = *values.shape, min(values.shape)
        rows, columns = rows // size * size, columns // size * size
    part = torch.where(valid, values, math.nan)[:rows, :columns] / step
    blocks = part.reshape(rows // size, size, columns // size, size)
    blocks = blocks.transpose(1, 2).flatten(2).flatten(0, 1)
    mean = blocks.nanmean(1).double()
    number = torch.isfinite(blocks).sum(1)
    square = (blocks - mean[:, None]).square().nanmean(1).double()
    known = (number > size) & (mean > 0)
    if not known.any():
        return None
    error = torch.sqrt(mean / number)[known]
    typical, *_ = lower_mode(mean[known], error)
    near = known & ((mean - typical).abs() < 4 * torch.sqrt(
        typical / number))
    if not near.any():
        return None
    ratio = float((square[near] / mean[near]).median())
    return math.sqrt(typical) * step if 0.8 < ratio < 1.25 else None


def _nothing(no_data):
    return NoiseFindings(
        0.0, 0.0, (0.0, 0.0), 'cannot tell', (0.0, 0.0), no_data.step,
        _NO_PATTERN, None, None, 0.0, no_data.defects, no_data.mask)


def measure_noise(values, valid, *, no_data=None, background=None,
                  most=MOST_BLOCKS, mapped=True, known_slope=None):
    """
    Measure the noise of a plane, and say how sure that is.

    Parameters
    ----------
    values : 2D `~torch.Tensor`
        The plane (float32), in a range that single precision holds.

    valid : 2D bool `~torch.Tensor`
        `False` where a pixel must not be used.

    no_data : `NoData`, optional
        Of `find_no_data`, if it is at hand.

    background : 2D `~torch.Tensor`, optional
        The background, without which the seeing is not measured.

    most : int, optional
        Blocks of 64 pixels that are looked at for the level.

    mapped : bool, optional
        Whether the noise of all blocks is compared.

    known_slope : callable, optional
        Gives, for the sky and its noise, the variance per unit of light
        if that is known better than from the plane, else `None`.

    Returns
    -------
    findings : `NoiseFindings`
        What was found.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.findings import measure_noise
    >>> generator = torch.Generator().manual_seed(1)
    >>> values = 5 * torch.randn(256, 256, generator=generator)
    >>> found = measure_noise(values, torch.isfinite(values))
    >>> print(f'{found.level:.1f} {found.verdict}')
    5.0 white
    """
    values = values.nan_to_num(0.0) if not valid.all() else values
    if no_data is None:
        no_data = find_no_data(values, valid)
    if no_data.defects:
        valid = valid & ~no_data.mask
    step = no_data.step
    if not valid.any():
        return _nothing(no_data)
    plane = dither(values, step) if step else values
    findings, table = _look(plane, valid, most=most)
    if not findings.level > 0:
        return replace(_nothing(no_data), sky=float(values[valid].median()))
    coarse = findings.level < _COARSE * step
    pattern = (_NO_PATTERN if coarse else
               find_phases(plane, valid, findings.level, most=most))
    phase_levels = None
    if pattern.found:
        findings, table, phase_levels = _by_phase(plane, valid, most)
    line_axis, line_level = _line_pattern(plane, valid, findings, pattern,
                                          most)
    factor, poisson = 1.0, False
    if step:
        factor, poisson = _step_factor(values, valid, findings, table, step)
    sky = _sky_value(findings, table)
    seeing = _seeing(values, valid, background, findings.level)
    bright = _bright(values, valid, sky, factor * findings.level)
    slope = PhotonSlope(step, step, step) if poisson else PhotonSlope()
    low, high = findings.range
    if not (pattern.found or poisson or high > _WIDE * low):
        slope = photon_slope(
            plane, valid, findings.level, sky,
            white=findings.verdict == 'white',
            fwhm=sharpest_light(seeing, bright.get('bright_share', 0.0)))
        slope = believed_slope(slope, findings.level, seeing, **bright)
    if coarse or poisson:
        # what differences of rounded values say of neighbors is no noise
        findings = uncorrelated(findings)
    found = _collected(findings, factor * findings.level, line_level,
                       line_axis)
    found = replace(
        found, step=step, phases=pattern, defects=no_data.defects,
        defect_mask=no_data.mask, phase_levels=phase_levels and tuple(
            factor * one for one in phase_levels), sky=sky,
        photon_slope=slope.value, photon_limit=slope.limit,
        photon_mean=slope.mean, poisson=poisson, seeing=seeing, **bright)
    if mapped and found.may_have_map:
        slope = known_slope and known_slope(found.sky, found.pixel_level)
        blocks = block_levels(plane, valid)
        found = found.with_map(
            blocks, slope=slope,
            cells=lambda: area_cells(plane, valid, blocks))
    return found


def _collected(findings, level, line_level, line_axis):
    """
    Level and one verdict.
    """
    verdict = findings.verdict
    rho = [one.rho for one in (findings.y, findings.x)]
    if line_axis is not None:
        verdict = 'correlated' if verdict == 'white' else verdict
        share = line_level**2 / (line_level**2 + findings.level**2)
        rho[1 - line_axis] = max(rho[1 - line_axis], share)
    factor = level / findings.level
    logger.info('noise level %.4g (%s), correlation along y %.3f and x %.3f',
                level, verdict, *rho)
    return NoiseFindings(
        level, factor * findings.error,
        tuple(factor * one for one in findings.range), verdict, tuple(rho),
        0.0, _NO_PATTERN, None, line_axis, line_level, (), None)


def _sky_value(findings, table):
    """
    Value of the dark part of the blocks whose noise is that of the level.
    """
    near = (findings.blocks / findings.level).log().abs() < (
        3 * findings.block_errors / findings.blocks)
    near &= torch.isfinite(table.dark)
    if not near.any() or len(near) != len(table.dark):
        near = torch.isfinite(table.dark)
    return float(table.dark[near].median())


def _bright(values, valid, sky, level):
    """
    Light and share of the pixels that have ten times the level, if many do.
    """
    light = values[(values > sky + 10 * level) & valid] - sky
    if light.numel() < _MANY_BRIGHT or valid.numel() < _SMALL:
        return {}
    return {'bright_light': float(light.median()),
            'bright_share': light.numel() / int(torch.count_nonzero(valid))}


def _seeing(values, valid, background, level):
    """
    Width of the point sources, if the background is known.
    """
    if background is None:
        return PsfWidth(None, 'unknown', 0)
    return psf_width(values, valid, background, level)


def _by_phase(plane, valid, most):
    """
    Measure each phase of a 2 x 2 pattern for itself.
    """
    looks = [_look(one, good, most=most // 4) for one, good in zip(
        split_phases(plane), split_phases(valid), strict=True)]
    levels = [findings.level for findings, _ in looks]
    middle = sorted(range(4), key=lambda i: levels[i])[1]
    findings, table = looks[middle]
    level = math.sqrt(sum(one**2 for one in levels) / 4)
    return replace(findings, level=level), table, tuple(levels)


def _line_pattern(plane, valid, findings, pattern, most):
    """
    The axis whose lines have noise in common, and how much.
    """
    if pattern.found:
        return None, 0.0
    axis, share = line_noise(plane, valid, size=block_size(plane.shape),
                             most=most // 2)
    return axis, share * findings.level


def _step_factor(values, valid, findings, table, step):
    """
    Compute the factor from a level of dithered values to that of the values.
    """
    if findings.level < 1.2 * step and float(values[valid].min()) == 0:
        level = _counts_level(values, valid, step)
        if level is not None:
            return level / findings.level, True
    if findings.level < _COARSE * step and (2, 2) in table.log_variance:
        return _smallest_noise(table, step) / findings.level, False
    factor = _without_dither(findings, step)
    return max(factor, rounding_noise(step) / findings.level), False


