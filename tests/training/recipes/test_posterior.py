# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training of posteriors.
"""

import copy

import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.training.checkpoints import Checkpoint
from astro_denoise.training.options import Run
from astro_denoise.training.recipes import posterior
from astro_denoise.training.recipes.posterior import (
    draw_features,
    principal_components,
    train_head,
)


@pytest.fixture
def network():
    return copy.deepcopy(load_model('galactic-center',
                                    task='estimate').network)


@pytest.fixture
def _few(monkeypatch):
    monkeypatch.setattr(posterior, '_CHUNK', 60)
    monkeypatch.setattr(posterior, '_DRAWN', 30)


def assert_same(one, other):
    for name, plane in vars(one).items():
        assert torch.equal(plane, getattr(other, name)), name


@pytest.mark.usefixtures('_few')
def test_features_are_kept(tmp_path, network, monkeypatch):
    expected = draw_features(copy.deepcopy(network), 120, Run(seed=2))
    assert_allclose(expected.features[:60].float().mean(0), 0.0, atol=2e-3)
    run = Run(seed=2, checkpoint=Checkpoint(tmp_path / 'state.pt'))
    draw_features(copy.deepcopy(network), 60, run, name='toy')
    resumed = copy.deepcopy(network)
    assert_same(draw_features(resumed, 120, run, name='toy'), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'toy.0000.pt', 'toy.0001.pt']
    with monkeypatch.context() as patch:
        patch.setattr(posterior, '_chunk', None)
        again = copy.deepcopy(network)
        assert_same(draw_features(again, 120, run, name='toy'), expected)
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.usefixtures('_few')
def test_features_of_another_network_are_refused(tmp_path, network):
    run = Run(checkpoint=Checkpoint(tmp_path / 'state.pt'))
    draw_features(copy.deepcopy(network), 60, run)
    with pytest.raises(ValueError, match='was written for'):
        draw_features(copy.deepcopy(network), 60,
                      Run(seed=1, checkpoint=run.checkpoint))
    with torch.no_grad():
        network.embedding[-1].weight[0] += 1.0
    with pytest.raises(ValueError, match='was written for'):
        draw_features(network, 60, run)


def test_principal_components():
    rng = torch.Generator().manual_seed(1)
    widths = torch.tensor([0.1, 3.0, 1.0])
    features = 5.0 + widths * torch.randn(4000, 3, generator=rng)
    mean, vectors, scale = principal_components(features, 2)
    assert_allclose(mean, 5.0, atol=0.2)
    assert_allclose(scale, [3.0, 1.0], rtol=0.1)
    assert_allclose(vectors.abs(), [[0, 0], [1, 0], [0, 1]], atol=0.05)


@pytest.mark.usefixtures('_few')
def test_head(network):
    drawn = draw_features(network, 120)
    logs, heads = [], []
    for seed in (1, 1, 2):
        trained = copy.deepcopy(network)
        logs.append(train_head(trained, drawn, Run(seed=seed), epochs=2,
                               n_components=20, batch_size=30,
                               n_validation=30))
        heads.append(trained.correction[0].weight)
    assert [row['step'] for row in logs[0]] == [3, 6]
    assert set(logs[0][0]) == {'step', 'loss', 'validation'}
    assert logs[0] == logs[1]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    # What was trained has no part outside of the components.
    assert torch.linalg.matrix_rank(heads[0][:, :-len(drawn.contexts[0])]
                                    ) <= 20
