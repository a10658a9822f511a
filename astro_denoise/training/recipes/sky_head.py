# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training what a posterior for real skies makes of the features of patches,
which are computed once for many images.
"""

from dataclasses import dataclass

import torch
from torch import nn
from tqdm import tqdm

from ...models.sky_posterior import SkyPosterior
from ..loop import train
from .posterior import principal_components

__all__ = ['SkyFeatures', 'draw_sky_features', 'train_sky_head']

# Least standard deviation of a component of the standardized features, in
# which the precision of the weights still leaves something to be seen.
_LEAST_SCATTER = 0.02

_BATCH = 256


@dataclass
class SkyFeatures:
    """
    Features of images, and the parameters that they were drawn from.

    Attributes
    ----------
    features : `torch.Tensor`
        Shape (n, n_features), in half precision.

    conditions : `torch.Tensor`
        Shape (n, n_conditions).

    parameters, nuisances : `torch.Tensor`
        Shapes (n, 6) and (n, 7).
    """

    features: torch.Tensor
    conditions: torch.Tensor
    parameters: torch.Tensor
    nuisances: torch.Tensor


@torch.no_grad()
def draw_sky_features(network, batches, n_batches, seed, *, run):
    """
    Draw images and keep what a network sees of them.

    Parameters
    ----------
    network : `~astro_denoise.models.sky_posterior.SkyPosterior`
        The network, in evaluation mode.

    batches : `~astro_denoise.training.recipes.galactic_sky.SkyBatches`
        Where the images come from.

    n_batches : int
        Number of batches.

    seed : int
        Seed of the batches.

    run : `~astro_denoise.training.options.Run`
        Precision of the convolutions, and the progress bar.

    Returns
    -------
    drawn : `SkyFeatures`
        Of all images.
    """
    parts = []
    for index in tqdm(range(n_batches), disable=not run.shows_progress,
                      desc='features'):
        batch = {name: torch.from_numpy(plane) for name, plane
                 in batches.batch([seed, index]).items()}
        features, conditions = network.described(
            batch['image'], run.runtime.dtype, valid=batch['valid'],
            exposure=batch['exposure'])
        parts.append((features.half(), conditions, batch['parameters'],
                      batch['nuisances']))
    return SkyFeatures(*map(torch.cat, zip(*parts, strict=True)))


class _Head(nn.Module):
    """
    A posterior that sees whitened features.

    Features are nearly collinear, and what tells the parameters is in
    small differences between them: whitened, these are learned.
    """

    def __init__(self, network, features, rank, n_components):
        super().__init__()
        mean, vectors, scale = principal_components(features, n_components)
        kept = scale > _LEAST_SCATTER
        vectors, scale = vectors[:, kept], scale[kept]
        self.register_buffer('mean', mean)
        self.register_buffer('whitening', vectors / scale)
        first = network.embedding[1]
        self.narrow = nn.Linear(len(scale), rank, bias=False)
        self.widen = nn.Linear(rank, first.out_features)
        with torch.no_grad():
            # The best approximation of what the network does already.
            weight = first.weight @ (vectors * scale)
            left, strength, right = torch.linalg.svd(weight,
                                                     full_matrices=False)
            root = strength[:rank].sqrt()
            self.narrow.weight.copy_(right[:rank] * root[:, None])
            self.widen.weight.copy_(left[:, :rank] * root)
            self.widen.bias.copy_(first.bias + first.weight @ mean)
        self.network = network
        for module in (network.enter, network.blocks, first):
            module.requires_grad_(requires_grad=False)

    def train(self, mode=True):
        """Leave the statistics of features as they are."""
        super().train(mode)
        self.network.eval()
        return self

    def loss(self, batch):
        """Compute the negative logarithms of both posteriors."""
        network = self.network
        hidden = (self.widen(self.narrow(batch['features']))
                  + network.conditions(batch['conditions']))
        context = network.embedding[2:](hidden)
        return (-network.log_prob(batch['parameters'], context).mean(),
                -network.nuisance_log_prob(
                    batch['nuisances'], batch['parameters'], context).mean())

    @torch.no_grad()
    def folded(self):
        """Give the posterior, the whitening a part of its first layer."""
        network = self.network
        made = SkyPosterior(**{**network.config,
                               'rank': self.narrow.out_features})
        state = {name: tensor for name, tensor in network.state_dict().items()
                 if not name.startswith('embedding.1.')}
        weight = self.narrow.weight @ self.whitening.T
        state |= {'embedding.1.0.weight': weight,
                  'embedding.1.1.weight': self.widen.weight,
                  'embedding.1.1.bias': (
                      self.widen.bias
                      - self.widen.weight @ (weight @ self.mean))}
        made.load_state_dict(state)
        return made.eval().requires_grad_(requires_grad=False)


def train_sky_head(network, drawn, held_out, schedule, run, *, rank,
                   n_components=512):
    """
    Train what follows the features of patches, which stay as they are.

    Parameters
    ----------
    network : `~astro_denoise.models.sky_posterior.SkyPosterior`
        Without a rank; trained in place.

    drawn, held_out : `SkyFeatures`
        To be trained on, and to choose the best weights by.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`
        Seed of the batches, and checkpoint.

    rank : int
        Numbers to which the features are narrowed.

    n_components : int, optional
        Principal components of the features that are used, at most.

    Returns
    -------
    network : `~astro_denoise.models.sky_posterior.SkyPosterior`
        Of this rank.

    log : list of dict
        The training log.
    """
    head = _Head(network, drawn.features, rank, n_components)

    def whitened(features):
        return torch.cat([(part.float() - head.mean) @ head.whitening
                          for part in features.split(8000)])

    training, validation = (
        {'features': whitened(part.features), 'conditions': part.conditions,
         'parameters': part.parameters, 'nuisances': part.nuisances}
        for part in (drawn, held_out))
    integer = network.integer

    def make_batch(seed):
        rng = torch.Generator().manual_seed(seed[0] * 10_000_019 + seed[1])
        rows = torch.randint(len(training['features']), (_BATCH,),
                             generator=rng)
        batch = {name: values[rows] for name, values in training.items()}
        share = torch.rand((_BATCH, int(integer.sum())), generator=rng)
        batch['parameters'][:, integer] = (
            batch['parameters'][:, integer].floor() + share)
        return {name: values.numpy() for name, values in batch.items()}

    def loss_function(model, batch, step, dtype):
        parameters, nuisances = model.loss(batch)
        return parameters + nuisances, {'parameters':
                                        float(parameters.detach())}

    @torch.no_grad()
    def evaluate(model):
        parameters, nuisances = model.loss(validation)
        return {'validation': float(parameters),
                'score': float(parameters + nuisances)}

    head, log = train(head, make_batch, loss_function, schedule, run,
                      evaluate=evaluate, configuration={
                          'method': 'sky head', 'model': network.config,
                          'rank': rank, 'n_components': n_components,
                          'n_images': len(drawn.features)})
    return head.folded(), log
