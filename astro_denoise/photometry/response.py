# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The response of denoised fluxes: how much of a flux change they follow.
"""

from itertools import combinations

import numpy as np

from .calibration import _plain, _same_unit, bootstrap_error

__all__ = ['flux_response', 'pair_response']


def pair_response(denoised1, raw1, denoised2, raw2):
    r"""
    Response of denoised fluxes from pairs of exposures.

    With two exposures of the same galaxies, whose noise is independent,

    .. math:: R = \frac{{\rm Cov}(f_{{\rm den},i}, f_{{\rm raw},j})}
                       {{\rm Cov}(f_{{\rm raw},i}, f_{{\rm raw},j})},
              \quad i \neq j,

    is 1 for a denoiser that keeps the flux differences between galaxies and
    0 for one that returns a typical value. Both orders of each pair count,
    so the order in which a pair is given does not matter.

    Parameters
    ----------
    denoised1, raw1, denoised2, raw2 : 1D `~numpy.ndarray`
        Denoised and raw fluxes in the first and second exposure of each
        pair, on one scale (calibrated). Pairs with a NaN are left out.

    Returns
    -------
    response : float
        The response, NaN where there are fewer than two pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.photometry import pair_response
    >>> rng = np.random.default_rng(1)
    >>> flux = rng.uniform(0, 10, 2000)
    >>> raw1, raw2 = flux + rng.normal(size=(2, 2000))
    >>> float(pair_response(raw1, raw1, raw2, raw2))
    1.0
    >>> float(pair_response(0.5 * raw1 + 3, raw1, 0.5 * raw2 + 3, raw2))
    0.5
    """
    fluxes = np.array([denoised1, raw1, denoised2, raw2], dtype=float)
    fluxes = fluxes[:, np.all(np.isfinite(fluxes), axis=0)]
    if fluxes.shape[1] < 2:
        return np.nan
    denoised = fluxes[[0, 2]] - np.mean(fluxes[[0, 2]])
    raw = fluxes[[1, 3]] - np.mean(fluxes[[1, 3]])
    covariance = np.sum(denoised * raw[::-1])
    norm = np.sum(raw * raw[::-1])
    return covariance / norm if norm != 0 else np.nan


def flux_response(denoised, raw, *, n_resamples=200, seed=None):
    """
    Response of denoised fluxes of galaxies in several exposures.

    The response (see `pair_response`) is taken over all pairs of different
    exposures of each galaxy, its error by resampling the galaxies.

    Parameters
    ----------
    denoised, raw : 2D `~numpy.ndarray` or `~astropy.units.Quantity`
        Denoised and raw fluxes, shape (n_galaxies, n_exposures), on one
        scale (calibrated). NaN where a galaxy was not measured.

    n_resamples : int, optional
        The number of bootstrap resamplings of the galaxies.

    seed : int or `None`, optional
        The seed of the resampling.

    Returns
    -------
    response, response_error : float
        The response and its standard error.

    Raises
    ------
    ValueError
        If the shapes differ, the units do not convert, or there are fewer
        than two exposures or two galaxies.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.photometry import flux_response
    >>> rng = np.random.default_rng(1)
    >>> raw = rng.uniform(0, 10, (500, 1)) + rng.normal(size=(500, 3))
    >>> response, error = flux_response(0.8 * raw, raw, seed=1)
    >>> print(f'{response:.2f} {error:.2f}')
    0.80 0.00
    """
    denoised, raw = _plain(denoised, 'denoised'), _plain(raw, 'raw')
    _same_unit(raw=raw, denoised=denoised)
    if hasattr(raw, 'unit'):
        denoised, raw = denoised.to_value(raw.unit), raw.value
    if denoised.shape != raw.shape or raw.ndim != 2 or min(raw.shape) < 2:
        msg = ('denoised and raw must have one shape (n_galaxies, '
               'n_exposures) with at least two of both, got '
               f'{denoised.shape} and {raw.shape}')
        raise ValueError(msg)
    first, second = np.transpose(list(combinations(range(raw.shape[1]), 2)))

    def response(denoised, raw):
        return pair_response(denoised[:, first].ravel(),
                             raw[:, first].ravel(),
                             denoised[:, second].ravel(),
                             raw[:, second].ravel())

    return response(denoised, raw), bootstrap_error(
        response, denoised, raw, n_resamples=n_resamples, seed=seed)
