# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The finder of stars in CCD frames, ``ccd-stars``: stars against galaxies,
cosmic rays, dead columns and bleeding trails.
"""

from dataclasses import dataclass

import numpy as np

from ...inference.cores import count_cores
from ...models.galactic_center import SourceSegmenter
from ..exposures import ExposureSampler
from ..loop import train
from ..options import Schedule
from ..scenes import draw_scenes
from .saving import Recipe, TrainedNetwork
from .segmenter import calibrate_probability, segmentation_loss

__all__ = ['FAINTEST', 'RECIPES', 'StarRecipe', 'StarSampler',
           'train_star_finder']

#: Stars fainter than this, in units of a matched filter's noise, are not
#: looked for.
FAINTEST = 3.0

_SCENE_SEED = 40


class StarSampler:
    """
    Draw batches of CCD frames with their stars.

    Parameters
    ----------
    scenes : list of `~astro_denoise.training.scenes.Scene`
        The skies.

    batch_size : int, optional
        Patches in a batch.

    patch : int, optional
        Pixels per side of a patch.
    """

    def __init__(self, scenes, *, batch_size=8, patch=128):
        self._sampler = ExposureSampler(
            scenes, patch=patch, n_clean=batch_size, n_copies=1,
            empty_share=0.1, star_maps=True)

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
            As that of `~astro_denoise.training.recipes.segmenter.SkySampler`,
            ``image`` being the standardized frame.
        """
        drawn = self._sampler.batch(seed)
        flux, significance, *offset = np.moveaxis(drawn['stars'], 1, 0)
        flux = np.where(significance >= FAINTEST, flux, 0.0)
        valid = drawn['valid']
        position = np.zeros((len(flux), 3, *flux.shape[1:]), np.float32)
        return {'image': drawn['x'] * valid, 'valid': valid,
                'flux': flux[:, None].astype(np.float32),
                'offset': np.stack(offset, 1), 'position': position}


def train_star_finder(model, scenes, schedule, run=None, *, batch_size=8):
    """
    Train a finder of stars in CCD frames.

    Parameters
    ----------
    model : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The network, of the kind ``'ccd'``; trained in place.

    scenes : list of `~astro_denoise.training.scenes.Scene`
        Skies to cut patches from.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the exposures, devices and checkpoint.

    batch_size : int, optional
        Patches of 128x128 pixels a step.

    Returns
    -------
    model : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    sampler = StarSampler(scenes, batch_size=batch_size)
    return train(model, sampler.batch, segmentation_loss, schedule, run,
                 configuration={'method': 'stars', 'model': model.config,
                                'n_scenes': len(scenes),
                                'batch_size': batch_size})


@dataclass(frozen=True, kw_only=True)
class StarRecipe(Recipe):
    """
    Recipe of a finder of stars.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    widths : tuple of int
        Channels of the levels of the network.
    """

    task: str = 'segment'
    schedule: Schedule
    widths: tuple

    def train(self, run, *, n_steps=None, n_skies=None):
        """Train the network and calibrate its probabilities."""
        scenes = draw_scenes(n_skies or self.n_skies,
                             seed=_SCENE_SEED + run.seed - 1,
                             n_workers=count_cores())
        schedule = self.schedule.with_steps(n_steps)
        network, log = train_star_finder(
            SourceSegmenter(kind='ccd', widths=self.widths), scenes,
            schedule, run)
        others = draw_scenes(16, seed=_SCENE_SEED + 1000)
        found = calibrate_probability(network, StarSampler(others), 40,
                                      run.seed)
        return TrainedNetwork(network, log, {'n_steps': schedule.n_steps},
                              found)


#: Recipes by name.
RECIPES = {'ccd-stars': StarRecipe(
    name='ccd-stars', summary='stars in optical frames',
    schedule=Schedule(3000, 1.5e-3), widths=(24, 48, 72), n_skies=160)}
