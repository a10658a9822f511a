# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the skies to train on.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from astro_denoise.training.scenes import (
    draw_scene,
    draw_scenes,
    draw_survey_scenes,
)


@pytest.fixture(scope='module')
def scenes():
    return draw_scenes(3, seed=5, size=160)


def test_scene():
    scene = draw_scene(1, size=200)
    assert scene.image.shape == (200, 200)
    assert scene.image.dtype == np.float32
    assert scene.image.min() >= 0
    assert scene.image.max() > 1
    assert 1.4 <= scene.psf_fwhm <= 8.5


def test_widths_of_the_point_spread_function():
    for seed in range(3):
        scene = draw_scene(seed, size=16, psf_fwhm=(2.0, 2.1))
        assert 2.0 <= scene.psf_fwhm <= 2.1


def test_same_seed_same_scenes(scenes):
    again = draw_scenes(3, seed=5, size=160)
    for one, other in zip(scenes, again, strict=True):
        assert_array_equal(one.image, other.image)
        assert one.psf_fwhm == other.psf_fwhm
    assert np.any(scenes[0].image != scenes[1].image)
    other, = draw_scenes(1, seed=6, size=160)
    assert np.any(scenes[0].image != other.image)


def test_skies_as_of_a_survey():
    scenes = draw_survey_scenes(3, seed=1, size=320, density=300.0)
    again = draw_survey_scenes(3, seed=1, size=320, density=300.0)
    for one, other in zip(scenes, again, strict=True):
        assert_array_equal(one.image, other.image)
        assert one.image.dtype == np.float32
        assert one.image.min() >= 0
        assert 0.7 / 0.263 <= one.psf_fwhm <= 1.6 / 0.263
    # The first has bright sources.
    assert scenes[0].image.max() > 2 * scenes[1].image.max()
    # The others are mostly blank.
    assert np.mean(scenes[1].image < 0.05) > 0.7


# Newer versions of Python warn of processes beside threads.
@pytest.mark.filterwarnings('ignore:This process:DeprecationWarning')
def test_workers_draw_the_same_scenes(scenes):
    parallel = draw_scenes(3, seed=5, size=160, n_workers=2)
    for one, other in zip(scenes, parallel, strict=True):
        assert_array_equal(one.image, other.image)
