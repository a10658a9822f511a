# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Background and noise in annuli around sources.
"""

import numpy as np
from astropy.stats import SigmaClip
from scipy.stats import norm

__all__ = ['SIGMA_CLIP', 'annulus_statistics', 'check_annulus',
           'clipped_width', 'pixel_noise', 'within']

SIGMA_CLIP = SigmaClip(3)
MAX_CLIPS = 100
BLOCK_PIXELS = 500_000  # annulus pixels worked on at a time

# More than from the middle of a pixel to its corner.
_CORNER = 0.75


def clipped_width(sigma_clip, n_pixels):
    """
    Standard deviation that sigma clipping leaves of a unit normal.

    Every iteration cuts the normal distribution at multiples of the
    standard deviation that the one before has left, until less than half
    a pixel is cut: 0.985 for clipping at 3.

    Parameters
    ----------
    sigma_clip : `~astropy.stats.SigmaClip` or `None`
        The clipping; `None` clips nothing.

    n_pixels : float
        Number of pixels that are clipped.

    Returns
    -------
    width : float
        The standard deviation.
    """
    width, share = 1.0, 1.0
    if sigma_clip is None:
        return width
    # the clipping takes 0 iterations for as many as it needs
    for _ in range(int(min(sigma_clip.maxiters or MAX_CLIPS, MAX_CLIPS))):
        low = -sigma_clip.sigma_lower * width
        high = sigma_clip.sigma_upper * width
        left = norm.cdf(high) - norm.cdf(low)
        mean = (norm.pdf(low) - norm.pdf(high)) / left
        moment = 1 + (low * norm.pdf(low) - high * norm.pdf(high)) / left
        width = np.sqrt(moment - mean**2)
        if n_pixels * (share - left) < 0.5:
            break
        share = left
    return width


def pixel_noise(sigma, r_in, r_out, sigma_clip):
    """
    Noise of a pixel from the clipped standard deviation in an annulus.
    """
    n_pixels = np.pi * (r_out**2 - r_in**2)
    return sigma / clipped_width(sigma_clip, n_pixels)


def annulus_statistics(plane, x, y, r_in, r_out, sigma_clip):
    """
    Sigma-clipped background in circular annuli.

    Pixels whose centers lie in the annulus count, as for `photutils`
    statistics in apertures.

    Parameters
    ----------
    plane : `Plane`
        The frame.

    x, y : 1D `~numpy.ndarray`
        Centers, in pixels.

    r_in, r_out : float
        Radii, in pixels.

    sigma_clip : `~astropy.stats.SigmaClip` or `None`
        The clipping.

    Returns
    -------
    mean, median, sigma : 1D `~numpy.ndarray`
        Statistics of the pixels left, NaN where there are none.

    samples : 1D int `~numpy.ndarray`
        The number of pixels left.
    """
    annulus = _annulus_offsets(r_in, r_out)
    n_sources, n_block = len(x), max(1, BLOCK_PIXELS // len(annulus[0]))
    whole = plane.valid.all()
    mean, median, sigma = np.full((3, n_sources), np.nan)
    samples = np.zeros(n_sources, dtype=int)
    on_frame = np.flatnonzero(within(plane, x, y, r_out))
    for start in range(0, len(on_frame), n_block):
        rows = on_frame[start:start + n_block]
        block = _annulus_block(plane, x[rows], y[rows], annulus, r_in, r_out,
                               whole=whole)
        mean[rows], median[rows], sigma[rows], samples[rows] = _statistics(
            _ordered(block), sigma_clip)
    return mean, median, sigma, samples


def _ordered(block):
    """The same rows, in increasing order and what is masked behind."""
    mask = np.ma.getmaskarray(block)
    values = np.sort(np.where(mask, np.inf, block.data), axis=1)
    mask = (np.arange(block.shape[1])
            >= np.count_nonzero(~mask, axis=1)[:, np.newaxis])
    values[mask] = 0.0
    return np.ma.MaskedArray(values, mask=mask)


def _statistics(rows, sigma_clip):
    """
    Mean, median, standard deviation and number of what rows have left.

    Rows are in order: that halves the time of the clipping, whose many
    medians are found by partition, and gives the last one for nothing.
    """
    if sigma_clip is not None:
        rows = sigma_clip(rows, axis=1, copy=False)
    kept = ~np.ma.getmaskarray(rows)
    count = np.count_nonzero(kept, axis=1)
    some = np.maximum(count, 1)
    values = np.where(kept, rows.data, np.float64(0.0))
    mean = values.sum(axis=1) / some
    values -= np.where(kept, mean[:, np.newaxis], 0.0)
    sigma = np.sqrt(np.einsum('ij,ij->i', values, values) / some)
    middle = (kept.argmax(axis=1)[:, np.newaxis]
              + np.stack([(some - 1) // 2, some // 2], axis=1))
    median = np.take_along_axis(rows.data, middle, axis=1).mean(
        axis=1, dtype=float)
    found = np.where(count, 1.0, np.nan)
    return mean * found, median * found, sigma * found, count


def within(plane, x, y, margin):
    """Tell if places are on a frame, or not farther off than a margin."""
    ny, nx = plane.values.shape
    return ((x > -0.5 - margin) & (x < nx - 0.5 + margin)
            & (y > -0.5 - margin) & (y < ny - 0.5 + margin))


def _annulus_offsets(r_in, r_out):
    """
    Offsets in y and x of the pixels that can lie in an annulus.

    First those that always do, wherever in its pixel the center is, and
    how many they are.
    """
    reach = int(np.ceil(r_out)) + 1
    grid = np.arange(-reach, reach + 1)
    dy, dx = np.meshgrid(grid, grid, indexing='ij')
    distance = np.hypot(dx, dy)
    depth = np.minimum(distance - r_in, r_out - distance)
    near, certain = depth > -_CORNER, depth > _CORNER
    edge = near & ~certain
    return (np.concatenate([dy[certain], dy[edge]]),
            np.concatenate([dx[certain], dx[edge]]),
            np.count_nonzero(certain))


def _annulus_block(plane, x, y, annulus, r_in, r_out, *, whole):
    """
    Masked array of the pixels around some sources, a row each.

    ``whole`` frames have no bad pixels.
    """
    dy, dx, n_certain = annulus
    ny, nx = plane.values.shape
    x_pixel, y_pixel = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = np.ones((len(x), len(dx)), dtype=bool)
    square = ((dx[n_certain:] - (x - x_pixel)[:, np.newaxis])**2
              + (dy[n_certain:] - (y - y_pixel)[:, np.newaxis])**2)
    inside[:, n_certain:] = (square < r_out**2) & (square >= r_in**2)
    reach = dx.max()
    if (x_pixel.min() < reach or x_pixel.max() >= nx - reach
            or y_pixel.min() < reach or y_pixel.max() >= ny - reach):
        columns = x_pixel[:, np.newaxis] + dx
        lines = y_pixel[:, np.newaxis] + dy
        inside &= (columns >= 0) & (columns < nx)
        inside &= (lines >= 0) & (lines < ny)
        np.clip(columns, 0, nx - 1, out=columns)
        np.clip(lines, 0, ny - 1, out=lines)
        index = lines * nx + columns
    else:
        index = (y_pixel * nx + x_pixel)[:, np.newaxis] + (dy * nx + dx)
    if not whole:
        inside &= np.take(plane.valid, index)
    return np.ma.MaskedArray(np.take(plane.values, index), mask=~inside)


def check_annulus(r_in, r_out, sigma_clip):
    """
    Raise ValueError or TypeError unless the annulus makes sense.
    """
    if not 0 <= r_in < r_out < np.inf:
        msg = ('r_in and r_out must be 0 <= r_in < r_out, got '
               f'r_in={r_in!r}, r_out={r_out!r}')
        raise ValueError(msg)
    if sigma_clip is not None and not isinstance(sigma_clip, SigmaClip):
        msg = ('sigma_clip must be a SigmaClip or None, got '
               f'{sigma_clip!r}')
        raise TypeError(msg)
