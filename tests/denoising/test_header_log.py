# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what denoising writes into the header.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from numpy.testing import assert_allclose, assert_array_equal

import astro_denoise
from astro_denoise import denoise, load_model
from astro_denoise.denoising import core

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
    'DENOISED1', '', 'A B', 'naïve', {'LONGKEYWORD': 1}, {1: 2}, 'HIERARCH ',
    'HIERARCH é', 'HIERARCHY 1'])
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


@pytest.fixture
def never(monkeypatch):
    """
    Nothing may be computed.
    """
    def fail(*args, **options):
        pytest.fail('work has begun')

    monkeypatch.setattr(core, 'denoise_plane', fail)
    monkeypatch.setattr(core, 'open_frame', fail)


@pytest.mark.usefixtures('never')
@pytest.mark.parametrize('value', [
    np.nan, np.inf, -np.inf, 'é', 'x\ny', '\x1b[31m', b'x', [1], (1, 2, 3),
    (1,), (), (1, 2), ('x', 'é'), (np.nan, 'not a number'), 10**400,
    np.array([1, 2]), {'a': 1}, object(), complex(np.nan, 1), [1, 2] * u.s])
def test_value_that_no_header_can_hold(ccd, value):
    with pytest.raises(ValueError, match=r"add_keyword must give.*'CARD'"):
        denoise(ccd, add_keyword={'GOOD': 1, 'CARD': value})


@pytest.mark.usefixtures('never')
@pytest.mark.parametrize('keyword', [
    'END', 'NAXIS', 'naxis2', 'SIMPLE', 'BITPIX', 'BSCALE', 'XTENSION',
    'CONTINUE', 'CHECKSUM', 'HIERARCH'])
def test_keyword_of_the_structure(ccd, keyword):
    for add_keyword in (keyword, {keyword: 1}):
        with pytest.raises(ValueError, match='add_keyword must not name'):
            denoise(ccd, add_keyword=add_keyword)


@pytest.mark.usefixtures('never')
def test_keyword_too_long_for_a_card(ccd):
    long = 'HIERARCH ' + 70 * 'A'
    with pytest.raises(ValueError, match=r'add_keyword must give.*AAAA'):
        denoise(ccd, add_keyword=long)
    with pytest.raises(ValueError, match=r'add_keyword must give.*AAAA'):
        denoise(ccd, add_keyword={long: 1})


@pytest.mark.parametrize('value', [
    'text', 'x' * 200, "it's", ' blank', '', True, 0, -3, 10**30, 2.5, 1e300,
    0.1 + 0.2, 1 + 2j, None, np.int16(3), np.bool_(1), np.str_('a')])
@pytest.mark.parametrize('keyword', ['CARD', 'HIERARCH ESO PRO STEP'])
def test_cards_come_back_from_a_file(ccd, tmp_path, keyword, value):
    for given in (value, (value, 'of my pipeline')):
        result = denoise(ccd, add_keyword={keyword: given})
        result.write(tmp_path / 'out.fits', overwrite=True)
        header = fits.getheader(tmp_path / 'out.fits')
        found = header[keyword.removeprefix('HIERARCH ')]
        assert (found is None or isinstance(found, fits.card.Undefined)
                if value is None else found == value)
        if isinstance(given, tuple) and len(str(value)) < 20:
            assert header.comments[keyword] == 'of my pipeline'


def test_hierarch_keyword(ccd):
    header = denoise(ccd, add_keyword='HIERARCH ESO PRO MODEL').header
    assert header['ESO PRO MODEL'] == header['DNMODEL'] == 'ccd'


def test_header_as_cards(ccd):
    header = denoise(ccd, add_keyword=fits.Header({'STEP': 2})).header
    assert header['STEP'] == 2
    assert 'DNMODEL' not in header


def test_keyword_of_ccdproc(ccd):
    ccdproc = pytest.importorskip('ccdproc')
    header = denoise(ccd, add_keyword=ccdproc.Keyword('DENOISED')).header
    assert header['DENOISED'] == header['DNMODEL'] == 'ccd'
    header = denoise(ccd, add_keyword=ccdproc.Keyword(
        'EXPOSURE', unit=u.s, value=30.0)).header
    assert header['EXPOSURE'] == 30.0
    assert header.comments['EXPOSURE'] == 's'
    assert header['DNMODEL'] == 'ccd'
    with pytest.raises(ValueError, match=r"add_keyword .*'LONGKEYWORD'"):
        denoise(ccd, add_keyword=ccdproc.Keyword('LONGKEYWORD'))
