# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point-spread functions made of Gaussians, evaluated at the true positions of
sources.
"""

import math
from dataclasses import dataclass

import numpy as np

from .legacy_sky import N_PIXELS

__all__ = ['PointSpread', 'king_mixture']


def king_mixture(sigma, gamma, n_terms):
    """
    Write a King function as a sum of Gaussians.

    The King function ``(1 + r**2 / (2 gamma sigma**2))**-gamma`` is an
    integral over Gaussians, here done by Gauss-Laguerre quadrature.

    Parameters
    ----------
    sigma, gamma : float
        Width and exponent of the King function.

    n_terms : int
        Number of Gaussians.

    Returns
    -------
    shares, widths : 1D `~numpy.ndarray`
        Share of the light in each Gaussian, of the sum 1, and its
        standard deviation along one axis in the unit of ``sigma``.

    Examples
    --------
    >>> from astro_denoise.simulation.point_spread import king_mixture
    >>> shares, widths = king_mixture(1.0, 5.0, 4)
    >>> print(f'{shares.sum():.3f}')
    1.000
    """
    from scipy.special import roots_genlaguerre

    nodes, weights = roots_genlaguerre(n_terms, gamma - 2.0)
    return weights / weights.sum(), sigma * np.sqrt(gamma / nodes)


# Standard deviations from a source at which its light ends.
_REACH = 4.5


@dataclass
class PointSpread:
    """
    Point-spread functions of images: sums of circular Gaussians.

    Parameters
    ----------
    shares : `torch.Tensor`
        Shape (n, n_terms): share of the light in each Gaussian; n is the
        number of images, or 1.

    widths : `torch.Tensor`
        Same shape: standard deviations along one axis in pixels.

    integrated : bool, optional
        Integrate the function over each pixel. By default, it is
        evaluated in the middle of each pixel, and normalized to a sum of
        1 over all pixels, those outside the image included.
    """

    shares: object
    widths: object
    integrated: bool = False

    def _profiles(self, places, width):
        """
        Compute the share of the light of sources in each column.

        Returns a tensor of the shape (n_sources, 64).
        """
        import torch

        reach = math.ceil(_REACH * float(width) + 0.5)
        places = places.float()
        first = places.floor().long() - reach
        near = torch.arange(2 * reach + 2, device=places.device)
        # Distances of the left edges of the pixels, from the source.
        distance = first[:, None] + near - places[:, None]
        if self.integrated:
            profile = 0.5 * torch.special.erf(
                distance / (width * math.sqrt(2.0))).diff(dim=1)
        else:
            profile = torch.exp(-0.5 * ((distance[:, :-1] + 0.5)
                                        / width).square())
        profile /= profile.sum(1, keepdim=True)
        # Pixels outside of the image go to one that is dropped.
        columns = first[:, None] + near[:-1] + 1
        columns.clamp_(0, N_PIXELS + 1)
        whole = torch.zeros(len(places), N_PIXELS + 2, dtype=profile.dtype,
                            device=places.device)
        return whole.scatter_(1, columns, profile)[:, 1:-1]

    def light(self, places, flux, numbers):
        """
        Compute the light of point sources in each pixel.

        Parameters
        ----------
        places : `torch.Tensor`
            Shape (2, n_sources): x and y in pixels from the left and the
            lower edge of the image.

        flux : `torch.Tensor`
            Shape (n_sources,), image by image.

        numbers : sequence of int
            Number of sources of each image.

        Returns
        -------
        light : `torch.Tensor`
            Shape (n, 64, 64); the light outside of the image is lost.
        """
        import torch

        light = torch.zeros(len(numbers), N_PIXELS, N_PIXELS,
                            dtype=torch.float32, device=flux.device)
        start = 0
        for index, number in enumerate(numbers):
            part = slice(start, start + number)
            start += number
            row = index if len(self.shares) > 1 else 0
            for share, width in zip(self.shares[row], self.widths[row],
                                    strict=True):
                if not share:
                    continue
                columns, rows = (self._profiles(place[part], width)
                                 for place in places)
                light[index] += share * (
                    (rows * flux[part, None]).T @ columns)
        return light

    def blur(self, planes):
        """
        Smooth images that hold the mean over each pixel.

        Parameters
        ----------
        planes : `torch.Tensor`
            Shape (n, c, 64, 64).

        Returns
        -------
        smoothed : `torch.Tensor`
            Same shape; light leaves at the edges.
        """
        smoothed = 0.0
        for shares, widths in zip(self.shares.T, self.widths.T, strict=True):
            bands = self._bands(widths)[:, None]
            smoothed = smoothed + (shares[:, None, None, None]
                                   * (bands @ planes @ bands))
        return smoothed

    def _bands(self, widths):
        """
        Make matrices that smooth a line of pixels.

        Returns a tensor of the shape (n_widths, 64, 64), symmetric.
        """
        import torch

        # As far as any of the functions reaches, as `_profiles` has it.
        reach = torch.ceil(_REACH * widths + 0.5)[:, None]
        far = max(int(reach.max()), N_PIXELS - 1)
        distance = torch.arange(-far, far + 1, device=widths.device)
        width = widths[:, None]
        if self.integrated:
            edges = torch.arange(-far, far + 2, device=widths.device) - 0.5
            profile = 0.5 * torch.special.erf(
                edges / (width * math.sqrt(2.0))).diff(dim=1)
        else:
            profile = torch.exp(-0.5 * (distance / width).square())
        profile = profile * (distance.abs() <= reach)
        profile = profile / profile.sum(1, keepdim=True)
        pixel = torch.arange(N_PIXELS, device=widths.device)
        return profile[:, pixel - pixel[:, None] + far]
