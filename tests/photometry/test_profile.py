# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the profile module.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.modeling.models import Gaussian1D
from astropy.nddata import CCDData
from astropy.table import QTable
from numpy.testing import assert_allclose
from photutils.psf import CircularGaussianPRF

from astro_denoise.photometry.apertures import ApertureFlag, annulus_photometry
from astro_denoise.photometry.calibration import sigma68
from astro_denoise.photometry.light_fraction import light_fraction_apertures
from astro_denoise.photometry.profile import profile_photometry
from astro_denoise.simulation.profiles import moffat_image, render_sources

FWHM, BETA = 4.0, 3.88


@pytest.fixture(scope='module')
def scene():
    """Stars on a grid: image without noise, catalog, fluxes, profiles."""
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(np.arange(50.0, 560, 40), np.arange(50.0, 560, 40))
    x = x.ravel() + rng.uniform(-0.5, 0.5, x.size)
    y = y.ravel() + rng.uniform(-0.5, 0.5, y.size)
    flux = 10**rng.uniform(2, 4, x.size)
    image = render_sources((600, 600), {'x': x, 'y': y, 'flux': flux}, FWHM,
                           BETA, dtype=float)
    catalog = QTable({
        'ref_id': np.arange(x.size), 'aperture_x': x, 'aperture_y': y,
        'aperture_a': np.full(x.size, 0.72 * FWHM),
        'aperture_b': np.full(x.size, 0.72 * FWHM),
        'aperture_theta': np.zeros(x.size)})
    stamps = np.array([moffat_image(31, FWHM, BETA,
                                    x_offset=column - np.rint(column),
                                    y_offset=row - np.rint(row))
                       for column, row in zip(x, y, strict=True)])
    return image, catalog, flux, stamps


def noisy(scene, seed=2):
    """The image with noise of 5."""
    image = scene[0]
    return image + np.random.default_rng(seed).normal(100, 5, image.shape)


class TestMatchedFilter:
    def test_known_profile(self, scene):
        _, catalog, flux, stamps = scene
        pulls = []
        for seed in range(6):
            table = profile_photometry(noisy(scene, seed), catalog, stamps,
                                       error=5.0, r_in=15, r_out=22)
            pulls.append((table['flux'] - flux) / table['flux_error'])
        assert abs(np.median(pulls)) < 0.1
        assert abs(sigma68(pulls) - 1) < 0.08
        assert_allclose(table['aperture_fraction'], 0.62, atol=0.01)

    def test_floor_is_the_cramer_rao_bound(self, scene):
        _, catalog, _, stamps = scene
        table = profile_photometry(noisy(scene), catalog, stamps, error=5.0)
        expected = 5 / np.sqrt(np.sum(stamps**2, axis=(1, 2)))
        assert_allclose(table['floor_error'],
                        table['aperture_fraction'] * expected, rtol=1e-6)

    def test_floor_lies_below_the_aperture(self, scene):
        _, catalog, _, stamps = scene
        image = noisy(scene)
        aperture = annulus_photometry(image, catalog, error=5.0)
        table = profile_photometry(image, catalog, stamps, error=5.0)
        ratio = np.median(table['floor_error'] / aperture['flux_error'])
        assert 0.85 < ratio < 0.93

    def test_photon_noise(self, scene):
        image, catalog, flux, stamps = scene
        counts = np.random.default_rng(3).poisson(image + 25.0)
        table = profile_photometry(counts.astype(float), catalog, stamps,
                                   error=5.0, gain=1, r_in=15, r_out=22)
        pulls = (table['flux'] - flux) / table['flux_error']
        assert abs(sigma68(pulls) - 1) < 0.15
        without = profile_photometry(counts.astype(float), catalog, stamps,
                                     error=5.0)
        assert np.all(table['flux_error'] >= without['flux_error'])
        assert np.all(table['floor_error'] >= without['floor_error'])

    def test_weights_and_mask(self, scene):
        _, catalog, flux, stamps = scene
        rng = np.random.default_rng(4)
        sigma = rng.uniform(2, 8, scene[0].shape)
        image = scene[0] + sigma * rng.normal(size=sigma.shape)
        mask = rng.random(sigma.shape) < 0.05
        image[mask] = 1e9
        table = profile_photometry(image, catalog, stamps, error=sigma,
                                   mask=mask, r_in=15, r_out=22)
        pulls = (table['flux'] - flux) / table['flux_error']
        assert abs(sigma68(pulls) - 1) < 0.15
        assert np.any(table['flag'] & ApertureFlag.MASKED)


