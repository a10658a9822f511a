# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the calibration of errors.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.models.denoiser import CCDDenoiser
from astro_denoise.training.calibration import (
    calibrate_uncertainty,
    level_pattern,
)
from astro_denoise.training.exposures import ExposureSampler
from astro_denoise.training.restoration import design_kernels
from astro_denoise.training.scenes import draw_scenes, draw_survey_scenes


@pytest.fixture(scope='module')
def scenes():
    return draw_scenes(2, seed=8, size=160)


def pulls(network, scenes, *, seeds=(99,), **options):
    """
    Errors over predicted errors, and signals, of other exposures.
    """
    sampler = ExposureSampler(scenes, patch=128, n_clean=16, n_copies=1,
                              **options)
    parts = []
    for seed in seeds:
        batch = {name: torch.from_numpy(plane)
                 for name, plane in sampler.batch(seed).items()}
        with torch.inference_mode():
            noise, log_variance = network(batch['x'], batch['log_sigma'],
                                          batch['valid'], batch['context'])
        denoised = batch['x'] - noise
        pull = (denoised - batch['truth']) * (-0.5 * log_variance).exp()
        keep = batch['valid'] > 0
        parts.append((pull[keep].numpy(), batch['truth'][keep].numpy()))
    return map(np.concatenate, zip(*parts, strict=True))


@pytest.mark.parametrize('log_variance', [-3.0, 2.0])
def test_pulls_become_one(scenes, log_variance):
    # A network that finds no noise, and errs in what is left.
    network = CCDDenoiser((6, 8)).eval().requires_grad_(requires_grad=False)
    network.head.bias[4:] = log_variance
    calibrate_uncertainty(network, scenes, n_batches=60)
    pull, signal = pulls(network, scenes)
    # Of blank sky, of which a survey is full, and of bright pixels.
    for inside, tolerance in ((np.abs(signal) < 0.05, 0.03),
                              (signal > 10.0, 0.1)):
        assert inside.sum() > 1000
        assert_allclose(np.quantile(np.abs(pull[inside]), 0.6827), 1.0,
                        atol=tolerance)


def test_errors_of_a_kernel_are_right_for_each_true_signal(scenes):
    # One that sees no noise is left with the kernel alone where it is faint.
    network = CCDDenoiser((6, 8), kernel_fwhms=(1.2, 9.6)).eval()
    network.requires_grad_(requires_grad=False)
    network.kernels.copy_(torch.from_numpy(design_kernels((2.0, 3.0))))
    network.head.bias[4:] = 3.0
    calibrate_uncertainty(network, scenes, n_batches=8)
    pull, signal = pulls(network, scenes)
    for inside, tolerance in ((np.abs(signal) < 0.05, 0.03),
                              ((signal > 0.5) & (signal < 3.0), 0.06),
                              (signal > 10.0, 0.1)):
        assert inside.sum() > 1000
        assert_allclose(np.quantile(np.abs(pull[inside]), 0.6827), 1.0,
                        atol=tolerance)
    knots = network.calibration[:4]
    assert torch.equal(knots[:3], knots[:1].expand(3))


class Shrinking(CCDDenoiser):
    """
    Takes the mean of 3x3 pixels, and what is below a limit for noise.
    """

    def forward(self, x, log_sigma, valid, context, dtype=torch.float32):
        near = torch.nn.functional.avg_pool2d(x * valid, 3, 1, 1)
        denoised = near * (near.abs() / self.limit - 0.6).clamp(0.05, 1.0)
        log_variance = -2.0 + self._calibrated(denoised * log_sigma.exp())
        return x - denoised, log_variance


@pytest.mark.parametrize(('limit', 'brightest', 'targets', 'blank', 'faint'), [
    (0.5, 3.0, {}, (0.87, 1.0), (0.94, 1.06)),
    # Where most is lost, both cannot be right: it looks like blank sky.
    (1.5, 2.0, {}, (0.82, 0.95), (5.0, 20.0)),
    (1.5, 2.0, {'blank_pulls': 0.5}, (0.6, 0.75), (0.9, 1.4))])
def test_errors_hold_what_is_lost(limit, brightest, targets, blank, faint):
    skies = draw_survey_scenes(6, seed=3, density=400.0, size=256)
    network = Shrinking((6, 8), calibration_scale=0.05).eval()
    network.requires_grad_(requires_grad=False)
    network.limit = limit
    calibrate_uncertainty(network, skies, n_batches=16, **targets)
    pull, signal = pulls(network, skies, as_drawn=True, seeds=range(90, 98))
    for inside, (least, most) in ((np.abs(signal) < 0.05, blank),
                                  ((signal > 0.5) & (signal < brightest),
                                   faint)):
        assert inside.sum() > 10_000
        assert least < np.quantile(np.abs(pull[inside]), 0.6827) < most


def test_calibration_is_made_anew(scenes):
    network = CCDDenoiser((6, 8)).eval().requires_grad_(requires_grad=False)
    results = []
    for start in (0.0, 5.0):
        network.calibration.fill_(start)
        calibrate_uncertainty(network, scenes, n_batches=1, seed=3)
        results.append(network.calibration.clone())
    assert torch.equal(*results)
    calibrate_uncertainty(network, scenes, n_batches=1, seed=4)
    assert not torch.equal(network.calibration, results[0])


def test_a_pattern_in_blank_sky_is_levelled(scenes):
    # One that finds no noise but a pattern.
    network = CCDDenoiser((6, 8)).eval().requires_grad_(requires_grad=False)
    pattern = torch.tensor([0.3, -0.1, 0.2, 0.0])
    network.head.bias[:4] = pattern
    level_pattern(network, scenes)
    found = network.head.bias[:4]
    # The noise of a frame has a pattern too, by chance.
    assert_allclose(found, pattern.mean(), atol=0.01)
    assert_allclose(found.mean(), pattern.mean(), atol=1e-6)
