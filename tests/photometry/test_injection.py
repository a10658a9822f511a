# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the injection module.
"""

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable
from numpy.testing import assert_allclose
from photutils.psf import CircularGaussianPRF
from scipy.ndimage import gaussian_filter

from astro_denoise.photometry.apertures import annulus_photometry
from astro_denoise.photometry.calibration import sigma68
from astro_denoise.photometry.injection import measure_response
from astro_denoise.simulation.profiles import render_sources

NOISE, FWHM, BETA = 5.0, 4.0, 3.88
APERTURE_NOISE = 24.4  # of a flux in a star's aperture


def scene(snr, seed, size=600, spacing=50.0):
    """Stars of given S/N on a grid: frame without sky, catalog, fluxes."""
    rng = np.random.default_rng(seed)
    grid = np.arange(spacing, size - spacing + 1, spacing)
    x, y = (axis.ravel() + rng.uniform(-0.5, 0.5, axis.size)
            for axis in np.meshgrid(grid, grid))
    radius = 0.72 * FWHM
    flux = snr * APERTURE_NOISE * np.ones(x.size)
    image = render_sources((size, size), {
        'x': x, 'y': y, 'flux': flux / 0.62}, FWHM, BETA, dtype=float)
    catalog = QTable({
        'ref_id': np.arange(x.size), 'aperture_x': x, 'aperture_y': y,
        'aperture_a': np.full(x.size, radius),
        'aperture_b': np.full(x.size, radius),
        'aperture_theta': np.zeros(x.size)})
    return image, catalog, flux


def expose(image, seed):
    """Add sky and noise."""
    noise = np.random.default_rng(seed).normal(100, NOISE, image.shape)
    return CCDData(image + noise, unit='adu')


def smooth(ccd):
    """A linear denoiser."""
    result = ccd.copy()
    result.data = gaussian_filter(ccd.data, 1.2)
    return result


def shrink(ccd):
    """A denoiser that pulls what is faint towards the sky."""
    result = ccd.copy()
    signal = gaussian_filter(ccd.data - 100, 1.2)
    strength = (signal / NOISE)**2
    result.data = 100 + signal * strength / (strength + 0.15)
    return result


def identity(ccd):
    """No denoiser."""
    return ccd.copy()


def true_response(denoiser, snr, seeds):
    """Change of the denoised over that of the raw flux of true sources."""
    change = []
    for seed in seeds:
        fluxes = []
        for factor in (0.9, 1.1):
            image, catalog, _ = scene(factor * snr, seed)
            ccd = expose(image, 1000 + seed)
            fluxes.append([annulus_photometry(frame, catalog)['flux'].value
                           for frame in (denoiser(ccd), ccd)])
        change.append(np.subtract(fluxes[1], fluxes[0]).sum(axis=1))
    denoised, raw = np.sum(change, axis=0)
    return denoised / raw


@pytest.mark.parametrize('denoiser', [smooth, shrink])
def test_agrees_with_the_truth(denoiser):
    image, catalog, _ = scene(20.0, 1)
    table = measure_response(expose(image, 2), denoiser, catalog, seed=3,
                             n_injections=4000)
    curve = table.meta['response']
    for snr in (3.0, 10.0, 30.0):
        measured = np.interp(np.log(snr), np.log(curve['snr']),
                             curve['response'])
        true = true_response(denoiser, snr, (11, 12))
        assert_allclose(measured, true, rtol=0.02)
    assert_allclose(table['response'],
                    np.interp(np.log(table['snr']), np.log(curve['snr']),
                              curve['response']), rtol=0.05)


def test_corrected_fluxes():
    image, catalog, flux = scene(np.geomspace(1, 40, 121), 4)
    table = measure_response(expose(image, 5), shrink, catalog, seed=6)
    clean = annulus_photometry(image, catalog, error=1.0)['flux']
    pulls = (table['flux'].value - clean) / table['flux_error'].value
    assert abs(np.median(pulls)) < 0.35
    assert abs(sigma68(pulls) - 1) < 0.25
    bright = flux > np.median(flux)
    assert_allclose(np.median((table['flux'].value / clean)[bright]), 1,
                    atol=0.02)
    assert np.median(table['denoised_flux'].value[bright]
                     / clean[bright]) < 0.97


def test_identity():
    image, catalog, _ = scene(10.0, 7, size=400)
    ccd = expose(image, 8)
    table = measure_response(ccd, identity, catalog, n_injections=200, seed=9)
    assert_allclose(table['response'], 1, rtol=1e-9)
    assert_allclose(table.meta['response']['flux_ratio'], 1, rtol=1e-9)
    raw = annulus_photometry(ccd, catalog)
    assert_allclose(table['raw_flux'], raw['flux'])
    assert_allclose(table['denoised_flux'], raw['flux'])
    # the mean of the blank fluxes is the offset, zero within its error
    assert np.all(np.abs(table['offset']) < raw['flux_error'])
    assert_allclose(table['flux_error'], raw['flux_error'], rtol=0.35)


def test_constant_shrinking_and_offset():
    def halve(ccd):
        result = ccd.copy()
        result.data = 50 + 0.5 * ccd.data
        return result

    image, catalog, _ = scene(10.0, 7, size=400)
    ccd = expose(image, 8)
    table = measure_response(ccd, halve, catalog, n_injections=200, seed=9)
    same = measure_response(ccd, identity, catalog, n_injections=200, seed=9)
    assert_allclose(table['response'], 0.5, rtol=1e-9)
    assert_allclose(table['flux'], same['flux'], rtol=1e-6)
    assert_allclose(table['flux_error'], same['flux_error'], rtol=1e-6)


def test_photon_noise_uncertainty_and_mask():
    image, catalog, _ = scene(10.0, 7, size=400)
    ccd = expose(image, 8)
    ccd.uncertainty = StdDevUncertainty(np.full(ccd.shape, NOISE))
    ccd.mask = np.zeros(ccd.shape, dtype=bool)
    ccd.mask[200:260, 200:260] = True
    ccd.data[ccd.mask] = np.nan
    seen = []

    def watch(ccd):
        seen.append((np.count_nonzero(np.isnan(ccd.data)),
                     np.max(ccd.uncertainty.array)))
        return ccd.copy()

    table = measure_response(ccd, watch, catalog, n_injections=200, gain=0.5,
                             seed=9)
    assert_allclose(table.meta['response']['response'], 1, rtol=1e-9)
    assert {count for count, _ in seen} == {3600}
    assert seen[0][1] == NOISE
    assert seen[1][1] > NOISE


def test_mask_is_given_to_the_denoiser():
    image, catalog, _ = scene(10.0, 7, size=400)
    ccd = expose(image, 8)
    mask = np.zeros(ccd.shape, dtype=int)
    mask[200:260, 200:260] = 8
    seen = []

    def watch(ccd):
        seen.append(ccd)
        return ccd.copy()

    table = measure_response(ccd, watch, catalog, n_injections=200,
                             mask=mask, seed=9)
    kept = np.isfinite(table['raw_flux'])
    assert np.all(table['flag'][~kept] > 0)
    assert_allclose(table['response'][kept], 1, rtol=1e-9)
    assert all(np.array_equal(frame.mask, mask > 0) for frame in seen)
    assert np.array_equal(seen[0].data, ccd.data)
    assert ccd.mask is None


def test_psf_model_and_integer_frame():
    image, catalog, _ = scene(10.0, 7, size=400)
    ccd = expose(image, 8)
    ccd.data = np.rint(ccd.data).astype('>i2')
    copy = ccd.copy()
    table = measure_response(ccd, smooth, catalog, n_injections=200, seed=9,
                             profile=CircularGaussianPRF(fwhm=FWHM))
    assert np.all(ccd.data == copy.data)
    assert 0.75 < table['response'][0] < 0.95


def test_seed_and_meta(tmp_path):
    image, catalog, _ = scene(10.0, 7, size=400)
    tables = [measure_response(expose(image, 8), smooth, catalog, seed=1,
                               n_injections=150) for _ in range(2)]
    assert np.all(tables[0]['flux'] == tables[1]['flux'])
    tables[0].write(tmp_path / 'table.ecsv')


@pytest.mark.parametrize(('options', 'match'), [
    ({'n_injections': 3}, 'n_injections must be at least 100, got 3'),
    ({'snr_range': (5, 1)}, 'snr_range must be'),
    ({'r_in': 50}, 'r_in=50'),
    ({'separation': 500.0}, 'separation of 500 pixels, got 0')])
def test_bad_arguments(options, match):
    image, catalog, _ = scene(10.0, 7, size=300)
    with pytest.raises(ValueError, match=match):
        measure_response(expose(image, 8), smooth, catalog, **options)


def test_bad_denoiser_and_frame():
    image, catalog, _ = scene(10.0, 7, size=300)
    ccd = expose(image, 8)
    with pytest.raises(TypeError, match='denoiser must return a CCDData'):
        measure_response(ccd, lambda ccd: ccd.data, catalog)
    with pytest.raises(ValueError, match=r'keep the shape \(300, 300\)'):
        measure_response(ccd, lambda ccd: ccd[:100], catalog)
    with pytest.raises(TypeError, match='ccd must be a CCDData'):
        measure_response(ccd.data, smooth, catalog)
