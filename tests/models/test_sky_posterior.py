# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the posterior for real skies.
"""

import math

import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.models.sky_posterior import SkyPosterior
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator


@pytest.fixture(scope='module')
def counts():
    return GalacticCenterSimulator(nuisances=True).draw(40, 5)['images']


@pytest.fixture(scope='module')
def network(counts):
    torch.manual_seed(1)
    network = SkyPosterior().eval()
    network.start_from(load_model('galactic-center', task='estimate').network)
    network.requires_grad_(requires_grad=False)
    torch.nn.init.normal_(network.conditions.weight, std=0.1)
    network.learn_statistics(counts, torch.ones_like(counts))
    return network


@pytest.fixture
def valid(counts):
    rng = torch.Generator().manual_seed(3)
    valid = (torch.rand(counts.shape, generator=rng) > 0.2).float()
    valid[:, 28:36] = 0.0
    return valid


def test_it_starts_as_the_posterior_it_comes_from(counts):
    source = load_model('galactic-center', task='estimate').network
    network = SkyPosterior().eval().requires_grad_(requires_grad=False)
    network.start_from(source)
    torch.testing.assert_close(
        network.embed(counts), source.embedding(source.patches(counts)),
        rtol=1e-3, atol=1e-3)


def test_all_valid_is_as_without_a_mask(network, counts):
    ones = torch.ones_like(counts)
    unknown = torch.full((len(counts),), math.nan)
    torch.testing.assert_close(
        network.embed(counts, valid=ones, exposure=unknown),
        network.embed(counts))
    torch.testing.assert_close(network.statistics(counts, ones),
                               network.statistics(counts))
    torch.testing.assert_close(network.ood_score(counts, ones),
                               network.ood_score(counts))


def test_what_is_masked_does_not_matter(network, counts, valid):
    other = torch.where(valid > 0, counts, 1e4)
    torch.testing.assert_close(network.embed(counts, valid=valid),
                               network.embed(other, valid=valid))
    torch.testing.assert_close(network.ood_score(counts, valid),
                               network.ood_score(other, valid))
    statistics = network.statistics(counts, valid)
    # A block of which less than a third is left is not seen.
    seen = valid[:, :8, :8].mean((1, 2)) > 0.3
    assert (~torch.isnan(statistics[:, 0]) == seen).all()


def test_exposure_is_used(network, counts):
    exposure = torch.full((len(counts),), 2.0)
    assert not torch.allclose(network.embed(counts),
                              network.embed(counts, exposure=exposure))
    share = network.exposure_share(torch.tensor([0.2, 1.0, 5.0]))
    assert_allclose(share, [0, 0.5, 1], atol=1e-6)


def test_nuisances_are_drawn_within_their_ranges(network, counts):
    context = network.embed(counts)
    parameters = network.sampled(context, 1)[:, 0]
    exposure, shares = network.sample_nuisances(parameters, context)
    assert exposure.shape == (40,)
    assert ((exposure >= 0.2) & (exposure <= 5.0)).all()
    assert shares.shape == (40, 6)
    assert ((shares >= 0) & (shares <= 1)).all()
    density = network.nuisance_log_prob(
        torch.cat([network.exposure_share(exposure)[:, None], shares], 1),
        parameters + 0.5 * network.integer, context)
    assert torch.isfinite(density).all()


def test_score_of_few_blocks(network, counts):
    # Blocks that are not seen do not count: about 1, as for whole images.
    valid = torch.zeros_like(counts)
    valid[:, :, :32] = 1.0
    score = network.ood_score(counts, valid)
    assert float(score.square().mean()) == pytest.approx(1.0, abs=0.4)
