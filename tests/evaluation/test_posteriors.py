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
    ranks = rank_statistics(samples, [[2.5, 0.0]], names=['a', 'b'])
    assert ranks.colnames == ['a', 'b']
    assert_array_equal(ranks['a'], [2])
    assert_array_equal(ranks['b'], [0])
    assert ranks.meta['n_images'] == 1
    assert ranks.meta['n_samples'] == 3
    ties = rank_statistics(np.repeat(samples, 500, 0),
                           np.full((500, 2), (9.0, 5.0)))
    assert_array_equal(ties['parameter_0'], 3)
    assert_array_equal(np.unique(ties['parameter_1']), [0, 1, 2, 3])


def test_ranks_are_uniform(posteriors):
    ranks = rank_statistics(*posteriors())
    assert ranks['parameter_0'].dtype.kind == 'i'
    ranks = np.concatenate([ranks[name] for name in ranks.colnames])
    assert_allclose(np.bincount(ranks // 50, minlength=5)[:4] / 6000,
                    0.25, atol=0.02)


def test_coverage(posteriors):
    table = expected_coverage(*posteriors(), names=['a', 'b', 'c'])
    assert table.colnames == ['level', 'a', 'b', 'c', 'error']
    assert 0.68 in table['level']
    assert table.meta['n_images'] == 2000
    assert table.meta['n_samples'] == 200
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
    assert table.meta['n_images'] == 2000
    assert table.meta['n_repeats'] == 1
    assert (np.abs(table['coverage'] - table['level'])
            < 4 * table['error'] + 1e-3).all()


@pytest.mark.parametrize('wrong', [{'width': 0.5}, {'width': 2.0},
                                   {'shift': 1.5}])
def test_tarp_sees_what_is_wrong(posteriors, wrong):
    table = tarp_coverage(*posteriors(**wrong), bounds=(np.zeros(3),
                                                        np.full(3, 10.0)))
    assert table.meta['deviation'] > 0.06


def tarp_by_hand(samples, truth, lower, upper, levels):
    """
    The steps of Lemos et al. (2023), one image and reference at a time.
    """
    rng = np.random.default_rng(77)
    credibility = []
    for drawn, true in zip(samples, truth, strict=True):
        for _ in range(300):
            reference = lower + (upper - lower) * rng.random(len(lower))
            to_truth, to_samples = (
                np.hypot(*((points - reference) / (upper - lower)).T)
                for points in (true, drawn))
            credibility.append(np.mean(to_samples < to_truth))
    return [np.mean(np.array(credibility) < level) for level in levels]


@pytest.mark.parametrize('wrong', [{}, {'width': 0.4}, {'shift': 2.0}])
def test_tarp_by_hand(posteriors, wrong):
    samples, truth = posteriors(n=25, k=2, **wrong)
    lower, upper = np.array([0.0, -2.0]), np.array([10.0, 15.0])
    table = tarp_coverage(samples, truth, bounds=(lower, upper), n_levels=11,
                          n_repeats=300)
    inside = slice(1, -1)  # at 0 and 1, a finite number of samples tells
    expected = tarp_by_hand(samples, truth, lower, upper, table['level'])
    # Of 7500 references either way, and of 200 samples.
    scatter = np.sqrt(2 * 0.25 / 7500)
    assert_allclose(table['coverage'][inside], expected[inside],
                    atol=4 * scatter + 1 / 200)
    if wrong:
        # What is compared is far from what is right.
        assert table.meta['deviation'] > 0.1


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
    for bounds in (([0, 0], [1, 1]), ([1], [1])):
        with pytest.raises(ValueError, match=r'lower and upper ends of 1 par'):
            tarp_coverage(np.zeros((1, 2, 1)), [[0.0]], bounds=bounds)


@pytest.mark.parametrize('names', [['a', 'a'], ['a', 'error']])
def test_bad_names(names):
    with pytest.raises(ValueError, match='2 different names that are not'):
        expected_coverage(np.zeros((1, 2, 2)), [[0.0, 0.0]], names=names)


@pytest.mark.parametrize('levels', [[-0.1, 0.5], [0.5, 1.1]])
def test_bad_levels(levels):
    with pytest.raises(ValueError, match='levels must lie between 0 and 1'):
        expected_coverage(np.zeros((1, 2, 1)), [[0.0]], levels=levels)


@pytest.mark.parametrize('function', [rank_statistics, expected_coverage,
                                      tarp_coverage])
def test_values_without_meaning(function):
    samples, truth = np.zeros((3, 10, 2)), np.zeros((3, 2))
    bad = samples.copy()
    bad[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match=r'samples must be finite, got nan at '
                       r'index \(2, 3, 1\)'):
        function(bad, truth)
    with pytest.raises(ValueError, match='truth must not be masked'):
        function(samples, np.ma.masked_equal(truth, 0))
    with pytest.raises(ValueError, match='samples must hold at least one'):
        function(samples[:0], truth[:0])
