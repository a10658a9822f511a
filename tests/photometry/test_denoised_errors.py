# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the denoised_errors module.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable
from numpy.testing import assert_allclose
from photutils.aperture import CircularAperture
from scipy.signal import fftconvolve

from astro_denoise import denoise
from astro_denoise.frames.kernel_card import kernel_from_text, kernel_to_text
from astro_denoise.photometry import annulus_photometry, denoised_flux_error
from astro_denoise.photometry.apertures import ellipse_weights
from astro_denoise.simulation import SurveySimulator, render_sources

LINE = np.exp(-0.5 * (np.arange(-6, 7) / 1.4)**2)
KERNEL = np.outer(LINE, LINE) / LINE.sum()**2
SHAPE = (160, 160)


def filtered(seed, sigma=5.0):
    """Noise filtered by a kernel, as a denoised frame."""
    noise = np.random.default_rng(seed).normal(0, 1, SHAPE) * sigma
    return CCDData(100 + fftconvolve(noise, KERNEL, mode='same'), unit='adu',
                   meta={'DNMODEL': 'one', 'DNSIGMA': 5.0,
                         'DNKERNEL': kernel_to_text(KERNEL)})


def apertures(radius, places=((80.3, 79.6),)):
    x, y = np.transpose(places)
    return QTable({'ref_id': np.arange(len(x)), 'aperture_x': x,
                   'aperture_y': y, 'aperture_a': np.full(len(x), radius),
                   'aperture_b': np.full(len(x), radius),
                   'aperture_theta': np.zeros(len(x))})


def places(number=400):
    return np.random.default_rng(4).uniform(50, 110, (number, 2))


class TestError:
    @pytest.mark.parametrize('radius', [1.0, 3.0, 8.0, 20.0])
    def test_is_the_scatter(self, radius):
        # the best estimate of the scatter, many frames with few apertures
        catalog = apertures(radius, [(50, 50), (50, 110), (110, 50),
                                     (110, 110)])
        sums = []
        for seed in range(150):
            frame = filtered(seed)
            for row in catalog:
                weights, (x1, x2, y1, y2) = ellipse_weights(
                    row['aperture_x'], row['aperture_y'], radius, radius, 0)
                sums.append(np.sum(weights * (frame.data[y1:y2, x1:x2]
                                              - 100)))
        error = denoised_flux_error(filtered(0), catalog)
        assert error.unit == u.adu
        # 600 sums: the scatter is known to 3 per cent. A peak of the noise
        # may be taken for light, whose error is larger.
        assert_allclose(np.median(error.value), np.std(sums), rtol=0.1)
        assert np.all(error.value < 1.35 * np.std(sums))
        raw = 5 * np.sqrt(np.pi) * radius
        assert error[0].value < raw

    def test_is_exact(self):
        frame = filtered(1)
        weights, (x1, x2, y1, y2) = ellipse_weights(80.3, 79.6, 4, 4, 0)
        plane = np.zeros(SHAPE)
        plane[y1:y2, x1:x2] = weights
        sigma = np.random.default_rng(2).uniform(1, 5, SHAPE)
        expected = np.sqrt(np.sum(
            (fftconvolve(plane, KERNEL, mode='same') * sigma)**2))
        for given in (apertures(4.0), CircularAperture((80.3, 79.6), 4),
                      plane, plane[np.newaxis]):
            found = denoised_flux_error(frame, given, error=sigma * u.adu)
            assert found.shape == (1,)
            assert_allclose(found.value, expected, rtol=2e-3)
        found = denoised_flux_error(frame.data, plane, error=sigma,
                                    kernel=KERNEL)
        assert_allclose(found, expected, rtol=1e-9)

    @pytest.mark.parametrize('annulus', [(12, 18), (4, 9)])
    def test_annulus(self, annulus):
        differences = []
        catalog = apertures(4.0, [(50, 50), (50, 110), (110, 50),
                                  (110, 110)])
        for seed in range(150):
            frame = filtered(seed)
            table = annulus_photometry(frame, catalog, r_in=annulus[0],
                                       r_out=annulus[1], sigma_clip=None)
            differences.append(table['flux'].value)
        assert_allclose(table['flux_error'].value, np.std(differences),
                        rtol=0.1)
        error = denoised_flux_error(frame, catalog, annulus=annulus)
        assert_allclose(table['flux_error'].value, error.value, rtol=0.02)

    def test_noise_from_the_frame(self):
        frame = filtered(1)
        slope = np.linspace(1, 3, SHAPE[1]) * np.ones(SHAPE)
        frame.uncertainty = StdDevUncertainty(0.2 * slope)
        left, right = denoised_flux_error(
            frame, apertures(3.0, [(30, 80), (130, 80)])).value
        assert_allclose(right / left, (1 + 2 * 130 / 159)
                        / (1 + 2 * 30 / 159), rtol=0.1)

    def test_pixels_that_were_kept(self):
        # squares of structure are as they were, and state the raw noise
        frame = filtered(1)
        sigma = np.full(SHAPE, 5.0 * np.sqrt(np.sum(KERNEL**2)))
        sigma[60:100, 20:60] = 5.0
        frame.data[60:100, 20:60] = np.random.default_rng(3).normal(
            100, 5, (40, 40))
        sigma[80, 120] = 5.0  # a peak that states too much
        frame.uncertainty = StdDevUncertainty(sigma)
        kept, peak, other = denoised_flux_error(
            frame, apertures(3.0, [(40, 80), (120, 80), (80, 130)])).value
        weights = ellipse_weights(40, 80, 3.0, 3.0, 0)[0]
        assert_allclose(kept, 5 * np.sqrt(np.sum(weights**2)), rtol=0.04)
        assert_allclose(peak, other, rtol=1e-3)

    def test_photons(self):
        frame = filtered(1)
        frame.data[70:90, 70:90] += 1000
        error = denoised_flux_error(frame, apertures(4.0)).value
        frame.header['DNGAIN'] = 2.0
        with_photons = denoised_flux_error(frame, apertures(4.0)).value
        assert_allclose(with_photons / error, np.sqrt(1 + 500 / 25),
                        rtol=0.03)
        given = denoised_flux_error(frame, apertures(4.0), gain=2,
                                    error=5 * u.adu).value
        assert_allclose(given, with_photons, rtol=1e-6)

    def test_light_of_the_sky(self):
        # the header says how noise grows with light, diffuse light too
        frame = filtered(1)
        error = denoised_flux_error(frame, apertures(4.0)).value
        frame.data[:, 64:] += 900
        frame.header.update(DNGAIN=2.0, DNSKY=100.0)
        catalog = apertures(4.0, [(114.0, 80.0)])
        found = denoised_flux_error(frame, catalog).value
        assert_allclose(found / error, np.sqrt(1 + 450 / 25), rtol=0.02)
        frame.data[60:100, 94:134] -= 2000  # no less than the read noise
        frame.header['DNRDNOIS'] = 4.0
        found = denoised_flux_error(frame, catalog).value
        assert_allclose(found / error, 2.0 / 5.0, rtol=0.02)

    @pytest.mark.parametrize('added', [-100.0, 1e4])
    def test_sky_that_is_not_that_of_the_header(self, added):
        frame = filtered(1)
        expected = denoised_flux_error(frame, apertures(4.0)).value
        frame.data += added
        frame.header.update(DNGAIN=0.5, DNSKY=100.0)
        found = denoised_flux_error(frame, apertures(4.0)).value
        assert_allclose(found, expected, rtol=0.02)

    def test_edges_and_masks(self):
        frame = filtered(1)
        error = denoised_flux_error(
            frame, apertures(3.0, [(80, 80), (0.2, 80), (-90, 80)])).value
        assert 0 < error[1] < error[0]
        assert np.isnan(error[2])
        mask = np.zeros(SHAPE, bool)
        mask[:, 80:] = True
        half = denoised_flux_error(frame, apertures(3.0), mask=mask).value
        assert half[0] < 0.8 * error[0]
        mask[:] = True
        mask[:8, :8] = False
        assert np.isnan(denoised_flux_error(frame, apertures(3.0),
                                            mask=mask).value[0])


