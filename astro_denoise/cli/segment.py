# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise segment``.
"""

import argparse
from pathlib import Path

from ..io.output import FITS_ENDINGS, atomic_output
from ..io.table_files import TABLE_ENDINGS, flat_table, write_table
from .common import (
    add_command,
    add_device,
    add_hdu,
    add_ignore_flags,
    add_model,
    add_overwrite,
    add_progress,
    check_outputs,
    counted,
    name_rare_options,
    number_or_keyword,
    read_sky,
    shows_progress,
    tell_more,
    tell_result,
    write_figure,
)

__all__ = ['add_segment']


def add_segment(commands):
    """
    Add the command that finds point sources.
    """
    parser = add_command(
        commands, 'segment', _run_segment,
        summary='Find the point sources of a FITS image.',
        usage='IN -o OUT.fits [options]',
        example='counts.fits -o sources.fits --catalog sources.ecsv')
    add = parser.add_argument
    add('input', metavar='IN', help=argparse.SUPPRESS)
    add('-o', '--output', required=True, metavar='OUT',
        help='probability, segmentation and catalog, .fits')
    add('--catalog', metavar='FILE',
        help='the catalog: .ecsv, .csv, .fits or .parquet')
    add('--plot', metavar='PLOT', help='the image with its sources, .png')
    add_model(parser, 'galactic-center')
    add('--threshold', type=float, metavar='P',
        help='probability (default: the one of the model)')
    for name in ('--purity', '--min-separation'):
        add(name, type=float, help=argparse.SUPPRESS)
    for name in ('--gain', '--read-noise'):
        add(name, type=number_or_keyword, help=argparse.SUPPRESS)
    add('--n-pixels', type=int, default=1, metavar='N',
        help='pixels that a source must have (default: 1)')
    add('--mask', metavar='FILE', help='FITS file, not 0 on bad pixels')
    add_ignore_flags(parser)
    add_hdu(parser)
    add_device(parser)
    add_overwrite(parser)
    add_progress(parser)
    name_rare_options(parser)


def _run_segment(options):
    from astropy.io import fits

    from .. import segment_point_sources

    check_outputs(options, (('-o', options.output, FITS_ENDINGS),
                            ('--catalog', options.catalog, TABLE_ENDINGS),
                            ('--plot', options.plot, ('.png',))),
                  (options.input, options.mask))
    image = read_sky(Path(options.input), hdu=options.hdu,
                     mask=options.mask, good_bits=options.ignore_flags)
    if image.data.ndim != 2:
        msg = (f'{options.input}: the image must have shape (ny, nx), got '
               f'{image.data.shape}: write each image of a stack to a file of '
               f'its own, or give the stack to segment_point_sources in '
               f'Python')
        raise ValueError(msg)
    sources = _without_warning(
        segment_point_sources, image, options.model,
        threshold=options.threshold, purity=options.purity,
        min_separation=options.min_separation, gain=options.gain,
        read_noise=options.read_noise, n_pixels=options.n_pixels,
        device=options.device, progress_bar=shows_progress(options))
    header = (fits.Header() if image.wcs is None
              else image.wcs.to_header(relax=True))
    header['THRESH'] = (sources.threshold, 'threshold of the probability')
    header['MODEL'] = (options.model if len(options.model) < 60
                       else Path(options.model).name, 'astro_denoise model')
    hdus = fits.HDUList([
        fits.PrimaryHDU(sources.probability.data, header)])
    hdus.append(fits.ImageHDU(sources.segmentation.data, header,
                              name='SEGMENTATION'))
    catalog = flat_table(sources.catalog)
    catalog.meta = {}
    hdus.append(fits.BinTableHDU(catalog, name='CATALOG'))
    if options.catalog:
        write_table(sources.catalog, options.catalog,
                    overwrite=options.overwrite)
    with atomic_output(options.output,
                       overwrite=options.overwrite) as temporary:
        hdus.writeto(temporary)
    if options.plot:
        write_figure(options, sources.plot(image=image).figure)
    tell_result(options, f'{options.output}: '
                f'{counted(len(sources.catalog), "source")}')
    tell_more(options, f'model {header["MODEL"]}, sources have a '
              f'probability above {sources.threshold:.4g}; the image is that '
              f'of {options.input}, {image.data.shape[1]} x '
              f'{image.data.shape[0]} pixels')
    return 0


def _without_warning(function, *args, **options):
    """Call a function; what it has to tell is told in other ways."""
    import warnings

    from photutils.utils.exceptions import NoDetectionsWarning

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NoDetectionsWarning)
        return function(*args, **options)
