# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise-free images of crowded fields: all sources at once, through one
elliptical point-spread function.

`~astro_denoise.simulation.render_sources` draws each source on a stamp of
its own; here the sources are put on a finer grid, and the whole image is
convolved, which takes the same time for a hundred sources and for tens of
thousands.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.special import gammaincinv

from .profiles import moffat_transform, wavenumbers

__all__ = ['EllipticalMoffat', 'render_field']

# Widths over which the wings of stars run before they meet those from the
# other side of the image.
_MARGIN_FWHM = 5.0

# Points of equal light that a galaxy is made of.
_N_POINTS = 256
_GOLDEN_ANGLE = np.pi * (3.0 - np.sqrt(5.0))


@dataclass(frozen=True)
class EllipticalMoffat:
    """
    An elliptical Moffat point-spread function.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels, the geometric mean of both
        axes.

    beta : float
        Exponent, above 1.

    axis_ratio : float, optional
        Minor over major axis.

    theta : float, optional
        Angle of the major axis from the x axis, counter-clockwise, in
        radians.

    Examples
    --------
    >>> from astro_denoise.simulation.crowded_fields import EllipticalMoffat
    >>> EllipticalMoffat(3.0, 3.5).axis_ratio
    1.0
    """

    fwhm: float
    beta: float
    axis_ratio: float = 1.0
    theta: float = 0.0

    def transform(self, k_y, k_x):
        """
        Compute the Fourier transform, for unit flux.

        Parameters
        ----------
        k_y, k_x : `~numpy.ndarray`
            Radians per pixel, broadcast against each other.

        Returns
        -------
        transform : `~numpy.ndarray`
            Real; the image is centered on its origin.
        """
        cos, sin = np.cos(self.theta), np.sin(self.theta)
        major = (k_x * cos + k_y * sin) / np.sqrt(self.axis_ratio)
        minor = (k_y * cos - k_x * sin) * np.sqrt(self.axis_ratio)
        wavenumber = np.hypot(major, minor)
        # The Bessel function takes long: it is smooth, and one line of it
        # serves all directions.
        line = np.linspace(0.0, wavenumber.max(), 2048)
        return np.interp(wavenumber, line,
                         moffat_transform(line, self.fwhm, self.beta))


def render_field(shape, sources, psf, *, dtype=np.float32):
    """
    Draw stars and small galaxies without noise, all at once.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.

    sources : mapping of `~numpy.ndarray`
        Columns as for `~astro_denoise.simulation.render_sources`. Each
        galaxy is made of 256 points of equal light, which
        the point-spread function makes one: it must not be much larger
        than that.

    psf : `EllipticalMoffat`
        The point-spread function.

    dtype : dtype, optional
        Type of the image.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        Expected flux per pixel, in the unit of ``flux``.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation.crowded_fields import (
    ...     EllipticalMoffat, render_field)
    >>> star = {'x': np.array([20.3]), 'y': np.array([15.0]),
    ...         'flux': np.array([1000.0])}
    >>> image = render_field((41, 41), star, EllipticalMoffat(3.0, 3.5, 0.8))
    >>> print(round(float(image.sum()) / 1000.0, 2))
    1.0
    """
    oversampling = 4 if psf.fwhm < 3.0 else 2
    margin = int(np.ceil(_MARGIN_FWHM * psf.fwhm))
    size = fft.next_fast_len(max(shape) + 2 * margin, real=True)
    x, y, flux = _points(sources)
    grid = _gathered((x + margin) * oversampling, (y + margin) * oversampling,
                     flux, size * oversampling)
    k_y, k_x = wavenumbers(size * oversampling, oversampling)
    transform = psf.transform(k_y, k_x)
    for k in (k_y, k_x):
        # The integral over a pixel, and what sharing the light among the
        # points of the grid did.
        transform *= np.sinc(k / (2.0 * np.pi)) / np.sinc(
            k / (2.0 * np.pi * oversampling))**2
    spectrum = fft.rfft2(grid)
    spectrum *= transform.astype(np.float32)
    image = fft.irfft2(spectrum, s=grid.shape)[::oversampling, ::oversampling]
    image = image[margin:margin + shape[0], margin:margin + shape[1]]
    return (image * oversampling**2).astype(dtype)


def _points(sources):
    """Replace galaxies by points of equal light along a spiral."""
    x, y, flux = (np.asarray(sources[name], float)
                  for name in ('x', 'y', 'flux'))
    r50 = np.asarray(sources.get('r50', np.zeros(len(x))), float)
    galaxy = r50 > 0
    if not galaxy.any():
        return x, y, flux
    sersic_n, axis_ratio, theta = (
        np.asarray(sources[name], float)[galaxy, None]
        for name in ('sersic_n', 'axis_ratio', 'theta'))
    number = np.arange(_N_POINTS)
    share = (number + 0.5) / _N_POINTS
    radius = r50[galaxy, None] * (
        gammaincinv(2.0 * sersic_n, share)
        / gammaincinv(2.0 * sersic_n, 0.5))**sersic_n
    angle = number * _GOLDEN_ANGLE
    major = radius * np.cos(angle) / np.sqrt(axis_ratio)
    minor = radius * np.sin(angle) * np.sqrt(axis_ratio)
    cos, sin = np.cos(theta), np.sin(theta)
    stars = ~galaxy
    return (
        np.concatenate([x[stars], (x[galaxy, None] + major * cos
                                   - minor * sin).ravel()]),
        np.concatenate([y[stars], (y[galaxy, None] + major * sin
                                   + minor * cos).ravel()]),
        np.concatenate([flux[stars],
                        np.repeat(flux[galaxy] / _N_POINTS, _N_POINTS)]))


def _gathered(x, y, flux, size):
    """Share the light of points among the four around them on a grid."""
    inside = (x >= 0) & (x < size - 1) & (y >= 0) & (y < size - 1)
    x, y, flux = x[inside], y[inside], flux[inside]
    column, row = x.astype(int), y.astype(int)
    along_x, along_y = x - column, y - row
    first = row * size + column
    total = np.zeros(size * size)
    for step, weight in ((0, (1 - along_y) * (1 - along_x)),
                         (1, (1 - along_y) * along_x),
                         (size, along_y * (1 - along_x)),
                         (size + 1, along_y * along_x)):
        total += np.bincount(first + step, weight * flux, size * size)
    return total.reshape(size, size).astype(np.float32)
