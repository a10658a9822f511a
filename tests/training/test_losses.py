# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the losses.
"""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.training.losses import flux_bias, heteroscedastic_loss


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
