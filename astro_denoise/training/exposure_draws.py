# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Parts that all exposures of simulated skies have: detector, masks, and the
errors of a measured background.
"""

import numpy as np

__all__ = ['draw_background_error', 'draw_detector', 'draw_mask']


def draw_detector(rng):
    """
    Draw the sky and the read noise of an exposure, in electrons.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The source of random numbers.

    Returns
    -------
    sky, read_noise : float
        From faint narrow-band frames to long broad-band ones.
    """
    return (np.exp(rng.uniform(0.0, np.log(1e4))),
            np.exp(rng.uniform(0.0, np.log(15.0))))


def draw_mask(rng, shape, *, pixels, blob, edge):
    """
    Draw masked single pixels, round blobs and edges.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The source of random numbers.

    shape : tuple of int
        ``(ny, nx)``, a square if edges are masked.

    pixels : tuple of float
        How often single pixels are masked, and the logarithm to base 10 of
        the largest share of them.

    blob, edge : float
        How often a blob is masked, and how often an edge.

    Returns
    -------
    masked : 2D bool `~numpy.ndarray`
        `True` for masked pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.training.exposure_draws import draw_mask
    >>> rng = np.random.default_rng(1)
    >>> masked = draw_mask(rng, (6, 6), pixels=(0.0, -1.0), blob=0.0, edge=1.0)
    >>> print(masked.any())
    True
    """
    masked = np.zeros(shape, bool)
    often, most = pixels
    if rng.random() < often:
        masked |= rng.random(shape) < 10.0**rng.uniform(-4, most)
    if rng.random() < blob:
        y, x = np.ogrid[:shape[0], :shape[1]]
        radius = rng.uniform(3.0, 25.0)
        center_y, center_x = rng.uniform(0, shape)
        masked |= np.hypot(y - center_y, x - center_x) < radius
    if rng.random() < edge:
        width = rng.integers(1, shape[0] // 2)
        masked |= np.rot90(np.broadcast_to(np.arange(shape[1]) < width,
                                           shape), rng.integers(4))
    return masked


def draw_background_error(rng, size, *, scatter, often, jump):
    """
    Draw the error of a background in noise of the sky.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The source of random numbers.

    size : int
        Pixels per side.

    scatter : float
        Standard deviation of its level.

    often : float
        How often there is a gradient, too.

    jump : float
        How much more the level is off then.

    Returns
    -------
    error : float or 2D `~numpy.ndarray`
        A level, or a level with a gradient.
    """
    error = scatter * rng.standard_normal()
    if rng.random() < often:
        y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j]
        error = error + jump * rng.standard_normal() + 0.5 * (
            rng.standard_normal() * y + rng.standard_normal() * x)
    return error
