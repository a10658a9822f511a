# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of areas of constant noise.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.noise.area_cells import area_cells
from astro_denoise.noise.area_tree import find_areas
from astro_denoise.noise.block_map import block_levels

SHAPE = (250, 330)
WHOLE = (slice(0, 250), slice(0, 330))


def found_areas(values, valid=None):
    """Areas of a plane."""
    plane = torch.from_numpy(values.astype(np.float32))
    valid = (torch.ones(plane.shape, dtype=torch.bool) if valid is None
             else torch.from_numpy(valid))
    return find_areas(area_cells(plane, valid, block_levels(plane, valid)))


def white(seed, sigma=5.0):
    """Noise on a sky."""
    return 100 + sigma * np.random.default_rng(seed).standard_normal(SHAPE)


@pytest.mark.parametrize('edge', [120, 121, 123])
def test_two_amplifiers(edge):
    sigma = np.full(SHAPE, 5.0)
    sigma[:, edge:] = 12.0
    areas = found_areas(white(1, sigma))
    assert_allclose(areas.over(WHOLE, float) / sigma, 1, atol=0.03)


def test_border_that_ends_at_another():
    sigma = np.full(SHAPE, 5.0)
    sigma[:, 118:] = 8.0
    sigma[90:, :118] = 6.5
    areas = found_areas(white(2, sigma))
    assert len(areas) == 3
    ratio = areas.over(WHOLE, float) / sigma
    # to a few pixels on both sides of the weakest border
    assert np.mean(np.abs(ratio - 1) > 0.05) < 0.02


def test_steps_of_twelve_pixels():
    depth = np.clip(1 + np.minimum(np.arange(250), 249 - np.arange(250))
                    // 12, 1, 6)
    sigma = np.broadcast_to(20 / np.sqrt(depth)[:, np.newaxis], SHAPE)
    ratio = found_areas(white(3, sigma)).over(WHOLE, float) / sigma
    assert_allclose(np.percentile(ratio, [5, 95]), 1, atol=0.05)


def test_one_level_has_no_areas():
    # a chance of one in some thousands for each
    assert not any(found_areas(white([4, seed])) for seed in range(100))


def test_missing_pixels_do_not_count():
    sigma = np.full(SHAPE, 5.0)
    sigma[:, 120:] = 12.0
    values = white(5, sigma)
    valid = np.random.default_rng(6).random(SHAPE) > 0.02
    expected = found_areas(values, valid).over(WHOLE, float)
    values[~valid] = 1e9
    assert_array_equal(found_areas(values, valid).over(WHOLE, float),
                       expected)
    assert_allclose(expected / sigma, 1, atol=0.03)


@pytest.mark.parametrize('shape', [(8, 900), (900, 12), (5, 5)])
def test_planes_without_a_cell_have_no_areas(shape):
    plane = torch.from_numpy(np.random.default_rng(6).normal(
        size=shape).astype(np.float32))
    valid = plane < 2
    blocks = block_levels(plane, valid, large=True)
    cells = area_cells(plane, valid, blocks)
    assert cells.squares.shape == tuple(n // 16 for n in shape)
    assert find_areas(cells) is None


def test_light_of_its_own_is_structure():
    y, x = np.indices(SHAPE)
    inside = x >= 120
    values = white(7) + inside * 400 * np.sin(x / 9) * np.sin(y / 9)
    values += inside * 7 * np.random.default_rng(8).standard_normal(SHAPE)
    assert found_areas(values) is None


def test_window_is_part_of_the_whole():
    sigma = np.full(SHAPE, 5.0)
    sigma[70:, 120:] = 12.0
    areas = found_areas(white(9, sigma))
    window = (slice(64, 200), slice(128, 330))
    assert_array_equal(areas.over(window, np.float32),
                       areas.over(WHOLE, np.float32)[window])
    means, crossed = areas.means((7, 10), 32)
    logs = np.log(areas.over((slice(0, 224), slice(0, 320)), float))
    logs = logs.reshape(7, 32, 10, 32)
    assert_allclose(means, logs.mean((1, 3)))
    assert_array_equal(crossed, np.ptp(logs, axis=(1, 3)) > 0)
    # of blocks that the plane does not fill, what it fills
    last, _ = areas.means((8, 11), 32)
    assert_allclose(last[-1, -1], logs[-1, -1, -1, -1])
