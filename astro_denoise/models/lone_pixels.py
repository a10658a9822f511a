# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pixels that their neighbors do not support: noise, or cosmic rays.
"""

from dataclasses import dataclass

import torch

from .layers import at_hand, mean_around

__all__ = ['LONE', 'LonePixels', 'find_lone_pixels', 'least_support']

#: A pixel that stands alone is noise below the first number of sigmas, begins
#: to be a cosmic ray from the second on, and is one as far above that as the
#: two are apart. Of a hundred million pixels of noise, one exceeds the first.
LONE = (5.7, 6.7)

# What the neighbors of a pixel must have of its signal: this share of what
# they have beside a star, and at most that.
_SUPPORT, _LARGEST_SUPPORT = 0.6, 0.35


@dataclass(eq=False)
class LonePixels:
    """
    Support of each pixel of some frames by its neighbors.

    Attributes
    ----------
    ray : `torch.Tensor`
        How far a pixel is a cosmic ray, from 0 to 1; shape (n, 1, ny, nx)
        as all others.

    good : `torch.Tensor`
        How far a pixel counts as a neighbor, from 0 to 1: if it is valid
        and no cosmic ray.

    near : `torch.Tensor`
        Mean signal of the good neighbors.

    share : `torch.Tensor`
        How far a pixel is not alone, from 0 to 1.
    """

    ray: torch.Tensor
    good: torch.Tensor
    near: torch.Tensor
    share: torch.Tensor

    def without_peaks(self, noise, log_variance, signal):
        """
        Take lone peaks of the signal for noise.

        A network keeps a part of them, and states large errors for them,
        for fear of cosmic rays.

        Parameters
        ----------
        noise, log_variance, signal : `torch.Tensor`
            Noise, the logarithm of the variance of its error, and the
            frame less the noise.

        Returns
        -------
        noise, log_variance : `torch.Tensor`
            The same without the peaks.
        """
        # A bright neighbor is no reason to be brighter.
        size = signal.abs()
        near = self.near.clamp(-size, size)
        usual = torch.minimum(mean_around(log_variance, self.good),
                              log_variance)
        return (noise + (signal - near) * (1.0 - self.share),
                torch.lerp(usual, log_variance, self.share))


def least_support(fwhm):
    """
    Compute what the neighbors of a pixel must have of its signal.

    Parameters
    ----------
    fwhm : `torch.Tensor`
        Full width at half maximum of the point-spread function in pixels.

    Returns
    -------
    support : `torch.Tensor`
        The mean of the eight over the pixel itself.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.lone_pixels import least_support
    >>> print(least_support(torch.tensor([1.5, 4.0])))
    tensor([0.1467, 0.3500])
    """
    # A Gaussian profile, averaged over a pixel.
    beside = torch.exp(-0.5 / ((fwhm / 2.355)**2 + 1.0 / 12.0))
    return (_SUPPORT * 0.5 * (beside + beside**2)).clamp_max(
        _LARGEST_SUPPORT)


def find_lone_pixels(x, signal, valid, fwhm):
    """
    Measure how far the neighbors of each pixel support it.

    Light has gone through a point-spread function, of which the
    neighbors of a pixel have their share. Where they have not, in the
    frame (which has no rounding of the network in it) or in what the
    network makes of it, a pixel is noise, if it may be, and else a cosmic
    ray.

    Parameters
    ----------
    x, signal, valid : `torch.Tensor`
        Shape (n, 1, ny, nx): the standardized frame, the network's result
        and the valid pixels.

    fwhm : `torch.Tensor`
        Full width at half maximum of the point-spread function in pixels,
        shape (n,).

    Returns
    -------
    lone : `LonePixels`
        The support.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.lone_pixels import find_lone_pixels
    >>> x = torch.zeros(1, 1, 9, 9)
    >>> x[..., 4, 4] = 20.0
    >>> lone = find_lone_pixels(x, x, torch.ones_like(x), torch.tensor([3.0]))
    >>> print(lone.ray[0, 0, 4, 4], lone.share[0, 0, 2, 2])
    tensor(1.) tensor(1.)
    """
    support = least_support(fwhm)[:, None, None, None]

    def supported(plane, near):
        return (near * plane / (support * plane.square()).clamp_min(1e-12)
                ).clamp(0.0, 1.0)

    low, high = LONE
    above = (x.abs() - low) / (high - low)
    good, share = valid, supported(x, mean_around(x, valid))
    ray = (1.0 - share) * (above - 1.0).clamp(0.0, 1.0)
    if not at_hand(ray) or ray.any():
        good = valid * (1.0 - ray)
        share = supported(x, mean_around(x, good))
    near = mean_around(signal, good)
    # Where either crosses zero nothing may jump.
    share = torch.minimum(share, torch.maximum(
        supported(signal, near), 1.5 - signal.abs()))
    usual = torch.maximum(above, 1.0 - 2.0 * x.abs())
    return LonePixels(ray, good, near,
                      torch.maximum(share, usual.clamp(0.0, 1.0)))
