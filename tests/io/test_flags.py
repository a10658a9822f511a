# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the bits of masks: which of them say that a pixel is bad.
"""

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astro_denoise.exceptions import CompanionWarning
from astro_denoise.io import read_image
from astro_denoise.io.flags import as_bits, good_bits_of, names_of_flags
from astro_denoise.pipeline import denoise_file

SHAPE = (200, 240)
MP_CARDS = {'MP_BAD': 0, 'MP_SAT': 1, 'MP_CR': 3, 'MP_DETECTED': 5,
            'MP_DETECTED_NEGATIVE': 6}


@pytest.fixture(scope='module')
def model(half_sigma_model):
    return half_sigma_model()


@pytest.fixture(scope='module')
def frame(sky):
    return sky(SHAPE, n_stars=40)


@pytest.fixture(scope='module')
def sources(frame):
    """
    What a detection flags.
    """
    return frame > 115


@pytest.fixture
def write(tmp_path, frame):
    """
    Write the frame with a mask of an instrument.
    """
    def make(bits, cards=(), primary=(), name='MASK', dtype='i4'):
        mask = fits.ImageHDU(bits.astype(dtype), name=name)
        for keyword, value in dict(cards).items():
            mask.header[f'HIERARCH {keyword}'] = value
        path = tmp_path / 'in.fits'
        fits.HDUList([
            fits.PrimaryHDU(header=fits.Header(dict(primary))),
            fits.ImageHDU(frame, name='SCI'), mask,
            fits.ImageHDU(np.full(SHAPE, 5.0, 'f4'), name='ERR')]).writeto(
                path)
        return path

    return make


def masked(path, **options):
    mask = read_image(path, **options).mask
    return mask != 0


def test_detections_are_no_defects(write, sources, frame, tmp_path, model):
    bits = np.where(sources, 32, 0)
    bits[5, 6], bits[7, 8] = 1, 33
    bits[9, 9] = 64
    path = write(bits, MP_CARDS)
    bad = (bits & 1) > 0
    np.testing.assert_array_equal(masked(path), bad)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        np.testing.assert_array_equal(hdus['SCI'].data == frame, bad)
        # The flags stay, those that are information too.
        np.testing.assert_array_equal(hdus['MASK'].data, bits)


def test_new_bad_pixels_get_a_flag_that_counts(write, sources, frame,
                                               tmp_path, model):
    bits = np.where(sources, 32, 0)
    y, x = np.argwhere(sources)[0]
    path = write(bits, MP_CARDS)
    with fits.open(path, 'update') as hdus:
        hdus['SCI'].data[y, x] = hdus['SCI'].data[0, 0] = np.nan
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    new = fits.getdata(output, 'MASK')
    assert new[y, x] == 33
    assert new[0, 0] == 1
    new[y, x], new[0, 0] = bits[y, x], bits[0, 0]
    np.testing.assert_array_equal(new, bits)
    np.testing.assert_array_equal(
        masked(path, good_bits=33), np.zeros(SHAPE, bool))
    output = denoise_file(path, tmp_path / 'other.fits', model=model,
                          good_bits=33)
    assert fits.getdata(output, 'MASK')[y, x] == 32 | 2


@pytest.mark.parametrize('good_bits', [255, None])
def test_no_flag_is_left(write, sources, tmp_path, model, good_bits):
    path = write(np.where(sources, 32, 0), dtype='u1')
    with fits.open(path, 'update') as hdus:
        hdus['SCI'].data[0, 0] = np.nan
    output = denoise_file(path, tmp_path / 'out.fits', model=model,
                          good_bits=good_bits)
    assert fits.getdata(output, 'MASK')[0, 0] == 1


def test_jumps_of_webb(write):
    rng = np.random.default_rng(1)
    bits = np.where(rng.random(SHAPE) < 0.15, 4, 0).astype('u4')
    bits[3, 3], bits[4, 4], bits[5, 5] = 5, 512, 1 << 31
    path = write(bits, name='DQ', primary={'TELESCOP': 'JWST'}, dtype='u4')
    assert np.argwhere(masked(path)).tolist() == [[3, 3], [4, 4]]
    assert masked(path, good_bits=0).sum() == np.count_nonzero(bits)
    assert np.argwhere(masked(
        path, good_bits='~DO_NOT_USE,REFERENCE_PIXEL')).tolist() == [
            [3, 3], [5, 5]]


@pytest.mark.parametrize(('instrument', 'bad'), [
    ('ACS', [[3, 3]]), ('WFC3', [[3, 3]]), ('WFPC2', [[3, 3], [4, 4]])])
def test_warm_pixels_of_hubble(write, instrument, bad):
    bits = np.zeros(SHAPE, int)
    bits[3, 3], bits[4, 4] = 16, 64
    path = write(bits, name='DQ', primary={'TELESCOP': 'HST',
                                           'INSTRUME': instrument})
    assert np.argwhere(masked(path)).tolist() == bad


@pytest.mark.parametrize(('good_bits', 'left'), [
    (0, [1, 2, 8, 32]), (40, [1, 2]), ([8, 32], [1, 2]), ('8,32', [1, 2]),
    ('CR+DETECTED', [1, 2]), (['cr', 'detected'], [1, 2]), ('~SAT', [2]),
    ('~(BAD|SAT)', [1, 2]), (None, []), ('none', []), ('0', [1, 2, 8, 32]),
    (np.int16(1), [2, 8, 32]), ('auto', [1, 2, 8])])
def test_good_bits(write, good_bits, left):
    bits = np.zeros(SHAPE, int)
    for number, flag in enumerate((1, 2, 8, 32)):
        bits[number, 0] = flag
    path = write(bits, MP_CARDS)
    bad = masked(path, good_bits=good_bits)
    assert bits[bad].tolist() == left


@pytest.mark.parametrize('good_bits', ['SCRATCH', 1.5, [3], True, 'CR,8'])
def test_bad_good_bits(write, good_bits):
    path = write(np.zeros(SHAPE, int), MP_CARDS)
    with pytest.raises(ValueError, match="good_bits must be 'auto', None, or "
                       r'flags .*; the mask has BAD, SAT, CR, DETECTED'):
        read_image(path, good_bits=good_bits)


def test_names_of_one_mask_and_another_without(write, sources, tmp_path):
    path = write(np.where(sources, 32, 0), MP_CARDS)
    other = np.zeros(SHAPE, 'u1')
    other[2, 2] = 4
    fits.writeto(tmp_path / 'in.mask.fits', other)
    assert np.argwhere(masked(path, good_bits='DETECTED')).tolist() == [
        [2, 2]]


def test_masks_of_bools_have_no_flags(write):
    path = write(np.zeros(SHAPE, int))
    bad = np.zeros(SHAPE, bool)
    bad[2, 2] = True
    assert np.argwhere(masked(path, mask=bad, good_bits=None)).tolist() == [
        [2, 2]]


def test_mask_over_all_sources(write, sources, tmp_path, model):
    path = write(np.where(sources, 32, 0))
    with pytest.warns(CompanionWarning, match=(
            r'HDU 2 \(MASK\): (9\d|100) % of the pixels that stand out above '
            r'the sky are left out, most of them for the flag 32; .* '
            r'good_bits=32 \(--ignore-flags 32\)')):
        denoise_file(path, tmp_path / 'out.fits', model=model)
    # Whoever has decided is not asked.
    assert not masked(path, good_bits=32).any()
    assert masked(path, good_bits=0).any()
    # Names of flags.
    path.unlink()
    path = write(np.where(sources, 8, 0), MP_CARDS)
    with pytest.warns(CompanionWarning, match=r'for the flag CR \(8\);'):
        read_image(path)


def test_mask_like_all_other_pixels(write):
    rng = np.random.default_rng(1)
    path = write(np.where(rng.random(SHAPE) < 0.15, 4, 0), name='DQ')
    with pytest.warns(CompanionWarning, match=(
            r'15 % of the pixels are left out for the flag 4, and look like '
            'those without; ')):
        read_image(path)


@pytest.mark.parametrize('kind', ['columns', 'saturated', 'edge', 'noisy',
                                  'half', 'few', 'all'])
def test_no_word_on_masks_that_are_right(write, frame, kind, tmp_path):
    bits = np.zeros(SHAPE, int)
    values = frame.copy()
    if kind == 'columns':
        bits[:, 50:240:20] = 2
        values[:, 50:240:20] = 60000
    elif kind == 'saturated':
        bits[frame > 0.5 * frame.max()] = 2
    elif kind == 'edge':
        bits[:, :60] = 4
        values[:, :60] *= 0.3
    elif kind == 'noisy':
        bits[::3, ::3] = 16
        values[::3, ::3] += 50 * np.random.default_rng(1).random(
            values[::3, ::3].shape)
    elif kind == 'half':  # of 0 and 1: a statement, not a flag
        bits[:, :60] = 1
    elif kind == 'few':
        bits[::9, ::9] = 4
    else:
        bits[:] = 4
    path = write(bits)
    with fits.open(path, 'update') as hdus:
        hdus['SCI'].data[:] = values
    np.testing.assert_array_equal(masked(path), bits > 0)


@given(st.sampled_from(['u1', 'i1', '>i2', 'u2', '>i4', 'u4', 'i8']),
       st.integers(0, 62))
def test_every_bit_counts_once(dtype, bit):
    kind = np.dtype(dtype)
    bit %= min(8 * kind.itemsize, 63)
    mask = np.array([1 << bit], f'u{kind.itemsize}').view(
        f'{kind.kind}{kind.itemsize}').astype(kind)
    assert as_bits(mask).tolist() == [1 << bit]


def test_what_is_no_integer_has_no_bits():
    assert as_bits(np.array([0, 0.5, np.nan])).tolist() == [0, 1, 1]


def test_mask_that_is_none(write, frame, tmp_path, model):
    # Resampled masks have shares of pixels; an image is no mask.
    shares = np.zeros(SHAPE)
    shares[3, 3], shares[4, 4] = 0.2, 3
    path = write(shares, dtype='f4')
    assert np.argwhere(masked(path)).tolist() == [[3, 3], [4, 4]]
    path.unlink()
    path = write(frame, dtype='f4')
    with pytest.warns(CompanionWarning, match=r'2 \(MASK\) has numbers that '
                      'are no flags, and is not used'):
        output = denoise_file(path, tmp_path / 'out.fits', model=model)
    np.testing.assert_array_equal(fits.getdata(output, 'MASK'), frame)
    np.testing.assert_allclose(fits.getdata(output, 'SCI'), frame - 2.5,
                               rtol=1e-4)


def test_cards_that_are_no_bits():
    names = names_of_flags(fits.Header({'MP_BAD': 0, 'MP_TEXT': 'none',
                                        'MP_FAR': 99, 'MP_TRUE': True}),
                           {}.get)
    assert names.values == {'BAD': 1}
    assert good_bits_of('~BAD', names) & 0xFF == 0xFE
