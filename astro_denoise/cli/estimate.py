# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise estimate``.
"""

import argparse
from pathlib import Path

from ..io.output import FITS_ENDINGS, atomic_output
from ..io.table_files import TABLE_ENDINGS, write_table
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
    read_sky,
    shows_progress,
    tell_more,
    tell_result,
)

__all__ = ['add_estimate']


def add_estimate(commands):
    """
    Add the command that estimates parameters.
    """
    parser = add_command(
        commands, 'estimate', _run_estimate,
        summary='Estimate what images of the Galactic Center are made of.',
        usage='IN... -o OUT [options]',
        example='counts.fits -o parameters.ecsv --seed 1')
    add = parser.add_argument
    add('inputs', nargs='+', metavar='IN', help=argparse.SUPPRESS)
    add('-o', '--output', required=True, metavar='OUT',
        help='a row an image: .ecsv, .csv, .fits or .parquet')
    add('--samples', metavar='FILE', help='samples of the posterior, .fits')
    add_model(parser, 'galactic-center')
    add('--n-samples', type=int, default=2000, metavar='N',
        help='samples of the posterior (default: 2000)')
    add('--seed', type=int, metavar='N', help='same seed, same samples')
    add_ignore_flags(parser)
    add_hdu(parser)
    add_device(parser)
    add_overwrite(parser)
    add_progress(parser)


def _run_estimate(options):
    import warnings

    import numpy as np
    from astropy.io import fits
    from astropy.table import vstack

    from .. import estimate_parameters, load_model
    from ..estimation.core import PARAMETER_NAMES
    from ..exceptions import UnusualImageWarning, warnings_of

    check_outputs(options, (('-o', options.output, TABLE_ENDINGS),
                            ('--samples', options.samples, FITS_ENDINGS)),
                  options.inputs)
    model = load_model(options.model, task='estimate')
    tables, samples = [], []
    for path in options.inputs:
        image = read_sky(Path(path), hdu=options.hdu, seed=options.seed,
                         good_bits=options.ignore_flags)
        try:
            with warnings_of(path), warnings.catch_warnings():
                # Flagged in the table, and told below.
                warnings.simplefilter('ignore', UnusualImageWarning)
                result = estimate_parameters(
                    image, model, n_samples=options.n_samples,
                    seed=options.seed, device=options.device,
                    return_samples=options.samples is not None,
                    progress_bar=shows_progress(options))
        except (ValueError, TypeError) as error:
            msg = f'{path}: {error}'
            raise ValueError(msg) from error
        if options.samples is not None:
            result, drawn = result
            samples.append(drawn)
        result.add_column(np.arange(len(result)), name='image', index=0)
        result.add_column(path, name='file', index=0)
        tables.append(result)
    table = vstack(tables, metadata_conflicts='silent')
    write_table(table, options.output, overwrite=options.overwrite)
    if options.samples is not None:
        header = fits.Header()
        for number, name in enumerate(PARAMETER_NAMES, 1):
            header[f'PARAM{number}'] = name
        with atomic_output(options.samples,
                           overwrite=options.overwrite) as temporary:
            fits.PrimaryHDU(np.concatenate(samples), header).writeto(
                temporary)
    flagged = ''
    if 'ood_flag' in table.colnames:
        n_flagged = int(np.sum(table['ood_flag']))
        flagged = f', {n_flagged} of them unlike the training set'
        if n_flagged and options.model == 'galactic-center':
            flagged += ' (--model galactic-sky allows for more)'
    tell_result(options, f'{options.output}: '
                f'{counted(len(table), "image")}{flagged}')
    for row in table:
        tell_more(options, f'{row["file"]}, image {row["image"]}: '
                  + ', '.join(_interval(row, name)
                              for name in PARAMETER_NAMES))
    return 0


def _interval(row, name):
    """The median of a parameter with its central 68 per cent."""
    if f'{name}_q16' not in row.colnames:
        return f'{name} {row[name]:.4g}'
    low, high = (row[f'{name}_q{end}'] for end in (16, 84))
    return f'{name} {row[name]:.4g} ({low:.4g} to {high:.4g})'
