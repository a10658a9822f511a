# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the seen_light module.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import fftconvolve

from astro_denoise.photometry.apertures import ellipse_weights
from astro_denoise.photometry.seen_light import SeenLight
from astro_denoise.simulation import render_sources

LINE = np.exp(-0.5 * (np.arange(-12, 13) / 1.1)**2)
KERNEL = np.outer(LINE, LINE) / LINE.sum()**2
SHAPE = (96, 96)
NOISE = np.ones(SHAPE)


def source(flux, x=48.3, y=47.8):
    return render_sources(SHAPE, {'x': np.array([x]), 'y': np.array([y]),
                                  'flux': np.array([flux])}, 3.8, 3.5)


def weights_of(light, radius=2.0, x=48.3, y=47.8, kept=None):
    """Weights of the raw pixels, on the whole frame and a margin."""
    weights, (x1, x2, y1, y2) = ellipse_weights(x, y, radius, radius, 0)
    box = np.zeros(SHAPE)
    box[y1:y2, x1:x2] = weights
    seen = SeenLight.of(light, NOISE, KERNEL, kept)
    plane = np.zeros(tuple(n + 24 for n in SHAPE))
    plane[y1:y2 + 24, x1:x2 + 24] = seen.filtered(weights, KERNEL,
                                                  (x1, x2, y1, y2))
    return plane, fftconvolve(box, KERNEL), np.pad(box, 12)


def test_faint_light_is_filtered():
    found, filtered, _ = weights_of(source(5.0))
    assert_allclose(found, filtered, atol=1e-12)


def test_bright_light_stays():
    found, _, weights = weights_of(source(1e6))
    assert_allclose(found, weights, atol=0.01)


def test_kept_pixels_stay():
    found, _, weights = weights_of(np.zeros(SHAPE), kept=np.ones(SHAPE, bool))
    assert_allclose(found, weights, atol=1e-12)


@pytest.mark.parametrize('flux', [60.0, 120.0, 400.0])
def test_between(flux):
    found, filtered, weights = weights_of(source(flux))
    # where a source begins to be seen, a little more than all of its noise
    assert np.sum(filtered**2) < np.sum(found**2) < 1.1 * np.sum(weights**2)


@pytest.mark.parametrize('distance', [12.0, 18.0, 25.0, 40.0])
def test_of_another_source(distance):
    # far from all light nothing is divided by next to nothing
    light = source(200.0) + source(2e4, x=48.3 - distance)
    light[np.abs(light) < 0.1] = 0.0
    found, filtered, _ = weights_of(light - source(200.0))
    assert np.sum(found**2) < 1.05 * np.sum(filtered**2)
    for radius in (2.0, 10.0):
        found, filtered, weights = weights_of(light, radius)
        assert (0.9 * np.sum(filtered**2) < np.sum(found**2)
                < 1.3 * np.sum(weights**2))


def test_nothing_comes_from_far_away():
    # a kernel with long wings, and hardly any light in the aperture
    kernel = 0.9 * KERNEL
    kernel += 0.1 / kernel.size
    light = source(1e5, x=38.0)
    light[:, 44:] = 0.0
    light[48, 48] = 1.0
    seen = SeenLight.of(light, NOISE, kernel)
    weights, place = ellipse_weights(48.3, 47.8, 1.0, 1.0, 0)
    found = seen.filtered(weights, kernel, place)
    assert np.sum(found**2) < 1.1 * np.sum(weights**2)


@pytest.mark.parametrize('unit', [1e-25, 1e-10, 1e12])
def test_unit(unit):
    light = source(120.0)
    expected = SeenLight.of(light, NOISE, KERNEL)
    found = SeenLight.of(light * unit, NOISE * unit**2, KERNEL)
    sums = np.ones((5, 5)), KERNEL, (46, 51, 45, 50)
    assert_allclose(found.filtered(*sums), expected.filtered(*sums),
                    rtol=1e-5, atol=1e-7)


def test_dead_pixels():
    light, noise = source(300.0), NOISE.copy()
    noise[40:56, 48] = 0.0
    light[40:56, 48] = 0.0
    seen = SeenLight.of(light, noise, KERNEL)
    for plane in (seen.share, seen.raw, seen.seen, seen.lost):
        assert np.isfinite(plane).all()
    assert not seen.share[40:56, 48].any()
