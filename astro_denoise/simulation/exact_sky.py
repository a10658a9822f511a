# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The sky of the first simulator, with sources at their true positions.
"""

from .legacy_sky import PIXEL_SCALE, LegacySky
from .point_spread import PointSpread

__all__ = ['ExactSky']

_WIDTH = 0.8 / 3.0  # degrees


class ExactSky(LegacySky):
    """
    Draw a sky whose sources are anywhere within their pixels.

    `LegacySky` moves sources to the middle of their pixels before it
    smooths them, as the first simulator did. Here the point-spread
    function is evaluated at the true position of each.

    Parameters
    ----------
    device : str or `torch.device`, optional
        Where to draw.
    """

    def __init__(self, *, device='cpu'):
        import torch

        super().__init__(device=device)
        self._psf = PointSpread(
            torch.ones(1, 1, dtype=torch.float32, device=device),
            torch.full((1, 1), _WIDTH / PIXEL_SCALE, dtype=torch.float32,
                       device=device))

    def psf(self, settings=None):
        """
        Return the point-spread functions of skies.

        Parameters
        ----------
        settings : `~astro_denoise.simulation.nuisances.SkySettings`, \
                optional
            What is different from sky to sky.

        Returns
        -------
        psf : `~astro_denoise.simulation.point_spread.PointSpread`
            The functions.
        """
        if settings is None:
            return self._psf
        return PointSpread(*settings.point_spread, integrated=True)

    def _source_light(self, n, populations, flux, settings):
        """Smooth the light of point sources, shape (n, 2, 64, 64)."""
        import torch

        psf = self.psf(settings)
        if settings is not None and settings.centered.all():
            return psf.blur(flux)
        light = []
        for owner, places, source_flux in populations:
            if settings is not None:
                places = torch.where(settings.centered[owner],
                                     places.floor() + 0.5, places)
            light.append(psf.light(places, source_flux, torch.bincount(
                owner, minlength=n).tolist()))
        return torch.stack(light, 1)
