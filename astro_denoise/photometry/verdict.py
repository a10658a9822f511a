# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Verdicts of the check of repeatability.
"""

import numpy as np

__all__ = ['FEW_PAIRS', 'RESPONSE_MARGIN', 'verdict']

RESPONSE_MARGIN = 0.03  # of a response that counts as kept flux
ERROR_MARGIN = 0.03  # of a sigma68 that counts as right errors
FEW_PAIRS = 20


def verdict(row):
    """
    Put the result of a bin into words.

    Parameters
    ----------
    row : mapping
        The figures of a bin, as in the table of `check_repeatability`.

    Returns
    -------
    verdict : str
        The judgement of flux and errors.
    """
    if row['n'] < FEW_PAIRS:
        return f'too few pairs ({row["n"]})'
    response, response_error = row['response'], row['response_error']
    ratio, ratio_error = row['flux_ratio'], row['flux_ratio_error']
    numbers = f'response {response:.2f}, flux ratio {ratio:.2f}'
    if _below_floor(row, 'sigma68_over_raw' if np.isfinite(response)
                    else 'sigma68'):
        return f'scatter below the floor: prior-driven, {numbers}'
    if _differs(response, response_error):
        kind = 'shrunk' if response < 1 else 'stretched'
        return f'flux differences {kind}: {numbers}'
    if _differs(ratio, ratio_error):
        return f'flux {"lost" if ratio < 1 else "gained"}: {numbers}'
    if not np.isfinite(response):
        flux = 'flux not tested'
    elif max(abs(response - 1), response_error) > RESPONSE_MARGIN:
        flux = (f'flux not decided (response {response:.2f} ± '
                f'{response_error:.2f})')
    else:
        flux = 'flux kept'
    width = row['sigma68']
    if abs(width - 1) <= max(ERROR_MARGIN, 2 * row['sigma68_error']):
        return f'{flux}, errors right'
    excess = 1 / width - 1 if width > 0 else np.inf
    kind = 'large' if excess > 0 else 'small'
    return f'{flux}, errors {100 * abs(excess):.0f} % too {kind}'


def _below_floor(row, name):
    """
    Tell if a figure is significantly below the floor; not if it is NaN.
    """
    return row[name] + 2 * row[f'{name}_error'] < row['floor']


def _differs(value, error):
    """
    Tell if a figure that should be 1 is significantly far from it.
    """
    return abs(value - 1) > max(RESPONSE_MARGIN, 2 * error)
