# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise denoise``.
"""

import argparse
import os
from pathlib import Path

import astro_denoise

from ..io.output import check_replaces_none, remove_leftovers
from .common import (
    USER_ERRORS,
    add_command,
    add_device,
    add_hdu,
    add_ignore_flags,
    add_model,
    add_overwrite,
    add_progress,
    describe_error,
    number_or_keyword,
    print_error,
    shows_progress,
    tell,
)

__all__ = ['add_denoise']


def add_denoise(commands):
    """
    Add the command that denoises files.
    """
    parser = add_command(
        commands, 'denoise', _run_denoise,
        summary='Denoise FITS files.', usage='IN... -o OUT [options]',
        example='*.fits -o denoised/ --gain GAIN --read-noise RDNOISE')
    add = parser.add_argument
    # The usage line and the summary say what it is, and save a screen line.
    add('inputs', nargs='+', metavar='IN', help=argparse.SUPPRESS)
    add('-o', '--output', required=True, metavar='OUT',
        help='a file, or a folder for several inputs')
    add_model(parser, 'ccd')
    add('--gain', type=number_or_keyword, metavar='VALUE',
        help='electron/adu, or the header keyword')
    add('--read-noise', type=number_or_keyword, metavar='VALUE',
        help='electron, or the header keyword')
    add('--uncertainty', metavar='FILE', help='FITS file of the noise')
    add('--uncertainty-type', choices=('auto', 'std', 'var', 'ivar'),
        default='auto', metavar='TYPE',
        help='auto, std, var or ivar (default: auto)')
    add('--mask', metavar='FILE', help='FITS file, not 0 on bad pixels')
    add('--catalog', metavar='FILE', help='table of known sources')
    add_hdu(parser, 'only this one')
    add_device(parser)
    add('--precision', choices=('auto', 'float32', 'bfloat16',
                                 'bfloat16-mixed'),
        default='auto', metavar='TYPE',
        help='auto, float32, bfloat16 or bfloat16-mixed (default: auto)')
    add('--workers', type=int, metavar='N', help='processes that share frames')
    add('--scheduler', metavar='ADDRESS', help='a dask cluster does the work')
    # In the manual only: the help would not fit a screen.
    add('--no-companions', action='store_true', help=argparse.SUPPRESS)
    add('--ignore-checksum', action='store_true', help=argparse.SUPPRESS)
    add_ignore_flags(parser, shown=False)
    add('--guide', choices=('blend', 'model'), default='blend',
        help=argparse.SUPPRESS)
    add('--psf', help=argparse.SUPPRESS)
    add('--average', type=int, default=1, help=argparse.SUPPRESS)
    add('--retries', type=int, default=3, help=argparse.SUPPRESS)
    add_overwrite(parser)
    add_progress(parser)


def _run_denoise(options):
    common = {
        'hdu': options.hdu, 'mask': options.mask,
        'uncertainty': options.uncertainty,
        'uncertainty_type': options.uncertainty_type,
        'good_bits': options.ignore_flags,
        'companions': not options.no_companions,
        'ignore_checksum': options.ignore_checksum,
        'gain': options.gain, 'read_noise': options.read_noise,
        'catalog': options.catalog, 'guide': options.guide,
        'psf': options.psf, 'average': options.average,
        'device': options.device, 'precision': options.precision,
        'overwrite': options.overwrite}
    if options.output.endswith(os.sep) or Path(options.output).is_dir():
        return _run_many(options, common)
    if len(options.inputs) > 1:
        msg = (f'-o {options.output}: several inputs need a folder; end its '
               f'name in {os.sep} to have it made')
        raise ValueError(msg)
    if options.workers is not None or options.scheduler is not None:
        msg = (f'-o {options.output}: --workers and --scheduler need a '
               f'folder')
        raise ValueError(msg)
    return _run_one(options, common)


def _run_one(options, common):
    from ..pipeline.one_file import check_denoised, denoise_file

    output = Path(options.output)
    path, = options.inputs
    try:
        check_denoised(path, output, overwrite=options.overwrite, name='-o')
    except ValueError as error:
        msg = f'{error}; the name of a folder ends in {os.sep}'
        raise ValueError(msg) from error
    check_replaces_none(
        output, (path, options.mask, options.uncertainty, options.catalog,
                 options.psf), name='-o')
    remove_leftovers(output.parent)
    model = astro_denoise.load_model(options.model, task='denoise')
    try:
        denoise_file(path, output, model=model,
                     progress_bar=shows_progress(options), **common)
    except USER_ERRORS as error:
        reason = describe_error(error)
        if getattr(error, 'filename', None) is None:
            reason = f'{path}: {reason}'
        print_error(reason)
        return 1
    if options.uncertainty and options.uncertainty_type == 'auto':
        _print_kinds(options.uncertainty, output)
    return 0


def _print_kinds(uncertainty, output):
    """Say what the numbers of an uncertainty were taken for."""
    from astropy.io import fits

    with fits.open(output) as hdus:
        kinds = {hdu.header['DNUNCERT']: None for hdu in hdus
                 if 'DNUNCERT' in hdu.header}
    tell(f'{uncertainty}: taken for {", ".join(kinds)}')


def _run_many(options, common):
    from ..pipeline.many_files import denoise_files

    def tell(row):
        if row.status == 'failed':
            print_error(row.message)

    status = denoise_files(
        options.inputs, options.output, model=options.model,
        workers=options.workers, scheduler=options.scheduler,
        retries=options.retries, progress_bar=shows_progress(options),
        on_finished=tell, **common)
    return int('failed' in status['status'])
