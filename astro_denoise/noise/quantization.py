# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The step in which the values of a plane are counted.
"""

import math

import numpy as np
import torch

__all__ = ['dither', 'quantization_step', 'rounding_noise']

_SAMPLE = 20_000  # pixels
_LARGEST_SHARE = 0.02  # of differences that may not be a multiple


def quantization_step(values, valid):
    """
    Find the step in which the values of a plane are counted.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane, and `False` where a pixel must not be used.

    Returns
    -------
    step : float
        The smallest difference of two values of which nearly all others
        are multiples; 0 where there is none.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.quantization import quantization_step
    >>> values = 4 * (torch.arange(10_000).reshape(100, 100) % 50)
    >>> quantization_step(values, values >= 0)
    4.0
    """
    stride = max(1, math.isqrt(values.numel() // _SAMPLE))
    sample = values[::stride, ::stride][valid[::stride, ::stride]]
    sample = np.sort(sample.cpu().numpy()).astype(float)
    if sample.size < 2:
        return 0.0
    steps = np.diff(sample)
    steps = steps[steps > 0]
    # Values of a continuous distribution hardly ever repeat.
    if steps.size == 0 or steps.size > 0.5 * (sample.size - 1):
        return 0.0
    # single precision rounds large numbers
    rounding = 4 * np.finfo(np.float32).eps * np.abs(sample).max()
    step = np.quantile(steps, 0.02)
    if step < 4 * rounding:
        return 0.0
    near = steps[steps < 1.5 * step]
    step = near.mean()
    small = steps[steps < 1000 * step] / step
    off = np.abs(small - np.rint(small)) > 0.05 + rounding / step
    return float(step) if off.mean() < _LARGEST_SHARE else 0.0


def dither(values, step, *, seed=0):
    """
    Spread values evenly over the step that they were rounded to.

    Parameters
    ----------
    values : 2D `~torch.Tensor`
        The plane.

    step : float
        What they are counted in.

    seed : int, optional
        Of the random numbers, so that the same plane gives the same.

    Returns
    -------
    values : 2D `~torch.Tensor`
        With ``step**2 / 12`` added to their variance.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(values.shape, generator=generator)
    return values + step * (noise - 0.5).to(values.device)


def rounding_noise(step):
    """
    Standard deviation of what is lost in rounding to a step.
    """
    return step / math.sqrt(12)
