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

from ..io.output import atomic_output
from ..simulation.galactic_center import GalacticCenterSimulator
from .loop import train

__all__ = ['draw_features', 'fold_whitening', 'posterior_loss',
           'principal_components', 'train_head', 'train_posterior']

logger = logging.getLogger(__name__)

# Images whose features are kept in one file, and drawn at once.
_CHUNK, _DRAWN = 2000, 50

_STORED = ('contexts', 'features', 'parameters', 'mean', 'scale')


def posterior_loss(model, batch, step, dtype):
    """
    Negative log posterior of the true parameters.

    For `astro_denoise.training.loop.train`; its mean over simulated
    images is least for the true posterior.
    """
    context = model.embed(batch['image'], dtype)
    loss = -model.log_prob(batch['parameters'], context).mean()
    return loss, {}


def train_posterior(model, *, n_steps, seed=0, batch_size=128,
                    simulator=None, **options):
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

    simulator : `~astro_denoise.simulation.GalacticCenterSimulator`, \
            optional
        Of the images; one of the tier ``'fixed'`` by default.

    **options
        Passed to `~astro_denoise.training.loop.train`.

    Returns
    -------
    model : `~astro_denoise.models.posterior.PosteriorNetwork`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    if simulator is None:
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
                     'batch_size': batch_size,
                     'simulator': repr(simulator)}
    return train(model, make_batch, posterior_loss, n_steps=n_steps,
                 seed=seed, configuration=configuration, **options)


def _chunk(network, simulator, seed, norm):
    """
    What is known of some images: context, features, parameters.

    The features of the segmenter are standardised.
    """
    contexts, features, parameters = [], [], []
    for index in range(_CHUNK // _DRAWN):
        drawn = simulator.draw(_DRAWN, [*seed, index])
        contexts.append(network.embedding(network.patches(drawn['images'])))
        features.append(network.sources(drawn['images']))
        parameters.append(drawn['parameters'])
    features = torch.cat(features)
    if norm is None:
        norm = features.mean(0), features.std(0) + 1e-6
    features = (features - norm[0]) / norm[1]
    return (torch.cat(contexts), features.half(), torch.cat(parameters)), norm


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
    contexts : `torch.Tensor`
        Shape (n_images, context): what small patches tell.

    features : `torch.Tensor`
        Shape (n_images, n_features): what the segmenter tells,
        standardised, in half precision.

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
                *part, mean, scale = (torch.from_numpy(stored[name])
                                      for name in _STORED)
            norm = mean, scale
        else:
            part, norm = _chunk(network, simulator, [seed, number], norm)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with (atomic_output(path, overwrite=True) as temporary,
                      temporary.open('wb') as file):
                    np.savez(file, **{
                        name: plane.numpy() for name, plane in
                        zip(_STORED, (*part, *norm), strict=True)})
        parts.append(part)
    network.standardised.mean.copy_(norm[0])
    network.standardised.square.copy_(norm[1]**2)
    return tuple(torch.cat(planes) for planes in zip(*parts, strict=True))


@torch.no_grad()
def principal_components(features, n_components):
    """
    The strongest components of features.

    Parameters
    ----------
    features : `torch.Tensor`
        Shape (n, n_features); the first 40,000 are used.

    n_components : int
        Number of components.

    Returns
    -------
    mean : `torch.Tensor`
        Shape (n_features,).

    vectors : `torch.Tensor`
        Shape (n_features, n_components): their directions.

    scale : `torch.Tensor`
        Shape (n_components,): their standard deviations.
    """
    some = features[:40_000]
    mean = some[:20_000].float().mean(0)
    covariance = sum((part.float() - mean).T @ (part.float() - mean)
                     for part in some.split(4000)) / len(some)
    values, vectors = torch.linalg.eigh(covariance)
    keep = values.argsort(descending=True)[:n_components]
    return mean, vectors[:, keep], values[keep].clamp_min(1e-8).sqrt()


@torch.no_grad()
def fold_whitening(layer, entry, mean, whitening):
    """
    Make whitening a part of the linear layer that follows.

    Parameters
    ----------
    layer : `torch.nn.Linear`
        Takes features and other numbers; set in place.

    entry : `torch.nn.Linear`
        Takes whitened features and the same other numbers.

    mean, whitening : `torch.Tensor`
        Shapes (n_features,) and (n_features, n_components): whitened
        features are ``(features - mean) @ whitening``.
    """
    n_components = whitening.shape[1]
    weight = entry.weight[:, :n_components] @ whitening.T
    layer.weight.copy_(torch.cat([weight, entry.weight[:, n_components:]], 1))
    layer.bias.copy_(entry.bias - weight @ mean)


def train_head(network, contexts, features, parameters, *, epochs=4, seed=0,
               n_components=768, batch_size=512, learning_rate=7e-4,
               weight_decay=3e-2, n_validation=4000, progress_bar=False):
    """
    Train what the segmenter adds to a posterior, and the flow on.

    The features are nearly collinear; what tells the parameters is in
    small differences between them. So they are whitened first, and the
    whitening is folded into the first layer at the end.

    Parameters
    ----------
    network : `~astro_denoise.models.posterior.PosteriorNetwork`
        Trained in place.

    contexts, features, parameters : `torch.Tensor`
        From `draw_features`.

    epochs : int, optional
        Of the training.

    seed : int, optional
        Of weights and order.

    n_components : int, optional
        Principal components of the features that are used.

    batch_size : int, optional
        Images of a step.

    learning_rate, weight_decay : float, optional
        Of AdamW, with a cosine schedule.

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
    mean, vectors, scale = principal_components(features[:n_training],
                                                n_components)
    whitening = vectors / scale
    inputs = torch.cat([(part.float() - mean) @ whitening
                        for part in features.split(8000)])
    inputs = torch.cat([inputs, contexts], 1)
    rng = torch.Generator().manual_seed(seed)
    first, *others = network.correction
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        entry = nn.Linear(inputs.shape[1], first.out_features)
    correction = nn.Sequential(entry, *others)
    # The flow has been trained already.
    groups = [{'params': list(module.parameters()), 'share': share}
              for module, share in ((correction, 1.0), (network.flow, 0.3))]
    trained = [parameter for group in groups for parameter in group['params']]
    for parameter in trained:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW(groups, lr=learning_rate,
                                  weight_decay=weight_decay)
    n_batches = n_training // batch_size

    def loss_of(rows):
        values = parameters[rows].clone()
        values[:, network.integer] += torch.rand(
            (len(values), int(network.integer.sum())), generator=rng)
        context = contexts[rows] + correction(inputs[rows])
        return -network.log_prob(values, context).mean()

    log, step = [], 0
    for epoch in tqdm(range(epochs), disable=not progress_bar, desc='head'):
        order = torch.randperm(n_training, generator=rng)
        total = 0.0
        for rows in order.split(batch_size)[:n_batches]:
            progress = step / (epochs * n_batches)
            rate = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress))
            rate *= min(1.0, (step + 1) / 100)
            for group in optimizer.param_groups:
                group['lr'] = learning_rate * group['share'] * rate
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
    fold_whitening(first, entry, mean, whitening)
    return log
