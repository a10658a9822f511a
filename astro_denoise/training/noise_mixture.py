# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The histogram of the noise of frames, as a sum of Gaussians.
"""

import numpy as np
from scipy.ndimage import uniform_filter

__all__ = ['fit_noise_mixture']

# Bins of the histogram, in units of the noise map.
_EDGES = np.linspace(-8.0, 8.0, 321)

_FEWEST = 5000  # pixels of blank sky


def _histogram(frame):
    """Count the pixels of blank sky in bins of their noise."""
    signal = np.asarray(frame.signal)
    valid = np.isfinite(signal)
    filled = np.where(valid, signal, 0.0)
    near = (uniform_filter(filled, 5) * 25.0 - filled) / 24.0
    blank = valid & (np.abs(near) < 0.3) & (
        uniform_filter(valid.astype(np.float32), 5) > 0.99)
    return np.histogram((filled * np.exp(-frame.log_sigma))[blank],
                        _EDGES)[0]


def fit_noise_mixture(frames, *, n_parts=3, n_iterations=200):
    """
    Fit a sum of Gaussians to the histogram of the noise.

    The histogram is that of the blank sky in units of the noise map:
    pixels whose 24 neighbors have no mean signal.

    Parameters
    ----------
    frames : list of \
            `~astro_denoise.training.frame_store.TrainingFrame`
        The frames.

    n_parts : int, optional
        Number of Gaussians.

    n_iterations : int, optional
        Number of iterations of the expectation-maximization.

    Returns
    -------
    mixture : list of list of float
        Weight, mean and standard deviation of each part; the mean of
        all is 0.

    Raises
    ------
    ValueError
        If there is too little blank sky.
    """
    counts = sum(map(_histogram, frames))
    if counts.sum() < _FEWEST:
        msg = (f'noise_model must be "map" for frames with so little blank '
               f'sky, {int(counts.sum())} pixels')
        raise ValueError(msg)
    center = 0.5 * (_EDGES[1:] + _EDGES[:-1])
    share = counts / counts.sum()
    weight = np.full(n_parts, 1.0 / n_parts)
    mean = np.zeros(n_parts)
    width = np.geomspace(0.7, 2.0, n_parts)
    for _ in range(n_iterations):
        density = weight / width * np.exp(
            -0.5 * ((center[:, None] - mean) / width)**2)
        density *= (share / density.sum(1).clip(1e-30))[:, None]
        weight = density.sum(0).clip(1e-6)
        mean = (density * center[:, None]).sum(0) / weight
        width = np.sqrt((density * (center[:, None] - mean)**2).sum(0)
                        / weight).clip(0.1)
        weight /= weight.sum()
    mean -= (weight * mean).sum()
    return [[float(value) for value in part]
            for part in zip(weight, mean, width, strict=True)]
