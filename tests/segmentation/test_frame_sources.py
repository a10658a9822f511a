# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the shipped finder of sources in optical frames.
"""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import LocalBackground
from photutils.psf import (
    CircularGaussianPRF,
    IterativePSFPhotometry,
    PSFPhotometry,
    make_psf_model_image,
)
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.spatial import cKDTree

from astro_denoise import load_model, segment_point_sources
from astro_denoise.data import load_example_pair, load_m51
from astro_denoise.exceptions import (
    NoiseEstimateWarning,
    UnusualImageWarning,
)
from astro_denoise.segmentation import PointSourceFinder
from astro_denoise.simulation.artefacts import cosmic_rays
from astro_denoise.simulation.profiles import render_sources
from astro_denoise.training.scenes import matched_filter_noise

SKY, READ_NOISE = 200.0, 5.0
LEVEL = np.sqrt(SKY + READ_NOISE**2)
DETECTOR = {'gain': 1.0, 'read_noise': READ_NOISE}

pytestmark = [
    pytest.mark.filterwarnings('ignore:the noise of neighboring'),
    pytest.mark.filterwarnings('ignore:no source was found')]


def star_field(fwhm, snr, *, n_side=(10, 16), seed=1):
    """
    Isolated stars of one signal-to-noise ratio: the frame in electrons
    without noise, and the stars.
    """
    rng = np.random.default_rng(seed)
    step = 44
    y, x = (step * (each.ravel() + 0.5) + rng.uniform(-4, 4, each.size)
            for each in np.mgrid[:n_side[0], :n_side[1]])
    stars = {'x': x, 'y': y, 'flux': np.full(
        x.size, snr * LEVEL * matched_filter_noise(fwhm))}
    shape = step * n_side[0], step * n_side[1]
    return SKY + render_sources(shape, stars, fwhm, 3.5), np.stack([x, y], 1)


def exposed(electrons, seed=2):
    rng = np.random.default_rng(seed)
    return (rng.poisson(electrons) + READ_NOISE
            * rng.standard_normal(electrons.shape))


def places(catalog):
    return np.stack([np.asarray(catalog[name])
                     for name in ('x_centroid', 'y_centroid')], 1)


def n_found(catalog, stars, distance):
    if len(catalog) == 0:
        return 0
    return np.sum(cKDTree(places(catalog)).query(stars)[0] < distance)


@pytest.mark.parametrize('noise', ['detector', 'sky', 'estimated'])
@pytest.mark.parametrize('snr', [30.0, 240.0, 1000.0])
@pytest.mark.parametrize('fwhm', [1.6, 2.5, 5.0])
def test_isolated_stars_are_found_once(fwhm, snr, noise, request):
    if (fwhm, snr, noise) == (5.0, 240.0, 'sky'):
        request.applymarker(pytest.mark.xfail(
            reason='two peaks of the noise of this frame, at S/N 4 and 14 '
            'pixels from stars: there is one in a few frames'))
    electrons, stars = star_field(fwhm, snr)
    frame = exposed(electrons)
    options = {'detector': DETECTOR, 'estimated': {},
               'sky': {'uncertainty': LEVEL}}[noise]
    with warnings.catch_warnings():
        # Of noise that is only that of the sky.
        warnings.simplefilter('ignore')
        found = segment_point_sources(frame, 'ccd-sources', **options)
    assert n_found(found.catalog, stars, max(0.5, 0.2 * fwhm)) == 160
    assert len(found.catalog) <= 161


def test_answer():
    electrons, stars = star_field(2.5, 60.0, n_side=(4, 5))
    frame = CCDData(exposed(electrons), unit='electron')
    found = segment_point_sources(frame, 'ccd-sources', read_noise=READ_NOISE)
    table = found.catalog
    assert table.colnames == [
        'label', 'x_centroid', 'y_centroid', 'x_centroid_error',
        'y_centroid_error', 'probability', 'star_probability',
        'artefact_probability', 'flux', 'flux_error', 'snr']
    assert table['flux'].unit == u.electron
    assert_array_equal(found.segmentation.labels, table['label'])
    # Each source has the pixels around it.
    inside = tuple(np.rint(places(table)[:, ::-1]).astype(int).T)
    assert_array_equal(found.segmentation.data[inside], table['label'])
    assert np.all(table['probability'] > found.threshold)
    bright = cKDTree(places(table)).query(stars)[1]
    expected = 60.0 * LEVEL * matched_filter_noise(2.5)
    assert_allclose(np.median(table['flux'][bright].value), expected,
                    rtol=0.06)
    assert np.median(table['star_probability'][bright]) > 0.8
    assert np.all(table['artefact_probability'][bright] < 0.5)
    assert np.all(table['snr'][bright] > 30)


def test_errors_of_positions():
    electrons, stars = star_field(3.0, 20.0)
    found = segment_point_sources(exposed(electrons), 'ccd-sources',
                                  **DETECTOR).catalog
    index = cKDTree(places(found)).query(stars)[1]
    pulls = (places(found)[index] - stars) / np.stack(
        [found[f'{axis}_centroid_error'][index] for axis in 'xy'], 1)
    assert 0.8 < np.percentile(abs(pulls), 68.3) < 1.3


def test_pure_noise_and_negated_frames():
    rng = np.random.default_rng(5)
    rows = 0
    for _ in range(3):
        noise = rng.normal(100.0, 3.0, (1000, 1000))
        rows += len(segment_point_sources(noise, 'ccd-sources').catalog)
    assert rows <= 3
    electrons, _ = star_field(2.5, 240.0)
    negated = 2 * SKY - exposed(electrons)
    with pytest.warns(NoDetectionsWarning):
        found = segment_point_sources(negated, 'ccd-sources',
                                      uncertainty=LEVEL)
    assert len(found.catalog) == 0


@pytest.mark.parametrize('fwhm', [1.6, 3.0])
def test_without_noise(fwhm):
    electrons, stars = star_field(fwhm, 100.0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = segment_point_sources(electrons, 'ccd-sources')
    assert n_found(found.catalog, stars, 0.5) == 160
    assert len(found.catalog) <= 161


def test_flat_frame_has_no_source():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = segment_point_sources(np.full((64, 80), 7.0), 'ccd-sources')
    assert len(found.catalog) == 0


def test_real_frame_has_no_source_twice():
    for frame in load_example_pair():
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            catalog = segment_point_sources(frame, 'ccd-sources').catalog
        assert len(catalog) > 20
        assert not cKDTree(places(catalog)).query_pairs(1.0)


def photutils_scene():
    """
    The scene of the documentation of photutils' PSF photometry.
    """
    data, true = make_psf_model_image(
        (101, 101), CircularGaussianPRF(flux=1, fwhm=2.7), 10,
        model_shape=(9, 9), flux=(500, 700), min_separation=10, seed=0)
    noise = np.random.default_rng(0).normal(0, 1, data.shape)
    return data + noise, true


@pytest.mark.filterwarnings(
    'ignore:the frame does not tell how its noise',
    'ignore:.*of the pixels are ten sigma above')
def test_knots_of_a_spiral_are_not_stars():
    catalog = segment_point_sources(load_m51(), 'ccd-sources').catalog
    bright = catalog[catalog['snr'] > 10.0]
    star = bright['star_probability']
    place = np.stack([bright['x_centroid'], bright['y_centroid']], 1)
    for one in ((143.3, 30.2), (282.0, 225.9)):
        distance, index = cKDTree(place).query(one)
        assert distance < 1.0
        assert star[index] > 0.95
    # Sources that cannot be told from stars are left.
    assert np.mean(star > 0.9) < 0.12
    # Light of the arms is no sky: its mean around would be too bright.
    assert np.mean(catalog['snr'] < 0.0) < 0.06


def test_wide_sources_are_warned_of():
    # So wide and faint that no pixel shows a star.
    rng = np.random.default_rng(5)
    stars = {'x': rng.uniform(30, 370, 12), 'y': rng.uniform(30, 370, 12),
             'flux': np.full(12, 16.0 * LEVEL * matched_filter_noise(13.0))}
    electrons = SKY + render_sources((400, 400), stars, 13.0, 3.5)
    with pytest.warns(UnusualImageWarning,
                      match=r'seeing, and \d+ sources are far wider'):
        segment_point_sources(exposed(electrons), 'ccd-sources', **DETECTOR)


def test_fluxes_in_a_crowd():
    rng = np.random.default_rng(3)
    n = 2500
    snr = 5.0 * rng.pareto(0.9, n) + 5.0
    stars = {'x': rng.uniform(0, 400, n), 'y': rng.uniform(0, 400, n),
             'flux': np.minimum(snr, 3000.0) * LEVEL
             * matched_filter_noise(4.0)}
    electrons = SKY + render_sources((400, 400), stars, 4.0, 3.5)
    catalog = segment_point_sources(exposed(electrons), 'ccd-sources',
                                    **DETECTOR).catalog
    tree = cKDTree(np.stack([stars['x'], stars['y']], 1))
    place = np.stack([catalog['x_centroid'], catalog['y_centroid']], 1)
    distance, index = tree.query(place)
    # Alone within a FWHM, and far brighter than the noise.
    near = np.array([len(each) for each in tree.query_ball_point(place, 4.0)])
    known = (distance < 1.0) & (near == 1) & (snr[index] > 15.0)
    assert known.sum() > 200
    ratio = (catalog['flux'] / stars['flux'][index])[known]
    assert_allclose(np.median(ratio), 1.0, atol=0.06)
    assert np.mean(ratio < 0.0) < 0.01


def test_scenes_of_photutils():
    data, true = photutils_scene()
    model = CircularGaussianPRF(flux=1, fwhm=2.7)
    finder = PointSourceFinder('ccd-sources')
    options = {'finder': finder, 'aperture_radius': 4,
               'local_bkg_estimator': LocalBackground(5, 10)}
    for photometry in (PSFPhotometry(model, (5, 5), **options),
                       IterativePSFPhotometry(model, (5, 5), **options)):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', NoDetectionsWarning)
            # Ten stars do not tell the gain, and photutils hands over none.
            warnings.filterwarnings('ignore', '.*give gain',
                                    NoiseEstimateWarning)
            table = photometry(data, error=np.ones(data.shape))
        assert len(table) == 10
        place = np.stack([true['x_0'], true['y_0']], 1)
        fitted = np.stack([table['x_fit'], table['y_fit']], 1)
        distance, index = cKDTree(fitted).query(place)
        assert distance.max() < 0.3
        assert_allclose(table['flux_fit'][index], true['flux'], rtol=0.1)


def test_cosmic_rays_and_hot_pixels_are_no_sources():
    rng = np.random.default_rng(7)
    n_rays = n_hot = 0
    for number, fwhm in enumerate((1.8, 2.5, 4.0)):
        electrons, stars = star_field(fwhm, 100.0, seed=number)
        rays = cosmic_rays(electrons.shape, 60, rng=rng,
                           charge=(20 * LEVEL, 2000 * LEVEL))
        hot = rng.integers(0, electrons.shape, (60, 2))
        rays[tuple(hot.T)] += LEVEL * np.exp(rng.uniform(2.5, 7.0, 60))
        listed, likely = (segment_point_sources(
            exposed(electrons, number) + rays, 'ccd-sources',
            threshold=threshold, **DETECTOR).catalog
            for threshold in (None, 0.5))
        n_rays += np.sum(cKDTree(stars).query(places(listed))[0] > 2.0)
        alone = cKDTree(stars).query(hot[:, ::-1])[0] > 3.0
        n_hot += n_found(likely, hot[alone, ::-1], 1.0)
    assert n_rays <= 0.01 * 360
    assert n_hot <= 0.01 * 180


def test_least_distance():
    electrons, _ = star_field(4.0, 60.0, n_side=(3, 4))
    pair = {'x': np.array([60.0, 64.0]), 'y': np.array([90.0, 90.0]),
            'flux': np.full(2, 100 * LEVEL * matched_filter_noise(4.0))}
    electrons += render_sources(electrons.shape, pair, 4.0, 3.5)
    frame = exposed(electrons)
    two, one = (segment_point_sources(
        frame, 'ccd-sources', min_separation=distance, **DETECTOR).catalog
        for distance in (None, 6.0))
    assert len(two) == len(one) + 1
    # The light of both, and their flux taken apart.
    near = cKDTree(places(two)).query(np.stack([pair['x'], pair['y']], 1))[1]
    assert_allclose(two['flux'][near], pair['flux'], rtol=0.1)


def test_purer_lists_are_shorter():
    rng = np.random.default_rng(3)
    shape, n = (400, 400), 800
    sources = {'x': rng.uniform(0, 400, n), 'y': rng.uniform(0, 400, n),
               'flux': LEVEL * matched_filter_noise(2.5)
               * 10.0**rng.exponential(0.5, n)}
    frame = exposed(SKY + render_sources(shape, sources, 2.5, 3.5))
    lengths = [len(segment_point_sources(frame, 'ccd-sources', purity=purity,
                                         **DETECTOR).catalog)
               for purity in (0.5, 0.8, 0.95, 0.99)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1] > 50
    default = segment_point_sources(frame, 'ccd-sources', **DETECTOR)
    assert len(default.catalog) == lengths[2]


def test_noise_as_denoise_takes_it():
    electrons, _ = star_field(2.5, 60.0, n_side=(4, 4))
    frame = CCDData(exposed(electrons) / 2.0, unit='adu',
                    meta={'GAIN': 2.0, 'RDNOISE': READ_NOISE})
    by_name = segment_point_sources(frame, 'ccd-sources', gain='GAIN',
                                    read_noise='RDNOISE')
    number = segment_point_sources(
        frame, 'ccd-sources', gain=2.0 * u.electron / u.adu,
        read_noise=READ_NOISE)
    assert_array_equal(by_name.catalog['flux'], number.catalog['flux'])
    sigma = StdDevUncertainty(np.full(electrons.shape, LEVEL / 2.0))
    own = segment_point_sources(NDData(frame.data, uncertainty=sigma),
                                'ccd-sources')
    given = segment_point_sources(frame.data, 'ccd-sources',
                                  uncertainty=LEVEL / 2.0)
    assert_array_equal(own.catalog['snr'], given.catalog['snr'])


def test_optical_frames_hold_anything():
    rng = np.random.default_rng(1)
    frame = rng.normal(0, 1, (64, 64))
    frame[20, 20] = 1e35
    frame[30:33, 40:43] += [[5, 9, 5], [9, 20, 9], [5, 9, 5]]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = segment_point_sources(
            NDData(frame, uncertainty=StdDevUncertainty(
                np.full(frame.shape, 1.0))), 'ccd-sources')
    assert found.probability.mask[20, 20]
    assert found.segmentation.data[31, 41] > 0


@pytest.mark.parametrize(('options', 'error', 'match'), [
    ({'purity': 1.0}, ValueError, 'purity .* 1.0'),
    ({'purity': 'high'}, TypeError, "purity .* 'high'"),
    ({'min_separation': 0.0}, ValueError, 'min_separation .* 0.0'),
    ({'min_separation': np.nan}, ValueError, 'min_separation .* nan'),
    ({'threshold': 1.5}, ValueError, 'threshold .* 1.5'),
    ({'threshold': 0.5, 'purity': 0.9}, ValueError,
     'threshold or purity, not both'),
    ({'gain': -1.0}, ValueError, 'gain .* -1.0'),
    ({'read_noise': 'RDNOISE'}, ValueError, "'RDNOISE' is not a keyword")])
def test_bad_options(options, error, match):
    frame = np.random.default_rng(1).normal(0, 1, (64, 64))
    with pytest.raises(error, match=match):
        segment_point_sources(frame, 'ccd-sources', **options)


def test_former_name_names_the_new_one():
    with pytest.raises(ValueError, match="'ccd-stars' was replaced by "
                                         "'ccd-sources'"):
        load_model('ccd-stars')
