# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise``.
"""

import argparse
import contextlib
import os
import signal
import sys
import textwrap
import threading

import astro_denoise
from astro_denoise._output import (
    COMPRESSED,
    FITS_ENDINGS,
    atomic_output,
    check_output,
    make_folder,
)

__all__ = ['main']

_NAME = 'astro-denoise'

# What a user can cause; anything else is a bug and keeps its traceback.
_USER_ERRORS = (OSError, ValueError, TypeError, ImportError, MemoryError)


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
        on the standard error, and 2 for a wrong command line.

    Examples
    --------
    >>> from astro_denoise.cli import main
    >>> status = main(['--version'])  # doctest: +ELLIPSIS
    astro-denoise ...
    >>> status
    0
    """
    try:
        options = _parser().parse_args(args)
    except SystemExit as stop:  # --help, --version, or a wrong argument
        return stop.code or 0
    with _stopped_by_signal():
        try:
            return options.run(options)
        except BrokenPipeError:  # the reader of a pipe has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:
            _print_error('stopped')
            return 1
        except _USER_ERRORS as error:
            _print_error(_describe(error))
            return 1


class _Parser(argparse.ArgumentParser):
    """A parser whose errors say where to look."""

    def error(self, message):
        super().error(f"{message}\nsee '{self.prog} --help'")


def _parser():
    # Modules of their own that take helpers from this one.
    from astro_denoise.cli_denoise import add_denoise
    from astro_denoise.cli_galactic import add_estimate, add_segment
    from astro_denoise.cli_photometry import add_check, add_photometry
    from astro_denoise.cli_train import add_train

    parser = _new_parser(
        _Parser, prog=_NAME,
        description=('Denoise astronomical images without losing flux.\n'
                     'Exit status: 0 all went well, 1 an error, 2 a wrong '
                     'command line.'),
        example=f'{_NAME} denoise frame.fits -o denoised.fits')
    parser.add_argument(
        '--version', action='version',
        version=f'%(prog)s {astro_denoise.__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND',
                                     required=True)
    for add in (add_denoise, add_segment, add_estimate, add_photometry,
                add_check, _add_demo, _add_models, _add_simulate, add_train):
        add(commands)
    return parser


def _new_parser(make, *args, example, **options):
    def formatter(prog):
        return argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=30, width=79)

    return make(*args, epilog=f'example:\n  {example}', allow_abbrev=False,
                formatter_class=formatter, **options)


def _add_command(commands, name, run, *, summary, example, usage):
    parser = _new_parser(
        commands.add_parser, name, help=summary[0].lower() + summary[1:-1],
        description=summary, usage=f'{_NAME} {name} {usage}'.rstrip(),
        example=f'{_NAME} {name} {example}'.rstrip())
    parser.set_defaults(run=run)
    return parser


def _add_overwrite(parser):
    parser.add_argument('--overwrite', action='store_true',
                        help='replace outputs that exist')


def _add_progress(parser):
    parser.add_argument(
        '--progress', action=argparse.BooleanOptionalAction,
        default=None, help='progress bar (default: on a terminal)')


def _check_outputs(options, outputs):
    """
    Refuse bad outputs, of which some may not be wanted, before any work.
    """
    for name, path, endings in outputs:
        if path is not None:
            check_output(path, overwrite=options.overwrite, name=name,
                         endings=endings,
                         packed=COMPRESSED if endings is FITS_ENDINGS else ())


def _shows_progress(options):
    return (sys.stderr.isatty() if options.progress is None
            else options.progress)


def _number_or_keyword(text):
    try:
        return float(text)
    except ValueError:
        return text


def _hdu(text):
    name, comma, version = text.rpartition(',')
    if not comma:
        return int(text) if text.isdecimal() else text
    if not version.isdecimal():
        msg = f'the version in {text!r} must be a number'
        raise argparse.ArgumentTypeError(msg)
    return name, int(version)


def _add_demo(commands):
    parser = _add_command(
        commands, 'demo', _run_demo,
        summary='Denoise the two frames that come with the package.',
        usage='[-o FOLDER] [options]', example='-o demo/')
    parser.add_argument('-o', '--output', default='.', metavar='FOLDER',
                        help='where the files go (default: here)')
    parser.add_argument('--model', default='ccd', metavar='NAME',
                        help='name or .safetensors file (default: ccd)')
    _add_overwrite(parser)
    _add_progress(parser)


def _run_demo(options):
    from astro_denoise.demo import run_demo

    run_demo(options.output, model=options.model,
             overwrite=options.overwrite,
             progress_bar=_shows_progress(options))
    return 0


def _add_models(commands):
    parser = _add_command(
        commands, 'models', _run_models,
        summary='List the models that come with the package, or files.',
        usage='[FILE...]', example='')
    parser.add_argument('files', nargs='*', metavar='FILE',
                        help='.safetensors files, or folders of them')


