# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what belongs to an image: unit, mask, noise and files beside it.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty

from astro_denoise.data.examples import get_example_path
from astro_denoise.io.fits_images import read_image
from astro_denoise.pipeline.one_file import denoise_file

SHAPE = (40, 60)


@pytest.fixture(scope='module')
def model(half_sigma_model):
    return half_sigma_model()


def test_read_image(mosaic):
    image = read_image(mosaic, hdu=('SCI', 2))
    with fits.open(mosaic) as hdus:
        np.testing.assert_array_equal(image.data, hdus['SCI', 2].data)
    assert image.unit == u.adu
    assert isinstance(image.uncertainty, StdDevUncertainty)
    assert np.all(image.uncertainty.array == 5.0)
    assert np.argwhere(image.mask).tolist() == [[3, 6]]
    assert image.mask[3, 6] == 64
    # The cards of the primary header too.
    assert (image.meta['CHIP'], image.meta['GAIN']) == (2, 2.0)
    assert image.wcs is None
    with pytest.raises(ValueError, match='which of 2 images, got None'):
        read_image(mosaic)


def test_read_image_with_its_place_on_the_sky():
    image = read_image(get_example_path('fermi_gc.fits'))
    assert list(image.wcs.wcs.ctype) == ['GLON-CAR', 'GLAT-CAR']
    assert image.unit == u.ct
    assert image.mask is image.uncertainty is None


def test_ccddata_conventions(tmp_path, model, noise_image):
    mask = np.zeros(SHAPE, bool)
    mask[5, 6] = True
    ccd = CCDData(noise_image(1), unit='electron', mask=mask,
                  uncertainty=VarianceUncertainty(np.full(SHAPE, 25.0)))
    ccd.data[7, 8] = np.nan
    ccd.write(tmp_path / 'in.fits')
    output = denoise_file(tmp_path / 'in.fits', tmp_path / 'out.fits',
                          model=model)
    result = CCDData.read(output)
    assert result.unit == u.electron
    assert isinstance(result.uncertainty, StdDevUncertainty)
    assert result.uncertainty.array[0, 0] == pytest.approx(5.0)
    assert result.data[5, 6] == np.float32(ccd.data[5, 6])
    assert np.isnan(result.data[7, 8])
    mask[7, 8] = True
    np.testing.assert_array_equal(result.mask, mask)
    with fits.open(output) as hdus:
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'MASK', 'UNCERT']


def test_integers_with_blank_and_scale(tmp_path, model, noise_image):
    hdu = fits.PrimaryHDU(noise_image(1).astype(np.int16))
    hdu.data[1, 2] = -1
    hdu.header['BLANK'] = -1
    path = tmp_path / 'in.fits'
    hdu.writeto(path)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        hdus.verify('exception')
        assert np.isnan(hdus[0].data[1, 2])
        assert hdus['MASK'].data.sum() == 1


@pytest.mark.parametrize(('bunit', 'gain', 'ratio'), [
    (None, 4.0, 0.5), ('ADU', 4.0, 0.5), ('DN', 4.0, 0.5),
    ('counts', 4.0, 0.5), ('electrons', None, 1.0), ('e-', None, 1.0)])
def test_units(tmp_path, model, bunit, gain, ratio):
    hdu = fits.PrimaryHDU(np.full(SHAPE, 10000.0, np.float32))
    if bunit is not None:
        hdu.header['BUNIT'] = bunit
    path = tmp_path / 'in.fits'
    hdu.writeto(path)
    output = denoise_file(path, tmp_path / 'out.fits', model=model,
                          gain=gain, read_noise=1.0)
    with fits.open(output) as hdus:
        assert hdus[0].header['BUNIT'] == (bunit or 'adu')
        assert hdus[1].header['BUNIT'] == (bunit or 'adu')
        np.testing.assert_allclose(hdus[0].data, 10000.0 - 50.0 * ratio,
                                   rtol=1e-4)


def test_unknown_unit_is_kept(tmp_path, model, noise_image):
    path = tmp_path / 'in.fits'
    fits.writeto(path, noise_image(1), fits.Header({'BUNIT': 'nanofoo'}))
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    assert fits.getheader(output)['BUNIT'] == 'nanofoo'


@pytest.mark.filterwarnings('ignore:the noise of the blank sky')
def test_keyword_of_the_primary_header(mosaic, tmp_path, model):
    output = denoise_file(mosaic, tmp_path / 'out.fits', model=model,
                          hdu='PACKED', gain='GAIN', read_noise=0.5)
    with fits.open(output) as hdus:
        assert hdus['PACKED'].header['DNGAIN'] == 2.0
        assert 'GAIN' not in hdus['PACKED'].header
    with pytest.raises(ValueError, match='NOKEY'):
        denoise_file(mosaic, tmp_path / 'other.fits', model=model,
                     hdu=1, gain='NOKEY', uncertainty=None)
    assert not (tmp_path / 'other.fits').exists()


