# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the noise-free images, against direct integration.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.signal import fftconvolve
from scipy.special import j0

from astro_denoise.simulation.profiles import (
    moffat_image,
    moffat_transform,
    render_sources,
    sersic_b,
    sersic_profile,
    sersic_transform,
)


def moffat(radius, fwhm, beta):
    """A Moffat profile of unit flux."""
    alpha = fwhm / (2 * np.sqrt(2**(1 / beta) - 1))
    return ((beta - 1) / (np.pi * alpha**2)
            * (1 + (radius / alpha)**2)**-beta)


def subpixels(size, x_center, y_center, factor):
    """Offsets of the centers of subpixels from a position."""
    fine = (np.arange(size * factor) + 0.5) / factor - 0.5
    return fine - x_center, (fine - y_center)[:, None]


def binned(image, factor):
    ny, nx = image.shape
    return image.reshape(ny // factor, factor, nx // factor,
                         factor).sum(axis=(1, 3))


def galaxy(x, y, r50, sersic_n=1.0, axis_ratio=1.0, theta=0.0, flux=1.0):
    values = {'x': x, 'y': y, 'flux': flux, 'r50': r50,
              'sersic_n': sersic_n, 'axis_ratio': axis_ratio, 'theta': theta}
    return {name: np.array([value]) for name, value in values.items()}


def moments(image, x_center, y_center):
    y, x = np.indices(image.shape)
    x, y = x - x_center, y - y_center
    return [np.sum(image * plane) / image.sum()
            for plane in (x, y, x**2, y**2, x * y)]


@pytest.mark.parametrize('sersic_n', [0.5, 1.0, 2.5, 4.0])
def test_sersic_profile(sersic_n):
    def light(low, high):
        return quad(lambda r: 2 * np.pi * r * sersic_profile(r, 2, sersic_n),
                    low, high, limit=200)[0]

    assert_allclose(light(0, 2), 0.5, rtol=1e-6)
    assert_allclose(light(0, 2) + light(2, np.inf), 1, rtol=1e-6)


def test_sersic_b_array():
    assert_allclose(sersic_b([1, 4]), [1.678347, 7.669249], rtol=1e-6)


@pytest.mark.parametrize('beta', [2.3, 3.5])
@pytest.mark.parametrize('wavenumber', [0.02, 0.5, 2.0])
def test_moffat_transform(wavenumber, beta):
    expected = quad(lambda r: 2 * np.pi * r * moffat(r, 3, beta)
                    * j0(wavenumber * r), 0, 200, limit=2000)[0]
    assert_allclose(moffat_transform(wavenumber, 3, beta), expected,
                    atol=2e-4)


def test_sersic_transform_known():
    # A Gaussian and an exponential disk have closed forms.
    k = np.logspace(-4, 2, 50)
    assert_allclose(sersic_transform(k, 1.5, 0.5),
                    np.exp(-(1.5 * k)**2 / (4 * sersic_b(0.5))), atol=1e-4)
    assert_allclose(sersic_transform(k, 1.5, 1.0),
                    (1 + (1.5 * k / sersic_b(1.0))**2)**-1.5, atol=1e-4)


@pytest.mark.parametrize('wavenumber', [0.05, 0.5, 3.0])
def test_sersic_transform_steep(wavenumber):
    expected = quad(lambda r: 2 * np.pi * r * sersic_profile(r, 1, 4)
                    * j0(wavenumber * r), 0, 300, limit=5000)[0]
    assert_allclose(sersic_transform(wavenumber, 1, 4), expected, atol=5e-4)


@pytest.mark.parametrize(('fwhm', 'beta'), [(1.5, 2.5), (2.7, 4.8),
                                            (4.0, 2.5), (8.0, 3.0)])
