# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the apertures and plane modules.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.stats import SigmaClip
from astropy.table import QTable
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from photutils.aperture import (
    ApertureStats,
    CircularAnnulus,
    CircularAperture,
    EllipticalAperture,
)

from astro_denoise.photometry.annulus import clipped_width
from astro_denoise.photometry.apertures import (
    ApertureFlag,
    annulus_photometry,
    ellipse_weights,
)
from astro_denoise.photometry.calibration import sigma68


def make_catalog(x, y, a, b=None, theta=0.0):
    """A catalog from arrays."""
    x = np.atleast_1d(np.asarray(x, dtype=float))
    full = np.ones(len(x))
    return QTable({
        'ref_id': np.arange(len(x)) + 100, 'aperture_x': x,
        'aperture_y': y * full, 'aperture_a': a * full,
        'aperture_b': (a if b is None else b) * full,
        'aperture_theta': theta * full})


@pytest.fixture
def image():
    """Sky of 100 and noise of 5."""
    return np.random.default_rng(1).normal(100, 5, (200, 240))


class TestAgainstPhotutils:
    @pytest.mark.parametrize('dtype', ['f8', 'f4', '>f4', '>i2'])
    def test_same_numbers(self, image, dtype):
        rng = np.random.default_rng(2)
        n_sources = 25
        catalog = make_catalog(
            rng.uniform(-2, 241, n_sources), rng.uniform(-2, 201, n_sources),
            rng.uniform(0.5, 9, n_sources), rng.uniform(0.5, 6, n_sources),
            rng.uniform(-180, 180, n_sources))
        mask = rng.random(image.shape) < 0.02
        image = image.astype(dtype)
        table = annulus_photometry(image, catalog, mask=mask)
        native = image.astype(float)
        n_compared = 0
        for row, source in zip(table, catalog, strict=True):
            place = (source['aperture_x'], source['aperture_y'])
            annulus = ApertureStats(native, CircularAnnulus(place, 30, 45),
                                    sigma_clip=SigmaClip(3), mask=mask)
            for name, value in (('mean', annulus.mean),
                                ('median', annulus.median),
                                ('sigma', annulus.std),
                                ('samples', annulus.center_aper_area.value)):
                assert_allclose(row[f'annulus_{name}'], value, rtol=1e-6)
            if np.isnan(row['flux']):
                continue
            aperture = ApertureStats(native, EllipticalAperture(
                place, source['aperture_a'], source['aperture_b'],
                theta=np.deg2rad(source['aperture_theta'])), mask=mask)
            area = aperture.sum_aper_area.value
            assert_allclose(row['area'].value, area, rtol=1e-6)
            assert_allclose(row['flux'], aperture.sum - area * annulus.mean,
                            rtol=1e-6, atol=1e-6 * aperture.sum)
            n_compared += 1
        assert n_compared > 15

    @pytest.mark.parametrize('sigma_clip', [
        None, SigmaClip(2.5, maxiters=1), SigmaClip(3, stdfunc='mad_std'),
        SigmaClip(3, cenfunc='mean')])
    def test_other_clipping(self, image, sigma_clip):
        table = annulus_photometry(image, make_catalog(110.3, 99.8, 3),
                                   r_in=8, r_out=12.5, sigma_clip=sigma_clip)
        annulus = ApertureStats(image, CircularAnnulus((110.3, 99.8), 8, 12.5),
                                sigma_clip=sigma_clip)
        assert_allclose(table['annulus_mean'], annulus.mean, rtol=1e-9)
        assert_allclose(table['annulus_sigma'], annulus.std, rtol=1e-9)

    @given(st.floats(0.05, 12), st.floats(0.05, 12), st.floats(-7, 7),
           st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
    def test_weights(self, a, b, theta, x, y):
        weights, _ = ellipse_weights(x, y, a, b, theta)
        assert weights.min() >= 0
        assert weights.max() <= 1 + 1e-9
        assert_allclose(weights.sum(), np.pi * a * b, rtol=1e-6)


class TestAnnulus:
    def test_area_is_that_of_an_annulus(self):
        table = annulus_photometry(np.full((200, 200), 7.0),
                                   make_catalog(100, 100, 3), sigma_clip=None)
        assert abs(table['annulus_samples'][0] / 3534 - 1) < 0.01

    def test_masked_pixels_are_dropped(self, image):
        catalog = make_catalog(100, 100, 3)
        bad = image.copy()
        mask = np.zeros(image.shape, dtype=bool)
        mask[100, 133] = mask[101, 102] = True
        bad[mask] = 1e6
        clean = annulus_photometry(image, catalog, mask=mask)
        table = annulus_photometry(bad, catalog, mask=mask)
        for name in ('flux', 'flux_error', 'area', 'annulus_mean'):
            assert_allclose(table[name].value, clean[name].value)
        assert table['flag'][0] == ApertureFlag.MASKED
        assert table['area'][0].value < np.pi * 9 - 0.9

    def test_non_finite_pixels(self, image):
        image[101, 102] = np.nan
        image[130, 110] = np.inf
        table = annulus_photometry(image, make_catalog(100, 100, 3))
        assert table['flag'][0] == ApertureFlag.NON_FINITE
        assert np.isfinite(table['flux'][0])

    @pytest.mark.parametrize(('options', 'match'), [
        ({'r_in': 45, 'r_out': 30}, 'r_in=45, r_out=30'),
        ({'r_in': -1}, 'r_in=-1'), ({'r_out': np.inf}, 'r_out=inf'),
        ({'r_in': np.nan}, 'r_in=nan')])
    def test_inside_out(self, image, options, match):
        with pytest.raises(ValueError, match=match):
            annulus_photometry(image, make_catalog(50, 50, 3), **options)

    def test_bad_clipping(self, image):
        with pytest.raises(TypeError, match='sigma_clip must be'):
            annulus_photometry(image, make_catalog(50, 50, 3), sigma_clip=3)

    @pytest.mark.parametrize('sigma_clip', [
        SigmaClip(2), SigmaClip(3), SigmaClip(3, sigma_lower=4),
        SigmaClip(2.5, maxiters=1), SigmaClip(3, maxiters=0)])
    def test_clipped_width(self, sigma_clip):
        values = np.random.default_rng(1).normal(size=(200, 3500))
        left = [sigma_clip(row, masked=False).std() for row in values]
        expected = np.mean(left) / np.mean(np.std(values, axis=1))
        assert_allclose(clipped_width(sigma_clip, 3500), expected, rtol=0.01)

    def test_no_clipping_no_correction(self):
        assert clipped_width(None, 3500) == 1


class TestErrors:
    def test_weights_are_squared(self):
        # photutils before 3.1 has sum(w sigma^2), 20 % too large here
        sigma = np.random.default_rng(1).uniform(1, 3, (120, 120))
        table = annulus_photometry(np.zeros((120, 120)), make_catalog(
            60.5, 60.5, 1), error=sigma)
        weights, (x1, x2, y1, y2) = ellipse_weights(60.5, 60.5, 1, 1, 0)
        expected = np.sqrt(np.sum(weights**2 * sigma[y1:y2, x1:x2]**2))
        assert_allclose(table['flux_error'], expected)

    def test_background_and_photons(self, image):
        catalog = make_catalog(100, 100, 3)
        error = np.full(image.shape, 5.0)
        image[95:106, 95:106] += 50
        plain = annulus_photometry(image, catalog, error=error)[0]
        weights, (x1, x2, y1, y2) = ellipse_weights(100, 100, 3, 3, 0)
        width = plain['annulus_sigma'] / clipped_width(SigmaClip(3), 3534)
        background = (plain['area'].value * width)**2 / plain[
            'annulus_samples']
        pixels = np.sum(weights**2) * 25
        assert_allclose(plain['flux_error']**2, pixels + background)
        photons = np.sum(weights**2 * (image[y1:y2, x1:x2]
                                       - plain['annulus_mean'])) / 2
        with_gain = annulus_photometry(image, catalog, error=error, gain=2)
        assert_allclose(with_gain['flux_error'][0]**2,
                        pixels + background + photons)

    @pytest.mark.parametrize('radius', [1, 2.5, 6])
    def test_pulls_of_noise(self, radius):
        rng = np.random.default_rng(3)
        image = rng.normal(100, 5, (1024, 1024)).astype('f4')
        catalog = make_catalog(rng.uniform(10, 1014, 2500),
                               rng.uniform(10, 1014, 2500), radius)
        for error in (None, np.full_like(image, 5)):
            table = annulus_photometry(image, catalog, error=error)
            # the sampling error of the width is 0.019
            width = sigma68(table['flux'] / table['flux_error'])
            assert abs(width - 1) < 0.05

    @pytest.mark.slow
    @pytest.mark.parametrize('radius', [1, 2, 4, 8, 14, 20])
    def test_pulls_of_much_noise(self, radius):
        rng = np.random.default_rng(radius)
        pulls = []
        for _ in range(8):
            image = rng.normal(100, 5, (4096, 2048)).astype('f4')
            catalog = make_catalog(rng.uniform(30, 2018, 4000),
                                   rng.uniform(30, 4066, 4000), radius)
            table = annulus_photometry(image, catalog)
            pulls.append(table['flux'] / table['flux_error'])
        assert abs(sigma68(pulls) - 1) < 0.02

    def test_photon_noise(self):
        rng = np.random.default_rng(4)
        y, x = np.mgrid[:50, :50]
        star = 4000 * np.exp(-((x - 25)**2 + (y - 25)**2) / 8)
        image = rng.poisson(np.tile(star, (20, 20)) + 100) / 2  # gain 2
        centers = np.arange(20) * 50 + 25
        x, y = np.meshgrid(centers, centers)
        table = annulus_photometry(image, make_catalog(
            x.ravel(), y.ravel(), 4), gain=2, r_in=14, r_out=22)
        weights, box = ellipse_weights(25, 25, 4, 4, 0)
        true = np.sum(weights * star[box[2]:box[3], box[0]:box[1]]) / 2
        pulls = (table['flux'] - true) / table['flux_error']
        assert_allclose(np.std(pulls), 1, atol=0.1)
        assert_allclose(np.mean(pulls), 0, atol=0.15)

    @pytest.mark.parametrize('error', [
        StdDevUncertainty(np.full((200, 240), 4.0)), 4.0,
        np.full((200, 240), 4.0)])
    def test_kinds_of_error(self, image, error):
        catalog = make_catalog(100, 100, 3)
        table = annulus_photometry(image, catalog, error=error)
        expected = annulus_photometry(image, catalog,
                                      error=np.full(image.shape, 4.0))
        assert_allclose(table['flux_error'], expected['flux_error'])

    def test_wrong_shape(self, image):
        with pytest.raises(ValueError, match='shape'):
            annulus_photometry(image, make_catalog(100, 100, 3),
                               error=np.ones((3, 3)))


class TestFlags:
    def test_edges(self, image):
        catalog = make_catalog([2, 50, -20, 1e6], [50, 198.9, 50, 50], 4)
        table = annulus_photometry(image, catalog)
        flag = table['flag'] & ~ApertureFlag.FEW_BACKGROUND
        assert list(flag) == [ApertureFlag.EDGE, ApertureFlag.EDGE,
                              ApertureFlag.OFF_FRAME, ApertureFlag.OFF_FRAME]
        for name in ('flux', 'flux_error', 'area'):
            assert np.all(np.isnan(table[name]))

    def test_touching_the_edge(self, image):
        # pixel 0 ends at -0.5
        table = annulus_photometry(image, make_catalog([3.5, 3.49], 50, 4))
        assert list(table['flag']) == [0, ApertureFlag.EDGE]

    def test_few_background_pixels(self, image):
        mask = np.ones(image.shape, dtype=bool)
        mask[90:110, 90:110] = mask[100, 100:140] = False
        table = annulus_photometry(image, make_catalog(100, 100, 3),
                                   mask=mask)
        assert table['flag'][0] == ApertureFlag.FEW_BACKGROUND
        assert np.isfinite(table['flux'][0])

    def test_no_background_pixels(self, image):
        mask = np.ones(image.shape, dtype=bool)
        mask[90:110, 90:110] = False
        table = annulus_photometry(image, make_catalog(100, 100, 3),
                                   mask=mask)
        assert table['flag'][0] == ApertureFlag.FEW_BACKGROUND
        assert table['annulus_samples'][0] == 0
        assert np.isnan(table['flux'][0])

    def test_nothing_but_masked_pixels(self, image):
        mask = np.zeros(image.shape, dtype=bool)
        mask[95:106, 95:106] = True
        table = annulus_photometry(image, make_catalog(100, 100, 3),
                                   mask=mask)
        assert table['flag'][0] == ApertureFlag.MASKED
        assert np.isnan(table['flux'][0])

    @pytest.mark.parametrize('options', [
        {'saturation': 1000}, {'saturation': 'FULL'},
        {'saturation': 1000 * u.adu}, {}])
    def test_saturation_level(self, image, options):
        image[100, 101] = 2000
        header = fits.Header({'FULL': 1000})
        if not options:
            header['SATURATE'] = 1000
        ccd = CCDData(image, unit='adu', meta=header)
        table = annulus_photometry(ccd, make_catalog([100, 50], 100, 3),
                                   **options)
        assert list(table['flag']) == [ApertureFlag.SATURATED, 0]

    @pytest.mark.parametrize(('saturation', 'match'), [
        ('NONE', "'NONE' is not in the header"), (1 * u.s, 'unit of data'),
        ([1], 'must be a number')])
    def test_bad_saturation(self, image, saturation, match):
        with pytest.raises(ValueError, match=match):
            annulus_photometry(CCDData(image, unit='adu'),
                               make_catalog(50, 50, 3), saturation=saturation)

    def test_saturation_keyword_without_value(self, image):
        ccd = CCDData(image, unit='adu', meta=fits.Header({'SATURATE': None}))
        assert annulus_photometry(ccd, make_catalog(50, 50, 3))['flag'] == 0

    def test_saturation_bit(self, image):
        bits = np.zeros(image.shape, dtype=np.int16)
        bits[100, 100], bits[50, 50] = 1024, 2048
        catalog = make_catalog([100, 50], [100, 50], 3)
        masked = ApertureFlag.MASKED
        expected = [masked | ApertureFlag.SATURATED, masked]
        table = annulus_photometry(image, catalog, mask=bits)
        assert list(table['flag']) == expected
        table = annulus_photometry(NDData(image, mask=bits), catalog)
        assert list(table['flag']) == expected

    def test_overlap(self, image):
        table = annulus_photometry(image, make_catalog(100, 100, 12),
                                   r_in=10, r_out=20)
        assert table['flag'][0] == ApertureFlag.OVERLAP

    def test_meta(self, image):
        table = annulus_photometry(image, make_catalog(100, 100, 3))
        assert table.meta['flags']['SATURATED'] == 8
        assert {'version', 'date'} <= set(table.meta)


class TestInput:
    def test_same_from_all_types(self, image):
        catalog = make_catalog(100, 100, 3)
        expected = annulus_photometry(image, catalog)
        quantity = annulus_photometry(image * u.adu, catalog)
        ccd = annulus_photometry(CCDData(image, unit='adu'), catalog)
        for table in (quantity, ccd):
            assert table['flux'].unit == u.adu
            assert table['annulus_sigma'].unit == u.adu
            assert table['flux'].value == expected['flux']

    def test_own_uncertainty_and_mask(self, image):
        catalog = make_catalog(100, 100, 3)
        mask = np.zeros(image.shape, dtype=bool)
        mask[100, 100] = True
        ccd = CCDData(image, unit='adu', mask=mask,
                      uncertainty=StdDevUncertainty(np.full_like(image, 9)))
        table = annulus_photometry(ccd, catalog)
        expected = annulus_photometry(image, catalog, mask=mask, error=9.0)
        assert_allclose(table['flux_error'].value, expected['flux_error'])
        assert_allclose(table['area'].value, expected['area'].value)

    def test_uncertainty_of_masked_pixels_may_be_anything(self, image):
        mask = np.zeros(image.shape, dtype=bool)
        mask[100, 100] = True
        error = np.where(mask, np.nan, 5.0)
        table = annulus_photometry(image, make_catalog(100, 100, 3),
                                   mask=mask, error=error)
        assert np.isfinite(table['flux_error'][0])

    def test_input_is_unchanged(self, image):
        image[3, 4] = np.nan
        image.flags.writeable = False
        catalog = make_catalog([100, 20], 100, 3)
        copy = catalog.copy()
        annulus_photometry(image, catalog, error=5.0)
        assert all(np.array_equal(catalog[name], copy[name])
                   for name in copy.colnames)

    def test_wcs(self, image):
        wcs = WCS(naxis=2)
        wcs.wcs.crpix, wcs.wcs.crval = [100, 100], [150, 2]
        wcs.wcs.cdelt = [-1e-4, 1e-4]
        wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
        catalog = make_catalog([100.2, 400], [90.7, 50], 3)
        expected = annulus_photometry(image, catalog)
        sky = catalog['ref_id', 'aperture_a', 'aperture_b', 'aperture_theta']
        sky['sky'] = wcs.pixel_to_world(catalog['aperture_x'],
                                        catalog['aperture_y'])
        ccd = CCDData(image, unit='adu', wcs=wcs)
        for table in (annulus_photometry(ccd, sky),
                      annulus_photometry(image, sky, wcs=wcs)):
            assert_allclose(table['flux'].value, expected['flux'], rtol=1e-6)
            assert list(table['flag']) == list(expected['flag'])

    def test_position_behind_the_sky(self, image):
        wcs = WCS(naxis=2)
        wcs.wcs.crpix, wcs.wcs.crval = [100, 100], [150, 2]
        wcs.wcs.cdelt = [-1e-4, 1e-4]
        wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
        catalog = QTable({'ra': [330.0], 'dec': [-2.0], 'aperture_a': [3.0],
                          'aperture_b': [3.0], 'aperture_theta': [0.0]})
        table = annulus_photometry(image, catalog, wcs=wcs)
        assert table['flag'][0] & ApertureFlag.OFF_FRAME
        assert np.isnan(table['flux'][0])

    def test_angle_convention(self):
        y, x = np.mgrid[:101, :101]
        line = np.where(np.abs(x - y) < 2, 1.0, 0.0)  # 45 degrees, upwards
        catalog = make_catalog(50, 50, 10, 2, 45)
        along, across = (annulus_photometry(line, catalog, theta_sign=sign,
                                            sigma_clip=None)['flux'][0]
                         for sign in (1, -1))
        assert along > 2 * across

    def test_apertures(self, image):
        aperture = CircularAperture([(100, 100), (50, 60)], 3)
        table = annulus_photometry(image, aperture)
        assert_allclose(table['area'].value, 9 * np.pi)

    def test_gain_from_header_and_unit(self, image):
        catalog = make_catalog(100, 100, 3)
        image[98:103, 98:103] += 100
        ccd = CCDData(image, unit='adu', meta={'GAIN': 2.0})
        errors = [annulus_photometry(ccd, catalog, gain=gain)['flux_error'][0]
                  for gain in ('GAIN', 2, 2 * u.electron / u.adu)]
        assert errors[0] == errors[1] == errors[2]
        rate = CCDData(image, unit='electron / s')
        table = annulus_photometry(rate, catalog, gain=2 * u.s)
        assert table['flux_error'][0].value == errors[0].value

    @pytest.mark.parametrize('shape', [(4, 50, 60), (1, 50, 60)])
    def test_stack(self, shape):
        with pytest.raises(ValueError, match='2 dimensions'):
            annulus_photometry(np.ones(shape), make_catalog(10, 10, 3))


def test_error_without_unit_beside_data_with_one(image):
    catalog = make_catalog([60.5], [60.5], 5.0)
    frame = CCDData(image, unit='adu')
    with pytest.raises(ValueError, match=r"error must have .*Unit\('adu'\)"):
        annulus_photometry(frame, catalog, error=5.0)
    expected = annulus_photometry(image, catalog, error=5.0)
    for error in (5.0 * u.adu,
                  StdDevUncertainty(np.full(image.shape, 5.0))):
        found = annulus_photometry(frame, catalog, error=error)
        assert_allclose(found['flux_error'].value, expected['flux_error'])
