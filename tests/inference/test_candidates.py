# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of candidates for sources, from answers made by hand.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.inference.candidates import (
    find_candidates,
    kept_of_pairs,
    probabilities,
    star_features,
)
from astro_denoise.inference.devices import Runtime
from astro_denoise.inference.source_centers import find_centers
from astro_denoise.models.candidate_scores import CandidateScores
from astro_denoise.models.source_finder import HEADS, SourceFinder
from astro_denoise.simulation.profiles import render_sources


def answers_of(centers, shape=(64, 80)):
    """
    Answers that are sure of some centers.
    """
    answers = np.zeros((len(HEADS), *shape), np.float32)
    for x, y, share in centers:
        column, row = round(x), round(y)
        answers[0, row, column] = share
        answers[1, row, column] = x - column
        answers[2, row, column] = y - row
    return answers


def found_in(centers, signal=None, **options):
    answers = answers_of(centers)
    if signal is None:
        signal = np.zeros(answers.shape[1:], np.float32)
    flat = np.ones(signal.shape, np.float32)
    return find_candidates(answers, signal, flat, flat > 0,
                           options.pop('fwhm', 3.0), **options)


def test_positions_and_sums():
    found = found_in([(20.3, 30.2, 0.7), (50.0, 10.4, 0.4)])
    assert_allclose(found.x, [50.0, 20.3], atol=1e-4)
    assert_allclose(found.y, [10.4, 30.2], atol=1e-4)
    assert_allclose(found.expected, [0.4, 0.7], rtol=1e-5)
    assert not found.refined.any()


def test_intensity_of_pixels_beside_counts():
    answers = answers_of([(20.0, 30.0, 0.5)])
    answers[0, 30, 21] = 0.3
    answers[1, 30, 21] = -0.6
    flat = np.ones(answers.shape[1:], np.float32)
    found = find_candidates(answers, 0 * flat, flat, flat > 0, 3.0)
    assert_allclose(found.expected, [0.8], rtol=1e-5)
    assert_allclose(found.x, [(0.5 * 20 + 0.3 * 20.4) / 0.8], rtol=1e-5)


@pytest.mark.parametrize(('options', 'n'), [
    ({}, 1), ({'min_separation': 2.5}, 2), ({'fwhm': 3.0}, 2),
    ({'fwhm': None}, 2)])
def test_least_distance(options, n):
    centers = [(20.0, 30.0, 0.9), (23.0, 30.0, 0.6)]
    options = {'fwhm': 7.0, **options}
    found = found_in(centers, **options)
    assert len(found) == n
    assert_allclose(found.expected.sum(), 1.5, rtol=0.01)


def test_no_pair_is_closer_than_the_least_distance():
    rng = np.random.default_rng(1)
    centers = [(x, y, share) for x, y, share in zip(
        rng.uniform(1, 78, 300), rng.uniform(1, 62, 300),
        rng.uniform(0.1, 1.0, 300), strict=True)]
    found = found_in(centers, min_separation=2.0)
    distance = np.hypot(found.x[:, None] - found.x,
                        found.y[:, None] - found.y)
    np.fill_diagonal(distance, 9.0)
    assert distance.min() >= 2.0
    assert len(found) > 100


def test_bright_ones_move_to_the_matched_filter():
    star = {'x': np.array([40.3]), 'y': np.array([30.2]),
            'flux': np.array([1000.0])}
    signal = render_sources((64, 80), star, 3.0, 4.0)
    found = found_in([(41.0, 30.6, 0.9)], signal)
    assert found.refined.all()
    assert_allclose([found.x[0], found.y[0]], [40.3, 30.2], atol=0.02)
    assert 100 < found.snr[0] < 300


@pytest.mark.parametrize('step', [(1, 1), (2, 1), (2, 0)])
def test_two_centers_in_neighboring_pixels(step):
    # Pairs at about one FWHM of 2 pixels.
    first = 20.3, 30.2
    second = first[0] + step[0] + 0.2, first[1] + step[1] + 0.3
    found = found_in([(*first, 0.9), (*second, 0.7)], fwhm=2.0)
    assert len(found) == 2
    order = np.argsort(found.x)
    assert_allclose(found.x[order], [first[0], second[0]], atol=0.05)
    assert_allclose(found.y[order], [first[1], second[1]], atol=0.05)
    assert_allclose(found.expected.sum(), 1.6, rtol=1e-5)


def test_one_center_in_two_pixels_is_one():
    answers = answers_of([(20.0, 30.0, 0.7)])
    answers[0, 31, 21] = 0.6
    answers[1:3, 31, 21] = -0.8
    answers[1:3, 30, 20] = 0.2
    flat = np.ones(answers.shape[1:], np.float32)
    found = find_candidates(answers, 0 * flat, flat, flat > 0, 2.0)
    assert_allclose(found.expected, [1.3], rtol=1e-5)
    assert_allclose([found.x[0], found.y[0]], [20.2, 30.2], atol=0.01)


def test_blended_ones_stay_where_the_network_sees_them():
    pair = {'x': np.array([40.0, 43.0]), 'y': np.array([30.0, 30.0]),
            'flux': np.array([2000.0, 1500.0])}
    signal = render_sources((64, 80), pair, 3.0, 4.0)
    found = found_in([(40.0, 30.0, 0.9), (43.0, 30.0, 0.9)], signal)
    assert not found.refined.any()
    assert_allclose(found.x, [40.0, 43.0], atol=1e-4)
    # A companion that is not probable blends nothing.
    found = found_in([(40.0, 30.0, 0.9), (43.0, 30.0, 0.1)], signal)
    assert found.refined[0]


def test_the_highest_of_many_stays():
    pairs = np.array([[0, 1], [1, 2], [2, 3]])
    kept = kept_of_pairs(pairs, np.array([1.0, 4.0, 3.0, 2.0]))
    assert kept.tolist() == [False, True, False, True]
    assert kept_of_pairs(np.zeros((0, 2), int), np.ones(3)).all()


def test_nothing_found():
    found = found_in([])
    assert len(found) == 0
    assert star_features(found).shape == (0, 13)
    probability, star = probabilities(CandidateScores(), found)
    assert len(probability) == len(star) == 0


def test_plains_hold_no_maximum():
    answers = answers_of([])
    answers[0] = 0.5
    flat = np.ones(answers.shape[1:], np.float32)
    assert len(find_candidates(answers, 0 * flat, flat, flat > 0, 3.0)) == 0


def test_windows_make_no_seams():
    network = SourceFinder((6, 8)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith('scores'):
                parameter.normal_(0.0, 0.15, generator=generator)
    rng = np.random.default_rng(1)
    signal = rng.normal(size=(150, 271)).astype(np.float32)
    valid = rng.random(signal.shape) > 0.01
    runtime = Runtime(torch.device('cpu'))
    whole, tiled = (find_centers(
        network, signal * valid, valid, 3.0, runtime=runtime,
        window_pixels=pixels) for pixels in (10**6, 10**4))
    assert_allclose(tiled, whole, atol=1e-5)
    assert not whole[0][~valid].any()
