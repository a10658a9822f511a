# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the forced module.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.modeling.models import Gaussian1D
from astropy.nddata import CCDData
from astropy.table import QTable, vstack
from numpy.testing import assert_allclose
from photutils.psf import CircularGaussianPRF, GaussianPRF, ImagePSF

from astro_denoise.photometry import (
    ForcedFlag,
    forced_fit,
    forced_passes,
    forced_photometry,
    light_fraction_apertures,
    source_model,
    source_stamps,
)
from astro_denoise.simulation import SurveySimulator, moffat_image
from astro_denoise.simulation.profiles import render_sources

FWHM, BETA, SCALE = 3.8, 3.5, 0.263
SKY = np.sqrt(1.70 * 110 + 1 / 3600 * 110 + 81)
PSF = moffat_image(81, FWHM, BETA)


def simulate(density, *, n=2, seed=3, shape=(320, 320), stars=1.0, rays=0,
             magnitudes=(18.0, 22.5)):
    """Exposures in electrons, and their catalog."""
    simulator = SurveySimulator(
        shape=shape, density=density, psf_fwhm=FWHM * SCALE, psf_beta=BETA,
        n_cosmic_rays=rays, n_bad_columns=0, star_fraction=stars,
        magnitude_range=magnitudes, unit='electron')
    catalog = simulator.catalog(seed=seed)
    catalog['bulge_fraction'] = 0.0
    frames, catalog, truth = simulator.exposures(
        n, seed=seed, catalog=catalog, return_truth=True)
    return frames, catalog, truth


def fit(frame, catalog, psf=PSF, **options):
    options = {'error': SKY * u.electron, 'gain': 1, **options}
    return forced_photometry(frame, catalog, psf, **options)


def pulls(tables, catalog):
    """Deviations over errors, of the sources with a measurement."""
    found = np.array([
        ((table['flux'] - catalog['flux']) / table['flux_error']).value
        for table in tables])
    return found[np.isfinite(found)]


@pytest.fixture(scope='module')
def crowded():
    """Stars of which most overlap, and their fluxes."""
    frames, catalog, _ = simulate(5000)
    return frames, catalog, [fit(frame, catalog) for frame in frames]


class TestErrors:
    def test_isolated(self):
        frames, catalog, _ = simulate(400, n=3, shape=(512, 512))
        tables = [fit(frame, catalog) for frame in frames]
        found = pulls(tables, catalog)
        assert len(found) > 150
        assert 0.9 < found.std() < 1.1
        assert abs(found.mean()) < 0.2
        ratio = tables[0]['flux_error'] / tables[0]['floor_error']
        assert np.all(ratio > 0.999)
        assert_allclose(np.median(ratio), 1, atol=5e-3)

    def test_crowded(self, crowded):
        _, catalog, tables = crowded
        found = pulls(tables, catalog)
        assert len(found) > 900
        assert 0.9 < found.std() < 1.1
        assert abs(found.mean()) < 0.12
        blends = tables[0]['blend_inflation'] > 1.2
        assert np.count_nonzero(blends) > 40
        blended = pulls([table[blends] for table in tables], catalog[blends])
        assert 0.8 < blended.std() < 1.2
        # relative to the bound, not to its own errors
        floor = np.concatenate([
            (table['flux'] - catalog['flux']) / table['floor_error']
            for table in tables])
        assert np.nanstd(floor) < 1.12

    def test_response(self, crowded):
        _, catalog, tables = crowded
        for table in tables:
            weight = 1 / table['flux_error']**2
            good = np.isfinite(table['flux'])
            response = (np.sum((weight * table['flux']
                                * catalog['flux'])[good])
                        / np.sum((weight * catalog['flux']**2)[good]))
            assert abs(response - 1) < 0.015

    def test_no_source(self):
        frames, catalog, _ = simulate(100, n=1)
        rng = np.random.default_rng(5)
        empty = QTable({'x': rng.uniform(20, 300, 300),
                        'y': rng.uniform(20, 300, 300)})
        near = np.hypot(empty['x'][:, np.newaxis] - catalog['x_centroid'],
                        empty['y'][:, np.newaxis] - catalog['y_centroid'])
        blank = np.flatnonzero(near.min(axis=1) > 25)
        both = QTable({'x': [*catalog['x_centroid'], *empty['x'][blank]],
                       'y': [*catalog['y_centroid'], *empty['y'][blank]]})
        table = fit(frames[0], both)[len(catalog):]
        pull = (table['flux'] / table['flux_error']).value
        assert abs(pull.mean()) < 3.5 / np.sqrt(len(pull))
        assert np.any(pull < -1)

    def test_galaxies(self):
        frames, catalog, _ = simulate(600, n=2, stars=0.2)
        found = pulls([fit(frame, catalog) for frame in frames], catalog)
        assert len(found) > 80
        assert 0.85 < found.std() < 1.15
        stars_only = catalog['x_centroid', 'y_centroid', 'flux']
        wrong = pulls([fit(frame, stars_only) for frame in frames], catalog)
        assert wrong.std() > 2 * found.std()


