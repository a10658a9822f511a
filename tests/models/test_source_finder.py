# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the network for centers of sources.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.models.candidate_scores import (
    PURITIES,
    CandidateScores,
    corners,
)
from astro_denoise.models.denoiser import psf_context
from astro_denoise.models.source_finder import SourceFinder, smoothed


def test_filters_of_unit_noise_and_a_width_each():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(2, 1, 256, 256, generator=generator)
    widths = torch.tensor([1.5, 6.0])
    assert_allclose(smoothed(noise, widths).std((1, 2, 3)).numpy(), 1.0,
                    rtol=0.1)
    one = torch.zeros(2, 1, 65, 65)
    one[..., 32, 32] = 1.0
    spread = smoothed(one, widths)[:, 0]
    # Half as high at half the width, that of a pixel included.
    for plane, width in zip(spread.numpy(), widths.numpy(), strict=True):
        whole = 2.3548 * np.hypot(width / 2.3548, 12.0**-0.5)
        place = round(float(whole) / 2)
        expected = 0.5**((2 * place / whole)**2)
        assert_allclose(plane[32, 32 + place] / plane[32, 32], expected,
                        rtol=1e-3)


def test_masked_windows_and_whole_ones_agree():
    image = torch.randn(1, 1, 64, 72, generator=torch.Generator(
        ).manual_seed(2))
    whole = torch.ones_like(image)
    holed = whole.clone()
    holed[..., 60, 70] = 0.0
    context = torch.tensor([psf_context(2.0)])
    planes = [SourceFinder((4, 6)).planes(image * valid, valid, context)
              for valid in (whole, holed)]
    # Beyond the filters nothing knows of the hole; counts come two ways.
    assert_allclose(planes[0][..., :40, :40].numpy(),
                    planes[1][..., :40, :40].numpy(), atol=1e-6)
    assert (planes[0] != planes[1])[..., 50:, 60:].any()


def test_precision_changes_little():
    network = SourceFinder((8, 12)).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.1, generator=generator)
    image = torch.randn(2, 1, 64, 64, generator=generator)
    context = torch.tensor([psf_context(2.0), psf_context()])
    with torch.inference_mode():
        full, half = (network(image, torch.ones_like(image), context,
                              dtype=dtype)
                      for dtype in (torch.float32, torch.bfloat16))
    for name, plane in full.items():
        assert_allclose(half[name].numpy(), plane.numpy(), atol=0.1)


@pytest.mark.parametrize('height', [1.0, 1e3, 1e7, 1e30])
def test_planes_are_bounded(height):
    image = torch.zeros(1, 1, 64, 64)
    image[..., 30:33, 30:33] = height
    image[..., 50, 50] = -height
    planes = SourceFinder((4, 6)).planes(
        image, torch.ones_like(image), torch.tensor([psf_context(3.0)]))
    assert planes.shape == (1, 8, 64, 64)
    assert torch.isfinite(planes).all()
    assert planes.abs().max() <= 4.0


def test_reach_is_that_of_the_network():
    network = SourceFinder((6, 8, 10)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    side = 8 * (2 * network.reach // 8 + 8)
    image = torch.randn(1, 1, 16, side, generator=generator)
    changed = image.clone()
    changed[..., 0] += 3.0
    ones, context = torch.ones_like(image), torch.tensor([psf_context(3.0)])
    with torch.no_grad():
        difference = sum(
            (network(changed, ones, context)[name]
             - network(image, ones, context)[name]).abs().amax((0, 1, 2))
            for name in ('center', 'dx'))
    assert not difference[network.reach + 1:].any()
    assert difference[:network.reach // 2].any()


def test_corners():
    low, share = corners(torch.tensor([0.0, 0.5, 2.0]), (0.0, 1.0, 2.0))
    assert low.tolist() == [0, 0, 1]
    assert share.tolist() == [0.0, 0.5, 1.0]


def test_new_scores_change_nothing():
    scores = CandidateScores()
    expected = torch.tensor([0.1, 0.5, 0.9])
    kinds = torch.full((3,), -3.0), torch.full((3,), 0.3)
    assert_allclose(torch.sigmoid(scores.logit(expected, *kinds)).numpy(),
                    expected.numpy(),
                    rtol=1e-3)
    for purity in PURITIES:
        assert_allclose(scores.threshold(purity, *kinds).numpy(), purity,
                        rtol=1e-4)


def test_shipped_scores_are_monotone():
    scores = load_model('ccd-sources').network.scores
    assert (torch.diff(scores.calibration) > 0).all()
    assert (torch.diff(scores.thresholds) >= 0).all()
