# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the histogram of the noise.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from astro_denoise.training.frame_store import TrainingFrame
from astro_denoise.training.noise_mixture import fit_noise_mixture


def test_measured_noise():
    rng = np.random.default_rng(1)
    shape = (500, 500)
    wide = rng.random(shape) < 0.1
    noise = np.where(wide, 2.5, 0.7) * rng.standard_normal(shape)
    frame = TrainingFrame('image 1', noise.astype(np.float32),
                          np.zeros(shape, np.float32), 0, 1.0, {}, None)
    weight, mean, width = np.transpose(fit_noise_mixture([frame]))
    assert_allclose(weight.sum(), 1.0)
    assert_allclose((weight * mean).sum(), 0.0, atol=1e-6)
    found = (weight * (mean**2 + width**2)).sum()
    assert_allclose(found, noise.var(), rtol=0.05)
    fourth = (weight * (3 * width**4 + 6 * width**2 * mean**2
                        + mean**4)).sum()
    assert_allclose(fourth / found**2, (noise**4).mean() / noise.var()**2,
                    rtol=0.15)


def test_noise_cannot_be_measured_without_sky():
    frame = TrainingFrame('image 1', np.full((64, 64), 9.0, np.float32),
                          np.zeros((64, 64), np.float32), 0, 1.0, {}, None)
    with pytest.raises(ValueError, match='noise_model must be "map"'):
        fit_noise_mixture([frame])
