# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the noises of the student project.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.simulation.image_noise import (
    IMAGE_NOISES,
    add_gaussian_noise,
    add_image_noise,
    add_masked_noise,
    add_poisson_noise,
    add_saltpepper_noise,
)


@pytest.fixture
def image():
    return np.linspace(0.0, 1.0, 256 * 256).reshape(256, 256)


def test_amounts_of_the_document():
    assert IMAGE_NOISES == {'gaussian': 0.2, 'poisson': 1.0, 'masked': 0.5,
                            'saltpepper': 0.5}


@pytest.mark.parametrize('kind', IMAGE_NOISES)
def test_same_seed_same_noise(kind, image):
    before = image.copy()
    noisy = add_image_noise(image, kind, seed=4)
    assert isinstance(noisy, np.ndarray)
    assert noisy.dtype == image.dtype
    assert_array_equal(image, before)
    assert_array_equal(noisy, add_image_noise(image, kind, seed=4))
    assert (noisy != add_image_noise(image, kind, seed=5)).any()
    assert (noisy != add_image_noise(image, kind)).any()
    assert noisy.min() >= 0
    assert noisy.max() <= 1


@pytest.mark.parametrize('kind', IMAGE_NOISES)
def test_global_state_is_left_alone(kind, image):
    state = torch.get_rng_state()
    add_image_noise(image, kind)
    add_image_noise(image, kind, seed=1)
    assert torch.equal(state, torch.get_rng_state())


def test_generator_goes_on(image):
    generator = torch.Generator().manual_seed(2)
    tensor = torch.from_numpy(image)
    first = add_gaussian_noise(tensor, seed=generator)
    second = add_gaussian_noise(tensor, seed=generator)
    assert isinstance(first, torch.Tensor)
    assert not torch.equal(first, second)


def test_gaussian():
    noisy = add_gaussian_noise(np.full((256, 256), 0.5), 0.1, seed=1)
    assert_allclose(noisy.mean(), 0.5, atol=0.002)
    assert_allclose(noisy.std(), 0.1, rtol=0.02)
    clipped = add_gaussian_noise(np.zeros((256, 256)), 0.2, seed=1)
    assert_allclose((clipped == 0).mean(), 0.5, atol=0.01)


def test_poisson(image):
    noisy = add_poisson_noise(image, seed=1)
    assert set(np.unique(noisy)) == {0.0, 1.0}
    assert_allclose((noisy == 1).mean(), np.mean(1 - np.exp(-image)),
                    atol=0.01)
    fine = add_poisson_noise(np.full((256, 256), 0.5), 100.0, seed=1)
    assert_allclose(fine.std(), np.sqrt(0.5 / 100), rtol=0.02)


def test_masked(image):
    noisy = add_masked_noise(image + 0.1, 0.3, seed=1)
    kept = noisy != 0
    assert_allclose(1 - kept.mean(), 0.3, atol=0.01)
    assert_array_equal(noisy[kept], (image + 0.1)[kept])


def test_saltpepper(image):
    values = 0.2 + 0.5 * image
    noisy = add_saltpepper_noise(values, 0.4, seed=1)
    changed = noisy != values
    assert_allclose(changed.mean(), 0.4, atol=0.01)
    assert set(np.unique(noisy[changed])) == {values.min(), values.max()}
    assert_allclose((noisy[changed] == values.max()).mean(), 0.5, atol=0.02)


@pytest.mark.parametrize(('function', 'values', 'error', 'match'), [
    (add_gaussian_noise, np.zeros((2, 2), int), TypeError, 'int64'),
    (add_poisson_noise, np.full((2, 2), -1.0), ValueError, 'negative'),
    (add_poisson_noise, np.full((2, 2), np.nan), ValueError, 'NaN')])
def test_bad_images(function, values, error, match):
    with pytest.raises(error, match=match):
        function(values, seed=1)


def test_bad_arguments(image):
    with pytest.raises(ValueError, match='noise_factor must be positive'):
        add_poisson_noise(image, 0.0)
    with pytest.raises(ValueError, match=r"kind must be one of.*'shot'"):
        add_image_noise(image, 'shot')
