# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Cosmic rays, bad columns, and saturated pixels with their bleeding trails.
"""

import numpy as np

__all__ = ['bad_columns', 'cosmic_rays', 'saturate']


def cosmic_rays(shape, n_rays, *, charge=(100.0, 2.0e4), rng):
    """
    Draw the charge left by cosmic rays.

    Straight tracks of random direction, most of them a few and at most 40
    pixels long, 0.3-0.6 pixels wide (standard deviation), the charge
    spread unevenly along them.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)``.

    n_rays : int
        Number of tracks.

    charge : tuple of float, optional
        Range of the charge per pixel of track, in electrons, drawn
        uniformly in its logarithm.

    rng : `~numpy.random.Generator`
        The source of random numbers.

    Returns
    -------
    image : 2D `~numpy.ndarray`
        Electrons per pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import cosmic_rays
    >>> image = cosmic_rays((64, 64), 3, rng=np.random.default_rng(1))
    >>> print(image.shape, bool((image > 0).any()))
    (64, 64) True
    """
    ny, nx = shape
    image = np.zeros(shape, dtype=np.float32)
    for _ in range(n_rays):
        length = min(rng.exponential(6.0), 40.0)
        angle = rng.uniform(0.0, np.pi)
        width = rng.uniform(0.3, 0.6)
        level = np.exp(rng.uniform(*np.log(charge)))
        y, x = rng.uniform(-0.5, ny - 0.5), rng.uniform(-0.5, nx - 0.5)

        # Points along the track, each a small Gaussian cloud of charge.
        n_points = max(int(np.ceil(3.0 * length)), 1)
        along = np.linspace(-length / 2.0, length / 2.0, n_points)
        weights = rng.gamma(2.0, 0.5, n_points) * level * max(
            length, 1.0) / n_points
        y_points = y + along * np.sin(angle)
        x_points = x + along * np.cos(angle)
        near = np.arange(-2, 3)
        rows = np.rint(y_points).astype(int)[:, None] + near
        columns = np.rint(x_points).astype(int)[:, None] + near
        profile_y = np.exp(-0.5 * ((rows - y_points[:, None]) / width)**2)
        profile_x = np.exp(-0.5 * ((columns - x_points[:, None]) / width)**2)
        cloud = profile_y[:, :, None] * profile_x[:, None, :]
        cloud *= (weights / cloud.sum(axis=(1, 2)))[:, None, None]
        rows = np.broadcast_to(rows[:, :, None], cloud.shape)
        columns = np.broadcast_to(columns[:, None, :], cloud.shape)
        inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
        np.add.at(image, (rows[inside], columns[inside]), cloud[inside])
    return image


def bad_columns(shape, n_columns, *, rng):
    """
    Draw columns that do not record the sky, some from a row upwards only.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)``.

    n_columns : int
        Number of defects; one in five is two columns wide.

    rng : `~numpy.random.Generator`
        The source of random numbers.

    Returns
    -------
    bad : 2D bool `~numpy.ndarray`
        True on the bad pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import bad_columns
    >>> bad = bad_columns((64, 64), 2, rng=np.random.default_rng(1))
    >>> print(bad.shape, bool(bad.any()))
    (64, 64) True
    """
    ny, nx = shape
    bad = np.zeros(shape, dtype=bool)
    for _ in range(n_columns):
        column = rng.integers(nx)
        width = 1 + int(rng.random() < 0.2)
        start = 0 if rng.random() < 0.5 else int(rng.integers(ny))
        bad[start:, column:column + width] = True
    return bad


def saturate(image, full_well, *, bleed=True):
    """
    Clip an image at the full well, the surplus bleeding along columns.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Electrons; not changed.

    full_well : float
        The most electrons that a pixel holds.

    bleed : bool, optional
        Spread the surplus charge up and down the column.

    Returns
    -------
    clipped : 2D `~numpy.ndarray`
        The clipped image.

    saturated : 2D bool `~numpy.ndarray`
        True where a pixel is full. At the ends of its trails are pixels
        that took charge and are not.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.simulation import saturate
    >>> image = np.zeros((5, 1))
    >>> image[2] = 40.0
    >>> clipped, saturated = saturate(image, 20.0)
    >>> print(clipped[:, 0], saturated.sum())
    [ 0. 10. 20. 10.  0.] 1
    """
    clipped = np.minimum(image, full_well)
    if bleed:
        for column in np.flatnonzero((image > full_well).any(axis=0)):
            line = image[:, column].astype(float)
            full = np.flatnonzero(line > full_well)
            groups = np.split(full, np.flatnonzero(np.diff(full) > 1) + 1)
            surpluses = [(line[group] - full_well).sum() for group in groups]
            line = np.minimum(line, full_well)
            for group, surplus in zip(groups, surpluses, strict=True):
                for start, step in ((group[0] - 1, -1), (group[-1] + 1, 1)):
                    charge, row = surplus / 2.0, start
                    while charge > 0 and 0 <= row < len(line):
                        taken = min(full_well - line[row], charge)
                        line[row] += taken
                        charge -= taken
                        row += step
            clipped[:, column] = line
    return clipped, clipped >= full_well
