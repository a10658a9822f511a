# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the width of the point-spread function.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.frames.inputs import open_frame
from astro_denoise.noise.measurement import measure_plane
from astro_denoise.noise.psf_width import psf_width
from astro_denoise.noise.seeing import estimate_fwhm, frame_fwhm
from astro_denoise.simulation.artefacts import cosmic_rays
from astro_denoise.simulation.profiles import render_sources


def field(fwhm, *, beta=3.5, n_stars=20, n_galaxies=0, n_rays=0,
          shape=(260, 240), seed=1):
    """
    A frame in electrons without its sky, and its noise.
    """
    rng = np.random.default_rng(seed)
    n_sources = n_stars + n_galaxies
    sources = {'x': rng.uniform(0, shape[1], n_sources),
               'y': rng.uniform(0, shape[0], n_sources),
               'flux': 10**rng.uniform(3.8, 5.5, n_sources) * max(fwhm / 2, 1),
               'r50': np.zeros(n_sources)}
    sources['r50'][n_stars:] = fwhm * rng.uniform(0.4, 1.5, n_galaxies)
    image = render_sources(shape, sources, fwhm, beta)
    image += cosmic_rays(shape, n_rays, charge=(500, 2e4), rng=rng)
    sigma = np.sqrt(np.maximum(image, 0) + 100.0)
    return image + sigma * rng.standard_normal(shape), sigma


def estimate(values, sigma, *, background=0.0, valid=None):
    if valid is None:
        valid = np.ones(values.shape, bool)
    return estimate_fwhm(values, np.full_like(values, background), sigma,
                         valid)


@pytest.mark.parametrize('fwhm', [1.5, 2.0, 3.0, 5.0, 8.0])
@pytest.mark.parametrize('seed', [1, 2])
def test_stars(fwhm, seed):
    assert_allclose(estimate(*field(fwhm, seed=seed)), fwhm, rtol=0.1)


@pytest.mark.parametrize('beta', [2.5, 5.0])
@pytest.mark.parametrize('fwhm', [2.0, 4.0, 8.0])
def test_other_profiles(fwhm, beta):
    assert_allclose(estimate(*field(fwhm, beta=beta)), fwhm, rtol=0.1)


@pytest.mark.parametrize(('fwhm', 'n_rays'), [
    (1.5, 20), (2.0, 60), (3.0, 60), (5.0, 60), (8.0, 60)])
def test_cosmic_rays_are_ignored(fwhm, n_rays):
    assert_allclose(estimate(*field(fwhm, n_rays=n_rays)), fwhm, rtol=0.1)


@pytest.mark.parametrize('fwhm', [2.0, 5.0])
def test_galaxies_are_ignored(fwhm):
    frame = field(fwhm, n_stars=12, n_galaxies=20)
    assert_allclose(estimate(*frame), fwhm, rtol=0.1)


def test_cosmic_rays_alone():
    # No crowd of equal widths. Too narrow keeps flux, too wide does not.
    rng = np.random.default_rng(3)
    values = cosmic_rays((200, 200), 15, charge=(500, 2e4), rng=rng)
    values += 10 * rng.standard_normal(values.shape)
    assert estimate(values, np.full_like(values, 10.0)) < 1.5


def test_a_few_round_cosmic_rays_are_not_the_seeing():
    # Stars that are not round are no locus: the sharpest sources count.
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:320, :320]
    places = 40 * np.mgrid[:7, :7].reshape(2, -1).T + 40 + rng.uniform(
        -4, 4, (49, 2))
    image = rng.standard_normal(x.shape).astype(np.float32)

    def add(number, width_x, width_y, height):
        row, column = places[number]
        image[:] += height * np.exp(-0.5 * ((x - column) / width_x)**2
                                    - 0.5 * ((y - row) / width_y)**2)

    for number in range(20):
        add(number, 1.45, 1.2, 100.0)
    # Galaxies of all sizes.
    for number in range(20, 45):
        width = rng.uniform(1.5, 3.0)
        add(number, 1.2 * width, width, 100.0)

    def measured():
        values = torch.from_numpy(image)
        return psf_width(values, torch.isfinite(values), 0.0, 1.0)

    before = measured()
    for number, width in enumerate((0.62, 0.63, 0.64, 0.65)):
        add(45 + number, width, width, 200.0)
    after = measured()
    assert before.verdict == after.verdict == 'upper limit'
    assert_allclose(after.fwhm, before.fwhm, rtol=1e-3)


