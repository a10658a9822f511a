# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors that are as large as they say, and blank sky without a pattern.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ..models._functions import asinh
from ..models.denoiser import calibration_knots
from .scenes import ExposureSampler

__all__ = ['calibrate_uncertainty', 'level_pattern']

_SHARE = 0.6827  # within one standard deviation

# Distance of the knots, and how many pixels a factor is found from: those
# of one source have their errors in common.
_STEP = calibration_knots()[1] - calibration_knots()[0]
_FEWEST = 3000

# What counts as blank sky, in sigmas, and its share of the pixels of a
# survey.
_BLANK, _BLANK_SHARE = 0.05, 0.97


def _exposures(scenes, n_batches, seed):
    """Batches of 16 exposures of skies, as tensors."""
    sampler = ExposureSampler(scenes, patch=128, n_clean=16, n_copies=1)
    for number in range(n_batches):
        batch = sampler.batch([*seed, number])
        yield {name: torch.from_numpy(plane)
               for name, plane in batch.items()}


def _weighted_quantile(values, weights, share):
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return values[order][np.searchsorted(total, share * total[-1])]


def calibrate_uncertainty(network, scenes, *, n_batches=40, seed=0,
                          n_iterations=6):
    """
    Scale predicted errors so that 68 per cent of pulls lie within 1.

    The factor depends on the denoised signal over the noise of the
    blank sky: heavy tails, which a Gaussian likelihood turns into too
    large errors, differ between blank sky and sources. A network with
    restoring kernels keeps signal, and its errors are made right for
    each true signal. One that may take signal for noise cannot know its
    errors there; they are made right for each signal that it finds.

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
    network.eval()
    network.calibration.zero_()
    found, true, pulls = [], [], []
    for batch in _exposures(scenes, n_batches, [seed, 1]):
        with torch.inference_mode():
            noise, log_variance = network(batch['x'], batch['log_sigma'],
                                          batch['valid'], batch['context'])
        denoised = batch['x'] - noise
        pull = (denoised - batch['truth']) * (-0.5 * log_variance).exp()
        sigma = batch['log_sigma'].exp()
        signal = F.avg_pool2d(denoised * sigma, 2)
        signal = F.interpolate(signal, scale_factor=2)
        keep = batch['valid'] > 0
        found.append(asinh(signal)[keep].numpy())
        true.append((batch['truth'] * sigma)[keep].numpy())
        pulls.append(pull[keep].abs().numpy())
    found, true, pulls = map(np.concatenate, (found, true, pulls))
    keeps_signal = bool(network.config['kernel_fwhms'])
    signals, importance = np.arcsinh(true), np.ones(len(true))
    if not keeps_signal:
        # Skies to train on are more crowded than those of a survey.
        blank = np.abs(true) < _BLANK
        signals, importance = found, np.where(
            blank, _BLANK_SHARE * (~blank).sum()
            / max((1.0 - _BLANK_SHARE) * blank.sum(), 1.0), 1.0)

    order = np.argsort(signals)
    signals, found, pulls, importance = (
        plane[order] for plane in (signals, found, pulls, importance))
    knots = calibration_knots()
    signals = np.clip(signals, knots[0], knots[-1])
    bounds = np.searchsorted(signals, [[knot - _STEP, knot + _STEP]
                                       for knot in knots])
    known = np.diff(bounds, axis=1)[:, 0] > _FEWEST
    if keeps_signal:
        known &= knots > -_STEP  # no true signal is less
    offsets = np.zeros(len(knots))
    for _ in range(n_iterations):
        scaled = pulls * np.exp(-0.5 * np.interp(found, knots, offsets))
        for index in np.flatnonzero(known):
            near = slice(*bounds[index])
            weights = importance[near] * np.maximum(
                1.0 - np.abs(signals[near] - knots[index]) / _STEP, 0.0)
            offsets[index] += 2.0 * np.log(_weighted_quantile(
                scaled[near], weights, _SHARE))
        if keeps_signal and known.any():
            offsets[:known.argmax()] = offsets[known.argmax()]
    network.calibration.copy_(torch.from_numpy(offsets))


@torch.inference_mode()
def level_pattern(network, scenes, *, n_batches=8, seed=0):
    """
    Take from a network the pattern that it sees in blank sky.

    The head answers for 2x2 pixels at once. Where a restoring kernel takes
    over from what the network sees, nothing in the loss keeps its answers
    for the four alike, and further training lets them drift apart; some of
    that is left in the result, at the Nyquist frequency.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The bias of its head is changed; its mean is not.

    scenes : list of `~astro_denoise.training.scenes.Scene`
        Skies.

    n_batches : int, optional
        Exposures to measure it on, 16 patches each.

    seed : int, optional
        Of the exposures.
    """
    network.eval()
    total, count = torch.zeros(4), torch.zeros(4)
    for batch in _exposures(scenes, n_batches, [seed, 2]):
        answer = network.trunk(
            network.features(batch['x'], batch['log_sigma'], batch['valid']),
            batch['context'], torch.float32)
        noise, _ = network.estimated(answer, batch['valid'])
        blank = (batch['valid'] > 0) & (batch['truth'].abs() < _BLANK)
        seen = torch.where(blank, batch['x'] - noise, 0.0)
        total += F.pixel_unshuffle(seen, 2).sum((0, 2, 3))
        count += F.pixel_unshuffle(blank.float(), 2).sum((0, 2, 3))
    seen = total / count.clamp_min(1.0)
    network.head.bias[:4] += seen - seen.mean()
