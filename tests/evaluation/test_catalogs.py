# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of completeness and purity.
"""

import numpy as np
import pytest
from astropy.table import QTable, vstack
from numpy.testing import assert_allclose

from astro_denoise.evaluation.catalogs import ideal_snr, match_sources


def test_snr_is_the_error_of_a_fit():
    rng = np.random.default_rng(1)
    kernel = np.exp(-np.hypot(*np.mgrid[-2:3, -2:3])**2)
    sky = rng.uniform(20, 60, (9, 9))
    flux = np.zeros((9, 9))
    flux[4, 4] = 80.0
    expected = sky.copy()
    expected[2:7, 2:7] += 80.0 * kernel
    snr = ideal_snr(flux, expected, kernel)
    # Weighted fit of the flux to many draws, everything else known.
    inside = expected[2:7, 2:7]
    draws = rng.poisson(inside, (20000, 5, 5)) - sky[2:7, 2:7]
    weights = kernel / inside
    fits = (draws * weights).sum((1, 2)) / (kernel * weights).sum()
    assert_allclose(snr[4, 4], 80.0 / fits.std(), rtol=0.03)
    assert (snr > 0).sum() == 1


def test_snr_of_stacks():
    flux = np.zeros((2, 3, 3))
    flux[:, 1, 1] = 4.0, 8.0
    snr = ideal_snr(flux, np.ones((2, 3, 3)), np.ones((1, 1)))
    assert_allclose(snr[:, 1, 1], [4, 8])
    with pytest.raises(ValueError, match='positive'):
        ideal_snr(flux, np.zeros((2, 3, 3)), np.ones((1, 1)))
    with pytest.raises(ValueError, match='one shape'):
        ideal_snr(flux, np.ones((3, 3)), np.ones((1, 1)))


@pytest.fixture
def snr():
    snr = np.zeros((1, 16, 16))
    snr[0, 3, 3], snr[0, 3, 4], snr[0, 10, 10] = 20.0, 8.0, 4.0
    snr[0, 14, 14] = 2.0
    return snr


@pytest.mark.parametrize(('found', 'completeness', 'purity', 'strict'), [
    ([], 0, np.nan, np.nan),                 # no entry, no purity
    ([(3, 3), (4, 3)], 1, 1, 1),
    ([(3.4, 3.2)], 0.5, 1, 1),               # of two, the brighter
    ([(3, 3), (3.2, 3)], 1, 1, 1),           # the second for its neighbor
    ([(3, 3), (2.9, 3)], 0.5, 0.5, 0.5),     # too far from the neighbor
    ([(3, 3), (10, 10)], 0.5, 1, 0.5),       # neither asked for nor wrong
    ([(3, 3), (14, 14)], 0.5, 0.5, 0.5),     # too faint to be right
    ([(3, 5)], 0, 0, 0)])                    # x and y the other way round
def test_matches(snr, found, completeness, purity, strict):
    scores, = match_sources([found], snr)
    assert_allclose([scores['completeness'], scores['purity'],
                     scores['strict_purity']],
                    [completeness, purity, strict])
    assert scores['n_sources'] == 2
    assert scores['n_found'] == len(found)
    for name, pure in (('f1', purity), ('strict_f1', strict)):
        expected = 2 / (1 / completeness + 1 / pure) if completeness else 0
        assert_allclose(scores[name], expected)


def test_radius(snr):
    assert match_sources([[(3, 1.5)]], snr)['completeness'][0] == 0
    wide, = match_sources([[(3, 1.5)]], snr, radius=1.5)
    assert wide['completeness'] == 0.5
    assert_allclose(wide['offset'].to_value('pix'), 1.5)
    assert np.isnan(match_sources([[]], snr)['offset'][0])


def test_scores_are_a_table(snr):
    scores = match_sources([[(3, 3)]], snr, radius=2, limit=6)
    assert isinstance(scores, QTable)
    assert {name: scores.meta[name] for name in (
        'n_images', 'radius', 'limit', 'ignore')} == {
            'n_images': 1, 'radius': 2, 'limit': 6, 'ignore': 3.0}
    assert 'astro_denoise' in scores.meta['version']
    both = vstack([scores, match_sources([[]], snr)],
                  metadata_conflicts='silent')
    assert_allclose(both['completeness'], [0.5, 0])


@pytest.mark.parametrize(('found', 'completeness', 'purity', 'f1'), [
    ([], np.nan, np.nan, np.nan), ([(3, 3)], np.nan, 0, 0)])
def test_no_sources(found, completeness, purity, f1):
    scores, = match_sources([found], np.zeros((1, 8, 8)))
    assert_allclose([scores['completeness'], scores['purity'], scores['f1']],
                    [completeness, purity, f1])


def test_number_of_catalogs(snr):
    with pytest.raises(ValueError, match='each of the 1 images, got 2'):
        match_sources([[], []], snr)


def test_bad_catalogs(snr):
    with pytest.raises(ValueError, match=r'found\[0\] must hold positions '
                       r'\(x, y\), shape \(m, 2\), got \(2, 4\)'):
        match_sources([np.ones((2, 4))], snr)
    with pytest.raises(ValueError, match=r'found\[0\] must be finite, got '
                       r'nan at index \(1, 0\)'):
        match_sources([[(3, 3), (np.nan, 1)]], snr)
    with pytest.raises(ValueError, match=r'snr must have shape .* \(16, 16\)'):
        match_sources([[]], snr[0])
    snr[0, 1, 1] = np.nan
    with pytest.raises(ValueError, match=r'snr must be finite'):
        match_sources([[]], snr)
