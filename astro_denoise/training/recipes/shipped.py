# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train any of the shipped models anew.
"""

from .ccd import RECIPES, train_recipe
from .galactic import GALACTIC_RECIPES, train_galactic
from .paper import PAPER_RECIPES, train_paper

__all__ = ['SHIPPED_RECIPES', 'train_shipped']

_FAMILIES = ((RECIPES, train_recipe), (PAPER_RECIPES, train_paper),
             (GALACTIC_RECIPES, train_galactic))

#: The names of all recipes.
SHIPPED_RECIPES = tuple(sorted(name for recipes, _ in _FAMILIES
                               for name in recipes))


def train_shipped(name, output, *, n_steps=None, **options):
    """
    Train a shipped model anew and write its file.

    Parameters
    ----------
    name : str
        One of `SHIPPED_RECIPES`.

    output : path-like
        The ``.safetensors`` file; the training log is written beside it
        as ``.ecsv``.

    n_steps : int, optional
        Fewer or more steps than the recipe's; epochs for those of the
        source document's networks.

    **options
        ``seed``, ``checkpoint``, ``device``, ``progress_bar`` and
        ``overwrite``, see
        `~astro_denoise.training.recipes.ccd.train_recipe`.

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
    for recipes, train in _FAMILIES:
        if name in recipes:
            steps = 'epochs' if recipes is PAPER_RECIPES else 'n_steps'
            return train(name, output, **{steps: n_steps}, **options)
    msg = f'there is no recipe {name!r}; known are {list(SHIPPED_RECIPES)}'
    raise ValueError(msg)
