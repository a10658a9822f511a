# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of noise that lines have in common.
"""

import pytest
import torch

from astro_denoise.noise.lines import line_noise


def frame(shape, axis, share, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator)
    lines = torch.randn(shape[axis], generator=generator)
    return values + share * (lines[:, None] if axis == 0 else lines)


# Beyond 64 blocks the two axes are looked at in blocks of their own.
@pytest.mark.parametrize('shape', [(256, 256), (300, 200), (200, 300),
                                   (320, 2500), (2500, 320)])
@pytest.mark.parametrize('axis', [0, 1])
def test_axis_and_share(shape, axis):
    values = frame(shape, axis, 0.5)
    found, share = line_noise(values, torch.isfinite(values))
    assert found == axis
    assert share == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize('shape', [(256, 256), (300, 200), (40, 40), (8, 8)])
def test_nothing_in_common(shape):
    for seed in range(5):
        values = frame(shape, 0, 0.0, seed=seed)
        assert line_noise(values, torch.isfinite(values)) == (None, 0.0)


def test_nothing_valid():
    values = frame((128, 128), 0, 1.0)
    assert line_noise(values, values > 99) == (None, 0.0)


def test_turned_frame_has_the_other_axis():
    values = frame((256, 192), 0, 0.4)
    values[50:60, 30:40] = 1000
    valid = values < 500
    axis, share = line_noise(values, valid)
    turned, turned_share = line_noise(values.T, valid.T)
    assert (axis, turned) == (0, 1)
    assert turned_share == pytest.approx(share, rel=1e-4)
