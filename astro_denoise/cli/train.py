# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise train``.
"""

import argparse
import os
from pathlib import Path

from ..training.method_names import METHOD_NAMES
from ..training.recipes.names import RECIPE_NAMES
from .common import (
    add_command,
    add_overwrite,
    add_progress,
    check_outputs,
    hdu_place,
    name_rare_options,
    number_or_keyword,
    shows_progress,
    tell_more,
    tell_result,
)

__all__ = ['add_train']

# Options of `train_denoiser`, of which recipes have no use.
_OPTIONS = ('model', 'minutes', 'seed', 'gain', 'read_noise', 'saturation',
            'hdu', 'checkpoint', 'checkpoint_minutes', 'device', 'psf_fwhm',
            'patch', 'patience', 'folder')
_NOT_FOR_RECIPES = ('frames', 'method', 'group_by', *(
    name for name in _OPTIONS if name not in ('seed', 'checkpoint')))


def add_train(commands):
    """
    Add the command that trains models.
    """
    parser = add_command(
        commands, 'train', _run_train,
        summary='Train a model on your frames, or a shipped model anew.',
        usage='(FRAME... [--method NAME] | --recipe NAME) -o OUT',
        example='*.fits -o survey.safetensors --minutes 15')
    add = parser.add_argument
    add('frames', nargs='*', metavar='FRAME', help=argparse.SUPPRESS)
    add('--method', choices=METHOD_NAMES, metavar='NAME',
        help=f'{", ".join(METHOD_NAMES)} (default: {METHOD_NAMES[0]})')
    add('--recipe', choices=RECIPE_NAMES, metavar='NAME',
        help='a shipped model, such as ccd')
    add('-o', '--output', required=True, metavar='OUT',
        help='the weights, .safetensors; the log goes beside')
    add('--minutes', type=float, metavar='N', help='time for the training')
    add('--steps', type=int, metavar='N',
        help='default: 4000, or those of the recipe')
    for name, what in (('gain', 'electron/adu'), ('read-noise', 'electron')):
        add(f'--{name}', type=number_or_keyword, metavar='VALUE',
            help=f'{what}, or the header keyword')
    add('--seed', type=int, metavar='N', help='same seed, same model')
    add('--checkpoint', metavar='PATH',
        help='resume from there: a file, of recipes a folder')
    add('--device', metavar='NAME', help='cpu, cuda, cuda:1 ...')
    _add_rare(add)
    add_overwrite(parser)
    add_progress(parser)
    name_rare_options(parser)


_RARE = {
    '--model': None, '--group-by': None, '--patch': int, '--patience': int,
    '--psf-fwhm': float, '--saturation': number_or_keyword,
    '--hdu': hdu_place, '--folder': None, '--threads': int,
    '--checkpoint-minutes': float}


def _add_rare(add):
    """Add the options that the help has no room for."""
    for name, kind in _RARE.items():
        add(name, type=kind, help=argparse.SUPPRESS)


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
    if not _is_first():
        return 0
    if options.recipe is not None:
        tell_result(options, f'{output}: {options.recipe}')
        return 0
    from ..training.flux_kept import flux_kept_text
    from ..training.judgement import score_text

    figures = model.metadata['figures']
    tell_result(options, f'{output}: {flux_kept_text(figures["flux_kept"])}')
    tell_more(options, score_text(figures['squared_errors']))
    return 0


def _is_first():
    """Tell if this process is alone, or the first that torchrun started."""
    return os.environ.get('RANK', '0') == '0'


def _check(options):
    if options.recipe is None:
        simulated = options.method == 'supervised'
        if simulated == bool(options.frames):
            msg = ('FRAME is needed (or --recipe)' if not simulated else
                   '--method supervised draws its skies and takes no FRAME, '
                   f'got {options.frames[0]!r}')
            raise ValueError(msg)
        if options.group_by and options.method != 'noise2noise':
            msg = (f'--group-by is for --method noise2noise, got '
                   f'{options.group_by!r} for {options.method!r}')
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

    images = None if options.method == 'supervised' else _grouped(
        options.frames, options.group_by)
    given = {name: getattr(options, name) for name in _OPTIONS
             if getattr(options, name) is not None}
    if options.steps is not None:
        given['epochs'] = -(-options.steps // 100)
    model = astro_denoise.train_denoiser(
        images, options.method or METHOD_NAMES[0], name=output.stem,
        progress_bar=shows_progress(options), log=log, figure=figure, **given)
    if _is_first():
        model.save(output, overwrite=options.overwrite)
    return model


def _grouped(paths, keyword):
    """The frames of each field, where a keyword tells the fields."""
    if not keyword:
        return list(paths)
    from astropy.io import fits

    from ..io.fits_files import reading

    fields = {}
    for path in paths:
        with reading(path), fits.open(path) as hdus:
            values = [hdu.header[keyword] for hdu in hdus
                      if keyword in hdu.header]
        if not values:
            msg = f'{path}: --group-by {keyword!r} is in none of its headers'
            raise ValueError(msg)
        fields.setdefault(values[0], []).append(path)
    return list(fields.values())
