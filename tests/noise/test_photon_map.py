# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the compiled rows of a photon noise map.
"""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from astro_denoise.noise import compiling, photon_noise_map

pytest.importorskip('numba')


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('shape', [(64, 64), (131, 70), (5, 7), (200, 3)])
@pytest.mark.parametrize('masked', [0.0, 0.1, 1.0])
def test_compiled_as_by_numpy(monkeypatch, dtype, shape, masked):
    rng = np.random.default_rng(1)
    values = rng.normal(200, 12, shape).astype(dtype)
    values[rng.random(shape) < 0.02] += 1e4
    valid = rng.random(shape) >= masked
    values[~valid] = np.nan
    maps = []
    for fewest in (0, np.inf):
        monkeypatch.setattr(compiling, 'FEWEST_COMPILED', fewest)
        maps.append(photon_noise_map(values, valid, 0.65, 9.0,
                                     pedestal=20.0))
    assert maps[0].dtype == np.float32
    assert_allclose(*maps, rtol=2e-6)


def test_compiled_where_nothing_can_be_kept(monkeypatch):
    import numba

    make = numba.njit

    def no_folder(*args, cache=False, **options):
        if cache:
            msg = 'cannot cache function: no locator available'
            raise RuntimeError(msg)
        return make(*args, **options)

    monkeypatch.setattr(numba, 'njit', no_folder)
    assert compiling.compiled(lambda x: x + 1)(1) == 2


def test_planes_of_a_stack_count_together():
    assert not compiling.compiling_pays((256, 256))
    with compiling.one_of_many(100 * 256**2):
        assert compiling.compiling_pays((256, 256))
    assert not compiling.compiling_pays((256, 256))


def test_a_numba_that_refuses_to_load(monkeypatch):
    monkeypatch.setitem(sys.modules, 'numba', None)
    compiling._has_numba.cache_clear()
    try:
        assert not compiling.compiling_pays((2048, 2048))
    finally:
        compiling._has_numba.cache_clear()
