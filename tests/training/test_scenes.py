# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the skies and exposures to train on.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.training.scenes import (
    ExposureSampler,
    Scene,
    draw_scene,
    draw_scenes,
    draw_survey_scenes,
)


@pytest.fixture(scope='module')
def scenes():
    return draw_scenes(3, seed=5, size=160)


def batches(scenes, n=12, **options):
    """
    Several batches put together.
    """
    sampler = ExposureSampler(scenes, **{'patch': 64, **options})
    drawn = [sampler.batch([1, number]) for number in range(n)]
    return {name: np.concatenate([batch[name] for batch in drawn])
            for name in drawn[0]}


def test_scene():
    scene = draw_scene(1, size=200)
    assert scene.image.shape == (200, 200)
    assert scene.image.dtype == np.float32
    assert scene.image.min() >= 0
    assert scene.image.max() > 1
    assert 1.4 <= scene.psf_fwhm <= 8.5


def test_widths_of_the_point_spread_function():
    for seed in range(3):
        scene = draw_scene(seed, size=16, psf_fwhm=(2.0, 2.1))
        assert 2.0 <= scene.psf_fwhm <= 2.1


def test_same_seed_same_scenes(scenes):
    again = draw_scenes(3, seed=5, size=160)
    for one, other in zip(scenes, again, strict=True):
        assert_array_equal(one.image, other.image)
        assert one.psf_fwhm == other.psf_fwhm
    assert np.any(scenes[0].image != scenes[1].image)
    other, = draw_scenes(1, seed=6, size=160)
    assert np.any(scenes[0].image != other.image)


def test_skies_as_of_a_survey():
    scenes = draw_survey_scenes(3, seed=1, size=320, density=300.0)
    again = draw_survey_scenes(3, seed=1, size=320, density=300.0)
    for one, other in zip(scenes, again, strict=True):
        assert_array_equal(one.image, other.image)
        assert one.image.dtype == np.float32
        assert one.image.min() >= 0
        assert 0.7 / 0.263 <= one.psf_fwhm <= 1.6 / 0.263
    # The first has bright sources.
    assert scenes[0].image.max() > 2 * scenes[1].image.max()
    # The others are mostly blank.
    assert np.mean(scenes[1].image < 0.05) > 0.7


# Newer versions of Python warn of processes beside threads.
@pytest.mark.filterwarnings('ignore:This process:DeprecationWarning')
def test_workers_draw_the_same_scenes(scenes):
    parallel = draw_scenes(3, seed=5, size=160, n_workers=2)
    for one, other in zip(scenes, parallel, strict=True):
        assert_array_equal(one.image, other.image)


def test_batch(scenes):
    batch = ExposureSampler(scenes, patch=48, n_clean=3,
                            n_copies=2).batch([1, 2])
    assert set(batch) == {'x', 'log_sigma', 'valid', 'truth', 'unit',
                          'context'}
    for name, plane in batch.items():
        assert plane.dtype == np.float32
        assert plane.shape == ((6, 2) if name == 'context'
                               else (6, 1, 48, 48))
        assert np.all(np.isfinite(plane))


def test_same_seed_same_batch(scenes):
    sampler = ExposureSampler(scenes, patch=32)
    first, again, other = (sampler.batch(seed)
                           for seed in ([1, 2], [1, 2], [1, 3]))
    for name, plane in first.items():
        assert_array_equal(plane, again[name])
    assert np.any(first['x'] != other['x'])


def test_masked_pixels_are_zero(scenes):
    batch = batches(scenes)
    masked = batch['valid'] == 0
    assert 0.01 < masked.mean() < 0.5
    assert_array_equal(np.unique(batch['valid']), [0, 1])
    for name in ('x', 'log_sigma', 'truth'):
        assert not batch[name][masked].any()


def test_copies_differ_by_their_noise_only(scenes):
    batch = batches(scenes, n_copies=4)
    for name in ('valid', 'context'):
        copies = batch[name].reshape(-1, 4, *batch[name].shape[1:])
        assert_array_equal(copies, np.broadcast_to(copies[:, :1],
                                                   copies.shape))
    noise = (batch['x'] - batch['truth']) * batch['unit']
    first, second = noise.reshape(-1, 4, 64, 64)[:, :2].swapaxes(0, 1)
    assert np.all(first != second, where=first != 0)
    # Noise of copies is independent.
    inside = (np.abs(first) < 4) & (np.abs(second) < 4)
    assert abs(np.corrcoef(first[inside], second[inside])[0, 1]) < 0.01


def test_noise_is_in_units_of_its_own(scenes):
    batch = batches(scenes, n=30)
    noise = (batch['x'] - batch['truth']) * batch['unit']
    noise = noise[batch['valid'] > 0]
    assert abs(np.median(noise)) < 0.02
    # Clipped and dead pixels have less than the noise of the sky.
    assert_allclose(np.quantile(np.abs(noise), 0.6827), 1.0, rtol=0.03)


def test_level_of_the_sky_is_the_unit_of_the_noise_map(scenes):
    batch = batches(scenes, n=20, empty_share=1.0)
    assert_allclose(np.median(batch['log_sigma'][batch['valid'] > 0]), 0.0,
                    atol=0.02)


def test_share_of_empty_patches():
    scene = Scene(np.full((100, 100), 1000.0, np.float32), 3.0,
                  np.zeros((0, 3)))
    shares = []
    for empty_share in (0.0, 0.3, 1.0):
        batch = batches([scene], n=40, patch=16, n_copies=1,
                        empty_share=empty_share)
        shares.append(np.mean(np.median(batch['truth'], axis=(1, 2, 3)) < 5))
    assert shares[0] < 0.1
    assert 0.2 < shares[1] < 0.5
    assert shares[2] > 0.95


def test_context(scenes):
    context = batches(scenes, n=40)['context']
    known = context[:, 1] == 1
    assert 0.6 < known.mean() < 0.9
    assert not context[~known].any()
    fwhm = 3.5 * np.exp(context[known, 0])
    true = np.array([scene.psf_fwhm for scene in scenes])
    ratio = np.min(np.abs(np.log(fwhm[:, None] / true)), axis=1)
    assert np.quantile(ratio, 0.9) < 0.3
