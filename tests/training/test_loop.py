# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training loop.
"""

import json
import signal

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.training.checkpoints import Checkpoint
from astro_denoise.training.loop import train
from astro_denoise.training.options import Run, Schedule
from astro_denoise.training.recipes.ccd import train_supervised
from astro_denoise.training.scenes import draw_scenes

SLOPE = np.array([[1.0, -2.0, 0.5]], np.float32)


class InterruptedTrainingError(Exception):
    pass


def line():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 1)


def make_batch(seed):
    x = np.random.default_rng(seed).standard_normal((32, 3), np.float32)
    return {'x': x, 'y': x @ SLOPE.T + 0.3}


def squared(model, batch, step, dtype):
    error = model(batch['x']) - batch['y']
    return error.square().mean(), {'size': float(error.detach().abs().mean()),
                                   'number': float(step)}


def fit(model=None, *, batches=make_batch, loss=squared, seed=3,
        checkpoint=None, configuration=None, **schedule):
    return train(model or line(), batches, loss,
                 Schedule(**{'n_steps': 40, 'log_every': 7, **schedule}),
                 Run(seed=seed, checkpoint=Checkpoint(checkpoint, 0.0)),
                 configuration=configuration)


def interrupted(step):
    """
    Batches, until the power fails.
    """
    def make(seed):
        if seed[1] == step:
            raise InterruptedTrainingError
        return make_batch(seed)

    return make


def assert_same(one, other):
    for (name, first), second in zip(one.state_dict().items(),
                                     other.state_dict().values(),
                                     strict=True):
        assert torch.equal(first, second), name


def test_it_learns():
    averaged, log = fit(n_steps=600, learning_rate=0.1)
    assert_allclose(averaged.weight.detach(), SLOPE, atol=0.02)
    assert_allclose(averaged.bias.detach(), 0.3, atol=0.02)
    assert log[-1]['loss'] < 1e-3 * log[0]['loss']


def test_log():
    _, log = fit(n_steps=40)
    assert [row['step'] for row in log] == [7, 14, 21, 28, 35]
    assert set(log[0]) == {'step', 'loss', 'gradient', 'size', 'number'}
    # Means over the steps since the last row.
    assert [row['number'] for row in log] == [3, 10, 17, 24, 31]
    assert all(np.isfinite(list(row.values())).all() for row in log)
    json.dumps(log)


def test_batches_depend_on_seed_and_step_alone():
    seeds = []
    fit(batches=lambda seed: (seeds.append(seed), make_batch(seed))[1],
        n_steps=3, seed=5)
    assert seeds == [[5, 0], [5, 1], [5, 2]]


def test_same_seed_same_weights():
    first, _ = fit()
    again, _ = fit()
    other, _ = fit(seed=4)
    assert_same(first, again)
    assert not torch.equal(first.weight, other.weight)


@pytest.mark.parametrize('step', [1, 13, 21, 39])
def test_resumed_training_gives_the_same(tmp_path, step):
    expected, expected_log = fit()
    checkpoint = tmp_path / 'state.pt'
    with pytest.raises(InterruptedTrainingError):
        fit(batches=interrupted(step), checkpoint=checkpoint)
    resumed = line()
    with torch.no_grad():
        resumed.weight += 1.0  # whatever it is, the checkpoint counts
    averaged, log = fit(resumed, checkpoint=checkpoint)
    assert_same(averaged, expected)
    assert log == expected_log
    assert [path.name for path in tmp_path.iterdir()] == ['state.pt']


def test_resumed_training_of_a_denoiser(tmp_path, small_network):
    scenes = draw_scenes(1, seed=1, size=80)

    def run(checkpoint=None):
        network = small_network((6, 8), (1.5, 3.0)).requires_grad_()
        network.kernels.requires_grad_(requires_grad=False)
        return train_supervised(
            network, scenes, Schedule(4),
            Run(checkpoint=Checkpoint(checkpoint, 0.0)), bias_weight=10.0,
            patch=32, n_clean=2, n_copies=2)

    expected, _ = run()
    torch.manual_seed(99)
    state = tmp_path / 'state.pt'
    original = torch.optim.AdamW.step
    calls = []

    def step(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedTrainingError
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, 'step', step)
        with pytest.raises(InterruptedTrainingError):
            run(state)
    averaged, _ = run(state)
    assert_same(averaged, expected)


def test_finished_training_is_not_repeated(tmp_path):
    checkpoint = tmp_path / 'state.pt'
    expected, log = fit(checkpoint=checkpoint)
    averaged, log_again = fit(batches=interrupted(0), checkpoint=checkpoint)
    assert_same(averaged, expected)
    assert log_again == log


@pytest.mark.parametrize(('other', 'message'), [
    ({'configuration': {'widths': [9]}}, r'state\.pt .*6, 8.* not for .*9'),
    ({'seed': 4}, r'"seed": 3.* not for .*"seed": 4'),
    ({'learning_rate': 0.1}, r'not for .*"learning_rate": 0\.1'),
    ({'n_steps': 41}, r'not for .*"n_steps": 41')])
def test_checkpoint_of_another_configuration(tmp_path, other, message):
    checkpoint = tmp_path / 'state.pt'
    options = {'checkpoint': checkpoint,
               'configuration': {'widths': [6, 8]}}
    fit(**options)
    before = checkpoint.read_bytes()
    with pytest.raises(ValueError, match=message):
        fit(**{**options, **other})
    assert checkpoint.read_bytes() == before


def scored(scores, **options):
    """
    Train with given scores.
    """
    scores = iter(scores)
    return train(line(), options.pop('batches', make_batch), squared,
                 Schedule(60, log_every=7, patience=3),
                 Run(seed=3, **options),
                 evaluate=lambda averaged: {'score': next(scores)})


def without_time(log):
    return [{name: value for name, value in row.items() if name != 'minutes'}
            for row in log]


def test_patience_outlasts_a_resume(tmp_path):
    scores = [5.0, 3.0, 4.0, 4.5, 6.0, 1.0]
    expected, log = scored(scores)
    assert [row['score'] for row in log] == scores[:5]
    checkpoint = Checkpoint(tmp_path / 'state.pt', 0.0)
    with pytest.raises(InterruptedTrainingError):
        scored(scores, checkpoint=checkpoint, batches=interrupted(24))
    averaged, resumed_log = scored(scores[3:], checkpoint=checkpoint)
    assert_same(averaged, expected)
    assert without_time(resumed_log) == without_time(log)
    # It is over, and stays so.
    again, again_log = scored([], checkpoint=checkpoint)
    assert_same(again, expected)
    assert again_log == resumed_log


@pytest.mark.parametrize('content', [b'', b'abc', None])
def test_damaged_checkpoint(tmp_path, content):
    checkpoint = tmp_path / 'state.pt'
    fit(checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:len(whole) // 2] if content is None
                           else content)
    with pytest.raises(OSError, match=r'state\.pt is not a whole checkpoint'):
        fit(checkpoint=checkpoint)


def test_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    checkpoint = tmp_path / 'state.pt'
    fit(n_steps=5, checkpoint=checkpoint)
    before = checkpoint.read_bytes()

    def save(state, path):
        with open(path, 'wb') as file:
            file.write(before[:50])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', save)
    with pytest.raises(OSError, match='No space left'):
        fit(n_steps=5, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ['state.pt']


def test_learning_rate():
    rates = []

    def loss(model, batch, step, dtype):
        rates.append(optimizers[0].param_groups[0]['lr'])
        return squared(model, batch, step, dtype)

    optimizers = []
    original = torch.optim.AdamW

    def build(*arguments, **options):
        optimizers.append(original(*arguments, **options))
        return optimizers[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, 'AdamW', build)
        fit(loss=loss, n_steps=1000, learning_rate=0.1)
    # It rises, and falls to a hundredth.
    assert_allclose(max(rates), 0.1, rtol=0.01)
    assert_allclose(rates[-1], 1e-3, rtol=0.01)
    peak = int(np.argmax(rates))
    assert np.all(np.diff(rates[:peak]) > 0)
    assert np.all(np.diff(rates[peak:]) <= 0)


def test_step_without_a_finite_gradient_is_left_out():
    def loss(model, batch, step, dtype):
        value, numbers = squared(model, batch, step, dtype)
        return value * (np.nan if step == 2 else 1.0), numbers

    averaged, _ = fit(loss=loss, n_steps=5)
    assert torch.isfinite(averaged.weight).all()


def test_result_is_the_mean_of_the_weights():
    model = line()
    start = model.weight.detach().clone()
    averaged, _ = fit(model, n_steps=1, ema_decay=0.999)
    # After the first step, the mean takes nine tenths of it.
    assert_allclose(averaged.weight.detach(),
                    0.1 * start + 0.9 * model.weight.detach(), rtol=1e-5)
    assert not averaged.training


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_recipe_after_its_checkpoint(tmp_path, number):
    path = tmp_path / 'state.pt'

    def make(seed):
        if seed[1] == 4:
            signal.raise_signal(number)
        return make_batch(seed)

    with pytest.raises(KeyboardInterrupt, match=str(int(number))):
        train(line(), make, squared, Schedule(n_steps=40),
              Run(seed=3, checkpoint=Checkpoint(path)))
    assert torch.load(path)['step'] == 5
