# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The components of the sky around the Galactic Center, in degrees.
"""

import math

__all__ = ['HALF_WIDTH', 'N_PIXELS', 'PIXEL_SCALE', 'LegacySky']

N_PIXELS = 64
HALF_WIDTH = 15.0
PIXEL_SCALE = 2.0 * HALF_WIDTH / N_PIXELS

# Distance to the Galactic Center in kpc: angles of the disk.
_DISTANCE = 8.3
_KPC = math.degrees(1.0 / _DISTANCE)


class LegacySky:
    """
    Draw the sky of the first simulator, tier ``'legacy'``.

    Parameters
    ----------
    device : str or `torch.device`, optional
        Where to draw.
    """

    def __init__(self, *, device='cpu'):
        import torch

        centers = (torch.arange(N_PIXELS, dtype=torch.float32, device=device)
                   - (N_PIXELS - 1) / 2) * PIXEL_SCALE
        self._y, self._x = torch.meshgrid(centers, centers, indexing='ij')
        self._device = device
        self._smoothing = self._band(0.8 / 3.0, 2)
        self._smoothing /= self._smoothing[N_PIXELS // 2].sum()
        self._gas_smoothing = self._band(0.25, 3)
        self._upright = None

    @property
    def coordinates(self):
        """Galactic longitude and latitude of the pixels in degrees."""
        return self._x, self._y

    def _band(self, sigma, radius):
        """Make a matrix that convolves a line of pixels with a Gaussian."""
        import torch

        pixel = torch.arange(N_PIXELS, dtype=torch.float32,
                             device=self._device)
        distance = pixel - pixel[:, None]
        profile = torch.exp(-0.5 * (PIXEL_SCALE * distance / sigma)**2)
        return torch.where(distance.abs() <= radius, profile, 0.0)

    def blur(self, planes):
        """
        Smooth by the point-spread function; light leaves at the edges.

        Parameters
        ----------
        planes : `torch.Tensor`
            Shape (n, c, 64, 64).

        Returns
        -------
        smoothed : `torch.Tensor`
            Same shape.
        """
        return self._smoothing @ planes @ self._smoothing

    def templates(self, x, y, heights=(5.0, 5.0)):
        """
        Compute the expected counts per pixel of the smooth components.

        Parameters
        ----------
        x, y : `torch.Tensor`
            Galactic longitude and latitude in degrees.

        heights : tuple of float or `torch.Tensor`, optional
            Scale heights of inverse Compton emission and gas in degrees;
            tensors have the shape (n, 1, 1).

        Returns
        -------
        templates : `torch.Tensor`
            Four planes before the last two axes: dark matter, inverse
            Compton, gas (without its ripples) and bubbles.
        """
        import torch

        compton_height, gas_height = heights
        radius = torch.hypot(x, y)
        scale, shape = 5.0, 0.5
        dark_matter = 100.0 * torch.exp(
            (shape - 1.0) * torch.log(radius / scale) - radius / scale
        ) / (math.gamma(shape) * scale)
        compton = 25.0 * torch.exp(-y.abs() / compton_height)
        gas = 50.0 * torch.exp(-(x / 20.0)**2 - (y / gas_height)**2)
        north = 10.5 * (torch.cosh((x + 1.0) / 10.5) - 1.0) + 1.0
        south = -8.7 * (torch.cosh((x - 1.7) / 8.7) - 1.0) - 1.0
        bubbles = 3.0 * torch.where(
            y > 0, torch.sigmoid((y - north) / 0.6),
            torch.sigmoid((south - y) / 0.6))
        return torch.stack(torch.broadcast_tensors(
            dark_matter, compton, gas, bubbles), -3)

    def _templates_at(self, angle, settings):
        """Compute the templates of rotated skies."""
        import torch

        heights = {} if settings is None else {'heights': settings.heights}
        if angle.any():
            cos = torch.cos(angle)[:, None, None]
            sin = torch.sin(angle)[:, None, None]
            return self.templates(self._x * cos + self._y * sin,
                                  self._y * cos - self._x * sin, **heights)
        if heights:
            return self.templates(self._x, self._y, **heights)
        if self._upright is None:
            self._upright = self.templates(self._x, self._y)
        return self._upright.expand(len(angle), -1, -1, -1)

    def draw(self, parameters, angle, random, settings=None):
        """
        Draw skies.

        Parameters
        ----------
        parameters : `torch.Tensor`
            Shape (n, 6).

        angle : `torch.Tensor`
            Rotation of each sky in radians, shape (n,).

        random : `~astro_denoise.simulation.random_numbers.RandomNumbers`
            The source of random numbers.

        settings : `~astro_denoise.simulation.nuisances.SkySettings`, \
                optional
            What is different from sky to sky.

        Returns
        -------
        smooth : `torch.Tensor`
            Shape (n, 4, 64, 64): expected counts of dark matter, inverse
            Compton, gas and bubbles.

        flux : `torch.Tensor`
            Shape (n, 2, 64, 64): of the sources of center and disk.

        moments : `torch.Tensor`
            Shape (n, 2, 64, 64): flux of all sources times their x and y
            offset from the middle of the pixel, in pixels.

        light : `torch.Tensor`
            Shape (n, 2, 64, 64): flux of the sources of center and disk,
            smoothed by the point-spread function.
        """
        import torch

        n = len(parameters)
        amplitudes = parameters[:, :4, None, None]
        smooth = self._templates_at(angle, settings) * amplitudes
        noise = random.normal(n, N_PIXELS, N_PIXELS)
        ripples = self._gas_smoothing @ noise @ self._gas_smoothing
        smooth[:, 2] *= torch.exp(ripples / 8.0)
        populations = [
            self._point_sources(parameters[:, column], angle, random,
                                positions, settings)
            for column, positions in ((4, self._center_positions),
                                      (5, self._disk_positions))]
        maps = torch.stack([self._source_maps(n, *sources)
                            for sources in populations], 1)
        return (smooth, maps[:, :, 0], maps[:, :, 1:].sum(1),
                self._source_light(n, populations, maps[:, :, 0], settings))

    def _center_positions(self, n, random):
        """Draw positions: radius ~ Gamma(1.5, 5 degrees), azimuth uniform."""
        import torch

        normal = random.normal(n)
        radius = 5.0 * (0.5 * normal**2 - torch.log1p(-random.uniform(n)))
        azimuth = 2.0 * math.pi * random.uniform(n)
        return radius * torch.cos(azimuth), radius * torch.sin(azimuth)

    def _disk_positions(self, n, random):
        """Draw positions: radius ~ Exp(5 kpc), edge-on, |z| ~ Exp(0.3 kpc)."""
        import torch

        radius = -5.0 * _KPC * torch.log1p(-random.uniform(n))
        x = radius * torch.cos(2.0 * math.pi * random.uniform(n))
        # Both sides of the plane with one number.
        side = 2.0 * random.uniform(n) - 1.0
        y = -0.3 * _KPC * torch.log1p(-side.abs()) * torch.sign(side)
        return x, y

    def _fluxes(self, n, random, slope=1.2):
        """Draw lognormal fluxes: mean 1 of the logarithm, and its sigma."""
        import torch

        return torch.exp(1.0 + slope * random.normal(n))

    def _point_sources(self, numbers, angle, random, positions, settings):
        """
        Draw point sources; those outside the image are drawn anew.

        Returns the image that each is on, its place in pixels from the
        corner of the image, and its flux.
        """
        import torch

        n = len(numbers)
        owner = torch.repeat_interleave(
            torch.arange(n, device=self._device), numbers.long())
        rotated = bool(angle.any())
        missing = None  # all of them
        while True:
            which = owner if missing is None else owner[missing]
            x, y = positions(len(which), random)
            if rotated:
                cos, sin = torch.cos(angle)[which], torch.sin(angle)[which]
                x, y = x * cos - y * sin, x * sin + y * cos
            place = (torch.stack([x, y]) + HALF_WIDTH) / PIXEL_SCALE
            inside = (place >= 0) & (place < N_PIXELS)
            inside = inside[0] & inside[1]
            if missing is None:
                places = place
                missing = torch.nonzero(~inside)[:, 0]
            else:
                places[:, missing[inside]] = place[:, inside]
                missing = missing[~inside]
            if not len(missing):
                break
        if settings is None:
            return owner, places, self._fluxes(len(owner), random)
        flux = self._fluxes(len(owner), random, settings.slope[owner])
        return owner, places, flux * settings.flux[owner]

    def _source_maps(self, n, owner, places, flux):
        """
        Sum the flux of point sources in each pixel and its first moments.

        Returns a tensor of the shape (n, 3, 64, 64).
        """
        import torch

        column, row = places.long()
        offset_x, offset_y = places - places.floor() - 0.5
        pixel = (owner * N_PIXELS + row) * N_PIXELS + column
        # Doubles, so that the order of the sums does not show.
        maps = [torch.zeros(n * N_PIXELS**2, dtype=torch.float64,
                            device=self._device).index_add_(
                                0, pixel, weight.double())
                for weight in (flux, flux * offset_x, flux * offset_y)]
        return torch.stack(maps).reshape(
            3, n, N_PIXELS, N_PIXELS).transpose(0, 1).float()

    def _source_light(self, n, populations, flux, settings):
        """
        Smooth the light of point sources, shape (n, 2, 64, 64).

        Here they are in the middle of their pixels.
        """
        return self.blur(flux)
