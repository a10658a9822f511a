# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise models``.
"""

import textwrap

from .common import NAME, add_command, describe_error, print_error, tell

__all__ = ['add_models']


# Words that the weights of some shipped models were saved with.
_FORMER = 'source document', 'student project'


def add_models(commands):
    """
    Add the command that lists models.
    """
    parser = add_command(
        commands, 'models', _run_models,
        summary='List the models that come with the package, or files.',
        usage='[FILE...]', example='')
    parser.add_argument('files', nargs='*', metavar='FILE',
                        help='.safetensors files, or folders of them')


def _run_models(options):
    from ..models.registry import read_models

    tasks = {'denoise': [], 'segment': [], 'estimate': []}
    errors = []
    for name, model in read_models(options.files):
        if isinstance(model, Exception):
            errors.append(model)
        else:
            tasks.setdefault(model.task, []).append((name, model))
    for task, found in tasks.items():
        if found:
            tell(f'{NAME} {task} --model')
        for name, model in found:
            # Not folded: the name of a file may be long.
            tell(f'  {name:16s} {model.hash[:8]}  ' + textwrap.fill(
                model.metadata.get('summary', '').replace(*_FORMER), 50,
                subsequent_indent=29 * ' '))
            if options.files:
                for line in _facts(model):
                    tell(f'{18 * " "}{line}')
    if any(tasks.values()):
        tell('The number begins the SHA-256 of the weights (DNHASH in '
             'headers).')
    for error in errors:
        print_error(describe_error(error))
    return int(bool(errors))


def _facts(model):
    """
    Yield lines on the training frames and the scores of a model.
    """
    figures = model.metadata.get('figures', {})
    training = model.metadata.get('training', {})
    frames = training.get('frames', {})
    if 'n_frames' in frames:
        noise = ', '.join(
            f'{name.replace("_", " ")} {frames[name]:g}'
            for name in ('level', 'gain', 'read_noise', 'correlation')
            if frames.get(name))
        yield (f'{training["method"]} on {frames["n_frames"]} frames, noise: '
               f'{" or ".join(frames.get("noise", []))} ({noise})')
    if 'squared_errors' in figures:
        from ..training.judgement import score_text

        yield from score_text(figures['squared_errors']).splitlines()
    if 'flux_kept' in figures:
        from ..training.flux_kept import flux_kept_text

        yield flux_kept_text(figures['flux_kept'])
