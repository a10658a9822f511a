# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what the light around candidates tells, on light that is known.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from astro_denoise.inference.candidate_light import (
    POINT,
    concentration,
    filter_width,
    significance,
    starlike_misfit,
)

FWHM = 3.0


def gaussian(x, y, width, flux=1000.0, shape=(48, 64)):
    """A Gaussian of a width in pixels."""
    yy, xx = np.indices(shape)
    return flux * np.exp(-0.5 * ((xx - x)**2 + (yy - y)**2) / width**2) / (
        2.0 * np.pi * width**2)


def planes_of(signal, noise=1.0):
    return (signal.astype(np.float32),
            np.full(signal.shape, noise**-2.0, np.float32))


def places(x, y):
    return (np.array([round(x)]), np.array([round(y)]), np.array([x]),
            np.array([y]))


def test_significance_is_flux_over_its_error():
    width = filter_width(FWHM)
    signal = gaussian(30.0, 20.0, width)
    snr = significance(planes_of(signal, 2.0), np.array([30]),
                       np.array([20]), FWHM)
    assert snr.shape == (1, 5, 5)
    assert_allclose(snr[0, 2, 2], 500.0 / np.sqrt(4.0 * np.pi * width**2),
                    rtol=0.01)
    assert snr[0].argmax() == 12


def test_bad_pixels_weigh_nothing():
    signal = gaussian(30.0, 20.0, filter_width(FWHM))
    planes = planes_of(signal)
    planes[0][20, 31], planes[1][20, 31] = 0.0, 0.0
    changed = planes[0].copy()
    changed[20, 31] = 1e6
    first, second = (significance((plane, planes[1]), np.array([30]),
                                  np.array([20]), FWHM)
                     for plane in (planes[0], changed))
    assert_allclose(first, second)
    assert 0.85 < first[0, 2, 2] / (1000.0 / np.sqrt(
        4.0 * np.pi * filter_width(FWHM)**2)) < 1.0


@pytest.mark.parametrize('place', [(30.0, 20.0), (30.4, 19.7)])
@pytest.mark.parametrize('flux', [10.0, 1e6])
def test_concentration_of_a_star(place, flux):
    signal = gaussian(*place, filter_width(FWHM), flux)
    ratio = concentration(planes_of(signal), *places(*place), FWHM)
    assert_allclose(ratio[0], POINT, rtol=0.02)


def test_galaxies_are_less_concentrated_and_hot_pixels_more():
    star, galaxy = (concentration(planes_of(gaussian(
        30.2, 20.1, factor * filter_width(FWHM))), *places(30.2, 20.1),
        FWHM)[0] for factor in (1.0, 1.5))
    spike = np.zeros((48, 64))
    spike[20, 30] = 100.0
    hot = concentration(planes_of(spike), *places(30.0, 20.0), FWHM)[0]
    assert (galaxy < 0.9 * star).all()
    assert (hot > 1.3 * star).all()


def test_hot_pixels_and_tracks_are_not_like_stars():
    star = gaussian(30.2, 20.1, filter_width(FWHM))
    spike, track = np.zeros((2, 48, 64))
    spike[20, 30] = 300.0
    track[20, 27:34] = 100.0
    like, spiked, long = (starlike_misfit(
        planes_of(signal), *places(30.2, 20.1), FWHM)[0]
        for signal in (star, spike, track))
    assert like[0] < 0.05
    assert min(spiked[0], long[0]) > 0.3
    assert spiked[2] > 1.0
    assert like[2] < 0.1


def test_edges_and_nothing():
    planes = planes_of(gaussian(0.0, 0.0, filter_width(FWHM)))
    corner = places(0.0, 0.0)
    assert np.isfinite(significance(planes, *corner[:2], FWHM)).all()
    # The frame is mirrored there.
    assert_allclose(concentration(planes, *corner, FWHM)[0], POINT, rtol=0.35)
    assert np.isfinite(starlike_misfit(planes, *corner, FWHM)).all()
    none = np.zeros(0, int), np.zeros(0, int)
    assert significance(planes, *none, FWHM).shape == (0, 5, 5)
    assert concentration(planes, *none, *none, FWHM).shape == (0, 2)
    assert starlike_misfit(planes, *none, *none, FWHM).shape == (0, 3)