def test_hot_pixels_alone():
    rng = np.random.default_rng(4)
    values = 10 * rng.standard_normal((200, 200))
    values.flat[rng.integers(0, values.size, 100)] += 3000.0
    assert estimate(values, np.full_like(values, 10.0)) is None


def test_no_star():
    assert estimate(*field(3.0, n_stars=0)) is None


@pytest.mark.parametrize(('n_stars', 'smallest'), [(1, 0.7), (3, 0.85)])
def test_too_few_stars(n_stars, smallest):
    # Rather too narrow than too wide.
    width = estimate(*field(3.0, n_stars=n_stars))
    assert 3.0 * smallest < width < 3.0


def test_few_stars_among_galaxies():
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, y = rng.uniform(20, 380, (2, 9))
        r50 = np.where(np.arange(9) < 3, 0.0, rng.uniform(1.0, 4.0, 9))
        image = render_sources((400, 400), {
            'x': x, 'y': y, 'flux': 300.0 * (1.0 + r50**2), 'r50': r50},
            3.6, 3.5)
        image += rng.standard_normal(image.shape)
        flat = np.ones_like(image)
        found.append(estimate_fwhm(image, 0.0 * flat, flat, flat > 0))
    assert np.mean(found) == pytest.approx(3.5, rel=0.04)
    assert max(found) < 1.12 * 3.6


def test_faint_stars():
    # No pixel is far above the noise.
    values, sigma = field(3.0)
    assert estimate(values, 1000 * sigma) is None


def test_shift_and_scale():
    values, sigma = field(3.0)
    expected = estimate(values, sigma)
    assert_allclose(estimate(values + 500, sigma, background=500.0), expected,
                    rtol=1e-4)
    assert_allclose(estimate(1e-6 * values, 1e-6 * sigma), expected,
                    rtol=1e-4)


def test_masked_pixels_have_no_influence():
    values, sigma = field(3.0, n_stars=30)
    valid = np.random.default_rng(5).random(values.shape) > 0.02
    values[~valid] = 0.0
    expected = estimate(values, sigma, valid=valid)
    assert_allclose(expected, 3.0, rtol=0.1)
    values[~valid] = 1e5
    assert estimate(values, sigma, valid=valid) == expected


def test_everything_masked():
    values, sigma = field(3.0)
    assert estimate(values, sigma, valid=np.zeros(values.shape, bool)) is None


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (300, 24), (25, 25),
                                   (26, 40)])
def test_small_frames(shape):
    # Too small for stars and their surroundings, or just not.
    values, sigma = field(3.0, shape=shape)
    fwhm = estimate(values, sigma)
    assert fwhm is None or 1 < fwhm < 8


def test_brightest_sources_of_a_crowded_frame():
    # More local maxima than are measured.
    fwhm = estimate(*field(2.5, n_stars=900, shape=(400, 400)))
    assert_allclose(fwhm, 2.5, rtol=0.1)


def test_small_galaxies_are_not_the_stars_of_a_frame():
    rng = np.random.default_rng(2)
    n_stars, n_galaxies = 12, 60
    n = n_stars + n_galaxies
    sources = {
        'x': rng.uniform(20, 380, n), 'y': rng.uniform(20, 380, n),
        'flux': np.exp(rng.uniform(8.0, 9.5, n)),
        'r50': np.concatenate([np.zeros(n_stars), 1.8 * np.exp(
            0.4 * rng.standard_normal(n_galaxies))]),
        'axis_ratio': rng.uniform(0.6, 1.0, n)}
    image = render_sources((400, 400), sources, 4.0, 3.5)
    image += 100.0 + 10.0 * rng.standard_normal(image.shape)
    measurement, whole = measure_plane(open_frame(image).plane(), keep=True)
    signal = whole.values - whole.background
    fwhm = frame_fwhm(measurement, signal, whole.noise_map, whole.valid)
    assert measurement.fwhm > 5.0
    assert_allclose(fwhm, 4.0, rtol=0.05)


def test_the_seeing_of_many_stars_is_trusted():
    rng = np.random.default_rng(9)
    stars = {'x': rng.uniform(20, 380, 80), 'y': rng.uniform(20, 380, 80),
             'flux': np.exp(rng.uniform(8.0, 10.0, 80))}
    image = render_sources((400, 400), stars, 3.0, 3.5)
    image += 100.0 + 10.0 * rng.standard_normal(image.shape)
    measurement, whole = measure_plane(open_frame(image).plane(), keep=True)
    assert frame_fwhm(measurement, whole.values - whole.background,
                      whole.noise_map, whole.valid) == measurement.fwhm