@pytest.fixture(scope='module')
def small():
    """A pair and a neighbor on a frame with three by three nodes."""
    catalog = QTable({'ref_id': ['a', 'b', 'c'], 'x': [40.2, 43.1, 55.0],
                      'y': [40.4, 41.0, 60.3],
                      'flux': [2000.0, 1000.0, 500.0]})
    image = 100 + render_sources((81, 81), catalog, FWHM, BETA,
                                 dtype=float)
    columns = [render_sources((81, 81), {
        name: catalog[name][[row]] * (1 if name != 'flux' else
                                      1 / catalog['flux'][row])
        for name in ('x', 'y', 'flux')}, FWHM, BETA, dtype=float).ravel()
        for row in range(3)]
    line = np.arange(81.0)
    hats = [np.maximum(0, 1 - np.abs(line - node) / 40)
            for node in (0, 40, 80)]
    columns += [np.outer(first, second).ravel()
                for first in hats for second in hats]
    return catalog, image, np.array(columns)


class TestBounds:
    def test_floor_is_the_inverse_of_the_fisher_matrix(self, small):
        catalog, image, columns = small
        table = forced_photometry(image, catalog, PSF, error=5.0, gain=2.0,
                                  background_step=40, shift=False)
        sources = np.array([2000.0, 1000, 500]) @ columns[:3]
        fisher = columns / (25 + sources / 2) @ columns.T
        floor = np.sqrt(np.diag(np.linalg.inv(fisher)))[:3]
        assert_allclose(table['floor_error'], floor, rtol=2e-3)

    def test_covariance(self, small):
        catalog, image, columns = small
        table = forced_photometry(image, catalog, PSF, error=5.0,
                                  background_step=40, shift=False,
                                  covariance=True)
        expected = 25 * np.linalg.inv(columns @ columns.T)[:3, :3]
        found = table.meta['covariance'].toarray()
        assert_allclose(found[:2, :2], expected[:2, :2], rtol=5e-3)
        assert_allclose(np.sqrt(np.diag(found)), table['flux_error'])
        assert found[0, 1] < 0
        correlation = expected[0, 1] / np.sqrt(expected[0, 0]
                                               * expected[1, 1])
        assert_allclose(table['max_correlation'][:2], correlation, atol=0.02)
        assert list(table['max_correlation_id'][:2]) == ['b', 'a']
        assert_allclose(table['blend_inflation'][:2],
                        1 / np.sqrt(1 - correlation**2), rtol=0.02)
        assert_allclose(table['blend_inflation'][2], 1, atol=1e-3)

    def test_model(self, small):
        catalog, image, _ = small
        ccd = CCDData(image, unit='adu')
        table, model = forced_photometry(ccd, catalog, PSF, error=5 * u.adu,
                                         return_model=True)
        assert model.unit == u.adu
        assert_allclose(model.value, image, atol=0.5)
        assert_allclose(table['flux'].value, catalog['flux'], rtol=3e-3)
        assert table['flux'].unit == table['floor_error'].unit == u.adu


