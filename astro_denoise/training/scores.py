# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Scores and calibration of a denoiser from noisy frames alone.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.optimize import nnls
from torch.nn import functional as F

from ..models.error_calibration import calibration_knots

__all__ = ['PixelErrors', 'calibrate_from_noise', 'squared_errors',
           'surroundings']

_STEP = 0.05       # of the finite difference, in sigmas
_LARGEST = 10.0    # sigmas that a single pixel may count
_LEAST = 1e-4      # factor of a variance

# Signals below this, over the noise of the sky, are as much noise as signal:
# one factor for all.
_FAINTEST = math.sinh(0.6)

# The noise of a frame is known to about so much, as a share of its variance:
# Stein's estimate can be wrong by that.
_SYSTEMATIC = 0.02


def _predict(network, batch, x):
    with torch.inference_mode():
        noise, log_variance = network(x, batch['log_sigma'], batch['valid'],
                                      batch['context'])
    return x - noise, log_variance


def surroundings(signal, valid):
    """
    Average the 24 pixels around each.

    Parameters
    ----------
    signal, valid : `torch.Tensor`
        Planes of shape (n, 1, ny, nx), 0 where they are not valid.

    Returns
    -------
    mean : `torch.Tensor`
        Without the pixel itself, so that it has not its noise.
    """
    total = F.avg_pool2d(signal, 5, 1, 2) - signal / 25.0
    count = F.avg_pool2d(valid, 5, 1, 2) - valid / 25.0
    return total / count.clamp_min(0.02)


@dataclass
class PixelErrors:
    """
    Estimates of the errors of some pixels.

    Attributes
    ----------
    squared : `torch.Tensor`
        Unbiased estimate of the squared error in units of the variance
        of the noise, which scatters around it and may be negative.

    propagated : `torch.Tensor` or `None`
        Estimate of the noise of the frame that is left in the result,
        in the same units.

    log_variance : `torch.Tensor`
        As the network predicts it.

    signal : `torch.Tensor`
        The result in units of the noise of the blank sky, a mean over
        2x2 pixels.

    brightness : `torch.Tensor`
        The same, or the mean of the pixels around, so that it has not
        the noise of ``squared``, of which a mean may be taken by it.
    """

    squared: torch.Tensor
    propagated: torch.Tensor
    log_variance: torch.Tensor
    signal: torch.Tensor
    brightness: torch.Tensor


def squared_errors(network, batch, *, seed=0, n_at_once=8):
    """
    Estimate the squared error of each pixel.

    With another exposure, by its squared difference from the denoised
    frame less the noise of the former. Else by Stein's unbiased risk
    estimate (Stein 1981; the divergence by a random probe, Ramani, Blu
    & Unser 2008, IEEE Trans. Image Process. 17, 1540), for noise of a
    known variance in each pixel, as photons and read-out make it.

    Parameters
    ----------
    network : `torch.nn.Module`
        The denoiser, in evaluation mode.

    batch : dict of `torch.Tensor`
        From `~astro_denoise.training.batches.PatchSampler.validation`.

    seed : int, optional
        Of the probe.

    n_at_once : int, optional
        Patches that go through the network together.

    Returns
    -------
    errors : `PixelErrors`
        Of the pixels that count, in a row.
    """
    generator = torch.Generator().manual_seed(seed)
    results = []
    for start in range(0, len(batch['x']), n_at_once):
        part = {name: plane[start:start + n_at_once]
                for name, plane in batch.items()}
        x, valid = part['x'], part['valid']
        sigma = part['log_sigma'].exp()
        denoised, log_variance = _predict(network, part, x)
        probe = torch.randint(0, 2, x.shape, generator=generator)
        probe = (2.0 * probe - 1.0).to(x.device) * valid
        moved, _ = _predict(network, part, x + _STEP * probe)
        change = ((moved - denoised) / _STEP).clamp(-_LARGEST, _LARGEST)
        signal = F.interpolate(F.avg_pool2d(denoised * sigma, 2),
                               scale_factor=2)
        if 'target' in part:
            counts = part['weight'] > 0
            difference = (denoised - part['target']).clamp(-_LARGEST,
                                                           _LARGEST)
            squared = difference**2 - part['target_variance']
            brightness = signal
        else:
            counts = valid > 0
            squared = (denoised - x).clamp(-_LARGEST, _LARGEST)**2 - 1.0
            squared = squared + 2.0 * probe * change
            # Stein's estimate holds for pixels chosen by their neighbors,
            # not for those chosen by a result that knows them.
            brightness = surroundings(x * sigma, valid)
        results.append([plane[counts] for plane in (
            squared, change**2, log_variance, signal, brightness)])
    return PixelErrors(*(torch.cat(parts)
                         for parts in zip(*results, strict=True)))


