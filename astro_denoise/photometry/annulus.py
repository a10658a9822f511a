# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Background and noise in annuli around sources.
"""

import numpy as np
from astropy.stats import SigmaClip
from scipy.stats import norm

from .clipping import clipped_statistics

__all__ = ['SIGMA_CLIP', 'annulus_statistics', 'check_annulus',
           'clipped_width', 'pixel_noise', 'within']

SIGMA_CLIP = SigmaClip(3)
MAX_CLIPS = 100
BLOCK_PIXELS = 4_000_000  # annulus pixels worked on at a time

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
        mean[rows], median[rows], sigma[rows], samples[rows] = (
            clipped_statistics(block, sigma_clip))
    return mean, median, sigma, samples


def within(plane, x, y, margin):
    """Tell if places are on a frame, or not farther off than a margin."""
    ny, nx = plane.values.shape
    return ((x > -0.5 - margin) & (x < nx - 0.5 + margin)
            & (y > -0.5 - margin) & (y < ny - 0.5 + margin))


def _annulus_offsets(r_in, r_out):
    """
    Offsets in y and x of the pixels that can lie in an annulus.

    With them, which of them need not, depending on where in its pixel the
    center is.
    """
    reach = int(np.ceil(r_out)) + 1
    grid = np.arange(-reach, reach + 1)
    dy, dx = np.meshgrid(grid, grid, indexing='ij')
    distance = np.hypot(dx, dy)
    depth = np.minimum(distance - r_in, r_out - distance)
    near = depth > -_CORNER
    return dy[near], dx[near], np.flatnonzero(depth[near] <= _CORNER)


def _annulus_block(plane, x, y, annulus, r_in, r_out, *, whole):
    """
    The pixels around some sources, a row each; infinity if not in it.

    ``whole`` frames have no bad pixels.
    """
    dy, dx, edge = annulus
    x_pixel, y_pixel = np.rint(x).astype(int), np.rint(y).astype(int)
    square = ((dx[edge] - (x - x_pixel)[:, np.newaxis])**2
              + (dy[edge] - (y - y_pixel)[:, np.newaxis])**2)
    outside = (square >= r_out**2) | (square < r_in**2)
    reach = dx.max()
    ny, nx = plane.values.shape
    inner = ((x_pixel >= reach) & (x_pixel < nx - reach)
             & (y_pixel >= reach) & (y_pixel < ny - reach))
    block = np.empty((len(x), len(dx)), plane.values.dtype)
    place = y_pixel[inner], x_pixel[inner]
    _copy_around(plane.values, *place, annulus, block, np.flatnonzero(inner))
    if not whole:
        valid = np.ones(block.shape, bool)
        _copy_around(plane.valid, *place, annulus, valid,
                     np.flatnonzero(inner))
        block[~valid] = np.inf
    block[~inner] = _at_edge(plane, x_pixel[~inner, np.newaxis] + dx,
                             y_pixel[~inner, np.newaxis] + dy)
    rows, columns = np.nonzero(outside)
    block[rows, edge[columns]] = np.inf
    return block


def _copy_around(pixels, y, x, annulus, block, rows):
    """Copy the pixels around some places to rows of a block."""
    dy, dx, _ = annulus
    n_columns, reach = pixels.shape[1], dx.max()
    flat = np.ascontiguousarray(pixels).reshape(-1)
    offsets = (dy + reach) * n_columns + dx + reach
    corners = (y - reach) * n_columns + x - reach
    # The same offsets for all: an index of all pixels would take longer.
    for row, corner in zip(rows.tolist(), corners.tolist(), strict=True):
        np.take(flat[corner:], offsets, out=block[row], mode='clip')


def _at_edge(plane, columns, lines):
    """Pixels of a frame, infinity where there is none or a bad one."""
    ny, nx = plane.values.shape
    inside = (columns >= 0) & (columns < nx) & (lines >= 0) & (lines < ny)
    index = np.clip(lines, 0, ny - 1) * nx + np.clip(columns, 0, nx - 1)
    inside &= np.take(plane.valid, index)
    return np.where(inside, np.take(plane.values, index),
                    plane.values.dtype.type(np.inf))


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
