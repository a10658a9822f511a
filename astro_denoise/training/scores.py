# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Scores of a denoiser from noisy frames alone.
"""

import torch
from torch.nn import functional as F

__all__ = ['squared_errors', 'surroundings']

_STEP = 0.05       # of the finite difference, in sigmas
_LARGEST = 10.0    # sigmas that a single pixel may count


def _predict(network, batch, x):
    with torch.inference_mode():
        noise, _ = network(x, batch['log_sigma'], batch['valid'],
                           batch['context'])
    return x - noise


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
    squared : `torch.Tensor`
        Estimates of the squared errors in units of the variance of the
        noise, of the pixels that count, in a row. They scatter around these
        and may be negative.
    """
    generator = torch.Generator().manual_seed(seed)
    results = []
    for start in range(0, len(batch['x']), n_at_once):
        part = {name: plane[start:start + n_at_once]
                for name, plane in batch.items()}
        x, valid = part['x'], part['valid']
        denoised = _predict(network, part, x)
        if 'target' in part:
            counts = part['weight'] > 0
            difference = (denoised - part['target']).clamp(-_LARGEST,
                                                           _LARGEST)
            squared = difference**2 - part['target_variance']
        else:
            counts = valid > 0
            probe = torch.randint(0, 2, x.shape, generator=generator)
            probe = (2.0 * probe - 1.0).to(x.device) * valid
            moved = _predict(network, part, x + _STEP * probe)
            change = ((moved - denoised) / _STEP).clamp(-_LARGEST, _LARGEST)
            squared = (denoised - x).clamp(-_LARGEST, _LARGEST)**2 - 1.0
            squared = squared + 2.0 * probe * change
        results.append(squared[counts])
    return torch.cat(results)
