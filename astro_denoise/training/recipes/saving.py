# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Recipes of shipped models, and the files that they make.
"""

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ... import __version__
from ...models.registry import Model
from ..report import check_outputs, write_log

__all__ = ['Recipe', 'TrainedNetwork', 'output_files', 'save_trained']


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    Recipe of a shipped model; each family derives a class of its own.

    Parameters
    ----------
    name : str
        Name of the recipe. What follows a dot tells models of one name
        apart.

    task : {'denoise', 'segment', 'estimate'}
        Task of the model.

    summary : str
        One line for the header of the model.

    n_skies : int, optional
        Number of skies that are drawn before the training; by default
        they are drawn anew for every step.

    companion : `Recipe`, optional
        Recipe of a second model that is made at the same time, and that
        the first cannot do without.
    """

    name: str
    task: str
    summary: str
    n_skies: int | None = None
    companion: 'Recipe | None' = None

    def train(self, run, *, n_steps=None, n_skies=None):
        """
        Train the network.

        Parameters
        ----------
        run : `~astro_denoise.training.options.Run`
            Seed, devices and checkpoint.

        n_steps : int, optional
            Number of steps instead of the recipe's.

        n_skies : int, optional
            Number of skies instead of the recipe's; recipes that draw
            none beforehand do without this parameter.

        Returns
        -------
        trained : `TrainedNetwork`
            The network and what to write about it.
        """
        raise NotImplementedError


@dataclass
class TrainedNetwork:
    """
    A network as a recipe made it.

    Parameters
    ----------
    network : `torch.nn.Module`
        The network, on the processor.

    log : list of dict
        Rows of the training log.

    training : dict
        Facts of the training for the header of the model.

    found : dict, optional
        Other entries of the header, such as ``figures``.

    companion : `TrainedNetwork`, optional
        The network that the recipe's companion describes.
    """

    network: nn.Module
    log: list
    training: dict
    found: dict = field(default_factory=dict)
    companion: 'TrainedNetwork | None' = None


def output_files(recipe, output, *, overwrite=False):
    """
    Name the files that a recipe writes, and refuse bad names.

    Parameters
    ----------
    recipe : `Recipe`
        The recipe.

    output : path-like
        The ``.safetensors`` file of its model.

    overwrite : bool, optional
        Whether existing files may be replaced.

    Returns
    -------
    files : list of tuple of `~pathlib.Path`
        Weights and log of the model and, if there is one, of its
        companion, whose task is in the name.

    Raises
    ------
    ValueError
        If the name has another ending.

    OSError
        If one of them exists, or cannot be written.
    """
    paths = [Path(output)]
    if recipe.companion is not None:
        paths.append(paths[0].with_suffix(
            f'.{recipe.companion.task}.safetensors'))
    return [check_outputs(path, overwrite=overwrite) for path in paths]


def save_trained(recipe, trained, files, facts, *, overwrite=False):
    """
    Write what a recipe made: weights and log.

    Parameters
    ----------
    recipe : `Recipe`
        The recipe.

    trained : `TrainedNetwork`
        What it made.

    files : list of tuple of `~pathlib.Path`
        From `output_files`.

    facts : dict
        Command, seed and time of the training, for the header.

    overwrite : bool, optional
        Replace existing files.

    Returns
    -------
    model : `~astro_denoise.models.Model`
        The model.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    (path, log), *others = files
    if trained.companion is not None:
        companion = save_trained(recipe.companion, trained.companion, others,
                                 facts, overwrite=overwrite)
        trained.network.config['sources'] = {'name': companion.name,
                                             'hash': companion.hash}
    model = Model(trained.network, {
        'name': recipe.name.partition('.')[0], 'task': recipe.task,
        'version': __version__, 'licence': 'BSD-3-Clause',
        'summary': recipe.summary, 'training': {**facts, **trained.training},
        **trained.found})
    model.save(path, overwrite=overwrite)
    write_log(trained.log, model, log)
    return model
