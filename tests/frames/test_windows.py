# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the geometry of tiles.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_denoise.frames.windows import plan_tiles


@given(ny=st.integers(1, 700), nx=st.integers(1, 700),
       height=st.integers(1, 400), width=st.integers(1, 400),
       halo=st.integers(0, 60), stride=st.sampled_from([1, 4, 16]))
def test_cores_cover_once_with_halo(ny, nx, height, width, halo, stride):
    plan = plan_tiles((ny, nx), (height, width), halo=halo, stride=stride)
    covered = np.zeros((ny, nx), int)
    for tile in plan.tiles:
        covered[tile.core] += 1
        for length, window, core, size in zip(
                (ny, nx), tile.window, tile.core, plan.window_shape,
                strict=True):
            assert window.stop - window.start == size
            assert window.start % stride == 0
            assert size % stride == 0
            assert window.start <= core.start < core.stop <= window.stop
            assert core.start == 0 or core.start - window.start >= halo
            assert core.stop == length or window.stop - core.stop >= halo
    assert np.all(covered == 1)


def test_small_frame_is_one_tile():
    plan = plan_tiles((30, 20), 512, halo=100, stride=16)
    assert plan.window_shape == (32, 32)
    assert len(plan.tiles) == 1


@pytest.mark.parametrize(('shape', 'halo', 'stride'),
                         [((0, 5), 1, 1), ((5, 5), -1, 1), ((5, 5), 1, 0)])
def test_bad_geometry(shape, halo, stride):
    with pytest.raises(ValueError, match='must be positive'):
        plan_tiles(shape, 16, halo=halo, stride=stride)


@pytest.mark.parametrize(('length', 'n_tiles', 'size'), [
    (64, 1, 64), (100, 2, 64), (144, 3, 64), (145, 4, 64), (104, 2, 64)])
def test_no_more_windows_than_needed(length, n_tiles, size):
    plan = plan_tiles((length, 8), size, halo=10, stride=8)
    assert len(plan.tiles) == n_tiles
    assert plan.window_shape[0] <= size
