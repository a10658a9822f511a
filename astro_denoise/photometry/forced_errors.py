# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The errors of a joint fit, and the smallest that any could have.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from .forced_fit import Design, HatProducts, tiles_of, weighted_design

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


def fit_errors(scene, stamps, fit, weights, *, covariance=False):
    r"""
    Propagate the noise through a fit.

    With weighted profiles :math:`Q`, profiles :math:`P` and :math:`G = Q
    P^T`, the covariance is :math:`G^{-1} Q \Sigma Q^T G^{-T}`, and the
    Cramér-Rao bound the inverse of :math:`P \Sigma^{-1} P^T`.

    Parameters
    ----------
    scene, stamps, fit, weights : `Scene`, `SourceStamps`, `Fit`, `Weights`
        The fit and how it was made.

    covariance : bool, optional
        Keep the covariance of all fluxes.

    Returns
    -------
    errors : `Errors`
        Of the fluxes, the background marginalized.
    """
    errors = Errors.empty(stamps.n_sources)
    photons = scene.variance + stamps.image(
        scene.values.shape, scene.photon_variance(fit.flux))
    precision = scene.valid / photons
    hat_weights = weights.share / weights.variance
    hat_maps = [hat_weights, hat_weights**2 * weights.variance, precision]
    products = [HatProducts(scene.hats, weight) for weight in hat_maps]
    parts = []
    for tile in tiles_of(scene, stamps):
        if not tile.own_rows.any():
            continue
        design = Design.of(scene, stamps, tile)
        hats = [product.matrix(tile.nodes) for product in products]
        full = _tile_covariance(scene, weights, tile, design, *hats[:2])
        fisher = _fisher(design, precision[tile.pixels].ravel(), hats[2])
        _enter(errors, tile, full, fisher)
        if covariance:
            own = np.flatnonzero(tile.own_rows)
            scale = np.sqrt(np.diag(full))
            kept = np.abs(full[own]) > _LEAST_CORRELATION * (
                scale[own, np.newaxis] * scale)
            row, column = np.nonzero(kept)
            parts.append((tile.rows[own[row]], tile.rows[column],
                          full[own][kept]))
    if covariance:
        errors.covariance = _symmetric(parts, stamps.n_sources)
    return errors


def _tile_covariance(scene, weights, tile, design, products, noisy_products):
    """Propagate the noise to the sources of a tile."""
    weighted = weighted_design(scene, weights, tile, design)
    variance = weights.variance[tile.pixels].ravel()
    share = weights.share[tile.pixels].ravel()
    inverse = linalg.inv(
        design.equations(weighted, share / variance, products),
        check_finite=False)[:len(tile.rows)]
    noisy = design.with_values(weighted.data * variance[weighted.indices])
    mixed = design.hats.products(
        design.with_values(weighted.data * share[weighted.indices]))
    scatter = np.block([
        [(noisy @ weighted.T.tocsr()).toarray(), mixed],
        [mixed.T, noisy_products]])
    return inverse @ scatter @ inverse.T


def _fisher(design, precision, products):
    """Compute the Fisher matrix of a tile."""
    weighted = design.with_values(
        design.cores.data * precision[design.cores.indices])
    fisher = design.equations(weighted, precision, products)
    return (fisher + fisher.T) / 2


def _enter(errors, tile, full, fisher):
    """Enter the sources that a tile answers for."""
    n_rows = len(tile.rows)
    cross = fisher[:n_rows, n_rows:]
    marginal = fisher[:n_rows, :n_rows] - cross @ linalg.solve(
        fisher[n_rows:, n_rows:], cross.T, assume_a='pos')
    bound = linalg.inv(marginal)
    variance = np.maximum(np.diag(bound), 0.0)
    scale = np.sqrt(variance)
    correlation = bound / np.maximum(
        scale[:, np.newaxis] * scale, np.finfo(float).tiny)
    np.fill_diagonal(correlation, 0.0)
    own, rows = tile.own_rows, tile.rows[tile.own_rows]
    partner = np.argmax(np.abs(correlation), axis=1)
    strongest = correlation[np.arange(n_rows), partner]
    errors.error[rows] = np.sqrt(np.diag(full))[own]
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
