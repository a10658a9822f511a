# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise-free images of stars and galaxies: Moffat point-spread functions
and Sérsic profiles. Their Fourier transforms are multiplied, with that
of a pixel, so that neither a sharp core nor a faint wing is sampled
badly.
"""

from functools import lru_cache

import numpy as np
from scipy import fft
from scipy.special import gamma, gammaincinv, kv

__all__ = ['moffat_image', 'render_sources', 'sersic_b', 'sersic_profile']

# Points per full width at half maximum: aliasing of a Moffat sampled
# this finely is below 1e-4 of its peak.
POINTS_PER_FWHM = 4.0

# Stars are drawn out to at least so many full widths at half maximum.
_LEAST_FWHM = 6.0


def sersic_b(sersic_n):
    """
    Compute b_n, with which r50 encloses half of a Sérsic profile's light.

    Parameters
    ----------
    sersic_n : float or `~numpy.ndarray`
        The Sérsic index, larger than 0.

    Returns
    -------
    b : float or `~numpy.ndarray`
        The solution of ``gammainc(2 n, b) = 1 / 2``; see Graham &
        Driver (2005, PASA 22, 118), equation 1.

    Examples
    --------
    >>> from astro_denoise.simulation import sersic_b
    >>> print(round(float(sersic_b(1.0)), 4))
    1.6783
    """
    return gammaincinv(2.0 * np.asarray(sersic_n, dtype=float), 0.5)


def sersic_profile(radius, r50, sersic_n):
    """
    Compute the surface brightness of a circular Sérsic profile of unit flux.

    Parameters
    ----------
    radius : float or `~numpy.ndarray`
        Distance from the center, in pixels.

    r50 : float
        Half-light radius, in pixels.

    sersic_n : float
        Sérsic index.

    Returns
    -------
    brightness : `~numpy.ndarray`
        Flux per square pixel (Graham & Driver 2005, equations 1 and 4).

    Examples
    --------
    >>> from astro_denoise.simulation import sersic_profile
    >>> print(round(float(sersic_profile(0.0, 2.0, 1.0)), 4))
    0.1121
    """
    b = sersic_b(sersic_n)
    total = (2.0 * np.pi * sersic_n * r50**2 * b**(-2.0 * sersic_n)
             * gamma(2.0 * sersic_n))
    scaled = (np.asarray(radius, dtype=float) / r50)**(1.0 / sersic_n)
    return np.exp(-b * scaled) / total


def moffat_transform(wavenumber, fwhm, beta):
    """
    Compute the Fourier transform of a Moffat profile of unit flux.

    Parameters
    ----------
    wavenumber : float or `~numpy.ndarray`
        Radians per pixel.

    fwhm, beta : float
        Full width at half maximum in pixels, and the exponent.

    Returns
    -------
    transform : `~numpy.ndarray`
        With z the wave number times the scale radius and m = beta - 1:
        ``2 (z / 2)^m K_m(z) / Gamma(m)``, K the modified Bessel function
        (NIST DLMF, equation 10.22.46).

    Examples
    --------
    >>> from astro_denoise.simulation.profiles import moffat_transform
    >>> print(round(float(moffat_transform(0.0, 3.0, 3.5)), 4))
    1.0
    """
    scale = fwhm / (2.0 * np.sqrt(2.0**(1.0 / beta) - 1.0))
    z = np.maximum(np.asarray(wavenumber, dtype=float) * scale, 1e-8)
    order = beta - 1.0
    return 2.0 * (z / 2.0)**order * kv(order, z) / gamma(order)


@lru_cache(maxsize=256)
def _sersic_hankel(sersic_n):
    """
    Compute the Hankel transform of a Sérsic profile of unit flux and r50, on a
    uniform grid of the logarithm of the wave number.
    """
    n_points, step = 1536, 0.02
    radius = np.exp(step * (np.arange(n_points) - (n_points - 1) / 2.0))
    brightness = sersic_profile(radius, 1.0, sersic_n)
    offset = fft.fhtoffset(step, mu=0.0)
    wavenumber = np.exp(offset) / radius[::-1]
    transform = fft.fht(2.0 * np.pi * radius * brightness, step, mu=0.0,
                        offset=offset) / wavenumber
    # At the ends of the grid the transform feels its periodic images.
    transform[wavenumber < 1e-3] = 1.0
    return np.log(wavenumber), transform


def sersic_transform(wavenumber, r50, sersic_n):
    """
    Compute the Fourier transform of a circular Sérsic profile of unit flux.

    Parameters
    ----------
    wavenumber : float or `~numpy.ndarray`
        Radians per pixel.

    r50 : float
        Half-light radius, in pixels.

    sersic_n : float
        Sérsic index.

    Returns
    -------
    transform : `~numpy.ndarray`
        The Hankel transform of `sersic_profile`, exact to 1e-4.

    Examples
    --------
    >>> from astro_denoise.simulation.profiles import sersic_transform
    >>> print(round(float(sersic_transform(0.5, 2.0, 1.0)), 3))
    0.634
    """
    log_wavenumber, transform = _sersic_hankel(float(sersic_n))
    scaled = np.maximum(np.asarray(wavenumber, dtype=float) * r50, 1e-6)
    return np.interp(np.log(scaled), log_wavenumber, transform, left=1.0,
                     right=0.0)


def wavenumbers(size, oversampling):
    """
    Compute radians per pixel in y (a column) and x, ordered as by rfft2.
    """
    return (2.0 * np.pi * fft.fftfreq(size, 1.0 / oversampling)[:, None],
            2.0 * np.pi * fft.rfftfreq(size, 1.0 / oversampling))


@lru_cache(maxsize=64)
def psf_transform(size, oversampling, fwhm, beta):
    """
    Compute the Fourier transform of the PSF integrated over the pixels.
    """
    k_y, k_x = wavenumbers(size, oversampling)
    # It is the same for either sign and order of the wave numbers, and the
    # Bessel function takes long.
    rows, columns = np.tril_indices(len(k_x))
    quadrant = np.empty((len(k_x), len(k_x)))
    quadrant[rows, columns] = quadrant[columns, rows] = moffat_transform(
        np.hypot(k_x[rows], k_x[columns]), fwhm, beta)
    transform = quadrant[np.minimum(np.arange(size),
                                    size - np.arange(size))]
    # The integral over a pixel is a convolution with a box of one pixel.
    pixel = np.sinc(k_y / (2.0 * np.pi)) * np.sinc(k_x / (2.0 * np.pi))
    return (transform * pixel).astype(np.float32)


def galaxy_transform(size, oversampling, r50, sersic_n, axis_ratio, theta):
    """
    Compute the Fourier transform of an elliptical Sérsic galaxy of unit flux.
    """
    k_y, k_x = wavenumbers(size, oversampling)
    cos, sin = np.cos(theta), np.sin(theta)
    # Squared wave number of the round galaxy; since r50 is that of the
    # circularized profile, the axes change by the root of their ratio.
    squared = ((cos**2 / axis_ratio + sin**2 * axis_ratio) * k_x**2
               + (sin**2 / axis_ratio + cos**2 * axis_ratio) * k_y**2
               + 2.0 * (1.0 / axis_ratio - axis_ratio) * cos * sin
               * k_x * k_y)
    return sersic_transform(np.sqrt(np.maximum(squared, 0.0)), r50,
                            sersic_n).astype(np.float32)


def _stamp(radius, x_offset, y_offset, psf_fwhm, psf_beta, galaxy=None):
    """
    Draw a source of unit flux on a stamp around its central pixel.

    Parameters
    ----------
    radius : float
        The stamp reaches at least so far, in pixels.

    x_offset, y_offset : float
        Position relative to the center of the central pixel.

    psf_fwhm, psf_beta : float
        The Moffat point-spread function.

    galaxy : tuple of float, optional
        ``(r50, sersic_n, axis_ratio, theta)``; `None` for a star.

    Returns
    -------
    stamp : 2D `~numpy.ndarray`
        A square of pixels.

    half : int
        Row and column of the central pixel.
    """
    oversampling = max(1, int(np.ceil(POINTS_PER_FWHM / psf_fwhm)))
    size = stamp_size(radius, oversampling)
    half = size // (2 * oversampling)
    transform = psf_transform(size, oversampling, float(psf_fwhm),
                               float(psf_beta))
    if galaxy is not None:
        transform = transform * galaxy_transform(size, oversampling, *galaxy)
    k_y, k_x = wavenumbers(size, oversampling)
    shift_y = np.exp(-1j * k_y * (y_offset + half)).astype(np.complex64)
    shift_x = np.exp(-1j * k_x * (x_offset + half)).astype(np.complex64)
    stamp = fft.irfft2(transform * shift_y * shift_x, s=(size, size))
    return stamp[::oversampling, ::oversampling] * oversampling**2, half


def _check_psf(fwhm, beta):
    if not fwhm > 0:
        msg = f'the FWHM of the PSF must be positive, got {fwhm!r}'
        raise ValueError(msg)
    if not beta > 1:
        msg = f'the exponent of the PSF must be above 1, got {beta!r}'
        raise ValueError(msg)


def stamp_size(radius, oversampling):
    """Choose a fast FFT length, of few, so that transforms are shared."""
    pixels = 2 * int(np.ceil(radius)) + 2
    step = 8 if pixels <= 64 else 32
    return fft.next_fast_len(-(-pixels // step) * step) * oversampling


def moffat_image(size, fwhm, beta, *, x_offset=0.0, y_offset=0.0):
    """
    Draw a Moffat point-spread function of unit flux, integrated over pixels.

    Parameters
    ----------
    size : int
        Pixels per side; odd sizes are centered on a pixel.

    fwhm, beta : float
        Full width at half maximum in pixels, and the exponent.

    x_offset, y_offset : float, optional
        Position of the center relative to the central pixel, in pixels.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        Shape ``(size, size)``. The light outside the stamp is missing
        from the sum.

    Examples
    --------
    >>> from astro_denoise.simulation import moffat_image
    >>> image = moffat_image(41, 3.0, 3.5)
    >>> print(image.shape, round(float(image.sum()), 2))
    (41, 41) 1.0
    """
    _check_psf(fwhm, beta)
    # Twice as wide as asked for: an FFT folds what is outside into it.
    stamp, half = _stamp(max(size, _LEAST_FWHM * fwhm), x_offset, y_offset,
                         fwhm, beta)
    low = half - size // 2
    return stamp[low:low + size, low:low + size].copy()


def render_sources(shape, sources, psf_fwhm, psf_beta, *, dtype=np.float32):
    """
    Draw stars and galaxies without noise.

    Every source is convolved with the point-spread function and
    integrated over the pixels in Fourier space, on a stamp of its own.
    The little light beyond the stamp is folded into it, so that fluxes
    are complete; what falls outside the image is cut off.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.

    sources : mapping of `~numpy.ndarray` (or a table)
        Columns ``x``, ``y`` (pixels, the center of the first pixel is
        0), ``flux`` (total), and for galaxies ``r50`` (pixels, of the
        circularized profile; 0 for a star), ``sersic_n``,
        ``axis_ratio`` and ``theta`` (radians, counter-clockwise from
        the x axis). Without ``r50`` all are stars.

    psf_fwhm, psf_beta : float
        The Moffat point-spread function: full width at half maximum in
        pixels, and exponent.

    dtype : dtype, optional
        Type of the image.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        Expected flux per pixel, in the unit of ``flux``.

    Raises
    ------
    ValueError
        If ``psf_fwhm`` is not positive or ``psf_beta`` not above 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import render_sources
    >>> star = {'x': np.array([20.3]), 'y': np.array([15.0]),
    ...         'flux': np.array([1000.0])}
    >>> image = render_sources((41, 41), star, 3.0, 3.5)
    >>> print(round(float(image.sum()) / 1000.0, 2))
    1.0
    """
    _check_psf(psf_fwhm, psf_beta)
    ny, nx = shape
    image = np.zeros(shape, dtype=dtype)
    names = getattr(sources, 'colnames', None) or list(sources)
    n_sources = len(sources['x'])
    columns = {}
    for name, default in (('x', 0.0), ('y', 0.0), ('flux', 0.0),
                          ('r50', 0.0), ('sersic_n', 1.0),
                          ('axis_ratio', 1.0), ('theta', 0.0)):
        columns[name] = (np.asarray(sources[name], dtype=float)
                         if name in names else np.full(n_sources, default))

    # A Moffat's wings carry (1 + (r/alpha)²)^(1-beta) of the light beyond r;
    # the stamp grows with the flux so that the step at its edge stays small.
    reach = psf_fwhm * np.clip(
        4.0 + 2.0 * np.log10(np.maximum(np.abs(columns['flux']), 1.0)),
        _LEAST_FWHM, 14.0)
    for x, y, flux, *galaxy, radius in zip(*columns.values(), reach,
                                           strict=True):
        r50, sersic_n, axis_ratio, _ = galaxy
        if r50 > 0:
            radius += r50 * (3.0 + 2.0 * sersic_n) / np.sqrt(axis_ratio)
        x_pixel, y_pixel = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        stamp, half = _stamp(radius, x - x_pixel, y - y_pixel, psf_fwhm,
                             psf_beta, galaxy if r50 > 0 else None)
        top, left = y_pixel - half, x_pixel - half
        y_low, y_high = max(top, 0), min(top + stamp.shape[0], ny)
        x_low, x_high = max(left, 0), min(left + stamp.shape[1], nx)
        if y_low < y_high and x_low < x_high:
            image[y_low:y_high, x_low:x_high] += flux * stamp[
                y_low - top:y_high - top, x_low - left:x_high - left]
    return image
