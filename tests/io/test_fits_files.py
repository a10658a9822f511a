# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the images of FITS files: which are denoised, how they are
compressed, and whether they are whole.
"""

import bz2
import gzip
import lzma
import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

from astro_denoise import denoise
from astro_denoise.exceptions import (
    CompanionWarning,
    ProcessedFrameWarning,
    SkippedImageWarning,
)
from astro_denoise.io import read_image
from astro_denoise.pipeline.one_file import denoise_file

SHAPE = (40, 60)


@pytest.fixture(scope='module')
def model(half_sigma_model):
    return half_sigma_model()


def test_mosaic(mosaic, tmp_path, model, hdu_bytes):
    with pytest.warns(SkippedImageWarning, match=(
            r'mosaic\.fits: left as they are: the images 7 \(SCALED\), '
            r'8 \(PACKED\); hdu \(--hdu\)')):
        output = denoise_file(mosaic, tmp_path / 'out.fits', model=model)
    with fits.open(mosaic) as old, fits.open(output, checksum=True) as new:
        new.verify('exception')
        assert [hdu.name for hdu in new] == [hdu.name for hdu in old]
        for version in (1, 2):
            science = new['SCI', version]
            assert science.header['CHIP'] == version
            assert science.header['DNNOISE'] == 'uncertainty'
            difference = (old['SCI', version].data - science.data)
            assert difference[3, 4 + version] == 0  # masked
            assert difference[10, 10] == pytest.approx(2.5, rel=1e-4)
            error = new['ERR', version]
            assert error.header['UTYPE'] == 'StdDevUncertainty'
            assert error.data[10, 10] == pytest.approx(5.0)
    # Whatever was not denoised is the same, byte by byte.
    for index in (0, 3, 6, 7, 8, 9):
        assert hdu_bytes(output, index) == hdu_bytes(mosaic, index)


@pytest.mark.parametrize(('hdu', 'changed'), [
    (1, [1, 2]), (-6, [4, 5]), ('SCI', [1, 2]), (('SCI', 2), [4, 5])])
def test_one_hdu_of_many(mosaic, tmp_path, model, hdu, changed, hdu_bytes):
    output = denoise_file(mosaic, tmp_path / 'out.fits', model=model,
                          hdu=hdu)
    for index in range(10):
        same = hdu_bytes(output, index) == hdu_bytes(mosaic, index)
        assert same is (index not in changed)


def test_other_image_of_a_mosaic(mosaic, tmp_path, model):
    # It has no mask and uncertainty in the file, and must not get others'.
    output = denoise_file(mosaic, tmp_path / 'out.fits', model=model,
                          hdu='PACKED')
    with fits.open(output) as hdus:
        assert hdus['PACKED'].header['DNNOISE'] == 'estimated'
        assert hdus['UNCERT', 3].shape == SHAPE


def science(noise_image, number, level=5.0):
    """
    An image, its noise and its mask with a number in their names.
    """
    flags = np.zeros(SHAPE, np.int16)
    flags[3, 4] = 64
    return [fits.ImageHDU(noise_image(1).astype('>f4'), name=f'SCI{number}'),
            fits.ImageHDU(np.full(SHAPE, level), name=f'ERR{number}'),
            fits.ImageHDU(flags, name=f'DQ{number}')]


@pytest.mark.parametrize('first', ['', '1', '01'])
@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_numbers_in_the_names(tmp_path, model, first, noise_image):
    path = tmp_path / 'in.fits'
    fits.HDUList([fits.PrimaryHDU(), *science(noise_image, first, 4.0),
                  *science(noise_image, 2, 6.0)]).writeto(path)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(path) as old, fits.open(output) as new:
        assert len(new) == len(old)
        for number, level in ((first, 4.0), (2, 6.0)):
            name = f'SCI{number}'
            difference = old[name].data - new[name].data
            assert difference[3, 4] == 0  # masked
            assert difference[10, 10] == pytest.approx(level / 2, rel=1e-4)
            assert new[f'ERR{number}'].header['UTYPE'] == 'StdDevUncertainty'


def test_what_is_added_has_the_number(tmp_path, model, noise_image):
    path = tmp_path / 'in.fits'
    images = [science(noise_image, number)[0] for number in ('', 2)]
    images[1].data[3, 3] = np.nan
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        assert [(hdu.name, hdu.ver) for hdu in hdus[1:]] == [
            ('SCI', 1), ('SCI2', 1), ('UNCERT', 1), ('UNCERT2', 1),
            ('MASK2', 1)]
    with pytest.warns(ProcessedFrameWarning):
        again = denoise_file(output, tmp_path / 'again.fits', model=model)
    with fits.open(again) as hdus:
        assert len(hdus) == 6
        assert hdus['SCI2'].header['DNNOISE'] == 'uncertainty'


def test_number_that_is_the_version_of_the_mask(tmp_path, model, noise_image):
    path = tmp_path / 'in.fits'
    images = [science(noise_image, number)[0] for number in (1, 2)]
    masks = [fits.ImageHDU(science(noise_image, 1)[2].data, name='MASK',
                           ver=version) for version in (1, 2)]
    masks[1].data[7, 8] = 1
    fits.HDUList([fits.PrimaryHDU(), *images, *masks]).writeto(path)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        for number, expected in ((1, [[3, 4]]), (2, [[3, 4], [7, 8]])):
            same = hdus[f'SCI{number}'].data == images[number - 1].data
            assert np.argwhere(same).tolist() == expected


@pytest.mark.parametrize('primary', [False, True])
def test_images_that_are_left(tmp_path, model, primary, noise_image):
    path = tmp_path / 'in.fits'
    hdus = [fits.PrimaryHDU(noise_image(1) if primary else None)]
    hdus += [] if primary else [fits.ImageHDU(noise_image(1), name='SCI')]
    hdus += [fits.ImageHDU(noise_image(2), name=name) for name in (
        'CCD2', '', 'ERR', 'DQ2', 'VAR_POISSON', 'CCD2_MASK', 'D2IMARR')]
    hdus.append(fits.ImageHDU(np.ones(9), name='SPECTRUM'))
    fits.HDUList(hdus).writeto(path)
    first = len(hdus) - 8
    with (pytest.warns(SkippedImageWarning, match=(
              rf'images {first} \(CCD2\), {first + 1} \(no name\); ')),
          pytest.warns(CompanionWarning, match=(
              rf'planes {first + 3} \(DQ2\), which')) as found):
        denoise_file(path, tmp_path / 'out.fits', model=model,
                     uncertainty=5.0)
    assert len(found) == 2
    with pytest.warns(CompanionWarning, match=r'\(DQ2\), which'):
        denoise_file(path, tmp_path / 'one.fits', model=model, hdu=first + 1,
                     uncertainty=5.0)
    assert 'DNMODEL' in fits.getheader(tmp_path / 'one.fits', first + 1)


def test_masks_and_weights_are_no_images_to_denoise(tmp_path, model,
                                                    noise_image, hdu_bytes):
    path = tmp_path / 'in.fits'
    fits.HDUList([fits.PrimaryHDU(), *(
        fits.ImageHDU(noise_image(1), name=name)
        for name in ('IMAGE', 'MASK2', 'CCD1_WEIGHT', 'CTX'))]).writeto(path)
    with pytest.warns(CompanionWarning, match=(
            r'planes 2 \(MASK2\), 3 \(CCD1_WEIGHT\), which')):
        output = denoise_file(path, tmp_path / 'out.fits', model=model)
    for index in (2, 3, 4):
        assert hdu_bytes(output, index) == hdu_bytes(path, index)


def test_extensions_without_names(tmp_path, model, noise_image):
    chips = [fits.ImageHDU(noise_image(seed), name=name)
             for seed, name in enumerate(['N1', 'N2'])]
    chips[1].data[3, 3] = np.nan
    path = tmp_path / 'in.fits'
    fits.HDUList([fits.PrimaryHDU(), *chips]).writeto(path)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        assert [(hdu.name, hdu.ver) for hdu in hdus[1:]] == [
            ('N1', 1), ('N2', 1), ('UNCERT', 1), ('UNCERT', 2), ('MASK', 2)]
        assert hdus['MASK', 2].data.sum() == 1
    with pytest.warns(ProcessedFrameWarning):
        again = denoise_file(output, tmp_path / 'again.fits', model=model)
    with fits.open(again) as hdus:
        assert len(hdus) == 6
        assert hdus['N2'].header['DNNOISE'] == 'uncertainty'


def test_mosaic_of_18_chips(tmp_path, model, noise_image, hdu_bytes):
    chips = [fits.PrimaryHDU()]
    chips[0].header['OBJECT'] = 'field'
    for number in range(1, 19):
        kind = fits.CompImageHDU if number % 2 else fits.ImageHDU
        chips.append(kind(noise_image(number).astype(np.float32),
                          name=f'CCD{number}'))
        chips[-1].header['CCDNUM'] = number
    path = tmp_path / 'mosaic.fits'
    fits.HDUList(chips).writeto(path, checksum=True)
    masks = [fits.PrimaryHDU()]
    for number in range(1, 19):
        bits = np.zeros(SHAPE, np.int16)
        bits[5, number] = number
        masks.append(fits.ImageHDU(bits, name=f'CCD{number}'))
    fits.HDUList(masks).writeto(tmp_path / 'mosaic.mask.fits')
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output, checksum=True) as hdus:
        hdus.verify('exception')
        assert len(hdus) == 1 + 3 * 18
        for number in range(1, 19):
            hdu = hdus[f'CCD{number}']
            assert isinstance(hdu, fits.CompImageHDU) == bool(number % 2)
            assert hdu.header['CCDNUM'] == number
            assert hdu.header['DNMODEL'] == 'half'
            bits = hdus['MASK', number].data
            assert np.argwhere(bits).tolist() == [[5, number]]
            assert bits[5, number] == number
            assert hdus['UNCERT', number].shape == SHAPE
    assert hdu_bytes(output, 0) == hdu_bytes(path, 0)


def test_no_image(tmp_path, model):
    path = tmp_path / 'in.fits'
    fits.HDUList([fits.PrimaryHDU(),
                  fits.BinTableHDU(Table({'a': [1]}), name='TAB'),
                  fits.ImageHDU(np.ones(5), name='SPECTRUM')]).writeto(path)
    with pytest.raises(ValueError, match='no image'):
        denoise_file(path, tmp_path / 'out.fits', model=model)
    for hdu in ('TAB', 'SPECTRUM'):
        with pytest.raises(ValueError, match='is not an image'):
            denoise_file(path, tmp_path / 'out.fits', model=model, hdu=hdu)
    assert sorted(os.listdir(tmp_path)) == ['in.fits']


def test_compressed_image_stays_compressed(tmp_path, model, noise_image):
    path = tmp_path / 'in.fits'
    packed = fits.CompImageHDU(noise_image(1).round().astype(np.int16),
                               compression_type='RICE_1', name='N1')
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    expected = denoise(CCDData(packed.data, unit='adu'), model)
    with fits.open(output) as hdus:
        assert isinstance(hdus[1], fits.CompImageHDU)
        np.testing.assert_array_equal(hdus[1].data, expected.data)
        assert hdus[1].header['DNMODEL'] == 'half'


@pytest.mark.parametrize(('kind', 'expected'), [
    ('RICE_1', 'GZIP_2'), ('GZIP_1', 'GZIP_1'), ('GZIP_2', 'GZIP_2')])
def test_kind_of_compression(tmp_path, model, kind, expected, noise_image):
    path = tmp_path / 'in.fits'
    image = noise_image(1).round().astype(np.float32)
    image[3, 4] = np.nan
    shape = (20, 30)
    hdus = [fits.CompImageHDU(image, name='SCI', compression_type=kind,
                              tile_shape=shape)]
    # Flags are not rounded by any kind.
    for flags in ('PLIO_1', 'RICE_1', 'GZIP_1'):
        hdus.append(fits.CompImageHDU(
            np.zeros(SHAPE, np.int16), name='DQ', compression_type=flags,
            tile_shape=shape))
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path,
                                                         overwrite=True)
        output = denoise_file(path, tmp_path / 'out.fits', model=model,
                              overwrite=True)
        with fits.open(output) as new:
            new.verify('exception')
            assert new['SCI'].compression_type == expected
            assert new['DQ'].compression_type == flags
            assert new['SCI'].tile_shape == new['DQ'].tile_shape == shape
            assert np.argwhere(new['DQ'].data).tolist() == [[3, 4]]
        hdus.pop()


@pytest.mark.parametrize('kind', [fits.PrimaryHDU, fits.CompImageHDU])
def test_checksums_stay_valid(tmp_path, model, kind, noise_image):
    path = tmp_path / 'in.fits'
    hdus = [kind(noise_image(1).astype(np.float32))]
    if kind is not fits.PrimaryHDU:
        hdus.insert(0, fits.PrimaryHDU())
    fits.HDUList(hdus).writeto(path, checksum=True)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output, checksum=True) as hdus:
        assert hdus[len(hdus) - 2].header['DNMODEL'] == 'half'
        assert 'CHECKSUM' in hdus[0].header


def damage(path, kind):
    content = path.read_bytes()
    if kind == 'gzip':
        content = gzip.compress(content)
        path.with_suffix('.fits.gz').write_bytes(content[:len(content) // 2])
        return path.with_suffix('.fits.gz')
    path.write_bytes({
        'data': content[:-4000],
        'one byte': content[:5760 + 64 * 80 * 2 - 1],
        'header': content[:2000],
        'header end': content[:2880],
        'other': b'not a FITS file, not at all\n' * 200,
        'empty': b''}[kind])
    return path


@pytest.mark.parametrize('kind', [
    'data', 'one byte', 'header', 'header end', 'other', 'empty', 'gzip'])
def test_damaged_input(crop, tmp_path, model, kind):
    path = damage(crop, kind)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError, match='cannot be read as FITS') as raised:
        denoise_file(path, tmp_path / 'out.fits', model=model)
    assert raised.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(('kind', 'keyword', 'value'), [
    (fits.ImageHDU, 'NAXIS', 99999999999), (fits.ImageHDU, 'NAXIS1', -1),
    (fits.ImageHDU, 'NAXIS2', 99999999999), (fits.ImageHDU, 'NAXIS2', -7),
    (fits.ImageHDU, 'NAXIS2', 10**19), (fits.ImageHDU, 'GCOUNT', -1),
    (fits.CompImageHDU, 'ZNAXIS', 99999999999),
    (fits.CompImageHDU, 'ZNAXIS2', 99999999999),
    (fits.CompImageHDU, 'ZTILE1', 0), (fits.CompImageHDU, 'NAXIS2', 0),
    (fits.CompImageHDU, 'TFIELDS', 99999999999)])
def test_numbers_that_cannot_be(tmp_path, model, noise_image, kind, keyword,
                                value):
    # Neither memory nor time may be spent on them.
    path = tmp_path / 'in.fits'
    fits.HDUList([fits.PrimaryHDU(), kind(
        noise_image(1).astype(np.float32))]).writeto(path)
    content = path.read_bytes()
    start = content.index(f'{keyword:8}='.encode(), 2880)
    path.write_bytes(content[:start] + f'{keyword:8}= {value:>20}'.ljust(
        80).encode() + content[start + 80:])
    with pytest.raises(OSError, match='cannot be read as FITS') as raised:
        denoise_file(path, tmp_path / 'out.fits', model=model)
    assert raised.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == ['in.fits']


def test_missing_padding_is_no_damage(crop, tmp_path, model):
    with fits.open(crop) as hdus:
        end = hdus[0].fileinfo()['datLoc'] + hdus[0].size
    crop.write_bytes(crop.read_bytes()[:end])
    denoise_file(crop, tmp_path / 'out.fits', model=model)
    assert fits.getdata(tmp_path / 'out.fits').shape == (64, 80)


def test_damaged_extension(mosaic, tmp_path, model):
    content = mosaic.read_bytes()
    mosaic.write_bytes(content[:len(content) // 2])
    with pytest.raises(OSError, match='cannot be read'):
        denoise_file(mosaic, tmp_path / 'out.fits', model=model, hdu=1)
    assert sorted(os.listdir(tmp_path)) == ['mosaic.fits']


@pytest.mark.parametrize('kind', ['truncated', 'changed'])
def test_damaged_tile(tmp_path, model, kind, noise_image):
    path = tmp_path / 'in.fits'
    packed = fits.CompImageHDU(noise_image(1).astype(np.float32), name='N1',
                               compression_type='GZIP_2', quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        info, size = hdus[1].fileinfo(), hdus[1].size
    content = bytearray(path.read_bytes())
    end = info['datLoc'] + size
    if kind == 'truncated':
        content = content[:end - 2000]
    else:
        content[end - 2000:end - 1500] = bytes(500)
    path.write_bytes(content)
    with pytest.raises(OSError, match='cannot be read as FITS') as raised:
        denoise_file(path, tmp_path / 'out.fits', model=model)
    assert raised.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == ['in.fits']


def with_wrong_sum(path, noise_image, stated=('DATASUM', 'CHECKSUM')):
    """
    Write a file of which one bit of the pixels was changed.
    """
    fits.writeto(path, noise_image(1).astype(np.float32), checksum=True)
    if 'DATASUM' not in stated:
        # What is taken from the sum of the words is added to it.
        hdu = fits.PrimaryHDU(noise_image(1).astype(np.float32))
        hdu.add_checksum()
        del hdu.header['DATASUM']
        hdu.header['CHECKSUM'] = hdu._calculate_checksum(
            hdu._calculate_datasum())
        hdu.writeto(path, overwrite=True)
        assert 'DATASUM' not in fits.getheader(path)
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize('stated', [('DATASUM', 'CHECKSUM'), ('CHECKSUM',)])
def test_wrong_checksum_of_data(tmp_path, model, noise_image, stated):
    path = with_wrong_sum(tmp_path / 'in.fits', noise_image, stated)
    with pytest.raises(OSError, match='wrong checksum in HDU 0') as raised:
        denoise_file(path, tmp_path / 'out.fits', model=model)
    assert raised.value.filename == str(path)
    # How to go on.
    for way in ('DATASUM', 'CHECKSUM', '--ignore-checksum'):
        assert way in str(raised.value)
    assert sorted(os.listdir(tmp_path)) == ['in.fits']
    output = denoise_file(path, tmp_path / 'out.fits', model=model,
                          uncertainty=5.0, ignore_checksum=True)
    np.testing.assert_allclose(fits.getdata(output),
                               fits.getdata(path) - 2.5, rtol=1e-5)
    with fits.open(output, checksum=True):
        pass  # what was written has the right sums


def test_checksum_alone_is_verified(tmp_path, model, noise_image):
    path = tmp_path / 'in.fits'
    with_wrong_sum(path, noise_image, ('CHECKSUM',))
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    denoise_file(path, tmp_path / 'out.fits', model=model)
    assert sorted(os.listdir(tmp_path)) == ['in.fits', 'out.fits']


@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_wrong_checksum_wherever_a_file_is_read(tmp_path, model,
                                                noise_image):
    path = with_wrong_sum(tmp_path / 'bad.fits', noise_image)
    with pytest.raises(OSError, match='wrong checksum') as raised:
        read_image(path)
    assert raised.value.filename == str(path)
    fits.writeto(tmp_path / 'in.fits', noise_image(2))
    options = {'model': model, 'uncertainty': path,
               'uncertainty_type': 'std'}
    with pytest.raises(OSError, match='wrong checksum') as raised:
        denoise_file(tmp_path / 'in.fits', tmp_path / 'out.fits', **options)
    assert raised.value.filename == str(path)
    denoise_file(tmp_path / 'in.fits', tmp_path / 'out.fits', **options,
                 ignore_checksum=True)


@pytest.mark.parametrize('compress', [gzip.compress, bz2.compress,
                                      lzma.compress])
def test_compressed_file_is_read_to_its_end(crop, tmp_path, model, compress):
    # The sum of all pixels stands behind the last of them.
    path = tmp_path / 'packed.fits.gz'
    content = compress(crop.read_bytes())
    path.write_bytes(content)
    denoise_file(path, tmp_path / 'out.fits', model=model)
    for damaged in (content[:-1], content[:-6] + bytes(6)):
        path.write_bytes(damaged)
        for read in (read_image, lambda path: denoise_file(
                path, tmp_path / 'new.fits', model=model)):
            with pytest.raises(OSError, match='cannot be read') as raised:
                read(path)
            assert raised.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == ['in.fits', 'out.fits',
                                            'packed.fits.gz']


def test_checksum_that_is_not_known(tmp_path, model, noise_image):
    path = tmp_path / 'in.fits'
    header = fits.Header({'DATASUM': '', 'CHECKSUM': '  '})
    fits.writeto(path, noise_image(1).astype(np.float32), header)
    denoise_file(path, tmp_path / 'out.fits', model=model)
    assert sorted(os.listdir(tmp_path)) == ['in.fits', 'out.fits']


def test_header_changed_after_the_checksum(tmp_path, model, noise_image):
    path = tmp_path / 'in.fits'
    header = fits.Header({'OBJECT': 'field'})
    fits.writeto(path, noise_image(1).astype(np.float32), header,
                 checksum=True)
    path.write_bytes(path.read_bytes().replace(b"'field", b"'FIELD"))
    with pytest.warns(AstropyUserWarning, match=r'in\.fits: wrong checksum '
                      'in HDU 0: its header'):
        denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(tmp_path / 'out.fits', checksum=True) as hdus:
        assert hdus[0].header['OBJECT'] == 'FIELD'
