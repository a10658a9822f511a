# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train any of the shipped models anew.
"""

import time
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from ...inference.devices import Runtime
from ...inference.shield import shielded
from ..checkpoints import Checkpoint
from ..options import Run
from .names import RECIPE_MODULES, RECIPE_NAMES
from .saving import output_files, save_trained

__all__ = ['find_recipe', 'train_shipped']


def find_recipe(name):
    """
    Import the recipe of a shipped model.

    Parameters
    ----------
    name : str
        One of ``RECIPE_NAMES`` of
        ``astro_denoise.training.recipes.names``.

    Returns
    -------
    recipe : `~astro_denoise.training.recipes.saving.Recipe`
        The recipe.

    Raises
    ------
    ValueError
        If there is no such recipe.
    """
    for module, names in RECIPE_MODULES.items():
        if name in names:
            return import_module(f'.{module}', __package__).RECIPES[name]
    msg = f'there is no recipe {name!r}; known are {list(RECIPE_NAMES)}'
    raise ValueError(msg)


def train_shipped(name, output, *, seed=1, checkpoint=None, n_steps=None,
                  n_skies=None, device=None, progress_bar=False,
                  overwrite=False):
    """
    Train a shipped model anew and write its file.

    Parameters
    ----------
    name : str
        One of ``RECIPE_NAMES`` of
        ``astro_denoise.training.recipes.names``.

    output : path-like
        The ``.safetensors`` file; the training log is written beside it
        as ``.ecsv``. For ``'galactic-center'`` it is the posterior, and
        the segmenter that it uses is written with the ending
        ``.segment.safetensors``: both are to be installed together.

    seed : int, optional
        Seed of skies, noise and weights.

    checkpoint : path-like, optional
        Folder of checkpoints, from which an interrupted training goes
        on.

    n_steps : int, optional
        Fewer or more steps than the recipe's; epochs for the baseline
        networks, which are trained over and over on the same images.

    n_skies : int, optional
        Fewer or more simulated skies than the recipe's, which draws them
        beforehand. The number for validation and test of the baseline
        networks changes in proportion.

    device : str, optional
        Device to train on.

    progress_bar : bool, optional
        Show a progress bar.

    overwrite : bool, optional
        Replace existing files.

    Returns
    -------
    model : `~astro_denoise.models.Model`
        The trained model.

    Raises
    ------
    ValueError
        If there is no such recipe, ``output`` has another ending, a
        number is not positive, ``seed`` no integer or negative, or
        ``n_skies`` is given for a recipe that draws skies anew for every
        step.

    OSError
        If the weights or the log exist, or cannot be written.

    Examples
    --------
    One epoch on few images, for a first look:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from astro_denoise.training import train_shipped
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = train_shipped('gc-gaussian', Path(folder) /
    ...                           'new.safetensors', n_steps=1, n_skies=20)
    >>> print(model.name, model.task)
    gc-gaussian denoise
    """
    recipe = find_recipe(name)
    numbers = {key: value for key, value in (
        ('n_steps', n_steps), ('n_skies', n_skies)) if value is not None}
    for key, value in numbers.items():
        if value < 1:
            msg = f'{key} must be positive, got {value!r}'
            raise ValueError(msg)
    if n_skies is not None and recipe.n_skies is None:
        msg = (f'n_skies must be None for the recipe {name!r}, which draws '
               f'skies anew for every step, got {n_skies!r}')
        raise ValueError(msg)
    if (isinstance(seed, bool) or not isinstance(seed, int | np.integer)
            or seed < 0):
        msg = f'seed must be an integer, not negative, got {seed!r}'
        raise ValueError(msg)
    files = output_files(recipe, output, overwrite=overwrite)
    started = time.monotonic()
    runtime = Runtime.resolve(device)
    if checkpoint is not None:
        checkpoint = Path(checkpoint) / f'{name}.pt'
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    run = Run(seed=seed, runtime=runtime, checkpoint=Checkpoint(checkpoint),
              progress_bar=progress_bar)
    with shielded(), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        trained = recipe.train(run, **numbers)
    return save_trained(recipe, trained, files, {
        'command': f'astro-denoise train --recipe {name} --seed {seed}',
        'seed': seed,
        'minutes': round((time.monotonic() - started) / 60.0, 1)},
        overwrite=overwrite)
