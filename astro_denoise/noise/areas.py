# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise that differs from place to place: a mesh, and areas with borders.
"""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ['NoiseAreas', 'RelativeNoise']


@dataclass(frozen=True)
class NoiseAreas:
    """
    Areas of a plane with a factor each.

    Attributes
    ----------
    divisions : tuple of tuple of `~numpy.ndarray`
        Each covers the plane with rectangles: their first row, row after
        the last, and columns likewise, and the noise of each. The noise of
        a pixel is the geometric mean.
    """

    divisions: tuple

    def __len__(self):
        """Number of areas of the first division."""
        return len(self.divisions[0][1])

    def over(self, window, dtype):
        """
        The factors on the pixels of a window.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns.

        dtype : `numpy.dtype`
            Type of the result.

        Returns
        -------
        plane : 2D `~numpy.ndarray`
            On every pixel.
        """
        product = None
        for bounds, factors in self.divisions:
            plane = _painted(bounds, factors ** (1 / len(self.divisions)),
                             window, dtype)
            product = plane if product is None else product * plane
        return product

    def means(self, shape, size):
        """
        Average the logarithm over blocks.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns of blocks.

        size : int
            Pixels per side of a block.

        Returns
        -------
        means : 2D `~numpy.ndarray`
            Mean logarithm of the factors in each block.

        crossed : 2D bool `~numpy.ndarray`
            `True` where there is more than one area in a block, or the
            plane ends.
        """
        means, crossed = np.zeros(shape), np.zeros(shape, bool)
        total = np.zeros(shape)  # less than 1 beyond the end of the plane
        for bounds, factors in self.divisions:
            for (top, bottom, left, right), factor in zip(
                    bounds.tolist(), factors.tolist(), strict=True):
                (rows, high), (columns, wide) = (
                    _shares(top, bottom, shape[0], size),
                    _shares(left, right, shape[1], size))
                share = np.multiply.outer(high, wide)
                means[rows, columns] += math.log(factor) * share
                total[rows, columns] += share
                crossed[rows, columns] |= share < 1
        return means / total, crossed


def _painted(bounds, factors, window, dtype):
    """
    A window of a plane that rectangles cover.
    """
    rows, columns = window
    plane = np.empty((rows.stop - rows.start,
                      columns.stop - columns.start), dtype)
    for (top, bottom, left, right), factor in zip(
            bounds.tolist(), factors.tolist(), strict=True):
        plane[max(top - rows.start, 0):max(bottom - rows.start, 0),
              max(left - columns.start, 0):
              max(right - columns.start, 0)] = factor
    return plane


def _shares(first, stop, number, size):
    """
    The bins of a line that lie between two pixels, and their shares there.
    """
    bins = slice(first // size, min(-(-stop // size), number))
    start = np.arange(bins.start, bins.stop) * size
    return bins, (np.minimum(start + size, stop)
                  - np.maximum(start, first)) / size


@dataclass(frozen=True)
class RelativeNoise:
    """
    Noise over that of the level, without photons.

    Attributes
    ----------
    mesh : `~astro_denoise.noise.background.BackgroundMesh`
        What is smooth, or differs from block to block.

    areas : `NoiseAreas` or `None`
        What is constant between rows and columns.
    """

    mesh: object
    areas: NoiseAreas | None = None

    def over(self, window, dtype):
        """
        The factors on the pixels of a window.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns; both begin at multiples of 64.

        dtype : `numpy.dtype`
            Type of the result.

        Returns
        -------
        plane : 2D `~numpy.ndarray`
            On every pixel.
        """
        plane = self.mesh.over(window, dtype)
        if self.areas is not None:
            plane *= self.areas.over(window, dtype)
        return plane
