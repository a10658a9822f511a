# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Completeness and purity of catalogs of point sources.
"""

import astropy.units as u
import numpy as np
from astropy.table import QTable
from scipy.ndimage import correlate
from scipy.spatial import cKDTree

from ..frames.provenance import table_meta
from .checks import finite_array

__all__ = ['ideal_snr', 'match_sources']


def ideal_snr(flux, expected, kernel):
    """
    Compute the signal-to-noise ratio of sources for an ideal observer.

    It is that of a matched filter whose weights know the expected counts
    of everything: for a flux F with the profile P on expected counts mu,
    ``F * sqrt(sum(P**2 / mu))``, the inverse of the relative Cramér-Rao
    error of F under Poisson noise.

    Parameters
    ----------
    flux : `~numpy.ndarray`
        Flux in each pixel, shape (..., ny, nx).

    expected : `~numpy.ndarray`
        Expected counts of everything, the sources too, same shape.

    kernel : 2D `~numpy.ndarray`
        Counts expected in the pixels around a source of flux 1; odd
        sides.

    Returns
    -------
    snr : `~numpy.ndarray`
        Same shape; 0 where there is no flux.

    Raises
    ------
    ValueError
        If the shapes differ, a number is not finite, or expected counts
        are not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import ideal_snr
    >>> flux = np.zeros((5, 5))
    >>> flux[2, 2] = 30.0
    >>> snr = ideal_snr(flux, np.full((5, 5), 36.0), np.ones((1, 1)))
    >>> print(snr[2, 2])
    5.0
    """
    flux = finite_array(flux, 'flux')
    expected = finite_array(expected, 'expected').astype(float)
    kernel = finite_array(kernel, 'kernel').astype(float)
    if flux.shape != expected.shape:
        msg = (f'flux and expected must have one shape, got {flux.shape} '
               f'and {expected.shape}')
        raise ValueError(msg)
    if not (expected > 0).all():
        msg = 'expected must be positive'
        raise ValueError(msg)
    weights = kernel**2
    weights = weights.reshape((1,) * (flux.ndim - 2) + weights.shape)
    return flux * np.sqrt(correlate(1.0 / expected, weights,
                                    mode='constant'))


def match_sources(found, snr, *, radius=1.0, limit=5.0, ignore=3.0):
    """
    Match catalogs with the true sources of simulated images.

    All sources in one pixel count as one, at its center. From the
    highest signal-to-noise ratio downward each gets the nearest entry
    within the radius that is not taken.

    * *Completeness*: the fraction of sources above ``limit`` that got an
      entry.
    * *Purity*: the fraction of entries that belong to a source above
      ``limit``, leaving out of the count those that belong to one
      between ``ignore`` and ``limit``: these are real, and finding them
      is neither asked for nor wrong.
    * *Strict purity*: the same with nothing left out.

    Parameters
    ----------
    found : sequence of 2D `~numpy.ndarray`
        For each image positions ``(x, y)`` in pixels, shape (m, 2).

    snr : 3D `~numpy.ndarray`
        Ideal signal-to-noise ratio of each pixel, see `ideal_snr`.

    radius : float, optional
        Largest distance in pixels.

    limit : float, optional
        Signal-to-noise ratio from which on sources should be found.

    ignore : float, optional
        From which on finding them is not wrong.

    Returns
    -------
    scores : `~astropy.table.QTable`
        One row over all images, so that rows of several finders can be
        stacked: ``completeness``, ``purity``, ``f1`` (harmonic mean of
        the two), ``strict_purity``, ``strict_f1``; numbers of sources
        above the limit and of entries, ``n_sources`` and ``n_found``; the
        median distance ``offset`` of matched entries in pixels. A
        fraction of nothing, as the purity of an empty catalog, is NaN;
        the F1 score is 0 if sources were there and none was found, or
        the other way round. ``scores.meta`` holds ``n_images``,
        ``radius``, ``limit`` and ``ignore``, and ``version`` and ``date``
        as all tables of the package.

    Raises
    ------
    ValueError
        If there are not as many catalogs as images, a shape is another,
        or a number is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import match_sources
    >>> snr = np.zeros((1, 8, 8))
    >>> snr[0, 2, 3], snr[0, 6, 6] = 9.0, 6.0
    >>> scores = match_sources([[(3.2, 2.1), (0.0, 7.0)]], snr)
    >>> print(scores['completeness', 'purity', 'n_sources'])
    completeness purity n_sources
    ------------ ------ ---------
             0.5    0.5         2
    """
    snr = finite_array(snr, 'snr')
    if snr.ndim != 3:
        msg = f'snr must have shape (n, ny, nx), got {snr.shape}'
        raise ValueError(msg)
    if len(found) != len(snr):
        msg = (f'found must hold a catalog for each of the {len(snr)} '
               f'images, got {len(found)}')
        raise ValueError(msg)
    n_sources = n_found = n_right = n_ignored = 0
    offsets = []
    for number, (positions, image) in enumerate(zip(found, snr,
                                                    strict=True)):
        positions = _positions(positions, f'found[{number}]')
        y, x = np.nonzero(image > ignore)
        order = np.argsort(-image[y, x], kind='stable')
        y, x = y[order], x[order]
        wanted = image[y, x] > limit
        n_sources += int(wanted.sum())
        n_found += len(positions)
        matched, distances = _nearest_free(positions, x, y, radius)
        n_right += int(wanted[matched].sum())
        n_ignored += int((~wanted[matched]).sum())
        offsets += distances
    scores = QTable({
        'completeness': [_fraction(n_right, n_sources)],
        'purity': [_fraction(n_right, n_found - n_ignored)],
        'f1': [_fraction(2 * n_right, n_sources + n_found - n_ignored)],
        'strict_purity': [_fraction(n_right, n_found)],
        'strict_f1': [_fraction(2 * n_right, n_sources + n_found)],
        'n_sources': [n_sources], 'n_found': [n_found],
        'offset': [np.median(offsets) if offsets else np.nan] * u.pix})
    scores.meta.update(table_meta(), n_images=len(snr), radius=radius,
                       limit=limit, ignore=ignore)
    return scores


def _positions(positions, name):
    """
    Return the positions of a catalog with shape (m, 2), m may be 0.
    """
    if len(positions) == 0:
        return np.empty((0, 2))
    positions = finite_array(positions, name).astype(float)
    if positions.ndim != 2 or positions.shape[1] != 2:
        msg = (f'{name} must hold positions (x, y), shape (m, 2), got '
               f'{positions.shape}')
        raise ValueError(msg)
    return positions


def _nearest_free(positions, x, y, radius):
    """
    Give sources, in their order, the nearest entry that is not taken.

    Returns the indices of the sources that got one, and the distances.
    """
    matched, found = [], []
    if not len(positions) or not len(x):
        return matched, found
    n_nearest = min(8, len(positions))
    distances, nearest = cKDTree(positions).query(
        np.stack([x, y], 1), k=range(1, n_nearest + 1),
        distance_upper_bound=radius * (1.0 + 1e-9))
    taken = set()
    for source in range(len(x)):
        for distance, entry in zip(distances[source], nearest[source],
                                   strict=True):
            if np.isfinite(distance) and entry not in taken:
                taken.add(entry)
                matched.append(source)
                found.append(distance)
                break
    return matched, found


def _fraction(part, whole):
    return part / whole if whole else np.nan