@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_mask_and_uncertainty_of_files(crop, tmp_path, model):
    shape = fits.getdata(crop).shape
    flags = np.zeros(shape, np.int32)
    flags[2, 3] = 128
    fits.writeto(tmp_path / 'mask.fits', flags)
    weight = np.full(shape, 0.01)
    weight[4, 5] = 0
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(weight)]).writeto(
        tmp_path / 'weight.fits')
    output = denoise_file(
        crop, tmp_path / 'out.fits', model=model,
        mask=tmp_path / 'mask.fits', uncertainty=tmp_path / 'weight.fits',
        uncertainty_type='ivar')
    result = CCDData.read(output)
    assert np.argwhere(result.mask).tolist() == [[2, 3], [4, 5]]
    good = ~result.mask
    np.testing.assert_allclose(result.data[good],
                               fits.getdata(crop)[good] - 5.0)


@pytest.mark.filterwarnings(
    'ignore::astro_denoise.exceptions.SkippedImageWarning')
@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_files_for_each_chip(mosaic, tmp_path, model):
    images = [fits.ImageHDU(np.full(SHAPE, level), name='NOISE')
              for level in (2.0, 6.0)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / 'n.fits')
    output = denoise_file(mosaic, tmp_path / 'out.fits', model=model,
                          uncertainty=tmp_path / 'n.fits')
    with fits.open(mosaic) as old, fits.open(output) as new:
        for version, level in ((1, 2.0), (2, 6.0)):
            difference = old['SCI', version].data - new['SCI', version].data
            assert difference[9, 9] == pytest.approx(level / 2, rel=1e-4)
    # Nothing says which chip one image belongs to.
    fits.HDUList([fits.PrimaryHDU(), images[0]]).writeto(tmp_path / '1.fits')
    with pytest.raises(ValueError, match='one image for each of the 2'):
        denoise_file(mosaic, tmp_path / 'other.fits', model=model,
                     uncertainty=tmp_path / '1.fits')


@pytest.fixture
def paus(tmp_path, noise_image):
    """
    A CCD with its mask and its weights beside it.
    """
    path = tmp_path / 'red.fits'
    fits.writeto(path, noise_image(1).astype(np.float32))
    bits = np.zeros(SHAPE, np.int32)
    bits[2, 3], bits[4, 5] = 2048, 512
    fits.writeto(tmp_path / 'red.mask.fits', bits)
    weight = np.full(SHAPE, 1 / 25.0, np.float32)
    weight[6, 7] = 0
    fits.writeto(tmp_path / 'red.weight.fits', weight)
    return path


def test_mask_and_weights_beside_the_frame(paus, tmp_path, model):
    output = denoise_file(paus, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        hdus.verify('exception')
        assert hdus[0].header['DNNOISE'] == 'uncertainty'
        assert hdus[0].header['DNSIGMA'] == pytest.approx(5.0)
        bits = hdus['MASK'].data
        assert bits.dtype.kind == 'i'
        assert {tuple(place): bits[tuple(place)]
                for place in np.argwhere(bits).tolist()} == {
                    (2, 3): 2048, (4, 5): 512, (6, 7): 1}
        np.testing.assert_allclose(
            hdus[0].data[10:], fits.getdata(paus)[10:] - 2.5, rtol=1e-5)
    output = denoise_file(paus, tmp_path / 'alone.fits', model=model,
                          companions=False)
    assert fits.getheader(output)['DNNOISE'] == 'estimated'


@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_arguments_come_before_files_beside(paus, tmp_path, model):
    output = denoise_file(paus, tmp_path / 'out.fits', model=model,
                          uncertainty=3.0, mask=np.zeros(SHAPE, bool))
    with fits.open(output) as hdus:
        assert hdus[0].header['DNSIGMA'] == pytest.approx(3.0)
        assert 'MASK' not in hdus


def test_compressed_files_beside(tmp_path, model, noise_image):
    bits = np.zeros(SHAPE, np.uint8)
    bits[2, 3] = 4
    for name, data in (('a.fits.fz', noise_image(1).astype(np.float32)),
                       ('a.mask.fits.fz', bits)):
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data)]).writeto(
            tmp_path / name)
    output = denoise_file(tmp_path / 'a.fits.fz', tmp_path / 'out.fits.fz',
                          model=model)
    with fits.open(output) as hdus:
        assert isinstance(hdus[1], fits.CompImageHDU)
        assert hdus['MASK'].data[2, 3] == 4


@pytest.mark.parametrize(('name', 'utype', 'value'), [
    ('ERR', None, 0.0), ('ERR', None, -1.0),
    ('UNCERT', 'VarianceUncertainty', 0.0),
    ('UNCERT', 'InverseVariance', -1.0), ('UNCERT', 'InverseVariance', 0.0)])
def test_pixel_without_noise_is_masked(tmp_path, half_sigma_model, name,
                                       utype, value):
    values = np.random.default_rng(1).normal(100, 5, (40, 50))
    noise = np.full(values.shape, {None: 5.0, 'VarianceUncertainty': 25.0,
                                   'InverseVariance': 0.04}[utype])
    noise[3, 4] = value
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(values, name='SCI'),
            fits.ImageHDU(noise, name=name)]
    if utype:
        hdus[2].header['UTYPE'] = utype
    fits.HDUList(hdus).writeto(tmp_path / 'in.fits')
    output = denoise_file(tmp_path / 'in.fits', tmp_path / 'out.fits',
                          model=half_sigma_model())
    with fits.open(output) as result:
        assert np.argwhere(result['MASK'].data).tolist() == [[3, 4]]
        assert result['SCI'].data[3, 4] == np.float32(values[3, 4])
