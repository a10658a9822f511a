# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The equations of the joint least squares of sources and background.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

__all__ = ['Tile', 'joint_matrix', 'parts_of', 'sky_sums', 'tiles_of']

_LEAST_HALO, _MOST_HALO = 24, 64

# Products of hats are sums over blocks of these pixels, but of no more than
# this share of the distance of nodes.
_HAT_BLOCK, _MOST_SHARE = 4, 0.1


@dataclass
class Tile:
    """
    One tile: the unknowns in and around it, and its own.

    Attributes
    ----------
    rows : 1D int `~numpy.ndarray`
        Its sources and those in its halo.

    nodes : 1D int `~numpy.ndarray`
        The nodes that reach into it, after the sources in the equations.

    own : 1D bool `~numpy.ndarray`
        Which of both it answers for.
    """

    rows: np.ndarray
    nodes: np.ndarray
    own: np.ndarray

    @cached_property
    def unknowns(self):
        """Rows of the equations."""
        return np.concatenate([self.rows, self.nodes], dtype=np.int32)


def parts_of(tiles, passes, *matrices):
    """
    Cut the equations of each tile out of those of all unknowns.

    Parameters
    ----------
    tiles : iterable of `Tile`
        The tiles.

    passes : module or `None`
        From `~astro_denoise.photometry.source_stamps.stamp_passes`.

    *matrices : `~scipy.sparse.csr_array`
        Of all unknowns.

    Yields
    ------
    tile : `Tile`
        Each of them.

    *parts : 2D `~numpy.ndarray`
        Of its unknowns, from each of the matrices.
    """
    place = np.full(matrices[0].shape[0], -1, np.int32)
    cut = _cut if passes is None else passes.cut_equations
    for tile in tiles:
        unknowns = tile.unknowns
        parts = np.zeros((len(matrices), len(unknowns), len(unknowns)))
        for matrix, part in zip(matrices, parts, strict=True):
            cut(unknowns, (matrix.indptr, matrix.indices, matrix.data),
                place, part)
        yield tile, *parts


def _cut(rows, matrix, place, out):
    """Cut rows and columns out of a matrix, as what is compiled does."""
    starts, indices, values = matrix
    place[rows] = np.arange(len(rows))
    counts = starts[rows + 1] - starts[rows]
    ends = np.cumsum(counts)
    entries = np.arange(ends[-1]) + np.repeat(
        starts[rows] - ends + counts, counts)
    columns = place[indices[entries]]
    line = np.repeat(np.arange(len(rows)), counts)
    inside = columns >= 0
    out[line[inside], columns[inside]] = values[entries[inside]]
    place[rows] = -1


def tiles_of(scene, stamps):
    """
    Cut a scene into tiles.

    Parameters
    ----------
    scene, stamps : `Scene`, `SourceStamps`
        The plane and its sources.

    Returns
    -------
    tiles : list of `Tile`
        Those with unknowns of their own.
    """
    shape = scene.values.shape
    half, x, y = np.zeros((3, stamps.n_sources), int)
    near = np.zeros(stamps.n_sources, bool)
    for group in stamps.sets:
        height, width = group.stamps.shape[1:]
        near[group.rows] = True
        half[group.rows] = max(height, width) // 2
        y[group.rows] = group.y_low + height // 2
        x[group.rows] = group.x_low + width // 2
    halo = int(np.clip(half[near].min(initial=_MOST_HALO), _LEAST_HALO,
                       _MOST_HALO))
    lines = [np.rint(np.linspace(0, n - 1, hats.shape[1])).astype(int)
             for n, hats in zip(shape, scene.hats, strict=True)]
    n_x = len(lines[1])
    near = np.flatnonzero(near)
    near = near[np.argsort(y[near], kind='stable')]
    y_sorted = y[near]
    tiles = []
    for low_y in range(0, shape[0], scene.tile):
        core_y, window_y = _side(low_y, scene.tile, halo, shape[0])
        strip = near[slice(*np.searchsorted(y_sorted, window_y))]
        nodes_y = _used(scene.hats[0][slice(*window_y)])
        for low_x in range(0, shape[1], scene.tile):
            core_x, window_x = _side(low_x, scene.tile, halo, shape[1])
            rows = np.sort(strip[_inside(x[strip], window_x)])
            nodes_x = _used(scene.hats[1][slice(*window_x)])
            nodes = (nodes_y[:, np.newaxis] * n_x + nodes_x).ravel()
            own = np.concatenate([
                _inside(y[rows], core_y) & _inside(x[rows], core_x),
                np.logical_and.outer(
                    _inside(lines[0][nodes_y], core_y),
                    _inside(lines[1][nodes_x], core_x)).ravel()])
            if own.any():
                tiles.append(Tile(rows, stamps.n_sources + nodes, own))
    return tiles


