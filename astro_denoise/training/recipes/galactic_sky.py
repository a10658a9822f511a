# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The posterior for real images of the Galactic Center, ``galactic-sky``:
trained on skies with nuisances, of any exposure, partly masked.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ...models.registry import load_model
from ...models.sky_posterior import SkyPosterior
from ...simulation.galactic_center import GalacticCenterSimulator
from ...simulation.masks import random_validity
from ..loop import train
from ..options import Schedule
from .held_out import VALIDATION_SEED
from .saving import Recipe, TrainedNetwork
from .sky_head import draw_sky_features, train_sky_head
from .sky_store import SkyStore, sky_folder

__all__ = ['RECIPES', 'RealSkyRecipe', 'SkyBatches', 'sky_posterior_loss']

# Shares of images that are mirrored, that are masked, and whose exposure is
# told.
_MIRRORED, _MASKED, _TOLD = 0.25, 0.5, 0.5

# Relative error of an exposure that is told.
_EXPOSURE_ERROR = 0.02


class SkyBatches:
    """
    Draw batches of images from stored skies.

    Parameters
    ----------
    store : `~astro_denoise.training.recipes.sky_store.SkyStore`
        The skies.

    exposures : tuple of float
        Lowest and highest exposure, between which it is drawn uniformly
        in its logarithm.

    batch_size : int, optional
        Images in a batch.
    """

    def __init__(self, store, exposures, *, batch_size=64):
        self.store = store
        self.exposures = exposures
        self.batch_size = batch_size

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : int or sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            Float32: ``image`` and ``valid``, shape (n, 64, 64),
            ``exposure`` as it is told, NaN where it is not, and the
            ``parameters`` (n, 6), integers with a number between 0 and 1
            added, and ``nuisances`` (n, 7).
        """
        seed = list(np.atleast_1d(seed))
        rng = np.random.default_rng([*seed, 5])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        n = self.batch_size
        expected, parameters, nuisances = self.store.skies(
            rng.integers(len(self.store), size=n))
        for index in np.flatnonzero(rng.random(n) < _MIRRORED):
            axes = ((0,), (1,), (0, 1))[rng.integers(3)]
            expected[index] = expected[index].flip(axes)
        share = torch.from_numpy(rng.random((n, 1), np.float32))
        low, high = self.exposures
        exposure = low * (high / low)**share[:, 0]
        image = torch.poisson(expected * exposure[:, None, None],
                              generator=generator)
        valid = random_validity(image.numpy(), _MASKED, rng)
        told = exposure * torch.exp(_EXPOSURE_ERROR * torch.randn(
            n, generator=generator))
        told[torch.from_numpy(rng.random(n) >= _TOLD)] = torch.nan
        parameters = parameters.clone()
        parameters[:, 4:] += torch.rand((n, 2), generator=generator)
        return {'image': image.numpy(), 'valid': valid,
                'exposure': told.numpy(), 'parameters': parameters.numpy(),
                'nuisances': torch.cat([share, nuisances], 1).numpy()}


def sky_posterior_loss(model, batch, step, dtype):
    """
    Compute the negative log posterior of true parameters and nuisances.

    For `astro_denoise.training.loop.train`.
    """
    context = model.embed(batch['image'], dtype, valid=batch['valid'],
                          exposure=batch['exposure'])
    parameters = model.log_prob(batch['parameters'], context).mean()
    nuisances = model.nuisance_log_prob(batch['nuisances'],
                                        batch['parameters'], context).mean()
    return -(parameters + nuisances), {'parameters':
                                       -float(parameters.detach())}


@torch.no_grad()
def _calibrate(network, batches, n_batches, seed):
    """
    Learn how images look and how wide posteriors are, and measure errors.
    """
    parts = [{name: torch.from_numpy(plane) for name, plane
              in batches.batch([VALIDATION_SEED + seed, index]).items()}
             for index in range(n_batches)]
    batch = {name: torch.cat([part[name] for part in parts])
             for name in parts[0]}
    contexts = torch.cat([network.embed(
        part['image'], valid=part['valid'], exposure=part['exposure'])
        for part in parts])
    network.learn_statistics(batch['image'], batch['valid'])
    truth = batch['parameters']
    network.learn_spread(contexts, truth)
    rng = torch.Generator().manual_seed(seed)
    samples = torch.cat([network.sampled(part, 500, rng)
                         for part in contexts[:1000].split(100)])
    samples = samples + 0.5 * network.integer
    truth = truth[:1000]
    error = (samples.median(1).values - truth).abs().mean(0) / (
        network.upper - network.lower)
    rank = (samples < truth[:, None]).float().mean(1)
    names = GalacticCenterSimulator.parameter_names
    return {'figures': {
        'mean absolute error': dict(zip(names, np.round(
            error.tolist(), 4).tolist(), strict=True)),
        'coverage of 95 per cent': dict(zip(names, np.round(
            ((rank - 0.5).abs() < 0.475).float().mean(0).tolist(), 4
        ).tolist(), strict=True))}}


@dataclass(frozen=True, kw_only=True)
class RealSkyRecipe(Recipe):
    """
    Recipe of a posterior for real skies.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training of all weights.

    head : `~astro_denoise.training.options.Schedule`
        Likewise, of those behind the features of patches.

    n_features : int
        Number of batches whose features that is trained on.

    rank : int
        Numbers to which features are narrowed.
    """

    task: str = 'estimate'
    schedule: Schedule
    head: Schedule
    n_features: int
    rank: int

    def train(self, run, *, n_steps=None, n_skies=None):
        """Draw skies, train the network, its head alone, and calibrate."""
        schedule, head = (part.with_steps(n_steps)
                          for part in (self.schedule, self.head))
        n_skies = n_skies or self.n_skies
        network = SkyPosterior()
        network.start_from(load_model('galactic-center',
                                      task='estimate').network)
        with sky_folder(run) as folder:
            batches, held_out = (
                SkyBatches(SkyStore(folder, n, seed,
                                    progress_bar=run.shows_progress),
                           network.exposures)
                for n, seed in ((n_skies, run.seed),
                                (max(n_skies // 10, 1),
                                 VALIDATION_SEED + run.seed)))
            network, log = train(
                network.requires_grad_(), batches.batch, sky_posterior_loss,
                schedule, run, configuration={
                    'method': 'sky posterior', 'model': network.config,
                    'n_skies': n_skies, 'batch_size': batches.batch_size})
            network = network.cpu().eval()
            # Two images of each sky at most.
            n_features = max(4, min(
                self.n_features, 2 * n_skies // batches.batch_size))
            drawn, judged = (
                draw_sky_features(network, part, number, seed, run=run)
                for part, number, seed in (
                    (batches, n_features, VALIDATION_SEED - 1),
                    (held_out, max(n_features // 20, 1), VALIDATION_SEED)))
            network, more = train_sky_head(
                network.requires_grad_(), drawn, judged, head,
                run.stage(f'{self.name}-head'), rank=self.rank)
            found = _calibrate(network, held_out, 128, run.seed)
        return TrainedNetwork(network, [*log, *more], {
            'n_steps': schedule.n_steps, 'n_head_steps': head.n_steps,
            'n_head_images': len(drawn.features), 'n_skies': n_skies}, found)


#: Recipes by name.
RECIPES = {'galactic-sky': RealSkyRecipe(
    name='galactic-sky', summary='the same posterior, for real skies',
    # Scales of features follow the weights: no mean of the weights.
    n_skies=53_248, schedule=Schedule(956, 1e-3, ema_decay=0.0),
    head=Schedule(4302, 1e-3, log_every=250), n_features=1400, rank=64)}
