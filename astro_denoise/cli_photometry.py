# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The commands ``astro-denoise photometry`` and ``astro-denoise check``.
"""

import argparse
from pathlib import Path

from astro_denoise._output import atomic_output
from astro_denoise.cli import (
    _add_command,
    _add_overwrite,
    _check_outputs,
    _hdu,
    _number_or_keyword,
)

__all__ = ['add_check', 'add_photometry']


def add_photometry(commands):
    """
    Add the command that measures fluxes.
    """
    parser = _add_command(
        commands, 'photometry', _run_photometry,
        summary='Measure the fluxes of a catalogue in FITS frames.',
        usage='FRAME... CATALOG -o OUT.ecsv [options]',
        example='*.fits catalog.ecsv -o fluxes.ecsv --gain GAIN')
    add = parser.add_argument
    add('frames', nargs='+', metavar='FRAME', help=argparse.SUPPRESS)
    add('catalog', metavar='CATALOG', help=argparse.SUPPRESS)
    add('-o', '--output', required=True, metavar='OUT',
        help='the fluxes, .ecsv')
    add('--plot', metavar='PLOT', help='the apertures on the first frame, '
        '.png')
    for name, what in (('gain', 'electron/adu'),
                       ('saturation', 'level of saturated pixels'),
                       ('zp', 'zero point, a factor'),
                       ('zp-error', 'its error')):
        add(f'--{name}', type=_number_or_keyword, metavar='VALUE',
            help=f'{what}, or the header keyword')
    add('--image-id', metavar='KEY',
        help='header keyword (default: the name of the file)')
    add('--uncertainty', metavar='FILE', help='FITS file of the noise')
    add('--uncertainty-type', choices=('std', 'var', 'ivar'),
        metavar='TYPE', help='std, var or ivar (default: by UTYPE, or std)')
    add('--mask', metavar='FILE', help='FITS file, not 0 on bad pixels')
    add('--hdu', type=_hdu, metavar='HDU',
        help='the image: a number, NAME or NAME,VERSION')
    add('--r-in', type=float, default=30.0, metavar='R',
        help='of the annulus, in pixels (default: 30)')
    add('--r-out', type=float, default=45.0, metavar='R',
        help='of the annulus, in pixels (default: 45)')
    add('--theta-sign', type=int, choices=(1, -1), default=1,
        metavar='SIGN', help='-1 for the angles of PAUS (default: 1)')
    _add_overwrite(parser)


def _run_photometry(options):
    import numpy as np
    from astropy.table import vstack

    from astro_denoise.photometry import read_table

    _check_outputs(options, _outputs(options))
    catalog = read_table(options.catalog)
    tables, figure = [], None
    for path in options.frames:
        try:
            frame, table = _measure(path, catalog, options)
        except (ValueError, TypeError) as error:
            msg = f'{path}: {error}'
            raise ValueError(msg) from error
        _check_frame(path, table, tables)
        tables.append(table)
        if options.plot and figure is None:
            figure = _plot(frame, table, options)
    table = vstack(tables, metadata_conflicts='silent')
    table.meta.update(
        catalog=options.catalog, frames=options.frames, gain=options.gain,
        theta_sign=options.theta_sign)
    _write(options, table, figure)
    missing = np.sum(~np.isfinite(table['flux']))
    print(f'{options.output}: {len(table)} fluxes, {missing} of them NaN, '
          f'{np.sum(table["flag"] != 0)} flagged')
    return 0


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
    A frame and its fluxes with the columns of the catalogue.
    """
    from astro_denoise._fits_images import read_image
    from astro_denoise.photometry import annulus_photometry

    frame = read_image(Path(path), hdu=options.hdu, mask=options.mask,
                       uncertainty=options.uncertainty,
                       kind=options.uncertainty_type)
    table = annulus_photometry(
        frame, catalog, r_in=options.r_in, r_out=options.r_out,
        gain=options.gain, saturation=options.saturation,
        theta_sign=options.theta_sign)
    image_id = (Path(path).name if options.image_id is None else
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


def _card(keyword, option, frame):
    if keyword not in frame.meta:
        msg = f'{option} {keyword} is not a keyword of the header'
        raise ValueError(msg)
    return frame.meta[keyword]


def _plot(frame, table, options):
    from astro_denoise.plotting import plot_apertures

    return plot_apertures(frame, table, r_in=options.r_in,
                          r_out=options.r_out,
                          theta_sign=options.theta_sign)


def add_check(commands):
    """
    Add the command that checks denoised fluxes.
    """
    parser = _add_command(
        commands, 'check', _run_check,
        summary='Check whether fluxes repeat, and whether they are kept.',
        usage='TABLE... [--raw TABLE...] [options]',
        example='denoised.ecsv --raw raw.ecsv --raw-errors -o report.ecsv')
    parser.description += '\nThe exit status is 0 whatever the verdict.'
    add = parser.add_argument
    add('tables', nargs='+', metavar='TABLE', help=argparse.SUPPRESS)
    add('--raw', nargs='+', metavar='TABLE',
        help='fluxes of the raw frames, for the response')
    add('--raw-errors', action='store_true',
        help='take the errors of the raw fluxes')
    add('--unflagged', action='store_true', help='only rows with flag 0')
    add('-o', '--output', metavar='OUT', help='the report, .ecsv')
    add('--plot', metavar='PLOT', help='its figures, .png')
    add('--by', default='ref_id', metavar='NAME',
        help='column of the galaxies (default: ref_id)')
    add('--column', default='i_auto', metavar='NAME',
        help='column of the bins, or snr (default: i_auto)')
    add('--bins', type=_bins, metavar='BINS',
        help='a number of bins, or edges as in 18,20,22')
    add('--seed', type=int, metavar='N', help='same seed, same report')
    _add_overwrite(parser)


def _bins(text):
    try:
        edges = [float(edge) for edge in text.split(',')]
    except ValueError as error:
        msg = f'{text!r} must be a number, or edges as in 18,20,22'
        raise argparse.ArgumentTypeError(msg) from error
    return edges if len(edges) > 1 else edges[0]


def _run_check(options):
    from astro_denoise.photometry import check_repeatability

    _check_outputs(options, _outputs(options))
    if options.raw_errors and options.raw is None:
        msg = '--raw-errors needs --raw'
        raise ValueError(msg)
    tables = _read(options.tables, options)
    raw = None if options.raw is None else _read(options.raw, options)
    if options.raw_errors:
        tables = _with_raw_errors(tables, raw, options.by)
    report = check_repeatability(tables, raw, by=options.by,
                                 bins=options.bins, column=options.column,
                                 seed=options.seed)
    report.table.meta.update(
        tables=options.tables, raw=options.raw,
        raw_errors=options.raw_errors, unflagged=options.unflagged,
        seed=options.seed)
    _write(options, report.table, options.plot and _draw(report))
    print(report)
    return 0


def _draw(report):
    from matplotlib.figure import Figure

    # Not one of pyplot, which may look for a display.
    return report.plot(figure=Figure(figsize=(13, 4), layout='constrained'))


def _read(paths, options):
    from astro_denoise.photometry import read_table
    from astro_denoise.photometry.tables import require_columns

    tables = []
    for path in paths:
        table = read_table(path)
        if options.unflagged:
            require_columns(table, ['flag'], path)
            table = table[table['flag'] == 0]
        tables.append(table)
    return tables if len(tables) > 1 else tables[0]


def _with_raw_errors(tables, raw, by):
    """
    The denoised fluxes that have a raw one, with its error.
    """
    from astro_denoise.photometry.exposures import open_exposures

    exposures = open_exposures(tables, by, 'exposures')
    reference = open_exposures(raw, by, 'raw')
    rows = reference.rows_like(exposures, 'raw')
    table = exposures.table[rows >= 0]
    table['flux_error'] = reference.table['flux_error'][rows[rows >= 0]]
    return table


def _outputs(options):
    """What is written, for `_check_outputs`."""
    return (('-o', options.output, ('.ecsv',)),
            ('--plot', options.plot, ('.png',)))


def _write(options, table, figure):
    if options.output:
        with atomic_output(options.output,
                           overwrite=options.overwrite) as temporary:
            table.write(temporary, format='ascii.ecsv')
    if options.plot:
        with atomic_output(options.plot,
                           overwrite=options.overwrite) as temporary:
            figure.savefig(temporary, format='png', dpi=150)
