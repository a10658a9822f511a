# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise demo``.
"""


from .common import (
    add_command,
    add_model,
    add_overwrite,
    add_progress,
    shows_progress,
)

__all__ = ['add_demo']


def add_demo(commands):
    """
    Add the command that shows what the package does.
    """
    parser = add_command(
        commands, 'demo', _run_demo,
        summary='Denoise the two frames that come with the package.',
        usage='[-o FOLDER] [options]', example='-o demo/')
    parser.add_argument('-o', '--output', default='.', metavar='FOLDER',
                        help='where the files go (default: here)')
    add_model(parser, 'ccd')
    add_overwrite(parser)
    add_progress(parser)


def _run_demo(options):
    from ..demo import run_demo

    run_demo(options.output, model=options.model,
             overwrite=options.overwrite,
             progress_bar=shows_progress(options),
             quiet=options.verbosity < 0)
    return 0
