# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The whole check, on a simulated survey and on a real pair of exposures.
"""

import numpy as np
import pytest
from astropy.convolution import Gaussian2DKernel
from astropy.nddata import CCDData
from astropy.table import QTable
from numpy.testing import assert_allclose
from photutils.background import Background2D
from photutils.segmentation import SourceCatalog, detect_sources
from scipy.ndimage import gaussian_filter

from astro_denoise.data.examples import load_example_pair
from astro_denoise.photometry.apertures import annulus_photometry
from astro_denoise.photometry.calibration import sigma68
from astro_denoise.photometry.injection import measure_response
from astro_denoise.photometry.light_fraction import light_fraction_apertures
from astro_denoise.photometry.profile import profile_photometry
from astro_denoise.photometry.recalibration import recalibrate_errors
from astro_denoise.photometry.repeatability import check_repeatability
from astro_denoise.simulation.survey import SurveySimulator


def smooth(ccd):
    """A linear denoiser; what is masked is filled with the sky."""
    result = ccd.copy()
    data = np.asarray(ccd.data, dtype=float)
    if ccd.mask is not None:
        data = np.where(ccd.mask, np.median(data[~ccd.mask]), data)
    result.data = gaussian_filter(data, 1.0)
    return result


def halve(ccd):
    """Half of the smoothed frame and half of a constant."""
    result = smooth(ccd)
    result.data = 0.5 * result.data + 0.5 * np.median(result.data)
    return result


def keep_errors(denoised, raw):
    """Give denoised fluxes the errors of the raw ones."""
    for table, reference in zip(denoised, raw, strict=True):
        rows = np.searchsorted(reference['ref_id'], table['ref_id'])
        table['flux_error'] = reference['flux_error'][rows]


def exposures(frames, catalog, measure=annulus_photometry, **options):
    """Fluxes of a catalog in several frames, in one table."""
    tables = []
    for frame in frames:
        table = measure(frame, catalog, gain='GAIN' if 'GAIN' in frame.meta
                        else None, **options)
        table['i_auto'] = catalog['i_auto']
        table = table[table['flag'] == 0]
        tables.append(table)
    return tables


@pytest.fixture(scope='module')
def survey():
    """Two exposures, a catalog of apertures, the first's truth."""
    simulator = SurveySimulator(
        shape=(800, 800), density=800, psf_fwhm=1.0, psf_beta=3.88,
        n_cosmic_rays=5, n_bad_columns=1, magnitude_range=(20, 23),
        magnitude_slope=0)
    catalog = simulator.catalog(seed=1)
    catalog['bulge_fraction'] = 0.0
    frames, catalog, truth = simulator.exposures(2, seed=1, catalog=catalog,
                                                 return_truth=True)
    apertures = light_fraction_apertures(
        catalog['r50'], catalog['sersic_n'], catalog['axis_ratio'],
        catalog['theta'], frames[0].meta['SEEING'])
    for name, source in (('ref_id', 'ref_id'), ('i_auto', 'i_auto'),
                         ('aperture_x', 'x_centroid'),
                         ('aperture_y', 'y_centroid'),
                         ('true', 'flux')):
        apertures[name] = catalog[source]
    truth = CCDData(truth[0], unit='adu', mask=frames[0].mask)
    return frames, apertures, truth


@pytest.fixture(scope='module')
def pair():
    """Two exposures and the sources of their sum."""
    frames = [CCDData(frame.data.astype(float), unit='adu')
              for frame in load_example_pair()]
    total = frames[0].data + frames[1].data
    background = Background2D(total, 48)
    signal = total - background.background
    kernel = Gaussian2DKernel(1.2, x_size=7, y_size=7)
    kernel.normalize()
    smoothed = gaussian_filter(signal, 1.2)
    segments = detect_sources(
        smoothed, 1.2 * background.background_rms, n_pixels=5)
    sources = SourceCatalog(signal, segments,
                            convolved_data=smoothed)
    catalog = QTable()
    catalog['ref_id'] = sources.labels
    catalog['aperture_x'] = sources.x_centroid
    catalog['aperture_y'] = sources.y_centroid
    catalog['aperture_a'] = np.full(len(catalog), 3.0)
    catalog['aperture_b'] = np.full(len(catalog), 3.0)
    catalog['aperture_theta'] = np.zeros(len(catalog))
    catalog['i_auto'] = -2.5 * np.log10(np.asarray(
        sources.segment_flux))
    return frames, catalog


