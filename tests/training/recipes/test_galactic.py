# Licensed under a 3-clause BSD style license - see LICENSE.rst
import numpy as np
import pytest
from astropy.table import Table

from astro_denoise import load_model
from astro_denoise.exceptions import WeightsError
from astro_denoise.training.galactic_center import (
    NoisyImageSampler,
    SkySampler,
)
from astro_denoise.training.recipes.galactic import (
    GALACTIC_RECIPES,
    train_galactic,
)
from astro_denoise.training.scenes import draw_scenes
from astro_denoise.training.stars import FAINTEST, StarSampler


@pytest.mark.slow
@pytest.mark.parametrize('name', GALACTIC_RECIPES)
def test_recipe_makes_a_model(name, tmp_path):
    options = {'ccd-stars': {'n_scenes': 2},
               'galactic-center': {'n_images': 8000},
               'galactic-center.estimate': {'n_images': 8000}}.get(name, {})
    path = tmp_path / f'{name}.safetensors'
    model = train_galactic(name, path, n_steps=50, checkpoint=tmp_path,
                           **options)
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
    assert again.task == GALACTIC_RECIPES[name]['task']
    log = Table.read(path.with_suffix('.ecsv'))
    assert 50 in log['step']
    assert np.isfinite(log['loss']).all()


def test_unknown_recipe(tmp_path):
    with pytest.raises(ValueError, match="no recipe 'nothing'"):
        train_galactic('nothing', tmp_path / 'x.safetensors')


def test_existing_output_is_kept(tmp_path):
    path = tmp_path / 'x.safetensors'
    path.write_text('mine')
    with pytest.raises(OSError, match=r'x\.safetensors'):
        train_galactic('gc-mixed', path)
    assert path.read_text() == 'mine'


def test_sky_batches():
    sampler = SkySampler(batch_size=8)
    batch, again, other = (sampler.batch([1, step]) for step in (3, 3, 4))
    for name, plane in batch.items():
        np.testing.assert_array_equal(plane, again[name])
    assert not np.array_equal(batch['image'], other['image'])
    # Counts follow the flux of the sources in them.
    bright = batch['flux'] > 300
    assert bright.any()
    assert np.median(batch['image'][bright] / batch['flux'][bright]) > 0.3
    assert (batch['position'][6:] == 0).all()  # rotated skies
    assert np.abs(batch['offset']).max() <= 0.5


def test_noisy_batches():
    sampler = NoisyImageSampler(('gaussian', 'masked', 'saltpepper', 'none'),
                                batch_size=24)
    batch = sampler.batch([1, 1])
    assert batch['truth'].max() == 1.0
    for image, truth, valid, kind in zip(*(
            batch[name] for name in ('image', 'truth', 'valid', 'kind')),
            strict=True):
        same = np.mean((image == truth)[valid > 0])
        name = sampler.noises[kind]
        if name == 'none':
            assert same == 1.0
        elif name == 'gaussian':
            assert same < 0.5
        else:
            assert 0.1 < same < 0.98


def test_star_batches():
    scenes = draw_scenes(2, seed=3, size=256)
    batch = StarSampler(scenes, batch_size=24).batch([1, 2])
    assert batch['image'].shape == (24, 1, 128, 128)
    assert np.hypot(*np.moveaxis(batch['offset'], 1, 0)).max() <= 1.0001
    share = np.mean(batch['flux'] > 0)
    assert 1e-4 < share < 0.1
    # The light is where the offsets point to.
    found = 0
    for image, flux, (dx, dy) in zip(batch['image'][:, 0],
                                     batch['flux'][:, 0], batch['offset'],
                                     strict=True):
        y, x = np.unravel_index(np.argmax(flux), flux.shape)
        if flux[y, x] < 200 or not (9 < x < 118 and 9 < y < 118):
            continue
        x, y = x + dx[y, x], y + dy[y, x]
        column, row = round(float(x)), round(float(y))
        stamp = np.clip(image[row - 2:row + 3, column - 2:column + 3], 0,
                        None)
        middle = np.average(np.arange(-2, 3), weights=stamp.sum(0))
        assert abs(column + middle - x) < 0.7
        found += 1
    assert found > 2
    assert FAINTEST == 3.0
