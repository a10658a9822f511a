# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the network that learns from noisy frames alone.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.models.blind_spot import BlindSpotDenoiser, mixture_terms
from astro_denoise.models.registry import Model


def random_network(**options):
    network = BlindSpotDenoiser((4, 6, 8), **options).eval()
    network.requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(7)
    for parameter in network.parameters():
        parameter.normal_(0.0, 0.3, generator=generator)
    return network


def planes(shape=(64, 72), seed=1):
    generator = torch.Generator().manual_seed(seed)
    x, log_sigma = torch.randn(2, 1, 1, *shape, generator=generator)
    return 2.0 * x, 0.1 * log_sigma.sigmoid(), torch.ones_like(x)


@pytest.mark.parametrize('options', [
    {}, {'top_skip': False, 'blur_pool': True},
    {'n_components': 2, 'blur_pool': True}])
def test_reach(options):
    network = random_network(**options)
    x, log_sigma, valid = planes((96, 96))
    before = network(x, log_sigma, valid)
    changed = torch.zeros(96, 96, dtype=torch.bool)
    for row, column in ((48, 48), (49, 50), (51, 51), (47, 46)):
        other = x.clone()
        other[0, 0, row, column] += 50.0
        after = network(other, log_sigma, valid)
        for one, two in zip(before, after, strict=True):
            changed |= torch.roll((one != two)[0, 0],
                                  (48 - row, 48 - column), (0, 1))
    rows, columns = np.nonzero(changed.numpy())
    found = max(np.abs(rows - 48).max(), np.abs(columns - 48).max())
    assert network.reach - 6 <= found <= network.reach


def test_without_skip_nothing_passes_at_the_top():
    network = random_network(top_skip=False, blur_pool=True)
    board = torch.ones(1, 1, 96, 96)
    board[..., ::2] = -1.0
    _, mean, _ = network.predict(1e-3 * board, torch.ones_like(board))
    _, flat, _ = network.predict(0.0 * board, torch.ones_like(board))
    # What is averaged before it goes down knows nothing of single rows.
    inside = (..., slice(36, -36), slice(36, -36))
    difference = (mean - flat)[inside]
    assert (difference[..., 2:] - difference[..., :-2]).abs().max() < 1e-5
    assert (difference[..., 1:] - difference[..., :-1]).abs().max() < 1e-5


def test_new_network_predicts_the_background():
    network = BlindSpotDenoiser((4, 6)).eval()
    x, log_sigma, valid = planes((16, 16))
    noise, log_variance = network(x, log_sigma, valid)
    assert_allclose(noise.detach(), x.clamp(-6.0, 6.0))
    assert_allclose(log_variance.detach(), 0.0)


def test_noise_is_limited_and_bad_pixels_have_none():
    network = random_network()
    x, log_sigma, valid = planes()
    x[0, 0, 20, 20] = 1e4
    valid[0, 0, 30, 30] = x[0, 0, 30, 30] = log_sigma[0, 0, 30, 30] = 0.0
    noise, _ = network(x, log_sigma, valid)
    assert noise.abs().max() <= 6.0
    assert noise[0, 0, 30, 30] == 0.0


def test_posterior_is_that_of_the_integral():
    mixture = ((0.7, -0.15, 0.8), (0.3, 0.35, 1.6))
    network = random_network(n_components=2, noise_mixture=mixture)
    generator = torch.Generator().manual_seed(3)
    logits, means, log_variances = torch.randn(3, 1, 2, 1, 6,
                                               generator=generator)
    signal = 2.0 * torch.randn(1, 1, 1, 6, generator=generator)
    log_sigma = 0.3 * torch.randn(1, 1, 1, 6, generator=generator)
    mean, log_variance = network._posterior(signal, log_sigma, logits, means,
                                            log_variances)
    truth = np.linspace(-15.0, 15.0, 20001)
    for pixel in range(6):
        y = float(signal[..., pixel])
        sigma = float(log_sigma[..., pixel].exp())
        weights = torch.softmax(logits, 1)[0, :, 0, pixel].numpy()
        prior = sum(
            weight / spread * np.exp(-0.5 * ((truth - center) / spread)**2)
            for weight, center, spread in zip(
                weights, means[0, :, 0, pixel].numpy(),
                np.exp(0.5 * log_variances[0, :, 0, pixel].numpy()),
                strict=True))
        likelihood = sum(
            weight / width * np.exp(-0.5 * (((y - truth) / sigma - offset)
                                            / width)**2)
            for weight, offset, width in mixture)
        density = prior * likelihood
        expected = np.average(truth, weights=density)
        variance = np.average((truth - expected)**2, weights=density)
        assert_allclose(mean[..., pixel], expected, rtol=1e-3, atol=1e-3)
        assert_allclose((log_variance + 2 * log_sigma)[..., pixel].exp(),
                        variance, rtol=5e-3)


def test_mixture_terms_hold_the_likelihood():
    one = torch.zeros(1, 1, 1, 1)
    ((log_likelihood, *_),) = mixture_terms(one + 1.0, one, one, one, one,
                                            ((1.0, 0.0, 1.0),))
    assert_allclose(log_likelihood.item(), -0.5 * (0.5 + np.log(2.0)),
                    rtol=1e-6)


def test_it_is_saved_and_loaded(tmp_path):
    path = tmp_path / 'survey.safetensors'
    network = random_network(n_components=2, blur_pool=True)
    network.calibration.fill_(0.5)
    network.half().float()
    Model(network, {'name': 'survey', 'task': 'denoise'}).save(path)
    loaded = load_model(path).network
    assert loaded.config == network.config
    for one, two in zip(network(*planes()), loaded(*planes()), strict=True):
        assert_allclose(one, two, atol=1e-4)


def test_calibration_scales_the_errors():
    network = random_network()
    before = network(*planes())[1]
    network.calibration.fill_(1.5)
    assert_allclose(network(*planes())[1] - before, 1.5, rtol=1e-5)
