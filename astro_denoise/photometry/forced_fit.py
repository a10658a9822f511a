# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The joint least squares of sources and background, tile by tile.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import linalg, sparse

__all__ = ['Design', 'Fit', 'HatProducts', 'Scene', 'Tile', 'Weights',
           'improved', 'tiles_of', 'weighted_design']

_TILE = 64
_LEAST_HALO, _MOST_HALO = 24, 64
_HUBER = 3.0

# Relative to the diagonal: makes two sources at one place solvable.
_RIDGE = 1e-9

# Pixels with less of a profile than this, relative to its peak, do not weigh.
_LEAST_SHARE = 1e-3

# Correlations below this are not kept.
_LEAST_CORRELATION = 1e-3


def _hats(n_pixels, step):
    """Make the linear interpolation from nodes to pixels along an axis."""
    n_nodes = max(2, int(np.ceil((n_pixels - 1) / step)) + 1)
    place = np.linspace(0.0, n_nodes - 1.0, n_pixels)
    return np.maximum(0.0, 1.0 - np.abs(
        place[:, np.newaxis] - np.arange(n_nodes)))


@dataclass(frozen=True)
class TileHats:
    """
    The hats on the pixels of a tile, two along each axis.

    Attributes
    ----------
    nodes, shares : tuple of 2D `~numpy.ndarray`
        Along y and x, for the pixels of a side: the two nodes, numbered as
        those of the tile, and the hats there, 0 for nodes that are not of
        the tile.

    shape : tuple of int
        Nodes of the tile in y and x.
    """

    nodes: tuple
    shares: tuple
    shape: tuple

    @classmethod
    def of(cls, scene, tile):
        """Cut the hats of a tile out of those of a scene."""
        nodes, shares, shape = [], [], []
        for hats, pixels, part in zip(scene.hats, tile.pixels, tile.nodes,
                                      strict=True):
            line = hats[pixels, part]
            n_nodes = line.shape[1]
            low = np.clip(np.argmax(line > 0, axis=1), 0,
                          max(n_nodes - 2, 0))
            both = np.stack([low, np.minimum(low + 1, n_nodes - 1)])
            share = np.take_along_axis(line, both.T, axis=1).T
            if n_nodes == 1:
                share[1] = 0.0
            nodes.append(both)
            shares.append(share)
            shape.append(n_nodes)
        return cls(tuple(nodes), tuple(shares), tuple(shape))

    def products(self, matrix):
        """
        Multiply rows of pixels of the tile with the hats.

        Parameters
        ----------
        matrix : `~scipy.sparse.csr_array`
            A column a pixel.

        Returns
        -------
        products : 2D `~numpy.ndarray`
            A column a node.
        """
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        y, x = np.divmod(matrix.indices, self.nodes[1].shape[1])
        size = self.shape[0] * self.shape[1]
        products = np.zeros(matrix.shape[0] * size)
        for node_y, share_y in zip(self.nodes[0], self.shares[0],
                                   strict=True):
            place = rows * size + node_y[y] * self.shape[1]
            values = matrix.data * share_y[y]
            for node_x, share_x in zip(self.nodes[1], self.shares[1],
                                       strict=True):
                products += np.bincount(place + node_x[x],
                                        values * share_x[x], len(products))
        return products.reshape(-1, size)


@dataclass
class Scene:
    """
    A plane on which sources are fitted.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        Pixels and whether they count.

    variance : 2D `~numpy.ndarray`
        Of the noise without that of the sources.

    gain : float or `None`
        Electrons per unit of the values.

    step : float
        Pixels between the nodes of the background.

    tile : int, optional
        Pixels of a side of the tiles.
    """

    values: np.ndarray
    valid: np.ndarray
    variance: np.ndarray
    gain: float | None
    step: float
    tile: int = _TILE
    hats: tuple = field(init=False)

    def __post_init__(self):
        self.hats = tuple(_hats(n_pixels, self.step)
                          for n_pixels in self.values.shape)

    def background(self, nodes):
        """
        Interpolate the background.

        Parameters
        ----------
        nodes : 2D `~numpy.ndarray`
            Its values at the nodes.

        Returns
        -------
        background : 2D `~numpy.ndarray`
            On every pixel.
        """
        return self.hats[0] @ nodes @ self.hats[1].T

    def photon_variance(self, flux):
        """
        Compute the variance of a source's photons over its profile.
        """
        if self.gain is None:
            return np.zeros_like(flux)
        return np.maximum(flux, 0.0) / self.gain


