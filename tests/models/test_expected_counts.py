# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the network of expected counts.
"""

import math

import pytest
import torch

from astro_denoise.models.expected_counts import ExpectedCounts
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator


@pytest.fixture(scope='module')
def counts():
    return GalacticCenterSimulator().draw(64, 5)['images']


@pytest.fixture(scope='module')
def network(counts):
    torch.manual_seed(1)
    network = ExpectedCounts().eval().requires_grad_(requires_grad=False)
    torch.nn.init.normal_(network.head.weight, std=0.02)
    network.learn_statistics(counts, torch.ones_like(counts))
    return network


def test_counts_are_kept(network, counts):
    expected, error = network.denoise_images(counts)
    torch.testing.assert_close(expected.sum((1, 2)), counts.sum((1, 2)),
                               rtol=1e-4, atol=0)
    assert (expected > 0).all()
    assert (error > 0).all()
    valid = torch.ones_like(counts)
    valid[:, 20:30] = 0.0
    expected, _ = network.denoise_images(counts, valid)
    torch.testing.assert_close((expected * valid).sum((1, 2)),
                               (counts * valid).sum((1, 2)),
                               rtol=1e-4, atol=0)


def test_what_is_masked_does_not_matter(network, counts):
    valid = torch.ones_like(counts)
    valid[:, 20:30, 5:] = 0.0
    other = torch.where(valid > 0, counts, 1e4)
    for mine, theirs in zip(network.denoise_images(counts, valid),
                            network.denoise_images(other, valid),
                            strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(network.ood_score(counts, valid),
                               network.ood_score(other, valid))


def test_no_counts(network):
    expected, error = network.denoise_images(torch.zeros(1, 32, 48))
    assert float(expected.abs().max()) < 1e-3
    assert torch.isfinite(error).all()
    assert math.isnan(float(network.ood_score(
        torch.zeros(1, 32, 32), torch.zeros(1, 32, 32))))


def test_strange_images(network, counts):
    one = torch.ones(4, 64, 64)
    usual = network.ood_score(counts, torch.ones_like(counts))
    assert float(usual.square().mean()) == pytest.approx(1.0, abs=0.1)
    rng = torch.Generator().manual_seed(1)
    flat = torch.poisson(torch.full((4, 64, 64), 3000.0), generator=rng)
    for strange in (20.0 * counts[:4], flat):
        assert (network.ood_score(strange, one)
                > network.ood_threshold).all()
    # A part of an image is as usual as the whole.
    part = network.ood_score(counts[:, :32, :48], torch.ones(64, 32, 48))
    assert float((part < network.ood_threshold).float().mean()) > 0.9
