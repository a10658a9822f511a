# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise``.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import astro_denoise
from astro_denoise._output import atomic_output, check_output

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


def _parser():
    # A module of its own that takes helpers from this one.
    from astro_denoise.cli_photometry import add_check, add_photometry

    parser = _new_parser(
        argparse.ArgumentParser, prog=_NAME,
        description='Denoise astronomical images without losing flux.',
        example=f'{_NAME} denoise frame.fits -o denoised.fits')
    parser.add_argument(
        '--version', action='version',
        version=f'%(prog)s {astro_denoise.__version__}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND',
                                     required=True)
    for add in (_add_denoise, add_photometry, add_check, _add_demo,
                _add_models, _add_simulate, _add_train):
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


def _shows_progress(options):
    return (sys.stderr.isatty() if options.progress is None
            else options.progress)


def _add_denoise(commands):
    parser = _add_command(
        commands, 'denoise', _run_denoise,
        summary='Denoise FITS files.', usage='IN... -o OUT [options]',
        example='*.fits -o denoised/ --gain GAIN --read-noise RDNOISE')
    add = parser.add_argument
    # The usage line and the summary say what it is, and save a screen line.
    add('inputs', nargs='+', metavar='IN', help=argparse.SUPPRESS)
    add('-o', '--output', required=True, metavar='OUT',
        help='a file, or a folder for several inputs')
    add('--model', default='ccd', metavar='NAME',
        help='name or .safetensors file (default: ccd)')
    add('--gain', type=_number_or_keyword, metavar='VALUE',
        help='electron/adu, or the header keyword')
    add('--read-noise', type=_number_or_keyword, metavar='VALUE',
        help='electron, or the header keyword')
    add('--uncertainty', metavar='FILE', help='FITS file of the noise')
    add('--uncertainty-type', choices=('std', 'var', 'ivar'),
        metavar='TYPE', help='std, var or ivar (default: by UTYPE, or std)')
    add('--mask', metavar='FILE', help='FITS file, not 0 on bad pixels')
    add('--hdu', type=_hdu, metavar='HDU',
        help='only this one: a number, NAME or NAME,VERSION')
    add('--device', metavar='NAME', help='cpu or cuda (default: by itself)')
    add('--precision', choices=('auto', 'float32', 'bfloat16'),
        default='auto', metavar='TYPE',
        help='auto, float32 or bfloat16 (default: auto)')
    _add_overwrite(parser)
    _add_progress(parser)


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


def _run_denoise(options):
    from astro_denoise.pipeline import denoise_file

    outputs = _output_paths(options.inputs, options.output)
    # Loaded once, and a wrong name is told once.
    model = astro_denoise.load_model(options.model, task='denoise')
    progress = _shows_progress(options)
    many = len(outputs) > 1
    status = 0
    with _bar(outputs, shown=progress and many) as bar:
        for path, output in zip(options.inputs, bar, strict=True):
            try:
                denoise_file(
                    path, output, model=model, hdu=options.hdu,
                    mask=options.mask, uncertainty=options.uncertainty,
                    uncertainty_type=options.uncertainty_type,
                    gain=options.gain, read_noise=options.read_noise,
                    device=options.device, precision=options.precision,
                    overwrite=options.overwrite,
                    progress_bar=progress and not many)
            except _USER_ERRORS as error:
                reason = _describe(error)
                if getattr(error, 'filename', None) is None:
                    reason = f'{path}: {reason}'
                _print_error(reason)
                status = 1
    return status


def _bar(items, *, shown):
    from tqdm import tqdm

    return tqdm(items, disable=not shown, unit='frame')


def _output_paths(inputs, output):
    """
    One output for each input.
    """
    folder = Path(output)
    if output.endswith(os.sep):
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        if len(inputs) == 1:
            return [folder]
        msg = (f'-o {output}: several inputs need a folder; end its name in '
               f'{os.sep} to have it made')
        raise ValueError(msg)
    outputs = {}
    for path in inputs:
        name = Path(path).name
        if name in outputs:
            msg = (f'{outputs[name]} and {path} would both become '
                   f'{folder / name}')
            raise ValueError(msg)
        outputs[name] = path
    return [folder / name for name in outputs]


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
    _add_command(commands, 'models', _run_models,
                 summary='List the models that come with the package.',
                 usage='', example='')


def _run_models(options):
    for name in astro_denoise.list_models():
        model = astro_denoise.load_model(name)
        print(f'{name:12s}{model.task:10s}{model.hash[:12]}  '
              f'{model.metadata.get("summary", "")}'.rstrip())
    return 0


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
    simulator = SurveySimulator(**given)
    if options.n < 1:
        msg = f'--n must be at least 1, got {options.n}'
        raise ValueError(msg)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
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


def _add_train(commands):
    parser = _add_command(
        commands, 'train', _run_train,
        summary='Train a model anew by the recipe of a shipped one.',
        usage='--recipe NAME -o OUT.safetensors [options]',
        example='--recipe ccd -o ccd.safetensors --checkpoint ckpt/')
    add = parser.add_argument
    add('--recipe', required=True, choices=('ccd', 'ccd-mmse'),
        metavar='NAME', help='ccd or ccd-mmse')
    add('-o', '--output', required=True, metavar='OUT',
        help='the weights, .safetensors; the log goes beside them')
    add('--seed', type=int, default=1, metavar='N',
        help='of skies, noise and weights (default: 1)')
    add('--checkpoint', metavar='FOLDER',
        help='write the state there, and resume from it')
    add('--steps', type=int, metavar='N',
        help='shorter or longer than the recipe')
    add('--threads', type=int, metavar='N', help='processor threads')
    _add_overwrite(parser)
    _add_progress(parser)


def _run_train(options):
    from astro_denoise.training.recipes import train_recipe

    output = Path(options.output)
    for path in (output, output.with_suffix('.ecsv')):
        check_output(path, overwrite=options.overwrite)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    train_recipe(options.recipe, output, seed=options.seed,
                 checkpoint=options.checkpoint, n_steps=options.steps,
                 overwrite=options.overwrite,
                 progress_bar=_shows_progress(options))
    print(output)
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
