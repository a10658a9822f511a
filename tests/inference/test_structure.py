# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of structure that is taken for noise.
"""

import pytest
import torch

from astro_denoise.inference.structure import BLOCK, keep_structure

SHAPE = 1, 1, 40 * BLOCK, 40 * BLOCK


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def changed_blocks(noise):
    """Share of the blocks of which less is taken away, and how much less."""
    # What is taken from a pixel has less variance than its noise.
    noise = 0.95**0.5 * noise
    kept, _ = keep_structure(noise, torch.full_like(noise, 0.05).log(),
                             torch.ones(noise.shape[2:]))
    share = (kept / noise)[0, 0, ::BLOCK, ::BLOCK]
    return float((share < 0.999).float().mean()), float(share.mean())


def test_gaussian_noise_is_taken_away():
    assert changed_blocks(normal(*SHAPE))[0] < 0.01


def test_noise_with_long_tails_is_taken_away():
    # As of a camera whose scatter is 1.2 times what most of its pixels tell,
    # with a kurtosis of 5.
    wide = 2.2 * normal(*SHAPE, seed=2)
    noise = torch.where(normal(*SHAPE, seed=3) > 1.2, wide,
                        0.9 * normal(*SHAPE))
    assert noise.square().mean() > 1.2
    changed, share = changed_blocks(noise)
    assert changed < 0.1
    assert share > 0.99


@pytest.mark.parametrize('amplitude', [1.5, 4.0])
def test_structure_is_kept(amplitude):
    place = torch.arange(SHAPE[3]) * 1.3
    noise = normal(*SHAPE) + amplitude * place.sin()
    changed, share = changed_blocks(noise)
    assert changed > 0.98
    assert share < 0.75


def test_a_few_hot_pixels_are_no_structure():
    noise = normal(*SHAPE)
    noise[:, :, ::BLOCK, ::BLOCK] = 50.0
    assert changed_blocks(noise)[0] < 0.05
