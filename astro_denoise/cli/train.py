# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise train``.
"""

import argparse
import os
from pathlib import Path

from ..training.recipes.names import RECIPE_NAMES
from .common import (
    add_command,
    add_hdu,
    add_overwrite,
    add_progress,
    check_outputs,
    number_or_keyword,
    shows_progress,
    tell,
)

__all__ = ['add_train']

_METHODS = ('noise2void', 'n2v2', 'pn2v', 'noise2noise', 'gr2r')

# What the two kinds of training have no use for.
_NOT_FOR_RECIPES = ('frames', 'method', 'minutes', 'gain', 'read_noise',
                    'saturation', 'hdu', 'model', 'checkpoint_minutes')


def add_train(commands):
    """
    Add the command that trains models.
    """
    parser = add_command(
        commands, 'train', _run_train,
        summary='Train a model on your frames, or a shipped model anew.',
        usage='(FRAME... --method NAME | --recipe NAME) -o OUT',
        example='*.fits --method gr2r -o survey.safetensors --minutes 15')
    add = parser.add_argument
    add('frames', nargs='*', metavar='FRAME', help=argparse.SUPPRESS)
    add('--method', choices=_METHODS, metavar='NAME',
        help=f'{", ".join(_METHODS[:-1])} or {_METHODS[-1]}')
    add('--recipe', choices=RECIPE_NAMES, metavar='NAME',
        help='a shipped model, such as ccd')
    add('-o', '--output', required=True, metavar='OUT',
        help='the weights, .safetensors; the log goes beside')
    add('--minutes', type=float, metavar='N', help='time for the training')
    add('--steps', type=int, metavar='N',
        help='default: 4000, or those of the recipe')
    for name, what in (('gain', 'electron/adu'), ('read-noise', 'electron'),
                       ('saturation', 'lowest bad value')):
        add(f'--{name}', type=number_or_keyword, metavar='VALUE',
            help=f'{what}, or the header keyword')
    add_hdu(parser)
    add('--model', metavar='NAME', help='what to start from')
    add('--seed', type=int, metavar='N', help='same seed, same model')
    add('--checkpoint', metavar='PATH',
        help='resume from there: a file, of recipes a folder')
    add('--checkpoint-minutes', type=float, metavar='N',
        help=argparse.SUPPRESS)
    add('--threads', type=int, metavar='N', help='processor threads')
    add_overwrite(parser)
    add_progress(parser)


def _run_train(options):
    output = Path(options.output)
    _check(options)
    beside = [output.with_suffix('.ecsv')]
    if options.recipe is None:
        beside.append(output.with_suffix('.png'))
    check_outputs(options, (('-o', output, ('.safetensors',)),
                            *(('-o', path, ()) for path in beside)),
                  (*options.frames, options.model, options.checkpoint))
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    run = _train_on_frames if options.recipe is None else _train_recipe
    model = run(options, output, *beside)
    if _is_first():
        tell(output)
        if options.recipe is None:
            from ..training.flux_kept import flux_kept_text
            from ..training.judgement import score_text

            figures = model.metadata['figures']
            tell(score_text(figures['squared_errors']))
            tell(flux_kept_text(figures['flux_kept']))
    return 0


def _is_first():
    """Whether this process is alone, or the first that torchrun started."""
    return os.environ.get('RANK', '0') == '0'


def _check(options):
    if options.recipe is None:
        for name, value in (('FRAME', options.frames),
                            ('--method', options.method)):
            if not value:
                msg = f'{name} is needed (or --recipe)'
                raise ValueError(msg)
        return
    for name in _NOT_FOR_RECIPES:
        if getattr(options, name):
            msg = (f'--recipe takes no {name.replace("_", "-")}, got '
                   f'{getattr(options, name)!r}')
            raise ValueError(msg)


def _train_recipe(options, output, log):
    """Train a shipped model anew; the recipe writes the log."""
    from ..training.recipes.shipped import train_shipped

    train_shipped(options.recipe, output,
                  seed=1 if options.seed is None else options.seed,
                  checkpoint=options.checkpoint, n_steps=options.steps,
                  overwrite=options.overwrite,
                  progress_bar=shows_progress(options))


def _train_on_frames(options, output, log, figure):
    import astro_denoise

    images = list(options.frames)
    epochs = None if options.steps is None else -(-options.steps // 100)
    minutes = options.checkpoint_minutes
    model = astro_denoise.train_denoiser(
        images, options.method, model=options.model, epochs=epochs,
        minutes=options.minutes, seed=options.seed, gain=options.gain,
        read_noise=options.read_noise, saturation=options.saturation,
        hdu=options.hdu, checkpoint=options.checkpoint, name=output.stem,
        progress_bar=shows_progress(options), log=log, figure=figure,
        **({} if minutes is None else {'checkpoint_minutes': minutes}))
    if _is_first():
        model.save(output, overwrite=options.overwrite)
    return model
