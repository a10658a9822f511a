# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training of the baseline networks.
"""

import pytest
import torch
from astropy.table import Table
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.training.recipes.paper import RECIPES, counting_loss
from astro_denoise.training.recipes.shipped import train_shipped


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
    assert list(RECIPES) == [
        'cnn-dm', 'cnn-dm-total', 'cnn-dm-disk-gc', 'unet-paper',
        'gc-gaussian', 'gc-poisson', 'gc-masked', 'gc-saltpepper']
    sizes = {name: (recipe.n_skies, recipe.n_validation, recipe.n_test,
                    recipe.batch_size) for name, recipe in RECIPES.items()}
    assert sizes['cnn-dm'] == (8192, 1966, 3072, 64)
    assert sizes['cnn-dm-total'] == (8192, 1024, 1024, 64)
    assert sizes['unet-paper'] == (6592, 800, 800, 128)
    assert sizes['gc-masked'] == (8192, 1024, 1024, 64)
    assert RECIPES['gc-masked'].epochs == 20


@pytest.mark.parametrize(('name', 'task'), [
    ('cnn-dm-disk-gc', 'estimate'), ('unet-paper', 'segment'),
    ('gc-poisson', 'denoise')])
def test_trained(name, task, tmp_path):
    path = tmp_path / f'{name}.safetensors'
    model = train_shipped(name, path, n_skies=48, n_steps=1,
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
        train_shipped(name, path, n_skies=48, n_steps=1)


def test_targets():
    recipe = RECIPES['gc-masked']
    images, targets = recipe.dataset(None, 4, 1)
    assert images is targets
    assert_allclose(images.amax((1, 2, 3)), 1.0)
    recipe = RECIPES['unet-paper']
    images, targets = recipe.dataset(None, 4, 1)
    assert images.shape == targets.shape == (4, 1, 64, 64)
    assert_allclose(images.amax((1, 2, 3)), 1.0)
    assert_allclose(targets.amax((1, 2, 3)), 1.0)
    assert 0.2 < (targets > 0).float().mean() < 0.45
    loss = recipe.loss((images, targets))
    first = targets[0]
    assert_allclose(loss.keywords['point_cut'],
                    1.08 * float(first[first > 0].min()), rtol=1e-6)
    recipe = RECIPES['cnn-dm-total']
    counts, scaled = recipe.dataset(recipe.network(), 8, 1)
    assert counts.max() > 20
    assert scaled.shape == (8, 2)
    assert 0 <= scaled.min() <= scaled.max() <= 1
