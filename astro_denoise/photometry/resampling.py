# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bootstrap of the figures of many pairs of fluxes by Poisson weights.
"""

import numpy as np
from scipy.stats import poisson

from .calibration import QUANTILES, sigma68

__all__ = ['pair_errors']

# Number for each of as many equally likely ones, of mean 1: drawing one is
# looking one up.
_WEIGHTS = np.searchsorted(
    poisson.cdf(np.arange(12), 1.0),
    (np.arange(2**16) + 0.5) / 2**16).astype(np.uint8)


class _SortedValues:
    """
    Values in order, of which weighted quantiles are looked up.
    """

    def __init__(self, values):
        known = np.flatnonzero(np.isfinite(values))
        self._order = known[np.argsort(values[known])]
        self._values = values[self._order]

    def sigma68(self, weights):
        """
        Half the width of the central 68.27 % of the weights.
        """
        if self._values.size == 0:
            return np.nan
        total = np.cumsum(weights[self._order], dtype=np.int64)
        if total[-1] == 0:
            return np.nan
        low, high = self._values[np.minimum(
            np.searchsorted(total, np.divide(QUANTILES, 100) * total[-1]),
            self._values.size - 1)]
        return (high - low) / 2


def pair_errors(df, raw_df, flux1, raw1, flux2, raw2, *, group,
                n_resamples, rng):
    """
    Estimate the errors of the figures of a bin of pairs.

    Each galaxy counts as often as a Poisson number of mean 1 says, all of
    its pairs alike (Hanley & MacGibbon 2006, Comput. Methods Programs
    Biomed. 83, 57): the values are sorted once.

    Parameters
    ----------
    df, raw_df : 1D `~numpy.ndarray`
        Normalized differences of the fluxes and of the raw ones, NaN where
        there are none.

    flux1, raw1, flux2, raw2 : 1D `~numpy.ndarray`
        Fluxes of both exposures of a pair, and the raw ones.

    group : 1D `~numpy.ndarray`
        Label of the galaxy of each pair.

    n_resamples : int
        Number of resamplings.

    rng : `~numpy.random.Generator`
        Random numbers.

    Returns
    -------
    errors : 1D `~numpy.ndarray`
        Of sigma68, of the raw sigma68, of the mean of ``df``, of the
        response, of sigma68 over response, of the flux ratio and of
        sigma68 over the raw one.
    """
    labels, galaxy = np.unique(group, return_inverse=True)
    width, raw_width = _SortedValues(df), _SortedValues(raw_df)
    sums, offsets = _sums(df, flux1, raw1, flux2, raw2)
    found = np.empty((n_resamples, 7))
    for row in found:
        weights = _WEIGHTS[rng.integers(
            2**16, size=len(labels), dtype=np.uint16)][galaxy]
        # one by one: the same numbers have the same sum
        total = weights.astype(np.float64)
        row[:] = _figures(width.sigma68(weights), raw_width.sigma68(weights),
                          [each @ total for each in sums], *offsets)
    return sigma68(found, axis=0)


def _sums(df, flux1, raw1, flux2, raw2):
    """
    Collect what is summed with weights, about the means of the fluxes.
    """
    pairs = np.array([flux1, raw1, flux2, raw2], dtype=float)
    known = np.isfinite(pairs).all(0)
    offsets = [pairs[each][:, known].mean() if known.any() else 0.0
               for each in ([0, 2], [1, 3])]
    one, raw_one, two, raw_two = np.where(known, pairs, 0.0) - np.where(
        known, np.array(offsets)[[0, 1, 0, 1], np.newaxis], 0.0)
    return np.array([
        np.ones(len(df)), df, known, one * raw_two + two * raw_one,
        2 * raw_one * raw_two, one + two, raw_one + raw_two]), offsets


def _figures(width, raw_width, sums, flux, raw):
    """
    Compute the figures of a bin from its weighted sums.
    """
    number, total, n_known, cross, square, fluxes, raws = sums
    if number == 0:
        return (np.nan,) * 7
    response = ratio = np.nan
    if n_known > 0:
        norm = square - raws**2 / (2 * n_known)
        if norm != 0:
            response = (cross - fluxes * raws / (2 * n_known)) / norm
        raw_total = raws + 2 * n_known * raw
        if raw_total != 0:
            ratio = (fluxes + 2 * n_known * flux) / raw_total
    return (width, raw_width, total / number, response,
            width / response if response > 0 else np.nan, ratio,
            width / raw_width if raw_width > 0 else np.nan)
