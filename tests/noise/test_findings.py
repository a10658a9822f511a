# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what one look at a plane says about its noise.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.noise.findings import measure_noise
from astro_denoise.noise.model import relative_mesh

WHITE = [
    'blank, gain 0.3', 'blank, sky subtracted', 'gradient',
    'survey, PSF 1.0 px', 'survey, PSF 2.0 px', 'survey, PSF 5.0 px',
    'survey, PSF 12.0 px', '25 stars among 500 galaxies',
    'crowded, 600 per Mpix', 'crowded, 6000 per Mpix',
    'crowded, 20000 per Mpix', 'crowded, undersampled (1.5 px)',
    'globular cluster', 'constant noise on structure of 2 px',
    'constant noise on structure of 4 px',
    'constant noise on structure of 8 px',
    'constant noise on structure of 16 px', 'filaments', 'trailed stars',
    'long slit', 'border of zeros, 5 %', 'border of zeros, 30 %',
    'border of zeros, 80 %', 'integer border over sky 0', 'sentinel -9999',
    'sentinel 65535', 'sentinel 1e20',
    'sentinel -9999 in 2 % of the pixels, one by one',
    'rotated mosaic, zeros around it', 'saturated stars', 'dead pixels 5 %',
    'hot pixels 5 %', 'cosmic rays 5 %', '15 % masked, one by one',
    'NaN areas, 30 %', 'a quarter of the sources masked',
    'quantized, noise of 0.15 step', 'quantized, noise of 0.5 step',
    'quantized, noise of 1.0 step', 'quantized, noise of 3.0 step',
    'steps of 16 (12 bits in 16)', 'photons, 0.1 a pixel',
    'photons, 50 a pixel', 'average of 20 exposures']
CORRELATED = [
    'resampled, bilinear 0.25', 'resampled, bilinear 0.5',
    'resampled, Lanczos-3', 'resampled, bilinear on the crowded', 'drizzled',
    'smoothed (Gaussian, 1 px)', 'negative correlation (-0.3 along x)']


@pytest.mark.parametrize('name', WHITE)
def test_white(zoo, name):
    frame, values, valid = zoo(name)
    found = measure_noise(values, valid)
    assert_allclose(found.level, frame.level, rtol=0.05)
    assert found.verdict == 'white'
    assert found.correlation == (0, 0)
    assert not found.phases.found


@pytest.mark.parametrize('name', CORRELATED)
def test_correlated(zoo, name):
    frame, values, valid = zoo(name)
    found = measure_noise(values, valid)
    assert found.verdict == 'correlated'
    assert_allclose(found.level, frame.level, rtol=0.06)
    largest = max(found.correlation, key=abs)
    # of a drizzled frame the kernel is another than of two taps
    assert_allclose(largest, frame.rho,
                    rtol=0.4 if name == 'drizzled' else 0.3)


@pytest.mark.parametrize('name', [
    'high contrast (a star with a halo of speckles)',
    'all sky (structure at all scales)'])
def test_cannot_tell(zoo, name):
    frame, values, valid = zoo(name)
    found = measure_noise(values, valid)
    assert found.verdict == 'cannot tell'
    low, high = found.level_range
    assert low == found.level < high
    assert 0.8 < found.level / frame.level < 1.5


@pytest.mark.parametrize(('name', 'axis'), [
    ('row noise of 0.3 sigma', 0), ('row noise of 1 sigma', 0),
    ('column noise of 1 sigma', 1), ('alternate rows', 0)])
def test_lines(zoo, name, axis):
    frame, values, valid = zoo(name)
    found = measure_noise(values, valid)
    assert found.line_axis == axis
    assert found.verdict == 'correlated'
    # without what the lines have in common
    assert_allclose(found.level, frame.level, rtol=0.05)
    assert found.pixel_level > found.level
    # pixels of a row are alike along x
    assert found.correlation[1 - axis] > 0.05


@pytest.mark.parametrize(('name', 'tolerance'), [
    ('two amplifiers 5 / 12', 0.02), ('Bayer mosaic', 0.05),
    ('stack with a shallow rim (1-10 deep)', 0.05),
    ('depth map of a dither', 0.06),
    ('2x2 gain pattern of 10 %', 0.05),
    ('vignetted stack, flat-fielded', 0.05)])
