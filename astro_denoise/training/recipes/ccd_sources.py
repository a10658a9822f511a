# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The finder of sources in CCD frames, ``ccd-sources``: stars and galaxies,
alone, crowded, in pairs and in halos, against cosmic rays and hot pixels.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ...inference.cores import count_cores
from ...inference.devices import Runtime
from ...models.source_finder import SourceFinder
from ..loop import train
from ..options import Schedule
from ..source_batches import SourceSampler
from ..source_calibration import calibrate_candidates, label_candidates
from ..source_scenes import draw_source_scenes
from .held_out import VALIDATION_SEED
from .saving import Recipe, TrainedNetwork

__all__ = ['RECIPES', 'SourceRecipe', 'center_loss', 'train_source_finder']

_SCENE_SEED = 70

# Weights of the parts of the loss.
_CENTER, _OFFSET, _STAR, _ARTEFACT = 20.0, 0.3, 0.3, 5.0

# Signal-to-noise ratio of sources beside which centers count three times, as
# they do where charge is of no source.
_BRIGHT = 10.0


def center_loss(model, batch, step, dtype):
    """
    Compute the loss of `SourceFinder`.

    For `astro_denoise.training.loop.train`. Cross-entropy of the pixels
    with and without a center, and of those with and without charge of no
    source; near centers, that of stars and others, and the distance to the
    center.
    """
    answer = model(batch['image'], batch['valid'], batch['context'],
                   dtype=dtype)
    valid, maps = batch['valid'], batch['maps']
    center, snr, dx, dy, star = maps.split(1, 1)
    # Pairs are told apart beside bright sources, alone or not, and cosmic
    # rays from sharp stars.
    counts = ((F.max_pool2d(snr, 5, 1, 2) > _BRIGHT)
              | (F.max_pool2d(batch['artefact'], 3, 1, 1) > 0))
    entropy = F.binary_cross_entropy_with_logits(
        answer['center'], center, weight=valid * (1.0 + 2.0 * counts))
    artefact = F.binary_cross_entropy_with_logits(
        answer['artefact'], batch['artefact'], weight=valid)
    near = (snr > 0) * valid
    weight = near * (snr / 20.0).clamp(0.1, 1.0)
    distance = (F.smooth_l1_loss(answer['dx'], dx, reduction='none',
                                 beta=0.2)
                + F.smooth_l1_loss(answer['dy'], dy, reduction='none',
                                   beta=0.2))
    total = weight.sum().clamp_min(1.0)
    offset = (distance * weight).sum() / total
    kind = F.binary_cross_entropy_with_logits(
        answer['star'], star, weight=near, reduction='sum'
    ) / near.sum().clamp_min(1.0)
    numbers = {'center': float(entropy.detach()),
               'offset': float(offset.detach()),
               'star': float(kind.detach()),
               'artefact': float(artefact.detach())}
    return (_CENTER * entropy + _OFFSET * offset + _STAR * kind
            + _ARTEFACT * artefact), numbers


def train_source_finder(model, scenes, schedule, run=None, *, batch_size=8):
    """
    Train a finder of sources in CCD frames.

    Parameters
    ----------
    model : `~astro_denoise.models.source_finder.SourceFinder`
        The network; trained in place.

    scenes : list of `~astro_denoise.training.source_scenes.SourceScene`
        Skies to cut patches from.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the exposures, devices and checkpoint.

    batch_size : int, optional
        Patches of 128x128 pixels a step.

    Returns
    -------
    model : `~astro_denoise.models.source_finder.SourceFinder`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    sampler = SourceSampler(scenes, batch_size=batch_size)
    return train(model, sampler.batch, center_loss, schedule, run,
                 configuration={'method': 'sources', 'model': model.config,
                                'n_scenes': len(scenes),
                                'batch_size': batch_size})


@dataclass(frozen=True, kw_only=True)
class SourceRecipe(Recipe):
    """
    Recipe of a finder of sources.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    widths : tuple of int
        Channels of the levels of the network.

    n_calibration : int
        Frames of 384x384 pixels that the probabilities are calibrated on.
    """

    task: str = 'segment'
    schedule: Schedule
    widths: tuple
    n_calibration: int

    def train(self, run, *, n_steps=None, n_skies=None):
        """Train the network and calibrate its probabilities."""
        scenes = draw_source_scenes(n_skies or self.n_skies,
                                    seed=_SCENE_SEED + run.seed - 1,
                                    n_workers=count_cores(),
                                    progress_bar=run.shows_progress)
        schedule = self.schedule.with_steps(n_steps)
        network, log = train_source_finder(
            SourceFinder(widths=self.widths), scenes, schedule, run)
        network = network.cpu().eval()
        n_frames = max(8, round(self.n_calibration * schedule.n_steps
                                / self.schedule.n_steps))
        labeled = label_candidates(
            network, n_frames, seed=VALIDATION_SEED + run.seed,
            runtime=Runtime(torch.device('cpu'), run.runtime.dtype))
        figures = calibrate_candidates(network, labeled, seed=run.seed)
        return TrainedNetwork(network, log, {'n_steps': schedule.n_steps},
                              {'figures': figures})


#: Recipes by name.
RECIPES = {'ccd-sources': SourceRecipe(
    name='ccd-sources', summary='sources in optical frames',
    schedule=Schedule(14_000, 2e-3), widths=(32, 64, 96),
    n_calibration=356, n_skies=2400)}
