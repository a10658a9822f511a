# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The models for CCD frames, ``ccd`` and ``ccd-mmse``: trained on simulated
skies, whose truth is known. ``ccd.small`` has half of the operations for a
pixel, and learns the answers of the model that ships.
"""

from dataclasses import dataclass, field, replace

import torch

from ...inference.cores import count_cores
from ...models.denoiser import CCDDenoiser
from ...models.registry import load_model
from ..calibration import calibrate_uncertainty
from ..distillation import distillation_loss
from ..exposures import ExposureSampler
from ..loop import train
from ..losses import supervised_loss
from ..options import Schedule
from ..restoration import design_kernels
from ..scenes import draw_scenes, draw_survey_scenes
from .saving import Recipe, TrainedNetwork

__all__ = ['KERNEL_FWHMS', 'RECIPES', 'CCDRecipe', 'train_supervised']

# Widths of the point-spread function, in pixels, with restoring kernels.
KERNEL_FWHMS = tuple(round(1.2 * 8.0**(index / 12.0), 4)
                     for index in range(13))

_SCENE_SEED = 20

# What errors are calibrated on: skies, their sources per 10^6 pixels, a little
# more than in a survey, and batches.
_N_VALIDATION, _DENSITY, _N_BATCHES = 72, 200.0, 240

# Errors hold what is lost of faint sources, though those of blank sky become
# too large by it.
_PULLS = {'faint_pulls': 1.0, 'blank_pulls': 0.9}


def train_supervised(model, scenes, schedule, run=None, *, bias_weight,
                     teacher=None, patch=128, n_clean=4, n_copies=4):
    """
    Train a denoiser on simulated exposures.

    Parameters
    ----------
    model : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network; trained in place.

    scenes : list of `~astro_denoise.training.scenes.Scene`
        Noise-free skies to cut patches from.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the noise, devices and checkpoint.

    bias_weight : float
        Weight of the bias of the flux, see
        `~astro_denoise.training.losses.supervised_loss`.

    teacher : `~astro_denoise.models.Model`, optional
        A larger model, whose answers the network learns.

    patch, n_clean, n_copies : int, optional
        See `~astro_denoise.training.exposures.ExposureSampler`.

    Returns
    -------
    model : `~astro_denoise.models.denoiser.CCDDenoiser`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    sampler = ExposureSampler(scenes, patch=patch, n_clean=n_clean,
                              n_copies=n_copies)
    configuration = {'method': 'supervised', 'model': model.config,
                     'bias_weight': bias_weight, 'n_scenes': len(scenes),
                     'patch': patch, 'n_clean': n_clean, 'n_copies': n_copies}
    loss = supervised_loss(n_copies, bias_weight)
    if teacher is not None:
        configuration['teacher'] = teacher.hash
        loss = distillation_loss(teacher.network, n_copies, bias_weight)
    return train(model, sampler.batch, loss, schedule, run,
                 configuration=configuration)


@dataclass(frozen=True, kw_only=True)
class CCDRecipe(Recipe):
    """
    Recipe of a denoiser for CCD frames.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    bias_weight : float
        Weight of the bias of the flux in the loss.

    n_clean, n_copies : int
        Patches of a batch, and noisy copies of each.

    kernel_fwhms : tuple of float, optional
        Widths of the restoring kernels.

    calibration_scale : float, optional
        See `~astro_denoise.models.denoiser.CCDDenoiser`.

    start : `CCDRecipe`, optional
        Recipe whose result is trained further.

    network : dict, optional
        Options of `~astro_denoise.models.denoiser.CCDDenoiser` for a
        network other than that which ships.

    teacher : str, optional
        Name of the model that ships whose answers are learnt.
    """

    task: str = 'denoise'
    n_skies: int = 300
    schedule: Schedule
    bias_weight: float
    n_clean: int
    n_copies: int
    kernel_fwhms: tuple = ()
    calibration_scale: float
    start: 'CCDRecipe | None' = None
    network: dict = field(default_factory=dict)
    teacher: str | None = None

    def train(self, run, *, n_steps=None, n_skies=None):
        """Train the network and calibrate its errors."""
        scenes = draw_scenes(n_skies or self.n_skies,
                             seed=_SCENE_SEED + run.seed - 1,
                             n_workers=count_cores(),
                             progress_bar=run.progress_bar)
        network, log = self._trained(scenes, run, n_steps)
        network = network.cpu()
        # Most bright pixels of a survey are those of compact sources.
        validation = draw_survey_scenes(_N_VALIDATION, density=_DENSITY,
                                        seed=_SCENE_SEED + 1000 + run.seed)
        calibrate_uncertainty(network, validation, n_batches=_N_BATCHES,
                              seed=run.seed, **_PULLS)
        facts = {'n_steps': self.schedule.with_steps(n_steps).n_steps,
                 'bias_weight': self.bias_weight, 'n_scenes': len(scenes),
                 'start': self.start and self.start.name}
        if self.teacher is not None:
            facts['teacher'] = {'name': self.teacher,
                                'hash': load_model(self.teacher).hash}
        return TrainedNetwork(network, log, facts)

    def _trained(self, scenes, run, n_steps):
        """Train the network after that which it starts from."""
        torch.manual_seed(run.seed)
        network = CCDDenoiser(kernel_fwhms=self.kernel_fwhms,
                              calibration_scale=self.calibration_scale,
                              **self.network)
        if self.kernel_fwhms:
            network.kernels.copy_(torch.from_numpy(
                design_kernels(self.kernel_fwhms)))
        if self.start is not None:
            first, _ = self.start._trained(scenes, run, n_steps)
            # Errors are calibrated at the end.
            trained = {name: tensor for name, tensor
                       in first.state_dict().items()
                       if name != 'calibration'}
            network.load_state_dict({**network.state_dict(), **trained})
        return train_supervised(
            network, scenes, self.schedule.with_steps(n_steps),
            run.stage(self.name), bias_weight=self.bias_weight,
            teacher=self.teacher and load_model(self.teacher),
            n_clean=self.n_clean, n_copies=self.n_copies)


_MMSE = CCDRecipe(
    name='ccd-mmse',
    summary='lowest error per pixel; pulls faint flux down',
    schedule=Schedule(16_000, 1.5e-3), bias_weight=0.0, n_clean=16,
    n_copies=1, calibration_scale=0.05)

_CCD = CCDRecipe(
    name='ccd', summary='keeps the flux of faint sources; the default',
    schedule=Schedule(4000, 6e-4), bias_weight=60.0, n_clean=4, n_copies=4,
    kernel_fwhms=KERNEL_FWHMS, calibration_scale=1.0, start=_MMSE)

_SMALL = replace(
    _CCD, name='ccd.small', schedule=Schedule(16_000, 1.5e-3), start=None,
    network={'widths': (64, 64, 96), 'shuffle': 4, 'gated': True},
    teacher='ccd')

#: Recipes by name.
RECIPES = {recipe.name: recipe for recipe in (_CCD, _MMSE, _SMALL)}
