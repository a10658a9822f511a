# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of cosmic rays, bad columns and saturation.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.simulation.artefacts import (
    bad_columns,
    cosmic_rays,
    saturate,
)


def test_cosmic_rays_charge():
    # Far from the edges, the charge is the level times the length.
    rng = np.random.default_rng(3)
    total = sum(cosmic_rays((300, 300), 1, charge=(500.0, 500.0),
                            rng=rng).sum() for _ in range(300)) / 300
    # Mean of max(exponential(6) cut at 40, 1): 6.08 pixels; a few per cent
    # of the tracks lie over the edge.
    assert_allclose(total, 500 * 6.08, rtol=0.15)


def test_cosmic_rays_range():
    rng = np.random.default_rng(4)
    image = cosmic_rays((200, 200), 40, charge=(1e3, 2e3), rng=rng)
    assert image.dtype == np.float32
    assert image.min() == 0
    assert 50 < np.count_nonzero(image > 300) < 1500
    assert not cosmic_rays((20, 20), 0, rng=rng).any()


@pytest.mark.parametrize('shape', [(1, 1), (3, 50)])
def test_cosmic_rays_small(shape):
    image = cosmic_rays(shape, 20, rng=np.random.default_rng(5))
    assert image.shape == shape
    assert np.all(np.isfinite(image))


def test_cosmic_rays_seed():
    first, second = (cosmic_rays((50, 50), 5, rng=np.random.default_rng(6))
                     for _ in range(2))
    assert_array_equal(first, second)


def test_bad_columns():
    bad = bad_columns((100, 300), 200, rng=np.random.default_rng(7))
    assert bad.dtype == bool
    starts = np.argmax(bad, axis=0)[bad.any(axis=0)]
    # From its start upwards a column is bad without gaps.
    assert_array_equal(bad.sum(axis=0)[bad.any(axis=0)], 100 - starts)
    assert (starts == 0).any()
    assert (starts > 0).any()
    assert not bad_columns((9, 9), 0, rng=np.random.default_rng(7)).any()


def test_saturate_nothing():
    image = np.random.default_rng(8).uniform(0, 9, (20, 20))
    clipped, saturated = saturate(image, 10.0)
    assert_array_equal(clipped, image)
    assert not saturated.any()


def test_saturate_keeps_charge():
    image = np.full((60, 5), 3.0, dtype=np.float32)
    image[28:31, 2] = [50.0, 200.0, 40.0]
    image[29, 3] = 25.0
    original = image.copy()
    clipped, saturated = saturate(image, 20.0)
    assert_array_equal(image, original)
    assert clipped.dtype == np.float32
    assert_allclose(clipped.sum(axis=0), image.sum(axis=0), rtol=1e-6)
    assert clipped.max() == 20.0
    assert_array_equal(saturated, clipped >= 20.0)
    assert saturated[:, 2].sum() > 10
    # Both ways equally, and no other column.
    assert_allclose(clipped[29 - 9:29, 3], clipped[30:30 + 9, 3][::-1])
    assert_array_equal(clipped[:, [0, 1, 4]], image[:, [0, 1, 4]])


def test_saturate_two_groups():
    image = np.zeros((80, 1))
    image[[30, 34], 0] = 100.0
    clipped, saturated = saturate(image, 10.0)
    assert_allclose(clipped.sum(), 200)
    assert saturated.sum() == 20
    assert saturated[30:35].all()


def test_saturate_at_the_edge():
    # What leaves the frame is lost.
    image = np.zeros((5, 1))
    image[0] = 100.0
    clipped, saturated = saturate(image, 10.0)
    assert saturated.all()
    assert_allclose(clipped, 10.0)


def test_saturate_without_bleeding():
    image = np.zeros((5, 1))
    image[2] = 100.0
    clipped, saturated = saturate(image, 10.0, bleed=False)
    assert_array_equal(clipped[:, 0], [0, 0, 10, 0, 0])
    assert saturated.sum() == 1