def calibrate_from_noise(network, batch, *, seed=0):
    """
    Scale predicted variances to the errors that were estimated.

    The factor depends on the denoised signal, as in
    `~astro_denoise.training.calibration.calibrate_uncertainty`, which
    needs the truth. It is linear between knots. The least it may be is
    1, or, for a network that predicts no variance, what the noise of
    the frame makes; as much is added as predicted and estimated squared
    errors need to agree for pixels of each brightness (a regression
    with instrumental variables), and no more than is significant.

    Parameters
    ----------
    network : `torch.nn.Module`
        Its ``calibration`` is set.

    batch : dict of `torch.Tensor`
        Patches that were not trained on.

    seed : int, optional
        Of the probe.
    """
    network.eval()
    network.calibration.zero_()
    errors = squared_errors(network, batch, seed=seed)
    squared, propagated, log_variance, signal, brightness = (
        getattr(errors, field.name).cpu().numpy().astype(float)
        for field in fields(errors))
    scale = network.calibration_scale
    knots = calibration_knots(scale)
    n_knots = len(knots)
    faintest = np.abs(knots - np.arcsinh(_FAINTEST / scale)).argmin()

    def shares(values):
        """Find the knots below and above each value, and weights."""
        place = np.clip((np.arcsinh(values / scale) - knots[0])
                        / (knots[1] - knots[0]), faintest, n_knots - 1.001)
        lower = place.astype(int)
        yield lower, lower + 1.0 - place
        yield lower + 1, place - lower

    predicted = np.exp(log_variance)
    matrix = np.zeros((n_knots, n_knots))
    found, scatter, number, left, said = np.zeros((5, n_knots))
    parts = list(shares(signal))
    for knot, weight in parts:
        left += np.bincount(knot, weight * propagated, n_knots)
        said += np.bincount(knot, weight * predicted, n_knots)
    least = _spread(left, said)
    if log_variance.any():
        least = np.maximum(least, 1.0)
    for own, own_weight in shares(brightness):
        found += np.bincount(own, own_weight * squared, n_knots)
        scatter += np.bincount(own, (own_weight * squared)**2, n_knots)
        number += np.bincount(own, own_weight, n_knots)
        for knot, weight in parts:
            matrix += np.bincount(
                own * n_knots + knot, own_weight * weight * predicted,
                n_knots**2).reshape(n_knots, n_knots)
    error = np.hypot(np.sqrt(scatter), _SYSTEMATIC * number).clip(1e-6)
    added, _ = nnls(
        np.concatenate([matrix / error[:, None], np.diag(1.0 / least)]),
        np.concatenate([(found - matrix @ least) / error,
                        np.zeros(n_knots)]))
    last = np.flatnonzero(said > 0).max()
    factor = least + added
    factor[:faintest], factor[last + 1:] = factor[faintest], factor[last]
    network.calibration.copy_(torch.from_numpy(np.log(factor)))


def _spread(total, weight):
    """Divide at the knots; those without pixels take the nearest."""
    known = weight > 0
    ratio = np.divide(total, weight, where=known, out=np.zeros_like(total))
    places = np.arange(len(total))
    nearest = np.abs(places[:, None] - places[known]).argmin(1)
    return ratio[known][nearest].clip(_LEAST)
