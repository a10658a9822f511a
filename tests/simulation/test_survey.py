# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the survey simulator.
"""

from dataclasses import FrozenInstanceError, asdict

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.photometry.apertures import ellipse_weights
from astro_denoise.photometry.calibration import sigma68
from astro_denoise.photometry.light_fraction import light_fraction_apertures
from astro_denoise.simulation.survey import SurveySimulator


@pytest.fixture(scope='module')
def sky():
    """Exposures of an empty sky, one with artefacts and one without."""
    return SurveySimulator(shape=(700, 500), density=0, n_cosmic_rays=0,
                           n_bad_columns=0)


def test_sky_and_noise(sky):
    (exposure,), catalog, (truth,) = sky.exposures(1, seed=1,
                                                   return_truth=True)
    assert len(catalog) == 0
    rate = exposure.data * 0.65 / 110.0
    # PAU Camera, NB705: sky 1.70 and noise 0.149 electron/s/pixel.
    assert_allclose(rate.mean(), 1.70, rtol=2e-3)
    assert_allclose(rate.std(), 0.149, rtol=5e-3)
    assert_allclose(truth * 0.65, 1.70 * 110 + 110 / 3600, rtol=1e-6)
    assert_allclose(sky.sky_level, 1.70 * 110 + 110 / 3600)
    assert not exposure.mask.any()


def test_sky_level():
    simulator = SurveySimulator(shape=(32, 32), sky_rate=(0.5, 2.0),
                                dark_rate=3600.0, exposure_time=10.0)
    assert_allclose(simulator.sky_level, (15.0, 30.0))


def test_poisson_variance():
    # Noise grows as the electrons do, on the final pixels.
    simulator = SurveySimulator(
        shape=(200, 200), unit='electron', read_noise=4.0, n_cosmic_rays=0,
        n_bad_columns=0, psf_fwhm=1.2, psf_beta=3.0, density=400,
        magnitude_range=(15.0, 17.0))
    exposures, _, truths = simulator.exposures(40, seed=2, return_truth=True)
    truth = truths[0]
    assert all(np.array_equal(truth, other) for other in truths)
    frames = np.array([exposure.data for exposure in exposures], dtype=float)
    assert_allclose(frames.mean(axis=0), truth,
                    atol=6 * np.sqrt(truth.max() / 40))
    pulls = (frames - truth) / np.sqrt(truth + 16)
    for low, high in ((0, 250), (250, 1000), (1000, np.inf)):
        inside = (truth >= low) & (truth < high)
        assert np.count_nonzero(inside) > 50
        assert_allclose(pulls[:, inside].std(), 1, rtol=0.05)
    # The noise of neighbors is independent.
    lag = np.mean(pulls[:, :, 1:] * pulls[:, :, :-1])
    assert abs(lag) < 0.005


@pytest.mark.parametrize(('unit', 'gain'), [('adu', 0.65), ('electron', 1)])
def test_header(unit, gain, tmp_path):
    simulator = SurveySimulator(shape=(64, 80), unit=unit, psf_fwhm=1.0,
                                psf_beta=3.0)
    exposures, _ = simulator.exposures(2, seed=3)
    for number, exposure in enumerate(exposures, start=1):
        assert isinstance(exposure, CCDData)
        assert exposure.unit == u.Unit(unit)
        assert exposure.data.dtype == np.float32
        assert exposure.mask.dtype == bool
        header = exposure.header
        assert header['GAIN'] == gain
        assert header['RDNOISE'] == 9.0
        assert header['EXPTIME'] == 110.0
        assert header['EXPNUM'] == number
        assert_allclose(header['SATURATE'], 2.1e5 / gain)
        assert_allclose(header['SEEING'], 1.0 / 0.263, atol=1e-4)
        assert header['PSFBETA'] == 3.0
    exposure.write(tmp_path / 'exposure.fits')
    again = CCDData.read(tmp_path / 'exposure.fits')
    assert_array_equal(again.data, exposure.data)
    assert_array_equal(again.mask, exposure.mask)
    assert again.unit == exposure.unit
    assert again.header['GAIN'] == gain


def test_wcs():
    simulator = SurveySimulator(shape=(400, 300), density=500)
    (exposure,), catalog = simulator.exposures(1, seed=4)
    assert_allclose(proj_plane_pixel_scales(exposure.wcs) * 3600, 0.263)
    assert isinstance(catalog['sky_centroid'], SkyCoord)
    x, y = exposure.wcs.world_to_pixel(catalog['sky_centroid'])
    assert_allclose(x, catalog['x_centroid'], atol=1e-6)
    assert_allclose(y, catalog['y_centroid'], atol=1e-6)


def test_seed():
    simulator = SurveySimulator(shape=(60, 50))
    first, catalog1 = simulator.exposures(2, seed=5)
    second, catalog2 = simulator.exposures(2, seed=5)
    other, _ = simulator.exposures(2, seed=6)
    for exposure1, exposure2 in zip(first, second, strict=True):
        assert_array_equal(exposure1.data, exposure2.data)
        assert_array_equal(exposure1.mask, exposure2.mask)
    assert_array_equal(catalog1['flux'], catalog2['flux'])
    assert not np.array_equal(first[0].data, other[0].data)
    assert not np.array_equal(first[0].data, first[1].data)
    rng = np.random.default_rng(5)
    third, _ = simulator.exposures(2, seed=rng)
    assert_array_equal(third[0].data, first[0].data)


def test_exposures_differ_in_seeing_and_sky():
    simulator = SurveySimulator(shape=(60, 50), density=0,
                                sky_rate=(1.0, 4.0))
    exposures, _, truths = simulator.exposures(4, seed=7, return_truth=True)
    fwhm = np.array([exposure.header['SEEING'] for exposure in exposures])
    assert np.ptp(fwhm) > 0.1
    assert np.all((fwhm > 0.7 / 0.263) & (fwhm < 1.6 / 0.263))
    levels = np.array([np.median(truth) for truth in truths]) * 0.65 / 110
    assert np.ptp(levels) > 0.1
    assert np.all((levels > 1.0) & (levels < 4.1))


def test_catalog():
    simulator = SurveySimulator()
    catalog = simulator.catalog(seed=8)
    assert isinstance(catalog, QTable)
    assert 1080 < len(catalog) < 1320
    assert_array_equal(catalog['ref_id'], np.arange(len(catalog)) + 1)
    assert np.all(np.abs(catalog['x_centroid'] - 1023.5) <= 1024)
    assert np.all(np.abs(catalog['y_centroid'] - 2047.5) <= 2048)
    assert_allclose(
        catalog['flux'].to_value(u.electron),
        110 * 10**(-0.4 * (catalog['i_auto']
                           - simulator.population.rate_zeropoint)))
    star = catalog['is_star']
    assert 0.15 < np.mean(star) < 0.25
    assert_array_equal(catalog['r50'] == 0, star)
    assert np.all(catalog['bulge_fraction'][star] == 0)
    assert np.all((catalog['axis_ratio'] >= 0.15)
                  & (catalog['axis_ratio'] <= 1))
    assert np.all((catalog['sersic_n'] >= 0.5) & (catalog['sersic_n'] <= 3))
    # Any orientation, any place within a pixel.
    for values in (catalog['theta'].to_value(u.deg) / 180,
                   catalog['x_centroid'] % 1, catalog['y_centroid'] % 1):
        assert np.all(np.abs(np.histogram(values, 4, (0, 1))[0]
                             / len(catalog) - 0.25) < 0.06)


@pytest.mark.parametrize('slope', [0.0, 0.3, 0.6])
def test_number_counts(slope):
    simulator = SurveySimulator(density=5000, shape=(2000, 2000),
                                magnitude_range=(18.0, 22.0),
                                magnitude_slope=slope)
    magnitude = simulator.catalog(seed=9)['i_auto']
    counts = np.histogram(magnitude, 4, (18, 22))[0]
    assert counts.sum() == len(magnitude)
    expected = 10**(slope * np.arange(4))
    assert_allclose(counts, len(magnitude) * expected / expected.sum(),
                    rtol=0.2)


def test_signal_to_noise():
    # Medians in apertures of 62.5 per cent of the light, as PAUS has them.
    simulator = SurveySimulator(shape=(81, 81), density=5e5)
    catalog = simulator.catalog(seed=15)
    rng = np.random.default_rng(11)
    for low, high, expected in ((19, 20, 12.8), (20, 21, 5.8), (21, 22, 2.4),
                                (22, 22.5, 1.4)):
        rows = np.flatnonzero((catalog['i_auto'] >= low)
                              & (catalog['i_auto'] < high))[:150]
        ratios = []
        for row in rows:
            source = catalog[row:row + 1]
            source['x_centroid'] = source['y_centroid'] = 40.0
            fwhm = rng.uniform(0.7, 1.6) / 0.263
            beta = rng.uniform(2.5, 4.8)
            image = simulator.scene(source, psf_fwhm=fwhm, psf_beta=beta)
            aperture = light_fraction_apertures(
                source['r50'], source['sersic_n'], source['axis_ratio'],
                source['theta'], fwhm, psf_beta=beta)[0]
            weights, (x1, x2, y1, y2) = ellipse_weights(
                40, 40, aperture['aperture_a'], aperture['aperture_b'],
                aperture['aperture_theta'].to_value(u.rad))
            inside = image[y1:y2, x1:x2]
            variance = inside + 1.70 * 110 + 81
            ratios.append(np.sum(weights * inside)
                          / np.sqrt(np.sum(weights**2 * variance)))
        assert len(ratios) == 150
        # Their sampling error is 4 per cent.
        assert_allclose(np.median(ratios), expected, rtol=0.15)


def test_scene():
    simulator = SurveySimulator(shape=(200, 200), density=100)
    catalog = simulator.catalog(seed=12)[:2]
    catalog['x_centroid'] = 100.0
    catalog['y_centroid'] = 100.0
    catalog['flux'] = 1000.0 * u.electron
    catalog['r50'] = [4.0, 0.0]
    catalog['bulge_fraction'] = [0.0, 0.0]
    disk = simulator.scene(catalog[:1], psf_fwhm=3.0, psf_beta=3.0)
    assert_allclose(disk.sum(), 1000, rtol=2e-3)
    star = simulator.scene(catalog[1:], psf_fwhm=3.0, psf_beta=3.0)
    catalog['bulge_fraction'] = [0.5, 0.0]
    bulge = simulator.scene(catalog[:1], psf_fwhm=3.0, psf_beta=3.0)
    assert_allclose(bulge.sum(), 1000, rtol=1e-2)
    assert disk.max() < bulge.max() < star.max()
    catalog['theta'] = catalog['theta'].to(u.rad)
    assert_allclose(simulator.scene(catalog[:1], psf_fwhm=3.0, psf_beta=3.0),
                    bulge, atol=1e-3)


def test_own_catalog():
    simulator = SurveySimulator(shape=(60, 50), n_cosmic_rays=0,
                                n_bad_columns=0)
    catalog = SurveySimulator(shape=(60, 50), density=1000).catalog(seed=14)
    catalog['flux'] = 500 * u.electron
    _, same, (truth,) = simulator.exposures(1, seed=15, catalog=catalog,
                                            return_truth=True)
    assert same is catalog
    _, _, (empty,) = simulator.exposures(1, seed=15, catalog=catalog[:0],
                                         return_truth=True)
    total = (truth - empty).sum() * simulator.detector.gain
    assert_allclose(total, 500 * len(catalog), rtol=0.2)


def test_artefacts_are_masked():
    simulator = SurveySimulator(shape=(500, 400), density=30, n_bad_columns=3,
                                n_cosmic_rays=100, psf_fwhm=0.8,
                                magnitude_range=(9.0, 12.0), star_fraction=1)
    exposures, _, truths = simulator.exposures(2, seed=13, return_truth=True)
    full = simulator.detector.full_well / simulator.detector.gain
    for exposure, truth in zip(exposures, truths, strict=True):
        level = np.median(truth)
        assert exposure.mask[truth == 0].all()
        saturated = truth >= full * (1 - 1e-6)
        assert np.count_nonzero(saturated) > 50
        assert exposure.mask[saturated].all()
        assert exposure.data.max() < full + 6 * 9 / 0.65
        good = ~exposure.mask
        variance = (truth * 0.65 + 81) / 0.65**2
        pulls = (exposure.data - truth)[good] / np.sqrt(variance[good])
        assert_allclose(sigma68(pulls), 1, atol=0.02)
        assert np.abs(pulls).max() < 7
        assert 0.002 < np.mean(exposure.mask) < 0.2
        assert level == pytest.approx(187 / 0.65, rel=0.5)
    # Bad columns stay, cosmic rays do not.
    bad = truths[0] == 0
    assert_array_equal(bad, truths[1] == 0)
    assert bad.any()
    assert not np.array_equal(exposures[0].mask, exposures[1].mask)


@pytest.mark.parametrize(('name', 'value'), [
    ('shape', (10,)), ('shape', (0, 10)), ('shape', (10.5, 10)),
    ('pixel_scale', 0), ('gain', -1), ('exposure_time', np.nan),
    ('full_well', 0), ('read_noise', -1), ('dark_rate', -1),
    ('density', -1), ('n_cosmic_rays', -1), ('n_bad_columns', -1),
    ('star_fraction', 1.5), ('unit', 'Jy'), ('sky_rate', (2.0, 1.0)),
    ('sky_rate', -1), ('psf_fwhm', 0), ('psf_beta', (1.0, 3.0)),
    ('magnitude_range', (np.nan, 3.0))])
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=name):
        SurveySimulator(**{name: value})


def test_options_by_what_they_describe():
    options = {'pixel_scale': 0.5, 'psf_fwhm': 1.25, 'psf_beta': (2.0, 3.0),
               'gain': 2.0, 'read_noise': 4.0, 'dark_rate': 7.0,
               'full_well': 5e4, 'n_bad_columns': 3, 'unit': 'electron',
               'density': 12.0, 'magnitude_range': (15, 16),
               'magnitude_slope': 0.1, 'rate_zeropoint': 25.0,
               'star_fraction': 0.7}
    simulator = SurveySimulator((10, 20), **options)
    found = {**asdict(simulator.optics), **asdict(simulator.detector),
             **asdict(simulator.population)}
    assert found == {**options, 'psf_fwhm': (1.25, 1.25),
                     'unit': u.electron}
    with pytest.raises(FrozenInstanceError):
        simulator.detector.gain = 3.0


@pytest.mark.parametrize('n', [0, -1, 1.5, '2'])
def test_bad_number(n, sky):
    with pytest.raises(ValueError, match='n must be a positive integer'):
        sky.exposures(n)
