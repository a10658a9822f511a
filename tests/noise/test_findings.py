# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of measuring the noise of frames that are no blank sky.
"""

import numpy as np
import pytest
import torch

from astro_denoise.noise.findings import measure_noise
from astro_denoise.simulation import render_sources


def measure(values):
    values = np.asarray(values, float)
    valid = torch.as_tensor(np.isfinite(values))
    return measure_noise(
        torch.as_tensor(np.nan_to_num(values).astype(np.float32)), valid)


def crowd(density, fwhm, seed=1, shape=(384, 384)):
    rng = np.random.default_rng(seed)
    n = int(density * shape[0] * shape[1] / 1e6)
    return render_sources(shape, {
        'x': rng.uniform(0, shape[1], n), 'y': rng.uniform(0, shape[0], n),
        'flux': 10**rng.uniform(2.0, 4.5, n)}, fwhm, 3.5)


@pytest.mark.parametrize('kind', ['blank', 'crowded', 'border', 'sentinel',
                                  'dead', 'nan'])
@pytest.mark.parametrize('seed', [1, 2])
def test_level_of_white_noise(kind, seed):
    rng = np.random.default_rng(seed)
    frame = 500 + rng.normal(0, 8, (384, 384))
    if kind == 'crowded':
        frame += crowd(6000, 3.0, seed)
    elif kind == 'border':
        frame[:120] = 0
    elif kind == 'sentinel':
        frame[:100] = -9999
    elif kind == 'dead':
        frame[rng.random(frame.shape) < 0.05] = 0
    elif kind == 'nan':
        frame[:, :100] = np.nan
    found = measure(frame)
    assert found.verdict == 'white'
    assert abs(found.level / 8 - 1) < 0.05


@pytest.mark.parametrize('noise', [0.25, 0.5, 1.0])
def test_level_of_rounded_pixels(noise):
    frame = np.round(np.random.default_rng(1).normal(500.3, noise,
                                                     (384, 384)))
    found = measure(frame)
    assert abs(found.level / np.std(frame) - 1) < 0.1


@pytest.mark.parametrize('axis', [0, 1])
def test_resampled_noise_is_correlated(axis):
    noise = np.random.default_rng(1).normal(0, 8, (384, 384))
    frame = 500 + (noise + np.roll(noise, 1, axis)) / 2
    found = measure(frame)
    assert found.verdict == 'correlated'
    assert abs(max(found.correlation) - 0.5) < 0.05
    assert abs(found.level / np.std(frame) - 1) < 0.05


def test_no_correlation_is_found_in_white_frames():
    rng = np.random.default_rng(3)
    found = [measure(rng.normal(100, 5, (256, 256))) for _ in range(40)]
    assert {each.verdict for each in found} == {'white'}
    assert abs(np.mean([each.level for each in found]) / 5 - 1) < 0.01
