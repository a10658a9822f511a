# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the posterior of `astro_denoise.estimate_parameters` is trained.
"""

import logging
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .._output import atomic_output
from ..simulation import GalacticCenterSimulator
from .loop import train

__all__ = ['draw_features', 'posterior_loss', 'train_head',
           'train_posterior']

logger = logging.getLogger(__name__)

# Images whose features are kept in one file, and drawn at once.
_CHUNK, _DRAWN = 2000, 100


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


def _chunk(network, simulator, seed, norm):
    """Features of some images, standardised, and the parameters."""
    features, parameters = [], []
    for index in range(_CHUNK // _DRAWN):
        drawn = simulator.draw(_DRAWN, [*seed, index])
        features.append(network.pooled(drawn['images']))
        parameters.append(drawn['parameters'])
    features = torch.cat(features)
    if norm is None:
        norm = features.mean(0), features.std(0) + 1e-6
    features = (features - norm[0]) / norm[1]
    return features.half(), torch.cat(parameters), norm


@torch.no_grad()
def draw_features(network, n_images, *, seed=0, folder=None,
                  progress_bar=False):
    """
    Draw images and keep what a network sees of them.

    Parameters
    ----------
    network : `~astro_denoise.models.posterior.PosteriorNetwork`
        Its scales are set from the first images.

    n_images : int
        Number of images, rounded up to thousands.

    seed : int, optional
        Of skies.

    folder : path-like, optional
        Where features are kept, and taken from if they are there.

    progress_bar : bool, optional
        Show a progress bar.

    Returns
    -------
    features : `torch.Tensor`
        Shape (n_images, n_features), standardised, half precision.

    parameters : `torch.Tensor`
        Shape (n_images, 6).
    """
    from tqdm import tqdm

    simulator = GalacticCenterSimulator('fixed')
    network.eval()
    parts, norm = [], None
    for number in tqdm(range(-(-n_images // _CHUNK)),
                       disable=not progress_bar, desc='features'):
        path = None if folder is None else Path(folder) / f'{number:04d}.npz'
        if path is not None and path.exists():
            with np.load(path) as stored:
                *part, mean, scale = (
                    torch.from_numpy(stored[name]) for name in
                    ('features', 'parameters', 'mean', 'scale'))
            norm = mean, scale
        else:
            *part, norm = _chunk(network, simulator, [seed, number], norm)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with (atomic_output(path, overwrite=True) as temporary,
                      temporary.open('wb') as file):
                    np.savez(file, features=part[0].numpy(),
                             parameters=part[1].numpy(),
                             mean=norm[0].numpy(), scale=norm[1].numpy())
        parts.append(part)
    standardise = network.embedding[0]
    standardise.mean.copy_(norm[0])
    standardise.square.copy_(norm[1]**2)
    return tuple(torch.cat(planes) for planes in zip(*parts, strict=True))


@torch.no_grad()
def _principal(features, n_components):
    """Mean and whitening matrix of the strongest components."""
    some = features[:40_000]
    mean = some[:20_000].float().mean(0)
    covariance = sum((part.float() - mean).T @ (part.float() - mean)
                     for part in some.split(4000)) / len(some)
    values, vectors = torch.linalg.eigh(covariance)
    keep = values.argsort(descending=True)[:n_components]
    return mean, vectors[:, keep] / values[keep].sqrt()


def train_head(network, features, parameters, *, epochs=8, seed=0,
               n_components=1024, batch_size=256, learning_rate=1e-3,
               weight_decay=3e-2, n_validation=4000, progress_bar=False):
    """
    Train what comes after the features: embedding and flow.

    The features are nearly collinear; what tells the parameters is in
    small differences between them. So they are whitened first, and the
    whitening is folded into the first layer at the end.

    Parameters
    ----------
    network : `~astro_denoise.models.posterior.PosteriorNetwork`
        Trained in place.

    features, parameters : `torch.Tensor`
        From `draw_features`.

    epochs, batch_size, learning_rate, weight_decay : optional
        Of the training, with a cosine schedule.

    seed : int, optional
        Of weights and order.

    n_components : int, optional
        Principal components that are used.

    n_validation : int, optional
        Images, the last ones, for validation alone.

    progress_bar : bool, optional
        Show a progress bar.

    Returns
    -------
    log : list of dict
        Loss of each epoch, and of the validation images.
    """
    from tqdm import tqdm

    n_training = len(features) - n_validation
    mean, whitening = _principal(features[:n_training], n_components)
    inputs = torch.cat([(part.float() - mean) @ whitening
                        for part in features.split(8000)])
    rng = torch.Generator().manual_seed(seed)
    _, first, *others = network.embedding
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        entry = nn.Linear(whitening.shape[1], first.out_features)
    head = nn.Sequential(entry, *others)
    trained = [*head.parameters(), *network.flow.parameters()]
    for parameter in trained:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW(trained, lr=learning_rate,
                                  weight_decay=weight_decay)
    n_batches = n_training // batch_size

    def loss_of(rows):
        values = parameters[rows].clone()
        values[:, network.integer] += torch.rand(
            (len(values), int(network.integer.sum())), generator=rng)
        return -network.log_prob(values, head(inputs[rows])).mean()

    log, step = [], 0
    for epoch in tqdm(range(epochs), disable=not progress_bar, desc='head'):
        order = torch.randperm(n_training, generator=rng)
        total = 0.0
        for rows in order.split(batch_size)[:n_batches]:
            progress = step / (epochs * n_batches)
            rate = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress))
            for group in optimizer.param_groups:
                group['lr'] = learning_rate * rate * min(1.0, step / 200)
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 5.0)
            optimizer.step()
            total += float(loss.detach())
            step += 1
        with torch.no_grad():
            validation = float(loss_of(torch.arange(n_training,
                                                    len(features))))
        log.append({'step': step, 'loss': total / n_batches,
                    'validation': validation})
        logger.info('epoch %d: %s', epoch + 1, log[-1])
    _fold(network, mean, whitening, entry)
    return log


@torch.no_grad()
def _fold(network, mean, whitening, entry):
    """Make the whitening a part of the first layer of a network."""
    first = network.embedding[1]
    first.weight.copy_(entry.weight @ whitening.T)
    first.bias.copy_(entry.bias - first.weight @ mean)
