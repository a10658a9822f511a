# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise that the user supplies, compared with that of the plane itself.
"""

import math
from dataclasses import dataclass

import torch

__all__ = ['SuppliedNoise', 'compare_supplied']

_SAMPLE = 250_000   # pixels
_LARGEST_FACTOR = 1.25
_SAME = 1.12        # factor within which another meaning is taken to fit
_LEAST_SHIFT = 1.6  # by which another meaning must be the better one


@dataclass(frozen=True)
class SuppliedNoise:
    """
    Comparison of a supplied noise with that of the plane.

    Attributes
    ----------
    factor : float
        Median supplied noise of the blank sky over the measured one.

    fits_as : {'standard deviation', 'variance', 'inverse variance', \
'relative weight', None}
        What the numbers are, taken at their word or otherwise; `None`
        where nothing fits.

    differs : bool
        Whether the factor is far enough from 1 for a warning.

    tolerance : float
        The factor from which on it is: 1.25, more where the level itself
        is uncertain.
    """

    factor: float
    fits_as: str | None
    differs: bool
    tolerance: float


def compare_supplied(findings, sigma, valid, *, dark=None):
    """
    Compare a supplied noise map with the measured level.

    Parameters
    ----------
    findings : `~astro_denoise.noise.findings.NoiseFindings`
        What was measured.

    sigma : 2D `~torch.Tensor` or float
        Supplied standard deviation, in the unit of the plane. Gain and
        read noise are compared by what they make of the sky.

    valid : 2D bool `~torch.Tensor`
        `False` where a pixel must not be used.

    dark : 2D bool `~torch.Tensor`, optional
        `True` for blank sky; all valid pixels without.

    Returns
    -------
    supplied : `SuppliedNoise`
        The factor, and which meaning fits.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.findings import measure_noise
    >>> from astro_denoise.noise.supplied import compare_supplied
    >>> generator = torch.Generator().manual_seed(1)
    >>> values = 5 * torch.randn(256, 256, generator=generator)
    >>> valid = torch.isfinite(values)
    >>> found = compare_supplied(measure_noise(values, valid),
    ...                          torch.full_like(values, 25.0), valid)
    >>> print(f'{found.factor:.1f} {found.fits_as}')
    5.0 variance
    """
    level = findings.pixel_level
    tolerance = _tolerance(findings)
    usual = _usual(findings, sigma, valid, dark)
    if not (level > 0 and usual > 0 and math.isfinite(usual)):
        return SuppliedNoise(math.nan, None, differs=False,
                             tolerance=tolerance)
    factor = usual / level
    if 1 / tolerance <= factor <= tolerance:
        return SuppliedNoise(factor, 'standard deviation', differs=False,
                             tolerance=tolerance)
    width = _SAME * tolerance / _LARGEST_FACTOR
    others = {'variance': math.sqrt(usual) / level,
              'inverse variance': 1 / math.sqrt(usual) / level}
    name, other = min(others.items(), key=lambda one: abs(math.log(one[1])))
    away = abs(math.log(other))
    fits = (away < math.log(width)
            and abs(math.log(factor)) - away > math.log(_LEAST_SHIFT) / 2)
    return SuppliedNoise(factor, name if fits else None, differs=True,
                         tolerance=tolerance)


def _tolerance(findings):
    """
    The range of the level counts where it is wide.
    """
    low, high = findings.level_range
    if not (findings.level > 0 and low > 0):
        return math.inf
    wide = max(findings.level / low, high / findings.level)
    return max(_LARGEST_FACTOR, 1.1 * wide)


def _usual(findings, sigma, valid, dark):
    """
    Median of a noise map over the blank sky.

    Where the noise differs from place to place it is that of the
    supplied over the measured map, times the level.
    """
    if not torch.is_tensor(sigma) or sigma.ndim == 0:
        return float(sigma)
    stride = max(1, math.isqrt(sigma.numel() // _SAMPLE))
    cut = (slice(None, None, stride),) * 2
    use = valid[cut] & ~findings.defect_mask[cut]
    if dark is not None and (use & dark[cut]).any():
        use &= dark[cut]
    sample = sigma[cut]
    use &= torch.isfinite(sample) & (sample > 0)
    if not use.any():
        return math.nan
    return float(sample[use].double().median())
