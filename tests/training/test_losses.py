# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the losses.
"""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.training.losses import (
    flux_bias,
    heteroscedastic_loss,
    noisy_target_loss,
    supervised_loss,
)


def plane(*values, grad=False):
    return torch.tensor(values).reshape(1, 1, 1, -1).requires_grad_(grad)


def test_plain_likelihood():
    error, log_variance = plane(1.0, -2.0), plane(0.3, -0.5)
    loss = heteroscedastic_loss(error, log_variance, torch.ones_like(error),
                                beta=0.0)
    expected = np.mean([0.5 * (1.0 * math.exp(-0.3) + 0.3),
                        0.5 * (4.0 * math.exp(0.5) - 0.5)])
    assert_allclose(loss, expected, rtol=1e-6)


def test_large_errors_count_linearly():
    flat = plane(0.0)
    losses = [heteroscedastic_loss(plane(size), flat, flat + 1.0)
              for size in (3.0, -3.0, 4.0, 5.0)]
    assert_allclose(losses, [4.5, 4.5, 7.5, 10.5])


def test_weights():
    error, log_variance = plane(1.0, 50.0, 2.0), plane(0.0, 3.0, 0.0)
    loss = heteroscedastic_loss(error, log_variance, plane(1.0, 0.0, 1.0))
    assert_allclose(loss, (0.5 + 2.0) / 2)


@pytest.mark.parametrize('beta', [0.0, 0.5, 1.0])
def test_best_variance_is_that_of_the_errors(beta):
    generator = torch.Generator().manual_seed(1)
    error = 0.4 * torch.randn(1, 1, 200, 200, generator=generator)
    slopes = []
    for log_variance in (-2.0, 2.0 * math.log(0.4), -1.5):
        predicted = torch.full_like(error, log_variance).requires_grad_()
        heteroscedastic_loss(error, predicted, torch.ones_like(error),
                             beta=beta).backward()
        slopes.append(float(predicted.grad.sum()))
    assert slopes[0] < 0 < slopes[2]
    assert abs(slopes[1]) < 0.01


def test_beta_weights_gradients_only_by_its_value():
    # Beta 1 is the plain squared error, whatever the variance.
    error = plane(0.5, -1.0, grad=True)
    heteroscedastic_loss(error, plane(-2.0, 1.5), torch.ones(1, 1, 1, 2),
                         beta=1.0).backward()
    assert_allclose(error.grad.ravel(), [0.25, -0.5], rtol=1e-6)


def copies_of(bias, n_sky, n_copies, *, noise, seed=0):
    """
    Errors with a known mean and noise of a known strength.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (n_sky * n_copies, 1, *bias.shape)
    return bias + noise * torch.randn(shape, generator=generator)


