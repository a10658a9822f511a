# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Completeness and purity of catalogues of point sources.
"""

import numpy as np
from scipy.ndimage import correlate
from scipy.spatial import cKDTree

__all__ = ['ideal_snr', 'match_sources']


def ideal_snr(flux, expected, kernel):
    """
    Signal-to-noise ratio of sources for an ideal observer.

    The one of a matched filter whose weights know the expected counts
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
        If the shapes differ, or expected counts are not positive.

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
    flux, expected = np.asarray(flux), np.asarray(expected, float)
    kernel = np.asarray(kernel, float)
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
    Match catalogues with the true sources of simulated images.

    All sources in one pixel count as one, at its centre. From the
    highest signal-to-noise ratio downwards each gets the nearest entry
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
    scores : dict
        ``completeness``, ``purity``, ``f1`` (harmonic mean of the two),
        ``strict_purity``, ``strict_f1``; numbers of sources above the
        limit and of entries, ``n_sources`` and ``n_found``; the median
        distance ``offset`` of matched entries.

    Raises
    ------
    ValueError
        If there are not as many catalogues as images.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.evaluation import match_sources
    >>> snr = np.zeros((1, 8, 8))
    >>> snr[0, 2, 3], snr[0, 6, 6] = 9.0, 6.0
    >>> scores = match_sources([[(3.2, 2.1), (0.0, 7.0)]], snr)
    >>> print(scores['completeness'], scores['purity'])
    0.5 0.5
    """
    if len(found) != len(snr):
        msg = (f'found must hold a catalogue for each of the {len(snr)} '
               f'images, got {len(found)}')
        raise ValueError(msg)
    n_sources = n_found = n_right = n_ignored = 0
    offsets = []
    for positions, image in zip(found, snr, strict=True):
        positions = np.asarray(positions, float).reshape(-1, 2)
        y, x = np.nonzero(image > ignore)
        order = np.argsort(-image[y, x], kind='stable')
        y, x = y[order], x[order]
        wanted = image[y, x] > limit
        n_sources += int(wanted.sum())
        n_found += len(positions)
        if not len(positions):
            continue
        distances, nearest = cKDTree(positions).query(
            np.stack([x, y], 1), k=min(8, len(positions)),
            distance_upper_bound=radius * (1.0 + 1e-9))
        distances = distances.reshape(len(x), -1)
        nearest = nearest.reshape(len(x), -1)
        taken = set()
        for source in range(len(x)):
            for distance, entry in zip(distances[source], nearest[source],
                                       strict=True):
                if np.isfinite(distance) and entry not in taken:
                    taken.add(entry)
                    offsets.append(distance)
                    n_right += int(wanted[source])
                    n_ignored += int(not wanted[source])
                    break
    completeness = n_right / max(n_sources, 1)
    purity = n_right / max(n_found - n_ignored, 1)
    strict = n_right / max(n_found, 1)
    return {'completeness': completeness, 'purity': purity,
            'f1': _harmonic(completeness, purity), 'strict_purity': strict,
            'strict_f1': _harmonic(completeness, strict),
            'n_sources': n_sources, 'n_found': n_found,
            'offset': float(np.median(offsets)) if offsets else np.nan}


def _harmonic(a, b):
    return 2.0 * a * b / (a + b) if a + b else 0.0
