# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of exposures of simulated skies.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.training.exposures import Conditions, ExposureSampler
from astro_denoise.training.scenes import Scene, draw_scenes


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


def test_skies_are_exposed_as_frames_were(scenes):
    like = [Conditions(400.0, 3.0, 0.0)]
    batch = batches(scenes, as_drawn=True, empty_share=1.0, like=like)
    assert batch['valid'].all()
    assert not batch['truth'].any()
    assert_allclose(batch['x'].std(), 1.0, rtol=0.05)
    # Skewed as Poisson noise of so many electrons is.
    noise = batch['x'] * np.exp(batch['log_sigma'])
    assert_allclose((noise**3).mean(), 400.0 / 409.0**1.5, rtol=0.3)


@pytest.mark.parametrize('shared', [0.0, 0.1, 0.3, 0.5, 0.6, 0.9])
def test_neighbors_share_noise_as_those_of_the_frames(shared):
    like = Conditions(400.0, 3.0, correlation=(0.2, shared))
    noise = like.shared(np.random.default_rng(1).standard_normal(
        (4, 300, 300)))
    assert_allclose(noise.var(), 1.0, rtol=0.05)
    assert_allclose((noise[:, 1:] * noise[:, :-1]).mean(), 0.2, atol=0.02)
    assert_allclose((noise[..., 1:] * noise[..., :-1]).mean(), shared,
                    atol=0.05)
    # Of the mean of many pixels, more is left.
    blocks = noise.reshape(4, 5, 60, 5, 60).mean((2, 4))
    assert_allclose(
        60 * blocks.std() * like.background_error / like.error_of_background(),
        1.0, rtol=0.3)


def test_exposures_share_noise(scenes):
    batch = batches(scenes, as_drawn=True, empty_share=1.0, like=[
        Conditions(400.0, 3.0, 0.0, (0.5, 0.0))])
    noise = batch['x'][:, 0]
    assert_allclose(noise.std(), 1.0, rtol=0.05)
    assert_allclose((noise[:, 1:] * noise[:, :-1]).mean(), 0.5, atol=0.05)
    assert abs((noise[..., 1:] * noise[..., :-1]).mean()) < 0.05


def test_conditions_of_frames():
    found = Conditions.of_frame({'gain': 2.0, 'read_noise': 6.0,
                                 'level': 5.0})
    assert (found.sky, found.read_noise) == (64.0, 6.0)
    # Whatever the header says, the noise is that of the frame.
    found = Conditions.of_frame({'gain': 1.0, 'read_noise': 9.0,
                                 'level': 5.0})
    assert found.read_noise < 5.0
    assert_allclose(found.sky + found.read_noise**2, 25.0)
    unknown = Conditions.of_frame({'gain': None, 'read_noise': None,
                                   'level': 5.0})
    assert unknown.read_noise == 0.0
    assert unknown.sky > 1e4


def test_share_of_empty_patches():
    scene = Scene(np.full((100, 100), 1000.0, np.float32), 3.0)
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
