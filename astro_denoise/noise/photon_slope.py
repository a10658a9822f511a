# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the noise of a plane grows with its light.
"""

import logging
import math

import numpy as np
import torch

__all__ = ['photon_slope']

logger = logging.getLogger(__name__)

_ROWS = 64                # worked on at a time
_MOST_PIXELS = 4_000_000  # looked at
_MOST_BRIGHT = 20_000     # pixels of a strip
_LEAST_IN_BIN = 50
_SIGNIFICANT = 4.0


def _binomial(plane, order):
    """Convolve with the binomial coefficients along both axes."""
    for _ in range(order):
        plane = plane[1:] + plane[:-1]
    for _ in range(order):
        plane = plane[:, 1:] + plane[:, :-1]
    return plane * 0.25**order


def _strip_sample(part, level, sky):
    """
    Mean, high-pass residual and curvature of the bright pixels of a strip.

    Also the residual of the dark ones; all in units of the level.
    """
    part = (part - sky) / level
    smooth = _binomial(part, 6)
    # fourth differences see next to nothing of what the optics let by
    residual = torch.diff(torch.diff(part, 4, dim=0), 4, dim=1)[1:-1, 1:-1]
    residual = residual / 70
    mean = _binomial(part[2:-2, 2:-2], 2)
    known = torch.isfinite(smooth)
    bright = torch.nonzero((known & (smooth > 1)).flatten())[:, 0]
    bright = bright[::1 + len(bright) // _MOST_BRIGHT]
    dark = torch.nonzero((known & (smooth.abs() < 1)).flatten())[:, 0]
    dark = dark[::1 + len(dark) // (_MOST_BRIGHT // 4)]
    rows = [plane.flatten()[bright] for plane in (mean, residual,
                                                  mean - smooth)]
    return torch.stack(rows).cpu().numpy(), residual.flatten()[
        dark].cpu().numpy()


def _variance(sample):
    return np.quantile(np.abs(sample), 0.6827)**2 if sample.size else 0.0


def photon_slope(values, valid, level, sky):
    """
    Slope of the variance with the mean.

    Structure that the high-pass residual still sees grows with the square
    of the mean, photon noise with the mean: both are fitted and only the
    latter is kept.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane (float32), and `False` where a pixel must not be used.

    level, sky : float
        Noise of a pixel of the sky, and its value.

    Returns
    -------
    slope : float
        Variance per unit of light above the sky, one error low, in the
        unit of the plane: the inverse of a gain. 0 where it is not
        significant.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.photon_slope import photon_slope
    >>> generator = torch.Generator().manual_seed(1)
    >>> light = 100 + 2000 * torch.linspace(-1, 1, 300).square()
    >>> light = light.expand(300, 300)
    >>> values = torch.poisson(light, generator=generator)
    >>> slope = photon_slope(values, values > 0, 10.0, 100.0)
    >>> print(f'{slope:.1f}')  # 1 in truth: one error low, by design
    0.8
    """
    n_rows, n_columns = values.shape
    if not level > 0 or min(n_rows, n_columns) < 16:
        return 0.0
    every = max(1, values.numel() // _MOST_PIXELS)
    rows, dark = [], []
    for start in range(0, n_rows, _ROWS * every):
        part = slice(max(start - 3, 0), start + _ROWS + 3)
        if min(start + _ROWS + 3, n_rows) - part.start < 8:
            continue
        good = valid[part]
        plane = values[part] if good.all() else torch.where(
            good, values[part], math.nan)
        bright, blank = _strip_sample(plane, level, sky)
        rows.append(bright)
        dark.append(blank)
    mean, residual, curvature = np.concatenate(rows, axis=1).astype(float)
    blank = _variance(np.concatenate(dark))
    # of a frame without dark pixels the level itself is known
    blank = blank if np.concatenate(dark).size > 500 else 1.0
    points = _points(mean, residual, curvature, blank)
    if len(points) < 4:
        return 0.0
    mean, variance, number = np.array(points).T
    # the brightest bins are left out until the two terms fit the others
    for last in range(len(mean), 3, -1):
        slope, error, misfit = _fit(mean[:last], variance[:last],
                                    number[:last])
        if misfit < 2:
            logger.debug('photon slope %s +- %s', slope, error)
            seen = slope > _SIGNIFICANT * error
            return (slope - error) * level if seen else 0.0
    return 0.0


def _points(mean, residual, curvature, blank):
    """
    Variance of the residual over that of the sky in bins of brightness.
    """
    edges = 1.5 * 1.4**np.arange(50)
    which = np.digitize(mean, edges)
    points = []
    for i in range(1, edges.size):
        inside = which == i
        if np.count_nonzero(inside) < _LEAST_IN_BIN:
            continue
        flat = np.abs(curvature[inside])
        flat = flat <= np.median(flat)
        points.append((mean[inside][flat].mean(),
                       _variance(residual[inside][flat]) / blank,
                       np.count_nonzero(flat)))
    return points


def _fit(mean, variance, number):
    """
    Fit ``1 + slope * mean + structure * mean**2``, both not negative.

    Returns the slope, its error and the reduced chi-squared.
    """
    columns = np.stack([mean, mean**2], axis=1)
    model = variance
    for _ in range(5):
        # variance of a 68.27 % quantile, and of residuals that overlap
        weight = np.sqrt(number / 6.6) / model
        design = columns * weight[:, np.newaxis]
        covariance = np.linalg.inv(design.T @ design)
        solution = covariance @ design.T @ ((variance - 1) * weight)
        if solution[-1] < 0 and columns.shape[1] == 2:
            columns = columns[:, :1]
        else:
            model = np.maximum(1 + columns @ solution, 0.5)
    misfit = np.sum(((variance - model) * weight)**2)
    misfit /= variance.size - columns.shape[1]
    error = math.sqrt(covariance[0, 0] * max(misfit, 1))
    return float(solution[0]), error, misfit
