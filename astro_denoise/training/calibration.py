# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors that are as large as they say, and blank sky without a pattern.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ..models.error_calibration import calibration_knots
from .exposures import ExposureSampler

__all__ = ['calibrate_uncertainty', 'level_pattern']

_SHARE = 0.6827  # within one standard deviation

# How many pixels a factor is found from: those of one source have their
# errors in common. Of those without one, every second in each line will do.
_FEWEST, _STRIDE = 3000, 2

# True signal, in sigmas, of blank sky at most, and of faint sources.
_BLANK, _FAINT = 0.05, (0.5, 2.0)

# Signal, in sigmas, from which on one factor is for all: too few sources are
# so bright.
_TOO_FEW = 20.0

# Found signal, in sigmas, below which nothing of a source is.
_BELOW = -0.15


def _exposures(scenes, n_batches, seed, like):
    """Draw batches of 16 exposures of skies, as tensors."""
    sampler = ExposureSampler(scenes, patch=128, n_clean=16, n_copies=1,
                              as_drawn=True, like=like)
    for number in range(n_batches):
        batch = sampler.batch([*seed, number])
        yield {name: torch.from_numpy(plane)
               for name, plane in batch.items()}


def _weighted_quantile(values, weights, share):
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return values[order][np.searchsorted(total, share * total[-1])]


@torch.inference_mode()
def _measured(network, scenes, n_batches, seed, like):
    """
    Measure the signal found in pixels, the true one, and the absolute pull.
    """
    parts = []
    for batch in _exposures(scenes, n_batches, [seed, 1], like):
        noise, log_variance = network(batch['x'], batch['log_sigma'],
                                      batch['valid'], batch['context'])
        denoised = batch['x'] - noise
        pull = (denoised - batch['truth']) * (-0.5 * log_variance).exp()
        sigma = batch['log_sigma'].exp()
        signal = F.avg_pool2d(denoised * sigma, 2)
        signal = F.interpolate(signal, scale_factor=2)
        true = batch['truth'] * sigma
        keep = true > _FAINT[0]
        keep[..., ::_STRIDE, ::_STRIDE] = True
        keep &= batch['valid'] > 0
        parts.append([plane[keep].numpy() for plane in
                      (signal, true, pull.abs())])
    return map(np.concatenate, zip(*parts, strict=True))


def calibrate_uncertainty(network, scenes, *, n_batches=40, seed=0,
                          n_iterations=8, like=(), faint_pulls=1.15,
                          blank_pulls=0.97):
    """
    Scale predicted errors so that 68 per cent of pulls lie within 1.

    The factor depends on the denoised signal over the noise of the
    blank sky: heavy tails, which a Gaussian likelihood turns into too
    large errors, differ between blank sky and sources. A network with
    restoring kernels keeps signal, and its errors are made right for
    each true signal. One that may take signal for noise cannot know how
    much is gone. Its errors are made right for each signal that it
    finds, among pixels of blank sky and of sources as there are of each.
    Those of faint sources, some of which it does not find at all, are
    then too small, and pixels of sources count for more until 68 per
    cent of the pulls of faint ones lie within ``faint_pulls``. That makes
    the errors of blank sky, which looks like the sources that are lost,
    too large: ``blank_pulls`` says how far that may go.

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
        The factors of neighboring knots depend on each other.

    like : sequence of `~astro_denoise.training.exposures.Conditions`, \
            optional
        Conditions of the exposures; any by default.

    faint_pulls : float, optional
        How many errors hold 68 per cent of the pixels of faint sources,
        at 0.5 to 2 times the noise, of networks that may lose them.

    blank_pulls : float, optional
        The same of blank sky: where fewer do, pixels of sources count for
        no more than before.
    """
    network.eval()
    network.calibration.zero_()
    found, true, pulls = _measured(network, scenes, n_batches, seed, like)
    keeps_signal = bool(network.config.get('kernel_fwhms'))
    if not keeps_signal:
        keep = (true < _BLANK) | ((true > _FAINT[0]) & (found > _BELOW))
        found, true, pulls = (plane[keep] for plane in (found, true, pulls))
    scale = network.calibration_scale
    signals = np.arcsinh((true if keeps_signal else found) / scale)
    order = np.argsort(signals)
    signals, found, true, pulls = (
        plane[order] for plane in (signals, found, true, pulls))
    found = np.arcsinh(found / scale)
    faint = (true > _FAINT[0]) & (true < _FAINT[1])
    importance = np.where(true > _FAINT[0], 1.0, _STRIDE**2)

    knots = calibration_knots(scale)
    step = knots[1] - knots[0]
    signals = np.clip(signals, knots[0], knots[-1])
    bounds = np.searchsorted(signals, [[knot - step, knot + step]
                                       for knot in knots])
    known = ((np.diff(bounds, axis=1)[:, 0] > _FEWEST)
             & (knots < np.arcsinh(_TOO_FEW / scale)))
    if keeps_signal:
        known &= knots > -step  # no true signal is less
    offsets = np.zeros(len(knots))
    for number in range(n_iterations):
        scaled = pulls * np.exp(-0.5 * np.interp(found, knots, offsets))
        if (number and not keeps_signal and faint.sum() > _FEWEST
                and np.quantile(scaled[faint], _SHARE) > faint_pulls
                and np.quantile(scaled[true < _BLANK],
                                _SHARE) > blank_pulls):
            importance[true > _FAINT[0]] *= 2.0
        for index in np.flatnonzero(known):
            near = slice(*bounds[index])
            weights = importance[near] * np.maximum(
                1.0 - np.abs(signals[near] - knots[index]) / step, 0.0)
            offsets[index] += 2.0 * np.log(_weighted_quantile(
                scaled[near], weights, _SHARE))
        if known.any():
            offsets = np.interp(knots, knots[known], offsets[known])
    network.calibration.copy_(torch.from_numpy(offsets))


@torch.inference_mode()
def level_pattern(network, scenes, *, n_batches=8, seed=0, like=()):
    """
    Take from a network the pattern that it sees in blank sky.

    The head answers for a square of pixels at once. Where a restoring kernel
    takes over from what the network sees, nothing in the loss keeps its
    answers for the pixels of a square alike, and further training lets them
    drift apart; some of that is left in the result, at the Nyquist frequency.

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

    like : sequence of `~astro_denoise.training.exposures.Conditions`, \
            optional
        As for `calibrate_uncertainty`.
    """
    network.eval()
    side = network.shuffle
    total, count = torch.zeros(2, side**2)
    for batch in _exposures(scenes, n_batches, [seed, 2], like):
        answer = network.trunk(
            network.features(batch['x'], batch['log_sigma'], batch['valid']),
            batch['context'], network.dtypes(torch.float32))
        noise, _ = network.estimated(answer, batch['x'], batch['valid'])
        blank = (batch['valid'] > 0) & (batch['truth'].abs() < _BLANK)
        seen = torch.where(blank, batch['x'] - noise, 0.0)
        total += F.pixel_unshuffle(seen, side).sum((0, 2, 3))
        count += F.pixel_unshuffle(blank.float(), side).sum((0, 2, 3))
    seen = total / count.clamp_min(1.0)
    network.head.bias[:side**2] += seen - seen.mean()
