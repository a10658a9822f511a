# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the shipped models are trained.
"""

import os
import time
from pathlib import Path

import torch

from ... import __version__
from ...inference.devices import resolve_device, resolve_precision
from ...models.denoiser import CCDDenoiser
from ...models.registry import Model
from ..calibration import calibrate_uncertainty
from ..report import check_outputs, write_log
from ..restoration import design_kernels
from ..scenes import draw_scenes, draw_survey_scenes
from ..supervised import train_supervised

__all__ = ['KERNEL_FWHMS', 'RECIPES', 'train_recipe']

# Widths of the point-spread function, in pixels, with restoring kernels.
KERNEL_FWHMS = tuple(round(1.2 * 8.0**(index / 12.0), 4)
                     for index in range(13))

# What each shipped model is trained with; ``start`` names the recipe whose
# result is trained further.
RECIPES = {
    'ccd-mmse': {
        'kernel_fwhms': (), 'bias_weight': 0.0, 'n_steps': 16000,
        'n_clean': 16, 'n_copies': 1, 'calibration_scale': 0.05,
        'learning_rate': 1.5e-3, 'start': None,
        'summary': 'lowest error per pixel; pulls faint flux down'},
    'ccd': {
        'kernel_fwhms': KERNEL_FWHMS, 'bias_weight': 60.0, 'n_steps': 4000,
        'n_clean': 4, 'n_copies': 4, 'calibration_scale': 1.0,
        'learning_rate': 6e-4, 'start': 'ccd-mmse',
        'summary': 'keeps the flux of faint sources; the default'},
}

_SCENE_SEED = 20
_N_SCENES = 300

# What errors are calibrated on: skies, their sources per 10^6 pixels, a little
# more than in a survey, and batches.
_N_VALIDATION, _DENSITY, _N_BATCHES = 72, 200.0, 240


def _train(name, scenes, *, seed, folder, n_steps=None, progress_bar=False,
           device=None):
    """The trained network of a recipe, and its log."""
    recipe = RECIPES[name]
    device = resolve_device(device)
    torch.manual_seed(seed)
    network = CCDDenoiser(kernel_fwhms=recipe['kernel_fwhms'],
                          calibration_scale=recipe['calibration_scale'])
    if recipe['kernel_fwhms']:
        network.kernels.copy_(torch.from_numpy(
            design_kernels(recipe['kernel_fwhms'])))
    if recipe['start'] is not None:
        first, _ = _train(recipe['start'], scenes, seed=seed, folder=folder,
                          n_steps=n_steps, device=device,
                          progress_bar=progress_bar)
        # Errors are calibrated at the end.
        trained = {name: tensor for name, tensor in first.state_dict().items()
                   if name != 'calibration'}
        network.load_state_dict({**network.state_dict(), **trained})
    checkpoint = None
    if folder is not None:
        checkpoint = Path(folder) / f'{name}.pt'
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    return train_supervised(
        network, bias_weight=recipe['bias_weight'],
        n_clean=recipe['n_clean'], n_copies=recipe['n_copies'],
        n_steps=n_steps or recipe['n_steps'], scenes=scenes, seed=seed,
        learning_rate=recipe['learning_rate'],
        dtype=resolve_precision('auto', device), device=device,
        checkpoint=checkpoint, progress_bar=progress_bar)


def train_recipe(name, output, *, seed=1, checkpoint=None, n_steps=None,
                 n_scenes=None, device=None, progress_bar=False,
                 overwrite=False):
    """
    Train a shipped model anew and write its file.

    Parameters
    ----------
    name : {'ccd', 'ccd-mmse'}
        The recipe.

    output : path-like
        The ``.safetensors`` file; the training log is written beside it
        as ``.ecsv``.

    seed : int, optional
        Of skies, noise and weights.

    checkpoint : path-like, optional
        Folder of checkpoints, from which an interrupted training goes
        on.

    n_steps : int, optional
        Fewer or more steps than the recipe's.

    n_scenes : int, optional
        Fewer or more skies than the recipe's.

    device : str, optional
        Where to train.

    progress_bar : bool, optional
        Show a progress bar.

    overwrite : bool, optional
        Replace an existing file.

    Returns
    -------
    model : `~astro_denoise.models.Model`
        The trained model.

    Raises
    ------
    ValueError
        If there is no such recipe, or ``output`` has another ending.

    OSError
        If the weights or the log exist, or cannot be written.
    """
    if name not in RECIPES:
        msg = f'there is no recipe {name!r}; known are {sorted(RECIPES)}'
        raise ValueError(msg)
    output, log_path = check_outputs(output, overwrite=overwrite)
    started = time.monotonic()
    scenes = draw_scenes(n_scenes or _N_SCENES, seed=_SCENE_SEED + seed - 1,
                         n_workers=os.cpu_count() or 1,
                         progress_bar=progress_bar)
    network, log = _train(name, scenes, seed=seed, folder=checkpoint,
                          n_steps=n_steps, device=device,
                          progress_bar=progress_bar)
    network = network.cpu()
    # Most bright pixels of a survey are those of compact sources.
    validation = draw_survey_scenes(_N_VALIDATION, density=_DENSITY,
                                    seed=_SCENE_SEED + 1000 + seed)
    calibrate_uncertainty(network, validation, n_batches=_N_BATCHES,
                          seed=seed)
    recipe = RECIPES[name]
    model = Model(network, {
        'name': name, 'task': 'denoise', 'version': __version__,
        'licence': 'BSD-3-Clause', 'summary': recipe['summary'],
        'training': {
            'command': f'astro-denoise train --recipe {name} --seed {seed}',
            'n_steps': n_steps or recipe['n_steps'],
            'bias_weight': recipe['bias_weight'], 'seed': seed,
            'n_scenes': len(scenes), 'start': recipe['start'],
            'minutes': round((time.monotonic() - started) / 60.0, 1)}})
    model.save(output, overwrite=overwrite)
    write_log(log, model, log_path)
    return model
