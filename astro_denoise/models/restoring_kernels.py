# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Kernels that restore from the residual the flux that a network removed.
"""

import math

import torch
from scipy.fft import next_fast_len
from torch.nn import functional as F

from .layers import all_count, exporting

__all__ = ['KERNEL_RADIUS', 'identity_kernels', 'kernels_between', 'restored']

#: Half the size of the kernels, in pixels.
KERNEL_RADIUS = 12
_KERNEL_SIZE = 2 * KERNEL_RADIUS + 1


def identity_kernels(n_kernels):
    """
    Make kernels that change nothing.

    Parameters
    ----------
    n_kernels : int
        Number of kernels.

    Returns
    -------
    kernels : `torch.Tensor`
        Shape (n_kernels, 25, 25).

    Examples
    --------
    >>> from astro_denoise.models.restoring_kernels import identity_kernels
    >>> identity_kernels(2).sum((1, 2))
    tensor([1., 1.])
    """
    kernels = torch.zeros(n_kernels, _KERNEL_SIZE, _KERNEL_SIZE)
    kernels[:, KERNEL_RADIUS, KERNEL_RADIUS] = 1.0
    return kernels


def kernels_between(kernels, fwhms, log_fwhm):
    """
    Interpolate kernels between those of the nearest widths.

    Parameters
    ----------
    kernels : `torch.Tensor`
        Shape (n_kernels, 25, 25).

    fwhms : sequence of float
        Width of the point-spread function of each, increasing by a
        constant factor, in pixels.

    log_fwhm : `torch.Tensor`
        Logarithm of the widths wanted, shape (n,).

    Returns
    -------
    kernels : `torch.Tensor`
        Shape (n, 25, 25).

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.restoring_kernels import (
    ...     identity_kernels, kernels_between)
    >>> kernels = torch.stack([0.0 * identity_kernels(1)[0],
    ...                        identity_kernels(1)[0]])
    >>> middle = kernels_between(kernels, (2.0, 8.0),
    ...                          torch.tensor([4.0]).log())
    >>> print(round(float(middle.sum()), 3))
    0.5
    """
    step = math.log(fwhms[-1] / fwhms[0]) / (len(fwhms) - 1)
    place = ((log_fwhm - math.log(fwhms[0])) / step).clamp(
        0.0, len(fwhms) - 1.0)
    lower = place.floor().long().clamp_max(len(fwhms) - 2)
    share = (place - lower)[:, None, None]
    return torch.lerp(kernels[lower], kernels[lower + 1], share)


def restored(noise, valid, kernel):
    """
    Compute the part of the estimated noise that goes back as flux.

    Parameters
    ----------
    noise, valid : `torch.Tensor`
        The estimated noise and the valid pixels, shape (n, 1, ny, nx).

    kernel : `torch.Tensor`
        Shape (n, 25, 25), see `kernels_between`.

    Returns
    -------
    flux : `torch.Tensor`
        The noise convolved with the kernel, 0 where not valid. A hole
        takes the mean of its surroundings before.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.restoring_kernels import (
    ...     identity_kernels, restored)
    >>> noise = torch.rand(1, 1, 32, 32)
    >>> flux = restored(noise, torch.ones_like(noise), identity_kernels(1))
    >>> bool((flux - noise).abs().max() < 1e-6)
    True
    """
    if not all_count(valid):
        near = F.avg_pool2d(noise * valid, 5, 1, 2)
        near = near / F.avg_pool2d(valid, 5, 1, 2).clamp_min(0.04)
        noise = torch.where(valid > 0, noise, near)
    plane = F.pad(noise, (KERNEL_RADIUS,) * 4, mode='replicate')[:, 0]
    if exporting():
        # slower, but known to all that runs networks
        flux = F.conv2d(plane[None], kernel.flip(1, 2)[:, None],
                        groups=kernel.shape[0])
        return flux[0][:, None] * valid
    height, width = noise.shape[2:]
    shape = [next_fast_len(length, real=True) for length in plane.shape[1:]]
    # Most rows of the kernel's plane are empty.
    kernel = torch.fft.fft(torch.fft.rfft(kernel, shape[1]), shape[0], dim=1)
    product = torch.fft.rfft2(plane, s=shape) * kernel
    plane = torch.fft.irfft2(product, s=shape)
    # Both start at the corner: the result is shifted by a diameter.
    first = _KERNEL_SIZE - 1
    plane = plane[:, first:first + height, first:first + width]
    return plane[:, None] * valid
