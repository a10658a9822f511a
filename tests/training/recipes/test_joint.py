# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training of a segmenter and a posterior together.
"""

import copy

import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator
from astro_denoise.training.options import Run, Schedule
from astro_denoise.training.recipes.joint import (
    JointNetwork,
    joint_loss,
    train_joint,
)
from astro_denoise.training.recipes.segmenter import (
    SkySampler,
    segmentation_loss,
)


@pytest.fixture(scope='module')
def counts():
    return GalacticCenterSimulator('fixed').draw(250, 5)['images']


@pytest.fixture
def posterior():
    return copy.deepcopy(load_model('galactic-center',
                                    task='estimate').network)


@pytest.fixture(scope='module')
def batch():
    return {name: torch.from_numpy(plane) for name, plane
            in SkySampler(batch_size=12).batch([3, 1]).items()}


def test_training_goes_on_from_what_there_was(posterior, counts, batch):
    before = posterior.embed(counts[:20])
    network = JointNetwork(posterior, counts, n_components=240)
    image = counts[:20, None]
    _, context = network.eval()(
        image, torch.ones_like(image),
        posterior.coordinates.expand(20, -1, -1, -1),
        torch.arange(20))
    # But for the weakest components, which are left out.
    assert_allclose(context.detach(), before, atol=0.05)
    expected, _ = segmentation_loss(network.segmenter, batch, 0,
                                    torch.float32)
    loss, numbers = joint_loss(network, batch, 0, torch.float32)
    rest = loss - expected
    assert_allclose(rest.item() / numbers['posterior'], 0.003, rtol=1e-3)


def test_the_whitening_is_folded_in(posterior, counts):
    network = JointNetwork(posterior, counts, n_components=40).eval()
    image = counts[:20, None]
    with torch.no_grad():
        network.entry.weight += 0.01 * torch.randn(
            network.entry.weight.shape,
            generator=torch.Generator().manual_seed(1))
        _, context = network(
            image, torch.ones_like(image),
            posterior.coordinates.expand(20, -1, -1, -1), torch.arange(20))
        assert_allclose(network.folded().embed(counts[:20]), context,
                        rtol=1e-3, atol=2e-3)


def test_what_is_trained(posterior, counts, batch):
    network = JointNetwork(posterior, counts, n_components=40).train()
    assert not posterior.training
    joint_loss(network, batch, 0, torch.float32)[0].backward()
    for name, parameter in network.named_parameters():
        kept = name.startswith((
            'posterior.enter', 'posterior.blocks', 'posterior.embedding',
            'posterior.correction.0.'))
        assert parameter.requires_grad != kept, name
        assert (parameter.grad is None) == kept, name


def test_same_seed_same_pair(posterior, counts):
    pairs = [train_joint(copy.deepcopy(posterior), counts,
                         Schedule(2, warmup=1), Run(seed=4), batch_size=4)
             for _ in range(2)]
    for one, other in zip(*(pair[:2] for pair in pairs), strict=True):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name
    trained, segmenter, log = pairs[0]
    assert trained._segmenter[0] is segmenter
    assert not any(parameter.requires_grad for network in (trained, segmenter)
                   for parameter in network.parameters())
    assert len(log) == 0  # fewer steps than a row
    old = load_model('galactic-center', task='segment').network
    assert not torch.equal(old.head.weight, segmenter.head.weight)
