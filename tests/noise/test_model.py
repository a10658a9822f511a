# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the noise maps and estimates.
"""

import re

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from astro_denoise.exceptions import NoiseEstimateWarning
from astro_denoise.noise.doubts import doubts_of
from astro_denoise.noise.gain import resolve_gain
from astro_denoise.noise.model import (
    estimate_background,
    estimate_gain,
    estimate_noise_level,
    noise_model,
)
from astro_denoise.noise.photon_map import photon_noise_map


def stars(shape, n_stars, seed, *, fwhm=3.0, flux=1e4):
    """
    Gaussian stars, in electrons.
    """
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    index = tuple(rng.integers(0, n, n_stars) for n in shape)
    np.add.at(image, index, flux * rng.pareto(1.5, n_stars))
    return gaussian_filter(np.minimum(image, 1e6), fwhm / 2.3548)


def galaxies(shape, n_galaxies, seed):
    """
    Exponential disks, in electrons.
    """
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = np.zeros(shape)
    for _ in range(n_galaxies):
        center = rng.uniform(0, shape, 2)
        radius = np.hypot(y - center[0], x - center[1])
        image += rng.uniform(100, 2000) * np.exp(-radius
                                                 / rng.uniform(5, 15))
    return image


def expose(scene, read_noise, seed, *, gain=1.0):
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(scene) + rng.normal(0, read_noise, scene.shape)
    values = (electrons / gain).astype(np.float32)
    return values, np.ones(values.shape, bool)


class TestPhotonNoiseMap:
    @pytest.mark.parametrize('sky', [1, 30, 1e4])
    @pytest.mark.parametrize('read_noise', [1, 15])
    def test_blank_sky(self, sky, read_noise):
        scene = np.full((512, 512), float(sky))
        values, valid = expose(scene, read_noise, 1)
        sigma = photon_noise_map(values, valid, 1.0, read_noise)
        assert sigma.dtype == np.float32
        expected = np.sqrt(sky + read_noise**2)
        assert_allclose(np.median(sigma), expected, rtol=2e-3)
        assert np.std(sigma) < 0.01 * expected
        # the noise of a pixel must not be seen in its own sigma
        leak = np.corrcoef(sigma.ravel(), (values - sky).ravel())[0, 1]
        assert abs(leak) < 0.02

    @pytest.mark.parametrize('fwhm', [2.0, 4.0, 8.0])
    def test_stars(self, fwhm):
        scene = 100 + stars((512, 512), 150, 2, fwhm=fwhm, flux=2e4)
        values, valid = expose(scene, 5, 3)
        sigma = photon_noise_map(values, valid, 1.0, 5.0)
        true = np.sqrt(scene + 25)
        signal = (scene - 100) / true
        for low, high, limit in ((0, 0.1, 0.01), (1, 5, 0.2), (20, 1e9, 0.1)):
            inside = (signal >= low) & (signal < high)
            assert abs(np.median(sigma[inside] / true[inside]) - 1) < limit

    def test_gain_and_pedestal(self):
        values, valid = expose(np.full((128, 128), 400.0), 5, 4)
        electrons = photon_noise_map(values, valid, 1.0, 5.0)
        assert_allclose(photon_noise_map(values / 4, valid, 4.0, 5.0),
                        electrons / 4, rtol=1e-5)
        shifted = photon_noise_map(values + 1000, valid, 1.0, 5.0,
                                   pedestal=1000.0)
        assert_allclose(shifted, electrons, rtol=1e-4)

    def test_invalid_pixels_have_no_influence(self):
        values, valid = expose(np.full((150, 131), 50.0), 3, 5)
        valid = np.random.default_rng(6).random(values.shape) > 0.2
        valid[40:80, 20:110] = False
        maps = []
        for fill in (0, 1e9, -1e9, np.nan, np.inf):
            filled = np.where(valid, values, np.float32(fill))
            maps.append(photon_noise_map(filled, valid, 1.0, 3.0))
        for other in maps[1:]:
            assert np.array_equal(maps[0], other)
        assert_allclose(np.median(maps[0]), np.sqrt(59), rtol=0.01)
        assert np.all((maps[0] > 6) & (maps[0] < 10))

    @pytest.mark.parametrize('shape', [(1, 1), (1, 70), (3, 5), (64, 64),
                                       (65, 129), (130, 2)])
    @pytest.mark.parametrize('share', [1, 0.3, 0])
    def test_shapes(self, shape, share):
        rng = np.random.default_rng(7)
        values = rng.normal(100, 10, shape)
        valid = rng.random(shape) < share
        sigma = photon_noise_map(values, valid, 1.0, 3.0)
        assert sigma.shape == shape
        assert np.all(sigma >= 3)
        assert np.all(sigma < 15)

    def test_no_read_noise_and_negative_values(self):
        values = np.full((70, 70), -5.0)
        sigma = photon_noise_map(values, values < 0, 1.0, 0.0)
        assert np.all(sigma > 0)


class TestBackground:
    def test_gradient_and_stars(self):
        y, x = np.indices((400, 300))
        truth = 200 + 0.2 * x + 0.1 * y
        scene = truth + stars(truth.shape, 100, 1)
        values, valid = expose(scene, 3, 2)
        background = estimate_background(values, valid)
        assert background.dtype == np.float32
        noise = np.sqrt(250)
        difference = (background - truth)[32:-32, 32:-32]
        assert np.abs(difference).max() < 0.8 * noise
        assert abs(difference.mean()) < 0.1 * noise

    @pytest.mark.parametrize('shape', [(1, 1), (5, 40), (63, 65), (64, 200)])
    @pytest.mark.parametrize('share', [1, 0.05])
    def test_small_and_masked(self, shape, share):
        rng = np.random.default_rng(3)
        values = rng.normal(1000, 1, shape)
        valid = rng.random(shape) < share
        valid.flat[0] = True
        values[~valid] = np.nan
        background = estimate_background(values, valid)
        assert background.shape == shape
        assert np.all(np.abs(background - 1000) < 5)

    def test_masked_mesh(self):
        values, valid = expose(np.full((256, 256), 100.0), 3, 4)
        valid[64:128, 64:128] = False
        values[64:128, 64:128] = 1e6
        background = estimate_background(values, valid)
        assert np.all(np.abs(background - 100) < 3)

    def test_shift_and_scale(self):
        scene = 100 + stars((200, 190), 50, 5)
        values, valid = expose(scene, 3, 6)
        values = values.astype(float)
        first = estimate_background(values, valid)
        for scale, shift in ((1e-30, 0), (1e20, 0), (2.5, 1e7)):
            other = estimate_background(values * scale + shift, valid)
            assert_allclose((other - shift) / scale, first, rtol=1e-6)


class TestNoiseLevel:
    @pytest.mark.parametrize('sky', [1, 100, 1e4])
    @pytest.mark.parametrize('read_noise', [1, 15])
    @pytest.mark.parametrize('n_stars', [0, 200])
    def test_level(self, sky, read_noise, n_stars):
        scene = sky + stars((512, 512), n_stars, 1, flux=1e3)
        values, valid = expose(scene, read_noise, 2, gain=0.7)
        level, correlation = estimate_noise_level(values, valid)
        expected = np.sqrt(sky + read_noise**2) / 0.7
        assert_allclose(level, expected, rtol=0.02)
        assert abs(correlation) < 0.02

    def test_a_fifth_in_stars(self):
        scene = 100 + stars((512, 512), 700, 3, fwhm=4)
        true = np.sqrt(125)
        covered = np.mean(scene - 100 > true)
        assert 0.15 < covered < 0.25
        level, _ = estimate_noise_level(*expose(scene, 5, 4))
        assert_allclose(level, true, rtol=0.02)

    def test_nebula_is_not_noise(self):
        rng = np.random.default_rng(5)
        nebula = gaussian_filter(rng.normal(0, 1, (512, 512)), 8)
        scene = 1000 + 30 * nebula / nebula.std()
        level, correlation = estimate_noise_level(*expose(scene, 5, 6))
        assert_allclose(level, np.sqrt(1025), rtol=0.02)
        assert abs(correlation) < 0.05

    @pytest.mark.parametrize('width', [0.5, 1, 2])
    def test_correlated(self, width):
        rng = np.random.default_rng(7)
        values = gaussian_filter(rng.normal(0, 1, (512, 512)), width)
        expected = (np.mean(values[1:] * values[:-1])
                    + np.mean(values[:, 1:] * values[:, :-1]))
        expected /= 2 * np.var(values)
        level, correlation = estimate_noise_level(
            values, np.isfinite(values))
        assert_allclose(correlation, expected, atol=0.03)
        assert_allclose(level, np.std(values), rtol=0.05)

    def test_cosmic_rays_and_bad_columns(self):
        values, valid = expose(np.full((300, 300), 100.0), 5, 8)
        rng = np.random.default_rng(9)
        values[tuple(rng.integers(0, 300, (2, 300)))] += 3000
        values[:, 77] = 0
        level, _ = estimate_noise_level(values, valid)
        assert_allclose(level, np.sqrt(125), rtol=0.02)

    def test_few_counts(self):
        values, valid = expose(np.full((256, 256), 0.3), 0, 10)
        level, _ = estimate_noise_level(values, valid)
        assert_allclose(level, np.sqrt(0.3), rtol=0.05)

    def test_constant(self):
        values = np.full((20, 20), 7.0)
        assert estimate_noise_level(values, values > 0) == (0, 0)


class TestGain:
    @pytest.mark.parametrize('gain', [0.6, 2.0])
    def test_galaxies(self, gain):
        scene = 30 + galaxies((512, 512), 40, 1)
        estimate = estimate_gain(*expose(scene, 5, 2, gain=gain))
        assert gain * 0.95 < estimate < gain * 1.3

    @pytest.mark.parametrize('fwhm', [1.5, 3.0])
    def test_stars_do_not_pass_for_noise(self, fwhm):
        scene = 1000 + stars((512, 512), 300, 3, fwhm=fwhm)
        estimate = estimate_gain(*expose(scene, 5, 4))
        assert estimate is None or estimate > 0.8

    def test_not_estimated(self):
        assert estimate_gain(*expose(np.full((256, 256), 9.0), 5, 5)) is None
        rng = np.random.default_rng(6)
        scene = galaxies((256, 256), 10, 6)
        values = scene + gaussian_filter(rng.normal(0, 9, scene.shape), 1)
        assert estimate_gain(values, np.isfinite(values)) is None
        values = np.zeros((30, 30))
        assert estimate_gain(values, np.isfinite(values)) is None


def doubt_of(model):
    doubt, = doubts_of(model)
    assert doubt.category is NoiseEstimateWarning
    return doubt.message


class TestNoiseModel:
    def setup_class(self):
        self.scene = 100 + galaxies((384, 384), 8, 1)
        self.values, self.valid = expose(self.scene, 8, 2, gain=2.0)
        self.true = np.sqrt(self.scene + 64) / 2
        self.level = np.sqrt(164) / 2

    def check(self, model, rtol=0.03):
        assert model.sigma.dtype == np.float32
        assert_allclose(model.level, self.level, rtol=rtol)
        ratio = model.sigma / self.true
        assert_allclose(np.median(ratio), 1, rtol=rtol)
        assert_allclose(np.median(ratio[self.scene > 600]), 1, rtol=rtol)

    def test_uncertainty(self):
        sigma = self.true.copy()
        sigma[0, 0] = np.inf
        valid = self.valid.copy()
        valid[0, 0] = False
        model = noise_model(self.values, valid, sigma=sigma, gain=3.0)
        assert model.origin == 'uncertainty'
        assert_allclose(model.sigma[valid], sigma[valid].astype('f4'))
        assert model.sigma[0, 0] == np.float32(model.level)
        assert_allclose(model.level, self.level, rtol=0.03)

    def test_gain_and_read_noise(self):
        model = noise_model(self.values, self.valid, gain=2.0,
                            read_noise=8.0)
        assert model.origin == 'gain'
        assert (model.gain, model.read_noise) == (2, 8)
        self.check(model)

    def test_gain(self):
        model = noise_model(self.values, self.valid, gain=2.0)
        assert model.origin == 'estimated'
        assert_allclose(model.read_noise, 8, rtol=0.1)
        self.check(model)

    def test_read_noise(self):
        model = noise_model(self.values, self.valid, read_noise=8.0)
        assert model.origin == 'estimated'
        assert_allclose(model.gain, 2, rtol=0.1)
        assert model.read_noise == 8
        self.check(model, rtol=0.05)

    def test_nothing(self):
        scene = 100 + galaxies((512, 512), 30, 3)
        model = noise_model(*expose(scene, 8, 4, gain=2.0))
        assert model.origin == 'estimated'
        assert 1.9 < model.gain < 3
        assert model.read_noise is None
        ratio = model.sigma / (np.sqrt(scene + 64) / 2)
        assert_allclose(np.median(ratio), 1, rtol=0.03)
        assert_allclose(np.median(ratio[scene > 600]), 1, rtol=0.1)

    def test_electrons(self):
        model = noise_model(self.values * 2, self.valid, unit=u.electron)
        assert model.gain == 1
        assert_allclose(model.read_noise, 8, rtol=0.1)

    def test_pedestal_and_subtracted_sky(self):
        # the level is that of the sky, whatever was added to the frame
        for offset in (-50, 1000):
            model = noise_model(self.values + offset, self.valid, gain=2.0)
            self.check(model)
            assert_allclose(model.background.min(), 50 + offset, atol=10)

    def test_constant_where_there_is_no_slope(self):
        values, valid = expose(np.full((128, 128), 50.0), 5, 3)
        model = noise_model(values, valid)
        assert model.gain is None
        assert np.ptp(model.sigma) == 0
        assert_allclose(model.sigma[0, 0], np.sqrt(75), rtol=0.02)

    def test_scaled_and_shifted(self):
        values = self.values.astype(float)
        first = noise_model(values, self.valid)
        for scale, shift in ((2.0**-30, 0), (7.0, 1e6)):
            other = noise_model(values * scale + shift, self.valid,
                                pedestal=shift)
            assert_allclose(other.sigma / scale, first.sigma, rtol=1e-4)
            assert_allclose(other.correlation, first.correlation, atol=1e-6)

    def test_warns_of_another_sky(self):
        model = noise_model(self.values - 50, self.valid, gain=2.0,
                            read_noise=1.0)
        assert any('sky subtracted' in doubt.message
                   for doubt in doubts_of(model))

    def test_constant_frame(self):
        values = np.full((30, 30), 5.0, np.float32)
        model = noise_model(values, values > 0)
        assert 'have the value 5' in doubt_of(model)
        assert np.all(model.sigma > 0)
        assert np.all(model.background == 5)

    def test_nothing_valid(self):
        values = np.zeros((30, 30), np.float32)
        model = noise_model(values, values > 0)
        assert np.all(model.sigma == 1)
        assert np.all(model.background == 0)

    @pytest.mark.parametrize('name', ['gain', 'read_noise'])
    @pytest.mark.parametrize('value', [0, -1, np.nan, np.inf])
    def test_bad_numbers(self, name, value):
        with pytest.raises(ValueError, match=f'{name} must be positive and '
                           f'finite, got {value}'):
            noise_model(self.values, self.valid, **{name: value})

    def test_bad_shapes(self):
        with pytest.raises(ValueError, match=r'sigma must have .*\(2, 2\)'):
            noise_model(self.values, self.valid, sigma=np.ones((2, 2)))
        with pytest.raises(ValueError, match=r'valid must have .*\(2, 2\)'):
            noise_model(self.values, np.ones((2, 2), bool))


def test_gain_that_is_a_setting():
    # Drivers of cameras write 120 (0.1 dB) into GAIN, the gain into EGAIN.
    rng = np.random.default_rng(1)
    values = rng.poisson(200.0, (200, 200)) + rng.normal(0, 3, (200, 200))
    valid = np.ones(values.shape, bool)
    assert re.search(r'1[67]\d\d electron.*EGAIN', doubt_of(
        noise_model(values, valid, gain=120.0)))
    for gain in (1.0, 5.0):
        assert not doubts_of(noise_model(values, valid, gain=gain))


class TestResolveGain:
    header = fits.Header({
        'GAIN': 1.5, 'BAD': -1.0, 'TEXT': 'high', 'UNITS': '1.6 e-/ADU',
        'COMMA': '1,6', 'COMMAS': '1,600', 'SECONDS': '1.6 s'})

    @pytest.mark.parametrize(('gain', 'unit', 'expected'), [
        (None, u.adu, None),
        (None, None, None),
        (2, None, 2),
        (np.float32(2), u.adu, 2),
        (np.array(2), u.adu, 2),
        (2 * u.electron / u.adu, u.adu, 2),
        (2 * u.electron / u.adu, None, 2),
        ('GAIN', u.adu, 1.5),
        ('gain', u.adu, 1.5),
        (None, u.electron, 1),
        (2.5, u.electron, 1),
        ('GAIN', u.electron, 1),
        (100 * u.s, u.electron / u.s, 100),
        (200 * u.electron * u.s / u.adu, u.adu / u.s, 200),
        ('UNITS', u.adu, 1.6),
        ('COMMA', u.adu, 1.6),
    ])
    def test_gain(self, gain, unit, expected):
        assert resolve_gain(gain, self.header, unit) == expected

    @pytest.mark.parametrize(('read_noise', 'expected'), [
        (None, None), (5, 5), (5 * u.electron, 5), ('GAIN', 1.5)])
    def test_read_noise(self, read_noise, expected):
        for unit in (None, u.adu, u.electron, u.Jy):
            assert resolve_gain(read_noise, self.header, unit, 'read_noise',
                                u.electron) == expected

    @pytest.mark.parametrize(('gain', 'match'), [
        (0, 'gain must be positive and finite, got 0'),
        (-2.0, r'gain must be positive and finite, got -2\.0'),
        (np.nan, 'gain must be positive and finite, got nan'),
        ('BAD', r"gain \(header keyword 'BAD'\) must be positive.*-1\.0"),
        ('TEXT', r"gain \(header keyword 'TEXT'\) must be a number.*'high'"),
        ('COMMAS', r"gain .*'COMMAS'\) must be a number.*thousands.*instead"),
        ('SECONDS', r"gain .*'SECONDS'\)=1.6 s cannot be converted"),
        ('EGAIN', "gain='EGAIN' is not a keyword of the header"),
        (2 * u.m, 'gain=2.0 m cannot be converted to electron / adu'),
    ])
    def test_bad_value(self, gain, match):
        with pytest.raises(ValueError, match=match):
            resolve_gain(gain, self.header, u.adu)

    @pytest.mark.parametrize('gain', [True, [1, 2], np.ones(2),
                                      np.ones(2) * u.electron / u.adu])
    def test_bad_type(self, gain):
        with pytest.raises(TypeError, match='gain must be a number'):
            resolve_gain(gain, self.header, u.adu)

    def test_other_units_need_a_quantity(self):
        with pytest.raises(ValueError, match='does not apply to a frame in'):
            resolve_gain(2.0, {}, u.electron / u.s)

    def test_bad_read_noise(self):
        with pytest.raises(ValueError, match=r'read_noise=5\.0 adu cannot be'):
            resolve_gain(5 * u.adu, {}, u.adu, 'read_noise', u.electron)