@dataclass
class Fit:
    """
    State of the fit of a scene.

    Attributes
    ----------
    flux : 1D `~numpy.ndarray`
        Of the sources.

    nodes : 2D `~numpy.ndarray`
        The background.

    model_error : float
        Error of the profiles in a pixel, relative to their values.
    """

    flux: np.ndarray
    nodes: np.ndarray
    model_error: float = 0.05
    _kept: tuple | None = field(default=None, init=False, repr=False)

    @classmethod
    def empty(cls, scene, n_sources):
        """
        Begin with nothing but the level of the scene.
        """
        shape = tuple(hats.shape[1] for hats in scene.hats)
        level = np.median(scene.values[scene.valid])
        return cls(np.zeros(n_sources), np.full(shape, level))

    def residual(self, scene, stamps):
        """
        Subtract sources and background from a scene.

        Parameters
        ----------
        scene, stamps : `Scene`, `SourceStamps`
            What was fitted.

        Returns
        -------
        residual : 2D `~numpy.ndarray`
            Not to be changed: it is kept for the next to ask.
        """
        if self._kept is None or self._kept[0] is not stamps or (
                self._kept[1] is not scene.values):
            self._kept = stamps, scene.values, (
                scene.values - scene.background(self.nodes)
                - stamps.image(scene.values.shape, self.flux))
        return self._kept[2]


@dataclass
class Weights:
    """
    Variance of the pixels, and what is left of the weight of outliers.

    Attributes
    ----------
    flux : 1D `~numpy.ndarray`
        The fluxes that the variances of the sources follow from.

    variance : 2D `~numpy.ndarray`
        With that of all sources.

    share : 2D `~numpy.ndarray`
        The factor of Huber's weights, 0 where a pixel is not valid.

    model_error : float
        As in `Fit`.

    group : 1D int `~numpy.ndarray`
        A number for each source, the same for those at one place.
    """

    flux: np.ndarray
    variance: np.ndarray
    share: np.ndarray
    model_error: float
    group: np.ndarray

    @classmethod
    def uniform(cls, scene, n_sources):
        """
        Make weights that know of no source.
        """
        return cls(np.zeros(n_sources), scene.variance,
                   scene.valid.astype(float), 0.0, np.arange(n_sources))

    @classmethod
    def of(cls, scene, stamps, fit, group, *, guide_flux=None, robust=True):
        """
        Make weights from a fit.

        Parameters
        ----------
        scene, stamps, fit : `Scene`, `SourceStamps`, `Fit`
            What was fitted.

        group : 1D int `~numpy.ndarray`
            As in the attributes.

        guide_flux : 1D `~numpy.ndarray`, optional
            Fluxes to take instead of the fitted ones.

        robust : bool, optional
            Give pixels far off the model less weight.

        Returns
        -------
        weights : `Weights`
            For the next fit.
        """
        # How the light of twins is shared out says nothing.
        flux = fit.flux if guide_flux is None else guide_flux
        number = np.bincount(group, minlength=len(flux))
        flux = np.maximum(np.bincount(group, flux, len(flux)), 0.0)
        flux = (flux / np.maximum(number, 1))[group]
        shape = scene.values.shape
        variance = (
            scene.variance
            + stamps.image(shape, scene.photon_variance(flux))
            + stamps.image(shape, (fit.model_error * flux)**2, power=2))
        share = scene.valid.astype(float)
        if robust:
            pull = np.abs(fit.residual(scene, stamps)) / np.sqrt(variance)
            share *= np.minimum(1.0, _HUBER / np.maximum(pull, _HUBER))
        return cls(flux, variance, share, fit.model_error, group)


@dataclass
class Tile:
    """
    One tile: the sources and nodes in and around it, and its own.

    Attributes
    ----------
    region : tuple of int
        ``(y_low, y_high, x_low, x_high)`` of the pixels of its sources.

    rows : 1D int `~numpy.ndarray`
        Its sources and those in its halo.

    own_rows : 1D bool `~numpy.ndarray`
        Which of them it answers for.

    nodes : tuple of slice
        The nodes that reach into it, in y and x.

    own_nodes : 2D bool `~numpy.ndarray`
        Which of them it answers for.
    """

    region: tuple
    rows: np.ndarray
    own_rows: np.ndarray
    nodes: tuple
    own_nodes: np.ndarray

    @property
    def pixels(self):
        """The region as slices."""
        return slice(*self.region[:2]), slice(*self.region[2:])


