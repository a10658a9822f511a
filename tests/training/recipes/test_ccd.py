# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the recipes of the models for CCD frames.
"""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

import astro_denoise
from astro_denoise import denoise, load_model
from astro_denoise.models.denoiser import CCDDenoiser
from astro_denoise.training import calibration
from astro_denoise.training.exposures import ExposureSampler
from astro_denoise.training.recipes import ccd as recipes
from astro_denoise.training.recipes.ccd import train_supervised
from astro_denoise.training.recipes.shipped import train_shipped
from astro_denoise.training.scenes import draw_scenes


@pytest.fixture
def tiny(monkeypatch):
    """
    Recipes with small skies, patches and networks.
    """
    def scenes(n_scenes, *, seed, n_workers=1, progress_bar=False,
               density=None):
        return draw_scenes(min(n_scenes, 2), seed=seed, size=64)

    def sampler(scenes, **options):
        return ExposureSampler(scenes, **{**options, 'patch': 32,
                                          'n_clean': 2})

    monkeypatch.setattr(recipes, 'draw_scenes', scenes)
    monkeypatch.setattr(recipes, 'draw_survey_scenes', scenes)
    monkeypatch.setattr(calibration, 'ExposureSampler', sampler)
    monkeypatch.setattr(
        recipes, 'train_supervised',
        lambda network, scenes, schedule, run, **options: train_supervised(
            network, scenes, replace(schedule, log_every=2), run,
            **{**options, 'patch': 32, 'n_clean': 1, 'n_copies': 2}))
    monkeypatch.setattr(
        recipes, 'calibrate_uncertainty', lambda network, scenes, **options:
        calibration.calibrate_uncertainty(network, scenes,
                                          **{**options, 'n_batches': 1}))
    monkeypatch.setattr(
        recipes, 'CCDDenoiser', lambda **options: CCDDenoiser(
            **{**options, 'widths': (6, 8)}))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures('tiny')
@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse', 'ccd.small'])
def test_recipe(tmp_path, name):
    path = tmp_path / 'toy.safetensors'
    model = train_shipped(name, path, n_steps=4, n_skies=2, seed=7)
    assert names(tmp_path) == ['toy.ecsv', 'toy.safetensors']
    loaded = load_model(path, task='denoise')
    assert loaded.hash == model.hash
    assert loaded.name == name.removesuffix('.small')
    assert loaded.metadata['version'] == astro_denoise.__version__
    training = loaded.metadata['training']
    assert training['seed'] == 7
    assert training['n_steps'] == 4
    assert training['n_scenes'] == 2
    kernels = loaded.network.config['kernel_fwhms']
    assert bool(kernels) == (loaded.name == 'ccd')
    small = name == 'ccd.small'
    assert loaded.network.shuffle == (4 if small else 2)
    assert training.get('teacher') == ({
        'name': 'ccd', 'hash': load_model('ccd').hash} if small else None)
    if kernels:
        np.testing.assert_allclose(loaded.network.kernels.sum((1, 2)), 1.0,
                                   rtol=1e-5)
    log = Table.read(path.with_suffix('.ecsv'))
    assert list(log['step']) == [2, 4]
    assert np.all(np.isfinite(log['loss']))
    assert log.meta['hash'] == model.hash
    frame = np.random.default_rng(1).standard_normal((30, 40))
    assert np.all(np.isfinite(denoise(frame, path)))


@pytest.mark.usefixtures('tiny')
def test_same_seed_same_model(tmp_path):
    models = [train_shipped('ccd-mmse', tmp_path / f'{number}.safetensors',
                            n_steps=2, n_skies=1, seed=seed)
              for number, seed in enumerate((1, 1, 2))]
    states = [model.network.state_dict() for model in models]
    for name, tensor in states[0].items():
        assert (tensor == states[1][name]).all()
    assert any((tensor != states[2][name]).any()
               for name, tensor in states[0].items())


@pytest.mark.usefixtures('tiny')
def test_interrupted_recipe_goes_on(tmp_path, monkeypatch):
    options = {'n_steps': 3, 'n_skies': 1}
    expected = train_shipped('ccd', tmp_path / 'whole.safetensors', **options)
    folder = tmp_path / 'state'
    with monkeypatch.context() as patch:
        def fail(*arguments, **options):
            raise KeyboardInterrupt

        patch.setattr(recipes, 'calibrate_uncertainty', fail)
        with pytest.raises(KeyboardInterrupt):
            train_shipped('ccd', tmp_path / 'toy.safetensors',
                          checkpoint=folder, **options)
    assert names(tmp_path) == ['state', 'whole.ecsv', 'whole.safetensors']
    assert names(folder) == ['ccd-mmse.pt', 'ccd.pt']
    model = train_shipped('ccd', tmp_path / 'toy.safetensors',
                          checkpoint=folder, **options)
    for name, tensor in expected.network.state_dict().items():
        assert (tensor == model.network.state_dict()[name]).all()


@pytest.mark.usefixtures('tiny')
def test_overwrite(tmp_path):
    path = tmp_path / 'toy.safetensors'
    path.write_text('old')
    path.with_suffix('.ecsv').write_text('old')
    model = train_shipped('ccd-mmse', path, n_steps=1, n_skies=1,
                          overwrite=True)
    assert load_model(path).hash == model.hash
    assert Table.read(path.with_suffix('.ecsv')).meta['hash'] == model.hash
