# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the scores of point-source maps.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.table import QTable
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.evaluation.maps import (
    average_precision,
    brightest_pixels,
    reliability,
    roc_auc,
    scan_thresholds,
    score_segmentation,
)


def auc_by_hand(score, truth):
    """
    Pairs of a true and another pixel, ties counting half.
    """
    difference = score[truth][:, None] - score[~truth]
    return np.mean((difference > 0) + 0.5 * (difference == 0))


@pytest.mark.parametrize('levels', [3, 1000])
def test_auc_by_pairs(levels):
    rng = np.random.default_rng(levels)
    truth = rng.random(200) < 0.3
    score = rng.integers(0, levels, 200) + 0.4 * levels * truth
    assert_allclose(roc_auc(score, truth), auc_by_hand(score, truth))


@pytest.mark.parametrize('levels', [5, 10**6])
def test_against_scikit_learn(levels):
    metrics = pytest.importorskip('sklearn.metrics')
    rng = np.random.default_rng(levels)
    truth = rng.random(500) < 0.2
    score = rng.integers(0, levels, 500) / levels + 0.3 * truth
    assert_allclose(roc_auc(score, truth),
                    metrics.roc_auc_score(truth, score))
    assert_allclose(average_precision(score, truth),
                    metrics.average_precision_score(truth, score))


def test_extremes():
    truth = np.array([True, False, True, False])
    assert roc_auc(truth * 1.0, truth) == 1
    assert roc_auc(-1.0 * truth, truth) == 0
    assert roc_auc(np.zeros(4), truth) == 0.5
    assert average_precision(np.zeros(4), truth) == 0.5
    assert average_precision(truth * 2.0, truth) == 1
    assert np.isnan(roc_auc(np.arange(4), np.ones(4)))
    assert np.isnan(average_precision(np.arange(4), np.zeros(4)))


def test_average_precision_by_hand():
    # Found in the order: true, false, true, true.
    found = average_precision([4, 3, 2, 1], [1, 0, 1, 1])
    assert_allclose(found, (1 + 2 / 3 + 3 / 4) / 3)


def test_bad_scores():
    with pytest.raises(ValueError, match='one shape'):
        roc_auc(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match='finite'):
        average_precision([np.nan, 1.0], [0, 1])


def test_brightest_pixels():
    values = np.array([[[1.0, 5.0], [0.0, 3.0]], [[2.0, 2.0], [2.0, 9.0]]])
    mask = brightest_pixels(values, 2)
    assert_array_equal(mask, [[[0, 1], [0, 1]], [[1, 0], [0, 1]]])
    mask = brightest_pixels(values, np.array([4, 0]))
    assert_array_equal(mask.sum((1, 2)), [3, 0])  # 0 is not bright


FLUX = np.array([[[0.0, 4.0, 1.0, 0.0], [0.0, 0.0, 2.0, 0.0]]])
SCORE = np.array([[[0.1, 0.9, 0.01, 0.3], [0.0, 0.0, 0.8, 0.0]]])


def test_approach_a():
    scores = score_segmentation(SCORE, FLUX, threshold=0.02)
    # Wrong: 0.1 and 0.3 without flux, 0.01 with.
    assert_allclose(scores.table['accuracy'], 5 / 8)
    assert_array_equal(scores.table['n_true'], 3)
    assert_array_equal(scores.table['n_predicted'], 4)
    assert_allclose(scores.pooled['auc'], 13 / 15)
    truth = FLUX > 0
    assert_allclose(scores.pooled['brier'], np.mean((SCORE - truth)**2))
    assert_allclose(scores.table['brier'], scores.pooled['brier'])
    assert 'approach A, cut 0.02, 1 image\n' in str(scores)


