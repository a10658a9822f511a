# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Passes over the stamps of many sources, compiled.

Each does what passes of numpy do where this is too little to be worth it or
numba is not installed; a test holds both equal. Stamps and planes are float32.
"""

import numpy as np

from ..noise.compiling import compiled

__all__ = ['add_stamps', 'binned', 'cut_equations', 'drawn_stars',
           'hat_products', 'less_background', 'multiplied', 'pair_products',
           'product_sums', 'robust_share', 'sky_lines', 'weighted_stamps']


@compiled
def add_stamps(plane, stamps, low, flux, squared):
    """
    Add stamps to a plane.

    Parameters
    ----------
    plane : 2D `~numpy.ndarray`
        Changed in place.

    stamps : 3D `~numpy.ndarray`
        Of one size.

    low : tuple of 1D `~numpy.ndarray`
        The first pixel of each, y and x.

    flux, squared : 1D `~numpy.ndarray`
        Factors of the stamps and of their squares.
    """
    height, width = stamps.shape[1:]
    for number in range(stamps.shape[0]):
        factor, curve = flux[number], squared[number]
        if factor == 0 and curve == 0:
            continue
        y, x = low[0][number], low[1][number]
        for i in range(height):
            row = plane[y + i, x:x + width]
            for j in range(width):
                value = stamps[number, i, j]
                row[j] += value * (factor + curve * value)


@compiled
def product_sums(values, low, plane, out):
    """
    Sum the pixels of a plane, weighted with values on stamps.

    Parameters
    ----------
    values : 3D `~numpy.ndarray`
        On stamps of one size.

    low : tuple of 1D `~numpy.ndarray`
        The first pixel of each, y and x.

    plane : 2D `~numpy.ndarray`
        The pixels.

    out : 1D `~numpy.ndarray`
        The sums, changed in place.
    """
    height, width = values.shape[1:]
    for number in range(values.shape[0]):
        y, x = low[0][number], low[1][number]
        total = 0.0
        for i in range(height):
            row = plane[y + i, x:x + width]
            line = np.float32(0.0)
            for j in range(width):
                line += values[number, i, j] * row[j]
            total += line
        out[number] = total


@compiled
def weighted_stamps(stamps, low, linear, square, planes, out):
    """
    Give profiles their weights, their own variance left out.

    Parameters
    ----------
    stamps : 3D `~numpy.ndarray`
        Of one size.

    low : tuple of 1D `~numpy.ndarray`
        The first pixel of each, y and x.

    linear, square : 1D `~numpy.ndarray`
        Variance of each source over its profile, and over its square.

    planes : tuple of 2D `~numpy.ndarray`
        Variance of the pixels, that without sources, and share of the weight.

    out : 3D `~numpy.ndarray`
        As the stamps, changed in place.
    """
    variance, least, share = planes
    height, width = stamps.shape[1:]
    for number in range(stamps.shape[0]):
        y, x = low[0][number], low[1][number]
        factor, curve = linear[number], square[number]
        for i in range(height):
            rows = (variance[y + i, x:x + width], least[y + i, x:x + width],
                    share[y + i, x:x + width])
            for j in range(width):
                value = stamps[number, i, j]
                free = rows[0][j] - value * (factor + curve * value)
                # Of a bright source the difference may be rounded to 0.
                free = rows[1][j] if free < rows[1][j] else free
                out[number, i, j] = value * (rows[2][j] / free)


@compiled
def pair_products(left, right, places, offset, forth, back):
    """
    Sum the products of pairs of stamps where they overlap.

    Parameters
    ----------
    left, right : tuple of 3D `~numpy.ndarray`
        Values on the stamps of the first and of the second of each pair.

    places : tuple of 1D `~numpy.ndarray`
        Numbers of the first and of the second stamp of each pair.

    offset : 2D `~numpy.ndarray`
        Of the second stamp from the first, y and x, of each pair.

    forth, back : 1D `~numpy.ndarray`
        Of the first one's left with the second one's right values, and the
        other way round; changed in place.
    """
    height, width = left[0].shape[1:]
    other_height, other_width = left[1].shape[1:]
    for number in range(offset.shape[0]):
        one, other = places[0][number], places[1][number]
        dy, dx = offset[number]
        first, stop = max(dx, 0), min(width, dx + other_width)
        sums = np.float64(0.0), np.float64(0.0)
        for i in range(max(dy, 0), min(height, dy + other_height)):
            a, b = np.float32(0.0), np.float32(0.0)
            here = left[0][one, i, first:stop], right[0][one, i, first:stop]
            there = (left[1][other, i - dy, first - dx:stop - dx],
                     right[1][other, i - dy, first - dx:stop - dx])
            for j in range(stop - first):
                a += here[0][j] * there[1][j]
                b += there[0][j] * here[1][j]
            sums = sums[0] + a, sums[1] + b
        forth[number], back[number] = sums


@compiled
def hat_products(values, low, plane, steps, first, out):
    """
    Sum products of values on stamps with a plane and with each hat.

    Parameters
    ----------
    values : 3D `~numpy.ndarray`
        On stamps of one size.

    low : tuple of 1D `~numpy.ndarray`
        The first pixel of each, y and x.

    plane : 2D `~numpy.ndarray`
        The pixels; of size 0 for ones.

    steps : tuple of float
        Nodes per pixel, along y and x.

    first : tuple of 1D `~numpy.ndarray`
        The first node of each, along y and x.

    out : 3D `~numpy.ndarray`
        For the nodes of each from the first one on; changed in place.
    """
    height, width = values.shape[1:]
    used_y, used_x = out.shape[1:]
    weigh = plane.shape[0] > 0
    lines = np.empty((used_y, width), np.float32)
    row = np.empty(width, np.float32)
    for number in range(values.shape[0]):
        y, x = low[0][number], low[1][number]
        lines[:] = np.float32(0.0)
        for i in range(height):
            if weigh:
                pixels = plane[y + i, x:x + width]
                for j in range(width):
                    row[j] = values[number, i, j] * pixels[j]
            else:
                for j in range(width):
                    row[j] = values[number, i, j]
            place = (y + i) * steps[0] - first[0][number]
            node = min(int(place), used_y - 1)
            high = np.float32(place - node)
            near = np.float32(1.0) - high
            for j in range(width):
                lines[node, j] += near * row[j]
            if node + 1 < used_y:
                for j in range(width):
                    lines[node + 1, j] += high * row[j]
        for node in range(used_x):
            for j in range(width):
                distance = abs((x + j) * steps[1] - (
                    first[1][number] + node))
                row[j] = max(np.float32(1.0 - distance), np.float32(0.0))
            for k in range(used_y):
                total = np.float32(0.0)
                for j in range(width):
                    total += lines[k, j] * row[j]
                out[number, k, node] = total


@compiled
def multiplied(values, low, plane, out):
    """
    Multiply values on stamps with the pixels of a plane.

    Parameters
    ----------
    values : 3D `~numpy.ndarray`
        On stamps of one size.

    low : tuple of 1D `~numpy.ndarray`
        The first pixel of each, y and x.

    plane : 2D `~numpy.ndarray`
        The pixels.

    out : 3D `~numpy.ndarray`
        The products, changed in place; may be ``values``.
    """
    height, width = values.shape[1:]
    for number in range(values.shape[0]):
        y, x = low[0][number], low[1][number]
        for i in range(height):
            row = plane[y + i, x:x + width]
            for j in range(width):
                out[number, i, j] = values[number, i, j] * row[j]


@compiled
def sky_lines(share, variance, plane, weights, lines):
    """
    Weigh a plane, and sum its columns, weighted also with hats along y.

    Parameters
    ----------
    share, variance, plane : 2D `~numpy.ndarray`
        The first over the second are the weights of the third.

    weights : 2D `~numpy.ndarray`
        These, changed in place.

    lines : 2D `~numpy.ndarray`
        Zeros, a row for each node; changed in place.
    """
    n_rows, n_columns = plane.shape
    step = (lines.shape[0] - 1) / (n_rows - 1)
    for i in range(n_rows):
        node = min(int(i * step), lines.shape[0] - 2)
        high = np.float32(i * step - node)
        near = np.float32(1.0) - high
        for j in range(n_columns):
            weight = share[i, j] / variance[i, j]
            weights[i, j] = weight
            value = weight * plane[i, j]
            lines[node, j] += near * value
            lines[node + 1, j] += high * value


@compiled
def less_background(values, lines, out):
    """
    Subtract a background, which is known in some rows.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The plane.

    lines : 2D `~numpy.ndarray`
        The background in rows at equal distances, the first and last among
        them.

    out : 2D `~numpy.ndarray`
        The difference, changed in place.
    """
    n_rows, n_columns = values.shape
    step = (lines.shape[0] - 1) / (n_rows - 1)
    for i in range(n_rows):
        node = min(int(i * step), lines.shape[0] - 2)
        high = np.float32(i * step - node)
        near = np.float32(1.0) - high
        for j in range(n_columns):
            out[i, j] = values[i, j] - (near * lines[node, j]
                                        + high * lines[node + 1, j])


@compiled
def binned(plane, root, blocks, out):
    """
    Sum a plane, or its square, in blocks of pixels.

    Parameters
    ----------
    plane : 2D `~numpy.ndarray`
        The pixels.

    root : bool
        True for the square.

    blocks : tuple of int
        Pixels along y and x.

    out : 2D `~numpy.ndarray`
        Zeros, changed in place; the last blocks may reach over the edge.
    """
    n_columns = plane.shape[1]
    line = np.empty(n_columns, np.float32)
    for i in range(out.shape[0]):
        line[:] = np.float32(0.0)
        for row in range(i * blocks[0],
                         min((i + 1) * blocks[0], plane.shape[0])):
            if root:
                for j in range(n_columns):
                    line[j] += plane[row, j] * plane[row, j]
            else:
                for j in range(n_columns):
                    line[j] += plane[row, j]
        for j in range(out.shape[1]):
            for column in range(j * blocks[1],
                                min((j + 1) * blocks[1], n_columns)):
                out[i, j] += line[column]


@compiled
def robust_share(residual, variance, valid, most, share):
    """
    Take weight from pixels that are far off, as Huber does.

    Parameters
    ----------
    residual, variance, valid : 2D `~numpy.ndarray`
        Pixels, the squares of their noise, and which of them count.

    most : float
        Square of what is not yet far off, in units of the noise.

    share : 2D `~numpy.ndarray`
        The share of the weight that is left, changed in place.
    """
    for i in range(residual.shape[0]):
        for j in range(residual.shape[1]):
            squared = residual[i, j] * residual[i, j]
            limit = most * variance[i, j]
            share[i, j] = np.float32(valid[i, j]) * np.sqrt(
                limit / max(squared, limit))


@compiled
def cut_equations(rows, matrix, place, out):
    """
    Cut some rows and columns out of a sparse matrix.

    Parameters
    ----------
    rows : 1D `~numpy.ndarray`
        Which.

    matrix : tuple of 1D `~numpy.ndarray`
        Attributes ``indptr``, ``indices`` and ``data`` of a
        `~scipy.sparse.csr_array`.

    place : 1D `~numpy.ndarray`
        For each row of the matrix, -1; the same afterwards.

    out : 2D `~numpy.ndarray`
        Zeros, changed in place.
    """
    starts, columns, values = matrix
    for i in range(rows.shape[0]):
        place[rows[i]] = i
    for i in range(rows.shape[0]):
        for entry in range(starts[rows[i]], starts[rows[i] + 1]):
            j = place[columns[entry]]
            if j >= 0:
                out[i, j] = values[entry]
    for i in range(rows.shape[0]):
        place[rows[i]] = -1


@compiled
def drawn_stars(tables, number, rest, rows, out):
    """
    Draw stars from those in a grid of positions and from their slopes.

    Parameters
    ----------
    tables : tuple of 3D `~numpy.ndarray`
        Stars in the grid, and their slopes by y and by x.

    number : 1D `~numpy.ndarray`
        The place of each star in the grid.

    rest : tuple of 1D `~numpy.ndarray`
        How far each is from there against the slopes, y and x.

    rows : 1D `~numpy.ndarray`
        Which stamps they are.

    out : 3D `~numpy.ndarray`
        The stamps, changed in place.
    """
    height, width = out.shape[1:]
    for star in range(number.shape[0]):
        near, row = number[star], rows[star]
        y, x = rest[0][star], rest[1][star]
        for i in range(height):
            for j in range(width):
                out[row, i, j] = (tables[0][near, i, j]
                                  + y * tables[1][near, i, j]
                                  + x * tables[2][near, i, j])
