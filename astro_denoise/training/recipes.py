# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The commands that made the shipped models.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table

from .. import __version__
from .._output import atomic_output, check_output
from ..inference.devices import resolve_device, resolve_precision
from ..models import Model
from ..models.denoiser import CCDDenoiser
from .calibration import calibrate_uncertainty
from .scenes import draw_scenes
from .supervised import train_supervised

__all__ = ['RECIPES', 'train_recipe']

# What each shipped model was trained with; ``start`` names the recipe and
# the number of its steps from which another training started.
RECIPES = {
    'ccd-mmse': {
        'kernel_sigmas': (), 'bias_weight': 0.0, 'n_steps': 9000,
        'learning_rate': 1.5e-3, 'start': None,
        'summary': 'lowest error per pixel; pulls faint flux down'},
    'ccd': {
        'kernel_sigmas': (0.6, 1.0, 1.6, 2.5), 'bias_weight': 300.0,
        'n_steps': 9000, 'learning_rate': 1.5e-3, 'start': ('ccd-mmse', 1100),
        'summary': 'keeps the flux of faint sources; the default'},
}

_SCENE_SEED = 20
_N_SCENES = 300


def _started(network, state):
    """Take over what another network of the same trunk has learnt."""
    own = network.state_dict()
    for name, value in state.items():
        own[name][:len(value)] = value
    network.load_state_dict(own)


def _train(name, scenes, *, seed, folder, until=None, n_steps=None,
           progress_bar=False, device=None):
    """The trained network of a recipe, and its log."""
    recipe = RECIPES[name]
    device = resolve_device(device)
    torch.manual_seed(seed)
    network = CCDDenoiser(kernel_sigmas=recipe['kernel_sigmas'])
    if recipe['start'] is not None:
        origin, steps = recipe['start']
        first, _ = _train(origin, scenes, seed=seed, folder=folder,
                          until=steps, n_steps=n_steps, device=device,
                          progress_bar=progress_bar)
        _started(network, first.state_dict())
    checkpoint = None
    if folder is not None:
        suffix = '' if until is None else f'-{until}'
        checkpoint = Path(folder) / f'{name}{suffix}.pt'
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    return train_supervised(
        network, bias_weight=recipe['bias_weight'],
        n_steps=n_steps or recipe['n_steps'], until=until, scenes=scenes,
        seed=seed, learning_rate=recipe['learning_rate'],
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
        If there is no such recipe.
    """
    if name not in RECIPES:
        msg = f'there is no recipe {name!r}; known are {sorted(RECIPES)}'
        raise ValueError(msg)
    output = Path(output)
    check_output(output, overwrite=overwrite)
    started = time.monotonic()
    scenes = draw_scenes(n_scenes or _N_SCENES, seed=_SCENE_SEED + seed - 1,
                         n_workers=os.cpu_count() or 1,
                         progress_bar=progress_bar)
    network, log = _train(name, scenes, seed=seed, folder=checkpoint,
                          n_steps=n_steps, device=device,
                          progress_bar=progress_bar)
    network = network.cpu()
    validation = draw_scenes(24, seed=_SCENE_SEED + 1000 + seed)
    calibrate_uncertainty(network, validation, seed=seed)
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
    table = Table(rows=log)
    for column in table.itercols():
        if column.dtype.kind == 'f':
            column.info.format = '.5g'
    table.meta = {'model': name, 'hash': model.hash,
                  'rows': np.size(table['step']) if len(table) else 0}
    with atomic_output(output.with_suffix('.ecsv'),
                       overwrite=True) as temporary:
        table.write(temporary, format='ascii.ecsv')
    return model
