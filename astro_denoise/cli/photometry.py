# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The commands ``astro-denoise photometry`` and ``astro-denoise check``.
"""

import argparse
from pathlib import Path

from ..exceptions import warnings_of
from .common import (
    add_command,
    add_hdu,
    add_ignore_flags,
    add_overwrite,
    check_outputs,
    name_rare_options,
    number_or_keyword,
    table_outputs,
    tell_more,
    tell_result,
    write_table_and_figure,
)

__all__ = ['add_photometry']


def add_photometry(commands):
    """
    Add the command that measures fluxes.
    """
    parser = add_command(
        commands, 'photometry', _run_photometry,
        summary='Measure the fluxes of a catalog in FITS frames.',
        usage='FRAME... CATALOG -o OUT [options]',
        example='*.fits catalog.ecsv -o fluxes.ecsv --gain GAIN')
    add = parser.add_argument
    add('frames', nargs='+', metavar='FRAME', help=argparse.SUPPRESS)
    add('catalog', metavar='CATALOG', help=argparse.SUPPRESS)
    add('-o', '--output', required=True, metavar='OUT',
        help='the fluxes, .ecsv, .csv, .fits or .parquet')
    add('--method', choices=('aperture', 'forced'), default='aperture',
        metavar='NAME', help='aperture, or forced: all sources at once')
    add('--radius', type=float, metavar='R',
        help='of circular apertures, in pixels')
    add('--radius-fwhm', type=float, metavar='R',
        help='the same, in FWHM of the stars')
    add('--plot', metavar='PLOT', help='the apertures on the first frame, '
        '.png')
    for name, what in (('gain', 'electron/adu'),
                       ('saturation', 'level of saturated pixels'),
                       ('zp', 'zero point, a factor'),
                       ('zp-error', 'its error')):
        add(f'--{name}', type=number_or_keyword, metavar='VALUE',
            help=f'{what}, or the header keyword')
    add('--image-id', metavar='KEY', help=argparse.SUPPRESS)
    add('--uncertainty', metavar='FILE',
        help='FITS file of the noise (of the raw frame, if denoised)')
    add('--mask', metavar='FILE', help='FITS file, not 0 on bad pixels')
    add('--psf', default='fit', help=argparse.SUPPRESS)
    add('--theta-sign', type=int, choices=(1, -1), default=1,
        help=argparse.SUPPRESS)
    add('--uncertainty-type', choices=('auto', 'std', 'var', 'ivar'),
        default='auto', help=argparse.SUPPRESS)
    add_ignore_flags(parser, shown=False)
    add_hdu(parser, shown=False)
    add('--r-in', type=float, default=30.0, metavar='R',
        help='of the annulus, in pixels (default: 30)')
    add('--r-out', type=float, default=45.0, metavar='R',
        help='of the annulus, in pixels (default: 45)')
    add_overwrite(parser)
    name_rare_options(parser)


def _run_photometry(options):
    from astropy.table import vstack

    from ..photometry.tables import read_table

    check_outputs(options, table_outputs(options),
                  (*options.frames, options.catalog, options.uncertainty,
                   options.mask))
    catalog = read_table(options.catalog)
    tables, figure = [], None
    for path in options.frames:
        try:
            with warnings_of(path):
                frame, table = _measure(path, catalog, options)
        except (ValueError, TypeError) as error:
            msg = f'{path}: {error}'
            raise ValueError(msg) from error
        _check_frame(path, table, tables)
        tables.append(table)
        tell_more(options, f'{path}: {_counts(table)}')
        if options.plot and figure is None:
            figure = _plot(frame, table, options)
    table = vstack(tables, metadata_conflicts='silent')
    table.meta.update(
        catalog=options.catalog, frames=options.frames, gain=options.gain,
        theta_sign=options.theta_sign)
    write_table_and_figure(options, table, figure)
    tell_result(options, f'{options.output}: {_counts(table)}')
    return 0


def _counts(table):
    """Count the fluxes, and those of them that are doubtful."""
    import numpy as np

    return (f'{len(table)} fluxes, '
            f'{np.sum(~np.isfinite(table["flux"]))} of them NaN, '
            f'{np.sum(table["flag"] != 0)} flagged')


def _check_frame(path, table, others):
    """
    Raise ValueError unless a frame fits those before it.
    """
    image_id, unit = table['image_id'][0], table['flux'].unit
    if any(other['image_id'][0] == image_id for other in others):
        msg = (f'{path}: image_id must differ between frames, got {image_id} '
               'again; --image-id takes it from the header')
        raise ValueError(msg)
    if any(other['flux'].unit != unit for other in others):
        msg = (f'{path}: frames must have one unit, got {unit} after '
               f'{others[0]["flux"].unit}')
        raise ValueError(msg)


def _measure(path, catalog, options):
    """
    A frame and its fluxes with the columns of the catalog.
    """
    from ..io.fits_images import read_image

    frame = read_image(Path(path), hdu=options.hdu, mask=options.mask,
                       uncertainty=options.uncertainty,
                       uncertainty_type=options.uncertainty_type,
                       good_bits=options.ignore_flags)
    table = (_forced if options.method == 'forced' else _in_apertures)(
        frame, catalog, options)
    # Raw and denoised fluxes of a frame have one name, whatever the files.
    image_id = (frame.meta.get('DNFILE', Path(path).name)
                if options.image_id is None else
                _card(options.image_id, '--image-id', frame))
    table.add_column(image_id, name='image_id', index=1)
    for name, value in (('zp', options.zp), ('zp_error', options.zp_error)):
        if isinstance(value, str):
            option = f'--{name.replace("_", "-")}'
            keyword, value = value, _card(value, option, frame)
            if not isinstance(value, int | float):
                msg = f'{option} {keyword} must be a number, got {value!r}'
                raise TypeError(msg)
        if value is not None:
            table[name] = value
    for name in catalog.colnames:
        if name not in table.colnames:
            table[name] = catalog[name]
    return frame, table


def _raw_noise(frame, options):
    """
    The noise that is given with a denoised frame: that of the raw one.
    """
    if options.uncertainty and 'DNMODEL' in frame.meta:
        return frame.uncertainty
    return None


def _in_apertures(frame, catalog, options):
    """
    Fluxes in apertures, those of the catalog or circles.
    """
    from ..photometry.aperture_columns import with_apertures
    from ..photometry.apertures import annulus_photometry
    from ..photometry.source_table import without_pixels

    if (options.radius, options.radius_fwhm) != (None, None):
        catalog = without_pixels(catalog, frame.wcs)
    try:
        apertures = with_apertures(catalog, frame, radius=options.radius,
                                   radius_fwhm=options.radius_fwhm)
    except ValueError as error:
        msg = str(error).replace('radius_fwhm', '--radius-fwhm').replace(
            'radius or', '--radius or')
        raise ValueError(msg) from error
    try:
        table = annulus_photometry(
            frame, apertures, r_in=options.r_in, r_out=options.r_out,
            error=_raw_noise(frame, options), gain=options.gain,
            saturation=options.saturation, theta_sign=options.theta_sign)
    except ValueError as error:
        msg = str(error).replace('give error, the noise',
                                 'give --uncertainty, the noise')
        raise ValueError(msg) from error
    for name in apertures.colnames:
        if name.startswith('aperture_'):
            table[name] = apertures[name]
    return table


def _forced(frame, catalog, options):
    """
    Fluxes of all sources at once.
    """
    from ..photometry.forced import forced_photometry
    from ..photometry.source_table import without_pixels
    from ..pipeline.one_file import open_psf_image

    if options.saturation is not None:
        msg = ('--saturation is not for --method forced, which takes it from '
               f'the header (SATURATE), got {options.saturation}')
        raise ValueError(msg)
    return forced_photometry(frame, without_pixels(catalog, frame.wcs),
                             open_psf_image(options.psf), gain=options.gain,
                             error=_raw_noise(frame, options))


def _card(keyword, option, frame):
    if keyword not in frame.meta:
        msg = f'{option} {keyword} is not a keyword of the header'
        raise ValueError(msg)
    return frame.meta[keyword]


def _plot(frame, table, options):
    from ..photometry.aperture_columns import with_apertures
    from ..photometry.plots import plot_apertures

    if options.method == 'forced' or 'aperture_x' not in table.colnames:
        table = with_apertures(
            table, frame, radius=options.radius,
            radius_fwhm=(options.radius_fwhm or 1.0
                         if options.radius is None else None))
    return plot_apertures(frame, table, r_in=options.r_in,
                          r_out=options.r_out,
                          theta_sign=options.theta_sign)