def test_map(zoo, name, tolerance):
    frame, values, valid = zoo(name, shape=(512, 512))
    found = measure_noise(values, valid)
    plane = np.empty(values.shape)
    if found.phase_levels is None:
        whole = tuple(slice(0, n) for n in values.shape)
        plane[...] = found.level * relative_mesh(found).over(whole, float)
    else:
        assert found.phases.found
        for i, level in enumerate(found.phase_levels):
            plane[i // 2::2, i % 2::2] = level
    ratio = np.percentile(plane / frame.sigma, [6, 94])
    assert_allclose(ratio, 1, atol=tolerance)


@pytest.mark.parametrize('name', [
    'vignetted stack, flat-fielded', 'nebula, structure of 16 px', 'spiral',
    'gradient', 'solar disc', 'planet', 'echelle'])
def test_what_is_smooth_or_structure_has_no_areas(zoo, name):
    for seed in (1, 2):
        _, values, valid = zoo(name, seed, (512, 512))
        assert measure_noise(values, valid).areas is None


def test_one_level_has_no_map(zoo):
    _, values, valid = zoo('survey, PSF 3.0 px')
    assert measure_noise(values, valid).block_map is None


@pytest.mark.parametrize(('value', 'share'), [(-9999.0, 0.05),
                                              (65535.0, 0.05)])
def test_defects_are_named(zoo, value, share):
    frame, values, valid = zoo(f'sentinel {value:.0f}')
    found = measure_noise(values, valid)
    assert found.defects[0].value == value
    assert_allclose(found.defects[0].share, share, rtol=0.05)
    assert np.array_equal(found.defect_mask.numpy(), ~frame.real)


def test_photons_have_a_slope(zoo):
    _, values, valid = zoo('crowded, 20000 per Mpix', shape=(512, 512))
    # electrons over a gain of 1.5
    assert_allclose(measure_noise(values, valid).photon_slope, 1 / 1.5,
                    rtol=0.2)


def test_seeing_needs_the_background(zoo):
    _, values, valid = zoo('survey, PSF 3.0 px', shape=(512, 512))
    assert measure_noise(values, valid).seeing.verdict == 'unknown'
    found = measure_noise(values, valid, background=torch.full_like(
        values, float(values.median())))
    assert found.seeing.verdict == 'locus'
    assert_allclose(found.seeing.fwhm, 3.0, rtol=0.05)


@pytest.mark.parametrize('factor', [2.0**-40, 2.0**40])
def test_scale(zoo, factor):
    _, values, valid = zoo('survey, PSF 3.0 px')
    first, second = (measure_noise(one * values, valid)
                     for one in (1.0, factor))
    assert_allclose(second.level, factor * first.level, rtol=1e-5)


def test_turned_frames_are_alike(zoo):
    _, values, valid = zoo('row noise of 1 sigma')
    first = measure_noise(values, valid)
    second = measure_noise(values.T.contiguous(), valid)
    assert (first.line_axis, second.line_axis) == (0, 1)
    assert_allclose(second.level, first.level, rtol=0.02)


def test_all_alike():
    values = torch.full((100, 100), 7.0)
    found = measure_noise(values, values > 0)
    assert found.level == 0
    assert found.verdict == 'cannot tell'


def test_mask_that_leaves_no_difference():
    values = torch.randn(256, 256, generator=torch.Generator().manual_seed(1))
    valid = torch.ones(256, 256, dtype=torch.bool)
    valid[::3, ::3] = False
    found = measure_noise(values, valid)
    assert found.verdict == 'cannot tell'
    assert found.level == 0


def test_nothing_valid():
    values = torch.zeros(100, 100)
    found = measure_noise(values, values > 0)
    assert found.level == 0
    assert found.defects == ()


@pytest.mark.parametrize('shape', [(64, 64), (40, 500), (500, 33), (300, 70)])
def test_small_and_odd(zoo, shape):
    frame, values, valid = zoo('survey, PSF 3.0 px', shape=shape)
    found = measure_noise(values, valid)
    assert_allclose(found.level, frame.level, rtol=0.08)
    assert found.verdict == 'white'


@pytest.mark.gpu
def test_on_a_gpu(zoo):
    _, values, valid = zoo('survey, PSF 3.0 px')
    here = measure_noise(values, valid)
    there = measure_noise(values.cuda(), valid.cuda())
    assert_allclose(there.level, here.level, rtol=1e-3)
    assert there.verdict == here.verdict
