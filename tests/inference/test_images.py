# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from astro_denoise.inference.images import denoise_images, denoises_images
from astro_denoise.models.image_denoiser import MixedDenoiser
from astro_denoise.models.paper import PaperAutoencoder

CPU = torch.device('cpu')


@pytest.fixture
def mixed():
    torch.manual_seed(0)
    network = MixedDenoiser(widths=(8, 16)).eval()
    torch.nn.init.normal_(network.head.weight, std=0.05)
    return network.requires_grad_(requires_grad=False)


def _images(shape, dtype=np.float32):
    rng = np.random.default_rng(1)
    return rng.poisson(20.0, shape).astype(dtype)


def test_other_networks_are_told_apart(mixed):
    assert denoises_images(mixed)
    assert denoises_images(PaperAutoencoder())
    assert not denoises_images(torch.nn.Identity())


@pytest.mark.parametrize('shape', [(2, 64, 64), (1, 33, 70), (1, 1, 1)])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_shape_and_type(mixed, shape, dtype):
    values = _images(shape, dtype)
    denoised, error, filled, noise = denoise_images(
        mixed, values, np.ones(shape, bool), device=CPU)
    assert denoised.shape == error.shape == shape
    assert denoised.dtype == error.dtype == dtype
    assert np.isfinite(denoised).all()
    assert (error > 0).all()
    assert filled
    assert noise in mixed.noises


def test_scale_does_not_matter(mixed):
    values = _images((3, 64, 64))
    valid = np.ones(values.shape, bool)
    one, one_error, *_ = denoise_images(mixed, values, valid, device=CPU)
    two, two_error, *_ = denoise_images(mixed, 64 * values, valid,
                                        device=CPU)
    np.testing.assert_allclose(two, 64 * one, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(two_error, 64 * one_error, rtol=1e-4)


def test_value_of_a_bad_pixel_does_not_matter(mixed):
    values = _images((1, 64, 64))
    valid = np.ones(values.shape, bool)
    valid[0, 10:14, 20] = False
    values[~valid] = 0
    denoised, *_ = denoise_images(mixed, values, valid, device=CPU)
    whole, *_ = denoise_images(mixed, values, np.ones_like(valid),
                               device=CPU)
    assert np.isfinite(denoised).all()
    assert not np.array_equal(denoised, whole)  # a hole is not a 0


def test_many_images_are_as_one_by_one(mixed):
    values = _images((70, 16, 16))
    valid = np.ones(values.shape, bool)
    together, *_ = denoise_images(mixed, values, valid, device=CPU)
    for index in (0, 65):
        alone, *_ = denoise_images(mixed, values[index:index + 1],
                                   valid[:1], device=CPU)
        np.testing.assert_allclose(together[index], alone[0], rtol=1e-4,
                                   atol=1e-3)


def test_zeros(mixed):
    values = np.zeros((1, 64, 64), np.float32)
    denoised, *_ = denoise_images(mixed, values, np.ones(values.shape, bool),
                                  device=CPU)
    assert np.isfinite(denoised).all()


def test_sizes_of_the_documents_networks():
    network = PaperAutoencoder().eval()
    values = _images((1, 32, 64))
    with pytest.raises(ValueError, match=r'64x64 pixels .* got 32x64'):
        denoise_images(network, values, np.ones(values.shape, bool),
                       device=CPU)


def test_negative_values_are_refused(mixed):
    values = _images((1, 64, 64)) - 30
    with pytest.raises(ValueError, match='must not be negative'):
        denoise_images(mixed, values, np.ones(values.shape, bool),
                       device=CPU)
