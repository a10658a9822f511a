# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the recipes of all shipped models.
"""

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from astropy.table import Table

from astro_denoise import load_model
from astro_denoise.exceptions import WeightsError
from astro_denoise.models import registry
from astro_denoise.training.recipes import gc_mixed
from astro_denoise.training.recipes.names import RECIPE_MODULES, RECIPE_NAMES
from astro_denoise.training.recipes.shipped import find_recipe, train_shipped

# How many skies suffice for a test, where they are drawn beforehand.
N_SKIES = {'ccd-sources': 8, 'galactic-center': 8000,
           'galactic-center.estimate': 8000, 'galactic-sky': 1,
           'gc-counts': 1}


def test_list_of_names():
    for module, names in RECIPE_MODULES.items():
        recipes = import_module(
            f'astro_denoise.training.recipes.{module}').RECIPES
        assert sorted(recipes) == sorted(names)
        assert all(recipe.name == name for name, recipe in recipes.items())
    assert list(RECIPE_NAMES) == sorted(set(RECIPE_NAMES))
    assert {path.stem for path in registry._shipped().values()} <= set(
        RECIPE_NAMES)


def test_names_of_models_that_may_not_ship(monkeypatch):
    assert set(registry._WITH_RECIPE) <= set(RECIPE_NAMES)
    monkeypatch.setattr(registry, '_shipped', dict)
    for name in registry._WITH_RECIPE:
        with pytest.raises(ValueError, match=(
                f'train --recipe {name} -o {name}.safetensors')):
            load_model(name)


def test_names_are_known_without_torch():
    subprocess.run([sys.executable, '-c', (
        'import sys\n'
        'from astro_denoise.training.recipes.names import RECIPE_NAMES\n'
        'assert "torch" not in sys.modules and RECIPE_NAMES')], check=True)


@pytest.mark.slow
@pytest.mark.parametrize('name', [
    name for module, names in RECIPE_MODULES.items() for name in names
    if module not in ('ccd', 'paper')])
def test_recipe_makes_a_model(name, tmp_path):
    path = tmp_path / f'{name}.safetensors'
    model = train_shipped(name, path, n_steps=50, checkpoint=tmp_path,
                          n_skies=N_SKIES.get(name))
    if name == 'galactic-center':
        # The posterior belongs to the segmenter trained with it.
        sources = model.network.config['sources']
        with pytest.raises(WeightsError, match=sources['hash']):
            load_model(path)
        path = path.with_name('galactic-center.segment.safetensors')
        again = load_model(path)
        assert sources == {'name': name, 'hash': again.hash}
        assert again.task == 'segment'
        return
    again = load_model(path)
    assert again.hash == model.hash
    assert again.task == find_recipe(name).task
    log = Table.read(path.with_suffix('.ecsv'))
    assert 50 in log['step']
    assert np.isfinite(log['loss']).all()


@pytest.fixture
def _no_training(monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError

    for recipe in gc_mixed.RECIPES.values():
        monkeypatch.setattr(type(recipe), 'train', fail)


@pytest.mark.usefixtures('_no_training')
@pytest.mark.parametrize(('name', 'options', 'message'), [
    ('nothing', {}, r"there is no recipe 'nothing'; known are .*ccd-mmse"),
    ('gc-mixed', {'seed': 'x'}, "seed must be an integer, .*got 'x'"),
    ('gc-mixed', {'seed': -1}, 'seed must be .*, got -1'),
    ('gc-mixed', {'n_steps': 0}, 'n_steps must be positive, got 0'),
    ('ccd', {'n_skies': -1}, 'n_skies must be positive, got -1'),
    ('gc-mixed', {'n_skies': 5},
     "n_skies must be None for the recipe 'gc-mixed', .*got 5")])
def test_bad_arguments(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        train_shipped(name, tmp_path / 'x.safetensors', **options)


@pytest.mark.usefixtures('_no_training')
def test_output_is_refused_before_training(tmp_path):
    for name in ('x.safetensors', 'x.ecsv'):
        path = tmp_path / name
        path.write_text('mine')
        with pytest.raises(FileExistsError, match=name):
            train_shipped('gc-mixed', tmp_path / 'x.safetensors')
        assert path.read_text() == 'mine'
        path.unlink()
    with pytest.raises(FileNotFoundError, match='missing'):
        train_shipped('gc-mixed', tmp_path / 'missing' / 'x.safetensors')
    with pytest.raises(ValueError, match=r'safetensors.*x\.pt'):
        train_shipped('gc-mixed', tmp_path / 'x.pt')


def test_segmenter_of_the_pair_is_refused_before_training(tmp_path):
    path = tmp_path / 'x.segment.safetensors'
    path.write_text('mine')
    with pytest.raises(FileExistsError, match=r'x\.segment'):
        train_shipped('galactic-center', tmp_path / 'x.safetensors')
