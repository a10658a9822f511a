# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Flux calibration and the normalized differences of repeated fluxes.
"""

import warnings

import numpy as np
from astropy import units as u

__all__ = ['bootstrap_error', 'calibrate_flux', 'normalized_difference',
           'sigma68']

# The quantiles of a normal distribution at -1 and +1 standard deviation.
QUANTILES = (15.865, 84.135)


def _plain(values, name):
    """
    Float array or Quantity with masked elements as NaN.

    Parameters
    ----------
    values : array_like, `~astropy.units.Quantity` or table column
        The numbers.

    name : str
        What to call them in an error message.

    Returns
    -------
    values : `~numpy.ndarray` or `~astropy.units.Quantity`
        Floating-point numbers; the unit of a column or Quantity is kept.
    """
    unit = getattr(values, 'unit', None)
    if hasattr(values, 'unmasked'):  # astropy.utils.masked
        values = values.filled(np.nan * values.unmasked.unit
                               if unit is not None else np.nan)
    try:
        if isinstance(values, np.ma.MaskedArray):
            array = np.where(np.ma.getmaskarray(values), np.nan,
                             np.asarray(np.ma.getdata(values), dtype=float))
        else:
            array = np.asarray(getattr(values, 'value', values), dtype=float)
    except (TypeError, ValueError) as error:
        msg = f'{name} must hold numbers, got {values!r}'
        raise TypeError(msg) from error
    return array if unit is None else u.Quantity(array, unit, copy=False)


def _same_unit(**named):
    """
    Raise ValueError unless the named numbers have units that convert.
    """
    (first, reference), *others = named.items()
    expected = getattr(reference, 'unit', u.dimensionless_unscaled)
    for name, values in others:
        unit = getattr(values, 'unit', u.dimensionless_unscaled)
        if not unit.is_equivalent(expected):
            msg = (f'{name} must have the unit of {first}, got '
                   f'{unit.to_string()!r} and {expected.to_string()!r}')
            raise ValueError(msg)


def calibrate_flux(flux, flux_error, zeropoint, zeropoint_error):
    r"""
    Calibrate fluxes with a multiplicative zero point.

    The calibrated flux is :math:`f\,Z` and its variance
    :math:`\sigma_f^2\sigma_Z^2 + \sigma_f^2 Z^2 + f^2\sigma_Z^2`, the exact
    variance of a product of two independent numbers.

    Parameters
    ----------
    flux, flux_error : array_like or `~astropy.units.Quantity`
        Fluxes and their standard errors.

    zeropoint, zeropoint_error : array_like or `~astropy.units.Quantity`
        Zero points and their standard errors; they are broadcast against
        the fluxes.

    Returns
    -------
    flux_cal, flux_cal_error : `~numpy.ndarray` or `~astropy.units.Quantity`
        Calibrated fluxes and errors, with the product of the two units.

    Raises
    ------
    ValueError
        If an error has another unit than its number or is negative.

    Examples
    --------
    >>> from astro_denoise.photometry import calibrate_flux
    >>> flux, error = calibrate_flux(10.0, 1.0, 5.0, 0.02)
    >>> print(f'{flux:.2f} {error:.4f}')
    50.00 5.0040
    """
    flux = _plain(flux, 'flux')
    flux_error = _plain(flux_error, 'flux_error')
    zeropoint = _plain(zeropoint, 'zeropoint')
    zeropoint_error = _plain(zeropoint_error, 'zeropoint_error')
    _same_unit(flux=flux, flux_error=flux_error)
    _same_unit(zeropoint=zeropoint, zeropoint_error=zeropoint_error)
    _not_negative(flux_error=flux_error, zeropoint_error=zeropoint_error)
    variance = ((flux_error * zeropoint_error)**2
                + (flux_error * zeropoint)**2 + (flux * zeropoint_error)**2)
    return flux * zeropoint, np.sqrt(variance)


def _not_negative(**named):
    """
    Raise ValueError that names the first negative number and its row.
    """
    for name, values in named.items():
        bare = np.atleast_1d(getattr(values, 'value', values))
        if np.any(bare < 0):
            row = np.flatnonzero(bare.ravel() < 0)[0]
            msg = (f'{name} must not be negative, got {bare.ravel()[row]} '
                   f'in row {row}')
            raise ValueError(msg)


def normalized_difference(flux1, error1, flux2, error2):
    r"""
    Differences of two fluxes of the same sources in units of their errors.

    This is :math:`(f_1 - f_2) / \sqrt{\sigma_1^2 + \sigma_2^2}`, normally
    distributed with unit width where the errors are right.

    Parameters
    ----------
    flux1, error1, flux2, error2 : array_like or `~astropy.units.Quantity`
        The two fluxes and their standard errors.

    Returns
    -------
    df : float or `~numpy.ndarray`
        The normalized differences, without unit. NaN where a number is NaN
        or both errors are zero.

    Raises
    ------
    ValueError
        If the units do not convert or an error is negative.

    Examples
    --------
    >>> from astro_denoise.photometry import normalized_difference
    >>> float(normalized_difference(10.0, 3.0, 5.0, 4.0))
    1.0
    """
    flux1, error1 = _plain(flux1, 'flux1'), _plain(error1, 'error1')
    flux2, error2 = _plain(flux2, 'flux2'), _plain(error2, 'error2')
    _same_unit(flux1=flux1, error1=error1, flux2=flux2, error2=error2)
    _not_negative(error1=error1, error2=error2)
    error = np.sqrt(error1**2 + error2**2)
    error = np.where(error > 0, error, np.nan)
    df = (flux1 - flux2) / error
    if isinstance(df, u.Quantity):
        df = df.to_value(u.dimensionless_unscaled)
    return df


def sigma68(values, axis=None):
    """
    Half the width that holds the central 68.27 % of the values.

    It is ``(q84.135 - q15.865) / 2``, which equals the standard deviation
    for a normal distribution and hardly feels outliers.

    Parameters
    ----------
    values : array_like or `~astropy.units.Quantity`
        The values. NaN and masked ones are left out.

    axis : int, tuple of int or `None`, optional
        The axis along which to compute; `None` takes all values.

    Returns
    -------
    sigma68 : float, `~numpy.ndarray` or `~astropy.units.Quantity`
        The width in the unit of the values, NaN where there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.photometry import sigma68
    >>> values = np.random.default_rng(1).normal(0, 2, 100_000)
    >>> print(f'{sigma68(values):.1f}')
    2.0
    """
    values = _plain(values, 'values')
    if axis is None:
        values = values[~np.isnan(values)]
    if values.size == 0:
        shape = np.sum(np.zeros(values.shape), axis=axis).shape
        empty = np.full(shape, np.nan)[()]
        return empty * getattr(values, 'unit', 1)
    if not np.any(np.isnan(values)):
        low, high = np.percentile(values, QUANTILES, axis=axis)
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'All-NaN slice')
            low, high = np.nanpercentile(values, QUANTILES, axis=axis)
    return (high - low) / 2


def bootstrap_error(statistic, *values, groups=None, n_resamples=200,
                    seed=None):
    """
    Standard error of a statistic by resampling.

    Parameters
    ----------
    statistic : callable
        Called with the resampled arrays, in the order of ``values``;
        returns a number, an array of numbers or a Quantity.

    *values : array_like or `~astropy.units.Quantity`
        One or more arrays of the same length, resampled together along
        their first axis.

    groups : array_like or `None`, optional
        A label for each element. Elements with the same label (the pairs
        of one galaxy) are drawn together, as they are not independent.
        `None` draws each element by itself.

    n_resamples : int, optional
        The number of resamplings.

    seed : int, `~numpy.random.Generator` or `None`, optional
        The seed of the random numbers.

    Returns
    -------
    error : float, `~numpy.ndarray` or `~astropy.units.Quantity`
        The `sigma68` of the statistic over the resamplings.

    Raises
    ------
    ValueError
        If there are no values, their lengths differ or ``n_resamples`` is
        below 2.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.photometry import bootstrap_error
    >>> values = np.random.default_rng(1).normal(0, 1, 10_000)
    >>> print(f'{bootstrap_error(np.mean, values, seed=1):.2f}')
    0.01
    """
    values = [np.asanyarray(array) for array in values]
    lengths = {len(array) for array in values}
    if groups is not None:
        groups = np.asarray(groups)
        lengths.add(len(groups))
    if len(lengths) != 1 or lengths == {0}:
        msg = ('values and groups must have one common length above 0, got '
               f'{sorted(lengths)}')
        raise ValueError(msg)
    if n_resamples < 2:
        msg = f'n_resamples must be at least 2, got {n_resamples}'
        raise ValueError(msg)
    length, = lengths
    if groups is None:
        groups = np.arange(length)
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind='stable')
    counts = np.bincount(group)
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(n_resamples):
        chosen = rng.integers(len(counts), size=len(counts))
        size = counts[chosen]
        shift = np.repeat(starts[chosen] - (np.cumsum(size) - size), size)
        index = order[shift + np.arange(len(shift))]
        results.append(statistic(*(array[index] for array in values)))
    return sigma68(np.stack(results), axis=0)
