# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the truncated variances of blocks.
"""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.noise import levels
from astro_denoise.noise.block_levels import block_table, truncated_variance


def squares_of(kind, *, n_rows=5, n_pixels=1001, seed=1):
    """
    Squares of normal deviates of variance 4, with something else in them.
    """
    generator = torch.Generator().manual_seed(seed)
    squares = 4 * torch.randn(n_rows, n_pixels, generator=generator)**2
    if kind == 'sources':
        squares[:, ::20] *= 1e4
    elif kind == 'holes':
        squares[:, ::3] = math.nan
        squares[:, 1::50] = math.inf
    elif kind == 'steps':
        squares = squares.sqrt().round()**2
    elif kind == 'mostly zero':
        squares[:, 100:] = 0.0
    elif kind == 'odd rows':
        squares[0], squares[1], squares[2, 1:] = 0.0, math.nan, math.nan
        squares[3] *= 1e-30
    return squares


@pytest.mark.parametrize('kind', ['blank', 'sources', 'holes', 'steps',
                                  'mostly zero', 'odd rows'])
def test_compiled_as_sorted(kind):
    squares = squares_of(kind)
    number = torch.isfinite(squares).sum(1)
    ways = [truncated_variance(squares, compiled=compiled)
            for compiled in (False, True)]
    for expected, got in zip(*ways, strict=True):
        known = number > 0
        assert_allclose(got[known], expected[known], rtol=5e-6)
    assert (ways[1][1] == number).all()
    assert not torch.isfinite(ways[1][0][number == 0]).any()


@pytest.mark.parametrize('compiled', [False, True])
def test_variance_of_noise(compiled):
    squares = squares_of('sources', n_rows=50, n_pixels=4096)
    variance, *_ = truncated_variance(squares, compiled=compiled)
    # 5 % of the pixels are sources: a few of them lie within the clip.
    assert_allclose(variance.mean(), 4.0, rtol=0.03)
    squares = squares_of('blank', n_rows=50, n_pixels=4096)
    variance, *_ = truncated_variance(squares, compiled=compiled)
    assert_allclose(variance.mean(), 4.0, rtol=0.01)


def test_a_large_plane_as_without_numba(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(1024, 1024, generator=generator)
    valid = torch.rand(1024, 1024, generator=generator) > 0.01
    tables = [block_table(values, valid, most=16)]
    monkeypatch.setattr('astro_denoise.noise.block_levels.compiling_pays',
                        lambda shape: False)
    tables.append(block_table(values, valid, most=16))
    for order, expected in tables[1].log_variance.items():
        assert_allclose(tables[0].log_variance[order], expected, atol=1e-5)
        assert (tables[0].number[order] == tables[1].number[order]).all()


def test_sky_does_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(3)
    values = rng.normal(100, 5, (300, 300)).astype(np.float32)
    values[::40, ::40] += 1000
    valid = rng.random(values.shape) > 0.1
    before = torch.get_num_threads()
    blank = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            blank.append(levels.Sky(values, valid).blank)
    finally:
        torch.set_num_threads(before)
    assert (blank[0] == blank[1]).all()
    assert 0.5 < blank[0].mean() < 1
