# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the clipping of many samples, with astropy as the oracle.
"""

import numpy as np
import pytest
from astropy.stats import SigmaClip
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.photometry.clipping import clipped_statistics

CLIPS = [None, SigmaClip(3), SigmaClip(2, maxiters=1), SigmaClip(1.5),
         SigmaClip(sigma_lower=1.5, sigma_upper=4, maxiters=None),
         SigmaClip(3, cenfunc='mean'), SigmaClip(3, stdfunc='mad_std')]


def samples(seed, n_rows=7, n_columns=60):
    """
    Noise with outliers, and in the last row nothing at all.
    """
    rng = np.random.default_rng(seed)
    values = rng.normal(100.0, 3.0, (n_rows, n_columns))
    values += rng.exponential(30.0, values.shape) * (
        rng.random(values.shape) < 0.2)
    lost = rng.random(values.shape) < rng.random((n_rows, 1))
    lost[-1] = True
    lost[0] = False
    values[lost] = np.inf
    return values


@given(seed=st.integers(0, 1000), clip=st.sampled_from(CLIPS),
       single=st.booleans())
@example(seed=281, clip=CLIPS[3], single=False)  # a value comes back
def test_as_astropy(seed, clip, single):
    values = samples(seed).astype(np.float32 if single else float)
    left = np.ma.masked_invalid(values.astype(float))
    if clip is not None:
        left = clip(left, axis=1)
    mean, median, sigma, count = clipped_statistics(values.copy(), clip)
    some = left.count(axis=1) > 0
    assert_array_equal(count, left.count(axis=1))
    assert np.isnan(mean[~some]).all()
    assert np.isnan(sigma[~some]).all()
    tolerance = 1e-6 if single else 1e-10
    for found, true in ((mean, left.mean(axis=1)), (sigma, left.std(axis=1)),
                        (median, np.ma.median(left, axis=1))):
        assert_allclose(found[some], true[some], rtol=tolerance,
                        atol=100 * tolerance)


@pytest.mark.parametrize('power', [-30, 30])
def test_squares_beyond_single_precision(power):
    values = samples(1)
    expected = clipped_statistics(values.copy(), SigmaClip(3))
    found = clipped_statistics((values * 10.0**power).astype(np.float32),
                               SigmaClip(3))
    for one, other in zip(found[:3], expected[:3], strict=True):
        assert_allclose(one / 10.0**power, other, rtol=1e-5)


@pytest.mark.parametrize('offset', [0.0, 1e6])
def test_sums_keep_their_digits(offset):
    values = samples(1) + offset
    sigma = clipped_statistics(values.copy(), None)[2]
    assert_allclose(sigma[0], values[0].std(), rtol=1e-9)
