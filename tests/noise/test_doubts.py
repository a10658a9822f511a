# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what is said of doubtful frames.
"""

import math

import numpy as np
import pytest

from astro_denoise.noise import noise_model, photon_noise_map
from astro_denoise.noise.doubts import doubts_of


def kinds_of(model):
    return {doubt.kind for doubt in doubts_of(model)}


@pytest.mark.parametrize('seed', [2, 3])
@pytest.mark.parametrize('name', [
    'survey, PSF 1.0 px', 'survey, PSF 1.5 px', 'survey, PSF 3.0 px',
    'crowded, 600 per Mpix', 'crowded, 6000 per Mpix',
    'crowded, undersampled (1.5 px)', 'electrons', 'dead pixels 5 %',
    '15 % masked, one by one', 'constant noise on structure of 4 px',
    'galaxies only', 'steps of 16 (12 bits in 16)'])
def test_noise_of_bright_pixels_is_right_or_doubtful(zoo, name, seed):
    frame, values, valid = zoo(name, seed, (384, 384))
    model = noise_model(values.numpy(), valid.numpy())
    light = frame.truth - np.percentile(frame.truth, 5)
    bright = frame.valid & frame.real & (light > 10 * frame.level)
    if bright.sum() <= 100:
        return
    sigma = frame.level if frame.sigma is None else frame.sigma
    # what a network takes for noise is not too much
    assert np.median((model.sigma / sigma)[bright]) < 1.2
    stated = model.sigma if model.expected is None else photon_noise_map(
        values.numpy(), valid.numpy(), *model.expected[:2],
        pedestal=model.expected[2])
    stated = np.median((stated / sigma)[bright])
    assert 1 / 1.2 < stated < 1.2 or 'bright' in kinds_of(model)


def test_gain_settles_the_noise_of_bright_pixels(zoo):
    _, values, valid = zoo('crowded, undersampled (1.5 px)')
    given = values.numpy(), valid.numpy()
    model = noise_model(*given)
    assert math.isinf(model.found.bright_factor)
    assert 'bright' in kinds_of(model)
    assert 'bright' not in kinds_of(noise_model(*given, gain=1.5))
    (doubt,) = (each for each in doubts_of(model, header={
        'EGAIN': 1.4, 'OBJECT': 'M51'}) if each.kind == 'bright')
    assert doubt.message.endswith('give gain (the header has EGAIN = 1.4)')
    assert 'bright' not in kinds_of(noise_model(
        *given, sigma=np.full(values.shape, model.level, np.float32)))


@pytest.mark.parametrize('factor', [1e-12, 1e9])
def test_bright_factor_has_no_unit(zoo, factor):
    _, values, valid = zoo('crowded, 6000 per Mpix')
    found = noise_model(values.numpy(), valid.numpy()).found
    times = found.times(factor)
    assert 1 < found.bright_factor < 1.2
    np.testing.assert_allclose(times.bright_factor, found.bright_factor)
    np.testing.assert_allclose(times.bright_light,
                               factor * found.bright_light)


@pytest.mark.parametrize(('name', 'said'), [
    ('nebula, structure of 8 px', True), ('filaments', True),
    ('long slit', True), ('crowded, 20000 per Mpix', False),
    ('blank, gain 1', False), ('survey, PSF 3.0 px', False)])
def test_structure_without_stars(zoo, name, said):
    _, values, valid = zoo(name)
    model = noise_model(values.numpy(), valid.numpy())
    assert ('structure' in kinds_of(model)) is said


@pytest.mark.parametrize(('name', 'said'), [
    ('trailed stars', True), ('galaxies only', False), ('filaments', False),
    # of which is said that it is structure
    ('long slit', False), ('spiral', False), ('survey, PSF 1.5 px', False),
    ('cosmic rays 5 %', False)])
def test_trailed_sources(zoo, name, said):
    _, values, valid = zoo(name, shape=(512, 512))
    model = noise_model(values.numpy(), valid.numpy())
    assert ('trailed' in kinds_of(model)) is said


@pytest.mark.parametrize('angle', [0, 30, 90, 135])
def test_elongation_is_that_of_the_sources(angle):
    rng = np.random.default_rng(angle)
    n_stars, axis_ratio = 40, 0.5
    y, x = np.indices((300, 300), dtype=float)
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    image = rng.normal(100, 5, x.shape)
    for x_star, y_star in rng.uniform(15, 285, (n_stars, 2)):
        along = (x - x_star) * cosine + (y - y_star) * sine
        across = (y - y_star) * cosine - (x - x_star) * sine
        image += 500 * np.exp(-0.5 * ((axis_ratio * along)**2 + across**2)
                              / 1.3**2)
    found = noise_model(image.astype(np.float32), x >= 0).found
    # moments of a Gaussian of this axis ratio
    expected = (1 - axis_ratio**2) / (1 + axis_ratio**2)
    assert 0.5 * expected < found.seeing.elongation < 1.1 * expected
