# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise check``.
"""

import argparse

from .common import (
    add_command,
    add_overwrite,
    check_outputs,
    table_outputs,
    tell_result,
    write_table_and_figure,
)

__all__ = ['add_check']


def add_check(commands):
    """
    Add the command that checks denoised fluxes.
    """
    parser = add_command(
        commands, 'check', _run_check,
        summary='Check whether fluxes repeat, and whether they are kept.',
        usage='TABLE... [--raw TABLE...] [options]',
        example='denoised.ecsv --raw raw.ecsv --raw-errors -o report.ecsv')
    parser.description += '\nThe exit status is 0 whatever the verdict.'
    add = parser.add_argument
    add('tables', nargs='+', metavar='TABLE', help=argparse.SUPPRESS)
    add('--raw', nargs='+', metavar='TABLE',
        help='fluxes of the raw frames, for the response')
    add('--forced', nargs='+', metavar='TABLE',
        help='fluxes of photometry --method forced, beside')
    add('--raw-errors', action='store_true',
        help='take the errors of the raw fluxes')
    add('--unflagged', action='store_true', help='only rows with flag 0')
    add('-o', '--output', metavar='OUT',
        help='the report, .ecsv, .csv, .fits or .parquet')
    add('--plot', metavar='PLOT', help='its figures, .png')
    add('--by', default='ref_id', metavar='NAME',
        help='column of the galaxies (default: ref_id)')
    add('--column', default='i_auto', metavar='NAME',
        help='column of the bins, or snr (default: i_auto)')
    add('--bins', type=_bins, metavar='BINS',
        help='a number of bins, or edges as in 18,20,22')
    add('--seed', type=int, metavar='N', help='same seed, same report')
    add_overwrite(parser)


def _bins(text):
    try:
        edges = [float(edge) for edge in text.split(',')]
    except ValueError as error:
        msg = f'{text!r} must be a number, or edges as in 18,20,22'
        raise argparse.ArgumentTypeError(msg) from error
    return edges if len(edges) > 1 else edges[0]


def _run_check(options):
    from ..photometry.repeatability import check_repeatability

    check_outputs(options, table_outputs(options),
                  (*options.tables, *(options.raw or ()),
                   *(options.forced or ())))
    if options.raw_errors and options.raw is None:
        msg = '--raw-errors needs --raw'
        raise ValueError(msg)
    tables = _read(options.tables, options)
    raw = None if options.raw is None else _read(options.raw, options)
    if options.raw_errors:
        tables = _with_raw_errors(tables, raw, options.by)
    forced = None if options.forced is None else _read(options.forced,
                                                       options)
    report = check_repeatability(tables, raw, by=options.by, forced=forced,
                                 bins=options.bins, column=options.column,
                                 seed=options.seed)
    report.table.meta.update(
        tables=options.tables, raw=options.raw,
        raw_errors=options.raw_errors, unflagged=options.unflagged,
        seed=options.seed)
    write_table_and_figure(options, report.table,
                           options.plot and report.plot())
    tell_result(options, report)
    return 0


def _read(paths, options):
    from ..photometry.tables import read_table, require_columns

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
    from ..photometry.exposures import FluxColumns, open_exposures

    exposures = open_exposures(tables, FluxColumns(by), 'exposures')
    reference = open_exposures(raw, FluxColumns(by), 'raw')
    rows = reference.rows_like(exposures, 'raw')
    table = exposures.table[rows >= 0]
    table['flux_error'] = reference.table['flux_error'][rows[rows >= 0]]
    return table
