# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the way from file to file.
"""

import math
import os

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

from astro_denoise import denoise
from astro_denoise.denoising import core
from astro_denoise.pipeline.one_file import denoise_file

SHAPE = (40, 60)


@pytest.fixture(scope='module')
def model(half_sigma_model):
    return half_sigma_model()


def test_one_image(crop, tmp_path, model):
    before = crop.read_bytes()
    output = denoise_file(crop, tmp_path / 'out.fits', model=model)
    assert output == tmp_path / 'out.fits'
    assert crop.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ['in.fits', 'out.fits']

    expected = denoise(CCDData.read(crop), model)
    result = CCDData.read(output)
    np.testing.assert_array_equal(result.data, expected.data)
    np.testing.assert_array_equal(result.uncertainty.array,
                                  expected.uncertainty.array)
    assert isinstance(result.uncertainty, StdDevUncertainty)
    assert result.unit == result.uncertainty.unit == u.adu
    assert result.mask is None
    with fits.open(output, checksum=True) as hdus:
        hdus.verify('exception')
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'UNCERT']
        header = hdus[0].header
        assert header['BITPIX'] == hdus[1].header['BITPIX'] == -32
        assert header['OBJECT'] == 'eso085-030'
        assert header['DNMODEL'] == 'half'
        assert 'BZERO' not in header


def test_stack(tmp_path, model, noise_image):
    path = tmp_path / 'in.fits'
    fits.writeto(path, noise_image(1, (2, *SHAPE)))
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    assert fits.getdata(output).shape == (2, *SHAPE)
    assert fits.getdata(output, 'UNCERT').shape == (2, *SHAPE)


@pytest.mark.parametrize('ending', ['.fits.gz', '.fits.bz2', '.fit.xz',
                                    '.FTS.GZ'])
def test_compressed_file(tmp_path, model, ending, noise_image):
    path = tmp_path / f'in{ending.lower()}'
    fits.writeto(path, noise_image(1).astype(np.float32))
    output = denoise_file(path, tmp_path / f'out{ending}', model=model)
    assert output.read_bytes()[:2] == path.read_bytes()[:2] != b'SI'
    assert fits.getdata(output).shape == SHAPE


@pytest.mark.parametrize('name', ['out.jpg', 'out', 'out.gz', 'fits'])
def test_name_that_is_none_of_a_fits_file(crop, tmp_path, model, name):
    with pytest.raises(ValueError, match=rf"output must end .*{name}'$"):
        denoise_file(crop, tmp_path / name, model=model)
    assert sorted(os.listdir(tmp_path)) == ['in.fits']


@pytest.mark.parametrize(('options', 'message'), [
    ({'mask': np.zeros((2, 2))}, r'mask must have the shape \(64, 80\)'),
    ({'uncertainty': np.ones((2, 2))}, 'uncertainty'),
    ({'uncertainty_type': 'sigma'}, "uncertainty_type.*got 'sigma'"),
    ({'hdu': 3}, 'hdu=3'),
    ({'hdu': 'SCI'}, "hdu='SCI'"),
    ({'model': 'no-such-model'}, 'no-such-model'),
    ({'precision': 'float8'}, 'float8'),
    ({'gain': -1.0}, 'gain'),
])
def test_bad_argument(crop, tmp_path, model, options, message):
    options = {'model': model, **options}
    with pytest.raises(ValueError, match=message):
        denoise_file(crop, tmp_path / 'out.fits', **options)
    assert sorted(os.listdir(tmp_path)) == ['in.fits']


def test_missing_input(tmp_path, model):
    with pytest.raises(FileNotFoundError) as raised:
        denoise_file(tmp_path / 'in.fits', tmp_path / 'out.fits',
                     model=model)
    assert raised.value.filename == str(tmp_path / 'in.fits')
    with pytest.raises(OSError) as raised:
        denoise_file(tmp_path, tmp_path / 'out.fits', model=model)
    assert str(tmp_path) in str(raised.value)


def test_existing_output(crop, tmp_path, model):
    output = tmp_path / 'out.fits'
    output.write_text('precious')
    with pytest.raises(FileExistsError) as raised:
        denoise_file(crop, output, model=model)
    assert raised.value.filename == str(output)
    assert output.read_text() == 'precious'
    denoise_file(crop, output, model=model, overwrite=True)
    assert fits.getdata(output).shape == (64, 80)


@pytest.mark.parametrize('name', ['in.fits', 'link.fits'])
def test_no_input_is_replaced(crop, tmp_path, model, name):
    before = crop.read_bytes()
    (tmp_path / 'link.fits').symlink_to(crop)
    with pytest.raises(ValueError, match=r'output must be another.*in\.fits'):
        denoise_file(crop, tmp_path / name, model=model, overwrite=True)
    other = tmp_path / 'noise.fits'
    other.write_bytes(before)
    for option in ('mask', 'uncertainty'):
        with pytest.raises(ValueError, match=r'output must .*noise\.fits'):
            denoise_file(crop, other, model=model, overwrite=True,
                         **{option: other})
    assert crop.read_bytes() == other.read_bytes() == before


@pytest.mark.parametrize('option', ['model', 'mask', 'uncertainty'])
def test_error_names_the_input_at_fault(crop, tmp_path, model, option):
    bad = tmp_path / 'bad.safetensors'
    bad.write_bytes(b'nothing at all')
    options = {'model': model, option: bad}
    with pytest.raises(OSError, match=r'bad\.safetensors') as error:
        denoise_file(crop, tmp_path / 'out.fits', **options)
    assert 'out.fits' not in str(error.value)
    assert not (tmp_path / 'out.fits').exists()


def test_permissions_of_what_is_replaced(crop, tmp_path, model):
    output = tmp_path / 'out.fits'
    output.write_text('old')
    output.chmod(0o600)
    denoise_file(crop, output, model=model, overwrite=True)
    assert output.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize('cards', [{'NAXIS': 3}, {'A': math.nan},
                                   {'A': [1]}, {'TOOLONGKEY': 1}])
def test_bad_cards(crop, tmp_path, model, monkeypatch, cards):
    monkeypatch.setattr(core, 'denoise', None)  # before any work
    with pytest.raises(ValueError, match='cards must'):
        denoise_file(crop, tmp_path / 'out.fits', model=model, cards=cards)


def test_disk_full(crop, tmp_path, model):
    # A limit to the size of a file stands in for a full disk: the write
    # itself fails, in the middle.
    resource = pytest.importorskip('resource')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        with pytest.raises(OSError) as raised:
            denoise_file(crop, tmp_path / 'out.fits', model=model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(tmp_path / 'out.fits')
    assert sorted(os.listdir(tmp_path)) == ['in.fits']


@pytest.mark.parametrize('kind', ['plain', 'tiles', 'gzip'])
def test_same_file_whenever_it_is_written(tmp_path, model, monkeypatch, kind,
                                          noise_image):
    data = noise_image(1).astype(np.float32)
    data[2, 3] = np.nan
    hdus = fits.HDUList([fits.PrimaryHDU(data)])
    if kind == 'tiles':
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(
            data, name='N1', quantize_level=0, compression_type='GZIP_2'),
            fits.CompImageHDU(np.zeros(SHAPE, np.uint8), name='DQ',
                              compression_type='GZIP_1')])
    ending = '.fits.gz' if kind == 'gzip' else '.fits'
    hdus.writeto(tmp_path / f'in{ending}')
    contents = []
    for number in range(2):
        monkeypatch.setattr('time.time', lambda now=number: 1e9 * (1 + now))
        output = denoise_file(tmp_path / f'in{ending}',
                              tmp_path / f'out{number}{ending}', model=model)
        contents.append(output.read_bytes())
    assert contents[0] == contents[1]
    with fits.open(output) as hdus:
        hdus.verify('exception')
        image = hdus[1] if kind == 'tiles' else hdus[0]
        np.testing.assert_array_equal(image.data, denoise(data, model))


def test_more_cards(crop, tmp_path, model):
    output = denoise_file(crop, tmp_path / 'out.fits', model=model,
                          cards={'NIGHT': ('2026-01-01', 'of the run')})
    assert fits.getheader(output)['NIGHT'] == '2026-01-01'
