# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of posterior predictive checks.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from astro_denoise import load_model
from astro_denoise.inference.predictive import (
    check_images,
    predict_images,
    predictive_p_value,
)
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator


def test_p_values_are_uniform_and_small_for_what_is_far():
    rng = torch.Generator().manual_seed(1)
    drawn = torch.randn(400, 21, 60, generator=rng)
    scale = torch.exp(torch.randn(60, generator=rng))
    p_values = [predictive_p_value(rows[0] * scale, rows[1:] * scale)
                for rows in drawn]
    assert kstest(p_values, 'uniform').statistic < 0.1
    far = [predictive_p_value(rows[0] + 2, rows[1:]) for rows in drawn]
    assert max(far) < 1e-3


def test_what_is_not_seen_does_not_matter():
    rng = torch.Generator().manual_seed(2)
    rows = torch.randn(21, 60, generator=rng)
    rows[:, 30:] = math.nan
    assert predictive_p_value(rows[0], rows[1:]) == predictive_p_value(
        rows[0, :30], rows[1:, :30])
    assert math.isnan(predictive_p_value(torch.full((60,), math.nan),
                                         rows[1:]))


def test_predicted_images_have_the_parameters():
    network = load_model('galactic-center', task='estimate').network
    samples = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]).expand(20, -1)
    drawn = predict_images(network, samples, 1)
    x = GalacticCenterSimulator('legacy').sample(1, seed=1, parameters={
        'a_dm': 0, 'a_ic': 1, 'a_pi0': 0, 'a_bubbles': 0, 'n_ps_gc': 0,
        'n_ps_disk': 0}, components=True)[3]['ic'][0]
    np.testing.assert_allclose(drawn.expected[3], x, rtol=1e-5)
    pulls = (drawn.images - drawn.expected) / drawn.expected.sqrt()
    assert float(pulls.std()) == pytest.approx(1, abs=0.02)


def test_images_that_a_posterior_does_not_know():
    posterior = load_model('galactic-center', task='estimate').network
    right, many = (GalacticCenterSimulator('legacy', exposure=exposure).draw(
        12, 5)['images'].numpy() for exposure in (1.0, 3.0))
    cpu = torch.device('cpu')
    p_values = check_images(posterior, right, device=cpu)[1]
    assert (p_values > 1e-4).sum() >= 11
    assert (check_images(posterior, many, device=cpu)[1] < 1e-4).all()
    # Always the same.
    np.testing.assert_array_equal(
        check_images(posterior, right[:2], device=cpu)[1], p_values[:2])
