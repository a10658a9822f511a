# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what denoising writes into the header.
"""

import numpy as np
import pytest
from astropy.nddata import CCDData
from numpy.testing import assert_allclose, assert_array_equal

import astro_denoise
from astro_denoise import denoise, load_model

SIGMA = 5.0  # of the skies


def test_log(ccd):
    header = denoise(ccd, add_keyword=True).header
    model = load_model('ccd')
    assert header['DNMODEL'] == 'ccd'
    assert header['DNHASH'] == model.hash
    assert header['DNVERS'] == astro_denoise.__version__
    assert header['DNNOISE'] == 'estimated'
    assert header['DNSIGMA'] > 0
    added = set(header) - set(ccd.header)
    assert all(len(keyword) <= 8 for keyword in added)
    assert all(header.comments[keyword] for keyword in added - {'DNHASH'})


def test_width_of_the_point_spread_function_is_logged(sky):
    result = denoise(CCDData(sky((200, 200), n_stars=25), unit='adu'))
    assert_allclose(result.header['DNFWHM'], 3.0, rtol=0.1)


@pytest.mark.parametrize('name', ['ccd', 'x' * 40])
def test_log_survives_a_file(ccd, tmp_path, name):
    model = load_model('ccd')
    model = type(model)(model.network, {**model.metadata, 'name': name})
    result = denoise(ccd, model, gain='GAIN', read_noise='RDNOISE',
                     add_keyword='DENOISED')
    result.write(tmp_path / 'out.fits')
    back = CCDData.read(tmp_path / 'out.fits')
    for keyword in set(result.header) - set(ccd.header):
        assert back.header[keyword] == result.header[keyword]
        assert back.header.comments[keyword] == result.header.comments[keyword]
    assert_array_equal(back.data, result.data)
    assert_array_equal(back.uncertainty.array, result.uncertainty.array)


@pytest.mark.parametrize('add_keyword', [False, None])
def test_no_log(ccd, add_keyword):
    header = denoise(ccd, add_keyword=add_keyword).header
    assert header == ccd.header


def test_one_more_keyword(ccd):
    header = denoise(ccd, add_keyword='DENOISED').header
    assert header['DENOISED'] == header['DNMODEL'] == 'ccd'


def test_other_cards(ccd):
    cards = {'STEP': ('denoised', 'of my pipeline'), 'step2': np.float32(0.5),
             'N-X_1': True}
    header = denoise(ccd, add_keyword=cards).header
    assert header['STEP'] == 'denoised'
    assert header.comments['STEP'] == 'of my pipeline'
    assert header['STEP2'] == 0.5
    assert header['N-X_1'] is True
    assert 'DNMODEL' not in header


@pytest.mark.parametrize('add_keyword', [
    'DENOISED1', '', 'A B', 'naïve', {'LONGKEYWORD': 1}, {1: 2}])
def test_bad_keyword(ccd, add_keyword):
    with pytest.raises(ValueError, match='add_keyword must name') as error:
        denoise(ccd, add_keyword=add_keyword)
    keyword, = (add_keyword if isinstance(add_keyword, dict)
                else [add_keyword])
    assert repr(keyword) in str(error.value)


@pytest.mark.parametrize('add_keyword', [1, 2.5, ['DENOISED']])
def test_bad_type_of_keyword(ccd, add_keyword):
    with pytest.raises(TypeError, match='add_keyword must be') as error:
        denoise(ccd, add_keyword=add_keyword)
    assert repr(add_keyword) in str(error.value)