def _run_models(options):
    from astro_denoise.models.registry import read_models

    tasks = {'denoise': [], 'segment': [], 'estimate': []}
    errors = []
    for name, model in read_models(options.files):
        if isinstance(model, Exception):
            errors.append(model)
        else:
            tasks.setdefault(model.task, []).append((name, model))
    for task, found in tasks.items():
        if found:
            print(f'{_NAME} {task} --model')
        for name, model in found:
            # Not folded: the name of a file may be long.
            print(f'  {name:16s} {model.hash[:8]}  ' + textwrap.fill(
                model.metadata.get('summary', ''), 50,
                subsequent_indent=29 * ' '))
    if any(tasks.values()):
        print('The number begins the SHA-256 of the weights (DNHASH in '
              'headers).')
    for error in errors:
        _print_error(_describe(error))
    return int(bool(errors))


def _add_simulate(commands):
    parser = _add_command(
        commands, 'simulate', _run_simulate,
        summary='Simulate exposures and their catalogue.',
        usage='-o FOLDER [options]',
        example='-o field/ --n 5 --shape 1024 1024 --seed 1')
    add = parser.add_argument
    add('-o', '--output', required=True, metavar='FOLDER',
        help='for exposure_001.fits ... and catalog.ecsv')
    add('--n', type=int, default=2, metavar='N',
        help='number of exposures (default: 2)')
    add('--sky', choices=('survey', 'galactic-center'), default='survey',
        metavar='SKY', help='survey, or galactic-center: gamma-ray counts')
    add('--tier', choices=('fixed', 'legacy', 'realistic'), metavar='TIER',
        help='galactic-center: fixed, legacy or realistic')
    add('--shape', type=int, nargs=2, metavar=('NY', 'NX'),
        help='pixels (default: 4096 2048)')
    add('--seed', type=int, metavar='N', help='same seed, same exposures')
    add('--unit', choices=('adu', 'electron'), help='default: adu')
    for name, what in (('exposure-time', 'seconds'),
                       ('gain', 'electron/adu'),
                       ('read-noise', 'electron'),
                       ('sky-rate', 'electron per second and pixel'),
                       ('psf-fwhm', 'seeing in arcsec'),
                       ('density', 'sources per 10^6 pixels')):
        add(f'--{name}', type=float, metavar='X', help=what)
    _add_overwrite(parser)


def _run_simulate(options):
    from astro_denoise.photometry.tables import table_meta
    from astro_denoise.simulation import SurveySimulator

    names = ('shape', 'unit', 'exposure_time', 'gain', 'read_noise',
             'sky_rate', 'psf_fwhm', 'density')
    given = {name: getattr(options, name) for name in names
             if getattr(options, name) is not None}
    if options.n < 1:
        msg = f'--n must be at least 1, got {options.n}'
        raise ValueError(msg)
    if options.sky == 'galactic-center':
        from astro_denoise.cli_galactic import simulate_galactic_center

        if given:
            option = f'--{next(iter(given))}'.replace('_', '-')
            msg = f'{option} is not for --sky galactic-center'
            raise ValueError(msg)
        return simulate_galactic_center(options)
    if options.tier:
        msg = f'--tier {options.tier} is for --sky galactic-center'
        raise ValueError(msg)
    simulator = SurveySimulator(**given)
    folder = make_folder(options.output, name='-o')
    paths = [folder / f'exposure_{number:03d}.fits'
             for number in range(1, options.n + 1)]
    catalog_path = folder / 'catalog.ecsv'
    for path in (*paths, catalog_path):
        check_output(path, overwrite=options.overwrite)
    exposures, catalog = simulator.exposures(options.n, seed=options.seed)
    for exposure, path in zip(exposures, paths, strict=True):
        with atomic_output(path, overwrite=options.overwrite) as temporary:
            exposure.to_hdu().writeto(temporary)
        print(path)
    catalog.meta.update(table_meta(), seed=options.seed, **given)
    with atomic_output(catalog_path,
                       overwrite=options.overwrite) as temporary:
        catalog.write(temporary, format='ascii.ecsv')
    print(catalog_path)
    return 0


def _describe(error):
    """
    An error in one line.
    """
    if isinstance(error, FileExistsError) and error.filename is not None:
        return f'{error.filename}: file exists; --overwrite replaces it'
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    return ' '.join(str(error).split()) or type(error).__name__


def _print_error(message):
    print(f'{_NAME}: error: {message}', file=sys.stderr)


@contextlib.contextmanager
def _stopped_by_signal():
    """
    Let a batch system's SIGTERM clean up as an interrupt does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    original = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, original)
