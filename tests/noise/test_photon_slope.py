# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the growth of the variance with the light.
"""

import math

import pytest
import torch

from astro_denoise.noise.photon_slope import photon_slope


def slopes(n, name='value'):
    light = (100 + 2000 * torch.linspace(-1, 1, 300).square()).expand(300, 300)
    found = []
    for seed in range(1, n + 1):
        values = torch.poisson(
            light, generator=torch.Generator().manual_seed(seed))
        found.append(getattr(
            photon_slope(values, values > 0, 10.0, 100.0), name))
    return found


def test_slope_is_not_overestimated():
    # A noise too large would smooth the cores of stars.
    assert max(slopes(20)) < 1.1


def test_slope_of_photons():
    # One error low, by design; never as if there were no photons.
    found = slopes(20)
    assert 0.9 < sum(found) / len(found) < 1.0
    assert min(found) > 0.8
    found = slopes(20, 'mean')
    assert 0.95 < sum(found) / len(found) < 1.02


@pytest.mark.parametrize(('name', 'gain'), [
    ('15 % masked, one by one', 1.5), ('dead pixels 5 %', 1.0),
    ('sentinel -9999 in 2 % of the pixels, one by one', 1.0)])
def test_slope_where_pixels_are_missing_one_by_one(zoo, name, gain):
    found = []
    for seed in range(3):
        frame, values, valid = zoo(name, seed, (512, 512))
        valid &= torch.from_numpy(frame.real)
        found.append(photon_slope(
            values, valid, frame.level, float(values[valid].median()),
            fwhm=frame.fwhm))
    assert all(math.isfinite(one.limit) for one in found)
    # the noise of pixels of 15 sigma to a quarter
    assert 0.4 < gain * sorted(one.mean for one in found)[1] < 2.5
