# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the compiled rows of a photon noise map.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from astro_denoise.noise import photon_noise_map, strips

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
        monkeypatch.setattr(strips, 'FEWEST_COMPILED', fewest)
        maps.append(photon_noise_map(values, valid, 0.65, 9.0,
                                     pedestal=20.0))
    assert maps[0].dtype == np.float32
    assert_allclose(*maps, rtol=2e-6)
