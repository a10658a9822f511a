# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Light around the Galactic Center that the formulas of the sky leave out.
"""

import math

from .legacy_sky import N_PIXELS, PIXEL_SCALE

__all__ = ['SkyNuisances']

# Largest counts per pixel of an isotropic level, and of layers along the
# Galactic plane, with the ranges of their scale heights in degrees.
_ISOTROPIC = 25.0
_LAYERS = ((600.0, 0.2, 0.8), (300.0, 0.6, 1.6))

# Ripples: correlation lengths in degrees, and the largest scatter of the
# logarithm.
_RIPPLES = ((1.0, 0.3), (3.5, 0.2))

# Share of skies that are as the formulas say.
_PLAIN = 0.15


class SkyNuisances:
    """
    Draw light that no parameter describes.

    An isotropic level; two layers along the Galactic plane, thinner than
    the other components, brightest somewhere near the center; ripples on
    these and on the diffuse emission. Their ranges cover the counts of
    Fermi-LAT from 2 to 20 GeV in 573 weeks.

    Parameters
    ----------
    x, y : 2D `torch.Tensor`
        Galactic longitude and latitude of the pixels in degrees.
    """

    def __init__(self, x, y):
        import torch

        self._x, self._y = x, y
        pixel = torch.arange(N_PIXELS, dtype=torch.float32, device=x.device)
        distance = PIXEL_SCALE * (pixel - pixel[:, None])
        self._bands = []
        for length, _ in _RIPPLES:
            band = torch.exp(-(distance / length)**2)
            # White noise comes out with a variance of 1.
            self._bands.append(band / band.square().sum(
                1, keepdim=True).sqrt())

    def draw(self, angle, random):
        """
        Draw what is added, and what the diffuse emission is changed by.

        Parameters
        ----------
        angle : `torch.Tensor`
            Rotation of each sky in radians, shape (n,).

        random : `~astro_denoise.simulation.random_numbers.RandomNumbers`
            The source of random numbers.

        Returns
        -------
        extra : `torch.Tensor`
            Shape (n, 1, 64, 64), counts.

        factor : `torch.Tensor`
            Shape (n, 1, 64, 64), about 1: for inverse Compton emission
            and gas.
        """
        import torch

        n = len(angle)
        cos, sin = (function(angle)[:, None, None]
                    for function in (torch.cos, torch.sin))
        x, y = self._x * cos + self._y * sin, self._y * cos - self._x * sin
        ripples = 0.0
        for band, (_, largest) in zip(self._bands, _RIPPLES, strict=True):
            noise = random.normal(n, N_PIXELS, N_PIXELS)
            strength = largest * random.uniform(n, 1, 1)
            # The mean of a lognormal number stays 1.
            ripples = (ripples + strength * (band @ noise @ band.T)
                       - 0.5 * strength**2)
        factor = torch.exp(ripples)
        extra = _ISOTROPIC * random.uniform(n, 1, 1)
        for largest, low, high in _LAYERS:
            height = low * torch.exp(math.log(high / low)
                                     * random.uniform(n, 1, 1))
            middle = 16.0 * (random.uniform(n, 1, 1) - 0.5)
            width = 10.0 + 30.0 * random.uniform(n, 1, 1)
            # Squared: faint layers are more common than bright ones.
            level = largest * random.uniform(n, 1, 1)**2
            extra = extra + factor * level * torch.exp(
                -y.abs() / height - 0.5 * ((x - middle) / width)**2)
        plain = random.uniform(n, 1, 1) < _PLAIN
        return (torch.where(plain, 0.0, extra)[:, None],
                torch.where(plain, 1.0, factor)[:, None])
