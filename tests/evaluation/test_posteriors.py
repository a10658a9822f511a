# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the diagnostics of posteriors.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.evaluation.posteriors import (
    expected_coverage,
    rank_statistics,
    tarp_coverage,
)


@pytest.fixture(scope='module')
def posteriors():
    """
    Samples around means whose scatter is as stated, and the truth.
    """
    def make(width=1.0, shift=0.0, n=2000, k=3):
        rng = np.random.default_rng(5)
        mean = rng.uniform(0, 10, (n, 1, k))
        samples = mean + width * rng.normal(size=(n, 200, k)) + shift
        return samples, mean[:, 0] + rng.normal(size=(n, k))

    return make


def test_ranks():
    samples = np.array([[[1.0, 5], [2, 5], [3, 5]]])
    assert_array_equal(rank_statistics(samples, [[2.5, 0.0]]), [[2, 0]])
    ties = rank_statistics(np.repeat(samples, 500, 0),
                           np.full((500, 2), (9.0, 5.0)))
    assert_array_equal(ties[:, 0], 3)
    assert_array_equal(np.unique(ties[:, 1]), [0, 1, 2, 3])


def test_ranks_are_uniform(posteriors):
    ranks = rank_statistics(*posteriors())
    assert_allclose(np.bincount(ranks.ravel() // 50, minlength=5)[:4] / 6000,
                    0.25, atol=0.02)


def test_coverage(posteriors):
    table = expected_coverage(*posteriors(), names=['a', 'b', 'c'])
    assert table.colnames == ['level', 'a', 'b', 'c', 'error']
    assert 0.68 in table['level']
    for name in 'abc':
        assert (np.abs(table[name] - table['level'])
                < 4 * table['error']).all()


def test_coverage_of_wrong_widths(posteriors):
    narrow = expected_coverage(*posteriors(0.5), levels=[0.68])
    wide = expected_coverage(*posteriors(2.0), levels=[0.68])
    assert_allclose(narrow['parameter_0'], 0.38, atol=0.03)
    assert_allclose(wide['parameter_0'], 0.953, atol=0.02)


def test_coverage_with_few_samples(posteriors):
    samples, truth = posteriors(n=20000, k=1)
    table = expected_coverage(samples[:, :9], truth, levels=[0.5, 0.9])
    assert_allclose(table['parameter_0'], [0.5, 0.9], atol=0.012)


def test_tarp(posteriors):
    table = tarp_coverage(*posteriors())
    assert_allclose(table['level'][[0, -1]], [0, 1])
    assert_allclose(table['coverage'][-1], 1)
    assert table.meta['deviation'] < 0.03
    assert (np.abs(table['coverage'] - table['level'])
            < 4 * table['error'] + 1e-3).all()


@pytest.mark.parametrize('wrong', [{'width': 0.5}, {'width': 2.0},
                                   {'shift': 1.5}])
def test_tarp_sees_what_is_wrong(posteriors, wrong):
    table = tarp_coverage(*posteriors(**wrong), bounds=(np.zeros(3),
                                                        np.full(3, 10.0)))
    assert table.meta['deviation'] > 0.06


def test_tarp_repeats(posteriors):
    samples, truth = posteriors(n=300)
    once = tarp_coverage(samples, truth, seed=1)
    again = tarp_coverage(samples, truth, seed=1)
    many = tarp_coverage(samples, truth, seed=1, n_repeats=4)
    assert_array_equal(once['coverage'], again['coverage'])
    assert not np.array_equal(once['coverage'], many['coverage'])


def test_bad_shapes():
    with pytest.raises(ValueError, match=r'\(4, 10, 2\) and \(4, 3\)'):
        rank_statistics(np.zeros((4, 10, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match='truth must be finite'):
        tarp_coverage(np.zeros((1, 2, 1)), [[np.nan]])
    with pytest.raises(ValueError, match='names must be 1'):
        expected_coverage(np.zeros((1, 2, 1)), [[0.0]], names=['a', 'b'])
