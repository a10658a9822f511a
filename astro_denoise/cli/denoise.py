# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise denoise``.
"""

import argparse
import os
from pathlib import Path

import astro_denoise

from ..frames.kernel_card import KERNEL_CARD
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
    counted,
    describe_error,
    name_rare_options,
    number_or_keyword,
    print_error,
    shows_progress,
    tell,
    tell_more,
    tell_result,
)

__all__ = ['add_denoise']


def add_denoise(commands):
    """
    Add the command that denoises files.
    """
    parser = add_command(
        commands, 'denoise', _run_denoise,
        summary='Denoise FITS files.',
        usage='IN... (-o OUT | --suffix TEXT) [options]',
        example='*.fits -o denoised/ --gain GAIN --read-noise RDNOISE')
    add = parser.add_argument
    # The usage line and the summary say what it is, and save a screen line.
    add('inputs', nargs='+', metavar='IN', help=argparse.SUPPRESS)
    add('-o', '--output', metavar='OUT',
        help='a file, or a folder for several inputs')
    add('--suffix', metavar='TEXT',
        help='added to the names; without -o, beside the inputs')
    add_model(parser, 'ccd')
    add('--gain', type=number_or_keyword, metavar='VALUE',
        help='electron/adu, or the header keyword')
    add('--read-noise', type=number_or_keyword, metavar='VALUE',
        help='electron, or the header keyword')
    add('--uncertainty', metavar='FILE', help='FITS file of the noise')
    add('--uncertainty-type', choices=('auto', 'std', 'var', 'ivar'),
        default='auto', metavar='TYPE', help=argparse.SUPPRESS)
    add('--mask', metavar='FILE', help='FITS file, not 0 on bad pixels')
    add('--catalog', metavar='FILE', help='table of known sources')
    add_hdu(parser, 'only this one')
    add_device(parser)
    add('--workers', type=int, metavar='N', help='processes that share frames')
    add('--scheduler', metavar='ADDRESS', help=argparse.SUPPRESS)
    add('--precision', choices=('auto', 'float32', 'bfloat16',
                                 'bfloat16-mixed'),
        default='auto', metavar='TYPE', help=argparse.SUPPRESS)
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
    name_rare_options(parser)
    parser.set_defaults(check=_check)


def _check(options):
    if options.output is None and not options.suffix:
        options.parser.error(
            '-o OUT or --suffix TEXT is required; --suffix _denoised writes '
            'files beside the inputs')


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
    if options.output is None:
        return _run_beside(options, common)
    if options.output.endswith(os.sep) or Path(options.output).is_dir():
        return _run_many(options, common, options.inputs, options.output)
    if len(options.inputs) > 1:
        msg = (f'-o {options.output}: several inputs need a folder; end its '
               f'name in {os.sep} to have it made')
        raise ValueError(msg)
    for name in ('workers', 'scheduler', 'suffix'):
        if getattr(options, name) is not None:
            msg = f'-o {options.output}: --{name} needs a folder'
            raise ValueError(msg)
    return _run_one(options, common, options.output)


def _run_beside(options, common):
    """
    Write each output beside its input, under a name with the suffix.
    """
    from ..pipeline.many_files import with_suffix

    if len(options.inputs) == 1 and options.workers is None and (
            options.scheduler is None):
        path, = options.inputs
        return _run_one(options, common,
                        str(with_suffix(path, options.suffix)))
    folders = {}
    for path in options.inputs:
        folders.setdefault(Path(path).parent, []).append(path)
    # All of them, whatever becomes of the first.
    statuses = [_run_many(options, common, paths, f'{folder}{os.sep}')
                for folder, paths in folders.items()]
    return max(statuses)


def _run_one(options, common, output):
    from ..pipeline.one_file import check_denoised, denoise_file

    output = Path(output)
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
    _tell_output(options, output)
    return 0


def _tell_output(options, output):
    """
    Say what was denoised, and in more lines what its header logs.
    """
    from astropy.io import fits

    if options.verbosity < 0:
        return
    with fits.open(output) as hdus:
        headers = {f'HDU {number} {hdu.name}'.rstrip(): hdu.header
                   for number, hdu in enumerate(hdus)
                   if 'DNMODEL' in hdu.header}
    first = next(iter(headers.values()), {})
    noise = dict.fromkeys(_noise_text(header) for header in headers.values())
    tell(f'{output}: {counted(len(headers), "image")} denoised with '
         f'{first.get("DNMODEL", options.model)}, noise '
         f'{" or ".join(noise) or "unknown"}')
    for place, header in headers.items():
        for card in header.cards:
            if card.keyword.startswith('DN') and card.keyword != KERNEL_CARD:
                about = f' ({card.comment})' if card.comment else ''
                tell_more(options, f'  {place}: {card.keyword} = '
                          f'{card.value}{about}')


def _noise_text(header):
    """Name the origin of the noise of an image."""
    kind = header.get('DNUNCERT')
    origin = header.get('DNNOISE', 'not needed')
    return f'from {kind}' if kind else {
        'gain': 'from the gain', 'estimated': 'estimated from the image',
    }.get(origin, origin)


def _run_many(options, common, inputs, folder):
    from ..pipeline.many_files import denoise_files

    def on_finished(row):
        if row.status == 'failed':
            print_error(row.message)
        elif row.attempts == 0:
            tell_more(options, f'{row.input}: done before')
        else:
            tell_more(options, f'{row.input}: {row.seconds:.1f} s')

    status = denoise_files(
        inputs, folder, model=options.model, workers=options.workers,
        scheduler=options.scheduler, retries=options.retries,
        suffix=options.suffix or '', progress_bar=shows_progress(options),
        on_finished=on_finished, **common)
    n_failed = int((status['status'] == 'failed').sum())
    n_before = int((status['attempts'] == 0).sum()) if len(status) else 0
    text = f'{folder}: {counted(len(status) - n_failed, "frame")} denoised'
    if n_before:
        text += f', {n_before} of them before'
    if n_failed:
        text += f', {n_failed} failed'
    tell_result(options, text)
    return int(n_failed > 0)
