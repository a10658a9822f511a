# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A sky around the Galactic Center from physical profiles.
"""

import math
from functools import lru_cache

import numpy as np

from .exact_sky import ExactSky
from .legacy_sky import HALF_WIDTH, N_PIXELS, PIXEL_SCALE
from .point_spread import PointSpread, king_mixture

__all__ = ['RealisticSky', 'nfw_squared_profile']

# Distance to the Galactic Center, scale radius of the halo, and the radius
# within which its density is constant, in kpc.
_DISTANCE = 8.2
_HALO_SCALE = 20.0
_HALO_CORE = 1e-3

# Scale length and scale height of the disk in kpc.
_DISK_LENGTH, _DISK_HEIGHT = 5.0, 0.3

# Table of the disk: degrees in a cell, and cells from the center to the
# corner of the image.
_CELL = 0.1
_N_CELLS = 213

# Counts of sources dN/dF: exponents below, between and above the breaks,
# and the ratio of the breaks. Fluxes are scaled to the mean flux of the
# other tiers, which puts the breaks at 4.5 and 45 counts in an image.
_EXPONENTS = (0.0, 1.3, 10.0)
_BREAK_RATIO = 10.0
_BOUNDS = ((0.0, 1.0), (1.0, _BREAK_RATIO), (_BREAK_RATIO, math.inf))
_MEAN_FLUX = math.exp(1.0 + 0.5 * 1.2**2)

# Point-spread function of Fermi-LAT at 2 GeV: two King functions.
_CORE_SHARE = 0.748988
_CORE, _TAIL = (0.428654, 7.82363), (0.715963, 3.61884)
_PSF_SCALE = math.degrees(0.00456544)


def nfw_squared_profile(angle, gamma):
    """
    Compute the emission of annihilating dark matter on a line of sight.

    The square of the density of a generalized NFW halo,
    ``rho ~ (r / r_s)**-gamma * (1 + r / r_s)**(gamma - 3)``, with
    ``r_s`` = 20 kpc and the Sun at 8.2 kpc.

    Parameters
    ----------
    angle : `~numpy.ndarray`
        Distance to the Galactic Center in degrees, larger than 0.

    gamma : float
        Inner slope.

    Returns
    -------
    emission : `~numpy.ndarray`
        In arbitrary units.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation.realistic_sky import (
    ...     nfw_squared_profile)
    >>> inner, outer = nfw_squared_profile(np.array([0.5, 1.0]), 1.2)
    >>> print(f'{np.log2(inner / outer):.2f}')  # about 2 gamma - 1
    1.44
    """
    angle = np.radians(np.asarray(angle, float))[..., np.newaxis]
    # Along the line, distance from the point nearest to the center is
    # b * sinh(u): steps are fine where the density is high.
    b = np.hypot(_DISTANCE * np.sin(angle), _HALO_CORE)
    first = -np.arcsinh(_DISTANCE * np.cos(angle) / b)
    last = np.arcsinh(10 * _HALO_SCALE / b)
    u = first + (last - first) * np.linspace(0.0, 1.0, 400)
    r = b * np.cosh(u) / _HALO_SCALE
    density = r**-gamma * (1.0 + r)**(gamma - 3.0)
    return np.trapezoid(density**2 * r, u, axis=-1)


@lru_cache
def _halo(gamma):
    """
    Compute the emission of the halo in each pixel and within radii.

    Returns the mean emission of the pixels, radii in degrees, and the
    share of the emission within each radius.
    """
    radius = np.concatenate([[0.0], np.geomspace(1e-4, 1.5 * HALF_WIDTH,
                                                 2000)])
    profile = nfw_squared_profile(np.maximum(radius, 1e-5), gamma)

    def mean(first, last, steps):
        """Mean emission of pixels in a quadrant, by finer pixels."""
        line = first + (np.arange((last - first) * steps) + 0.5) / steps
        distance = PIXEL_SCALE * np.hypot(line, line[:, np.newaxis])
        fine = np.interp(distance, radius, profile)
        return fine.reshape(last - first, steps, last - first, steps).mean(
            (1, 3))

    quadrant = mean(0, N_PIXELS // 2, 16)
    quadrant[0, 0] = mean(0, 1, 512)[0, 0]  # the cusp
    rows = np.concatenate([quadrant[::-1], quadrant])
    share = np.cumsum(np.concatenate(
        [[0.0], np.diff(radius**2) * (profile[1:] + profile[:-1])]))
    return np.hstack([rows[:, ::-1], rows]), radius, share / share[-1]


@lru_cache
def _disk():
    """
    Compute the shares of the disk's sources in the cells of a quadrant.

    Density ``exp(-R / 5 kpc) * exp(-|z| / 0.3 kpc)`` along the lines of
    sight; rows are in latitude. For drawing: returns the share of each
    cell that is its own, and the cell that has the rest.
    """
    centers = np.radians(_CELL * (np.arange(_N_CELLS) + 0.5))
    distance = np.linspace(0.0, 50.0, 801)
    rows = []
    for latitude in centers:
        flat = distance * np.cos(latitude)
        radius = np.sqrt(flat**2 + _DISTANCE**2 - 2.0 * _DISTANCE * flat
                         * np.cos(centers)[:, np.newaxis])
        density = np.exp(-radius / _DISK_LENGTH
                         - distance * np.sin(latitude) / _DISK_HEIGHT)
        rows.append(np.trapezoid(density, distance, axis=1))
    shares = np.concatenate(rows)
    return _alias_table(shares / shares.sum())


def _alias_table(shares):
    """
    Make the table of Walker's method (1977, ACM Trans. Math. Softw. 3, 253).

    A cell is drawn with equal chances; it is kept with its own share,
    else replaced by another. That is quicker than to search in
    cumulated shares.
    """
    own = shares * len(shares)
    other = np.arange(len(shares))
    poor, rich = (list(np.nonzero(cells)[0]) for cells in (own < 1, own >= 1))
    while poor and rich:
        cell, giver = poor.pop(), rich[-1]
        other[cell] = giver
        own[giver] -= 1.0 - own[cell]
        if own[giver] < 1.0:
            poor.append(rich.pop())
    return own, other


def _psf():
    """
    Write the point-spread function as Gaussians: shares, widths in pixels.
    """
    shares, widths = [], []
    for share, king, n_terms in ((_CORE_SHARE, _CORE, 2),
                                 (1.0 - _CORE_SHARE, _TAIL, 3)):
        parts = king_mixture(*king, n_terms)
        shares.extend(share * parts[0])
        widths.extend(parts[1] * _PSF_SCALE / PIXEL_SCALE)
    return np.array(shares), np.array(widths)


@lru_cache
def _source_counts():
    """
    Integrate the pieces of the broken power law of fluxes.

    Returns the number of sources in each piece, and the flux of the
    lower break.
    """
    # Below 1, up to the upper break and above it, continuous at both.
    heights = np.array([1.0, 1.0, _BREAK_RATIO**(_EXPONENTS[2]
                                                 - _EXPONENTS[1])])
    low, high = np.array(_BOUNDS).T

    def integrals(power):
        order = power + 1.0 - np.array(_EXPONENTS)
        return heights * (high**order - low**order) / order

    numbers = integrals(0.0)
    shares = numbers / numbers.sum()
    return shares, _MEAN_FLUX * numbers.sum() / integrals(1.0).sum()


class RealisticSky(ExactSky):
    """
    Draw a sky with dark matter, sources and blur as they are observed.

    Dark matter is a generalized NFW profile squared, along the line of
    sight; the sources of the center follow it. Those of the disk follow
    a double exponential disk along the line of sight. Source counts are
    a doubly broken power law (arXiv:2107.09070, 2110.06931) without
    the bright sources that catalogs hold, and the point-spread
    function is that of Fermi-LAT at 2 GeV. The other components are those
    of `LegacySky`, and levels are the same on average.

    Parameters
    ----------
    gamma : float, optional
        Inner slope of the halo, 0.5 to 1.5.

    device : str or `torch.device`, optional
        Where to draw.
    """

    def __init__(self, *, gamma=1.2, device='cpu'):
        import torch

        if not 0.5 <= gamma <= 1.5:
            msg = f'gamma must be from 0.5 to 1.5, got {gamma!r}'
            raise ValueError(msg)
        super().__init__(device=device)
        halo, radius, share = _halo(float(gamma))

        def tensor(values, dtype=torch.float32):
            return torch.tensor(values, dtype=dtype, device=device)

        self._halo = tensor(halo)
        self._halo *= super().templates(self._x, self._y)[0].sum() / halo.sum()
        self._radius = tensor(radius)
        self._share = tensor(share)
        own, other = _disk()
        self._own, self._other = tensor(own), tensor(other, torch.int64)
        self._psf = PointSpread(*(tensor(part)[None] for part in _psf()),
                                integrated=True)

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
        widths = self._psf.widths * settings.stretch[:, None]
        return PointSpread(self._psf.shares.expand_as(widths), widths,
                           integrated=True)

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
        return self._psf.blur(planes)

    def templates(self, x, y, heights=(5.0, 5.0)):
        """
        Expected counts per pixel of the smooth components.

        Parameters
        ----------
        x, y : `torch.Tensor`
            Galactic longitude and latitude in degrees.

        heights : tuple of float or `torch.Tensor`, optional
            Scale heights of inverse Compton emission and gas in degrees.

        Returns
        -------
        templates : `torch.Tensor`
            Four planes before the last two axes: dark matter (the mean
            over each pixel, whatever the rotation), inverse Compton, gas
            (without its ripples) and bubbles.
        """
        templates = super().templates(x, y, heights)
        templates[..., 0, :, :] = self._halo
        return templates

    def _center_positions(self, n, random):
        """Draw positions that follow the dark matter."""
        import torch

        shares = random.uniform(n)
        upper = torch.searchsorted(self._share, shares).clamp_(
            1, len(self._share) - 1)
        low, high = self._share[upper - 1], self._share[upper]
        radius = torch.lerp(self._radius[upper - 1], self._radius[upper],
                            (shares - low) / (high - low).clamp_min(1e-12))
        azimuth = 2.0 * math.pi * random.uniform(n)
        return radius * torch.cos(azimuth), radius * torch.sin(azimuth)

    def _disk_positions(self, n, random):
        """Draw a cell of the table, and a place in it."""
        import torch

        cell = (random.uniform(n) * _N_CELLS**2).long()
        cell = torch.where(random.uniform(n) < self._own[cell], cell,
                           self._other[cell])
        cell = torch.stack([cell % _N_CELLS, cell // _N_CELLS])
        place = 2.0 * random.uniform(2, n) - 1.0
        # The sign is that of the quadrant.
        x, y = _CELL * (cell + place.abs()) * torch.sign(place)
        return x, y

    def _fluxes(self, n, random, slope=None):
        """Draw fluxes from a doubly broken power law, whatever the slope."""
        import torch

        shares, scale = _source_counts()
        share, flux, first = random.uniform(n), 0.0, 0.0
        for (low, high), exponent, width in zip(_BOUNDS, _EXPONENTS, shares,
                                                strict=True):
            order = 1.0 - exponent
            within = ((share - first) / width).clamp(0.0, 1.0 - 1e-6)
            piece = (low**order + (high**order - low**order) * within
                     )**(1.0 / order)
            flux = torch.where(share >= first, piece, flux)
            first += width
        return scale * flux
