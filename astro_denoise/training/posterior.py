# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the posterior of `astro_denoise.estimate_parameters` is trained.
"""

import torch

from ..simulation import GalacticCenterSimulator
from .loop import train

__all__ = ['posterior_loss', 'train_posterior']


def posterior_loss(model, batch, step, dtype):
    """
    Negative log posterior of the true parameters.

    For `astro_denoise.training.loop.train`; its mean over simulated
    images is least for the true posterior.
    """
    context = model.embed(batch['image'], dtype)
    loss = -model.log_prob(batch['parameters'], context).mean()
    return loss, {}


def train_posterior(model, *, n_steps, seed=0, batch_size=128, **options):
    """
    Train a posterior on images drawn anew for every step.

    Parameters
    ----------
    model : `~astro_denoise.models.posterior.PosteriorNetwork`
        The network; trained in place.

    n_steps : int
        Number of steps.

    seed : int, optional
        Of skies.

    batch_size : int, optional
        Images a step.

    **options
        Passed to `~astro_denoise.training.loop.train`.

    Returns
    -------
    model : `~astro_denoise.models.posterior.PosteriorNetwork`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    simulator = GalacticCenterSimulator('fixed')

    def make_batch(seed):
        drawn = simulator.draw(batch_size, seed)
        rng = torch.Generator().manual_seed(seed[0] * 10_000_019 + seed[1])
        parameters = drawn['parameters']
        # Integers become continuous.
        parameters[:, 4:] += torch.rand((batch_size, 2), generator=rng)
        return {'image': drawn['images'].numpy(),
                'parameters': parameters.numpy()}

    configuration = {'method': 'posterior', 'model': model.config,
                     'n_steps': n_steps, 'seed': seed,
                     'batch_size': batch_size}
    return train(model, make_batch, posterior_loss, n_steps=n_steps,
                 seed=seed, configuration=configuration, **options)