class TestFit:
    def test_tiles_equal_the_whole(self, crowded, monkeypatch):
        frames, catalog, tables = crowded
        monkeypatch.setattr(source_model, '_TILES', ((1000, np.inf),))
        whole = fit(frames[0], catalog)
        parts = tables[0]
        good = np.isfinite(whole['flux'])
        assert np.max(np.abs(whole['flux'] - parts['flux'])[good]
                      / whole['flux_error'][good]) < 0.01
        for name in ('flux_error', 'floor_error', 'blend_inflation'):
            assert_allclose(parts[name][good], whole[name][good], rtol=2e-3)

    def test_settled(self, crowded, monkeypatch):
        # passes that were left out would have changed nothing
        frames, catalog, (found, _) = crowded
        for name in ('_SETTLED', '_LEAST_STEP', '_LEAST_SQUARE'):
            module = forced_fit if name == '_LEAST_SQUARE' else forced_passes
            monkeypatch.setattr(module, name, 0.0)
        monkeypatch.setattr(forced_passes, '_BRIGHTER', 1.0)
        whole = fit(frames[0], catalog)
        assert np.max(abs(found['flux'] - whole['flux'])
                      / whole['flux_error']) < 0.01
        assert_allclose(found['flux_error'], whole['flux_error'], rtol=0.01)

    def test_sources_at_one_place_are_not_bright(self):
        # the noise shares 0 electrons out as many, and as many less than 0
        rng = np.random.default_rng(5)
        x, y = rng.uniform(15, 180, (2, 60))
        catalog = QTable({'x': np.append(x, x + 0.02), 'y': np.append(y, y)})
        image = rng.normal(100, 5, (200, 200))
        table = forced_photometry(image, catalog, PSF, error=5.0, gain=1)
        snr = table['flux'] / (5.0 / np.sqrt(np.sum(PSF**2)))
        assert np.max(snr) > 20
        assert table.meta['shift'] == (0.0, 0.0)
        assert table.meta['model_error'] == 0.0
        assert np.std(table['flux'][:60] + table['flux'][60:]) < (
            2 * 5.0 / np.sqrt(np.sum(PSF**2)))

    def test_shift(self):
        frames, catalog, _ = simulate(1500, n=1)
        moved = catalog.copy()
        moved['x_centroid'] += 0.4
        moved['y_centroid'] -= 0.3
        table = fit(frames[0], moved)
        assert_allclose(table.meta['shift'], (-0.4, 0.3), atol=0.03)
        right = fit(frames[0], catalog, shift=False)
        assert right.meta['shift'] == (0, 0)
        assert_allclose(table['flux'], right['flux'],
                        atol=0.5 * np.nanmax(right['flux_error']).value)
        without = fit(frames[0], moved, shift=False)
        bright = catalog['flux'] > 3000 * u.electron
        assert np.nanmean((without['flux'] / right['flux'])[bright]) < 0.985
        assert_allclose(np.nanmean((table['flux'] / right['flux'])[bright]),
                        1, atol=2e-3)

    # Nothing is as wide as the profile then.
    @pytest.mark.filterwarnings('ignore:psf has a FWHM')
    def test_cosmic_rays(self):
        frames, catalog, _ = simulate(400, n=1)
        frame = frames[0]
        struck = frame.copy()
        x, y = (np.rint(catalog[name]).astype(int)
                for name in ('x_centroid', 'y_centroid'))
        inside = (x > 3) & (x < 316) & (y > 3) & (y < 316)
        struck.data[y[inside] + 2, x[inside] + 1] += 2000
        struck.data[y[inside] + 2, x[inside] + 2] += 2000
        clean = fit(frame, catalog)['flux'][inside]
        plain = fit(struck, catalog, robust=False)['flux'][inside] - clean
        robust = fit(struck, catalog)['flux'][inside] - clean
        assert np.median(robust) < np.median(plain) / 8

    def test_linear_where_the_psf_is_wrong(self):
        wrong = moffat_image(81, 1.1 * FWHM, BETA)
        ratios = []
        for flux in (1e4, 1e5, 1e6, 1e7):
            catalog = {'x': np.array([50.3, 150.1, 100.2]),
                       'y': np.array([49.8, 60.2, 140.0]),
                       'flux': np.full(3, flux)}
            image = 250 + render_sources((200, 200), catalog, FWHM, BETA,
                                         dtype=float)
            noisy = np.random.default_rng(1).poisson(image).astype(float)
            table = forced_photometry(noisy, QTable(catalog), wrong,
                                      error=np.sqrt(250), gain=1)
            ratios.append(np.mean(table['flux'] / flux))
        assert_allclose(ratios, np.mean(ratios), rtol=0.015)

    def test_hybrid(self):
        frames, catalog, _ = simulate(200, n=1, shape=(400, 400),
                                      magnitudes=(16.0, 19.5))
        struck = frames[0].copy()
        for table in (
                fit(frames[0], catalog),
                fit(frames[0], catalog, moffat_image(81, 1.1 * FWHM, BETA))):
            same = table['hybrid_flux'] == table['flux']
            good = ~same & (table['flag'] & ~ForcedFlag.POOR_FIT == 0)
            assert np.count_nonzero(good) > 8
            assert_allclose(table['hybrid_error'][same].value,
                            table['flux_error'][same].value)
            error, hybrid = ((table[name] / catalog['flux'] - 1)[good].value
                             for name in ('flux', 'hybrid_flux'))
            ratio = (table['hybrid_error'] / table['flux_error'])[good]
            assert 0.9 < np.median(ratio) < 1.4
            assert abs(hybrid.mean()) < 0.006 + abs(error.mean()) / 2.5
        # of sources that overlap, and of faint ones, it is the same
        x, y = (int(np.rint(catalog[f'{name}_centroid'][np.argmax(good)]))
                for name in 'xy')
        struck.data[y - 1:y + 2, x - 1:x + 2] = np.nan
        table = fit(struck, catalog)
        row = np.argmax(good)
        assert table['hybrid_flux'][row] == table['flux'][row]

    def test_bad_pixels(self):
        frames, catalog, _ = simulate(1500, n=1)
        frame = frames[0]
        bad = np.random.default_rng(3).random(frame.shape) < 0.05
        frame.data[bad] = 1e7
        masked = fit(frame, catalog, mask=bad)
        found = pulls([masked], catalog)
        assert 0.8 < found.std() < 1.2
        assert np.mean(masked['flag'] & ForcedFlag.MASKED > 0) > 0.8
        assert 0.92 < np.mean(masked['fraction_valid']) < 0.97
        frame.data[bad] = np.nan
        assert_allclose(fit(frame, catalog)['flux'].value,
                        masked['flux'].value, rtol=1e-9)

    def test_noise_of_the_frame(self):
        frames, catalog, _ = simulate(1500, n=1)
        given = fit(frames[0], catalog)
        found = fit(frames[0], catalog, error=None)
        ratio = found['flux_error'] / given['flux_error']
        assert_allclose(np.nanmedian(ratio), 1, atol=0.03)

    def test_movers_have_a_large_chi2(self):
        frames, catalog, _ = simulate(300, n=1, magnitudes=(18.0, 20.0))
        moved = catalog.copy()
        moved['x_centroid'][::4] += 2.5
        table = fit(frames[0], moved)
        poor = table['flag'] & ForcedFlag.POOR_FIT > 0
        assert np.mean(poor[::4]) > 0.5
        still = np.arange(len(table)) % 4 > 0
        assert np.mean(poor[still]) < 0.1


