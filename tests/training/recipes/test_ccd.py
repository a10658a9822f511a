# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the commands that make the shipped models.
"""

import functools

import numpy as np
import pytest
from astropy.table import Table

import astro_denoise
from astro_denoise import denoise, load_model
from astro_denoise.cli.train import _RECIPES
from astro_denoise.models import registry
from astro_denoise.models.denoiser import CCDDenoiser
from astro_denoise.training import calibration
from astro_denoise.training.recipes import ccd as recipes
from astro_denoise.training.recipes.ccd import RECIPES, train_recipe
from astro_denoise.training.recipes.shipped import SHIPPED_RECIPES
from astro_denoise.training.scenes import ExposureSampler, draw_scenes
from astro_denoise.training.supervised import train_supervised


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
        recipes, 'train_supervised', lambda network, **options:
        train_supervised(network, **{**options, 'patch': 32, 'n_clean': 1,
                                     'n_copies': 2, 'log_every': 2}))
    monkeypatch.setattr(
        recipes, 'calibrate_uncertainty', lambda network, scenes, **options:
        calibration.calibrate_uncertainty(network, scenes,
                                          **{**options, 'n_batches': 1}))
    monkeypatch.setattr(recipes, 'CCDDenoiser',
                        functools.partial(CCDDenoiser, (6, 8)))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_shipped_model_has_a_recipe():
    files = {path.stem for path in registry._shipped().values()}
    assert files <= set(SHIPPED_RECIPES)
    assert set(SHIPPED_RECIPES) == set(_RECIPES)
    for recipe in RECIPES.values():
        assert recipe['start'] is None or recipe['start'] in RECIPES


@pytest.mark.usefixtures('tiny')
@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse'])
def test_recipe(tmp_path, name):
    path = tmp_path / 'toy.safetensors'
    model = train_recipe(name, path, n_steps=4, n_scenes=2, seed=7)
    assert names(tmp_path) == ['toy.ecsv', 'toy.safetensors']
    loaded = load_model(path, task='denoise')
    assert loaded.hash == model.hash
    assert loaded.name == name
    assert loaded.metadata['version'] == astro_denoise.__version__
    training = loaded.metadata['training']
    assert training['seed'] == 7
    assert training['n_steps'] == 4
    assert training['n_scenes'] == 2
    kernels = loaded.network.config['kernel_fwhms']
    assert bool(kernels) == (name == 'ccd')
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
    models = [train_recipe('ccd-mmse', tmp_path / f'{number}.safetensors',
                           n_steps=2, n_scenes=1, seed=seed)
              for number, seed in enumerate((1, 1, 2))]
    states = [model.network.state_dict() for model in models]
    for name, tensor in states[0].items():
        assert (tensor == states[1][name]).all()
    assert any((tensor != states[2][name]).any()
               for name, tensor in states[0].items())


@pytest.mark.usefixtures('tiny')
def test_interrupted_recipe_goes_on(tmp_path, monkeypatch):
    options = {'n_steps': 3, 'n_scenes': 1}
    expected = train_recipe('ccd', tmp_path / 'whole.safetensors', **options)
    folder = tmp_path / 'state'
    with monkeypatch.context() as patch:
        def fail(*arguments, **options):
            raise KeyboardInterrupt

        patch.setattr(recipes, 'calibrate_uncertainty', fail)
        with pytest.raises(KeyboardInterrupt):
            train_recipe('ccd', tmp_path / 'toy.safetensors',
                         checkpoint=folder, **options)
    assert names(tmp_path) == ['state', 'whole.ecsv', 'whole.safetensors']
    assert names(folder) == ['ccd-mmse.pt', 'ccd.pt']
    model = train_recipe('ccd', tmp_path / 'toy.safetensors',
                         checkpoint=folder, **options)
    for name, tensor in expected.network.state_dict().items():
        assert (tensor == model.network.state_dict()[name]).all()


@pytest.fixture
def _no_training(monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(recipes, 'draw_scenes', fail)


@pytest.mark.usefixtures('_no_training')
def test_unknown_recipe(tmp_path):
    with pytest.raises(ValueError, match=r"'toy'.*ccd-mmse"):
        train_recipe('toy', tmp_path / 'toy.safetensors')


@pytest.mark.usefixtures('_no_training')
def test_output_is_refused_before_training(tmp_path):
    for name in ('toy.safetensors', 'toy.ecsv'):
        path = tmp_path / name
        path.write_text('precious')
        with pytest.raises(FileExistsError, match=name):
            train_recipe('ccd', tmp_path / 'toy.safetensors')
        assert path.read_text() == 'precious'
        path.unlink()
    with pytest.raises(FileNotFoundError, match='missing'):
        train_recipe('ccd', tmp_path / 'missing' / 'toy.safetensors')
    with pytest.raises(ValueError, match=r'safetensors.*toy\.pt'):
        train_recipe('ccd', tmp_path / 'toy.pt')


@pytest.mark.usefixtures('tiny')
def test_overwrite(tmp_path):
    path = tmp_path / 'toy.safetensors'
    path.write_text('old')
    path.with_suffix('.ecsv').write_text('old')
    model = train_recipe('ccd-mmse', path, n_steps=1, n_scenes=1,
                         overwrite=True)
    assert load_model(path).hash == model.hash
    assert Table.read(path.with_suffix('.ecsv')).meta['hash'] == model.hash
