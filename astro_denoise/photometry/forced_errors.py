# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The errors of a joint fit, and the smallest that any could have.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from .forced_equations import joint_matrix, parts_of
from .forced_fit import solvable

__all__ = ['Errors', 'fit_errors']

# Correlations below this are not kept.
_LEAST_CORRELATION = 1e-3


@dataclass
class Errors:
    """
    The errors of a fit.

    Attributes
    ----------
    error, floor, inflation, correlation : 1D `~numpy.ndarray`
        Of the flux of each source: its error, the Cramér-Rao bound, the
        bound over that without neighbors, and the correlation with the
        source it is most correlated with.

    partner : 1D int `~numpy.ndarray`
        The row of that source, -1 if there is none.

    covariance : `~scipy.sparse.csr_array` or `None`
        Of the fluxes of all sources.
    """

    error: np.ndarray
    floor: np.ndarray
    inflation: np.ndarray
    correlation: np.ndarray
    partner: np.ndarray
    covariance: sparse.csr_array | None = None

    @classmethod
    def empty(cls, n_sources):
        """
        Begin with no error known.
        """
        return cls(*np.full((4, n_sources), np.nan),
                   np.full(n_sources, -1))


def fit_errors(passes, *, covariance=False):
    r"""
    Propagate the noise through a fit.

    With weighted profiles :math:`Q`, profiles :math:`P` and :math:`G = Q
    P^T`, the covariance is :math:`G^{-1} Q \Sigma Q^T G^{-T}`, and the
    Cramér-Rao bound the inverse of :math:`P \Sigma^{-1} P^T`.

    Parameters
    ----------
    passes : `~astro_denoise.photometry.forced_passes.Passes`
        The fit and how it was made.

    covariance : bool, optional
        Keep the covariance of all fluxes.

    Returns
    -------
    errors : `Errors`
        Of the fluxes, the background marginalized.
    """
    scene, stamps, weights = passes.scene, passes.stamps, passes.weights
    errors = Errors.empty(stamps.n_sources)
    passes.fit.forget()  # memory
    matrices = passes.matrix, _scatter(scene, stamps, weights,
                                       passes.weighted)
    parts = []
    tiles = [tile for tile in passes.tiles
             if tile.own[:len(tile.rows)].any()]
    for tile, equations, scatter in parts_of(tiles, stamps.passes,
                                             *matrices):
        own = np.flatnonzero(tile.own[:len(tile.rows)])
        solvable(equations)
        if not covariance:
            unit = np.zeros((len(equations), len(own)))
            unit[own, np.arange(len(own))] = 1.0
            inverse = np.linalg.solve(equations.T, unit)
            # Of sources at nearly one place rounding decides on the sign.
            errors.error[tile.rows[own]] = np.sqrt(np.abs(np.einsum(
                'ij,ij->j', scatter @ inverse, inverse)))
        else:
            inverse = np.linalg.inv(equations)[:len(tile.rows)]
            full = inverse @ scatter @ inverse.T
            scale = np.sqrt(np.abs(np.diag(full)))
            errors.error[tile.rows[own]] = scale[own]
            kept = np.abs(full[own]) > _LEAST_CORRELATION * (
                scale[own, np.newaxis] * scale)
            row, column = np.nonzero(kept)
            parts.append((tile.rows[own[row]], tile.rows[column],
                          full[own][kept]))
    passes.matrix = matrices = None  # memory
    fisher = _fisher(scene, stamps, passes.fit, passes.weighted)
    passes.weighted = None  # they were written over
    for tile, part in parts_of(tiles, stamps.passes, fisher):
        _enter(errors, tile, solvable(part))
    if covariance:
        errors.covariance = _symmetric(parts, stamps.n_sources)
    return errors


def _scatter(scene, stamps, weights, weighted):
    """Compute the noise of what the equations are solved for."""
    sigma = np.sqrt(weights.variance)
    _multiply(stamps, weighted, sigma, weighted)
    sides = weighted, np.divide(weights.share, sigma, out=sigma)
    return joint_matrix(scene, stamps, weighted, weighted, (sides, sides),
                        sigma, root=True, symmetric=True)


def _fisher(scene, stamps, fit, memory):
    """Compute the Fisher matrix."""
    root = stamps.image(scene.photon_variance(fit.flux),
                        onto=scene.variance.copy())
    np.divide(scene.valid, root, out=root)
    np.sqrt(root, out=root)
    _multiply(stamps, stamps.profiles, root, memory)
    sides = memory, root
    return joint_matrix(scene, stamps, memory, memory, (sides, sides),
                        root, root=True, symmetric=True)


def _multiply(stamps, values, plane, result):
    """Multiply values on stamps with a plane."""
    for group, one, other in zip(stamps.sets, values, result, strict=True):
        if stamps.passes is not None:
            stamps.passes.multiplied(one, group.low, plane, other)
            continue
        for part in group.blocks():
            np.multiply(one[part], group.cut(plane, part), out=other[part])


def _enter(errors, tile, fisher):
    """Enter the smallest errors of the sources a tile answers for."""
    n_rows = len(tile.rows)
    own = np.flatnonzero(tile.own[:n_rows])
    cross = fisher[:n_rows, n_rows:]
    marginal = fisher[:n_rows, :n_rows] - cross @ np.linalg.solve(
        fisher[n_rows:, n_rows:], cross.T)
    bound = linalg.inv(marginal, check_finite=False)
    variance = np.maximum(np.diag(bound), 0.0)
    scale = np.sqrt(variance)
    correlation = bound / np.maximum(
        scale[:, np.newaxis] * scale, np.finfo(float).tiny)
    np.fill_diagonal(correlation, 0.0)
    rows = tile.rows[own]
    partner = np.argmax(np.abs(correlation), axis=1)
    strongest = correlation[np.arange(n_rows), partner]
    errors.floor[rows] = scale[own]
    errors.inflation[rows] = np.sqrt(variance * np.diag(marginal))[own]
    errors.correlation[rows] = strongest[own]
    errors.partner[rows] = np.where(
        np.abs(strongest) > _LEAST_CORRELATION, tile.rows[partner], -1)[own]


def _symmetric(parts, n_sources):
    """Put the rows of the covariance of all tiles together."""
    row, column, value = (
        (np.concatenate(part) for part in zip(*parts, strict=True))
        if parts else np.zeros((3, 0)))
    matrix = sparse.csr_array((value, (row, column)), (n_sources, n_sources))
    return (matrix + matrix.T) / 2
