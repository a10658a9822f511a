# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise``.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import warnings

import astro_denoise

from ..pipeline.waiting import brief_waits
from .check import add_check
from .common import (
    NAME,
    USER_ERRORS,
    describe_error,
    new_parser,
    print_error,
    printable,
)
from .demo import add_demo
from .denoise import add_denoise
from .estimate import add_estimate
from .models import add_models
from .photometry import add_photometry
from .segment import add_segment
from .simulate import add_simulate
from .train import add_train

__all__ = ['main']


def main(args=None):
    """
    Run the command line.

    Parameters
    ----------
    args : list of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    status : int
        0 if all went well, 1 after an error, which stands in one line
        on the standard error, 2 for a wrong command line, and 128 and
        the number of the signal if one stopped the command: 130 for
        Ctrl-C, 143 for the end of a batch job.

    Examples
    --------
    >>> from astro_denoise.cli import main
    >>> status = main(['--version'])  # doctest: +ELLIPSIS
    astro-denoise ...
    >>> status
    0
    """
    if args is None and 'torch' not in sys.modules:
        # This process is the command's own.
        os.environ.update(brief_waits(os.environ))
    try:
        options, unknown = _parser().parse_known_args(args)
        if unknown:
            options.parser.error(
                f'unrecognized arguments: {" ".join(unknown)}')
        options.check(options)
    except SystemExit as stop:  # --help, --version, or a wrong argument
        return stop.code or 0
    with _stopped_by_signal(), _printable_messages():
        try:
            return options.run(options)
        except BrokenPipeError:  # the reader of a pipe has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt as stop:
            print_error('stopped')
            return 128 + (stop.args[0] if stop.args else signal.SIGINT)
        except USER_ERRORS as error:
            print_error(describe_error(error))
            return 1


class _Parser(argparse.ArgumentParser):
    """A parser whose errors say where to look."""

    def error(self, message):
        super().error(f"{printable(message)}\nsee '{self.prog} --help'")


def _parser():
    parser = new_parser(
        _Parser, prog=NAME, usage=f'{NAME} COMMAND ... [options]',
        description=('Denoise astronomical images without losing flux.\n'
                     'Exit status: 0 all is well, 1 an error, 2 a wrong '
                     'command line, 130 Ctrl-C.'),
        example=f'{NAME} denoise frame.fits -o denoised.fits')
    parser.add_argument(
        '--version', action='version',
        version=f'%(prog)s {astro_denoise.__version__}')
    # So wide that no name of a command needs a line of its own.
    commands = parser.add_subparsers(title='commands', required=True,
                                     metavar='one of these:', prog=NAME)
    for add in (add_denoise, add_segment, add_estimate, add_photometry,
                add_check, add_demo, add_models, add_simulate, add_train):
        add(commands)
    return parser


class _Printable(logging.Formatter):
    """Log messages, with their tracebacks, that a terminal shows as text."""

    def format(self, record):
        return printable(super().format(record))

    def filter(self, record):
        """Do the same for a logger that has a format of its own."""
        record.msg, record.args = printable(record.getMessage()), ()
        return True


@contextlib.contextmanager
def _printable_messages():
    """
    Let warnings and log messages reach the terminal as text only.
    """
    original, handler = warnings.formatwarning, logging.lastResort
    # astropy makes log messages of warnings.
    formatter, other = handler.formatter, logging.getLogger('astropy')
    text = _Printable()
    warnings.formatwarning = lambda *args, **options: printable(
        original(*args, **options))
    handler.setFormatter(text)
    other.addFilter(text)
    try:
        yield
    finally:
        other.removeFilter(text)
        warnings.formatwarning = original
        handler.setFormatter(formatter)


@contextlib.contextmanager
def _stopped_by_signal():
    """
    Let Ctrl-C and a batch system's SIGTERM stop the work and clean up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise KeyboardInterrupt(number)

    # Other packages set handlers of their own; what is ignored, as Ctrl-C
    # is in the background, stays so.
    originals = {number: signal.getsignal(number)
                 for number in (signal.SIGINT, signal.SIGTERM)}
    originals = {number: original for number, original in originals.items()
                 if original not in (signal.SIG_IGN, None)}
    for number in originals:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, original in originals.items():
            signal.signal(number, original)
