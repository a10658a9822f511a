# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of inputs that nothing true can be learned from.
"""

import warnings

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from scipy.ndimage import shift as shifted

from astro_denoise import train_denoiser
from astro_denoise.exceptions import (
    CorrelatedNoiseWarning,
    NoDataWarning,
    NoiseEstimateWarning,
    ProcessedFrameWarning,
    TrainingScoreWarning,
    UnusualImageWarning,
)
from astro_denoise.training import datasets, denoiser
from astro_denoise.training.frame_checks import (
    check_groups,
    filter_of,
    warn_of_frames,
)
from astro_denoise.training.frame_store import FrameFolder, open_images
from astro_denoise.training.methods import METHODS

SHAPE = (160, 160)


def make_sky(colors=0.0, *, seed=3, fwhm=3.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
    sky = np.full(SHAPE, 100.0)
    for number in range(25):
        row, column = rng.uniform(12, 148, 2)
        sky += rng.uniform(150, 900) * np.exp(
            colors * np.sin(5.0 * number)
            - 4 * np.log(2) * ((x - column)**2 + (y - row)**2) / fwhm**2)
    return sky


def make_frame(seed=0, sky=None, **options):
    rng = np.random.default_rng(seed)
    sky = make_sky() if sky is None else sky
    return CCDData(sky + 5.0 * rng.standard_normal(SHAPE),
                   **{'unit': 'adu', **options})


def read(tmp_path, images, **options):
    folder = FrameFolder(tmp_path, patch=32, **options)
    folder.read(open_images(images, grouped=True))
    return folder


def warn(folder, method='gr2r', **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        warn_of_frames(folder, method, **options)
    return [(each.category, str(each.message)) for each in caught]


def shifted_frame(*shift):
    return make_frame(3, shifted(make_sky(), shift, mode='nearest'))


def bordered_frame():
    frame = make_frame()
    frame.data[:30] = 0.0
    return frame


def resampled_frame():
    rng = np.random.default_rng(1)
    noise = 7.0 * rng.standard_normal((SHAPE[0] + 1, SHAPE[1]))
    return CCDData(make_sky() + 0.5 * (noise[1:] + noise[:-1]), unit='adu')


def undersampled_frame():
    rng = np.random.default_rng(2)
    frame = rng.standard_normal(SHAPE) * 5.0 + 100.0
    frame[rng.random(SHAPE) < 0.03] += 300.0
    return frame


def color_cube():
    return np.stack([make_frame(number, make_sky(0.4 * number)).data
                     for number in range(3)])


@pytest.mark.parametrize(('second', 'message'), [
    (lambda: shifted_frame(10, 0),
     r'image 2 is shifted by \+(10\.0|9\.9).* rows .* against image 1, more'),
    (lambda: shifted_frame(0, -1.3), r'rows and -1\.[23]. columns'),
    (lambda: make_frame(2, make_sky(seed=8)), 'must show the same sky'),
    (lambda: make_frame(1), r'image 2 and image 1 has a correlation of 1\.00'),
    (lambda: make_frame(1).multiply(1.01), 'they are the same exposure'),
    (lambda: make_frame(2, meta={'FILTER': 'r'}),
     "one filter, got 'r' of image 2 and 'g' of image 1")])
def test_exposures_that_do_not_belong_together(tmp_path, second, message):
    images = [make_frame(1, meta={'FILTER': 'g '}), second()]
    with pytest.raises(ValueError, match=message):
        check_groups(read(tmp_path, images).frames)


def test_exposures_that_belong_together(tmp_path):
    images = [make_frame(1), make_frame(2), shifted_frame(0.4, -0.3),
              make_frame(4, 0.5 * make_sky())]
    folder = read(tmp_path, images)
    check_groups(folder.frames)
    assert warn(folder) == []


def test_several_fields(tmp_path):
    fields = [[make_frame(4 * field + number, make_sky(seed=field))
               for number in range(2)] for field in (3, 8)]
    check_groups(read(tmp_path, fields).frames)
    fields[1].append(fields[0][0])
    (tmp_path / 'other').mkdir()
    with pytest.raises(ValueError, match='image 5 onto those of image 3'):
        check_groups(read(tmp_path / 'other', fields).frames)


def test_exposures_of_other_colors(tmp_path):
    folder = read(tmp_path, [make_frame(1), make_frame(2, make_sky(0.5))])
    with pytest.warns(UnusualImageWarning, match='from source to source'):
        check_groups(folder.frames)


def test_color_cube(tmp_path):
    (category, message), = warn(read(tmp_path, color_cube()))
    assert category is UnusualImageWarning
    assert 'colors of a picture' in message


def test_stack_of_exposures(tmp_path):
    planes = [make_frame(number).data for number in range(3)]
    assert warn(read(tmp_path, np.stack(planes))) == []


@pytest.mark.parametrize('shape', [(160, 160, 3), (160, 160, 4)])
def test_channels_on_the_last_axis(tmp_path, shape):
    with pytest.raises(ValueError, match=r'image 1: .* channels on the last'):
        read(tmp_path, np.ones(shape))


@pytest.mark.parametrize('options', [
    {}, {'uncertainty': StdDevUncertainty(np.full(SHAPE, 5.0))}])
def test_constant_frame(tmp_path, options):
    images = [make_frame(), CCDData(np.full(SHAPE, 7.0), unit='adu',
                                    **options)]
    with pytest.raises(ValueError, match='image 2: it has no noise: nearly '
                                         'all pixels have the value 7;'):
        read(tmp_path, images)


def test_border_without_data(tmp_path):
    folder = read(tmp_path, bordered_frame())
    assert np.isnan(folder.frames[0].signal[:30]).all()
    assert np.isfinite(folder.frames[0].signal[32:]).mean() > 0.99
    (category, message), = warn(folder)
    assert category is NoDataWarning
    assert '0 is no measurement in 19 %' in message


def test_hardly_any_data(tmp_path):
    frame = make_frame(mask=np.arange(SHAPE[0])[:, None]
                       * np.ones(SHAPE[1]) > 0)
    with pytest.raises(ValueError, match='image 1: 160 pixels hold a meas'):
        read(tmp_path, frame)


def test_wrong_gain(tmp_path):
    folder = read(tmp_path, make_frame(), gain=0.05, read_noise=1.0)
    (category, message), *_ = warn(folder)
    assert category is NoiseEstimateWarning
    assert 'gain' in message


def test_several_filters(tmp_path):
    images = [make_frame(number, meta={'FILTER': name})
              for number, name in enumerate('ggr')]
    (category, message), = warn(read(tmp_path, images))
    assert category is UnusualImageWarning
    assert "2 of 'g', 1 of 'r'" in message


def test_a_frame_given_twice(tmp_path):
    (category, message), = warn(read(tmp_path, [
        make_frame(1), make_frame(2), make_frame(1)]))
    assert category is UnusualImageWarning
    assert 'image 3 has the pixels of image 1' in message


def test_denoised_frame(tmp_path):
    with pytest.warns(ProcessedFrameWarning, match='denoised before'):
        read(tmp_path, make_frame(meta={'DNMODEL': 'ccd'}))


def test_filter_of_a_header():
    assert filter_of({'FILTER': ' R '}) == 'R'
    assert filter_of({'FILTER': '', 'BAND': 'z'}) == 'z'
    assert filter_of({}) is None


GREEN, RED = ({'meta': {'FILTER': name}} for name in 'gr')

# Of what a survey may hand in by mistake: images, method and options, and
# the error or warning in which each ends.
WRONG = {
    'shifted exposures': (
        lambda: [make_frame(1), shifted_frame(10, 0)], 'noise2noise', {},
        ValueError, 'is shifted by'),
    'exposures of two fields': (
        lambda: [make_frame(1), make_frame(2, make_sky(seed=8))],
        'noise2noise', {}, ValueError, 'must show the same sky'),
    'an exposure twice': (
        lambda: [make_frame(1), make_frame(1)], 'noise2noise', {},
        ValueError, 'the same exposure'),
    'exposures of two filters': (
        lambda: [make_frame(1, **GREEN), make_frame(2, **RED)],
        'noise2noise', {}, ValueError, 'must have one filter'),
    'a constant frame': (
        lambda: [np.full(SHAPE, 7.0)], 'noise2void', {},
        ValueError, 'it has no noise'),
    'a picture': (
        lambda: np.moveaxis(color_cube(), 0, -1), 'noise2void', {},
        ValueError, 'channels on the last axis'),
    'planes of a picture': (
        color_cube, 'noise2void', {}, UnusualImageWarning, 'colors of a'),
    'frames of two filters': (
        lambda: [make_frame(1, **GREEN), make_frame(2, **RED)],
        'noise2void', {}, UnusualImageWarning, 'several filters'),
    'a border of zeros': (
        bordered_frame, 'noise2void', {}, NoDataWarning, '0 is no measur'),
    'a gain 60 times wrong': (
        make_frame, 'noise2void', {'gain': 60.0, 'read_noise': 1.0},
        NoiseEstimateWarning, 'gain'),
    'correlated noise': (
        resampled_frame, 'noise2void', {}, CorrelatedNoiseWarning,
        'autocorrelation up to 0.4'),
    'undersampled stars': (
        undersampled_frame, 'noise2void', {}, TrainingScoreWarning,
        'worse than the frame'),
    'noise that is stated too large': (
        lambda: make_frame(
            uncertainty=StdDevUncertainty(np.full(SHAPE, 7.0))),
        'noise2void', {}, TrainingScoreWarning, 'no squared error can be'),
    'too short a training': (
        lambda: [make_frame(1), make_frame(2)], 'n2v2', {},
        TrainingScoreWarning, 'worse than the frame|not better than')}


@pytest.mark.parametrize('what', WRONG)
def test_what_is_wrong_is_not_accepted_in_silence(monkeypatch, what):
    images, method, options, kind, message = WRONG[what]
    monkeypatch.setattr(denoiser, 'EPOCH', 4)
    monkeypatch.setattr(datasets, '_N_SKIES', 1)
    monkeypatch.setattr(datasets, '_FEWEST_BATCHES', 1)
    monkeypatch.setitem(METHODS[method].network
                        if method != 'noise2noise' else {}, 'widths', (6, 8))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        ends = (pytest.raises if issubclass(kind, Exception)
                and not issubclass(kind, Warning) else pytest.warns)
        with ends(kind, match=message):
            train_denoiser(images(), method, patch=32, n_patches=2, epochs=1,
                           seed=1, progress_bar=False, **options)


@pytest.mark.parametrize(('method', 'blind', 'words'), [
    ('noise2void', True, "'noise2void' predicts a pixel from its neighbors"),
    ('gr2r', False, "'gr2r' takes the noise of neighbors for independent")])
def test_correlated_noise(tmp_path, method, blind, words):
    folder = read(tmp_path, [resampled_frame(), make_frame()])
    (category, message), = warn(folder, method, blind=blind)
    assert category is CorrelatedNoiseWarning
    assert 'autocorrelation up to 0.4' in message
    assert '1 of 2 planes' in message
    assert words in message
