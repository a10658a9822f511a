# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the light_fraction module.
"""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import gammaincinv

from astro_denoise.photometry.apertures import ellipse_weights
from astro_denoise.photometry.light_fraction import light_fraction_apertures
from astro_denoise.simulation.profiles import render_sources

OVERSAMPLING = 5  # pixels of the test images per pixel


def draw(r50, sersic_n, q, theta, psf_fwhm, beta=3.88):
    """A galaxy of unit flux in fine pixels, and its center."""
    size, x, y = 601, 300.2, 299.7
    sources = {'x': [x], 'y': [y], 'flux': [1.0],
               'r50': [r50 * OVERSAMPLING], 'sersic_n': [sersic_n],
               'axis_ratio': [q], 'theta': [np.deg2rad(theta)]}
    sources = {name: np.array(values) for name, values in sources.items()}
    image = render_sources((size, size), sources, psf_fwhm * OVERSAMPLING,
                           beta, dtype=float)
    return image, x, y


def light(drawn, a, b, theta):
    """The light in an ellipse."""
    image, x, y = drawn
    weights, (x1, x2, y1, y2) = ellipse_weights(
        x, y, a * OVERSAMPLING, b * OVERSAMPLING, np.deg2rad(theta))
    return np.sum(weights * image[y1:y2, x1:x2])


@pytest.mark.parametrize('galaxy', [
    (0.5, 1.0, 0.5, 30.0, 3.0), (3.0, 1.0, 0.3, 70.0, 3.0),
    (2.0, 4.0, 0.7, -20.0, 4.0), (5.0, 0.5, 0.2, 110.0, 4.0)])
def test_fraction_and_smallest_ellipse(galaxy):
    table = light_fraction_apertures(*galaxy)
    a, b = table['aperture_a'][0], table['aperture_b'][0]
    theta = table['aperture_theta'][0].value
    assert theta == galaxy[3]
    drawn = draw(*galaxy)
    fraction = light(drawn, a, b, theta)
    # the pixels of the image are not infinitely small
    assert_allclose(fraction, 0.625, atol=1e-3)
    for stretch in (0.93, 1 / 0.93):
        assert light(drawn, a * stretch, b / stretch, theta) < fraction


@pytest.mark.parametrize('fraction', [0.2, 0.9])
def test_other_fraction(fraction):
    table = light_fraction_apertures(2, 1, 0.6, 0, 3, fraction, psf_beta=3)
    drawn = draw(2, 1, 0.6, 0, 3, beta=3)
    assert_allclose(light(drawn, table['aperture_a'][0],
                          table['aperture_b'][0], 0), fraction, atol=2e-3)


def test_star_of_the_survey():
    table = light_fraction_apertures(0, 1, 1, 0, [2.0, 5.0])
    assert_allclose(table['aperture_a'] / [2, 5], 0.72, atol=1e-3)
    assert_allclose(table['aperture_a'], table['aperture_b'])


def test_small_galaxy_is_a_star():
    table = light_fraction_apertures([0, 2e-3], 1, 0.5, 0, 1.0)
    assert_allclose(table['aperture_a'][1], table['aperture_a'][0],
                    rtol=1e-3)


def test_large_galaxy_feels_no_seeing():
    # the light of an exponential disk grows like an incomplete gamma function
    expected = 10 * gammaincinv(2, 0.625) / gammaincinv(2, 0.5)
    table = light_fraction_apertures(10, 1, 0.4, 0, 0.1)
    assert_allclose(np.sqrt(table['aperture_a'] * table['aperture_b']),
                    expected, rtol=1e-3)
    assert_allclose(table['aperture_b'] / table['aperture_a'], 0.4,
                    rtol=1e-2)


@settings(max_examples=15)
@given(st.floats(0.1, 8), st.floats(0.4, 6), st.floats(0.15, 1),
       st.floats(0.1, 10))
# Round galaxies, whose aperture has the right size at the first step.
@example(0.5, 1.0, 1.0, 1.0)
@example(1.0, 0.5, 1.0, 1.0)
def test_scales_with_the_unit(r50, sersic_n, q, factor):
    one = light_fraction_apertures(r50, sersic_n, q, 0, 3.0)
    two = light_fraction_apertures(factor * r50, sersic_n, q, 0, factor * 3.0)
    assert one['aperture_b'][0] <= one['aperture_a'][0] * (1 + 1e-9)
    for name in ('aperture_a', 'aperture_b'):
        assert_allclose(two[name], factor * one[name], rtol=1e-3)


def test_units():
    table = light_fraction_apertures(0.5 * u.arcsec, 1, 0.6,
                                     [np.pi / 6] * u.rad, 1000 * u.mas)
    plain = light_fraction_apertures(0.5, 1, 0.6, 30, 1)
    assert table['aperture_a'].unit == u.arcsec
    assert_allclose(table['aperture_a'].value, plain['aperture_a'])
    assert_allclose(table['aperture_theta'].to_value(u.deg), 30)


@pytest.mark.parametrize(('arguments', 'match'), [
    (([1, -1], 1, 1, 0, 3), r'r50 .* got -1\.0 in row 1'),
    ((1, 0.1, 1, 0, 3), 'sersic_n must lie in 0.2 to 10'),
    ((1, 1, [0.5, 0.5, 1.2], 0, 3), r'q .* got 1\.2 in row 2'),
    ((1, 1, 1, np.nan, 3), 'theta .* got nan in row 0'),
    ((1, 1, 1, 0, 0), 'psf_fwhm must lie'),
    ((1, 1, 1, 0, 3, 1.0), 'fraction must lie between 0 and 1'),
    ((1 * u.arcsec, 1, 1, 0, 3), 'psf_fwhm must have the unit of r50'),
    ((1 * u.arcsec, 1, 1, 0, 3 * u.s), 'psf_fwhm must have the unit')])
def test_bad_input(arguments, match):
    with pytest.raises(ValueError, match=match):
        light_fraction_apertures(*arguments)


def test_bad_exponent():
    with pytest.raises(ValueError, match='psf_beta must lie'):
        light_fraction_apertures(1, 1, 1, 0, 3, psf_beta=1)