class TestPsf:
    def test_fit(self):
        frames, catalog, _ = simulate(1500, n=1)
        table = fit(frames[0], catalog, 'fit')
        assert_allclose(table.meta['psf']['fwhm'], FWHM, rtol=0.04)
        known = fit(frames[0], catalog)
        bright = catalog['flux'] > 2000 * u.electron
        ratio = (table['flux'] / known['flux'])[bright]
        assert_allclose(np.nanmedian(ratio), 1, atol=0.03)
        # The error of the profile is one of all fluxes.
        scale = table.meta['psf_error']
        assert abs(np.nanmedian(ratio) - 1) < 4 * scale
        assert 0.003 < scale < 0.03
        assert known.meta['psf_error'] == 0
        assert np.nanmin(table['flux_error'] / table['flux'].clip(
            1 * u.electron)) > scale

    def test_effective_psf_of_stars(self):
        rng = np.random.default_rng(8)
        x, y = (each.ravel() + rng.uniform(-4, 4, 36)
                for each in np.mgrid[24:216:6j, 24:216:6j])
        flux = np.tile([2e4, 5e4, 1e5, 800.0, 3e4, 2e3], 6)
        yy, xx = np.mgrid[:240, :240]
        image = np.full((240, 240), 100.0)
        for row in range(36):
            image += GaussianPRF(flux=flux[row], x_0=x[row], y_0=y[row],
                                 x_fwhm=4.2, y_fwhm=2.8, theta=30)(xx, yy)
        image = rng.poisson(image).astype(float)
        table = forced_photometry(image, QTable({'x': x, 'y': y}),
                                  error=10.0, gain=1)
        assert table.meta['psf']['kind'] == 'ImagePSF'
        assert_allclose(table.meta['psf']['fwhm'], 3.4, rtol=0.1)
        assert table.meta['model_error'] < 0.05
        bright = flux > 1e4
        assert_allclose((table['flux'] / flux)[bright], 1, atol=0.04)
        assert abs(np.mean((table['flux'] / flux)[bright]) - 1) < 0.01
        assert abs(np.mean(((table['flux'] - flux)
                            / table['flux_error'])[~bright])) < 1

    def test_model_and_image_agree(self):
        frames, catalog, _ = simulate(400, n=1)
        table = fit(frames[0], catalog)
        image = fit(frames[0], catalog, ImagePSF(PSF, flux=17.0))
        assert_allclose(image['flux'].value, table['flux'].value, rtol=0.01,
                        atol=3)
        oversampled = ImagePSF(moffat_image(161, 2 * FWHM, BETA) * 4,
                               oversampling=2)
        assert_allclose(fit(frames[0], catalog, oversampled)['flux'].value,
                        table['flux'].value, rtol=0.03, atol=15)

    def test_undersampled(self):
        yy, xx = np.mgrid[:80, :80]
        image = np.full((80, 80), 10.0)
        catalog = QTable({'x': [20.4, 40.1, 42.6, 60.5],
                          'y': [30.2, 41.5, 41.0, 20.0]})
        for x, y in catalog:
            image += CircularGaussianPRF(flux=1000, x_0=x, y_0=y,
                                         fwhm=1.4)(xx, yy)
        table = forced_photometry(image, catalog,
                                  CircularGaussianPRF(fwhm=1.4), error=1.0)
        assert_allclose(table['flux'], 1000, rtol=0.01)

    @pytest.mark.parametrize(('psf', 'error', 'match'), [
        ('gauss', ValueError, "got 'gauss'"),
        (Gaussian1D(), ValueError, 'Gaussian1D without'),
        (np.ones(5), ValueError, r'shape \(5,\)'),
        (np.zeros((5, 5)), ValueError, 'sum 0'),
        (np.full((5, 5), np.nan), ValueError, 'finite 2D'),
        (object(), TypeError, "'fit', a photutils"),
        (CircularGaussianPRF(fwhm=90), ValueError, 'sampled as the frame')])
    def test_bad(self, psf, error, match):
        with pytest.raises(error, match=match):
            forced_photometry(np.ones((50, 50)), QTable({'x': [9], 'y': [9]}),
                              psf)

    def test_too_few_sources(self):
        image = np.random.default_rng(1).normal(size=(60, 60))
        with pytest.raises(ValueError, match='needs 3 sources'):
            forced_photometry(image, QTable({'x': [30.0], 'y': [30.0]}))