class TestDenoised:
    @pytest.fixture(scope='class', autouse=True)
    @classmethod
    def _frames(cls):
        simulator = SurveySimulator(
            shape=(256, 256), density=0, psf_fwhm=1.0, psf_beta=3.5,
            n_cosmic_rays=0, n_bad_columns=0)
        frames = simulator.exposures(6, seed=1)[0]
        for frame in frames:
            frame.header['GAIN'] = 0.65
        cls.frames = [denoise(frame, gain='GAIN', read_noise='RDNOISE')
                      for frame in frames]

    @pytest.mark.parametrize('radius', [3.0, 6.0])
    def test_scatter(self, radius):
        catalog = apertures(radius, np.random.default_rng(3).uniform(
            50, 205, (400, 2)))
        tables = [annulus_photometry(frame, catalog)
                  for frame in self.frames]
        scatter = np.std([table['flux'].value for table in tables])
        error = np.mean([table['flux_error'].value for table in tables])
        assert_allclose(error / scatter, 1, atol=0.06)

    @pytest.mark.parametrize(('fwhm', 'flux'), [
        (2.4, 1600.0), (3.8, 1200.0), (3.8, 2500.0), (6.0, 4000.0)])
    def test_small_apertures_of_bright_sources(self, fwhm, flux):
        # where the network keeps part of the pixels as they were
        rng = np.random.default_rng(4)
        place = np.stack(np.meshgrid(*2 * [np.arange(30, 240, 32)]),
                         axis=-1).reshape(-1, 2) + rng.uniform(
                             -3, 3, (49, 2))
        truth = 190 + render_sources((256, 256), {
            'x': place[:, 0], 'y': place[:, 1],
            'flux': np.full(49, flux)}, fwhm, 3.5)
        frames = [denoise(CCDData(
            rng.poisson(truth) + rng.normal(0, 9, truth.shape),
            unit='electron'), gain=1, read_noise=9) for _ in range(8)]
        for radius in (1.0, 2.0, 4.0):
            tables = [annulus_photometry(frame, apertures(radius, place))
                      for frame in frames]
            scatter = np.std([table['flux'].value for table in tables],
                             axis=0, ddof=1)
            error = np.mean([table['flux_error'].value for table in tables],
                            axis=0)
            ratio = np.sqrt(np.mean(error**2) / np.mean(scatter**2))
            assert 0.89 < ratio < 1.13  # known to 0.04

    @pytest.mark.parametrize('options', [{}, {'gain': 2.0}])
    @pytest.mark.parametrize('ratio', [1.6, 4.0])
    def test_noise_that_differs(self, options, ratio):
        # supplied with the frame, whose light says nothing of it
        sigma = np.where(np.arange(200) < 100, 3.0, 3.0 * ratio) * np.ones(
            (200, 200))
        rng = np.random.default_rng(8)
        catalog = apertures(3.0, [(30, 50), (30, 150), (170, 50), (170, 150)])
        tables = [annulus_photometry(
            denoise(CCDData(100 + sigma * rng.normal(size=sigma.shape),
                            unit='adu', uncertainty=StdDevUncertainty(sigma)),
                    **options), catalog, r_in=15, r_out=25)
            for _ in range(30)]
        flux, error = (np.array([table[name].value for table in tables])
                       for name in ('flux', 'flux_error'))
        for side in (slice(0, 2), slice(2, 4)):
            found = np.median(error[:, side]) / np.std(flux[:, side])
            assert 0.78 < found < 1.28  # the scatter is known to 9 per cent

    def test_file(self, tmp_path):
        self.frames[0].write(tmp_path / 'frame.fits')
        read = CCDData.read(tmp_path / 'frame.fits')
        assert_allclose(
            denoised_flux_error(read, apertures(3.0)).value,
            denoised_flux_error(self.frames[0], apertures(3.0)).value,
            rtol=1e-6)

    def test_no_kernel(self, half_sigma_model):
        frame = CCDData(np.random.default_rng(1).normal(100, 5, SHAPE),
                        unit='adu')
        result = denoise(frame, half_sigma_model())
        assert 'DNKERNEL' not in result.header
        with pytest.raises(ValueError, match='no restoring kernel'):
            denoised_flux_error(result, apertures(3.0))


