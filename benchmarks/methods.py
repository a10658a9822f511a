# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The denoisers that the benchmarks compare.
"""

import importlib.util
import sys

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter

BASELINES = ('identity', 'gaussian', 'gaussian-0.92', 'median', 'wavelet',
             'nlm', 'bm3d')

# What a method needs beside the package's own dependencies.
REQUIRES = {'wavelet': ('skimage', 'pywt'), 'nlm': ('skimage',),
            'bm3d': ('bm3d',)}


def missing(method):
    """The packages that a method needs and that are not installed."""
    return [name for name in REQUIRES.get(method, ())
            if importlib.util.find_spec(name) is None]


def wavelet(values, sigma):
    """Thresholds of BayesShrink on Haar wavelets, scikit-image's default."""
    from skimage.restoration import denoise_wavelet

    return denoise_wavelet(values, sigma=sigma)


def nlm(values, sigma):
    """Non-local means; of the settings tried, the lowest pixel error."""
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(values, patch_size=9, patch_distance=11,
                            h=0.7 * sigma, sigma=sigma, fast_mode=True)


def bm3d(values, sigma):
    """BM3D of the package bm3d, with the true noise of the sky."""
    from bm3d import bm3d as run

    return run(values, sigma)


def baseline(method, width=None):
    """
    A method that is no network.

    Parameters
    ----------
    method : str
        One of ``BASELINES``, or the mean of the eight pixels around each.

    width : float, optional
        Standard deviation of a Gaussian, in pixels.

    Returns
    -------
    denoise : callable
        Called with a 2D array and its noise.
    """
    return {'identity': lambda values, sigma: values,
            'median': lambda values, sigma: median_filter(values, 3),
            'mean of eight': lambda values, sigma: (
                9.0 * uniform_filter(values, 3) - values) / 8.0,
            'wavelet': wavelet, 'nlm': nlm, 'bm3d': bm3d}.get(
        method, lambda values, sigma: gaussian_filter(values, width))


def fill_masked(values, mask):
    """Masked pixels replaced by a local mean of the others."""
    if mask is None or not mask.any():
        return values
    good = (~mask).astype(np.float32)
    # The values around them are what a later filter must not step over.
    total = gaussian_filter(np.where(mask, 0, values), 2.0)
    weight = gaussian_filter(good, 2.0)
    level = np.median(values[~mask])
    local = np.where(weight > 0.01, total / np.maximum(weight, 0.01), level)
    return np.where(mask, local, values).astype(values.dtype)


def apply_baseline(denoise, ccd, sigma):
    """
    A frame denoised by a method that knows neither masks nor units.

    Parameters
    ----------
    denoise : callable
        From `baseline`.

    ccd : `~astropy.nddata.CCDData`
        The frame.

    sigma : float
        Noise of its blank sky.

    Returns
    -------
    denoised : 2D `~numpy.ndarray`
        The denoised pixels.
    """
    # About zero and of unit noise, so that no method trips over the scale.
    level = float(np.median(ccd.data))
    values = (fill_masked(ccd.data, ccd.mask) - level) / np.float32(sigma)
    return denoise(values.astype(np.float32), 1.0) * sigma + level


def apply_model(model, ccd, **options):
    """
    A frame denoised by a model, as a user would who knows the camera.

    Parameters
    ----------
    model : str
        A name or a path.

    ccd : `~astropy.nddata.CCDData`
        The frame, with ``GAIN`` and ``RDNOISE`` in its header.

    **options
        Passed to `astro_denoise.denoise`.

    Returns
    -------
    denoised, error : 2D `~numpy.ndarray`
        The denoised pixels and their standard deviations.
    """
    from astro_denoise import denoise

    if ccd.uncertainty is None:
        options = {'gain': 'GAIN', 'read_noise': 'RDNOISE', **options}
    result = denoise(ccd, model, add_keyword=False, **options)
    return result.data, result.uncertainty.array


def note(text):
    """A line for the user that is no part of the result."""
    print(text, file=sys.stderr, flush=True)