class TestCatalog:
    def test_apertures(self):
        frames, catalog, _ = simulate(1000, n=1, stars=0.3)
        apertures = light_fraction_apertures(
            catalog['r50'], np.maximum(catalog['sersic_n'], 0.5),
            catalog['axis_ratio'], catalog['theta'], psf_fwhm=FWHM)
        apertures['aperture_x'] = catalog['x_centroid']
        apertures['aperture_y'] = catalog['y_centroid']
        table = fit(frames[0], apertures)
        shapes = fit(frames[0], catalog)
        bright = ((catalog['flux'] > 1500 * u.electron)
                  & (catalog['sersic_n'] < 2))
        ratio = (table['flux'] / shapes['flux'])[bright]
        assert np.count_nonzero(bright) > 3
        assert_allclose(np.nanmedian(ratio), 1, atol=0.05)

    def test_sky_positions(self):
        frames, catalog, _ = simulate(400, n=1)
        table = fit(frames[0], catalog['ref_id', 'sky_centroid'])
        expected = fit(frames[0], catalog['ref_id', 'x_centroid',
                                          'y_centroid'])
        assert_allclose(table['flux'].value, expected['flux'].value,
                        rtol=1e-5, atol=1e-2)

    def test_off_frame_and_doubled(self):
        frames, _, _ = simulate(10, n=1)
        catalog = QTable({'x': [50.0, -2.0, 1e6, 0.2, 100.0, 100.0],
                          'y': [50.0, 50.0, 50.0, 60.0, 80.0, 80.0]})
        table = fit(frames[0], catalog)
        assert list(np.isfinite(table['flux'])) == [True, False, False, True,
                                                    True, True]
        flag = table['flag']
        assert np.all(flag[1:3] & ForcedFlag.OFF_FRAME)
        assert flag[3] & ForcedFlag.EDGE
        assert np.all(flag[4:] & ForcedFlag.BLENDED)
        assert_allclose(np.abs(table['max_correlation'][4:]), 1, atol=1e-3)
        # what two at one place share is known, and goes to both
        single = fit(frames[0], catalog[:5])
        assert_allclose(np.sum(table['flux'][4:]), single['flux'][4],
                        rtol=1e-3)
        assert flag[0] == 0

    def test_all_off_frame(self):
        frames, _, _ = simulate(10, n=1)
        catalog = QTable({'x': [1e4, -300.0], 'y': [50.0, 1e9]})
        table = fit(frames[0], catalog)
        assert np.all(np.isnan(table['flux']))
        assert np.all(table['flag'] & ForcedFlag.OFF_FRAME)

    def test_a_million_rows(self):
        frames, catalog, _ = simulate(400, n=1)
        rng = np.random.default_rng(1)
        many = QTable({name: np.concatenate(
            [catalog[f'{name}_centroid'], rng.uniform(500, 2e4, 1_000_000)])
            for name in 'xy'})
        table = fit(frames[0], many)
        expected = fit(frames[0], catalog['x_centroid', 'y_centroid'])
        assert_allclose(table['flux'][:len(catalog)].value,
                        expected['flux'].value, rtol=1e-6)
        assert np.all(table['flag'][len(catalog):] & ForcedFlag.OFF_FRAME)

    @pytest.mark.parametrize('spread', [0.0, 320.0])
    def test_more_sources_than_can_be_told_apart(self, spread):
        frames, _, _ = simulate(10, n=1)
        rng = np.random.default_rng(1)
        catalog = QTable({name: rng.uniform(0, spread or 1e-9, 100_000)
                          for name in 'xy'})
        with pytest.raises(ValueError, match=r'must have fewer.*100000'):
            fit(frames[0], catalog)

    def test_guide_flux(self):
        frames, catalog, _ = simulate(400, n=1)
        table = fit(frames[0], catalog, guide_flux='flux')
        same = fit(frames[0], catalog, guide_flux=catalog['flux'])
        assert_allclose(table['flux'], same['flux'])
        without = fit(frames[0], catalog)
        assert np.nanmax(np.abs(table['flux'] - without['flux'])
                         / table['flux_error']) < 0.2

    def test_does_not_change_its_input(self):
        frames, catalog, _ = simulate(100, n=1)
        before = catalog.copy()
        fit(frames[0], catalog)
        assert np.all(before['x_centroid'] == catalog['x_centroid'])

    @pytest.mark.parametrize(('columns', 'match'), [
        ({'ra_deg': [1.0]}, 'must have the columns x, y or x_centroid'),
        ({'x': [np.nan], 'y': [1.0]}, "'x' must be finite.*row 0"),
        ({'x': [1.0], 'y': [1.0], 'r50': [-1.0]}, "'r50' must be not neg"),
        ({'x': [1.0], 'y': [1.0], 'r50': [2.0], 'q': [1.5]},
         "'q' must be 0.01 to 1.0"),
        ({'x': [1.0], 'y': [1.0], 'r50': [2.0] * u.arcsec}, 'wcs must be'),
        ({'x': [], 'y': []}, 'at least one row')])
    def test_bad(self, columns, match):
        with pytest.raises(ValueError, match=match):
            forced_photometry(np.ones((50, 50)), QTable(columns), PSF)

    @pytest.mark.parametrize(('options', 'match'), [
        ({'background_step': 0}, 'background_step'),
        ({'background_step': '48'}, 'background_step'),
        ({'guide_flux': [1.0, 2.0]}, 'guide_flux must hold 1 finite'),
        ({'guide_flux': [np.nan]}, '1 not finite')])
    def test_bad_options(self, options, match):
        with pytest.raises(ValueError, match=match):
            forced_photometry(np.ones((50, 50)), QTable({'x': [9], 'y': [9]}),
                              PSF, **options)


