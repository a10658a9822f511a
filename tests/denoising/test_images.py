# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of `denoise` with the models for gamma-ray images.
"""

import numpy as np
import pytest
from astropy.nddata import CCDData
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise import denoise, load_model
from astro_denoise.denoising import classify_noise
from astro_denoise.exceptions import CountsWarning, UnusualImageWarning
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator
from astro_denoise.simulation.image_noise import IMAGE_NOISES, add_image_noise

AUTOENCODERS = [f'gc-{kind}' for kind in IMAGE_NOISES]


@pytest.fixture(scope='module')
def images():
    simulator = GalacticCenterSimulator('legacy', rotation=True)
    images, _, _ = simulator.sample(48, seed=11)
    return images / images.max((1, 2), keepdims=True)


def error(result, images):
    return np.mean((result - images)**2)


@pytest.mark.parametrize('kind', IMAGE_NOISES)
def test_noise_is_removed(images, kind):
    noisy = add_image_noise(images, kind, seed=3)
    best = min(error(noisy, images), error(
        np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape),
        images))
    one = error(denoise(noisy, f'gc-{kind}'), images)
    mixed = error(denoise(noisy, 'gc-mixed'), images)
    assert one < 0.5 * best
    assert mixed < one


@pytest.mark.parametrize('kind', IMAGE_NOISES)
def test_noise_is_named(images, kind):
    noisy = add_image_noise(images, kind, seed=4)
    named = [denoise(CCDData(image, unit='count'), 'gc-mixed').meta['DNNOISE']
             for image in noisy[:12]]
    assert named.count(kind) >= 11


def test_two_noises_are_named_as_such(images):
    rng = np.random.default_rng(6)
    kinds = list(IMAGE_NOISES)
    noisy, truth = [], []
    for image in images[:40]:
        number = len(truth) % 2 + 1
        chosen = sorted(rng.choice(4, number, replace=False))
        for kind in chosen:
            image = add_image_noise(image, kinds[kind],
                                    seed=10 * len(truth) + int(kind))
        noisy.append(image)
        truth.append('+'.join(kinds[kind] for kind in chosen))
    table = classify_noise(np.array(noisy))
    named = np.array([one == other for one, other in zip(
        truth, table['noise'], strict=True)])
    assert named[::2].mean() > 0.9
    assert named[1::2].mean() > 0.7
    for name in ('masked', 'saltpepper'):
        there = [name in each for each in truth]
        assert np.mean((np.asarray(table[f'p_{name}']) > 0.5) == there) > 0.9
    assert list(classify_noise(images[:5])['noise']).count('none') >= 4
    with pytest.raises(ValueError, match=r"kinds of noise.*got 'gc-gaussian'"):
        classify_noise(images[0], 'gc-gaussian')


def test_counts_of_another_exposure(images):
    simulator = GalacticCenterSimulator('legacy', rotation=True)
    denoise(simulator.sample(48, seed=12)[0], 'gc-mixed')  # without warning
    for exposure in (0.1, 10.0):
        simulator = GalacticCenterSimulator('legacy', exposure=exposure)
        counts = simulator.sample(8, seed=13)[0]
        for image in (counts, add_image_noise(
                counts / counts.max(), 'masked', seed=1) * counts.max()):
            with pytest.warns(UnusualImageWarning, match='8 of 8 .*unlike'):
                denoise(np.rint(image), 'gc-mixed')


@pytest.mark.parametrize('model', [*AUTOENCODERS, 'gc-mixed'])
def test_images_that_a_model_does_not_know(images, model):
    kind = 'gaussian' if model == 'gc-mixed' else model[3:]
    denoise(add_image_noise(images, kind, seed=3), model)  # without warning
    flat = np.random.default_rng(1).poisson(30.0, (64, 64)) / 60
    for image in (flat, np.arange(64.0) * np.ones((64, 1))):
        with pytest.warns(UnusualImageWarning, match=f'{model!r} was train'):
            denoise(image, model)


def test_errors_are_about_right(images):
    noisy = add_image_noise(images, 'gaussian', seed=5)
    for model in ('gc-gaussian', 'gc-mixed'):
        result, sigma = denoise(noisy, model, return_uncertainty=True)
        pull = (result - images) / sigma
        assert 0.8 < np.sqrt(np.mean(pull**2)) < 1.3


def test_holes_are_filled(images):
    image = images[0].copy()
    image[20:26, 20:26] = np.nan
    mask = np.zeros(image.shape, bool)
    mask[40:44, 50:60] = True
    ccd = CCDData(image, unit='count', mask=mask)
    result = denoise(ccd, 'gc-mixed')
    assert np.isfinite(result.data).all()
    assert_array_equal(result.mask, mask | np.isnan(image))
    hole = np.isnan(image) | mask
    filled = error(result.data[hole], images[0][hole])
    assert filled < 0.5 * error(0.0, images[0][hole])
    # What is under the mask does not matter, and stays in the input.
    other = CCDData(np.where(mask, 1.0, image), unit='count', mask=mask)
    assert_array_equal(denoise(other, 'gc-mixed').data, result.data)
    assert_array_equal(ccd.data, image)


def test_other_models_leave_holes(images):
    image = add_image_noise(images[0], 'gaussian', seed=1)
    image[20:26, 20:26] = np.nan
    result = denoise(CCDData(image, unit='count'), 'gc-gaussian')
    assert_array_equal(np.isnan(result.data), np.isnan(image))
    assert_array_equal(result.mask, np.isnan(image))


@pytest.mark.parametrize('model', AUTOENCODERS)
def test_sizes_of_the_autoencoders(model):
    with pytest.raises(ValueError, match=r'64x64 pixels .* got 32x64'):
        denoise(np.ones((32, 64)), model)


def test_any_size_for_the_mixed_model(images):
    result = denoise(np.tile(images[0], (2, 1))[:100], 'gc-mixed')
    assert result.shape == (100, 64)


def test_arguments_for_frames_are_refused(images):
    with pytest.raises(ValueError, match=r"output_array .* 'gc-mixed'"):
        denoise(images[0], 'gc-mixed', output_array=images[0].copy())
    with pytest.raises(ValueError, match='must not be negative'):
        denoise(-images[0], 'gc-mixed')


def test_dask_is_refused(images):
    dask = pytest.importorskip('dask.array')
    with pytest.raises(ValueError, match='not for dask'):
        denoise(dask.from_array(images[0]), 'gc-gaussian')


def test_noises_of_the_shipped_model():
    assert set(IMAGE_NOISES) < set(load_model('gc-mixed').network.noises)


@pytest.mark.parametrize('tier', ['legacy', 'fixed', 'realistic'])
def test_expected_counts(tier):
    drawn = GalacticCenterSimulator(tier, exposure=(0.3, 2.0)).draw(24, 9)
    counts, truth = (drawn[name].numpy() for name in ('images', 'expected'))
    result, sigma = denoise(counts, 'gc-counts', return_uncertainty=True)
    assert_allclose(result.sum((1, 2)), counts.sum((1, 2)), rtol=1e-4)
    assert error(result, truth) < 0.8 * error(counts, truth)
    # Where there are few counts, most of the noise goes.
    faint = truth < 10
    assert error(result[faint], truth[faint]) < 0.25 * error(
        counts[faint], truth[faint])
    assert 0.9 < ((result - truth) / sigma).std() < 1.1


def test_expected_counts_behind_a_mask():
    counts = GalacticCenterSimulator().sample(1, seed=8)[0][0][:50, :61]
    mask = np.zeros(counts.shape, bool)
    mask[20:24, 30:40] = True
    ccd = CCDData(counts, unit='count', mask=mask)
    result = denoise(ccd, 'gc-counts')
    assert result.data.shape == counts.shape
    assert_array_equal(result.mask, mask)
    assert np.isfinite(result.data).all()
    assert result.data[~mask].sum() == pytest.approx(counts[~mask].sum(),
                                                     rel=1e-4)
    other = CCDData(np.where(mask, 1e4, counts), unit='count', mask=mask)
    assert_array_equal(denoise(other, 'gc-counts').data, result.data)


def test_counts_that_the_model_does_not_know():
    counts = GalacticCenterSimulator(exposure=0.02).sample(3, seed=8)[0]
    with pytest.warns(UnusualImageWarning, match="'gc-counts' was trained"):
        denoise(counts, 'gc-counts')
    with pytest.warns(CountsWarning, match='not integers'):
        denoise(GalacticCenterSimulator().sample(1, seed=8)[0] + 0.5,
                'gc-counts')
    flat = np.random.default_rng(1).poisson(30.0, (3, 64, 64))
    with pytest.warns(UnusualImageWarning, match='3 of 3 .*unlike'):
        denoise(flat, 'gc-counts')
    with pytest.raises(ValueError, match='data must hold counts, which are '
                       'not negative'):
        denoise(counts - 5.0, 'gc-counts')
