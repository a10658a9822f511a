# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The models for images of the Galactic Center, ``galactic-center``: a
segmenter of point sources, a posterior of the parameters that uses its
features, and the shipped pair of both, trained on together.
"""

from dataclasses import dataclass, replace

from ...models.galactic_center import SourceSegmenter
from ...models.posterior import PosteriorNetwork
from ...models.registry import load_model
from ...simulation.galactic_center import GalacticCenterSimulator
from ..options import Schedule
from .held_out import VALIDATION_SEED, held_out_images
from .joint import train_joint
from .posterior import (
    calibrate_posterior,
    draw_features,
    train_head,
    train_posterior,
)
from .saving import Recipe, TrainedNetwork
from .segmenter import SkySampler, calibrate_probability, train_segmenter

__all__ = ['RECIPES', 'PairRecipe', 'PosteriorRecipe', 'SegmenterRecipe']


def _calibrated(segmenter, seed):
    """Calibrate on images as the simulator's default draws them."""
    return calibrate_probability(segmenter, SkySampler(other_share=0.0), 30,
                                 seed)


@dataclass(frozen=True, kw_only=True)
class SegmenterRecipe(Recipe):
    """
    Recipe of a segmenter of point sources.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.
    """

    task: str = 'segment'
    schedule: Schedule

    def train(self, run, *, n_steps=None):
        """Train the network and calibrate its probabilities."""
        schedule = self.schedule.with_steps(n_steps)
        network, log = train_segmenter(SourceSegmenter(), schedule, run)
        return TrainedNetwork(network, log, {'n_steps': schedule.n_steps},
                              _calibrated(network, run.seed))


@dataclass(frozen=True, kw_only=True)
class PosteriorRecipe(Recipe):
    """
    Recipe of a posterior that uses the features of a segmenter.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training without these features.
    """

    task: str = 'estimate'
    schedule: Schedule

    def train(self, run, *, n_steps=None, n_skies=None):
        """Train the network with the shipped segmenter and calibrate it."""
        segmenter = load_model('galactic-center', task='segment')
        schedule = self.schedule.with_steps(n_steps)
        network, log = self.fit(
            segmenter.network, {'name': segmenter.name,
                                'hash': segmenter.hash},
            schedule, run, n_skies)
        found = calibrate_posterior(
            network, GalacticCenterSimulator('legacy'), run.seed)
        return TrainedNetwork(network, log, {'n_steps': schedule.n_steps},
                              found)

    def fit(self, segmenter, described, schedule, run, n_skies=None):
        """
        Train a posterior that averages the features of a segmenter.

        Parameters
        ----------
        segmenter : `~astro_denoise.models.galactic_center.SourceSegmenter`
            The segmenter.

        described : dict of str
            Its ``name`` and ``hash``.

        schedule : `~astro_denoise.training.options.Schedule`
            Length and learning rate of the training without it.

        run : `~astro_denoise.training.options.Run`
            Seed, devices and checkpoint.

        n_skies : int, optional
            Number of images with features instead of the recipe's.

        Returns
        -------
        network : `~astro_denoise.models.posterior.PosteriorNetwork`
            The posterior.

        log : list of dict
            The training log.
        """
        first, log = train_posterior(PosteriorNetwork(), schedule, run)
        network = PosteriorNetwork(sources=described, segmenter=segmenter)
        network.load_state_dict(first.cpu().state_dict(), strict=False)
        drawn = draw_features(
            network, n_skies or self.n_skies,
            replace(run, seed=run.seed + 8), name=f'{self.name}.features')
        return network, log + train_head(network, drawn, run)


@dataclass(frozen=True, kw_only=True)
class PairRecipe(Recipe):
    """
    Recipe of a segmenter and a posterior, which are then trained together.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length of the training of both, and its learning rate, which rises
        and falls in each round.

    batch_sizes : tuple of int
        Images a step, for each round.

    posterior : `PosteriorRecipe`
        Recipe of the posterior to begin with; that of the segmenter is
        the recipe's companion.
    """

    task: str = 'estimate'
    schedule: Schedule
    batch_sizes: tuple
    posterior: PosteriorRecipe

    def train(self, run, *, n_steps=None, n_skies=None):
        """Train one, the other, and both, and calibrate them."""
        schedule = self.schedule.with_steps(n_steps)
        network = self._begun(run, schedule.n_steps / self.schedule.n_steps,
                              n_skies)
        simulator = GalacticCenterSimulator('legacy')
        log = []
        each = schedule.with_steps(
            max(schedule.n_steps // len(self.batch_sizes), 1))
        for number, batch_size in enumerate(self.batch_sizes):
            seed = run.seed + 16 + number
            counts, _ = held_out_images(simulator, 4000,
                                        VALIDATION_SEED + seed - 1)
            network, segmenter, rows = train_joint(
                network, counts, each,
                run.stage(f'{self.name}.{number}', seed=seed),
                batch_size=batch_size)
            network, segmenter = network.cpu(), segmenter.cpu()
            log += [{**row, 'step': row['step'] + number * each.n_steps}
                    for row in rows]
        training = {'n_steps': schedule.n_steps}
        companion = TrainedNetwork(segmenter, log, training,
                                   _calibrated(segmenter, seed))
        return TrainedNetwork(
            network, log, training,
            calibrate_posterior(network, simulator, seed), companion)

    def _begun(self, run, share, n_skies):
        """Train the two one after the other, in their share of steps."""
        stages = [(recipe.schedule.with_steps(
            max(round(share * recipe.schedule.n_steps), 1)),
            run.stage(recipe.name))
            for recipe in (self.companion, self.posterior)]
        segmenter, _ = train_segmenter(SourceSegmenter(), *stages[0])
        network, _ = self.posterior.fit(
            segmenter.cpu(), {'name': self.name, 'hash': ''}, *stages[1],
            n_skies)
        return network


_SUMMARY = 'posterior of six parameters of the Galactic Center'

_SEGMENTER = SegmenterRecipe(
    name='galactic-center.segment', summary='point sources in gamma-ray '
    'images', schedule=Schedule(2500, 1.5e-3))

_POSTERIOR = PosteriorRecipe(
    name='galactic-center.estimate', summary=_SUMMARY, n_skies=300_000,
    schedule=Schedule(9000, 1e-3, ema_decay=0.0))

_PAIR = PairRecipe(
    name='galactic-center', summary=_SUMMARY, n_skies=_POSTERIOR.n_skies,
    schedule=Schedule(22_500, 3e-4), batch_sizes=(64, 64, 128),
    posterior=_POSTERIOR, companion=_SEGMENTER)

#: Recipes by name.
RECIPES = {recipe.name: recipe
           for recipe in (_PAIR, _POSTERIOR, _SEGMENTER)}
