# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Masks as analyses of the gamma-ray sky use them.
"""

import numpy as np

from .legacy_sky import N_PIXELS, PIXEL_SCALE

__all__ = ['random_sky_mask', 'random_validity']


def random_sky_mask(image, rng):
    """
    Draw a mask of the Galactic plane, of bright sources and of pixels.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Counts, shape (64, 64): discs are where there are many.

    rng : `~numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    mask : 2D bool `~numpy.ndarray`
        True on masked pixels; never all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation.masks import random_sky_mask
    >>> rng = np.random.default_rng(2)
    >>> random_sky_mask(rng.poisson(9.0, (64, 64)), rng).shape
    (64, 64)
    """
    y, x = np.indices(image.shape)
    mask = np.zeros(image.shape, bool)
    kinds = rng.random(3) < (0.55, 0.45, 0.35)
    if kinds[0]:
        latitude = (y - (N_PIXELS - 1) / 2) * PIXEL_SCALE
        mask |= np.abs(latitude) < rng.uniform(0.5, 4.0)
    if kinds[1]:
        number = rng.integers(1, 41)
        brightest = np.argsort(image, axis=None)[-200:]
        radius = rng.uniform(0.5, 3.5)
        for center in rng.choice(brightest, number, replace=False):
            row, column = divmod(center, N_PIXELS)
            mask |= np.hypot(x - column, y - row) < radius
    if kinds[2]:
        mask |= rng.random(image.shape) < 10.0**rng.uniform(-3.0, -0.3)
    return mask


def random_validity(images, share, rng):
    """
    Draw which pixels of skies are valid: some skies are partly masked.

    Parameters
    ----------
    images : 3D `~numpy.ndarray`
        Counts, shape (n, 64, 64).

    share : float
        Share of the skies that are masked, by `random_sky_mask`.

    rng : `~numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    valid : 3D `~numpy.ndarray`
        Same shape, float32: 1 for valid pixels and 0 for others.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation.masks import random_validity
    >>> rng = np.random.default_rng(2)
    >>> valid = random_validity(rng.poisson(9.0, (20, 64, 64)), 0.5, rng)
    >>> bool(0.2 < np.mean(valid.min((1, 2)) < 1) < 0.8)
    True
    """
    valid = np.ones(images.shape, np.float32)
    for index in np.flatnonzero(rng.random(len(images)) < share):
        valid[index] -= random_sky_mask(images[index], rng)
    return valid
