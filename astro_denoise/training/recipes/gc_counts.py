# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The model of the expected counts of gamma-ray images, ``gc-counts``.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ...models.expected_counts import ExpectedCounts
from ...simulation.masks import random_validity
from ..loop import train
from ..options import Schedule
from .held_out import VALIDATION_SEED
from .saving import Recipe, TrainedNetwork
from .sky_store import SkyStore, sky_folder

__all__ = ['RECIPES', 'CountsBatches', 'CountsRecipe', 'counts_loss']

_EXPOSURES = (0.25, 3.6)

# Share of images that are partly masked, and of those of the plain tiers;
# the others have nuisances.
_MASKED, _PLAIN = 0.2, 0.75


class CountsBatches:
    """
    Draw batches of counts and of those expected.

    Parameters
    ----------
    plain, others : `~astro_denoise.training.recipes.sky_store.SkyStore`
        Skies of the plain tiers, and skies with nuisances.

    batch_size : int, optional
        Images in a batch.
    """

    def __init__(self, plain, others, *, batch_size=48):
        self.plain, self.others = plain, others
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
            Float32: ``image``, ``expected`` and ``valid``, shape (n, 1,
            64, 64).
        """
        seed = list(np.atleast_1d(seed))
        rng = np.random.default_rng([*seed, 7])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        n = self.batch_size
        n_plain = round(_PLAIN * n)
        expected = torch.cat([
            store.skies(rng.integers(len(store), size=number))[0]
            for store, number in ((self.plain, n_plain),
                                  (self.others, n - n_plain))])
        low, high = _EXPOSURES
        expected *= torch.from_numpy(
            low * (high / low)**rng.random((n, 1, 1), np.float32))
        for index in range(n):
            # Which way is up does not matter.
            turned = expected[index].rot90(int(rng.integers(4)))
            expected[index] = turned.mT if rng.random() < 0.5 else turned
        image = torch.poisson(expected, generator=generator)
        valid = random_validity(image.numpy(), _MASKED, rng)[:, None]
        return {'image': image.numpy()[:, None] * valid,
                'expected': expected.numpy()[:, None], 'valid': valid}


def counts_loss(model, batch, step, dtype):
    """
    Compute the loss of `ExpectedCounts`.

    For `astro_denoise.training.loop.train`: squared errors over the
    Poisson variance pixel by pixel, the same over whole images, and the
    likelihood of the predicted variance.
    """
    image, valid, truth = (batch[name]
                           for name in ('image', 'valid', 'expected'))
    expected, log_variance = model(image, valid, dtype=dtype)
    squared = (expected - truth).square()
    relative = squared / (truth + 0.3)
    whole = (squared * valid).sum((1, 2, 3)) / (truth * valid).sum((1, 2, 3))
    fraction = squared.detach() / (expected.detach() + 0.3)
    likelihood = 0.5 * (fraction * torch.exp(-log_variance) + log_variance)
    likelihood = (likelihood * valid).mean()
    loss = ((relative * valid).mean() + whole.mean() + 0.1 * likelihood
            + 0.02 * (relative * (1.0 - valid)).mean())
    return loss, {'share of noise': float(whole.mean().detach()),
                  'likelihood': float(likelihood.detach())}


@torch.no_grad()
def _calibrate(network, batches, n_batches, seed):
    """Learn how images look and how large errors are, and measure them."""
    parts = [{name: torch.from_numpy(plane) for name, plane
              in batches.batch([VALIDATION_SEED + seed, index]).items()}
             for index in range(n_batches)]
    network.learn_statistics(
        *(torch.cat([part[name][:, 0] for part in parts])
          for name in ('image', 'valid')))
    pulls, squared, noise = [], 0.0, 0.0
    for part in parts:
        expected, log_variance = network(part['image'], part['valid'])
        good = part['valid'] > 0
        off = (expected - part['expected'])[good]
        pulls.append(off / network.error(expected, log_variance)[good])
        squared += float(off.square().sum())
        noise += float(part['expected'][good].sum())
    network.error_scale.mul_(torch.cat(pulls).square().mean().sqrt())
    return {'figures': {'squared error over that of counts':
                        round(squared / noise, 4)}}


@dataclass(frozen=True, kw_only=True)
class CountsRecipe(Recipe):
    """
    Recipe of a model of expected counts.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.
    """

    task: str = 'denoise'
    schedule: Schedule

    def train(self, run, *, n_steps=None, n_skies=None):
        """Draw skies, train the network, and calibrate it."""
        schedule = self.schedule.with_steps(n_steps)
        n_skies = n_skies or self.n_skies
        with sky_folder(run) as folder:
            batches, held_out = (
                CountsBatches(*(
                    SkyStore(folder, n, seed, kind=kind,
                             progress_bar=run.shows_progress)
                    for kind in ('tiers', 'nuisances')))
                for n, seed in ((n_skies, run.seed),
                                (max(n_skies // 10, 1),
                                 VALIDATION_SEED + run.seed)))
            network, log = train(
                ExpectedCounts(), batches.batch, counts_loss, schedule, run,
                configuration={'method': 'expected counts',
                               'n_skies': n_skies,
                               'batch_size': batches.batch_size})
            network.cpu().eval().requires_grad_(requires_grad=False)
            found = _calibrate(network, held_out, 40, run.seed)
        return TrainedNetwork(network, log, {
            'n_steps': schedule.n_steps, 'n_skies': n_skies}, found)


#: Recipes by name.
RECIPES = {'gc-counts': CountsRecipe(
    name='gc-counts', summary='expected counts of gamma-ray images',
    n_skies=16_384, schedule=Schedule(3000, 1.5e-3))}
