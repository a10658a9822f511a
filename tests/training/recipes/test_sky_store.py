# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of stored skies, and of the batches that are drawn from them.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.models.expected_counts import ExpectedCounts
from astro_denoise.models.sky_posterior import SkyPosterior
from astro_denoise.training.options import Run, Schedule
from astro_denoise.training.recipes import sky_store
from astro_denoise.training.recipes.galactic_sky import (
    SkyBatches,
    sky_posterior_loss,
)
from astro_denoise.training.recipes.gc_counts import (
    CountsBatches,
    counts_loss,
)
from astro_denoise.training.recipes.sky_head import (
    draw_sky_features,
    train_sky_head,
)
from astro_denoise.training.recipes.sky_store import SkyStore


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sky_store, '_PART', 16)
        patch.setattr(sky_store, '_KINDS', {
            'nuisances': {'fixed': 12, 'realistic': 4},
            'tiers': {'legacy': 6, 'fixed': 6, 'realistic': 4}})
        folder = tmp_path_factory.mktemp('skies')
        yield {kind: SkyStore(folder, 20, 7, kind=kind)
               for kind in ('nuisances', 'tiers')}


def test_skies_are_drawn_once(stores):
    store = stores['nuisances']
    assert len(store) == 32
    times = {path: path.stat().st_mtime_ns
             for path in store.folder.iterdir()}
    again = SkyStore(store.folder, 20, 7)
    assert times == {path: path.stat().st_mtime_ns
                     for path in store.folder.iterdir()}
    rows = np.array([3, 30])
    for mine, theirs in zip(store.skies(rows), again.skies(rows),
                            strict=True):
        assert_array_equal(mine, theirs)
    expected, parameters, nuisances = store.skies(rows)
    assert expected.shape == (2, 64, 64)
    assert parameters.shape == nuisances.shape == (2, 6)
    assert (nuisances >= 0).all()
    assert torch.isnan(stores['tiers'].skies(rows)[2]).all()


def test_batches_of_the_posterior(stores):
    batches = SkyBatches(stores['nuisances'], (0.2, 5.0), batch_size=48)
    batch = batches.batch([1, 2])
    for name, plane in batches.batch([1, 2]).items():
        assert_array_equal(batch[name], plane)
    assert batch['parameters'].shape == (48, 6)
    told = np.isfinite(batch['exposure'])
    assert 0.25 < told.mean() < 0.75
    exposure = 0.2 * 25.0**batch['nuisances'][:, 0]
    assert_allclose(batch['exposure'][told], exposure[told], rtol=0.1)
    masked = (batch['valid'] == 0).any((1, 2))
    assert 0.2 < masked.mean() < 0.8
    assert batch['valid'].any((1, 2)).all()
    network = SkyPosterior(width=8, context=16)
    loss, numbers = sky_posterior_loss(
        network, {name: torch.from_numpy(plane)
                  for name, plane in batch.items()}, 0, torch.float32)
    assert torch.isfinite(loss)
    assert np.isfinite(numbers['parameters'])


def test_batches_of_counts(stores):
    batches = CountsBatches(stores['tiers'], stores['nuisances'],
                            batch_size=24)
    batch = batches.batch(5)
    expected, valid = batch['expected'], batch['valid'] > 0
    pulls = ((batch['image'] - expected) / np.sqrt(expected))[valid]
    assert pulls.std() == pytest.approx(1, abs=0.02)
    assert (batch['image'][~valid] == 0).all()
    loss, _ = counts_loss(
        ExpectedCounts((8, 16)), {name: torch.from_numpy(plane)
                                  for name, plane in batch.items()},
        0, torch.float32)
    assert torch.isfinite(loss)


def test_head_of_the_posterior(stores):
    """What is trained on whitened features is the network that comes out."""
    network = SkyPosterior().eval().requires_grad_(requires_grad=False)
    batches = SkyBatches(stores['nuisances'], network.exposures,
                         batch_size=48)
    drawn, judged = (draw_sky_features(network, batches, number, seed,
                                       run=Run())
                     for number, seed in ((3, 1), (1, 2)))
    made, log = train_sky_head(
        network.requires_grad_(), drawn, judged,
        Schedule(6, 1e-3, warmup=1, log_every=2), Run(), rank=16,
        n_components=40)
    assert made.config['rank'] == 16
    assert log[-1]['validation'] < log[0]['validation']
    context = made.condensed(judged.features.float(), judged.conditions)
    found = -made.log_prob(judged.parameters, context).mean()
    best = min(log, key=lambda row: row['score'])
    assert float(found) == pytest.approx(best['validation'], rel=1e-3)
    # The same from the images themselves.
    batch = {name: torch.from_numpy(plane) for name, plane
             in batches.batch([2, 0]).items()}
    again = made.embed(batch['image'], valid=batch['valid'],
                       exposure=batch['exposure'])
    assert_allclose(again, context, atol=0.05)
