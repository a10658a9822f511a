# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the pixels that stand alone.
"""

import pytest
import torch

from astro_denoise.models.lone_pixels import find_lone_pixels


def test_what_the_network_leaves_alone_is_alone():
    # Its neighbors in the frame are bright enough by chance.
    x = torch.zeros(1, 1, 16, 16)
    x[..., 7:10, 7:10] = 2.0
    x[..., 8, 8] = 4.5
    valid, fwhm = torch.ones_like(x), torch.tensor([3.1])
    peak = torch.zeros_like(x)
    peak[..., 8, 8] = 2.0
    shares = [float(find_lone_pixels(x, signal, valid, fwhm).share[..., 8, 8])
              for signal in (peak, 0.5 * x)]
    assert shares == pytest.approx([0.0, 1.0], abs=0.01)
    noise, log_variance = find_lone_pixels(x, peak, valid, fwhm).without_peaks(
        x - peak, torch.zeros_like(x), peak)
    assert float((x - noise)[..., 8, 8]) == pytest.approx(0.0, abs=0.02)
    assert not log_variance.any()


def test_cosmic_ray_is_no_neighbor():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 8, 8] = 100.0
    valid, fwhm = torch.ones_like(x), torch.tensor([3.0])
    lone = find_lone_pixels(x, x, valid, fwhm)
    assert float(lone.ray.sum()) == float(lone.ray[..., 8, 8]) == 1.0
    assert torch.equal(lone.good, 1.0 - lone.ray)
    assert not lone.near.any()
    # A star has its light beside it, and masked pixels count for nothing.
    y, column = torch.meshgrid(*[torch.arange(16.0) - 8.0] * 2,
                               indexing='ij')
    star = 100.0 * torch.exp(-0.5 * (y**2 + column**2) / 1.3**2)[None, None]
    assert not find_lone_pixels(star, star, valid, fwhm).ray.any()
    valid[..., 7:10, 7:10] = 0.0
    valid[..., 8, 8] = 1.0
    masked = star * valid
    assert float(find_lone_pixels(masked, masked, valid, fwhm).ray[
        ..., 8, 8]) == pytest.approx(1.0)
