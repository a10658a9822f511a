# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the growth of the variance with the light.
"""

import pytest
import torch

from astro_denoise.noise.photon_slope import photon_slope


def slopes(n):
    light = (100 + 2000 * torch.linspace(-1, 1, 300).square()).expand(300, 300)
    found = []
    for seed in range(1, n + 1):
        values = torch.poisson(
            light, generator=torch.Generator().manual_seed(seed))
        found.append(photon_slope(values, values > 0, 10.0, 100.0))
    return found


def test_slope_is_not_overestimated():
    # A noise too large would smooth the cores of stars.
    assert max(slopes(20)) < 1.1


@pytest.mark.xfail(reason='0.83 with a scatter of 0.29 over 20 frames whose '
                   'slope is 1; 0 in some, as if there were no photons')
def test_slope_of_photons():
    assert all(0.9 < slope < 1.1 for slope in slopes(20))
