# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of layers and functions of planes.
"""

import platform
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.ndimage import uniform_filter

from astro_denoise.models import layers
from astro_denoise.models.layers import (
    convolution_block,
    convolved,
    mean_of_nine,
)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('shifts', [0, 1, 2])
def test_convolutions_in_one_pass(dtype, shifts, monkeypatch):
    torch.manual_seed(1)
    block = convolution_block(3, 8).eval()
    features = torch.randn(2, 3, 24, 16)
    shift = torch.randn(shifts, 8, 1, 1) if shifts else None
    with torch.no_grad():
        answer = convolved(block, features, dtype, shift=shift)
        monkeypatch.setattr(layers, '_fused_convolution', lambda dtype: None)
        plain = convolved(block, features, dtype, shift=shift)
        exact = convolved(block, features, torch.float32, shift=shift)
    assert answer.dtype == plain.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    for one in (answer, plain):
        assert_allclose(one.float(), exact, rtol=tolerance,
                        atol=tolerance * exact.std().item())


@pytest.mark.skipif(sys.platform != 'linux' or platform.machine() != 'x86_64',
                    reason='needs oneDNN')
def test_convolutions_in_one_pass_exist():
    # else a new version of torch would make everything slower in silence
    assert layers._fused_convolution(torch.float32) is not None


@pytest.mark.parametrize('shape', [(2, 3), (9, 14), (40, 2)])
def test_mean_of_nine(shape):
    plane = np.random.default_rng(1).normal(size=shape)
    # means over the pixels that exist
    expected = (uniform_filter(plane, 3, mode='constant')
                / uniform_filter(np.ones(shape), 3, mode='constant'))
    mean = mean_of_nine(torch.from_numpy(plane)[None, None])[0, 0]
    assert_allclose(mean, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(('n_out', 'side', 'width'), [
    (8, 3, 12), (8, 1, 12), (2, 3, 6), (8, 3, 13), (32, 3, 12)])
@pytest.mark.parametrize('height', [9, 32, 33, 70])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_in_pairs_as_the_layer(n_out, side, width, height, dtype):
    generator = torch.Generator().manual_seed(n_out)
    layer = torch.nn.Conv2d(5, n_out, side, padding=side // 2)
    features = torch.randn(2, 5, height, width, generator=generator).to(
        dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        got = layers.in_pairs(layer, features)
        assert_allclose(got, layer(features.float()), atol=2e-6)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert layers.in_pairs(layer, features).requires_grad
