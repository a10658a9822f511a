# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of training in epochs.
"""

import os
import signal

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.training.checkpoints import Checkpoint
from astro_denoise.training.options import Run
from astro_denoise.training.recipes.epochs import train_epochs
from astro_denoise.training.recipes.paper import squared_loss

X = torch.randn(96, 1, 4, 4, generator=torch.Generator().manual_seed(1))
Y = 0.5 * X + 0.1


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1),
                               torch.nn.Dropout(0.1))


def fit(*, seed=2, checkpoint=None, **options):
    return train_epochs(
        network(), (X[:64], Y[:64]), (X[64:], Y[64:]), squared_loss,
        Run(seed=seed, checkpoint=Checkpoint(checkpoint)),
        **{'epochs': 6, 'batch_size': 16, 'learning_rate': 0.05, **options})


def assert_same(one, other):
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, other.state_dict()[name])


def without_time(log):
    return [{name: value for name, value in row.items() if name != 'seconds'}
            for row in log]


def test_epochs_learn():
    model, log = fit()
    assert not model.training
    assert log[-1]['validation_mse'] < 0.1 * log[0]['train_mse']
    assert [row['epoch'] for row in log] == [1, 2, 3, 4, 5, 6]
    assert [row['kept'] for row in log] == 5 * [False] + [True]


def test_best_epoch_is_kept():
    # So fast that the loss goes up again.
    model, log = fit(patience=2, epochs=50, learning_rate=1.5)
    losses = [row['validation_loss'] for row in log]
    best = int(np.argmin(losses))
    assert len(log) == best + 3 < 50
    assert [row['kept'] for row in log].index(True) == best
    with torch.no_grad():
        loss, _ = squared_loss(model(X[64:]), Y[64:])
    assert_allclose(float(loss), losses[best], rtol=1e-5)


def test_same_seed_same_result():
    first, second = fit(), fit()
    assert_same(first[0], second[0])
    assert without_time(first[1]) == without_time(second[1])
    other, _ = fit(seed=3)
    assert not torch.equal(first[0][0].weight, other[0].weight)


def test_resumed(tmp_path):
    path = tmp_path / 'epochs.pt'
    fit(epochs=2, checkpoint=path, configuration={'a': 1})
    resumed, log = fit(checkpoint=path, configuration={'a': 1})
    straight, straight_log = fit()
    assert_same(resumed, straight)
    assert without_time(log) == without_time(straight_log)
    for options in ({'configuration': {'a': 2}}, {'seed': 5},
                    {'batch_size': 8}):
        with pytest.raises(ValueError, match='was written for'):
            fit(checkpoint=path, **{'configuration': {'a': 1}, **options})


def test_a_signal_within_an_epoch(tmp_path):
    path = tmp_path / 'epochs.pt'
    straight, straight_log = fit(patience=3)
    steps = []

    def interrupted(output, targets):
        steps.append(1)
        if len(steps) == 15:  # four of training, two of validation an epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return squared_loss(output, targets)

    with pytest.raises(KeyboardInterrupt):
        train_epochs(network(), (X[:64], Y[:64]), (X[64:], Y[64:]),
                     interrupted, Run(seed=2, checkpoint=Checkpoint(path)),
                     epochs=6, batch_size=16, learning_rate=0.05, patience=3)
    assert len(steps) == 15
    resumed, log = fit(checkpoint=path, patience=3)
    assert_same(resumed, straight)
    assert without_time(log) == without_time(straight_log)


def test_patience_outlasts_a_resume(tmp_path):
    path = tmp_path / 'epochs.pt'
    options = {'patience': 2, 'learning_rate': 1.5, 'checkpoint': path}
    expected, log = fit(epochs=50, patience=2, learning_rate=1.5)
    fit(epochs=len(log) - 1, **options)
    model, resumed_log = fit(epochs=50, **options)
    assert_same(model, expected)
    assert without_time(resumed_log) == without_time(log)
    _, again = fit(epochs=50, **options)
    assert without_time(again) == without_time(log)


def test_corrupted_images():
    def corrupt(images, generator):
        return images + torch.randn(images.shape, generator=generator)

    network()
    state = torch.get_rng_state()
    _, log = fit(corrupt=corrupt)  # calls network() too
    assert torch.equal(state, torch.get_rng_state())
    # Noise as strong as the signal leaves half of the variance.
    assert_allclose(log[-1]['validation_mse'], 0.125, rtol=0.35)