class TestProfiles:
    def test_fit(self, scene):
        image, catalog, flux, stamps = scene
        table = profile_photometry(image + 100, catalog, error=5.0,
                                   r_in=15, r_out=22)
        assert_allclose(table['flux'] / flux, 1, atol=0.02)
        # a wider core with a steeper wing is nearly the same profile
        assert_allclose(table.meta['scale'], 1, atol=0.15)
        known = profile_photometry(image + 100, catalog, stamps, error=5.0)
        assert_allclose(table['floor_error'], known['floor_error'],
                        rtol=0.02)

    def test_fit_of_faint_sources_keeps_the_start(self, scene):
        image, catalog, _, _ = scene
        rng = np.random.default_rng(5)
        table = profile_photometry(rng.normal(0, 5, image.shape), catalog)
        assert table.meta['scale'] == 1
        assert table.meta['beta'] == 3.88

    def test_ellipses(self):
        sources = {'x': [60.3], 'y': [59.6], 'flux': [1e4], 'r50': [3.0],
                   'sersic_n': [1.0], 'axis_ratio': [0.4], 'theta': [0.6]}
        image = render_sources((121, 121), {
            name: np.array(values) for name, values in sources.items()},
            3.0, BETA, dtype=float)
        catalog = light_fraction_apertures(3.0, 1.0, 0.4, np.rad2deg(0.6), 3.0)
        catalog['aperture_x'], catalog['aperture_y'] = [60.3], [59.6]
        errors = [abs(profile_photometry(image, catalog, error=1.0,
                                         theta_sign=sign)['flux'][0] / 1e4 - 1)
                  for sign in (1, -1)]
        assert errors[0] < 0.1
        assert errors[0] < errors[1] / 2

    def test_model(self, scene):
        _, catalog, _, _ = scene
        y, x = np.mgrid[:600, :600]
        star = CircularGaussianPRF(flux=700, fwhm=FWHM,
                                   x_0=catalog['aperture_x'][30],
                                   y_0=catalog['aperture_y'][30])
        table = profile_photometry(star(x, y), catalog[30:31], star,
                                   error=1.0)
        assert_allclose(table['flux'], 700, rtol=1e-3)
        assert star.flux == 700

    def test_units_and_edges(self, scene):
        _, catalog, _, _ = scene
        catalog = catalog[:3].copy()
        catalog['aperture_x'][:2] = [0.3, -100]
        ccd = CCDData(noisy(scene), unit='adu')
        table = profile_photometry(ccd, catalog, error=5 * u.adu)
        assert table['flux'].unit == u.adu
        assert np.all(np.isnan(table['flux'][:2]))
        assert np.isfinite(table['flux'][2])
        assert table['flag'][1] & ApertureFlag.OFF_FRAME


@pytest.mark.parametrize(('profile', 'match'), [
    ('gauss', "got 'gauss'"), (np.ones((2, 5, 5)), 'with 169 sources'),
    (np.ones((169, 4, 5)), 'odd ny and nx'), (np.ones((5, 5)), 'shape'),
    (np.zeros((169, 5, 5)), 'row 0'), (Gaussian1D(), 'Gaussian1D without')])
def test_bad_profile(scene, profile, match):
    with pytest.raises(ValueError, match=match):
        profile_photometry(noisy(scene), scene[1], profile)
