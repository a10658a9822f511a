# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the shipped models for CCD frames are trained: on simulated skies,
whose truth is known.
"""

import torch

from .loop import train
from .losses import boxed_bias, heteroscedastic_loss
from .scenes import ExposureSampler, draw_scenes

__all__ = ['supervised_loss', 'train_supervised']


def supervised_loss(n_copies, bias_weight):
    """
    The loss of the supervised method.

    Parameters
    ----------
    n_copies : int
        Noisy copies of each sky in a batch.

    bias_weight : float
        Weight of the squared bias of the flux in boxes of 3 to 17
        pixels; 0 gives the lowest error per pixel.

    Returns
    -------
    loss_function : callable
        For `astro_denoise.training.loop.train`.
    """

    def loss_function(model, batch, step, dtype):
        noise, log_variance = model(
            batch['x'], batch['log_sigma'], batch['valid'], batch['context'],
            dtype=dtype)
        valid = batch['valid']
        error = (batch['x'] - noise - batch['truth']) * valid
        loss = heteroscedastic_loss(error, log_variance, valid)
        numbers = {'rms': float(error.detach().square().mean().sqrt())}
        if bias_weight:
            bias = boxed_bias(error, batch, n_copies, step)
            numbers['bias'] = float(bias.detach())
            loss = loss + bias_weight * bias
        return loss, numbers

    return loss_function


def train_supervised(model, *, bias_weight, n_steps, n_scenes=400, seed=0,
                     patch=128, n_clean=4, n_copies=4, n_workers=1,
                     scenes=None, **options):
    """
    Train a denoiser on simulated exposures.

    Parameters
    ----------
    model : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network; trained in place.

    bias_weight : float
        Weight of the bias of the flux, see `supervised_loss`.

    n_steps : int
        Number of steps.

    n_scenes : int, optional
        Number of noise-free skies to cut patches from.

    seed : int, optional
        Of skies and noise.

    patch, n_clean, n_copies : int, optional
        See `~astro_denoise.training.scenes.ExposureSampler`.

    n_workers : int, optional
        Processes that draw the skies.

    scenes : list, optional
        Skies already drawn.

    **options
        Passed to `~astro_denoise.training.loop.train`.

    Returns
    -------
    model : `~astro_denoise.models.denoiser.CCDDenoiser`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    if scenes is None:
        scenes = draw_scenes(n_scenes, seed=seed, n_workers=n_workers,
                             progress_bar=options.get('progress_bar', False))
    sampler = ExposureSampler(scenes, patch=patch, n_clean=n_clean,
                              n_copies=n_copies)
    configuration = {'method': 'supervised', 'model': model.config,
                     'bias_weight': bias_weight, 'n_steps': n_steps,
                     'n_scenes': len(scenes), 'seed': seed, 'patch': patch,
                     'n_clean': n_clean, 'n_copies': n_copies}
    torch.manual_seed(seed)
    return train(model, sampler.batch, supervised_loss(n_copies, bias_weight),
                 n_steps=n_steps, seed=seed, configuration=configuration,
                 **options)