@pytest.mark.parametrize('stars', [0.3, 1.0])
def test_compiled_passes_are_the_plain_ones(monkeypatch, stars):
    pytest.importorskip('numba')
    shape = (60, 90) if stars < 1 else (200, 260)
    frames, catalog, _ = simulate(9000, n=1, shape=shape, stars=stars,
                                  magnitudes=(15.0, 22.5))
    frame = frames[0]
    # More than are drawn one by one; two at one place, two at nearly one.
    known = vstack([catalog['x_centroid', 'y_centroid', 'r50', 'sersic_n',
                            'axis_ratio', 'theta']] * 2)
    known['x_centroid'][len(catalog):] += 7.3
    known['y_centroid'][len(catalog):] -= 4.1
    known['x_centroid'][-2:] = known['x_centroid'][:2]
    known['x_centroid'][-1] += 0.5
    known['y_centroid'][-2:] = known['y_centroid'][:2]
    if stars == 1:
        frame.mask = frame.mask | (np.random.default_rng(4).random(
            shape) < 0.05)
    tables, models = [], []
    for share in (0.0, 1e9):
        monkeypatch.setattr(source_stamps, '_COMPILED_SHARE', share)
        table, model = fit(frame, known, return_model=True,
                           background_step=17.0)
        tables.append(table)
        models.append(model.value)
    error = tables[0]['flux_error']
    assert np.count_nonzero(np.isfinite(error)) > 50
    for name in ('flux', 'hybrid_flux'):
        plain, compiled = (table[name] / error for table in tables)
        assert_allclose(compiled, plain, rtol=1e-5, atol=1e-3)
    for name in ('flux_error', 'floor_error', 'blend_inflation', 'chi2',
                 'fraction_valid'):
        assert_allclose(tables[1][name], tables[0][name], rtol=1e-3)
    assert_allclose(*models, atol=1e-3 * SKY)