def test_approach_b_of_the_document():
    # Four pixels are above the cut, but only three have flux.
    scores = score_segmentation(SCORE, FLUX, approach='B', threshold=0.02)
    assert_array_equal(scores.table['n_true'], 3)
    assert_allclose(scores.table['accuracy'], 5 / 8)
    scores = score_segmentation(SCORE, FLUX, approach='B', threshold=0.5)
    assert_array_equal(scores.table['n_true'], 2)
    assert_allclose(scores.table['accuracy'], 1.0)
    assert_allclose(scores.table['auc'], 1.0)


def test_approach_b_of_a_number():
    scores = score_segmentation(SCORE - 5.0, FLUX, approach='B',
                                n_brightest=3)
    assert_array_equal(scores.table['n_predicted'], 3)
    assert_allclose(scores.table['accuracy'], 6 / 8)


def test_one_image_or_many():
    one = score_segmentation(SCORE[0], FLUX[0])
    two = score_segmentation(np.concatenate([SCORE, 1 - SCORE]),
                             np.concatenate([FLUX, FLUX]))
    assert len(one.table) == 1
    assert len(two.table) == 2
    assert_allclose(one.table['auc'], two.table['auc'][:1])
    assert two.table['auc'][1] < 0.5
    assert len(two.pooled) == 1
    assert two.table.colnames == two.pooled.colnames
    assert_allclose(two.pooled['n_true'], two.table['n_true'].sum())
    assert_allclose(two.pooled['brier'], two.table['brier'].mean())


def test_meta_says_what_was_scored(tmp_path):
    scores = score_segmentation(SCORE, FLUX, approach='B', n_brightest=3)
    scores.table.write(tmp_path / 'scores.ecsv')
    for table in (scores.table, scores.pooled,
                  QTable.read(tmp_path / 'scores.ecsv')):
        assert {'n_images': 1, 'shape': [2, 4], 'approach': 'B',
                'threshold': 0.02, 'n_brightest': 3}.items() <= (
                    table.meta.items())
        assert {'version', 'date'} <= set(table.meta)


def test_scores_that_are_not_defined():
    """No image has a source, and then some have."""
    scores = score_segmentation(SCORE, 0 * FLUX)
    assert np.isnan(scores.table['auc']).all()
    assert 'auc                not defined over images, nan' in str(scores)
    half = score_segmentation(np.concatenate([SCORE, SCORE]),
                              np.concatenate([FLUX, 0 * FLUX]))
    assert_array_equal(np.isfinite(half.table['auc']), [True, False])
    assert f'{half.table["auc"][0]:.4f} ± 0.0000' in str(half)


@pytest.mark.parametrize('dtype', [np.uint8, '>i2', bool])
def test_other_types(dtype):
    """Unsigned numbers have no negative to sort by, booleans none."""
    score = (10 * SCORE).astype(dtype)
    flux = FLUX.astype(dtype)
    for options in ({}, {'approach': 'B', 'n_brightest': 3}):
        found = score_segmentation(score, flux, **options)
        expected = score_segmentation(score.astype(float),
                                      flux.astype(float), **options)
        for name in found.table.colnames:
            assert_allclose(found.table[name], expected.table[name])
    table = scan_thresholds(score, flux, [0.5])
    assert_allclose(table['accuracy_b'], scan_thresholds(
        score.astype(float), flux.astype(float), [0.5])['accuracy_b'])
    assert_array_equal(brightest_pixels(flux, 2),
                       brightest_pixels(flux.astype(float), 2))


def masked(values):
    return np.ma.array(values, mask=values == values.max())


def hidden(values):
    return CCDData(values, unit='', mask=values == values.max())


def broken(values):
    return np.where(values == values.max(), np.nan, values)


@pytest.mark.parametrize(('spoil', 'match'), [
    (masked, 'must not be masked, got 1 masked'),
    (hidden, 'must not be masked, got 1 masked'),
    (broken, r'must be finite, got nan at index \(0, 0, 1\)'),
    (lambda values: values[:0], r'at least one value, got shape \(0, 2, 4\)')])
