# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the calibration module.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

from astro_denoise.photometry.calibration import (
    bootstrap_error,
    calibrate_flux,
    normalized_difference,
    sigma68,
)

FLOATS = st.floats(-1e6, 1e6)
POSITIVE = st.floats(0.01, 1e4)


class TestCalibrateFlux:
    @given(FLOATS, POSITIVE, POSITIVE, POSITIVE)
    def test_formula(self, flux, error, zeropoint, zeropoint_error):
        result = calibrate_flux(flux, error, zeropoint, zeropoint_error)
        expected = np.sqrt(error**2 * zeropoint_error**2
                           + error**2 * zeropoint**2
                           + flux**2 * zeropoint_error**2)
        assert_allclose(result, (flux * zeropoint, expected))

    def test_is_the_variance_of_a_product(self):
        rng = np.random.default_rng(1)
        product = rng.normal(3, 2, 10**6) * rng.normal(5, 1, 10**6)
        _, error = calibrate_flux(3, 2, 5, 1)
        assert_allclose(error, product.std(), rtol=5e-3)

    def test_units(self):
        flux, error = calibrate_flux([1, 2] * u.adu, [1, 1] * u.adu,
                                     2 * u.Jy / u.adu, 100 * u.mJy / u.adu)
        assert flux.unit.is_equivalent(u.Jy)
        assert_allclose(flux.to_value(u.Jy), [2, 4])
        assert error.unit.is_equivalent(u.Jy)

    def test_mixed_units(self):
        with pytest.raises(ValueError, match='flux_error must have the unit'):
            calibrate_flux(1 * u.adu, 1.0, 1.0, 0.1)

    def test_negative_error_names_the_row(self):
        with pytest.raises(ValueError,
                           match=r'flux_error .* got -2.0 in row 1'):
            calibrate_flux([1, 2], [1, -2], 1, 0)

    def test_text(self):
        with pytest.raises(TypeError, match='flux must hold numbers'):
            calibrate_flux('bright', 1, 1, 0)


class TestNormalizedDifference:
    @given(FLOATS, POSITIVE, FLOATS, POSITIVE)
    def test_formula_and_antisymmetry(self, flux1, error1, flux2, error2):
        df = normalized_difference(flux1, error1, flux2, error2)
        assert_allclose(df, (flux1 - flux2) / np.hypot(error1, error2),
                        atol=1e-12)
        assert df == -normalized_difference(flux2, error2, flux1, error1)

    def test_units_convert(self):
        df = normalized_difference(1 * u.Jy, 300 * u.mJy, 500 * u.mJy,
                                   0.4 * u.Jy)
        assert isinstance(df, float)
        assert_allclose(df, 1)

    def test_nan_and_zero_error(self):
        df = normalized_difference([1, np.nan, 2], [1, 1, 0], 0, [0, 0, 0])
        assert_allclose(df, [1, np.nan, np.nan])

    def test_masked_column(self):
        flux = MaskedColumn([1.0, 2.0], mask=[False, True])
        df = normalized_difference(flux, 1, 0, 0)
        assert_allclose(df, [1, np.nan])

    def test_mixed_units(self):
        with pytest.raises(ValueError, match='flux2 must have the unit'):
            normalized_difference(1 * u.adu, 1 * u.adu, 1 * u.s, 1 * u.adu)

    def test_negative_error(self):
        with pytest.raises(ValueError, match='error2 must not be negative'):
            normalized_difference(1, 1, 1, [-1])


