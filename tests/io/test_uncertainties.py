# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of uncertainties of files: what they are, and whether they fit.
"""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import (
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)

from astro_denoise.exceptions import NoiseEstimateWarning
from astro_denoise.io import read_image
from astro_denoise.io.uncertainties import FileNoise, fit_to_image, in_kind
from astro_denoise.pipeline import denoise_file

SHAPE = (256, 256)
POWERS = {'std': 1, 'var': 2, 'ivar': -2}
CLASSES = {'std': StdDevUncertainty, 'var': VarianceUncertainty,
           'ivar': InverseVariance}


@pytest.fixture(scope='module')
def model(half_sigma_model):
    return half_sigma_model()


@pytest.fixture(scope='module')
def sigma():
    """
    Two amplifiers of different noise.
    """
    sigma = np.full(SHAPE, 40.0)
    sigma[:, 128:] = 60.0
    return sigma


@pytest.fixture(scope='module')
def image(sigma):
    rng = np.random.default_rng(1)
    return (3700 + rng.normal(size=SHAPE) * sigma).astype('f4')


@pytest.fixture
def write(tmp_path, image):
    """
    Write the image with an extension or a file that describes it.
    """
    def make(values, name=None, beside=None, **cards):
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name='SCI')]
        if name is not None:
            hdus.append(fits.ImageHDU(values, fits.Header(cards), name=name))
        fits.HDUList(hdus).writeto(tmp_path / 'in.fits')
        if beside is not None:
            fits.writeto(tmp_path / beside, values, fits.Header(cards))
        return tmp_path / 'in.fits'

    return make


@pytest.mark.parametrize('name', ['WHT', 'WEIGHT', 'beside'])
@pytest.mark.parametrize('factor', [1e-3, 0.3, 4.0, 1e5])
def test_relative_weights(write, image, sigma, model, tmp_path, hdu_bytes,
                          name, factor):
    weight = factor * sigma**-2
    weight[:, :20] = 0
    place = {'beside': 'in.weight.fits'} if name == 'beside' else {
        'name': name}
    path = write(weight, **place)
    with pytest.warns(NoiseEstimateWarning, match=(
            r'(in\.weight\.fits|2 \(\w*\)): the weights make the noise of the '
            r'blank sky .* taken as relative, and the noise is scaled by '
            r".*; uncertainty_type='ivar' \(--uncertainty-type ivar\)")):
        output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        header = hdus['SCI'].header
        assert header['DNNOISE'] == 'uncertainty'
        assert header['DNUNCERT'] == 'inverse variances, scaled'
        left = image - hdus['SCI'].data
        assert np.all(left[:, :20] == 0)
        np.testing.assert_allclose(left[:, 20:], sigma[:, 20:] / 2, rtol=0.05)
        np.testing.assert_allclose(hdus['UNCERT'].data[:, 20:], sigma[:, 20:],
                                   rtol=0.05)
    if name != 'beside':
        assert hdu_bytes(output, 2) == hdu_bytes(path, 2)
    # Whoever says what they are is taken at the word.
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        read = read_image(path, uncertainty_type='ivar')
    np.testing.assert_allclose(read.uncertainty.array, weight, rtol=1e-6)


def test_weights_that_are_the_same_everywhere(write, image, model, tmp_path):
    weight = np.ones(SHAPE, 'u1')
    weight[:, :20] = 0
    path = write(weight, beside='in.weight.fits')
    with pytest.warns(NoiseEstimateWarning, match=(
            'the weights make the noise of the blank sky 1, but it is .*; as '
            'they are the same everywhere, the noise is estimated')):
        output = denoise_file(path, tmp_path / 'out.fits', model=model)
    with fits.open(output) as hdus:
        assert hdus['SCI'].header['DNNOISE'] == 'estimated'
        assert hdus['MASK'].data[:, :20].all()
        assert not hdus['MASK'].data[:, 20:].any()


@pytest.mark.parametrize('factor', [0.75, 1.0, 1.35])
@pytest.mark.parametrize(('name', 'kind'), [
    ('ERR', 'std'), ('VAR', 'var'), ('IVAR', 'ivar'), ('WHT', 'ivar')])
def test_what_fits_stays(write, sigma, name, kind, factor):
    values = (factor * sigma)**POWERS[kind]
    read = read_image(write(values, name=name))
    assert isinstance(read.uncertainty, CLASSES[kind])
    np.testing.assert_allclose(read.uncertainty.array, values)


@pytest.mark.parametrize(('name', 'kind'), [
    ('ERR', 'std'), ('VAR', 'var'), ('IVAR', 'ivar')])
@pytest.mark.parametrize('factor', [0.5, 1.8])
def test_scaled_planes(write, sigma, name, kind, factor):
    path = write((factor * sigma)**POWERS[kind], name=name)
    with pytest.warns(NoiseEstimateWarning, match=rf'2 \({name}\): the .* '
                      'make the noise of the blank sky .* scaled by'):
        read = read_image(path)
    assert isinstance(read.uncertainty, CLASSES[kind])
    np.testing.assert_allclose(in_kind(read.uncertainty.array, kind, 'std'),
                               sigma, rtol=0.05)


@pytest.mark.parametrize('name', ['ERR', 'VAR', 'IVAR'])
@pytest.mark.parametrize('kind', POWERS)
def test_planes_of_another_kind_than_their_names(write, sigma, tmp_path,
                                                 model, name, kind):
    own = {'ERR': 'std', 'VAR': 'var', 'IVAR': 'ivar'}[name]
    path = write(sigma**POWERS[kind], name=name)
    if kind == own:
        read = read_image(path)
    else:
        with pytest.warns(NoiseEstimateWarning, match=(
                r'times the noise of the blank sky; they fit as .*, and are '
                r'taken for these: uncertainty_type')):
            read = read_image(path)
    assert isinstance(read.uncertainty, CLASSES[kind])
    # What is written is what was there.
    output = denoise_file(path, tmp_path / 'out.fits', model=model,
                          uncertainty_type=kind)
    np.testing.assert_allclose(
        fits.getdata(output, name), sigma**POWERS[kind], rtol=1e-4)


@pytest.mark.parametrize('kind', POWERS)
@pytest.mark.parametrize('known', ['UTYPE', 'EXTNAME', 'numbers'])
def test_file_that_is_named(write, sigma, tmp_path, kind, known, model):
    path = write(None)
    cards = {'UTYPE': {'UTYPE': CLASSES[kind].__name__},
             'EXTNAME': {'EXTNAME': kind.upper().replace('STD', 'SIGMA')},
             'numbers': {}}[known]
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(
        sigma**POWERS[kind], fits.Header(cards))]).writeto(
            tmp_path / 'noise.fits')
    options = {'uncertainty': tmp_path / 'noise.fits'}
    if known == 'numbers' and kind != 'std':
        with pytest.warns(NoiseEstimateWarning, match=(
                r'noise\.fits: as standard deviations the numbers are .*; '
                r'they fit as (inverse )?variances, and are taken for')):
            output = denoise_file(path, tmp_path / 'out.fits', model=model,
                                  **options)
    else:
        output = denoise_file(path, tmp_path / 'out.fits', model=model,
                              **options)
    header = fits.getheader(output, 'SCI')
    assert header['DNUNCERT'] == {'std': 'standard deviations',
                                  'var': 'variances',
                                  'ivar': 'inverse variances'}[kind]
    np.testing.assert_allclose(fits.getdata(output, 'UNCERT'), sigma,
                               rtol=1e-4)


def test_file_that_is_named_and_fits_as_nothing(write, sigma, tmp_path):
    fits.writeto(tmp_path / 'noise.fits', 5 * sigma)
    path = write(None)
    with pytest.warns(NoiseEstimateWarning, match=(
            'fit neither as .* they are [45].* times the noise')):
        read = read_image(path, uncertainty=tmp_path / 'noise.fits')
    np.testing.assert_array_equal(read.uncertainty.array, 5 * sigma)


def test_bad_type(write, sigma, model, tmp_path):
    path = write(sigma, name='ERR')
    for call in (lambda: read_image(path, uncertainty_type='sigma'),
                 lambda: denoise_file(path, tmp_path / 'out.fits',
                                      model=model, uncertainty_type=None)):
        with pytest.raises(ValueError, match="must be 'auto', 'std', 'var' "
                           "or 'ivar', got"):
            call()
    fits.setval(path, 'UTYPE', value='Fuzzy', extname='ERR')
    with pytest.raises(ValueError, match=r"2 \(ERR\): UTYPE='Fuzzy'"):
        read_image(path)


def test_denoised_frames_keep_their_noise(write, sigma):
    # Their pixels share it: what is left between neighbors is less.
    path = write(sigma / 10, name='ERR')
    fits.setval(path, 'DNMODEL', value='ccd', extname='SCI')
    np.testing.assert_array_equal(read_image(path).uncertainty.array,
                                  sigma / 10)


@pytest.mark.parametrize('scale', [1e-18, 1.0, 1e15])
def test_any_unit(image, sigma, scale):
    noise = FileNoise((scale * sigma)**-2.0 / 9, 'weight', 'w.fits',
                      from_companion=True)
    with pytest.warns(NoiseEstimateWarning, match=r'scaled by 0\.3'):
        fitted = fit_to_image(noise, scale * image.astype(float),
                              np.ones(SHAPE, bool))
    np.testing.assert_allclose(fitted.sigma(), scale * sigma, rtol=0.05)
    assert fitted.describe() == 'inverse variances, scaled'


def test_nothing_to_compare_with(sigma):
    noise = FileNoise(sigma, 'std', 'x', from_companion=True)
    for image, valid in ((np.full(SHAPE, 7.0), np.ones(SHAPE, bool)),
                         (np.full(SHAPE, np.nan), np.ones(SHAPE, bool)),
                         (sigma, np.zeros(SHAPE, bool))):
        assert fit_to_image(noise, image, valid) is noise