def _side(low, size, halo, n_pixels):
    """First and last pixel of a tile and of its halo along an axis."""
    high = min(low + size, n_pixels)
    return (low, high), (max(low - halo, 0), min(high + halo, n_pixels))


def _inside(place, side):
    return (place >= side[0]) & (place < side[1])


def _used(hats):
    """Nodes that reach into a part of an axis."""
    return np.flatnonzero(hats.any(axis=0))


def sky_sums(hats, weights, plane, passes):
    """
    Sum a plane, weighted for the background and with each of its hats.

    Parameters
    ----------
    hats : tuple of 2D `~numpy.ndarray`
        Along y and x.

    weights : `~astro_denoise.photometry.forced_fit.Weights`
        Of the pixels.

    plane : 2D `~numpy.ndarray`
        Of the scene.

    passes : module or `None`
        From `~astro_denoise.photometry.source_stamps.stamp_passes`.

    Returns
    -------
    of_sky : 2D `~numpy.ndarray`
        The weights of the pixels.

    sums : 2D `~numpy.ndarray`
        A number for each node.
    """
    if passes is None:
        of_sky = weights.share / weights.variance
        return of_sky, (sparse.csr_array(hats[0].T) @ (of_sky * plane)
                        ) @ hats[1]
    of_sky = np.empty_like(plane)
    lines = np.zeros((hats[0].shape[1], plane.shape[1]), np.float32)
    passes.sky_lines(weights.share, weights.variance, plane, of_sky, lines)
    return of_sky, lines @ hats[1]