class TestRefusal:
    @pytest.mark.parametrize('measure', [annulus_photometry,
                                         denoised_flux_error])
    def test_mmse(self, measure):
        frame = filtered(1)
        frame.header['DNMODEL'] = 'ccd-mmse'
        del frame.header['DNKERNEL']
        with pytest.raises(ValueError, match=r"seen or not seen; measure "
                           r"the raw frame.*model='ccd'"):
            measure(frame, apertures(3.0))

    def test_error_of_the_raw_frame(self):
        frame = filtered(1)
        kernel = frame.header.pop('DNKERNEL')
        table = annulus_photometry(frame, apertures(3.0), error=5 * u.adu)
        frame.header['DNKERNEL'] = kernel
        better = annulus_photometry(frame, apertures(3.0), error=5 * u.adu)
        assert better['flux'] == table['flux']
        assert better['flux_error'] < table['flux_error']

    @pytest.mark.parametrize(('options', 'match'), [
        ({'kernel': np.ones((4, 4))}, 'kernel must be'),
        ({'annulus': (5, 2)}, 'r_in'),
        ({'apertures': np.ones((5, 5))}, r'weights of shape \(160, 160\)'),
        ({'apertures': np.ones(SHAPE), 'annulus': (5, 9)},
         'annulus must be None')])
    def test_bad(self, options, match):
        options = {'apertures': apertures(3.0), **options}
        with pytest.raises(ValueError, match=match):
            denoised_flux_error(filtered(1), **options)

    def test_no_noise(self):
        frame = filtered(1)
        del frame.header['DNSIGMA']
        with pytest.raises(ValueError, match='error must be given'):
            denoised_flux_error(frame, apertures(3.0))

    def test_no_header(self):
        with pytest.raises(ValueError, match='got no DNMODEL'):
            denoised_flux_error(np.ones(SHAPE), apertures(3.0))


class TestCard:
    def test_round_trip(self):
        for half in (0, 1, 5, 12):
            line = np.random.default_rng(half).uniform(size=half + 1)
            line = np.concatenate([line[:0:-1], line])
            kernel = np.outer(line, line)
            assert_allclose(kernel_from_text(kernel_to_text(kernel)), kernel,
                            rtol=1e-3)

    @pytest.mark.parametrize('text', ['%%', 'HC8c', 3, ''])
    def test_bad(self, text):
        with pytest.raises(ValueError, match='DNKERNEL must'):
            kernel_from_text(text)
