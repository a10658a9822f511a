# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors that say how much denoised fluxes really scatter.
"""

import numpy as np
from numpy.polynomial import Chebyshev

from .calibration import normalized_difference, sigma68
from .exposures import FluxColumns, make_pairs, open_exposures
from .tables import number_column

__all__ = ['recalibrate_errors']

MIN_PAIRS = 50
PAIRS_PER_POINT = 250  # fewer, and sigma68 comes out too small
MAX_POINTS = 25
ITERATIONS = 5
MAX_DEGREE = 6
RELATIVE_ERROR = 0.962  # of sigma68, times the root of the number


def recalibrate_errors(exposures, *, by='ref_id', column='i_auto',
                       train_fraction=0.5, degree=None, seed=None):
    """
    Rescale flux errors so that repeated fluxes differ as the errors say.

    The errors are multiplied by a smooth positive function of a column,
    the exponential of a polynomial, for which the normalized differences
    of pairs of exposures have a `sigma68` of 1 everywhere. It is fitted to
    the pairs of a random part of the galaxies; the others are there to
    check it.

    The errors then describe the scatter of the fluxes, not a bias: check
    the response first (see
    `~astro_denoise.photometry.check_repeatability`).

    Parameters
    ----------
    exposures : table or list of tables
        As in `~astro_denoise.photometry.check_repeatability`.

    by : str, optional
        The column that names a galaxy.

    column : str, optional
        The column that the scale of the errors depends on. ``'snr'`` is
        computed where the table has no such column: the mean
        signal-to-noise ratio of a galaxy in all its exposures; of ``'snr'``
        the inverse hyperbolic sine is used.

    train_fraction : float, optional
        Share of the galaxies to fit to.

    degree : int, optional
        Degree of the polynomial. By default the one up to 6 with the best
        Bayesian information criterion.

    seed : int, optional
        The seed of the choice of the galaxies.

    Returns
    -------
    table : `~astropy.table.QTable`
        A copy of the exposures, stacked, in which ``flux_error`` and, if
        there is one, ``zp_error`` are multiplied by the new column
        ``error_scale``; ``fitted`` tells the galaxies of the fit.
        ``meta['recalibration']`` has the coefficients.

    Raises
    ------
    ValueError
        If there are fewer than 50 pairs to fit, and as
        `~astro_denoise.photometry.check_repeatability`.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry import recalibrate_errors
    >>> rng = np.random.default_rng(1)
    >>> exposures = QTable({'ref_id': np.tile(np.arange(4000), 2),
    ...                     'image_id': np.repeat([1, 2], 4000),
    ...                     'flux': rng.normal(50, 2, 8000),
    ...                     'flux_error': np.full(8000, 3.0),
    ...                     'i_auto': np.tile(rng.uniform(18, 23, 4000), 2)})
    >>> table = recalibrate_errors(exposures, seed=1)
    >>> print(f'{np.median(table["flux_error"]):.1f}')
    2.0
    """
    if not 0 < train_fraction < 1:
        msg = ('train_fraction must lie between 0 and 1, got '
               f'{train_fraction!r}')
        raise ValueError(msg)
    if degree is not None and (int(degree) != degree or degree < 0):
        msg = f'degree must be an integer of at least 0, got {degree!r}'
        raise ValueError(msg)
    data = open_exposures(exposures, FluxColumns(by), 'exposures')
    values = _row_values(data, column)
    rng = np.random.default_rng(seed)
    galaxies, galaxy = np.unique(data.galaxy, return_inverse=True)
    fitted = (rng.permutation(len(galaxies))
              < train_fraction * len(galaxies))[galaxy]
    pairs = make_pairs(data.galaxy, fitted & np.isfinite(data.flux), rng, by)
    n_pairs = len(pairs.first)
    if n_pairs < MIN_PAIRS:
        msg = (f'exposures must hold at least {MIN_PAIRS} pairs to fit, got '
               f'{n_pairs}')
        raise ValueError(msg)
    curve = _fit(data, values, pairs, degree)

    table = data.table.copy()
    low, high = curve.domain
    scale = np.exp(curve(np.clip(values, low, high)))
    table['flux_error'] = table['flux_error'] * scale
    if 'zp_error' in table.colnames:
        table['zp_error'] = table['zp_error'] * scale
    table['error_scale'] = scale
    table['fitted'] = fitted
    table.meta['recalibration'] = {
        'column': column, 'chebyshev_log_scale': curve.coef.tolist(),
        'domain': curve.domain.tolist(), 'n_pairs': n_pairs}
    return table


def _row_values(data, column):
    """
    The value for each row that the scale of its error depends on.
    """
    if column in data.table.colnames or column != 'snr':
        if column not in data.table.colnames:
            msg = f'exposures has no column {column!r}'
            raise ValueError(msg)
        values = number_column(data.table, column, unit=getattr(
            data.table[column], 'unit', None))
        return np.arcsinh(values) if column == 'snr' else values
    snr = data.flux / data.error
    found = np.isfinite(snr)
    _, galaxy = np.unique(data.galaxy, return_inverse=True)
    total = np.bincount(galaxy, np.where(found, snr, 0))
    mean = total / np.maximum(np.bincount(galaxy, found), 1)
    return np.arcsinh(mean)[galaxy]


def _fit(data, values, pairs, degree):
    """
    Logarithm of the scale of the errors as a polynomial.
    """
    first, second = pairs.first, pairs.second
    position = (values[first] + values[second]) / 2
    n_points = int(np.clip(len(first) // PAIRS_PER_POINT, 1, MAX_POINTS))
    parts = np.array_split(np.argsort(position, kind='stable'), n_points)
    centers = np.array([np.median(position[part]) for part in parts])
    low, high = position.min(), position.max()
    if high <= low:
        low, high = low - 0.5, high + 0.5
    curve = Chebyshev([0.0], domain=[low, high])
    for _ in range(ITERATIONS):
        scale = np.exp(curve(np.clip(values, low, high)))
        df = normalized_difference(
            data.flux[first], (data.error * scale)[first],
            data.flux[second], (data.error * scale)[second])
        width = np.array([sigma68(df[part]) for part in parts])
        if not np.all(width > 0):
            msg = ('exposures must scatter, got a sigma68 of 0 at '
                   f'{centers[np.argmin(width)]:g}')
            raise ValueError(msg)
        change, degree = _polynomial(centers, np.log(width), len(parts[0]),
                                     degree, [low, high])
        curve = curve + change
    return curve


def _polynomial(x, y, n_pairs, degree, domain):
    """
    Polynomial through points, and its degree, chosen where it is `None`.
    """
    most = len(np.unique(x)) - 1
    if degree is not None:
        degree = min(int(degree), most)
        return Chebyshev.fit(x, y, degree, domain=domain), degree
    scores = []
    for trial in range(min(MAX_DEGREE, most) + 1):
        curve = Chebyshev.fit(x, y, trial, domain=domain)
        misfit = np.sum((y - curve(x))**2) * n_pairs / RELATIVE_ERROR**2
        scores.append((misfit + (trial + 1) * np.log(len(x)), trial, curve))
    _, degree, curve = min(scores, key=lambda score: score[:2])
    return curve, degree