def tiles_of(scene, stamps):
    """
    Cut a scene into tiles.

    Parameters
    ----------
    scene, stamps : `Scene`, `SourceStamps`
        The plane and its sources.

    Yields
    ------
    tile : `Tile`
        The next one.
    """
    shape = scene.values.shape
    halves = [group.stamps.shape[1] // 2 for group in stamps.sets]
    halo = int(np.clip(min(halves, default=0), _LEAST_HALO, _MOST_HALO))
    x, y = np.full((2, stamps.n_sources), -10 * max(shape))
    half = np.zeros(stamps.n_sources, dtype=int)
    for group, size in zip(stamps.sets, halves, strict=True):
        half[group.rows] = size
        x[group.rows], y[group.rows] = group.x_low + size, group.y_low + size
    near = ((x > -half) & (x < shape[1] + half)
            & (y > -half) & (y < shape[0] + half))
    edge_x, edge_y = np.clip(x, 0, shape[1] - 1), np.clip(y, 0, shape[0] - 1)
    lines = [np.rint(np.linspace(0, n - 1, hats.shape[1]))
             for n, hats in zip(shape, scene.hats, strict=True)]
    for low in np.ndindex(*(-(-n // scene.tile) for n in shape)):
        core = tuple((scene.tile * k, min(scene.tile * (k + 1), n))
                     for k, n in zip(low, shape, strict=True))
        window = tuple((max(first - halo, 0), min(last + halo, n))
                       for (first, last), n in zip(core, shape, strict=True))
        rows = np.flatnonzero(near & _inside(edge_y, window[0])
                              & _inside(edge_x, window[1]))
        own = (_inside(edge_y[rows], core[0]) & _inside(edge_x[rows], core[1]))
        reach = half[rows].max(initial=0) + 1
        region = tuple(edge for (first, last), n in zip(window, shape,
                                                        strict=True)
                       for edge in (max(first - reach, 0),
                                    min(last + reach, n)))
        nodes = tuple(_used(hats[slice(*side)])
                      for hats, side in zip(scene.hats, window, strict=True))
        own_nodes = np.logical_and.outer(
            *(_inside(line[part], side) for line, part, side in zip(
                lines, nodes, core, strict=True)))
        yield Tile(region, rows, own, nodes, own_nodes)


def _inside(place, side):
    return (place >= side[0]) & (place < side[1])


def _used(hats):
    """Slice of the nodes that reach into a part of an axis."""
    used = np.flatnonzero(hats.any(axis=0))
    return slice(used[0], used[-1] + 1)


class HatProducts:
    """
    Products of the hats of the background with weights in between.

    They are sums over the whole reach of each hat, so that tiles are
    parts of one system of equations.

    Parameters
    ----------
    hats : tuple of 2D `~numpy.ndarray`
        The hats along y and x.

    weights : 2D `~numpy.ndarray`
        A weight for every pixel.
    """

    def __init__(self, hats, weights):
        steps = (-1, 0, 1)
        pairs = [[np.roll(line, -step, axis=1) * line for step in steps]
                 for line in hats]
        sums = [sparse.csr_array(first.T) @ weights for first in pairs[0]]
        self.products = np.array([
            [rows @ second for second in pairs[1]] for rows in sums])

    def matrix(self, nodes):
        """
        Look up the products of some nodes.

        Parameters
        ----------
        nodes : tuple of slice
            In y and x.

        Returns
        -------
        matrix : 2D `~numpy.ndarray`
            Of all pairs of these nodes.
        """
        y, x = (grid.ravel() for grid in np.mgrid[nodes])
        dy, dx = y - y[:, np.newaxis], x - x[:, np.newaxis]
        close = (np.abs(dy) <= 1) & (np.abs(dx) <= 1)
        return np.where(close, self.products[
            np.clip(dy, -1, 1) + 1, np.clip(dx, -1, 1) + 1,
            y[:, np.newaxis], x[:, np.newaxis]], 0.0)


@dataclass
class Design:
    """
    The columns of a tile's least squares.

    Attributes
    ----------
    profiles : `~scipy.sparse.csr_array`
        A row a source.

    cores : `~scipy.sparse.csr_array`
        The same without the faint wings, which have no part in weights.

    hats : `TileHats`
        The nodes of the background.
    """

    profiles: sparse.csr_array
    cores: sparse.csr_array
    hats: TileHats

    @cached_property
    def transposed(self):
        """The profiles, a column a source."""
        return self.profiles.T.tocsr()

    @classmethod
    def of(cls, scene, stamps, tile):
        """
        Make the columns of a tile.

        Parameters
        ----------
        scene, stamps, tile : `Scene`, `SourceStamps`, `Tile`
            The plane, its sources, and the tile.

        Returns
        -------
        design : `Design`
            On the region of the tile.
        """
        profiles = stamps.matrix(tile.rows, tile.region)
        counts = np.diff(profiles.indptr)
        filled = np.flatnonzero(counts)
        peak = np.zeros(len(counts))
        if len(filled):
            peak[filled] = np.maximum.reduceat(profiles.data,
                                               profiles.indptr[filled])
        kept = profiles.data > np.repeat(_LEAST_SHARE * peak, counts)
        ends = np.concatenate([[0], np.cumsum(kept)])[profiles.indptr]
        cores = sparse.csr_array(
            (profiles.data[kept], profiles.indices[kept], ends),
            shape=profiles.shape)
        return cls(profiles, cores, TileHats.of(scene, tile))

    def with_values(self, values):
        """
        Give the cores other values.

        Parameters
        ----------
        values : 1D `~numpy.ndarray`
            In the order of ``cores.data``.

        Returns
        -------
        matrix : `~scipy.sparse.csr_array`
            With the pixels of the cores.
        """
        return sparse.csr_array((values, self.cores.indices,
                                 self.cores.indptr), self.cores.shape)

    def equations(self, weighted, hat_weights, hat_products):
        """
        Multiply weighted columns with the columns themselves.

        Parameters
        ----------
        weighted : `~scipy.sparse.csr_array`
            The cores with their weights.

        hat_weights : 1D `~numpy.ndarray`
            The weights of the pixels for the background.

        hat_products : 2D `~numpy.ndarray`
            From `HatProducts`.

        Returns
        -------
        matrix : 2D `~numpy.ndarray`
            Of sources and nodes, solvable where something has no valid
            pixel.
        """
        third = self.profiles.copy()
        third.data = third.data * hat_weights[third.indices]
        matrix = np.block([
            [(weighted @ self.transposed).toarray(),
             self.hats.products(weighted)],
            [self.hats.products(third).T, hat_products]])
        diagonal = np.einsum('ii->i', matrix)
        empty = ~(diagonal > 0)
        diagonal *= 1.0 + _RIDGE
        diagonal[empty] = 1.0
        return matrix


def weighted_design(scene, weights, tile, design):
    """
    Give the sources of a tile their weights.

    A source does not count in the variance that its own weights follow:
    weights that grow or fall with its flux would curve it.

    Parameters
    ----------
    scene, weights, tile, design : `Scene`, `Weights`, `Tile`, `Design`
        The plane, the variances, the tile and its columns.

    Returns
    -------
    weighted : `~scipy.sparse.csr_array`
        Of the cores.
    """
    variance = weights.variance[tile.pixels].ravel()
    share = weights.share[tile.pixels].ravel()
    least = scene.variance[tile.pixels].ravel()
    cores = design.cores
    counts = np.diff(cores.indptr)
    flux = weights.flux[tile.rows]
    own = (np.repeat(scene.photon_variance(flux), counts) * cores.data
           + (np.repeat(weights.model_error * flux, counts) * cores.data)**2)
    own = _with_twins(own, design, weights.group[tile.rows])
    free = np.maximum(variance[cores.indices] - own, least[cores.indices])
    return design.with_values(cores.data * share[cores.indices] / free)


def _with_twins(own, design, group):
    """Count sources at nearly the same place as one."""
    members = np.unique(group, return_inverse=True)[1]
    many = np.flatnonzero(np.bincount(members)[members] > 1)
    if not len(many):
        return own
    variances = design.with_values(own)
    own = own.copy()
    for row in many:
        twins = np.flatnonzero(members == members[row])
        total = variances[twins].sum(axis=0)
        part = slice(*design.cores.indptr[row:row + 2])
        own[part] = total[design.cores.indices[part]]
    return own


def improved(scene, stamps, fit, weights):
    """
    Improve a fit by one step of least squares.

    Every tile is solved for what the fit has left, with all sources in
    its halo free, so that what is farther away counts as it was fitted
    before.

    Parameters
    ----------
    scene, stamps, fit, weights : `Scene`, `SourceStamps`, `Fit`, `Weights`
        What to fit, and how.

    Returns
    -------
    fit : `Fit`
        A new one.
    """
    residual = fit.residual(scene, stamps)
    flux, nodes = fit.flux.copy(), fit.nodes.copy()
    hat_weights = weights.share / weights.variance
    hat_products = HatProducts(scene.hats, hat_weights)
    hat_sums = (sparse.csr_array(scene.hats[0].T)
                @ (hat_weights * residual)) @ scene.hats[1]
    for tile in tiles_of(scene, stamps):
        design = Design.of(scene, stamps, tile)
        weighted = weighted_design(scene, weights, tile, design)
        left = np.concatenate([weighted @ residual[tile.pixels].ravel(),
                               hat_sums[tile.nodes].ravel()])
        step = linalg.solve(design.equations(
            weighted, hat_weights[tile.pixels].ravel(),
            hat_products.matrix(tile.nodes)), left, check_finite=False)
        n_rows = len(tile.rows)
        flux[tile.rows[tile.own_rows]] += step[:n_rows][tile.own_rows]
        nodes[tile.nodes][tile.own_nodes] += (
            step[n_rows:][tile.own_nodes.ravel()])
    return replace(fit, flux=flux, nodes=nodes)
