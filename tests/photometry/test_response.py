# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the response module.
"""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

from astro_denoise.photometry.response import flux_response, pair_response


@pytest.fixture
def raw():
    """Raw fluxes of 3000 galaxies in three exposures, noise 1."""
    rng = np.random.default_rng(1)
    return rng.uniform(0, 8, (3000, 1)) + rng.normal(size=(3000, 3))


class TestPairResponse:
    @given(hnp.arrays(float, (2, 20), elements=st.floats(-1e3, 1e3)))
    def test_identity_is_one_exactly(self, raw):
        response = pair_response(raw[0], raw[0], raw[1], raw[1])
        assert response == 1 or np.isnan(response)

    @given(st.floats(0.01, 2), st.floats(-100, 100))
    def test_linear_denoiser(self, factor, constant):
        raw = np.random.default_rng(1).normal(size=(2, 200)) + np.arange(200)
        denoised = factor * raw + constant
        assert_allclose(pair_response(denoised[0], raw[0], denoised[1],
                                      raw[1]), factor, rtol=1e-9)

    def test_order_of_the_pair_does_not_matter(self, raw):
        denoised = np.tanh(raw)
        one = pair_response(denoised[:, 0], raw[:, 0], denoised[:, 1],
                            raw[:, 1])
        flip = np.arange(len(raw)) % 2
        rows = np.arange(len(raw))
        two = pair_response(denoised[rows, flip], raw[rows, flip],
                            denoised[rows, 1 - flip], raw[rows, 1 - flip])
        assert_allclose(one, two, rtol=1e-12)

    def test_own_noise_does_not_count(self):
        # a denoiser that returns the noise and not the flux has no response
        rng = np.random.default_rng(1)
        flux = rng.uniform(0, 8, 100_000)
        noise = rng.normal(size=(2, 100_000))
        response = pair_response(noise[0], flux + noise[0], noise[1],
                                 flux + noise[1])
        assert abs(response) < 0.01

    def test_nan_pairs_are_left_out(self, raw):
        denoised = 0.3 * raw
        denoised[5, 0] = np.nan
        assert_allclose(pair_response(denoised[:, 0], raw[:, 0],
                                      denoised[:, 1], raw[:, 1]), 0.3)

    def test_too_few(self):
        assert np.isnan(pair_response([1], [1], [1], [1]))
        assert np.isnan(pair_response([1, 1], [1, 1], [1, 1], [1, 1]))


class TestFluxResponse:
    def test_identity(self, raw):
        assert flux_response(raw, raw, seed=1) == (1, 0)

    def test_error_by_repetition(self):
        rng = np.random.default_rng(2)
        flux = rng.uniform(0, 4, (300, 1))
        results = []
        for seed in range(60):
            raw = flux + rng.normal(size=(300, 2))
            denoised = 0.5 * raw + rng.normal(size=(300, 2))
            results.append(flux_response(denoised, raw, n_resamples=50,
                                         seed=seed))
        response, error = np.transpose(results)
        assert_allclose(response.mean(), 0.5, atol=0.05)
        assert_allclose(error.mean(), response.std(), rtol=0.3)

    def test_units(self, raw):
        response, _ = flux_response(500 * raw * u.mJy, raw * u.Jy, seed=1)
        assert_allclose(response, 0.5)

    def test_missing_measurements(self, raw):
        denoised = 0.7 * raw
        denoised[:100, 2] = np.nan
        assert_allclose(flux_response(denoised, raw, seed=1)[0], 0.7)

    @pytest.mark.parametrize('shape', [(10,), (10, 1), (1, 2)])
    def test_bad_shape(self, shape):
        with pytest.raises(ValueError, match='n_exposures'):
            flux_response(np.ones(shape), np.ones(shape))

    def test_mixed_units(self, raw):
        with pytest.raises(ValueError, match='denoised must have the unit'):
            flux_response(raw * u.s, raw * u.Jy)
