# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the way from file to file.
"""

import gzip

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

from astro_denoise import denoise
from astro_denoise.data import get_example_path
from astro_denoise.exceptions import NoiseEstimateWarning
from astro_denoise.pipeline import denoise_file

SHAPE = (40, 60)


@pytest.fixture(scope='module')
def model(half_sigma_model):
    return half_sigma_model()


def noise(seed, shape=SHAPE, level=100.0):
    return np.random.default_rng(seed).normal(level, 5.0, shape)


@pytest.fixture
def crop(tmp_path):
    """
    A piece of a real frame, 16-bit unsigned integers.
    """
    with fits.open(get_example_path('eso085_030_004.fits')) as hdus:
        hdus[0].data = hdus[0].data[:64, :80].copy()
        path = tmp_path / 'in.fits'
        hdus.writeto(path)
    return path


@pytest.fixture
def mosaic(tmp_path):
    """
    Two chips in the way of Hubble files, with other HDUs around them.
    """
    primary = fits.PrimaryHDU()
    primary.header['GAIN'] = 2.0
    primary.header['BUNIT'] = 'ADU'
    hdus = [primary]
    for version in (1, 2):
        science = fits.ImageHDU(noise(version).astype('>f4'), name='SCI',
                                ver=version)
        science.header['CHIP'] = version
        flags = np.zeros(SHAPE, np.int16)
        flags[3, 4 + version] = 64
        hdus += [science,
                 fits.ImageHDU(np.full(SHAPE, 5.0, np.float32), name='ERR',
                               ver=version),
                 fits.ImageHDU(flags, name='DQ', ver=version)]
    hdus += [fits.ImageHDU(np.arange(12, dtype=np.uint16).reshape(3, 4),
                           name='SCALED'),
             fits.CompImageHDU(noise(5).astype(np.float32), name='PACKED'),
             fits.BinTableHDU(Table({'a': [1, 2]}), name='TAB')]
    path = tmp_path / 'mosaic.fits'
    fits.HDUList(hdus).writeto(path, checksum=True)
    return path


def hdu_bytes(path, index):
    with fits.open(path, disable_image_compression=True) as hdus:
        info = hdus[index].fileinfo()
    content = path.read_bytes()
    return content[info['hdrLoc']:info['datLoc'] + info['datSpan']]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_image(crop, tmp_path, model):
    before = crop.read_bytes()
    output = denoise_file(crop, tmp_path / 'out.fits', model=model)
    assert output == tmp_path / 'out.fits'
    assert crop.read_bytes() == before
    assert names(tmp_path) == ['in.fits', 'out.fits']

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


def test_mosaic(mosaic, tmp_path, model):
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
def test_one_hdu_of_many(mosaic, tmp_path, model, hdu, changed):
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


def test_ccddata_conventions(tmp_path, model):
    mask = np.zeros(SHAPE, bool)
    mask[5, 6] = True
    ccd = CCDData(noise(1), unit='electron', mask=mask,
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


def test_extensions_without_names(tmp_path, model):
    chips = [fits.ImageHDU(noise(seed), name=name)
             for seed, name in enumerate(['N1', 'N2'])]
    chips[1].data[3, 3] = np.nan
    path = tmp_path / 'in.fits'
    fits.HDUList([fits.PrimaryHDU(), *chips]).writeto(path)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        assert [(hdu.name, hdu.ver) for hdu in hdus[1:]] == [
            ('N1', 1), ('N2', 1), ('UNCERT', 1), ('UNCERT', 2), ('MASK', 2)]
        assert hdus['MASK', 2].data.sum() == 1
    again = denoise_file(output, tmp_path / 'again.fits', model=model)
    with fits.open(again) as hdus:
        assert len(hdus) == 6
        assert hdus['N2'].header['DNNOISE'] == 'uncertainty'


def test_stack(tmp_path, model):
    path = tmp_path / 'in.fits'
    fits.writeto(path, noise(1, (2, *SHAPE)))
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    assert fits.getdata(output).shape == (2, *SHAPE)
    assert fits.getdata(output, 'UNCERT').shape == (2, *SHAPE)


def test_compressed_image_stays_compressed(tmp_path, model):
    path = tmp_path / 'in.fits'
    packed = fits.CompImageHDU(noise(1).round().astype(np.int16),
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
def test_kind_of_compression(tmp_path, model, kind, expected):
    path = tmp_path / 'in.fits'
    image = noise(1).round().astype(np.float32)
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


@pytest.mark.parametrize('ending', ['.fits.gz', '.fits.bz2'])
def test_compressed_file(tmp_path, model, ending):
    path = tmp_path / f'in{ending}'
    fits.writeto(path, noise(1).astype(np.float32))
    output = denoise_file(path, tmp_path / f'out{ending}', model=model)
    assert output.read_bytes()[:2] == path.read_bytes()[:2]
    assert fits.getdata(output).shape == SHAPE


def test_integers_with_blank_and_scale(tmp_path, model):
    hdu = fits.PrimaryHDU(noise(1).astype(np.int16))
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


@pytest.mark.parametrize('kind', [fits.PrimaryHDU, fits.CompImageHDU])
def test_checksums_stay_valid(tmp_path, model, kind):
    path = tmp_path / 'in.fits'
    hdus = [kind(noise(1).astype(np.float32))]
    if kind is not fits.PrimaryHDU:
        hdus.insert(0, fits.PrimaryHDU())
    fits.HDUList(hdus).writeto(path, checksum=True)
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output, checksum=True) as hdus:
        assert hdus[len(hdus) - 2].header['DNMODEL'] == 'half'
        assert 'CHECKSUM' in hdus[0].header


def test_unknown_unit_is_kept(tmp_path, model):
    path = tmp_path / 'in.fits'
    fits.writeto(path, noise(1), fits.Header({'BUNIT': 'nanofoo'}))
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    assert fits.getheader(output)['BUNIT'] == 'nanofoo'


def test_keyword_of_the_primary_header(mosaic, tmp_path, model):
    output = denoise_file(mosaic, tmp_path / 'out.fits', model=model,
                          hdu='PACKED', gain='GAIN', read_noise=1.0)
    with fits.open(output) as hdus:
        assert hdus['PACKED'].header['DNGAIN'] == 2.0
        assert 'GAIN' not in hdus['PACKED'].header
    with pytest.raises(ValueError, match='NOKEY'):
        denoise_file(mosaic, tmp_path / 'other.fits', model=model,
                     gain='NOKEY', uncertainty=None)
    assert not (tmp_path / 'other.fits').exists()


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
    assert names(tmp_path) == ['in.fits']


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
    assert names(tmp_path) == ['in.fits']


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
    before = names(tmp_path)
    with pytest.raises(OSError, match='cannot be read as FITS') as raised:
        denoise_file(path, tmp_path / 'out.fits', model=model)
    assert raised.value.filename == str(path)
    assert names(tmp_path) == before


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
    assert names(tmp_path) == ['mosaic.fits']


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


def test_in_place(crop, tmp_path, model):
    expected = denoise(CCDData.read(crop), model)
    denoise_file(crop, crop, model=model, overwrite=True)
    np.testing.assert_array_equal(fits.getdata(crop), expected.data)
    assert names(tmp_path) == ['in.fits']


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
    assert names(tmp_path) == ['in.fits']


# Files beside a frame

@pytest.fixture
def paus(tmp_path):
    """
    A CCD with its mask and its weights beside it.
    """
    path = tmp_path / 'red.fits'
    fits.writeto(path, noise(1).astype(np.float32))
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


def test_arguments_come_before_files_beside(paus, tmp_path, model):
    output = denoise_file(paus, tmp_path / 'out.fits', model=model,
                          uncertainty=3.0, mask=np.zeros(SHAPE, bool))
    with fits.open(output) as hdus:
        assert hdus[0].header['DNSIGMA'] == pytest.approx(3.0)
        assert 'MASK' not in hdus


def test_weights_that_are_no_inverse_variances(paus, tmp_path, model):
    fits.writeto(tmp_path / 'red.weight.fits', np.ones(SHAPE, np.float32),
                 overwrite=True)
    with pytest.warns(NoiseEstimateWarning, match=r'red\.weight\.fits: .*'
                      'are they inverse variances'):
        denoise_file(paus, tmp_path / 'out.fits', model=model)


def test_compressed_files_beside(tmp_path, model):
    bits = np.zeros(SHAPE, np.uint8)
    bits[2, 3] = 4
    for name, data in (('a.fits.fz', noise(1).astype(np.float32)),
                       ('a.mask.fits.fz', bits)):
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data)]).writeto(
            tmp_path / name)
    output = denoise_file(tmp_path / 'a.fits.fz', tmp_path / 'out.fits.fz',
                          model=model)
    with fits.open(output) as hdus:
        assert isinstance(hdus[1], fits.CompImageHDU)
        assert hdus['MASK'].data[2, 3] == 4


def test_mosaic_of_18_chips(tmp_path, model):
    chips = [fits.PrimaryHDU()]
    chips[0].header['OBJECT'] = 'field'
    for number in range(1, 19):
        kind = fits.CompImageHDU if number % 2 else fits.ImageHDU
        chips.append(kind(noise(number).astype(np.float32),
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


@pytest.mark.parametrize('kind', ['plain', 'tiles', 'gzip'])
def test_same_file_whenever_it_is_written(tmp_path, model, monkeypatch,
                                          kind):
    data = noise(1).astype(np.float32)
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


# Damage

def test_wrong_checksum_of_data(tmp_path, model):
    path = tmp_path / 'in.fits'
    fits.writeto(path, noise(1).astype(np.float32), checksum=True)
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match='wrong checksum in HDU 0') as raised:
        denoise_file(path, tmp_path / 'out.fits', model=model)
    assert raised.value.filename == str(path)
    assert names(tmp_path) == ['in.fits']


def test_checksum_that_is_not_known(tmp_path, model):
    path = tmp_path / 'in.fits'
    header = fits.Header({'DATASUM': '', 'CHECKSUM': '  '})
    fits.writeto(path, noise(1).astype(np.float32), header)
    denoise_file(path, tmp_path / 'out.fits', model=model)
    assert names(tmp_path) == ['in.fits', 'out.fits']


def test_header_changed_after_the_checksum(tmp_path, model):
    path = tmp_path / 'in.fits'
    header = fits.Header({'OBJECT': 'field'})
    fits.writeto(path, noise(1).astype(np.float32), header, checksum=True)
    path.write_bytes(path.read_bytes().replace(b"'field", b"'FIELD"))
    with pytest.warns(AstropyUserWarning, match=r'in\.fits: wrong checksum '
                      'in HDU 0: its header'):
        denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(tmp_path / 'out.fits', checksum=True) as hdus:
        assert hdus[0].header['OBJECT'] == 'FIELD'


@pytest.mark.parametrize('kind', ['truncated', 'changed'])
def test_damaged_tile(tmp_path, model, kind):
    path = tmp_path / 'in.fits'
    packed = fits.CompImageHDU(noise(1).astype(np.float32), name='N1',
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
    assert names(tmp_path) == ['in.fits']


def test_more_cards(crop, tmp_path, model):
    output = denoise_file(crop, tmp_path / 'out.fits', model=model,
                          cards={'NIGHT': ('2026-01-01', 'of the run')})
    assert fits.getheader(output)['NIGHT'] == '2026-01-01'