def _hat_products(hats, plane, root, passes):
    """Products of the hats with a plane in between, as entries."""
    blocks = [int(np.clip(_MOST_SHARE * len(line) / line.shape[1], 1,
                          _HAT_BLOCK)) for line in hats]
    if passes is None:
        binned = plane**2 if root else plane
    else:
        binned = np.zeros([-(-n_pixels // block) for n_pixels, block in
                           zip(plane.shape, blocks, strict=True)], np.float32)
        passes.binned(plane, root, tuple(blocks), binned)
    lines = []
    for axis, (line, block) in enumerate(zip(hats, blocks, strict=True)):
        padding = -len(line) % block
        if padding:
            line = np.pad(line, ((0, padding), (0, 0)), mode='edge')
        parts = [np.s_[first::block] for first in range(block)]
        if passes is None:
            widths = np.zeros((2, 2), int)
            widths[axis, 1] = padding
            binned = np.pad(binned, widths) if padding else binned
            binned = sum(binned[part] if axis == 0 else binned[:, part]
                         for part in parts)
        lines.append(sum(line[part] for part in parts) / block)
    n_y, n_x = (line.shape[1] for line in lines)
    y, x = np.mgrid[:n_y, :n_x]
    found = []
    for step_y in (-1, 0, 1):
        pair_y = np.roll(lines[0], -step_y, axis=1) * lines[0]
        sums = sparse.csr_array(pair_y.T) @ binned
        for step_x in (-1, 0, 1):
            value = sums @ (np.roll(lines[1], -step_x, axis=1) * lines[1])
            there = ((y + step_y >= 0) & (y + step_y < n_y)
                     & (x + step_x >= 0) & (x + step_x < n_x))
            node = (y * n_x + x)[there]
            found.append((node, node + step_y * n_x + step_x, value[there]))
    return (np.concatenate(each) for each in zip(*found, strict=True))


def _with_hats(scene, stamps, values, plane):
    """Products of values on the stamps with plane and hats, as entries."""
    shape = tuple(hats.shape[1] for hats in scene.hats)
    steps = tuple((n_nodes - 1) / (n_pixels - 1) for n_nodes, n_pixels in
                  zip(shape, stamps.shape, strict=True))
    found = [np.zeros((3, 0), np.int32)]
    for group, each in zip(stamps.sets, values, strict=True):
        for part in group.blocks():
            product, nodes = _on_hats(group[part], each[part], plane, steps,
                                      stamps.passes)
            nodes = nodes[0][:, :, np.newaxis], nodes[1][:, np.newaxis]
            used = (nodes[0] < shape[0]) & (nodes[1] < shape[1]) & (
                product != 0)
            number = np.nonzero(used)[0]
            found.append((group.rows[part][number].astype(np.int32),
                          (nodes[0] * shape[1] + nodes[1])[used].astype(
                              np.int32), product[used]))
    return (np.concatenate(each) for each in zip(*found, strict=True))


def _on_hats(group, values, plane, steps, passes):
    """Sums of products of values with plane and hats, and their nodes."""
    first, nodes, places = [], [], []
    for low, side, step in zip(group.low, values.shape[1:], steps,
                               strict=True):
        first.append(np.floor(low * step).astype(int))
        n_nodes = int(np.ceil((low + side - 1) * step - first[-1]).max()) + 1
        nodes.append(first[-1][:, np.newaxis] + np.arange(n_nodes))
        places.append((low[:, np.newaxis] + np.arange(side)) * step)
    if passes is not None:
        if plane is None:
            plane = np.zeros((0, 0), np.float32)
        product = np.empty((len(values), nodes[0].shape[1],
                            nodes[1].shape[1]), np.float32)
        passes.hat_products(values, group.low, plane, steps, tuple(first),
                            product)
        return product, nodes
    if plane is not None:
        values = values * group.cut(plane)
    lines = [np.maximum(0.0, 1.0 - np.abs(
        place[:, np.newaxis] - each[:, :, np.newaxis])).astype(np.float32)
        for place, each in zip(places, nodes, strict=True)]
    return lines[0] @ (values @ lines[1].transpose(0, 2, 1)), nodes


def joint_matrix(scene, stamps, left, right, sides, plane, *, root=False,
                 symmetric=False):
    """
    Multiply weighted columns of sources and background with others.

    Parameters
    ----------
    scene, stamps : `Scene`, `SourceStamps`
        The plane and its sources.

    left, right : list of 3D `~numpy.ndarray`
        Values on the stamps, of the sources of rows and of columns.

    sides : tuple of tuple
        Values on the stamps and a plane (`None` is one of ones), the
        products of which are multiplied with the hats: where the sources
        are rows and where they are columns.

    plane : 2D `~numpy.ndarray`
        What is between the hats, or its root.

    root : bool, optional
        Which.

    symmetric : bool, optional
        The sources' part of the matrix is the same both ways.

    Returns
    -------
    matrix : `~scipy.sparse.csr_array`
        Of all sources and then all nodes.
    """
    n_sources = stamps.n_sources
    pairs = stamps.pairs
    forth, back = pairs.products(left, right, symmetric=symmetric)
    line = np.arange(n_sources)
    entries = [(line, line, stamps.inner(left, right)),
               (pairs.first, pairs.second, forth),
               (pairs.second, pairs.first, back)]
    row, node, value = _with_hats(scene, stamps, *sides[0])
    entries.append((row, n_sources + node, value))
    if sides[1] is not sides[0]:
        row, node, value = _with_hats(scene, stamps, *sides[1])
    entries.append((n_sources + node, row, value))
    row, column, value = _hat_products(scene.hats, plane, root, stamps.passes)
    entries.append((n_sources + row, n_sources + column, value))
    rows, columns, values = (
        np.concatenate(each, dtype=kind, casting='unsafe')
        for each, kind in zip(zip(*entries, strict=True),
                              (np.int32, np.int32, np.float32), strict=True))
    del entries  # memory
    size = n_sources + scene.hats[0].shape[1] * scene.hats[1].shape[1]
    return sparse.coo_array((values, (rows, columns)), (size, size)).tocsr()
