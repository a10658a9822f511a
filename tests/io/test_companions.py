# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what describes an image: extensions and files, by their names.
"""

import os
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, VarianceUncertainty
from astropy.table import Table

from astro_denoise.exceptions import CompanionWarning, SkippedImageWarning
from astro_denoise.io import read_image
from astro_denoise.io.companions import companion, find_planes, kind_of_name
from astro_denoise.pipeline import denoise_file, denoise_files

SHAPE = (64, 80)
SIGMA = 5.0
NUMBERS = {'std': SIGMA, 'var': SIGMA**2, 'ivar': SIGMA**-2}


@pytest.fixture(scope='module')
def model(half_sigma_model):
    return half_sigma_model()


@pytest.fixture(scope='module')
def image(noise_image):
    return noise_image(1, SHAPE).astype(np.float32)


def full(kind):
    return np.full(SHAPE, NUMBERS[kind], np.float32)


def flags(dtype='u2'):
    bits = np.zeros(SHAPE, dtype)
    bits[3, 4] = 64
    return bits


def written(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


@pytest.mark.parametrize(('name', 'kind'), [
    ('SCI', None), ('', None), ('CCD1', None), ('IMAGE', None),
    ('MASKED', None), ('CAT', None), ('EXP1', None), ('dq', 'mask'),
    ('BPM', 'mask'), ('DQ2', 'mask'), ('CCD1_WEIGHT', 'weight'),
    ('WHT', 'weight'), ('CTX', 'other'), ('VAR_POISSON', 'var'),
    ('INVVAR', 'ivar'), ('IVAR', 'ivar'), ('RMS', 'std'), ('EXP', 'exposure'),
    ('SIGMA', 'std'), ('NOISE', 'std')])
def test_kinds(name, kind):
    assert kind_of_name(name) == kind


# The image, its noise and what that is, its mask.
LAYOUTS = {
    'HST, JWST': ('SCI', 'ERR', 'std', 'DQ'),
    'DRAGONS': ('SCI', 'VAR', 'var', 'DQ'),
    'LSST': ('IMAGE', 'VARIANCE', 'var', 'MASK'),
    'LCO': ('SCI', 'ERR', 'std', 'BPM'),
    'IVAR': ('SCI', 'IVAR', 'ivar', 'MASK'),
    'INVVAR': ('CCD1', 'CCD1_INVVAR', 'ivar', 'CCD1_MASK'),
    'SIGMA': ('N1', 'SIGMA', 'std', 'FLAGS'),
    'RMS': ('SCI', 'RMS', 'std', 'MASK'),
    'NOISE': ('SCI2', 'NOISE2', 'std', 'DQ2')}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_layouts(tmp_path, model, image, hdu_bytes, layout):
    science, noise, kind, mask = LAYOUTS[layout]
    path = written(
        tmp_path / 'in.fits', fits.ImageHDU(image, name=science),
        fits.BinTableHDU(Table({'x': [1.0]}), name='CAT'),
        fits.ImageHDU(full(kind), name=noise),
        fits.ImageHDU(flags(), name=mask))
    read = read_image(path)
    assert np.argwhere(read.mask).tolist() == [[3, 4]]
    np.testing.assert_allclose(
        read.uncertainty.represent_as(VarianceUncertainty).array, 25.0,
        rtol=1e-6)

    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == [science, 'CAT', noise, mask]
        assert hdus[1].header['DNNOISE'] == 'uncertainty'
        assert hdus[1].data[3, 4] == image[3, 4]
        np.testing.assert_allclose(hdus[1].data[9:], image[9:] - SIGMA / 2,
                                   rtol=1e-5)
        # Here, the noise of the result is that of the image.
        np.testing.assert_allclose(hdus[3].data, NUMBERS[kind], rtol=1e-5)
        assert hdus[3].header['UTYPE'] == {
            'std': 'StdDevUncertainty', 'var': 'VarianceUncertainty',
            'ivar': 'InverseVariance'}[kind]
        assert hdus[3].header['BUNIT'] == {
            'std': 'adu', 'var': 'adu2', 'ivar': 'adu-2'}[kind]
    for index in (2, 4):
        assert hdu_bytes(output, index) == hdu_bytes(path, index)


@pytest.mark.parametrize(('kind', 'name'), [
    ('var', 'VAR'), ('ivar', 'IVAR'), ('std', 'ERR')])
def test_new_noise_as_what_it_is(tmp_path, sky, kind, name):
    # A network that removes noise: what is written is that of the result.
    frame = sky(SHAPE)
    path = written(tmp_path / 'in.fits', fits.ImageHDU(frame, name='SCI'),
                   fits.ImageHDU(full(kind), name=name),
                   fits.ImageHDU(flags(), name='DQ'))
    plain = written(tmp_path / 'plain.fits',
                    fits.ImageHDU(frame, name='SCI'),
                    fits.ImageHDU(flags(), name='DQ'))
    output = denoise_file(path, tmp_path / 'out.fits')
    sigma = fits.getdata(denoise_file(
        plain, tmp_path / 'plain_out.fits', uncertainty=SIGMA), 'UNCERT')
    good = flags() == 0
    assert np.median(sigma[good]) < 0.7 * SIGMA
    new = fits.getdata(output, name)
    power = {'std': 1, 'var': 2, 'ivar': -2}[kind]
    np.testing.assert_allclose(new[good], sigma[good]**power, rtol=1e-3)
    assert new[3, 4] == pytest.approx(NUMBERS[kind], rel=1e-5)
    # And is read again as that.
    read = read_image(output).uncertainty.represent_as(VarianceUncertainty)
    np.testing.assert_allclose(read.array[good], sigma[good]**2, rtol=1e-3)


def test_variances_of_small_numbers(tmp_path, model, image):
    path = written(tmp_path / 'in.fits',
                   fits.ImageHDU(1e-21 * image.astype(float), name='SCI'),
                   fits.ImageHDU(1e-42 * full('var').astype(float),
                                 name='VAR'))
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    np.testing.assert_allclose(fits.getdata(output, 'VAR'), 25e-42,
                               rtol=1e-4)


def exttype(data, kind, cards=()):
    hdu = fits.ImageHDU(data)
    if kind:
        hdu.header['EXTTYPE'] = kind
    for keyword, value in cards:
        hdu.header[f'HIERARCH {keyword}'] = value
    return hdu


BITS = (('MP_BAD', 0), ('MP_SAT', 1), ('MP_DETECTED', 5))


@pytest.mark.parametrize('known', ['EXTTYPE', 'cards'])
def test_planes_without_names(tmp_path, model, image, hdu_bytes, known):
    kinds = (('IMAGE', 'MASK', 'VARIANCE') if known == 'EXTTYPE'
             else (None,) * 3)
    variance = np.full(SHAPE, 25.0, np.float32)
    variance[:, 40:] = 100.0
    frame = 100 + (image - 100) / SIGMA * np.sqrt(variance)
    bits = np.zeros(SHAPE, 'u2')
    bits[:, 7], bits[20:30, 20:30] = 1, 32
    path = written(tmp_path / 'in.fits', exttype(frame, kinds[0]),
                   exttype(bits, kinds[1], BITS),
                   exttype(variance, kinds[2]))
    with fits.open(path) as hdus:
        assert {index: plane.kind for index, plane in find_planes(
            hdus).items()} == {2: 'mask', 3: 'var'}
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    for index in (2, 3):
        assert hdu_bytes(output, index) == hdu_bytes(path, index)
    with fits.open(output) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ['', '', '', 'UNCERT']
        assert hdus[1].header['DNNOISE'] == 'uncertainty'
        np.testing.assert_array_equal(hdus[1].data == frame, bits == 1)
        np.testing.assert_allclose(
            (frame - hdus[1].data)[:, 41:], 5.0, rtol=1e-4)
        np.testing.assert_allclose(hdus['UNCERT'].data[:, 41:], 10.0,
                                   rtol=1e-5)


def test_planes_without_names_belong_to_the_image_before(tmp_path, image):
    path = written(
        tmp_path / 'in.fits', exttype(image, 'IMAGE'),
        exttype(flags(), 'MASK', BITS), exttype(image, 'IMAGE'),
        exttype(np.zeros(SHAPE, 'i4'), 'MASK', BITS))
    assert read_image(path, hdu=1).mask.sum() == 64
    assert read_image(path, hdu=3).mask.sum() == 0


def test_mask_that_nothing_names(tmp_path, model, image, hdu_bytes):
    hdus = [fits.ImageHDU(image), fits.ImageHDU(image + 1),
            fits.ImageHDU(flags()), fits.ImageHDU(np.zeros(SHAPE, 'f4')),
            fits.ImageHDU(np.full(SHAPE, 60.0))]
    path = written(tmp_path / 'in.fits', *hdus)
    with pytest.warns(SkippedImageWarning, match=(
            r'the images 3 \(no name\), 4 \(no name\), 5 \(no name\); hdu')):
        output = denoise_file(path, tmp_path / 'out.fits', model=model)
    for index in (3, 4, 5):
        assert hdu_bytes(output, index) == hdu_bytes(path, index)
    for index in (1, 2):
        assert 'DNMODEL' in fits.getheader(output, index)


def test_constant_chip_of_many(tmp_path, model, image, hdu_bytes):
    path = written(tmp_path / 'in.fits', *(
        fits.ImageHDU(data, name='SCI', ver=number)
        for number, data in ((1, image), (2, np.zeros(SHAPE, 'f4')))))
    with pytest.warns(SkippedImageWarning, match=r'the images 2 \(SCI\)'):
        output = denoise_file(path, tmp_path / 'out.fits', model=model)
    assert hdu_bytes(output, 2) == hdu_bytes(path, 2)


def test_mask_that_is_asked_for(tmp_path, model, image):
    path = written(tmp_path / 'in.fits', fits.ImageHDU(image, name='SCI'),
                   fits.ImageHDU(flags(), name='DQ'))
    with pytest.raises(ValueError, match=r"hdu='DQ' .* is the mask 2 \(DQ\)"):
        denoise_file(path, tmp_path / 'out.fits', model=model, hdu='DQ')


def test_files_of_chips_of_which_one_is_constant(tmp_path, model, image):
    path = written(tmp_path / 'in.fits', *map(
        fits.ImageHDU, (image, np.zeros(SHAPE, 'f4'), image)))
    bad = [flags(), flags(), np.roll(flags(), 1, axis=1)]
    written(tmp_path / 'in.mask.fits', *map(fits.ImageHDU, bad))
    with pytest.warns(SkippedImageWarning, match=r'2 \(no name\)'):
        output = denoise_file(path, tmp_path / 'out.fits', model=model)
    for index, column in ((1, 4), (3, 5)):
        same = fits.getdata(output, index) == image
        assert np.argwhere(same).tolist() == [[3, column]]


@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_counts_are_no_masks(tmp_path, model):
    counts = np.random.default_rng(1).poisson(0.2, (2, *SHAPE)).astype('i2')
    path = written(tmp_path / 'in.fits', *map(fits.ImageHDU, counts))
    output = denoise_file(path, tmp_path / 'out.fits', model=model,
                          uncertainty=1.0)
    assert [fits.getheader(output, index)['DNMODEL']
            for index in (1, 2)] == ['half', 'half']


def test_file_of_planes_alone(tmp_path, model):
    path = written(tmp_path / 'in.fits', fits.ImageHDU(full('var'),
                                                       name='VAR'))
    with pytest.raises(ValueError, match=r'no image of the sky .*1 \(VAR\); '
                       'hdu'):
        denoise_file(path, tmp_path / 'out.fits', model=model)


@pytest.mark.filterwarnings(
    'always::astro_denoise.exceptions.CompanionWarning')
@pytest.mark.parametrize(('names', 'unused'), [
    (('VAR_POISSON',), '2 (VAR_POISSON)'), (('EXP',), '2 (EXP)'),
    (('ERR', 'EXP', 'VAR_RNOISE', 'WHT', 'CTX'), None),
    (('ERR2',), '2 (ERR2)'), (('ERR', 'DQ2'), '3 (DQ2)'),
    (('CTX', 'AREA', 'D2IMARR'), None)])
def test_unused_planes(tmp_path, model, image, names, unused, recwarn):
    path = written(tmp_path / 'in.fits', fits.ImageHDU(image, name='SCI'), *(
        fits.ImageHDU(image - 95.0, name=name) for name in names))
    outputs = denoise_file(path, tmp_path / 'out.fits', model=model,
                           uncertainty_type='std')

    def told():
        return [str(one.message) for one in recwarn
                if one.category is CompanionWarning]

    said = told()
    read_image(path, uncertainty_type='std')
    again = told()
    assert outputs.exists()
    if unused is None:
        assert not again
    else:
        assert len(said) == 1
        assert again == 2 * said
        assert f'in.fits: not used: the planes {unused}, which' in said[0]


def test_plane_of_another_shape(tmp_path, model, image):
    path = written(tmp_path / 'in.fits',
                   fits.ImageHDU(np.stack([image, image]), name='SCI'),
                   fits.ImageHDU(flags(), name='DQ'))
    with pytest.warns(CompanionWarning, match=r'not used: .* 2 \(DQ\)'):
        denoise_file(path, tmp_path / 'out.fits', model=model)


@pytest.mark.parametrize('name', ['ERR', 'UNCERT', 'VAR', 'WHT'])
def test_noise_that_is_zero_everywhere(tmp_path, model, image, hdu_bytes,
                                       name):
    path = written(tmp_path / 'in.fits', fits.ImageHDU(image, name='SCI'),
                   fits.ImageHDU(np.zeros(SHAPE, 'f4'), name=name))
    with pytest.warns(CompanionWarning, match=rf'2 \({name}\) has no positive'
                      ' value, and is not used'):
        output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        assert hdus['SCI'].header['DNNOISE'] == 'estimated'
        assert len(hdus) == (3 if name == 'UNCERT' else 4)
        assert np.all(hdus['UNCERT'].data > 4)
    if name != 'UNCERT':
        assert hdu_bytes(output, 2) == hdu_bytes(path, 2)


def test_all_masks_count(tmp_path, model, image):
    bad = np.zeros(SHAPE, 'u1')
    bad[5, 6] = 1
    path = written(tmp_path / 'in.fits', fits.ImageHDU(image, name='SCI'),
                   fits.ImageHDU(flags(), name='DQ'),
                   fits.ImageHDU(bad, name='BPM'))
    assert np.argwhere(read_image(path).mask).tolist() == [[3, 4], [5, 6]]
    output = denoise_file(path, tmp_path / 'out.fits', model=model)
    same = fits.getdata(output, 'SCI') == image
    assert np.argwhere(same).tolist() == [[3, 4], [5, 6]]


@pytest.fixture
def decam(tmp_path, image):
    """
    A CCD as DECam's pipeline writes it, in three files.
    """
    folder = tmp_path / 'night'
    folder.mkdir()
    for letter, data in (('i', image), ('w', full('ivar')), ('d', flags())):
        written(folder / f'c4d_170316_062107_oo{letter}_z_ls9.fits',
                fits.ImageHDU(data, name='N2'))
    return folder / 'c4d_170316_062107_ooi_z_ls9.fits'


def test_files_of_decam(decam, tmp_path, model, image):
    assert companion(decam, 'mask').name == 'c4d_170316_062107_ood_z_ls9.fits'
    read = read_image(decam)
    assert isinstance(read.uncertainty, InverseVariance)
    assert np.argwhere(read.mask).tolist() == [[3, 4]]
    table = denoise_files(str(decam.parent / '*.fits'), tmp_path / 'out',
                          model=model)
    assert list(table['output']) == [decam.name]
    ccd = CCDData.read(tmp_path / 'out' / decam.name)
    assert ccd.header['DNUNCERT'] == 'inverse variances'
    assert ccd.data[3, 4] == image[3, 4]
    np.testing.assert_allclose(ccd.data[9:], image[9:] - 2.5, rtol=1e-5)
    # A change of the weights is one of the frame.
    fits.writeto(str(decam).replace('ooi', 'oow'), full('ivar') * 1.2,
                 overwrite=True)
    table = denoise_files(decam, tmp_path / 'out', model=model,
                          overwrite=True)
    assert table['attempts'][0] == 1


def test_folder_is_no_part_of_the_name(decam, tmp_path):
    other = tmp_path / 'a_ooi_b'
    other.mkdir()
    shutil.copy(decam, other / 'red.fits')
    assert companion(other / 'red.fits', 'mask') is None
    assert sorted(os.listdir(other)) == ['red.fits']
