# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the comparison of two exposures.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.ndimage import shift as shifted

from astro_denoise.data import load_example_pair
from astro_denoise.training.registration import (
    color_scatter,
    find_shift,
    shared_noise,
)

SHAPE = (128, 144)


def make_sky(seed=0, n_sources=25, fwhm=3.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    sky = np.zeros(SHAPE)
    for _ in range(n_sources):
        row, column = rng.uniform(15, 110, 2)
        sky += rng.uniform(40, 200) * np.exp(
            -4 * np.log(2) * ((x - column)**2 + (y - row)**2) / fwhm**2)
    return sky


def exposure(sky, seed):
    return sky + np.random.default_rng(seed + 100).standard_normal(SHAPE)


@settings(max_examples=15)
@given(st.floats(-6, 6), st.floats(-6, 6), st.sampled_from([1.8, 3.0, 5.0]))
def test_shift(rows, columns, fwhm):
    sky = make_sky(fwhm=fwhm)
    found = find_shift(exposure(sky, 1),
                       exposure(shifted(sky, (rows, columns)), 2), fwhm)
    assert_allclose(found.shift, (rows, columns), atol=0.1 * fwhm)
    assert found.same_field


def test_hot_pixels_do_not_move():
    sky = make_sky()
    planes = [exposure(sky, 1), exposure(np.roll(sky, 7, 0), 2)]
    hot = np.random.default_rng(5).random(SHAPE) < 0.01
    for plane in planes:
        plane[hot] += 500.0
    assert_allclose(find_shift(*planes, 3.0).shift, (7, 0), atol=0.3)


def test_areas_without_data():
    planes = [exposure(make_sky(), seed) for seed in (1, 2)]
    planes[0][:40] = np.nan
    planes[1][:, 100:] = np.nan
    assert find_shift(*planes, 3.0).size < 0.3


def test_other_field():
    planes = [exposure(make_sky(seed), seed) for seed in (1, 2)]
    assert not find_shift(*planes, 3.0).same_field


def test_blank_sky_says_nothing():
    planes = [exposure(np.zeros(SHAPE), seed) for seed in (1, 2)]
    found = find_shift(*planes)
    assert found.shift is None
    assert found.size == 0.0
    assert found.same_field
    assert np.isnan(color_scatter(*planes))


def test_shared_noise():
    sky = make_sky()
    first, second = (exposure(sky, seed) for seed in (1, 2))
    assert_allclose(shared_noise(first, second), 0.0, atol=0.05)
    assert_allclose(shared_noise(first, first), 1.0)
    mixed = (first + second) / np.sqrt(2.0)
    assert_allclose(shared_noise(first, mixed), np.sqrt(0.5), atol=0.15)
    assert np.isnan(shared_noise(first, np.full(SHAPE, np.nan)))


@pytest.mark.parametrize(('colors', 'low', 'high'), [
    (0.0, 0.0, 0.05), (0.5, 0.2, 1.0)])
def test_colors(colors, low, high):
    first = exposure(make_sky(), 1)
    rng = np.random.default_rng(0)
    second = np.zeros(SHAPE)
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    for number in range(25):
        row, column = rng.uniform(15, 110, 2)
        factor = np.exp(colors * np.sin(5.0 * number))
        second += 0.7 * factor * rng.uniform(40, 200) * np.exp(
            -4 * np.log(2) * ((x - column)**2 + (y - row)**2) / 9.0)
    assert low <= color_scatter(first, exposure(second, 2), 3.0) <= high


def test_real_exposures():
    first, second = (np.asarray(frame.data, float) - np.median(frame.data)
                     for frame in load_example_pair())
    assert find_shift(first, second, 2.4).size < 0.2
    found = find_shift(first, np.roll(second, (5, -1), (0, 1)), 2.4)
    assert_allclose(found.shift, (5, -1), atol=0.2)
