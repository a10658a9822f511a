# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Work on a large plane in strips of rows, on bins and on blocks of bins.
"""

import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

__all__ = ['STRIP', 'bin_plane', 'bin_sums', 'binomial',
           'block_median', 'fill_holes', 'linear_weights',
           'map_strips', 'strip', 'strips', 'upsample']

STRIP = 64  # rows worked on at a time, so that a strip stays in the cache
_MOST_THREADS = 256  # each is started when it is needed


def strips(n_rows):
    """
    Slices of at most `STRIP` rows that together make ``n_rows``.
    """
    for start in range(0, n_rows, STRIP):
        yield slice(start, min(start + STRIP, n_rows))


@functools.cache
def _pool():
    """
    Threads that are kept: to start them takes as long as a strip.
    """
    return ThreadPoolExecutor(_MOST_THREADS)


if hasattr(os, 'register_at_fork'):
    # Threads do not come along.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def map_strips(function, parts):
    """
    Apply a function to each strip, and return the results in order.

    As many threads as torch takes, where it is loaded (``denoise`` does
    that first), share the work; else it is done by one. The thread of the
    caller is one of them, and each takes the next strip when it is free:
    another core may still be busy with the end of something else.
    """
    torch = sys.modules.get('torch')
    n_threads = torch.get_num_threads() if torch else 1
    parts = list(parts)
    results = [None] * len(parts)
    waiting = iter(range(len(parts)))

    def work():
        for number in waiting:
            results[number] = function(parts[number])

    helpers = [_pool().submit(work)
               for _ in range(min(n_threads, len(parts)) - 1)]
    try:
        work()
    finally:
        # One that has not begun may wait for this very thread.
        running = [helper for helper in helpers if not helper.cancel()]
        wait(running)
    for helper in running:
        helper.result()
    return results


def strip(values, valid, rows, halo, *, offset=0.0, factor=1.0):
    """
    Take some rows of a plane as ``(values - offset) * factor``.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        The plane, and `False` where its pixels must not be used.

    rows : slice
        The rows to take, with both ends given.

    halo : int
        Number of rows and columns to add on every side, zero and invalid
        where the plane ends.

    offset, factor : float, optional
        What is subtracted from the values, and what multiplies them.

    Returns
    -------
    data, weight : 2D `~numpy.ndarray`
        The values (float32), zero where invalid, and a weight of 1 where
        they are valid and 0 elsewhere.
    """
    n_rows, n_columns = values.shape
    low = max(rows.start - halo, 0)
    high = min(rows.stop + halo, n_rows)
    shape = (rows.stop - rows.start + 2 * halo, n_columns + 2 * halo)
    first = low - rows.start + halo
    inside = (slice(first, first + high - low),
              slice(halo, halo + n_columns))
    data = np.zeros(shape, np.float32)
    weight = np.zeros(shape, np.float32)
    good = valid[low:high]
    with np.errstate(invalid='ignore', over='ignore'):
        np.subtract(values[low:high], offset, out=data[inside],
                    casting='same_kind')
        data *= factor
    if not good.all():
        data[inside][~good] = 0
    weight[inside] = good
    return data, weight


def binomial(data, order):
    """
    Convolve with the binomial coefficients of ``order`` in both axes.

    The result has ``order`` rows and columns fewer.
    """
    for _ in range(order):
        data = data[1:] + data[:-1]
    for _ in range(order):
        data = data[:, 1:] + data[:, :-1]
    data *= np.float32(0.25**order)
    return data


def bin_sums(data, size):
    """
    Sums in bins of ``size`` x ``size`` pixels, the last ones cut short.
    """
    pad = (-data.shape[0] % size, -data.shape[1] % size)
    if any(pad):
        data = np.pad(data, ((0, pad[0]), (0, pad[1])))
    if size == 1:
        return data
    rows = data.reshape(-1, size, data.shape[1])
    total = rows[:, 0] + rows[:, 1]
    for i in range(2, size):
        total += rows[:, i]
    return total.reshape(len(total), -1, size) @ np.ones(size, data.dtype)


def bin_plane(values, valid, size, *, offset=0.0, factor=1.0):
    """
    Sums and numbers of the valid pixels of a plane in bins.

    ``size`` must divide `STRIP`; the parameters are those of `strip`.
    """
    def sums(rows):
        planes = strip(values, valid, rows, 0, offset=offset, factor=factor)
        return [bin_sums(plane, size) for plane in planes]

    parts = map_strips(sums, strips(values.shape[0]))
    total, count = zip(*parts, strict=True)
    return np.concatenate(total), np.concatenate(count)


def linear_weights(n_out, n_in, size):
    """
    The bin before each pixel, and the distance from its center in bins.
    """
    position = (np.arange(n_out) + 0.5) / size - 0.5
    position = np.clip(position, 0, n_in - 1)
    index = np.minimum(position.astype(int), max(n_in - 2, 0))
    return index, (position - index).astype(np.float32)


def upsample(coarse, shape, size, rows=None):
    """
    Interpolate linearly from bins of ``size`` pixels to a plane of pixels.

    ``shape`` is that of the whole plane, ``rows`` the slice of its rows
    that is wanted (default: all).
    """
    index, weight = linear_weights(shape[0], coarse.shape[0], size)
    if rows is not None:
        index, weight = index[rows], weight[rows]
    above = np.minimum(index + 1, coarse.shape[0] - 1)
    # Only the lines that are needed, along the rows first: they are few.
    first = index[0]
    lines = coarse[first:above[-1] + 1]
    column, fraction = linear_weights(shape[1], coarse.shape[1], size)
    step = np.diff(lines, axis=1, append=lines[:, -1:])
    wide = np.take(step, column, axis=1)
    wide *= fraction
    wide += np.take(lines, column, axis=1)

    out = wide[index - first]
    step = wide[above - first]
    step -= out
    step *= weight[:, np.newaxis]
    out += step
    return out


def fill_holes(grid):
    """
    Fill NaN cells with the mean of the nearest known ones, in place.

    Without a known cell all become 0.
    """
    missing = np.isnan(grid)
    if missing.all():
        grid[...] = 0
        return grid
    while missing.any():
        count = binomial(np.pad(~missing, 1).astype(grid.dtype), 2)
        total = binomial(np.pad(np.where(missing, 0, grid), 1), 2)
        fill = missing & (count > 0)
        grid[fill] = total[fill] / count[fill]
        missing &= ~fill
    return grid


def block_median(grid, known, size):
    """
    Median of the known cells in blocks of ``size`` x ``size`` cells.

    NaN in blocks with less than a quarter of the known cells of the
    fullest block.
    """
    pad = ((0, -grid.shape[0] % size), (0, -grid.shape[1] % size))
    grid = np.pad(np.where(known, grid, np.inf), pad,
                  constant_values=np.inf)
    n_rows, n_columns = grid.shape[0] // size, grid.shape[1] // size
    cells = grid.reshape(n_rows, size, n_columns, size).swapaxes(1, 2)
    cells = np.sort(cells.reshape(n_rows, n_columns, -1), axis=2)
    count = np.isfinite(cells).sum(axis=2)
    middle = np.stack([np.maximum(count - 1, 0) // 2, count // 2], axis=2)
    middle = np.minimum(middle, cells.shape[2] - 1)
    pair = np.take_along_axis(cells, middle, axis=2)
    pair[count < max(1, count.max() // 4)] = np.nan
    return pair.mean(axis=2)
