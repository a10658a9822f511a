# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The posterior for real images of the Galactic Center, ``galactic-sky``:
that of ``galactic-center``, without the features of its segmenter, trained
further on skies with nuisances.
"""

from dataclasses import dataclass

from ...models.posterior import PosteriorNetwork
from ...models.registry import load_model
from ...simulation.galactic_center import GalacticCenterSimulator
from ..options import Schedule
from .held_out import VALIDATION_SEED, held_out_images
from .posterior import calibrate_posterior, train_posterior
from .saving import Recipe, TrainedNetwork

__all__ = ['RECIPES', 'RealSkyRecipe']


def _without_sources():
    """Make the shipped posterior without the features of sources."""
    shipped = load_model('galactic-center', task='estimate').network
    network = PosteriorNetwork()
    network.load_state_dict({
        name: tensor for name, tensor in shipped.state_dict().items()
        if not name.startswith(('correction.', 'standardised.'))})
    network.spread.fill_(1.0)
    return network.requires_grad_()


@dataclass(frozen=True, kw_only=True)
class RealSkyRecipe(Recipe):
    """
    Recipe of a posterior for real skies.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    rank : int
        Numbers to which what an image says is narrowed in the end.
    """

    task: str = 'estimate'
    schedule: Schedule
    rank: int

    def train(self, run, *, n_steps=None):
        """Train the network, narrow it, and calibrate it."""
        schedule = self.schedule.with_steps(n_steps)
        simulator = GalacticCenterSimulator('fixed', nuisances=True)
        network, log = train_posterior(_without_sources(), schedule, run,
                                       simulator=simulator)
        network = network.cpu().eval()
        typical, _ = held_out_images(simulator, 4000,
                                     2 * VALIDATION_SEED + run.seed)
        network = network.compressed(typical, self.rank)
        return TrainedNetwork(
            network, log, {'n_steps': schedule.n_steps},
            calibrate_posterior(network, simulator, run.seed))


#: Recipes by name.
RECIPES = {'galactic-sky': RealSkyRecipe(
    name='galactic-sky', summary='the same posterior, for real skies',
    schedule=Schedule(4000, 7e-4, ema_decay=0.0), rank=32)}
