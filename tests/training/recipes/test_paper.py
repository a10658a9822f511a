# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training of the source document's networks.
"""

from functools import partial

import numpy as np
import pytest
import torch
from astropy.table import Table
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.training.epochs import train_epochs
from astro_denoise.training.recipes import paper
from astro_denoise.training.recipes.paper import (
    PAPER_RECIPES,
    counting_loss,
    squared_loss,
    train_paper,
)

X = torch.randn(96, 1, 4, 4, generator=torch.Generator().manual_seed(1))
Y = 0.5 * X + 0.1


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1),
                               torch.nn.Dropout(0.1))


def fit(**options):
    return train_epochs(
        network(), (X[:64], Y[:64]), (X[64:], Y[64:]), squared_loss,
        **{'epochs': 6, 'batch_size': 16, 'learning_rate': 0.05, 'seed': 2,
           **options})


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
    with pytest.raises(ValueError, match='was written for'):
        fit(checkpoint=path, configuration={'a': 2})


def test_corrupted_images():
    def corrupt(images, generator):
        return images + torch.randn(images.shape, generator=generator)

    network()
    state = torch.get_rng_state()
    _, log = fit(corrupt=corrupt)  # calls network() too
    assert torch.equal(state, torch.get_rng_state())
    # Noise as strong as the signal leaves half of the variance.
    assert_allclose(log[-1]['validation_mse'], 0.125, rtol=0.35)


def test_counting_loss():
    logits = torch.tensor([-4.0, 2.0, 0.0]).reshape(1, 1, 1, 3)
    targets = torch.tensor([0.0, 0.5, 0.001]).reshape(1, 1, 1, 3)
    output = torch.sigmoid(logits)
    entropy = -(targets * torch.log(output)
                + (1 - targets) * torch.log(1 - output)).mean()
    loss, numbers = counting_loss(logits, targets, point_cut=0.6)
    # One point above the cut, two in truth.
    assert_allclose(float(loss), float(entropy) + 1e-7, rtol=1e-6)
    assert_allclose(float(numbers['accuracy']), 1.0)
    loss, _ = counting_loss(logits, targets, point_cut=0.001)
    assert_allclose(float(loss), float(entropy) + 1e-7, rtol=1e-6)


def test_sizes_of_the_document():
    assert list(PAPER_RECIPES) == [
        'cnn-dm', 'cnn-dm-total', 'cnn-dm-disk-gc', 'unet-paper',
        'gc-gaussian', 'gc-poisson', 'gc-masked', 'gc-saltpepper']
    sizes = {name: (*recipe['sizes'], recipe['batch_size'])
             for name, recipe in PAPER_RECIPES.items()}
    assert sizes['cnn-dm'] == (8192, 1966, 3072, 64)
    assert sizes['cnn-dm-total'] == (8192, 1024, 1024, 64)
    assert sizes['unet-paper'] == (6592, 800, 800, 128)
    assert sizes['gc-masked'] == (8192, 1024, 1024, 64)
    assert PAPER_RECIPES['gc-masked']['epochs'] == 20


@pytest.mark.parametrize(('name', 'task'), [
    ('cnn-dm-disk-gc', 'estimate'), ('unet-paper', 'segment'),
    ('gc-poisson', 'denoise')])
def test_trained(name, task, tmp_path):
    path = tmp_path / f'{name}.safetensors'
    model = train_paper(name, path, n_images=48, epochs=1,
                        checkpoint=tmp_path / 'checkpoints')
    assert (tmp_path / 'checkpoints' / f'{name}.pt').exists()
    loaded = load_model(path, task=task)
    assert loaded.name == name
    assert loaded.hash == model.hash
    assert loaded.metadata['training']['sizes'][0] == 48
    assert loaded.metadata['figures']['mse'] > 0
    log = Table.read(path.with_suffix('.ecsv'))
    assert len(log) == 1
    assert {'epoch', 'train_mse', 'validation_mse', 'train_mae',
            'validation_mae', 'kept'} <= set(log.colnames)
    assert log.meta['hash'] == model.hash
    if task == 'segment':
        assert 'validation_accuracy' in log.colnames
        assert loaded.metadata['threshold'] == 0.02
    if task == 'denoise':
        assert (loaded.network.error_values > 0).all()
    with pytest.raises(FileExistsError):
        train_paper(name, path, n_images=48, epochs=1)


def test_targets():
    recipe = PAPER_RECIPES['gc-masked']
    images, targets = paper._dataset(recipe, None, 4, 1)
    assert images is targets
    assert_allclose(images.amax((1, 2, 3)), 1.0)
    recipe = PAPER_RECIPES['unet-paper']
    images, targets = paper._dataset(recipe, None, 4, 1)
    assert images.shape == targets.shape == (4, 1, 64, 64)
    assert_allclose(images.amax((1, 2, 3)), 1.0)
    assert_allclose(targets.amax((1, 2, 3)), 1.0)
    assert 0.2 < (targets > 0).float().mean() < 0.45
    loss = paper._loss(recipe, (images, targets))
    assert isinstance(loss, partial)
    first = targets[0]
    assert_allclose(loss.keywords['point_cut'],
                    1.08 * float(first[first > 0].min()), rtol=1e-6)
    network = PAPER_RECIPES['cnn-dm-total']
    network = network['network'](**paper._options(network))
    counts, scaled = paper._dataset(PAPER_RECIPES['cnn-dm-total'], network,
                                    8, 1)
    assert counts.max() > 20
    assert scaled.shape == (8, 2)
    assert 0 <= scaled.min() <= scaled.max() <= 1


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"no recipe 'cnn'.*cnn-dm"):
        train_paper('cnn', tmp_path / 'a.safetensors')
    with pytest.raises(ValueError, match=r'end in \.safetensors'):
        train_paper('cnn-dm', tmp_path / 'a.pt')