class TestSigma68:
    def test_quantiles(self):
        values = np.arange(10_001.0)
        assert_allclose(sigma68(values), (8413.5 - 1586.5) / 2)

    def test_normal(self):
        values = np.random.default_rng(1).normal(7, 3, 10**6)
        assert_allclose(sigma68(values), 3, rtol=3e-3)

    @given(hnp.arrays(float, hnp.array_shapes(max_dims=2, max_side=20),
                      elements=FLOATS), FLOATS, st.floats(-10, 10))
    def test_moves_with_the_values(self, values, shift, factor):
        width = sigma68(values)
        assert width >= 0
        assert_allclose(sigma68(factor * values + shift),
                        abs(factor) * width, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize('axis', [0, 1, -1, (0, 1), None])
    def test_axis(self, axis):
        values = np.random.default_rng(1).normal(size=(30, 40))
        low, high = np.percentile(values, [15.865, 84.135], axis=axis)
        assert_allclose(sigma68(values, axis=axis), (high - low) / 2)

    def test_nan_is_left_out(self):
        values = np.random.default_rng(1).normal(size=(3, 100))
        values[0, :50] = np.nan
        values[2] = np.nan
        result = sigma68(values, axis=1)
        assert_allclose(result[0], sigma68(values[0, 50:]))
        assert_allclose(result[1], sigma68(values[1]))
        assert np.isnan(result[2])
        assert_allclose(sigma68(values), sigma68(values[:2]))

    def test_masked(self):
        values = np.array([1.0, 2.0, 3.0, 1e9])
        expected = sigma68(values[:3])
        mask = values > 10
        assert_allclose(sigma68(np.ma.MaskedArray(values, mask)), expected)
        assert_allclose(sigma68(Masked(values, mask)), expected)
        result = sigma68(Masked(values * u.adu, mask))
        assert_allclose(result.to_value(u.adu), expected)

    def test_empty(self):
        assert np.isnan(sigma68([]))
        assert np.all(np.isnan(sigma68(np.zeros((2, 0)), axis=1)))
        assert sigma68(np.zeros((2, 0)), axis=1).shape == (2,)

    def test_unit(self):
        assert_allclose(sigma68([0, 1, 2] * u.adu).value, 0.6827, rtol=1e-3)

    def test_input_is_unchanged(self):
        values = np.random.default_rng(1).normal(size=100)
        copy = values.copy()
        sigma68(values)
        assert np.array_equal(values, copy)


class TestBootstrapError:
    def test_error_of_the_mean(self):
        values = np.random.default_rng(1).normal(size=2500)
        error = bootstrap_error(np.mean, values, n_resamples=1000, seed=1)
        assert_allclose(error, 0.02, rtol=0.1)

    def test_groups_are_drawn_together(self):
        # four copies of each value know no more than one
        values = np.random.default_rng(1).normal(size=900)
        groups = np.tile(np.arange(900), 4)
        error = bootstrap_error(np.mean, np.tile(values, 4), groups=groups,
                                n_resamples=500, seed=1)
        assert_allclose(error, 1 / 30, rtol=0.15)

    def test_groups_of_different_sizes(self):
        seen = []
        bootstrap_error(lambda value: seen.append(value) or value.sum(),
                        np.array([1, 2, 2, 3, 3, 3]),
                        groups=['a', 'b', 'b', 'c', 'c', 'c'],
                        n_resamples=20, seed=1)
        for sample in seen:
            for value in (1, 2, 3):
                assert np.count_nonzero(sample == value) % value == 0

    def test_seed(self):
        values = np.random.default_rng(1).normal(size=100)
        first, second = (bootstrap_error(np.mean, values, seed=3)
                         for _ in range(2))
        assert first == second

    def test_units_and_several_figures(self):
        values = np.arange(50.0) * u.adu
        error = bootstrap_error(
            lambda x: u.Quantity([x.mean(), x.std()]), values, seed=1)
        assert error.unit == u.adu
        assert error.shape == (2,)

    @pytest.mark.parametrize(('values', 'options'), [
        ([[]], {}), ([[1, 2], [1]], {}), ([[1, 2]], {'groups': [1]})])
    def test_bad_lengths(self, values, options):
        with pytest.raises(ValueError, match='one common length'):
            bootstrap_error(np.mean, *values, **options)

    def test_too_few_resamples(self):
        with pytest.raises(ValueError, match='n_resamples must be at least'):
            bootstrap_error(np.mean, [1, 2], n_resamples=1)
