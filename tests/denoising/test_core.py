# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of denoising frames: types, bad pixels, and how it runs.
"""

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from astro_denoise import denoise, load_model
from astro_denoise.exceptions import (
    CorrelatedNoiseWarning,
    NoiseEstimateWarning,
)

SIGMA = 5.0  # of the skies


def test_ccddata(ccd):
    result = denoise(ccd)
    assert type(result) is CCDData
    assert result.unit == u.adu
    assert result.data.dtype == np.float32
    assert result.mask is None
    assert result.wcs.wcs.compare(ccd.wcs.wcs)
    assert result.header['OBJECT'] == 'field 7'
    assert result.header.comments['OBJECT'] == 'a comment'
    assert isinstance(result.uncertainty, StdDevUncertainty)
    error = result.uncertainty.array
    assert error.shape == ccd.shape
    assert np.all(np.isfinite(error) & (error > 0))
    assert np.median(error) < SIGMA
    assert np.std(result.data - gaussian_filter(result.data, 8)) < np.std(
        ccd.data - gaussian_filter(ccd.data, 8))


def test_types_agree(ccd):
    expected = denoise(ccd)
    data, error = denoise(ccd.data, return_uncertainty=True)
    assert type(data) is type(error) is np.ndarray
    assert_array_equal(data, expected.data)
    assert_array_equal(error, expected.uncertainty.array)
    assert_array_equal(denoise(ccd.data), data)

    data, error = denoise(ccd.data * u.adu, return_uncertainty=True)
    assert type(data) is type(error) is u.Quantity
    assert data.unit == error.unit == u.adu
    assert_array_equal(data.value, expected.data)
    assert_array_equal(error.value, expected.uncertainty.array)

    result = denoise(NDData(ccd.data, unit='adu', meta={'a': 1}))
    assert type(result) is NDData
    assert result.unit == u.adu
    assert result.meta['a'] == 1
    assert result.meta['DNMODEL'] == 'ccd'
    assert_array_equal(result.data, expected.data)


def test_frames_of_a_stack_are_independent(sky, exact):
    stack = sky((3, 40, 50))
    stack[1] += 1000.0
    result, error = exact(stack, return_uncertainty=True)
    assert result.shape == error.shape == stack.shape
    for index, frame in enumerate(stack):
        alone, alone_error = exact(frame, return_uncertainty=True)
        assert_array_equal(result[index], alone)
        assert_array_equal(error[index], alone_error)


def test_stack_with_a_masked_frame(sky, exact):
    stack = sky((2, 40, 50))
    stack[0] = np.nan
    with pytest.warns(NoiseEstimateWarning, match='plane 0 of data .* as it'):
        result, error = exact(stack, return_uncertainty=True)
    assert np.all(np.isnan(result[0]) & np.isnan(error[0]))
    assert_array_equal(result[1], exact(stack[1]))


@pytest.mark.parametrize(('data', 'mask', 'message'), [
    (np.full((5, 5), np.nan), None, 'finite pixels, got none of 25'),
    (np.ones((5, 5)), True, 'valid pixels, all 25 are masked'),
    (np.ones((2, 5, 5)), True, r'plane 0 .*1 more.* all 50 are masked')])
def test_nothing_valid(data, mask, message):
    # A dead part does not refuse the whole, and alone it is no other.
    for frame in (data, CCDData(data, unit='adu')):
        with pytest.warns(NoiseEstimateWarning, match=message) as record:
            result = denoise(frame, mask=mask)
        assert record[0].filename == __file__
        assert_array_equal(getattr(result, 'data', result), data)
    assert result.mask.all()
    assert np.isnan(result.uncertainty.array).all()
    assert result.meta['DNMODEL'] == 'ccd'
    assert 'DNSIGMA' not in result.meta


@pytest.mark.parametrize('unit', ['adu', 'electron', 'MJy / sr', 'count / s',
                                  ''])
def test_unit_is_kept(unit, sky):
    result = denoise(CCDData(sky(), unit=unit))
    assert result.unit == u.Unit(unit)
    assert_allclose(np.median(result.data), 100.0, atol=1.0)


@pytest.mark.parametrize('dtype', ['<f4', '>f4', '>f8', '>i2', '<u2', '>i4',
                                   'i8', 'f2', 'u1'])
def test_any_dtype(dtype, sky, exact):
    data = np.rint(sky(n_stars=0)).astype(dtype)
    result = exact(data)
    assert result.dtype.isnative
    assert result.dtype == (np.float64 if data.dtype.itemsize > 2
                            and dtype not in ('<f4', '>f4') else np.float32)
    assert_array_equal(result, exact(data.astype(result.dtype)))


def test_any_layout(tmp_path, sky, exact):
    data = sky()
    expected = exact(data)
    doubled = np.repeat(data, 2, axis=1)
    read_only = data.copy()
    read_only.flags.writeable = False
    fits.writeto(tmp_path / 'frame.fits', data)
    with fits.open(tmp_path / 'frame.fits', memmap=True) as hdus:
        for other in (doubled[:, ::2], np.asfortranarray(data), read_only,
                      data[::-1].copy()[::-1], hdus[0].data):
            assert_array_equal(exact(other), expected)


@pytest.mark.parametrize('shape', [(1, 1), (1, 50), (50, 1), (2, 3), (33, 47),
                                   (129, 17)])
def test_any_shape(shape, sky):
    result, error = denoise(sky(shape, n_stars=0), uncertainty=SIGMA,
                            return_uncertainty=True)
    assert result.shape == error.shape == shape
    assert np.all(np.isfinite(result))
    assert np.all(np.isfinite(error) & (error > 0))


def test_input_is_unchanged(ccd):
    data = ccd.copy()
    data.mask = np.zeros(ccd.shape, bool)
    data.mask[3, 4] = True
    data.data[5, 6] = np.nan
    data.uncertainty = StdDevUncertainty(np.full(ccd.shape, SIGMA))
    mask = np.zeros(ccd.shape, int)
    mask[10] = 2
    before = copy.deepcopy((data, mask))
    result = denoise(data, mask=mask)
    assert_array_equal(data.data, before[0].data)
    assert_array_equal(data.mask, before[0].mask)
    assert_array_equal(data.uncertainty.array, before[0].uncertainty.array)
    assert data.header == before[0].header
    assert_array_equal(mask, before[1])
    for one, other in ((result.data, data.data), (result.mask, data.mask),
                       (result.uncertainty.array, data.uncertainty.array)):
        assert not np.shares_memory(one, other)
    assert result.header is not data.header


def test_bad_pixels_have_no_influence(ccd, exact):
    data = ccd.copy()
    data.mask = np.zeros(data.shape, bool)
    data.mask[30:33, 40] = True
    more = np.zeros(data.shape, np.uint8)
    more[:, 7] = 4
    data.data[50, 3:6] = [np.nan, np.inf, -np.inf]
    bad = data.mask | (more > 0) | ~np.isfinite(data.data)
    results = []
    for value in (0.0, 1e9, np.nan):
        data.data[data.mask] = value
        data.data[more > 0] = -value
        result = exact(data, mask=more)
        assert_array_equal(result.mask, bad)
        # They come back as they were.
        assert_array_equal(result.data[bad], data.data[bad])
        results.append(np.stack([result.data, result.uncertainty.array]))
        assert np.all(np.isfinite(results[-1][:, ~bad]))
    for result in results[1:]:
        assert_array_equal(result[:, ~bad], results[0][:, ~bad])


@pytest.mark.parametrize('value', [1e30, -1e30, 3e38, np.inf, 1e300])
def test_numbers_beyond_single_precision(value, sky, exact, ccd):
    # What some programs write into bad pixels spoils no other pixel.
    data = sky().astype(float if abs(value) > 1e38 else np.float32)
    data[20, 20] = value
    ccd = CCDData(data, unit='adu')
    result = exact(ccd)
    assert result.data[20, 20] == data[20, 20]
    assert_array_equal(np.argwhere(result.mask), [[20, 20]])
    mask = result.mask
    expected = exact(np.where(mask, 0, data), mask=mask)
    assert_array_equal(result.data[~mask], expected[~mask])


def test_same_result_again(ccd):
    first, second = denoise(ccd), denoise(ccd)
    assert_array_equal(first.data, second.data)
    assert_array_equal(first.uncertainty.array, second.uncertainty.array)
    assert first.header == second.header


def test_threads(ccd, sky):
    data = [sky((150, 100), seed=seed) for seed in range(8)]
    denoise_one = partial(denoise, uncertainty=SIGMA)
    expected = [denoise_one(one) for one in data]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(denoise_one, data))
    for result, alone in zip(results, expected, strict=True):
        assert_allclose(result, alone, rtol=0, atol=1e-4 * SIGMA)


def test_model_from_file(ccd, tmp_path):
    path = tmp_path / 'mine.safetensors'
    load_model('ccd-mmse').save(path)
    expected = denoise(ccd, 'ccd-mmse')
    for model in (path, str(path), load_model(path)):
        assert_array_equal(denoise(ccd, model).data, expected.data)


def test_progress_bar(ccd, capsys):
    denoise(ccd)
    assert capsys.readouterr().err == ''
    denoise(np.stack([ccd.data] * 2), progress_bar=True)
    last = capsys.readouterr().err.split('\r')[-1]
    assert 'denoise: 100%' in last
    assert '2.0/2 [' in last


def test_global_state_is_unchanged(ccd):
    import torch

    def state():
        return (torch.get_default_dtype(), torch.is_grad_enabled(),
                torch.get_num_threads(), torch.is_autocast_enabled('cpu'),
                torch.initial_seed(), torch.get_rng_state().tolist(),
                np.geterr(), list(warnings.filters))

    before = state()
    denoise(ccd)
    assert state() == before


@given(shape=st.sampled_from([(1, 1), (1, 9), (17, 16), (40, 33), (2, 9, 11)]),
       seed=st.integers(0, 100), bad=st.sampled_from([0.0, 0.1, 0.7]),
       scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e7]),
       level=st.sampled_from([-20.0, 0.0, 1e4]),
       known=st.booleans(), model=st.sampled_from(['ccd', 'ccd-mmse']))
@settings(max_examples=60)
def test_any_frame(shape, seed, bad, scale, level, known, model, ccd):
    rng = np.random.default_rng(seed)
    data = scale * (level + rng.standard_normal(shape))
    data[rng.random(shape) < 0.02] *= 1e4
    lost = rng.random(shape) < bad
    lost.flat[0] = False
    data[lost] = rng.choice([np.nan, np.inf, -np.inf], lost.sum())
    mask = rng.random(shape) < bad / 2
    mask.flat[0] = False
    ccd = CCDData(data, unit='adu', mask=mask)
    with warnings.catch_warnings():
        # Too few pixels to tell the noise, or its correlation.
        warnings.simplefilter('ignore', NoiseEstimateWarning)
        warnings.simplefilter('ignore', CorrelatedNoiseWarning)
        result = denoise(ccd, model, uncertainty=scale if known else None)
    good = np.isfinite(data) & ~mask
    assert_array_equal(result.mask, ~good)
    assert_array_equal(result.data[~good], data[~good])
    assert np.all(np.isfinite(result.data[good]))
    error = result.uncertainty.array
    assert np.all(np.isfinite(error[good]) & (error[good] > 0))
    # The noise of a pixel is at most some sigmas, restored flux among it.
    if known:
        assert np.all(abs(result.data[good] - data[good]) < 20 * scale)
