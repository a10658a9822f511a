# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Sources of unit flux on stamps of pixels, many at a time.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, sparse

from ..simulation.profiles import (
    POINTS_PER_FWHM,
    galaxy_transform,
    stamp_size,
    wavenumbers,
)

__all__ = ['StampSet', 'SourceStamps', 'render_stamps', 'stamp_radius']

_BLOCK_POINTS = 2**20  # points of the Fourier plane worked on at a time

# Reach of a stamp in full widths at half maximum, of a faint source and at
# most; a Moffat profile has wings for as long as one can see them.
_LEAST_REACH, _MOST_REACH = 3.0, 14.0


@dataclass
class StampSet:
    """
    Stamps of one size.

    Attributes
    ----------
    rows : 1D int `~numpy.ndarray`
        The sources.

    stamps : 3D `~numpy.ndarray`
        Shape (n, size, size), the share of the light in each pixel.

    x_low, y_low : 1D int `~numpy.ndarray`
        The first pixel of each stamp.
    """

    rows: np.ndarray
    stamps: np.ndarray
    x_low: np.ndarray
    y_low: np.ndarray

    def is_inside(self, shape):
        """
        Tell which stamps are on a plane as a whole.

        Parameters
        ----------
        shape : tuple of int
            ``(ny, nx)`` of the plane.

        Returns
        -------
        inside : 1D bool `~numpy.ndarray`
            For each stamp.
        """
        size = self.stamps.shape[1]
        return ((self.y_low >= 0) & (self.y_low <= shape[0] - size)
                & (self.x_low >= 0) & (self.x_low <= shape[1] - size))

    def inside(self, shape):
        """
        Go through the stamps that are on a plane as a whole.

        Parameters
        ----------
        shape : tuple of int
            ``(ny, nx)`` of the plane.

        Yields
        ------
        rows : 1D int `~numpy.ndarray`
            Some sources.

        stamps, pixels : 2D `~numpy.ndarray`
            Their profiles, and the numbers of the pixels in the plane.
        """
        size = self.stamps.shape[1]
        line = np.arange(size)
        square = (line[:, np.newaxis] * shape[1] + line).ravel()
        found = np.flatnonzero(self.is_inside(shape))
        step = max(1, _BLOCK_POINTS // size**2)
        for start in range(0, len(found), step):
            part = found[start:start + step]
            first = self.y_low[part] * shape[1] + self.x_low[part]
            yield (self.rows[part], self.stamps[part].reshape(len(part), -1),
                   first[:, np.newaxis] + square)

    def entries(self, chosen, window):
        """
        List the pixels of some stamps in a window of a plane.

        Parameters
        ----------
        chosen : 1D int `~numpy.ndarray`
            Stamps of the set.

        window : tuple of int
            ``(y_low, y_high, x_low, x_high)``.

        Returns
        -------
        counts : 1D int `~numpy.ndarray`
            Pixels of each stamp in the window.

        pixels : 1D int `~numpy.ndarray`
            Their numbers in the window.

        values : 1D `~numpy.ndarray`
            The shares of the light.
        """
        y_low, y_high, x_low, x_high = window
        size = self.stamps.shape[1]
        line = np.arange(size)
        y, x = self.y_low[chosen] - y_low, self.x_low[chosen] - x_low
        width = x_high - x_low
        pixels = (y * width + x)[:, np.newaxis] + (
            line[:, np.newaxis] * width + line).ravel()
        values = self.stamps[chosen].reshape(pixels.shape)
        if (y.min() >= 0 and x.min() >= 0 and y.max() + size <= y_high - y_low
                and x.max() + size <= width):
            return (np.full(len(chosen), size**2), pixels.ravel(),
                    values.ravel())
        y, x = y[:, np.newaxis] + line, x[:, np.newaxis] + line
        inside = (((y >= 0) & (y < y_high - y_low))[:, :, np.newaxis]
                  & ((x >= 0) & (x < width))[:, np.newaxis]).reshape(
                      pixels.shape)
        return (np.count_nonzero(inside, axis=1), pixels[inside],
                values[inside])


@dataclass
class SourceStamps:
    """
    All sources of a catalog on stamps.

    Attributes
    ----------
    sets : list of `StampSet`
        Each with stamps of another size.

    n_sources : int
        Rows of the catalog.
    """

    sets: list
    n_sources: int

    def matrix(self, rows, window):
        """
        Profiles of some sources on the pixels of a window.

        Parameters
        ----------
        rows : 1D int `~numpy.ndarray`
            The sources.

        window : tuple of int
            ``(y_low, y_high, x_low, x_high)``.

        Returns
        -------
        profiles : `~scipy.sparse.csr_array`
            A row a source, a column a pixel of the window.
        """
        place = np.full(self.n_sources, -1)
        place[rows] = np.arange(len(rows))
        members, counts, pixels, values = [], [], [], []
        for stamps in self.sets:
            chosen = np.flatnonzero(place[stamps.rows] >= 0)
            if len(chosen):
                found = stamps.entries(chosen, window)
                members.append(place[stamps.rows[chosen]])
                for parts, part in zip((counts, pixels, values), found,
                                       strict=True):
                    parts.append(part)
        n_pixels = (window[1] - window[0]) * (window[3] - window[2])
        if not members:
            return sparse.csr_array((len(rows), n_pixels))
        ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        stacked = sparse.csr_array(
            (np.concatenate(values).astype(float), np.concatenate(pixels),
             ends), shape=(len(rows), n_pixels))
        if len(members) == 1 and np.all(np.diff(members[0]) > 0):
            return stacked
        return stacked[np.argsort(np.concatenate(members))]

    def image(self, shape, flux, power=1):
        """
        Sum the sources of given fluxes.

        Parameters
        ----------
        shape : tuple of int
            ``(ny, nx)`` of the plane.

        flux : 1D `~numpy.ndarray`
            A number for each source.

        power : int, optional
            Power of the profiles.

        Returns
        -------
        image : 2D `~numpy.ndarray`
            Shape (ny, nx).
        """
        image = np.zeros(shape)
        flat = image.ravel()
        for group in self.sets:
            for rows, stamps, pixels in group.inside(shape):
                values = flux[rows, np.newaxis] * (
                    stamps if power == 1 else stamps**power)
                np.add.at(flat, pixels.ravel(), values.ravel())
        for row, part, here in self.parts(shape, cut=True):
            image[here] += flux[row] * (part if power == 1
                                        else part**power)
        return image

    def sums(self, image):
        """
        Sum the pixels of an image, weighted with each source's profile.

        Parameters
        ----------
        image : 2D `~numpy.ndarray`
            On the plane of the sources.

        Returns
        -------
        sums : 1D `~numpy.ndarray`
            0 for sources without stamp.
        """
        sums = np.zeros(self.n_sources)
        flat = np.ascontiguousarray(image).ravel()
        for group in self.sets:
            for rows, stamps, pixels in group.inside(image.shape):
                sums[rows] = np.einsum('ij,ij->i', stamps, flat[pixels])
        for row, part, here in self.parts(image.shape, cut=True):
            sums[row] = np.sum(part * image[here])
        return sums

    def totals(self):
        """
        Sum the profiles themselves, and their squares.

        Returns
        -------
        totals, squares : 1D `~numpy.ndarray`
            0 for sources without stamp.
        """
        totals, squares = np.zeros((2, self.n_sources))
        for group in self.sets:
            totals[group.rows] = group.stamps.sum(axis=(1, 2))
            squares[group.rows] = np.einsum('ijk,ijk->i', group.stamps,
                                            group.stamps)
        return totals, squares

    def parts(self, shape, *, cut=False):
        """
        Go through what is on a plane.

        Parameters
        ----------
        shape : tuple of int
            ``(ny, nx)`` of the plane.

        cut : bool, optional
            Only the stamps that reach over its edges.

        Yields
        ------
        row : int
            The source.

        part : 2D `~numpy.ndarray`
            The part of its stamp that is on the plane.

        here : tuple of slice
            Where it is.
        """
        for group in self.sets:
            size = group.stamps.shape[1]
            chosen = (np.flatnonzero(~group.is_inside(shape)) if cut
                      else slice(None))
            for row, stamp, x, y in zip(*(
                    each[chosen] for each in (group.rows, group.stamps,
                                              group.x_low, group.y_low)),
                    strict=True):
                top, left = max(-y, 0), max(-x, 0)
                part = stamp[top:max(shape[0] - y, 0),
                             left:max(shape[1] - x, 0)]
                if part.size:
                    yield row, part, (slice(y + top, min(y + size, shape[0])),
                                      slice(x + left,
                                            min(x + size, shape[1])))


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
    radius : 1D `~numpy.ndarray`
        In pixels.
    """
    reach = psf.fwhm * np.clip(
        2.0 + 2.0 * np.log10(np.maximum(snr, 1.0)), _LEAST_REACH,
        _MOST_REACH)
    q = np.asarray(sources['q'])
    # Of a de Vaucouleurs profile 95 per cent of the light are in 7 r50, of
    # an exponential one in 2.8.
    reach_galaxy = (2.0 + 1.5 * np.asarray(sources['sersic_n'])) / np.sqrt(q)
    return np.maximum(reach, 6.0) + np.asarray(sources['r50']) * reach_galaxy


def render_stamps(psf, sources, radius, *, shift=(0.0, 0.0), derivative=None):
    """
    Draw all sources, convolved with the point-spread function.

    Parameters
    ----------
    psf : object
        From `~astro_denoise.photometry.psf_models.open_psf`.

    sources : `~astropy.table.QTable`
        From `~astro_denoise.photometry.source_table.source_table`.

    radius : 1D `~numpy.ndarray`
        How far each stamp reaches at least, in pixels.

    shift : tuple of float, optional
        Added to x and y.

    derivative : {'x', 'y'}, optional
        Draw the derivative of the profiles by the position instead.

    Returns
    -------
    stamps : `SourceStamps`
        Of the sources that have a position.
    """
    oversampling = max(1, int(np.ceil(POINTS_PER_FWHM / psf.fwhm)))
    x = np.asarray(sources['x']) + shift[0]
    y = np.asarray(sources['y']) + shift[1]
    sizes = np.array([stamp_size(value, 1) for value in radius])
    sizes[~np.isfinite(x + y)] = 0
    galaxy = np.asarray(sources['r50']) > 0
    sets = []
    for size in np.unique(sizes[sizes > 0]):
        rows = np.flatnonzero(sizes == size)
        places = np.rint(x[rows]).astype(int), np.rint(y[rows]).astype(int)
        stamps = np.empty((len(rows), size, size), np.float32)
        n_points = size * oversampling
        step = max(1, _BLOCK_POINTS // n_points**2)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            shapes = [
                tuple(float(sources[name][row]) for name in
                      ('r50', 'sersic_n', 'q', 'theta'))
                if galaxy[row] else None for row in rows[part]]
            stamps[part] = _draw(
                psf, n_points, oversampling, x[rows[part]] - places[0][part],
                y[rows[part]] - places[1][part], shapes, derivative)
        half = size // 2
        sets.append(StampSet(rows, stamps, places[0] - half,
                             places[1] - half))
    return SourceStamps(sets, len(sources))


def _draw(psf, n_points, oversampling, x_offset, y_offset, shapes,
          derivative):
    """Draw sources on stamps of one size around their central pixels."""
    k_y, k_x = wavenumbers(n_points, oversampling)
    half = n_points // (2 * oversampling)
    shift_y = np.exp(-1j * k_y * (y_offset + half)).T[:, :, np.newaxis]
    shift_x = np.exp(-1j * k_x[:, np.newaxis] * (x_offset + half)).T[
        :, np.newaxis]
    transform = (psf.transform(n_points, oversampling)
                 * shift_y.astype(np.complex64)
                 * shift_x.astype(np.complex64))
    if derivative is not None:
        transform *= (-1j * (k_x if derivative == 'x' else k_y)).astype(
            np.complex64)
    for number, shape in enumerate(shapes):
        if shape is not None:
            transform[number] *= galaxy_transform(n_points, oversampling,
                                                  *shape)
    stamps = fft.irfft2(transform, s=(n_points, n_points))
    return stamps[:, ::oversampling, ::oversampling] * oversampling**2
