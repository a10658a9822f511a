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
    structure,
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


def test_structure_of_a_flat_image_is_that_of_chance():
    rng = np.random.default_rng(4)
    x = np.abs(np.arange(64) - 31.5)[:, None]
    level = np.stack([np.full((64, 64), 30.0),
                      10 + 40 * np.exp(-x / 8) * np.ones(64)])
    counts = torch.from_numpy(rng.poisson(level).astype(np.float32))
    sources = counts[1].clone()
    sources[rng.integers(64, size=300), rng.integers(64, size=300)] += 40
    flat, smooth, clumpy = structure(torch.stack([*counts, sources]))
    # 1 per cent of the mean is the error of the difference.
    assert float(flat[0]) < math.log(0.03)
    in_plane = np.exp(-x / 8)[(x < 3 / 0.46875)].mean()
    off_plane = np.exp(-x / 8)[(x > 8 / 0.46875)].mean()
    assert float(smooth[0]) == pytest.approx(math.log(
        40 * (in_plane - off_plane) / level[1].mean()), abs=0.03)
    assert float(flat[1]) < math.log(0.06) < math.log(0.5) < float(clumpy[1])
    # What is masked does not matter; too little is not judged.
    valid = torch.ones(2, 64, 64)
    valid[0, 28:36] = 0
    valid[1, 20:44] = 0
    junk = torch.where(valid > 0, counts[1], 1e4)
    masked = structure(junk, valid)
    assert float(masked[0, 0]) == pytest.approx(float(smooth[0]), abs=0.2)
    assert math.isnan(float(masked[1, 0]))
    assert torch.isfinite(masked[:, 1]).all()


def test_flat_images_are_not_reproduced():
    posterior = load_model('galactic-center', task='estimate').network
    flat = np.random.default_rng(904).poisson(30.0, (5, 64, 64))
    p_values = check_images(posterior, flat, device=torch.device('cpu'))[1]
    assert (p_values < 1e-4).all()


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


def test_masked_images_that_a_posterior_does_not_know():
    posterior = load_model('galactic-sky', task='estimate').network
    right = GalacticCenterSimulator(nuisances=True).draw(
        6, 5)['images'].numpy()
    flat = np.random.default_rng(904).poisson(30.0, (3, 64, 64))
    images = np.concatenate([right, flat])
    valid = np.ones(images.shape, bool)
    valid[::2, 30:34] = False
    cpu = torch.device('cpu')
    scores, p_values = check_images(posterior, images, device=cpu,
                                    valid=valid)
    assert (p_values[:6] > 1e-4).sum() >= 5
    assert (p_values[6:] < 1e-4).all()
    # What is masked does not matter.
    junk = np.where(valid, images, 10**4)
    again = check_images(posterior, junk, device=cpu, valid=valid)
    np.testing.assert_array_equal(again[0], scores)
    np.testing.assert_array_equal(again[1], p_values)
