# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The stars and galaxies of a simulated survey.
"""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable

from .arguments import check_not_negative, interval

__all__ = ['SourcePopulation']


@dataclass(frozen=True)
class SourcePopulation:
    """
    Number counts, brightness and kinds of sources.

    Parameters
    ----------
    density : float
        Sources per 10^6 pixels.

    magnitude_range : tuple of float
        Brightest and faintest magnitude.

    magnitude_slope : float
        Of the number counts, in dex per magnitude.

    rate_zeropoint : float
        The magnitude of a source of one electron per second.

    star_fraction : float
        Share of stars among the sources.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation.population import SourcePopulation
    >>> population = SourcePopulation(200.0, (18.0, 22.5), 0.3, 23.17, 0.2)
    >>> catalog = population.draw((256, 256), np.random.default_rng(1),
    ...                           pixel_scale=0.263, exposure_time=110.0)
    >>> len(catalog)
    9
    """

    density: float
    magnitude_range: tuple
    magnitude_slope: float
    rate_zeropoint: float
    star_fraction: float

    def __post_init__(self):
        check_not_negative(self, 'density')
        if not 0 <= self.star_fraction <= 1:
            msg = f'star_fraction must lie in 0-1, got {self.star_fraction!r}'
            raise ValueError(msg)
        object.__setattr__(self, 'magnitude_range', interval(
            'magnitude_range', self.magnitude_range, -np.inf))

    def draw(self, shape, rng, *, pixel_scale, exposure_time):
        """
        Draw the sources of a field.

        Parameters
        ----------
        shape : tuple of int
            ``(ny, nx)`` of the field.

        rng : `~numpy.random.Generator`
            The source of random numbers.

        pixel_scale : float
            Arcseconds per pixel.

        exposure_time : float
            Seconds.

        Returns
        -------
        catalog : `~astropy.table.QTable`
            A row per source, see
            `~astro_denoise.simulation.SurveySimulator.catalog`, without
            positions on the sky.
        """
        ny, nx = shape
        n_sources = rng.poisson(self.density * ny * nx / 1e6)
        magnitude = self._magnitudes(rng.random(n_sources))
        rate = 10.0**(-0.4 * (magnitude - self.rate_zeropoint))
        is_star = rng.random(n_sources) < self.star_fraction

        # Half-light radii of field galaxies: 0.55 arcsec at I = 21, larger
        # for the brighter ones, with a scatter of 0.2 dex.
        r50 = 0.55 * 10.0**(-0.08 * (magnitude - 21.0)
                            + 0.2 * rng.standard_normal(n_sources))
        r50 = np.clip(r50, 0.15, 8.0) / pixel_scale
        sersic_n = np.clip(np.exp(0.2 + 0.4 * rng.standard_normal(n_sources)),
                           0.5, 3.0)
        axis_ratio = np.clip(rng.beta(4.0, 2.0, n_sources), 0.15, 1.0)
        theta = rng.uniform(0.0, 180.0, n_sources)
        bulge_fraction = np.where(rng.random(n_sources) < 0.5,
                                  rng.beta(1.0, 2.0, n_sources), 0.0)
        for column in (r50, bulge_fraction):
            column[is_star] = 0.0
        return QTable({
            'ref_id': np.arange(1, n_sources + 1),
            'x_centroid': rng.uniform(-0.5, nx - 0.5, n_sources),
            'y_centroid': rng.uniform(-0.5, ny - 0.5, n_sources),
            'i_auto': magnitude, 'flux': rate * exposure_time * u.electron,
            'r50': r50, 'sersic_n': sersic_n, 'axis_ratio': axis_ratio,
            'theta': theta * u.deg, 'bulge_fraction': bulge_fraction,
            'is_star': is_star})

    def _magnitudes(self, share):
        """Find the magnitudes below which lie given shares of the sources."""
        low, high = self.magnitude_range
        if self.magnitude_slope == 0:
            return low + share * (high - low)
        ends = 10.0**(self.magnitude_slope * np.array([low, high]))
        return (np.log10(ends[0] + share * (ends[1] - ends[0]))
                / self.magnitude_slope)
