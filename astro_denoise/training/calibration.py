# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors that are as large as they say.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ..models._functions import asinh
from ..models.denoiser import calibration_knots
from .scenes import ExposureSampler

__all__ = ['calibrate_uncertainty']

_SHARE = 0.6827  # within one standard deviation

# What counts as blank sky, in sigmas, and its share of the pixels of a
# survey.
_BLANK, _BLANK_SHARE = 0.05, 0.97


def _weighted_quantile(values, weights, share):
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return values[order][np.searchsorted(total, share * total[-1])]


def calibrate_uncertainty(network, scenes, *, n_batches=40, seed=0,
                          n_iterations=4):
    """
    Scale predicted errors so that 68 per cent of pulls lie within 1.

    The factor depends on the denoised signal over the noise of the
    blank sky: heavy tails, which a Gaussian likelihood turns into too
    large errors, differ between blank sky and sources.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        Its ``calibration`` is set.

    scenes : list of `~astro_denoise.training.scenes.Scene`
        Skies that were not trained on.

    n_batches : int, optional
        Exposures to fit to, 16 patches each.

    seed : int, optional
        Of the exposures.

    n_iterations : int, optional
        The factors of neighbouring knots depend on each other.
    """
    sampler = ExposureSampler(scenes, patch=128, n_clean=16, n_copies=1)
    network.eval()
    network.calibration.zero_()
    signals, pulls, blanks = [], [], []
    for number in range(n_batches):
        batch = {name: torch.from_numpy(plane) for name, plane
                 in sampler.batch([seed, 1, number]).items()}
        with torch.inference_mode():
            noise, log_variance = network(batch['x'], batch['log_sigma'],
                                          batch['valid'], batch['context'])
        denoised = batch['x'] - noise
        pull = (denoised - batch['truth']) * (-0.5 * log_variance).exp()
        signal = F.avg_pool2d(denoised * batch['log_sigma'].exp(), 2)
        signal = asinh(F.interpolate(signal, scale_factor=2))
        keep = batch['valid'] > 0
        signals.append(signal[keep].numpy())
        pulls.append(pull[keep].abs().numpy())
        truth = batch['truth'] * batch['log_sigma'].exp()
        blanks.append((truth[keep].abs() < _BLANK).numpy())
    signals, pulls, blanks = (np.concatenate(parts)
                              for parts in (signals, pulls, blanks))
    # Skies to train on are more crowded than those of a survey.
    importance = np.where(
        blanks, _BLANK_SHARE * (~blanks).sum()
        / max((1.0 - _BLANK_SHARE) * blanks.sum(), 1.0), 1.0)

    knots = calibration_knots()
    # Where a restoring kernel makes the error, its scatter is exact, and
    # the signal found is as much noise as signal: nothing to calibrate.
    first = np.arcsinh(1.5) if network.config['kernel_fwhms'] else -np.inf
    offsets = np.zeros(len(knots))
    for _ in range(n_iterations):
        scaled = pulls * np.exp(-0.5 * np.interp(signals, knots, offsets))
        for index, knot in enumerate(knots):
            weight = 1.0 - np.abs(np.clip(signals, knots[0], knots[-1])
                                  - knot) / (knots[1] - knots[0])
            near = weight > 0
            if knot > first and near.sum() > 200:
                offsets[index] += 2.0 * np.log(_weighted_quantile(
                    scaled[near], (weight * importance)[near], _SHARE))
    network.calibration.copy_(torch.from_numpy(offsets))
