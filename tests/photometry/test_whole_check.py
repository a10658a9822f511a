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

from astro_denoise.data import load_example_pair
from astro_denoise.photometry import (
    annulus_photometry,
    check_repeatability,
    light_fraction_apertures,
    measure_response,
    normalized_difference,
    profile_photometry,
    recalibrate_errors,
    sigma68,
)
from astro_denoise.simulation import SurveySimulator


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


def exposures(frames, catalog, measure=annulus_photometry, **options):
    """Fluxes of a catalogue in several frames, in one table."""
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
    """Three exposures and the catalogue of their apertures."""
    simulator = SurveySimulator(
        shape=(1100, 1100), density=500, psf_fwhm=1.0, psf_beta=3.88,
        n_cosmic_rays=5, n_bad_columns=1, magnitude_range=(19, 23))
    frames, catalog = simulator.exposures(3, seed=1)
    catalog['bulge_fraction'] = 0.0
    frames, catalog = simulator.exposures(3, seed=1, catalog=catalog)
    apertures = light_fraction_apertures(
        catalog['r50'], catalog['sersic_n'], catalog['axis_ratio'],
        catalog['theta'], frames[0].meta['SEEING'])
    for name, source in (('ref_id', 'ref_id'), ('i_auto', 'i_auto'),
                         ('aperture_x', 'x_centroid'),
                         ('aperture_y', 'y_centroid'),
                         ('true', 'flux')):
        apertures[name] = catalog[source]
    return frames, apertures


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
        frames, catalog = survey
        table = annulus_photometry(frames[0], catalog, gain='GAIN')
        true = 0.62 * catalog['true'].value / frames[0].meta['GAIN']
        good = (table['flag'] == 0) & (catalog['i_auto'] > 21)
        pulls = (table['flux'].value - true) / table['flux_error'].value
        assert_allclose(sigma68(pulls[good]), 1, atol=0.15)

    def test_check(self, survey):
        frames, catalog = survey
        raw = exposures(frames, catalog)
        rival = exposures(frames, catalog, profile_photometry)
        own = check_repeatability(raw, raw, profile=rival, seed=1).table
        assert np.all(own['response'] == 1)
        assert_allclose(own['sigma68'], 1, atol=0.12)
        assert np.all(own['floor'] < 1)
        assert_allclose(own['profile_sigma68'], own['floor'], atol=0.12)
        smoothed = exposures([smooth(frame) for frame in frames], catalog)
        for table, reference in zip(smoothed, raw, strict=True):
            rows = np.searchsorted(reference['ref_id'], table['ref_id'])
            table['flux_error'] = reference['flux_error'][rows]
        report = check_repeatability(smoothed, raw, profile=rival,
                                     seed=1).table
        assert_allclose(report['response'], 0.91, atol=0.04)
        assert np.all(report['sigma68'] < own['sigma68'])
        assert np.all(report['sigma68_over_response']
                      > report['floor'] - 3 * report['sigma68_error'])
        calibrated = recalibrate_errors(smoothed, seed=1)
        held = calibrated[~calibrated['fitted']]
        after = check_repeatability(held, bins=[19, 23], seed=1).table
        assert_allclose(after['sigma68'], 1, atol=0.08)
        halved = exposures([halve(frame) for frame in frames], catalog)
        for table, reference in zip(halved, raw, strict=True):
            rows = np.searchsorted(reference['ref_id'], table['ref_id'])
            table['flux_error'] = reference['flux_error'][rows]
        words = check_repeatability(halved, raw, profile=rival,
                                    seed=1).table['verdict']
        for verdict in words:
            assert 'below the floor: prior-driven' in verdict

    def test_injection(self, survey):
        frames, catalog = survey
        faint = catalog[catalog['i_auto'] > 20]
        table = measure_response(frames[0], smooth, faint, gain='GAIN',
                                 n_injections=1000, seed=1)
        true = 0.62 * faint['true'].value / frames[0].meta['GAIN']
        good = table['flag'] == 0
        denoised = table['denoised_flux'].value[good]
        measured = np.cov(denoised, true[good])[0, 1] / np.cov(
            table['raw_flux'].value[good], true[good])[0, 1]
        assert_allclose(np.median(table['response']), measured, rtol=0.02)


class TestRealPair:
    def test_check(self, pair):
        frames, catalog = pair
        raw = exposures(frames, catalog, r_in=10, r_out=18)
        both = np.intersect1d(raw[0]['ref_id'], raw[1]['ref_id'])
        assert len(both) > 60
        ratio = np.median([
            raw[0]['flux'][raw[0]['ref_id'] == label][0]
            / raw[1]['flux'][raw[1]['ref_id'] == label][0]
            for label in catalog['ref_id'][np.argsort(catalog['i_auto'])]
            if label in both][:20])
        assert_allclose(ratio, 1, atol=0.1)
        print(ratio, sigma68(normalized_difference(
            [raw[0]['flux'][raw[0]['ref_id'] == l][0].value for l in both],
            [raw[0]['flux_error'][raw[0]['ref_id'] == l][0].value for l in both],
            [raw[1]['flux'][raw[1]['ref_id'] == l][0].value for l in both],
            [raw[1]['flux_error'][raw[1]['ref_id'] == l][0].value for l in both])))
        report = check_repeatability(raw, raw, bins=3, seed=1)
        print(report)
        sm = exposures([smooth(frame) for frame in frames], catalog, r_in=10, r_out=18)
        for table, reference in zip(sm, raw, strict=True):
            table['flux_error'] = reference['flux_error']
        rival = exposures(frames, catalog, profile_photometry, r_in=10, r_out=18)
        print(check_repeatability(sm, raw, profile=rival, bins=3, seed=1))
        assert 0
