# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Options and checks that commands share.
"""

import argparse
import os
import sys
import textwrap

from ..io.output import (
    COMPRESSED,
    FITS_ENDINGS,
    atomic_output,
    check_output,
    check_replaces_none,
)
from ..io.table_files import (
    TABLE_ENDINGS,
    check_table_output,
    write_table,
)

__all__ = ['NAME', 'USER_ERRORS', 'add_command', 'add_device', 'add_hdu',
           'add_ignore_flags', 'add_model', 'add_overwrite', 'add_progress',
           'check_outputs', 'counted', 'describe_error', 'hdu_place',
           'name_rare_options', 'new_parser', 'number_or_keyword',
           'print_error', 'printable', 'read_sky', 'shows_progress',
           'table_outputs', 'tell', 'tell_more', 'tell_result',
           'write_figure', 'write_table_and_figure']


NAME = 'astro-denoise'
# What a user can cause; anything else is a bug and keeps its traceback.
USER_ERRORS = (OSError, ValueError, TypeError, ImportError, MemoryError)


def new_parser(make, *args, example, **options):
    """
    Make a parser whose help ends in an example.
    """
    def formatter(prog):
        return argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=30, width=79)

    return make(*args, epilog=f'example:\n  {example}', allow_abbrev=False,
                formatter_class=formatter, **options)


def add_command(commands, name, run, *, summary, example, usage):
    """
    Add a command, and the function that runs it.
    """
    parser = new_parser(
        commands.add_parser, name, help=summary[0].lower() + summary[1:-1],
        description=summary, usage=f'{NAME} {name} {usage}'.rstrip(),
        example=f'{NAME} {name} {example}'.rstrip(), add_help=False)
    # Not shown: who reads the help has found it.
    parser.add_argument('-h', '--help', action='help',
                        help=argparse.SUPPRESS)
    parser.set_defaults(run=run, parser=parser, check=lambda options: None)
    return parser


def add_overwrite(parser):
    """
    Add what every command that writes has: --overwrite, --quiet, --verbose.
    """
    add = parser.add_argument
    add('--overwrite', action='store_true', help='replace outputs that exist')
    add('-q', '--quiet', dest='verbosity', action='store_const', const=-1,
        default=0, help='no line on success (-v, --verbose: more lines)')
    add('-v', '--verbose', dest='verbosity', action='store_const', const=1,
        help=argparse.SUPPRESS)


def name_rare_options(parser):
    """
    Name in the description the options that the help has no room for.
    """
    rare = [action.option_strings[-1] for action in parser._actions
            if action.help == argparse.SUPPRESS and action.option_strings
            and not {'--help', '--verbose'}.intersection(
                action.option_strings)]
    parser.description = textwrap.fill(
        f'{parser.description} Also (see the manual): {", ".join(rare)}.',
        79, break_on_hyphens=False, break_long_words=False)


def add_progress(parser):
    """
    Add the option of the progress bar.
    """
    parser.add_argument(
        '--progress', action=argparse.BooleanOptionalAction,
        default=None, help='progress bar (default: on a terminal)')


def add_hdu(parser, what='the image', *, shown=True):
    """
    Add the option that names an HDU.
    """
    parser.add_argument('--hdu', type=hdu_place, metavar='HDU',
                        help=f'{what}: a number, NAME or NAME,VERSION'
                        if shown else argparse.SUPPRESS)


def add_ignore_flags(parser, *, shown=True):
    """
    Add the option that says which flags of masks are good.
    """
    parser.add_argument(
        '--ignore-flags', default='auto', metavar='FLAGS',
        help=('good flags of masks, such as 4,8 or DETECTED'
              if shown else argparse.SUPPRESS))


def add_device(parser):
    """
    Add the option that names a device.
    """
    parser.add_argument('--device', metavar='NAME',
                        help='cpu or cuda (default: by itself)')


def add_model(parser, default):
    """
    Add the option that names a model.
    """
    parser.add_argument(
        '--model', default=default, metavar='NAME',
        help=f'name or file of weights (default: {default})')


def check_outputs(options, outputs, inputs):
    """
    Refuse bad outputs, of which some may not be wanted, before any work.

    None may be one of the files that are read, or one of the others.
    """
    names = {}
    for name, path, endings in outputs:
        if path is None:
            continue
        if endings is TABLE_ENDINGS:
            check_table_output(path, overwrite=options.overwrite, name=name)
        else:
            check_output(path, overwrite=options.overwrite, name=name,
                         endings=endings,
                         packed=COMPRESSED if endings is FITS_ENDINGS else ())
        check_replaces_none(path, inputs, name=name)
        other = names.setdefault(os.path.realpath(path), name)
        if other != name:
            msg = (f'{name} must be another file than {other}, got '
                   f'{str(path)!r} for both')
            raise ValueError(msg)


def shows_progress(options):
    """
    Decide on the progress bar: by default, on a terminal and not if quiet.
    """
    return (sys.stderr.isatty() and options.verbosity >= 0
            if options.progress is None else options.progress)


def number_or_keyword(text):
    """
    Read a number, or take the text for a header keyword.
    """
    try:
        return float(text)
    except ValueError:
        return text


def hdu_place(text):
    """
    Read the place of an HDU: a number, NAME or NAME,VERSION.
    """
    name, comma, version = text.rpartition(',')
    if not comma:
        return int(text) if text.isdecimal() else text
    if not version.isdecimal():
        msg = f'the version in {text!r} must be a number'
        raise argparse.ArgumentTypeError(msg)
    return name, int(version)


def describe_error(error):
    """
    An error in one line.
    """
    if isinstance(error, FileExistsError) and error.filename is not None:
        return f'{error.filename}: file exists; --overwrite replaces it'
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    return ' '.join(str(error).split()) or type(error).__name__


def printable(text, *, lines=True):
    """
    Make what comes from files and their names harmless to a terminal.

    Escape sequences, which would be obeyed, and whatever else is no letter,
    sign or blank are written as in Python, ``\\x1b`` for instance; so are
    ends of lines without ``lines``.

    Examples
    --------
    >>> from astro_denoise.cli.common import printable
    >>> print(printable('M\x1b[31m 31'))
    M\\x1b[31m 31
    """
    return ''.join(
        character if character.isprintable() or (
            lines and character in '\n\t')
        else character.encode('unicode_escape', 'backslashreplace').decode()
        for character in text)


def tell(text, *, file=None):
    """
    Print text, on the standard output by default.
    """
    file = sys.stdout if file is None else file
    # What the terminal has no letters for is no reason to fail either.
    encoding = getattr(file, 'encoding', None) or 'utf-8'
    print(printable(str(text)).encode(encoding, 'backslashreplace').decode(
        encoding), file=file)


def tell_result(options, text):
    """
    Print the line that says what a command did, unless it is to be quiet.
    """
    if options.verbosity >= 0:
        tell(text)


def tell_more(options, text):
    """
    Print what only those want to know who asked for more.
    """
    if options.verbosity > 0:
        tell(text)


def counted(number, noun):
    """
    Write a number of things: '1 image', '2 images'.
    """
    return f'{number} {noun}{"s"[:number != 1]}'


def print_error(message):
    """
    Print an error on the standard error, in one line.
    """
    tell(f'{NAME}: error: {printable(message, lines=False)}',
         file=sys.stderr)


def read_sky(path, *, hdu=None, seed=None, mask=None, good_bits='auto'):
    """
    Read an image, or a HEALPix map as an image on the grid of the models.

    Counts of a map are placed one by one within their pixels, which keeps
    their noise, unless they are no integers.
    """
    import numpy as np

    from ..io.fits_images import read_image

    try:
        return read_image(path, hdu=hdu, mask=mask, good_bits=good_bits)
    except ValueError:
        from ..sky_maps.healpix_files import find_healpix, read_healpix

        if find_healpix(path, hdu=hdu) is None:
            raise
        if mask is not None:
            msg = f'--mask is for images, and {path} holds a HEALPix map'
            raise ValueError(msg) from None
    sky = read_healpix(path, hdu=hdu)
    whole = not (np.nan_to_num(sky.counts) % 1).any()
    try:
        return sky.to_image(seed=(seed or 0) if whole else None)
    except ValueError as error:
        msg = f'{path}: {error}'
        raise ValueError(msg) from error


def table_outputs(options):
    """List the outputs of a table for `check_outputs`."""
    return (('-o', options.output, TABLE_ENDINGS),
            ('--plot', options.plot, ('.png',)))


def write_table_and_figure(options, table, figure):
    """
    Write a table and its figure where they are wanted.
    """
    if options.output:
        write_table(table, options.output, overwrite=options.overwrite)
    if options.plot:
        write_figure(options, figure)


def write_figure(options, figure):
    """
    Write the figure that --plot names.
    """
    with atomic_output(options.plot,
                       overwrite=options.overwrite) as temporary:
        figure.savefig(temporary, format='png', dpi=150)
