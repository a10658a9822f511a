# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
import torch

from astro_denoise.models.posterior import PosteriorNetwork
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(3)
    return PosteriorNetwork(width=8, n_blocks=1, context=16,
                            transforms=1).eval().requires_grad_(
                                requires_grad=False)


@pytest.fixture(scope='module')
def counts():
    return GalacticCenterSimulator().draw(300, 5)['images']


def test_samples_are_within_the_priors(network, counts):
    samples = network.sample(counts[:3], 500,
                             torch.Generator().manual_seed(1))
    assert samples.shape == (3, 500, 6)
    lower, upper = GalacticCenterSimulator().bounds
    values = samples.numpy()
    assert (values >= lower).all()
    assert (values <= upper).all()
    assert (values[..., 4:] < upper[4:]).all()
    np.testing.assert_array_equal(values[..., 4:], values[..., 4:].round())
    # Not all in one corner.
    assert (values.std((0, 1)) > 0.05 * (upper - lower)).all()


def test_same_seed_same_samples(network, counts):
    first, again, other = (
        network.sample(counts[:2], 10, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_density_is_that_of_the_samples(network, counts):
    # The mean of 1 / density over samples is the volume of the prior: 1.
    samples = network.sample(counts[:1], 20000,
                             torch.Generator().manual_seed(1))[0]
    rng = torch.Generator().manual_seed(2)
    samples[:, 4:] += torch.rand((len(samples), 2), generator=rng)
    context = network.embed(counts[:1]).expand(len(samples), -1)
    density = network.log_prob(samples, context).exp()
    assert abs(float((1.0 / density).mean()) - 1.0) < 0.1


def test_unlike_images_have_a_high_score(counts):
    network = PosteriorNetwork(width=8, n_blocks=1, context=16, transforms=1)
    network.learn_statistics(counts)
    usual = network.ood_score(counts)
    assert abs(float(usual.square().mean()) - 1.0) < 0.05
    assert float(usual.max()) >= network.ood_threshold
    rng = torch.Generator().manual_seed(1)
    flat = torch.poisson(torch.full((1, 64, 64), 20.0), generator=rng)
    strange = torch.cat([flat, 10.0 * counts[:1],
                         counts[:1].transpose(1, 2)])
    assert (network.ood_score(strange) > network.ood_threshold).all()


def test_spread_is_learned(network, counts):
    other = PosteriorNetwork(**network.config).eval().requires_grad_(
        requires_grad=False)
    other.load_state_dict(network.state_dict())
    # What the network itself thinks possible has the right spread.
    samples = torch.stack([network.sample(
        counts[index:index + 1], 1, torch.Generator().manual_seed(index))[0, 0]
        for index in range(len(counts))])
    samples[:, 4:] += 0.5
    other.learn_spread(network.embed(counts), samples)
    assert abs(float(other.spread) - 1.0) < 0.15
    other.spread.fill_(2.0)
    wide = other.sample(counts[:1], 2000, torch.Generator().manual_seed(1))
    narrow = network.sample(counts[:1], 2000,
                            torch.Generator().manual_seed(1))
    assert float(wide[..., 0].std()) > 1.1 * float(narrow[..., 0].std())


def test_bfloat16_is_near_float32(network, counts):
    single = network.embed(counts[:4])
    half = network.embed(counts[:4], torch.bfloat16)
    assert float((single - half).abs().max()) < 0.05 * float(
        single.abs().max())


def test_compressed(network, counts):
    whole = network.embed(counts)
    same = network.compressed(counts, 256).requires_grad_(
        requires_grad=False)
    torch.testing.assert_close(same.embed(counts), whole, rtol=1e-3,
                               atol=1e-4)
    small = network.compressed(counts, 120).requires_grad_(
        requires_grad=False)
    assert small.config['rank'] == 120
    sizes = [sum(tensor.numel() for tensor in each.parameters())
             for each in (small, network)]
    assert sizes[0] < sizes[1]
    # Little of what differs between images is lost.
    error = (small.embed(counts) - whole).std(0)
    assert float((error / whole.std(0)).median()) < 0.1
