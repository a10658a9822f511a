# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the growth of the variance with the light.
"""

import torch

from astro_denoise.noise.photon_slope import photon_slope


def slopes(n):
    light = (100 + 2000 * torch.linspace(-1, 1, 300).square()).expand(300, 300)
    found = []
    for seed in range(1, n + 1):
        values = torch.poisson(
            light, generator=torch.Generator().manual_seed(seed))
        found.append(
            photon_slope(values, values > 0, 10.0, 100.0).value)
    return found


def test_slope_is_not_overestimated():
    # A noise too large would smooth the cores of stars.
    assert max(slopes(20)) < 1.1


def test_slope_of_photons():
    # One error low, by design; never as if there were no photons.
    found = slopes(20)
    assert 0.9 < sum(found) / len(found) < 1.0
    assert min(found) > 0.8