def test_moffat_image(fwhm, beta):
    size, factor = 41, 25
    image = moffat_image(size, fwhm, beta, x_offset=0.3, y_offset=-0.4)
    x, y = subpixels(size, size // 2 + 0.3, size // 2 - 0.4, factor)
    expected = binned(moffat(np.hypot(x, y), fwhm, beta), factor) / factor**2
    assert image.shape == (size, size)
    assert_allclose(image, expected, atol=4e-4 * expected.max())
    assert_allclose(image.sum(), expected.sum(), rtol=4e-4)


def test_moffat_image_even():
    image = moffat_image(20, 3.0, 3.0)
    assert image.shape == (20, 20)
    assert np.unravel_index(image.argmax(), image.shape) == (10, 10)


@pytest.mark.parametrize(('fwhm', 'beta', 'name'), [
    (0.0, 3.0, 'FWHM'), (-1.0, 3.0, 'FWHM'), (np.nan, 3.0, 'FWHM'),
    (3.0, 1.0, 'exponent')])
def test_bad_psf(fwhm, beta, name):
    with pytest.raises(ValueError, match=name):
        moffat_image(21, fwhm, beta)
    with pytest.raises(ValueError, match=name):
        render_sources((21, 21), galaxy(10, 10, 2), fwhm, beta)


@pytest.mark.parametrize('axis_ratio', [1.0, 0.3])
@pytest.mark.parametrize(('r50', 'sersic_n'), [(0.4, 0.5), (3.0, 0.5),
                                               (0.4, 1.0), (2.0, 1.0),
                                               (1.5, 2.5), (3.0, 4.0)])
def test_galaxy(r50, sersic_n, axis_ratio):
    size, factor, theta = 61, 9, 0.7
    fwhm, beta = 2.2, 3.2
    image = render_sources(
        (size, size), galaxy(30.2, 29.7, r50, sersic_n, axis_ratio, theta),
        fwhm, beta)

    # Direct: 6 by 6 samples in each of the subpixels, convolved with the
    # sampled point-spread function.
    x, y = subpixels(size, 30.2, 29.7, factor * 6)
    major = x * np.cos(theta) + y * np.sin(theta)
    minor = (y * np.cos(theta) - x * np.sin(theta)) / axis_ratio
    radius = np.sqrt((major**2 + minor**2) * axis_ratio)
    sky = binned(sersic_profile(radius, r50, sersic_n), 6)
    offsets = (np.arange(size * factor) - size * factor // 2) / factor
    psf = moffat(np.hypot(offsets, offsets[:, None]), fwhm, beta)
    middle = size * factor // 2
    window = slice(middle, middle + size * factor)
    expected = fftconvolve(sky, psf)[window, window]
    expected = binned(expected, factor) / (6**2 * factor**4)

    # The cusp of a steep profile is what the samples do not resolve.
    tolerance = 2e-4 if sersic_n <= 1 else 5e-3
    assert_allclose(image, expected, atol=tolerance * expected.max())


@pytest.mark.parametrize(('r50', 'sersic_n', 'axis_ratio'), [
    (0.2, 4.0, 0.15), (0.5, 0.5, 0.15), (4.0, 1.0, 0.3), (1.0, 4.0, 1.0)])
def test_half_light(r50, sersic_n, axis_ratio):
    # Drawn large, so that PSF and pixels hardly matter.
    scale = 12.0 / r50
    image = render_sources(
        (801, 801), galaxy(400, 400, r50 * scale, sersic_n, axis_ratio, 0.4),
        1.0, 4.0).astype(float)
    factor = 3
    x, y = subpixels(801, 400, 400, factor)
    major = x * np.cos(0.4) + y * np.sin(0.4)
    minor = (y * np.cos(0.4) - x * np.sin(0.4)) / axis_ratio
    inside = (major**2 + minor**2) * axis_ratio < (r50 * scale)**2
    weight = binned(inside.astype(float), factor) / factor**2
    assert_allclose(np.sum(weight * image), 0.5, atol=0.012)


def test_orientation_and_center():
    fwhm, beta, theta = 2.0, 4.5, np.radians(25.0)
    image = render_sources(
        (121, 121), galaxy(60.37, 59.81, 6.0, 0.5, 0.4, theta), fwhm,
        beta).astype(float)
    x, y, xx, yy, xy = moments(image, 60.37, 59.81)
    assert_allclose([x, y], 0, atol=2e-3)
    assert_allclose(0.5 * np.arctan2(2 * xy, xx - yy), theta, atol=1e-3)

    # Second moments add: Gaussian, PSF (of a star drawn alike) and pixel.
    star = render_sources((121, 121), galaxy(60.37, 59.81, 0.0), fwhm, beta)
    psf = moments(star.astype(float), 60.37, 59.81)
    variance = 6.0**2 / (2 * sersic_b(0.5))
    assert_allclose(xx + yy - psf[2] - psf[3],
                    variance * (1 / 0.4 + 0.4), rtol=2e-3)


def test_sources_add_up():
    one, two = galaxy(20, 30, 2.0, flux=5.0), galaxy(33, 25, 0.0, flux=-2.0)
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    total = render_sources((64, 64), both, 3.0, 3.0)
    parts = [render_sources((64, 64), source, 3.0, 3.0)
             for source in (one, two)]
    assert_allclose(total, sum(parts), atol=1e-6)
    assert total.dtype == np.float32
    assert render_sources((8, 8), both, 3.0, 3.0, dtype=float).dtype == float


def test_flux_is_complete():
    # Also of elongated and of faint and bright ones.
    for flux in (1.0, 1e6):
        for axis_ratio in (1.0, 0.15):
            source = galaxy(400, 400, 5.0, 4.0, axis_ratio, 0.3, flux)
            image = render_sources((801, 801), source, 3.0, 2.5, dtype=float)
            assert_allclose(image.sum(), flux, rtol=1e-4)
            assert image.min() > -1e-5 * image.max()


def test_edges():
    wide = render_sources((100, 100), galaxy(50, 50, 3.0), 3.0, 3.0)
    cut = render_sources((50, 40), galaxy(0, 10, 3.0), 3.0, 3.0)
    assert_allclose(cut[:40, :30], wide[40:80, 50:80], atol=1e-7)
    assert not render_sources((20, 20), galaxy(-500, 5, 3.0), 3.0, 3.0).any()


def test_stars_without_shape_columns():
    star = {name: galaxy(10, 10, 0)[name] for name in ('x', 'y', 'flux')}
    assert_allclose(render_sources((21, 21), star, 3.0, 3.0),
                    moffat_image(21, 3.0, 3.0), atol=1e-7)


def test_no_sources():
    nothing = {name: np.array([]) for name in ('x', 'y', 'flux')}
    assert not render_sources((5, 6), nothing, 3.0, 3.0).any()
