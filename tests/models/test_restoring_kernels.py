# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the kernels that restore flux.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.ndimage import convolve

from astro_denoise.models.restoring_kernels import (
    identity_kernels,
    kernels_between,
    restored,
)

FWHMS = (1.5, 3.0, 6.0)


@pytest.fixture(scope='module')
def kernels():
    """
    Kernels of unit sum.
    """
    generator = torch.Generator().manual_seed(4)
    kernels = identity_kernels(3)
    kernels += 0.01 * torch.randn(kernels.shape, generator=generator)
    return kernels / kernels.sum((1, 2), keepdim=True)


def between(kernels, *fwhms):
    return kernels_between(kernels, FWHMS, torch.tensor(fwhms).log())


@pytest.mark.parametrize('shape', [(8, 8), (16, 40), (32, 56), (72, 16)])
def test_restoration_is_a_convolution(kernels, shape):
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(3, 1, *shape, generator=generator)
    flux = restored(noise, torch.ones_like(noise), kernels)
    for plane, kernel, result in zip(noise, kernels, flux, strict=True):
        assert_allclose(result[0], convolve(plane[0], kernel, mode='nearest'),
                        rtol=0, atol=1e-5)


def test_restoration_around_holes(kernels):
    # A hole takes the mean of its surroundings: a constant stays one.
    valid = torch.ones(1, 1, 40, 40)
    valid[..., 10:13, 20:24] = 0.0
    valid[..., 30, :] = 0.0
    flux = restored(3.0 * valid, valid, kernels[1:2])
    assert_allclose(flux, 3.0 * valid, rtol=0, atol=1e-4)


@pytest.mark.parametrize('fwhm', [0.5, 1.5, 2.0, 3.0, 4.7, 6.0, 50.0])
def test_kernels_keep_flux(kernels, fwhm):
    kernel, = between(kernels, fwhm)
    assert_allclose(kernel.sum(), 1.0, rtol=1e-5)
    flat = torch.full((1, 1, 32, 32), 2.5)
    assert_allclose(restored(flat, torch.ones_like(flat), kernel[None]), flat,
                    rtol=1e-5)


def test_kernels_between_widths(kernels):
    first, second, third = kernels
    # Widths grow by a factor of two: half way is a factor of sqrt(2).
    for fwhm, expected in [
            (1.5, first), (3.0, second), (6.0, third), (1.0, first),
            (9.0, third), (1.5 * 2**0.5, (first + second) / 2),
            (3.0 * 2**0.25, 0.75 * second + 0.25 * third)]:
        assert_allclose(between(kernels, fwhm)[0], expected, atol=1e-7,
                        rtol=1e-4)


def test_identity():
    noise = torch.from_numpy(np.random.default_rng(1).random((1, 1, 20, 30)))
    assert_allclose(restored(noise, torch.ones_like(noise),
                             identity_kernels(1)), noise, atol=1e-6)