class TestSurvey:
    def test_fluxes(self, survey):
        frames, catalog, _ = survey
        table = annulus_photometry(frames[0], catalog, gain='GAIN')
        true = 0.62 * catalog['true'].value / frames[0].meta['GAIN']
        good = (table['flag'] == 0) & (catalog['i_auto'] > 21)
        pulls = (table['flux'].value - true) / table['flux_error'].value
        assert_allclose(sigma68(pulls[good]), 1, atol=0.15)

    def test_check(self, survey):
        frames, catalog, _ = survey
        raw = exposures(frames, catalog)
        rival = exposures(frames, catalog, profile_photometry)
        own = check_repeatability(raw, raw, profile=rival, seed=1,
                                  n_resamples=50).table
        assert np.all(own['response'] == 1)
        assert np.all(np.abs(own['sigma68'] - 1) < 4 * own['sigma68_error'])
        assert np.all(own['floor'] < 1)
        assert_allclose(own['profile_sigma68'], own['floor'], atol=0.15)
        smoothed = exposures([smooth(frame) for frame in frames], catalog)
        keep_errors(smoothed, raw)
        report = check_repeatability(smoothed, raw, profile=rival,
                                     seed=1, n_resamples=50).table
        assert np.all(np.abs(report['response'] - 0.91)
                      < 4 * report['response_error'] + 0.02)
        assert np.all(report['sigma68'] < own['sigma68'])
        assert np.all(report['sigma68_over_response']
                      > report['floor'] - 3 * report['sigma68_error'])
        calibrated = recalibrate_errors(smoothed, seed=1)
        held = calibrated[~calibrated['fitted']]
        after = check_repeatability(held, bins=[20, 23], seed=1,
                                    n_resamples=50).table
        assert_allclose(after['sigma68'], 1, atol=0.08)
        halved = exposures([halve(frame) for frame in frames], catalog)
        keep_errors(halved, raw)
        words = check_repeatability(halved, raw, profile=rival,
                                    seed=1, n_resamples=50).table['verdict']
        for verdict in words:
            assert 'below the floor: prior-driven' in verdict

    def test_injection(self, survey):
        frames, catalog, truth = survey
        table = measure_response(frames[0], smooth, catalog, gain='GAIN',
                                 n_injections=500, seed=1)
        fluxes = [annulus_photometry(frame, catalog)['flux'].value
                  for frame in (smooth(truth), truth)]
        good = table['flag'] == 0
        true = np.median((fluxes[0] / fluxes[1])[good])
        assert_allclose(np.median(table['response'][good]), true, rtol=0.02)


class TestRealPair:
    def test_check(self, pair):
        frames, catalog = pair
        raw = exposures(frames, catalog, r_in=10, r_out=18)
        both = np.intersect1d(raw[0]['ref_id'], raw[1]['ref_id'])
        assert len(both) > 60
        bright = catalog['ref_id'][np.argsort(catalog['i_auto'])[:30]]
        rows = [np.isin(table['ref_id'], np.intersect1d(both, bright))
                for table in raw]
        ratio = np.median(raw[0]['flux'][rows[0]] / raw[1]['flux'][rows[1]])
        assert_allclose(ratio, 1, atol=0.02)
        rival = exposures(frames, catalog, profile_photometry, r_in=10,
                          r_out=18)
        own = check_repeatability(raw, raw, profile=rival, bins=2,
                                  seed=1, n_resamples=50).table
        assert np.all(own['response'] == 1)
        assert_allclose(own['sigma68'], 1, atol=0.25)
        assert np.all(own['floor'] < 0.95)

        smoothed = exposures([smooth(frame) for frame in frames], catalog,
                             r_in=10, r_out=18)
        keep_errors(smoothed, raw)
        report = check_repeatability(smoothed, raw, profile=rival, bins=1,
                                     seed=1)
        assert 'shrunk: response 0.8' in report.table['verdict'][0]
        assert report.table['sigma68'][0] < own['sigma68'].max()
        calibrated = recalibrate_errors(smoothed, seed=1)
        held = calibrated[~calibrated['fitted']]
        after = check_repeatability(held, bins=1, seed=1, n_resamples=50).table
        assert_allclose(after['sigma68'], 1, atol=0.25)

    def test_injection(self, pair):
        frames, catalog = pair
        table = measure_response(frames[0], smooth, catalog, r_in=10,
                                 r_out=18, n_injections=300, seed=1)
        assert_allclose(table['response'][table['flag'] == 0], 0.85, atol=0.1)
