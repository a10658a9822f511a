# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw what differs from sky to sky around the Galactic Center besides the
parameters, and light that the formulas of the sky leave out.
"""

import math
from dataclasses import dataclass

from .legacy_sky import N_PIXELS, PIXEL_SCALE

__all__ = ['NUISANCE_NAMES', 'SkyNuisances', 'SkySettings']

#: Nuisances that are numbers, drawn as shares of their distributions.
NUISANCE_NAMES = ('psf', 'isotropic', 'gas_height', 'ic_height',
                  'source_flux', 'source_slope')

# Width of the point-spread function in degrees: lowest and highest.
_PSF = (0.045, 0.65)

# Medians of scale heights (degrees), mean flux (over that of the formulas)
# and sigma of the logarithm of the flux, with the sigma of their logarithms.
_GAS_HEIGHT, _IC_HEIGHT = (5.0, 0.4), (5.0, 0.4)
_SOURCE_FLUX, _SOURCE_SLOPE = (1.0, 0.3), (1.2, 0.12)

# Sigma of the logarithm of the normalization of IC, gas and bubbles.
_NORMALIZATION = 0.04

# Width of the wings of a point-spread function over that of its core, and
# their largest share; share of skies that have no wings, and of skies whose
# sources are in the middle of their pixels, as in the first simulator.
_WINGS, _WING_SHARE, _NO_WINGS, _CENTERED = 2.2, 0.35, 0.5, 0.3

# Largest counts per pixel of an isotropic level, and of layers along the
# Galactic plane, with the ranges of their scale heights in degrees.
_ISOTROPIC = 25.0
_LAYERS = ((600.0, 0.2, 0.8), (300.0, 0.6, 1.6))

# Ripples: correlation lengths in degrees, and the largest scatter of the
# logarithm.
_RIPPLES = ((1.0, 0.3), (3.5, 0.2))

# Shares of skies without the layers, and without the ripples.
_NO_LAYERS, _NO_RIPPLES = 0.45, 0.45

# Furthest quantile of a normal distribution that is drawn.
_EDGE = 1e-4


@dataclass
class SkySettings:
    """
    Settings that differ from sky to sky besides the parameters.

    Parameters
    ----------
    shares : `torch.Tensor`
        Shape (n, 6), numbers between 0 and 1: where in its distribution
        each of `NUISANCE_NAMES` is.

    centered : `torch.Tensor`
        Shape (n,), bool: skies whose sources are in the middle of their
        pixels.

    wings : `torch.Tensor`
        Shape (n,): share of the light in the wings of the point-spread
        function.

    normalization : `torch.Tensor`
        Shape (n, 3): factors on inverse Compton emission, gas and
        bubbles.
    """

    shares: object
    centered: object
    wings: object
    normalization: object

    @classmethod
    def drawn(cls, n, random, shares=None):
        """
        Draw settings.

        Parameters
        ----------
        n : int
            Number of skies.

        random : `~astro_denoise.simulation.random_numbers.RandomNumbers`
            The source of random numbers.

        shares : `torch.Tensor`, optional
            Shares that are not to be drawn, shape (n, 6).

        Returns
        -------
        settings : `SkySettings`
            The settings.
        """
        import torch

        drawn = random.uniform(n, len(NUISANCE_NAMES))
        wings = ((random.uniform(n) - _NO_WINGS).clamp_min(0.0)
                 * _WING_SHARE / (1.0 - _NO_WINGS))
        return cls(drawn if shares is None else shares,
                   random.uniform(n) < _CENTERED, wings,
                   torch.exp(_NORMALIZATION * random.normal(n, 3)))

    def _share(self, name):
        return self.shares[:, NUISANCE_NAMES.index(name)]

    def _lognormal(self, name, distribution):
        import torch

        median, sigma = distribution
        return median * torch.exp(sigma * torch.special.ndtri(
            self._share(name).clamp(_EDGE, 1.0 - _EDGE)))

    @property
    def width(self):
        """Width of the point-spread function in degrees."""
        low, high = _PSF
        return low * (high / low)**self._share('psf')

    @property
    def stretch(self):
        """The same over its median."""
        return self.width / math.sqrt(_PSF[0] * _PSF[1])

    @property
    def point_spread(self):
        """Shares and widths in pixels of the Gaussians of which it is."""
        import torch

        width = self.width / PIXEL_SCALE
        return (torch.stack([1.0 - self.wings, self.wings], 1),
                torch.stack([width, _WINGS * width], 1))

    @property
    def isotropic(self):
        """Isotropic level in counts per pixel, shape (n, 1, 1)."""
        # Squared: faint levels are more common than bright ones.
        return _ISOTROPIC * self._share('isotropic')[:, None, None]**2

    @property
    def heights(self):
        """Scale heights of inverse Compton emission and gas in degrees."""
        return tuple(
            self._lognormal(name, distribution)[:, None, None]
            for name, distribution in (('ic_height', _IC_HEIGHT),
                                       ('gas_height', _GAS_HEIGHT)))

    @property
    def slope(self):
        """Sigma of the logarithm of the flux of sources."""
        return self._lognormal('source_slope', _SOURCE_SLOPE)

    @property
    def flux(self):
        """Factor on the flux of sources, for the mean as it is drawn."""
        import torch

        # The mean flux is apart from the slope.
        spread = 0.5 * (self.slope**2 - _SOURCE_SLOPE[0]**2)
        return self._lognormal('source_flux', _SOURCE_FLUX) * torch.exp(
            -spread)


class SkyNuisances:
    """
    Draw light that no parameter describes.

    The isotropic level of the settings; two layers along the Galactic
    plane, thinner than the other components, brightest somewhere near the
    center; ripples on these and on the diffuse emission. Their ranges
    cover the counts of Fermi-LAT from 2 to 20 GeV in 573 weeks.

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

    def draw(self, settings, angle, random):
        """
        Draw what is added, and what the diffuse emission is changed by.

        Parameters
        ----------
        settings : `SkySettings`
            What differs from sky to sky.

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
        rippled = (random.uniform(n, 1, 1) >= _NO_RIPPLES).float()
        for band, (_, largest) in zip(self._bands, _RIPPLES, strict=True):
            noise = random.normal(n, N_PIXELS, N_PIXELS)
            strength = largest * rippled * random.uniform(n, 1, 1)
            # The mean of a lognormal number stays 1.
            ripples = (ripples + strength * (band @ noise @ band.T)
                       - 0.5 * strength**2)
        factor = torch.exp(ripples)
        layered = (random.uniform(n, 1, 1) >= _NO_LAYERS).float()
        extra = settings.isotropic.expand(-1, N_PIXELS, N_PIXELS)
        for largest, low, high in _LAYERS:
            height = low * torch.exp(math.log(high / low)
                                     * random.uniform(n, 1, 1))
            middle = 16.0 * (random.uniform(n, 1, 1) - 0.5)
            width = 10.0 + 30.0 * random.uniform(n, 1, 1)
            # Squared: faint layers are more common than bright ones.
            level = largest * layered * random.uniform(n, 1, 1)**2
            extra = extra + factor * level * torch.exp(
                -y.abs() / height - 0.5 * ((x - middle) / width)**2)
        return extra[:, None], factor[:, None]
