# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Footprints: the pixels that hold the light of the sources of a catalog.
"""

from dataclasses import dataclass

import numpy as np

from .psf_models import MoffatPsf, shapes_from_apertures

__all__ = ['FOOTPRINT_REACH', 'Footprints', 'find_footprints']

#: Pixels from which a source can still influence a footprint.
FOOTPRINT_REACH = 96

# Semi-axes that hold the light of a faint source: of a star in units of the
# FWHM, of a galaxy in units of the half-light radius. Both are added in
# quadrature. A position may be wrong by half a pixel.
_STAR_AXIS, _GALAXY_AXIS, _MARGIN = 1.5, 2.5, 0.5
_MOST_AXIS = 64.0

# The footprint of a bright source ends where its Moffat profile falls below
# this, in units of the noise of the sky.
_LEAST_LIGHT, _BETA = 0.15, 2.5

# Pixels in which a footprint falls from 1 to 0.
_SOFTNESS = 3.0

# Half the side, at most, of the pixels that say how bright a source is.
_MOST_CORE = 24

_UNKNOWN_FWHM = 3.5
_BLOCK_PIXELS = 2**22  # worked on at a time


@dataclass(frozen=True)
class Footprints:
    """
    Ellipses around sources, on a plane.

    Parameters
    ----------
    x, y : 1D `~numpy.ndarray`
        The centers, in pixels of the plane.

    a, b : 1D `~numpy.ndarray`
        Semi-axes of a faint source, in pixels.

    theta : 1D `~numpy.ndarray`
        Angle of ``a`` from the x axis, in radians.
    """

    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    b: np.ndarray
    theta: np.ndarray

    def near(self, window):
        """
        Choose the sources that can influence a window.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns of the plane.

        Returns
        -------
        footprints : `Footprints`
            Of these sources.
        """
        rows, columns = window
        margin = FOOTPRINT_REACH
        here = ((self.y > rows.start - margin)
                & (self.y < rows.stop + margin)
                & (self.x > columns.start - margin)
                & (self.x < columns.stop + margin))
        return Footprints(*(each[here] for each in (
            self.x, self.y, self.a, self.b, self.theta)))

    def draw(self, signal, valid, origin=(0, 0)):
        """
        Draw the footprints on a window of the plane.

        How large the footprint of a bright source is follows from the
        pixels. That of a faint source does not, so that no noise is
        chosen.

        Parameters
        ----------
        signal, valid : 2D `~numpy.ndarray`
            Pixels without background in units of the noise of the sky,
            and which of them count.

        origin : tuple of int, optional
            First row and column of the window.

        Returns
        -------
        weights : 2D `~numpy.ndarray`
            From 0 outside to 1 inside (float32).
        """
        window = tuple(slice(first, first + n) for first, n in zip(
            origin, signal.shape, strict=True))
        chosen = self.near(window)
        weights = np.zeros(signal.shape, np.float32)
        if not len(chosen.x):
            return weights
        x, y = chosen.x - origin[1], chosen.y - origin[0]
        size = np.sqrt(chosen.a * chosen.b)
        scale = np.maximum(1.0, _bright_radius(
            _peaks(signal, valid, x, y, size / _STAR_AXIS),
            size / _STAR_AXIS) / size)
        scale = np.minimum(scale, np.maximum(_MOST_AXIS / chosen.a, 1.0))
        _draw_ellipses(weights, x, y, scale * chosen.a, scale * chosen.b,
                       chosen.theta)
        return weights


def find_footprints(sources, fwhm):
    """
    Compute the footprints of faint sources.

    Parameters
    ----------
    sources : `~astropy.table.QTable`
        From `~astro_denoise.photometry.source_table.source_table`.

    fwhm : float or `None`
        Full width at half maximum of the point-spread function, in
        pixels, if it is known.

    Returns
    -------
    footprints : `Footprints`
        Of the sources that have a position.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import QTable
    >>> from astro_denoise.photometry.footprints import find_footprints
    >>> from astro_denoise.photometry.source_table import source_table
    >>> catalog = QTable({'x': [10.0], 'y': [12.0]})
    >>> footprints = find_footprints(source_table(catalog), fwhm=4.0)
    >>> weights = footprints.draw(np.zeros((32, 32)), np.ones((32, 32), bool))
    >>> print(weights[12, 10], weights[12, 30])
    1.0 0.0
    """
    fwhm = _UNKNOWN_FWHM if fwhm is None else fwhm
    sources = shapes_from_apertures(sources, MoffatPsf(fwhm, 3.0))
    x, y, r50, q, theta = (np.asarray(sources[name], float) for name in (
        'x', 'y', 'r50', 'q', 'theta'))
    there = np.isfinite(x + y)
    star = _STAR_AXIS * fwhm
    a, b = (np.minimum(
        np.hypot(star, _GALAXY_AXIS * r50 * stretch) + _MARGIN, _MOST_AXIS)
        for stretch in (1.0 / np.sqrt(q), np.sqrt(q)))
    return Footprints(*(each[there] for each in (x, y, a, b, theta)))


def _bright_radius(peak, fwhm):
    """Radius at which a Moffat profile falls below the least light."""
    alpha = fwhm / (2.0 * np.sqrt(2.0**(1.0 / _BETA) - 1.0))
    excess = np.maximum(peak / _LEAST_LIGHT, 1.0)**(1.0 / _BETA) - 1.0
    return alpha * np.sqrt(excess)


def _blocks(half):
    """Rows of sources of one size, so many that memory suffices."""
    for size in np.unique(half):
        rows = np.flatnonzero(half == size)
        step = max(1, _BLOCK_PIXELS // (2 * size + 1)**2)
        for start in range(0, len(rows), step):
            yield rows[start:start + step], np.arange(-size, size + 1)


def _peaks(signal, valid, x, y, fwhm):
    """Fit the height of a round Gaussian to each source."""
    ny, nx = signal.shape
    half = np.minimum(np.ceil(fwhm), _MOST_CORE).astype(int)
    sigma = fwhm / 2.355
    peaks = np.zeros(len(x))
    for rows, line in _blocks(half):
        columns, lines = (np.rint(each[rows]).astype(int)[:, np.newaxis]
                          + line for each in (x, y))
        profile_x, profile_y = (
            np.exp(-0.5 * ((pixels - each[rows, np.newaxis])
                           / sigma[rows, np.newaxis])**2)
            * ((pixels >= 0) & (pixels < n))
            for pixels, each, n in ((columns, x, nx), (lines, y, ny)))
        here = (np.clip(lines, 0, ny - 1)[:, :, np.newaxis],
                np.clip(columns, 0, nx - 1)[:, np.newaxis])
        profile = (profile_y[:, :, np.newaxis] * profile_x[:, np.newaxis]
                   * valid[here])
        total = np.einsum('ijk,ijk->i', profile, profile)
        peaks[rows] = (np.einsum('ijk,ijk->i', profile, signal[here])
                       / np.where(total > 0, total, 1.0))
    return peaks


def _draw_ellipses(weights, x, y, a, b, theta):
    """Draw ellipses with soft edges; the largest value counts."""
    ny, nx = weights.shape
    half = np.ceil(a + 0.5 * _SOFTNESS).astype(int)
    size = np.sqrt(a * b)
    cosine, sine = np.cos(theta), np.sin(theta)
    flat = weights.ravel()
    for rows, line in _blocks(half):
        columns, lines = (np.rint(each[rows]).astype(int)[:, np.newaxis]
                          + line for each in (x, y))
        dx = (columns - x[rows, np.newaxis])[:, np.newaxis]
        dy = (lines - y[rows, np.newaxis])[:, :, np.newaxis]
        c, s, semi_a, semi_b, r = (each[rows, np.newaxis, np.newaxis]
                           for each in (cosine, sine, a, b, size))
        distance = np.hypot((c * dx + s * dy) / semi_a,
                            (c * dy - s * dx) / semi_b)
        ramp = np.clip((1.0 - distance) * r / _SOFTNESS + 0.5, 0.0, 1.0)
        inside = ((ramp > 0)
                  & ((lines >= 0) & (lines < ny))[:, :, np.newaxis]
                  & ((columns >= 0) & (columns < nx))[:, np.newaxis])
        place = (lines[:, :, np.newaxis] * nx
                 + columns[:, np.newaxis])[inside]
        ramp = ramp[inside]
        np.maximum.at(flat, place,
                      (ramp**2 * (3.0 - 2.0 * ramp)).astype(np.float32))
