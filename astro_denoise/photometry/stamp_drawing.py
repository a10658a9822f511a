# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw the sources of a catalog on stamps.
"""

import numpy as np
from scipy import fft

from ..simulation.profiles import (
    POINTS_PER_FWHM,
    galaxy_transform,
    stamp_size,
    wavenumbers,
)
from .source_stamps import SourceStamps, StampSet, stamp_passes

__all__ = ['render_stamps', 'stamp_radius']

_BLOCK_POINTS = 2**20  # points of the Fourier plane worked on at a time

# Reach of a stamp in full widths at half maximum, of a faint source and at
# most; a Moffat profile has wings for as long as one can see them.
_LEAST_REACH, _MOST_REACH = 3.0, 14.0

# Radii of stamps are powers of this, times the smallest one: few sizes.
_LADDER = 1.5

# Positions in a pixel, along an axis, at which stars are drawn exactly; from
# there their slopes lead to where they are, to some 1e-4 of the peak.
_PHASES = 24
_MOST_HALF = 40  # of such stamps: those of larger ones would fill memory


def stamp_radius(psf, sources, snr):
    """
    Choose how far the stamps of sources reach.

    Parameters
    ----------
    psf : object
        Has the attribute ``fwhm``.

    sources : `~astropy.table.QTable`
        From `~astro_denoise.photometry.source_table.source_table`.

    snr : 1D `~numpy.ndarray`
        Signal-to-noise ratio of each source.

    Returns
    -------
    radius : 1D int `~numpy.ndarray`
        In pixels; of few different values.
    """
    reach = psf.fwhm * np.clip(
        2.0 + 2.0 * np.log10(np.maximum(snr, 1.0)), _LEAST_REACH,
        _MOST_REACH)
    q = np.asarray(sources['q'])
    # Of a de Vaucouleurs profile 95 per cent of the light are in 7 r50, of
    # an exponential one in 2.8.
    reach_galaxy = (2.0 + 1.5 * np.asarray(sources['sersic_n'])) / np.sqrt(q)
    radius = np.maximum(reach, 6.0) + np.asarray(
        sources['r50']) * reach_galaxy
    least = np.ceil(max(_LEAST_REACH * psf.fwhm, 6.0))
    step = np.ceil(np.log(radius / least) / np.log(_LADDER) - 1e-9)
    return np.ceil(least * _LADDER**np.maximum(step, 0.0)).astype(int)


def render_stamps(psf, sources, radius, shape, *, shift=(0.0, 0.0),
                  derivative=None):
    """
    Draw all sources, convolved with the point-spread function.

    Parameters
    ----------
    psf : object
        From `~astro_denoise.photometry.psf_models.open_psf`.

    sources : `~astropy.table.QTable`
        From `~astro_denoise.photometry.source_table.source_table`.

    radius : 1D int `~numpy.ndarray`
        From the central pixel of each stamp to its edge.

    shape : tuple of int
        ``(ny, nx)`` of the plane, at whose edges stamps end.

    shift : tuple of float, optional
        Added to x and y.

    derivative : {'x', 'y'}, optional
        Draw the derivative of the profiles by the position instead.

    Returns
    -------
    stamps : `SourceStamps`
        Of the sources that have a position and light on the plane.
    """
    y, x = (np.asarray(sources[name]) + add
            for name, add in zip('yx', shift[::-1], strict=True))
    there = np.isfinite(x + y)
    y_pixel, x_pixel = (np.rint(np.where(there, each, 0)).astype(int)
                        for each in (y, x))
    for pixel, n_pixels in ((y_pixel, shape[0]), (x_pixel, shape[1])):
        there &= (pixel + radius >= 0) & (pixel - radius < n_pixels)
    sets, total, share = [], np.zeros(len(sources)), np.ones(len(sources))
    for half in np.unique(radius[there]):
        rows = np.flatnonzero(there & (radius == half))
        rows = rows[np.lexsort([x_pixel[rows], y_pixel[rows]])]
        stamps = _Drawing.of(psf, half).draw(
            sources[rows], y[rows] - y_pixel[rows], x[rows] - x_pixel[rows],
            derivative)
        total[rows] = stamps.sum(axis=(1, 2))
        sets.append(_on_plane(rows, stamps, y_pixel[rows] - half,
                              x_pixel[rows] - half, shape, share))
    return SourceStamps(sets, len(sources), tuple(shape), total, share)


def _on_plane(rows, stamps, y_low, x_low, shape, share):
    """Move stamps that reach over an edge, and their light in them."""
    size = tuple(np.minimum(stamps.shape[1:], shape))
    new_low = [np.clip(low, 0, n_pixels - side) for low, n_pixels, side in
               zip((y_low, x_low), shape, size, strict=True)]
    moved = np.flatnonzero((new_low[0] != y_low) | (new_low[1] != x_low))
    whole = stamps
    if size != stamps.shape[1:]:
        stamps = np.zeros((len(rows), *size), np.float32)
        moved = np.arange(len(rows))
    for number in moved:
        here, there = [], []
        for low, new, side, old_side in zip(
                (y_low, x_low), new_low, size, whole.shape[1:], strict=True):
            first = low[number] - new[number]
            here.append(slice(max(first, 0), max(min(first + old_side, side),
                                                 0)))
            there.append(slice(here[-1].start - first,
                               here[-1].stop - first))
        part = np.zeros(size, np.float32)
        part[tuple(here)] = whole[number][tuple(there)]
        share[rows[number]] = np.vdot(part, part) / np.vdot(
            whole[number], whole[number])
        stamps[number] = part
    return StampSet(rows, stamps, *new_low)


class _Drawing:
    """
    Draw sources on stamps of one size around their central pixels.

    Parameters
    ----------
    psf : object
        The point-spread function.

    half : int
        Pixels from the central one to the edge.
    """

    def __init__(self, psf, half):
        self.psf, self.half = psf, int(half)
        self.tables = {}
        self.oversampling = max(1, int(np.ceil(POINTS_PER_FWHM / psf.fwhm)))
        self.n_points = stamp_size(self.half, 1) * self.oversampling

    @classmethod
    def of(cls, psf, half):
        """Make a drawing, or take the last one of this PSF and size."""
        if half not in psf.drawings:
            psf.drawings[half] = cls(psf, half)
        return psf.drawings[half]

    def draw(self, sources, y_offset, x_offset, derivative):
        """Draw sources, or their derivatives."""
        galaxy = np.asarray(sources['r50']) > 0
        stars = np.flatnonzero(~galaxy)
        stamps = np.empty((len(sources), 2 * self.half + 1,
                           2 * self.half + 1), np.float32)
        galaxies = np.flatnonzero(galaxy)
        if len(stars) > _PHASES**2 and self.half <= _MOST_HALF:
            self._draw_stars(stamps, stars, y_offset, x_offset, derivative)
        else:
            galaxies = np.arange(len(sources))
        step = max(1, _BLOCK_POINTS // self.n_points**2)
        columns = [np.asarray(sources[name], float)
                   for name in ('r50', 'sersic_n', 'q', 'theta')]
        for start in range(0, len(galaxies), step):
            part = galaxies[start:start + step]
            shapes = [tuple(float(column[row]) for column in columns)
                      if galaxy[row] else None for row in part]
            stamps[part] = self._transformed(y_offset[part], x_offset[part],
                                             shapes, derivative)
        return stamps

    def _draw_stars(self, stamps, stars, y_offset, x_offset, derivative):
        """Draw many stars from those in a grid of positions."""
        phases = [np.clip(((offset[stars] + 0.5) * _PHASES).astype(int), 0,
                          _PHASES - 1) for offset in (y_offset, x_offset)]
        number = phases[0] * _PHASES + phases[1]
        if derivative is not None:
            stamps[stars] = self._table(derivative)[number]
            return
        rest = tuple(
            (offset[stars] - (phase + 0.5) / _PHASES + 0.5).astype(np.float32)
            for offset, phase in zip((y_offset, x_offset), phases,
                                     strict=True))
        tables = tuple(self._table(which) for which in (None, 'y', 'x'))
        passes = stamp_passes(stamps.size)
        if passes is not None:
            passes.drawn_stars(tables, number, rest, stars, stamps)
            return
        step = max(1, _BLOCK_POINTS // stamps[:1].size)
        for start in range(0, len(stars), step):
            part = slice(start, start + step)
            drawn = tables[0][number[part]]
            for table, factor in zip(tables[1:], rest, strict=True):
                slope = table[number[part]]
                slope *= factor[part][:, np.newaxis, np.newaxis]
                drawn += slope
            stamps[stars[part]] = drawn

    def _table(self, derivative):
        """Stars, or their derivatives, at a grid of positions."""
        if derivative not in self.tables:
            grid = (np.arange(_PHASES) + 0.5) / _PHASES - 0.5
            y, x = (each.ravel() for each in np.meshgrid(grid, grid,
                                                         indexing='ij'))
            table = np.empty((len(y), 2 * self.half + 1, 2 * self.half + 1),
                             np.float32)
            step = max(1, _BLOCK_POINTS // self.n_points**2)
            for start in range(0, len(y), step):
                part = slice(start, start + step)
                table[part] = self._transformed(
                    y[part], x[part], [None] * len(y[part]), derivative)
            self.tables[derivative] = table
        return self.tables[derivative]

    def _transformed(self, y_offset, x_offset, shapes, derivative):
        """Draw sources by their Fourier transforms."""
        n_points, oversampling = self.n_points, self.oversampling
        k_y, k_x = wavenumbers(n_points, oversampling)
        middle = n_points // (2 * oversampling)
        shift_y = np.exp(-1j * k_y * (y_offset + middle)).T[:, :, np.newaxis]
        shift_x = np.exp(-1j * k_x[:, np.newaxis] * (x_offset + middle)).T[
            :, np.newaxis]
        transform = (self.psf.transform(n_points, oversampling)
                     * shift_y.astype(np.complex64)
                     * shift_x.astype(np.complex64))
        if derivative is not None:
            transform *= (-1j * (k_x if derivative == 'x' else k_y)).astype(
                np.complex64)
        for number, shape in enumerate(shapes):
            if shape is not None:
                transform[number] *= galaxy_transform(
                    n_points, oversampling, *shape)
        stamps = fft.irfft2(transform, s=(n_points, n_points))
        side = slice((middle - self.half) * oversampling,
                     (middle + self.half) * oversampling + 1, oversampling)
        return stamps[:, side, side] * oversampling**2