@pytest.mark.parametrize('noise', [0.1, 1.0])
@pytest.mark.parametrize('box', [3, 5, 8])
@pytest.mark.parametrize('n_copies', [2, 4])
def test_flux_bias_has_no_bias(noise, box, n_copies):
    generator = torch.Generator().manual_seed(3)
    bias = 0.05 * torch.randn(24, 24, generator=generator) + 0.02
    error = copies_of(bias, 500, n_copies, noise=noise)
    boxes = [bias[y:y + box, x:x + box].sum() / box
             for y in range(0, 25 - box, box // 2)
             for x in range(0, 25 - box, box // 2)]
    expected = np.mean(np.square(boxes))
    # The estimate of each sky scatters around it, and not above.
    estimates = [float(flux_bias(part, torch.zeros_like(part), n_copies, box))
                 for part in error.split(10 * n_copies)]
    error_of_mean = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - expected) < 3.5 * error_of_mean
    assert error_of_mean < 0.05
    assert noise < 1 or min(estimates) < 0


def test_flux_bias_is_zero_on_average_without_bias():
    error = copies_of(torch.zeros(32, 32), 400, 4, noise=1.0)
    value = flux_bias(error, torch.zeros_like(error), 4, 5)
    assert abs(value) < 0.01


def test_flux_bias_of_equal_copies():
    error = torch.full((8, 1, 10, 10), 0.3)
    # The sum over 16 pixels is 4.8, in units of a noise of 4.
    assert_allclose(flux_bias(error, 0 * error, 4, 4), 1.2**2, rtol=1e-5)


def test_copies_of_one_sky_are_next_to_each_other():
    # Errors of different skies must not cancel.
    error = torch.ones(4, 1, 6, 6)
    error[2:] = -1.0
    assert_allclose(flux_bias(error, 0 * error, 2, 3), 9.0, rtol=1e-5)


@pytest.mark.parametrize(('signal', 'weight'), [(0.0, 1.0), (8.0, 0.5),
                                                (80.0, 1 / 101)])
def test_bias_of_bright_sources_is_relative(signal, weight):
    error = torch.ones(2, 1, 5, 5)
    value = flux_bias(error, torch.full_like(error, signal / 5), 2, 5)
    assert_allclose(value, 25.0 * weight, rtol=1e-5)


def test_gradient_of_flux_bias():
    error = torch.full((2, 1, 6, 6), 0.1, requires_grad=True)
    signal = torch.ones(2, 1, 6, 6, requires_grad=True)
    flux_bias(error, signal, 2, 3).backward()
    assert (error.grad > 0).any()
    assert signal.grad is None


def noisy_batch():
    rng = np.random.default_rng(8)
    blank, noise = np.ones((2, 1, 32, 32)), rng.normal(size=(4, 1, 32, 32))
    # Two exposures each of two skies.
    truth = np.repeat(rng.uniform(0.0, 3.0, (2, 1, 32, 32)), 2, axis=0)
    ones = np.ones_like(truth)
    planes = {
        'x': 2.0 * blank, 'log_sigma': 0.0 * blank, 'valid': blank,
        'context': np.zeros((2, 2)), 'target': 1.5 * blank,
        'target_variance': 3.0 * blank, 'weight': blank,
        'sky_x': truth + noise, 'sky_log_sigma': 0.0 * ones,
        'sky_valid': ones, 'sky_context': np.zeros((4, 2)),
        'sky_truth': truth, 'sky_unit': ones}
    return {name: torch.from_numpy(plane.astype(np.float32))
            for name, plane in planes.items()}


def model_that_keeps(share):
    """A result of so much of the frame, with a variance of 1."""
    def model(x, log_sigma, valid, context, *, dtype):
        return (1.0 - share) * x, 0.0 * x

    return model


@pytest.mark.parametrize('share', [1.0, 0.5])
def test_likelihood_of_a_noisy_target(share):
    loss, _ = noisy_target_loss(2, 0.0)(
        model_that_keeps(share), noisy_batch(), 1, torch.float32)
    # The error is 2 share - 1.5, its variance 1 + 3.
    assert_allclose(loss, 0.5 * ((2.0 * share - 1.5)**2 / 4.0 + math.log(4)),
                    rtol=1e-5)


def test_lost_flux_costs():
    batch = noisy_batch()
    biases = []
    for share in (1.0, 0.7, 0.4):
        parts = [noisy_target_loss(2, weight)(
            model_that_keeps(share), batch, 1, torch.float32)
            for weight in (0.0, 10.0)]
        bias = parts[1][1]['bias']
        assert_allclose(parts[1][0] - parts[0][0], 10.0 * bias, rtol=1e-3,
                        atol=1e-4)
        biases.append(bias)
    # The squared bias grows with the square of what is lost.
    assert abs(biases[0]) < 0.03 * biases[1]
    assert_allclose(biases[2] / biases[1], 4.0, rtol=0.1)


def test_loss_of_the_supervised_method(small_network):
    network = small_network((6, 8))
    generator = torch.Generator().manual_seed(1)
    batch = {'x': torch.randn(4, 1, 32, 32, generator=generator)}
    flat = torch.ones_like(batch['x'])
    batch |= {'truth': 0 * flat, 'log_sigma': 0 * flat, 'valid': flat,
              'unit': flat, 'context': torch.zeros(4, 2)}
    plain, numbers = supervised_loss(2, 0.0)(network, batch, 0, torch.float32)
    assert set(numbers) == {'rms'}
    heavy, numbers = supervised_loss(2, 10.0)(network, batch, 0,
                                              torch.float32)
    assert set(numbers) == {'rms', 'bias'}
    assert_allclose(heavy - plain, 10.0 * numbers['bias'], rtol=1e-4)
