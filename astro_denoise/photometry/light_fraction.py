# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Apertures that hold a given fraction of a galaxy's light.
"""

from functools import lru_cache

import numpy as np
from astropy import units as u
from astropy.table import QTable
from scipy.optimize import newton
from scipy.special import j1

from ..simulation.profiles import moffat_transform, sersic_transform
from .calibration import _plain

__all__ = ['light_fraction_apertures']

# Logarithms of the wavenumbers that the transform of the seeing is kept at,
# for a full width at half maximum of 1.
GRID = np.linspace(-10, 7, 2000)
N_ANGLES = 16


@lru_cache
def _quadrature():
    """
    Nodes and weights of the integral over ``J1(p)``, up to ``p = 60``.

    The taper smooths the rim of the aperture by a sixtieth of its size,
    which does not change the light in it but ends the oscillations.
    """
    nodes, weights = [], []
    points, shares = np.polynomial.legendre.leggauss(24)
    for low, high in ((0, 0.5), (0.5, 2), (2, 6), (6, 14), (14, 30),
                      (30, 60)):
        nodes.append(low + (high - low) * (points + 1) / 2)
        weights.append(shares * (high - low) / 2)
    nodes = np.concatenate(nodes)
    weights = np.concatenate(weights) * j1(nodes)
    weights *= np.exp(-(nodes / 40)**4)
    angles = (np.arange(N_ANGLES) + 0.5) * np.pi / 2 / N_ANGLES
    return nodes, weights, np.cos(angles), np.sin(angles)


@lru_cache
def _seeing_transform(beta):
    """
    Fourier transform of a Moffat profile on the grid.
    """
    return moffat_transform(np.exp(GRID), 1.0, beta)


class _ConvolvedProfile:
    """
    A Sérsic profile convolved with a Moffat point-spread function.

    Parameters
    ----------
    r50, sersic_n, q : float
        The galaxy: circularised half-light radius, index, axis ratio.

    psf_fwhm, psf_beta : float
        The point-spread function.
    """

    def __init__(self, r50, sersic_n, q, psf_fwhm, psf_beta):
        self.r50, self.sersic_n = r50, sersic_n
        self.root = np.sqrt(q)
        self.psf_fwhm = psf_fwhm
        self.seeing = _seeing_transform(psf_beta)
        width = psf_fwhm / 2
        self.size = np.hypot(r50, width)
        self.stretch = 0.25 * np.log((r50**2 / q + width**2)
                                     / (r50**2 * q + width**2))

    def enclosed(self, log_size, stretch):
        """
        The light in the ellipse of semi-axes ``exp(log_size ± stretch)``.
        """
        nodes, weights, cosine, sine = _quadrature()
        kx = nodes[:, np.newaxis] * (cosine * np.exp(-log_size - stretch))
        ky = nodes[:, np.newaxis] * (sine * np.exp(-log_size + stretch))
        product = sersic_transform(
            np.hypot(kx / self.root, ky * self.root), self.r50, self.sersic_n)
        log_k = np.log(np.hypot(kx, ky) * self.psf_fwhm)
        product *= np.interp(log_k, GRID, self.seeing, right=0.0)
        return weights @ product.mean(axis=1)

    def solve(self, fraction):
        """
        Semi-axes of the smallest ellipse with a fraction of the light.
        """
        stretch = self.stretch
        log_size = np.log(self.size)
        for step in (0.2, 0.05):
            log_size = self._log_size(fraction, stretch, log_size, 1e-3)
            low, middle, high = (self.enclosed(log_size, stretch + shift)
                                 for shift in (-step, 0, step))
            curvature = low - 2 * middle + high
            if curvature < 0:
                shift = 0.5 * step * (low - high) / curvature
                stretch = max(0.0, stretch + np.clip(shift, -step, step))
        log_size = self._log_size(fraction, stretch, log_size, 1e-7)
        return np.exp(log_size + stretch), np.exp(log_size - stretch)

    def _log_size(self, fraction, stretch, start, tolerance):
        # in these variables the growth of a Gaussian is a straight line
        def excess(log_size):
            light = np.clip(self.enclosed(log_size, stretch), 1e-9, 1 - 1e-9)
            return np.log(np.log(1 - light) / np.log(1 - fraction))

        step = excess(start) / 1.6
        if abs(step) < tolerance:  # the secant of one point has no slope
            return start - step
        return newton(excess, start, x1=start - step, tol=tolerance)


def light_fraction_apertures(r50, sersic_n, q, theta, psf_fwhm,
                             fraction=0.625, *, psf_beta=3.88):
    r"""
    Elliptical apertures that hold a fraction of the observed light.

    The light is that of a Sérsic galaxy convolved with a Moffat
    point-spread function, integrated over the ellipse in Fourier space.
    Of all ellipses with that fraction the smallest is taken, which is the
    one nearest to an isophote.

    Parameters
    ----------
    r50 : array_like or `~astropy.units.Quantity`
        Half-light radius of the galaxy before convolution, circularised:
        the geometric mean of its semi-axes. 0 is a star.

    sersic_n : array_like
        Sérsic index, 0.2 to 10.

    q : array_like
        Axis ratio of the galaxy, minor over major.

    theta : array_like or `~astropy.units.Quantity`
        Angle of the major axis from the x axis, in degrees.

    psf_fwhm : array_like or `~astropy.units.Quantity`
        Full width at half maximum of the seeing, in the unit of ``r50``.

    fraction : float, optional
        The fraction of the light, in the PAU survey 0.625.

    psf_beta : float, optional
        Exponent of the Moffat profile. With the default the aperture of a
        star has the radius 0.72 FWHM.

    Returns
    -------
    apertures : `~astropy.table.QTable`
        ``aperture_a``, ``aperture_b`` (unit of ``r50``) and
        ``aperture_theta`` (degrees), a row per galaxy: columns of a
        catalog for `annulus_photometry`.

    Raises
    ------
    ValueError
        If a number is out of its range (named with its row) or the units
        of ``r50`` and ``psf_fwhm`` differ.

    Notes
    -----
    The fraction in an ellipse of semi-axes A and B is
    :math:`\int_0^\infty J_1(p)\,\langle S\,M\rangle_\varphi\,{\rm d}p`
    with S and M the Fourier transforms of galaxy and seeing at the
    wavenumber :math:`(p\cos\varphi/A, p\sin\varphi/B)`, since the
    transform of an ellipse is a Bessel function.

    Examples
    --------
    >>> from astro_denoise.photometry import light_fraction_apertures
    >>> table = light_fraction_apertures(r50=[0, 2.5], sersic_n=1, q=0.6,
    ...                                  theta=30, psf_fwhm=4.0)
    >>> print(f'{table["aperture_a"][0] / 4.0:.2f}')
    0.72
    >>> print(f'{table["aperture_a"][1]:.2f} {table["aperture_b"][1]:.2f}')
    5.19 4.02
    """
    r50, psf_fwhm = _plain(r50, 'r50'), _plain(psf_fwhm, 'psf_fwhm')
    unit = getattr(r50, 'unit', None)
    if (unit is None) != (getattr(psf_fwhm, 'unit', None) is None) or (
            unit is not None and not unit.is_equivalent(psf_fwhm.unit)):
        msg = ('psf_fwhm must have the unit of r50, got '
               f'{getattr(psf_fwhm, "unit", None)} and {unit}')
        raise ValueError(msg)
    if unit is not None:
        r50, psf_fwhm = r50.value, psf_fwhm.to_value(unit)
    theta = u.Quantity(_plain(theta, 'theta'), u.deg)
    numbers = np.broadcast_arrays(
        np.atleast_1d(r50), _plain(sersic_n, 'sersic_n'), _plain(q, 'q'),
        theta.value, psf_fwhm)
    limits = {'r50': (0, np.inf), 'sersic_n': (0.2, 10), 'q': (0.02, 1),
              'theta': (-np.inf, np.inf), 'psf_fwhm': (1e-6, np.inf)}
    for (name, (low, high)), values in zip(limits.items(), numbers,
                                           strict=True):
        good = np.isfinite(values) & (values >= low) & (values <= high)
        if not np.all(good):
            row = np.flatnonzero(~good)[0]
            msg = (f'{name} must lie in {low:g} to {high:g}, got '
                   f'{values[row]} in row {row}')
            raise ValueError(msg)
    if not 0 < fraction < 1:
        msg = f'fraction must lie between 0 and 1, got {fraction!r}'
        raise ValueError(msg)
    if not 1 < psf_beta < 50:
        msg = f'psf_beta must lie between 1 and 50, got {psf_beta!r}'
        raise ValueError(msg)

    axes = np.empty((len(numbers[0]), 2))
    for row, (size, index, ratio, _, fwhm) in enumerate(
            zip(*numbers, strict=True)):
        if size < 1e-3 * fwhm:
            core = fwhm / (2 * np.sqrt(2**(1 / psf_beta) - 1))
            axes[row] = core * np.sqrt(
                (1 - fraction)**(-1 / (psf_beta - 1)) - 1)
        else:
            axes[row] = _ConvolvedProfile(size, index, ratio, fwhm,
                                          psf_beta).solve(fraction)
    table = QTable()
    for name, values in zip(('aperture_a', 'aperture_b'), axes.T,
                            strict=True):
        table[name] = values if unit is None else values * unit
    table['aperture_theta'] = numbers[3] * u.deg
    return table