@pytest.mark.parametrize('function', [
    roc_auc, average_precision, reliability, scan_thresholds,
    score_segmentation])
def test_what_cannot_be_scored(function, spoil, match):
    """Neither the score nor the truth may hold values without meaning."""
    with pytest.raises(ValueError, match=match):
        function(spoil(SCORE), FLUX)
    with pytest.raises(ValueError, match=match):
        function(SCORE, spoil(FLUX))


def test_score_with_unit_or_mask_of_nothing():
    image = CCDData(SCORE, unit='', mask=SCORE > 5)
    expected = score_segmentation(SCORE, FLUX).pooled['auc']
    for score in (image, SCORE * u.one, np.ma.array(SCORE), SCORE.tolist()):
        assert_allclose(score_segmentation(score, FLUX).pooled['auc'],
                        expected)


def test_bad_approach():
    with pytest.raises(ValueError, match="'A' or 'B', got 'C'"):
        score_segmentation(SCORE, FLUX, approach='C')
    with pytest.raises(ValueError, match='n_brightest'):
        score_segmentation(SCORE, FLUX, n_brightest=3)
    with pytest.raises(ValueError, match=r'\(8,\)'):
        score_segmentation(SCORE.ravel(), FLUX.ravel())


def test_scanned_thresholds():
    table = scan_thresholds(SCORE, FLUX, [0.005, 0.2, 0.5])
    assert_allclose(table['completeness'], [1, 2 / 3, 2 / 3])
    assert_allclose(table['purity'], [3 / 5, 2 / 3, 1])
    assert_allclose(table['f1'], [3 / 4, 2 / 3, 4 / 5])
    assert_allclose(table['accuracy_a'], [6 / 8, 6 / 8, 7 / 8])
    assert table.meta['best_f1'] == 0.5
    for row in table:
        for approach, name in (('A', 'accuracy_a'), ('B', 'accuracy_b')):
            scores = score_segmentation(SCORE, FLUX, approach=approach,
                                        threshold=row['threshold'])
            assert_allclose(scores.pooled['accuracy'], row[name])
    assert len(scan_thresholds(SCORE, FLUX)) > 3
    assert table.meta['n_images'] == 1
    assert table.meta['shape'] == [2, 4]


def test_scanned_thresholds_above_all():
    table = scan_thresholds(SCORE, FLUX, [0.5, 2.0])
    assert_allclose(table['purity'], [1, np.nan])
    assert_allclose(table['completeness'], [2 / 3, 0])
    assert_allclose(table['f1'], [4 / 5, 0])
    nothing = scan_thresholds(SCORE, 0 * FLUX, [0.5, 2.0])
    assert_allclose(nothing['completeness'], [np.nan, np.nan])
    assert_allclose(nothing['purity'], [0, np.nan])
    assert_allclose(nothing['f1'], [0, np.nan])
    assert nothing.meta['best_f1'] == 0.5
    assert nothing.meta['best_accuracy'] == 2.0
    nothing = scan_thresholds(SCORE, 0 * FLUX, [2.0])
    assert np.isnan(nothing.meta['best_f1'])


def test_reliability():
    rng = np.random.default_rng(1)
    probability = rng.random((100, 100))
    truth = rng.random((100, 100)) < probability
    table = reliability(probability, truth, n_bins=10)
    assert table['n'].sum() == table.meta['n_pixels'] == 10000
    assert table.meta['n_bins'] == 10
    assert (np.abs(table['fraction'] - table['probability'])
            < 4 * table['error']).all()
    squared = reliability(probability**2, truth, n_bins=10)
    assert_allclose(squared.meta['calibration_error'], 1 / 2 - 1 / 3,
                    atol=0.02)
    assert len(reliability([0.0, 1.0], [0, 1])) == 2
    with pytest.raises(ValueError, match='between 0 and 1'):
        reliability([0.5, 1.5], [0, 1])
