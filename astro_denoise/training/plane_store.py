# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Planes on disk, in one file that goes with the process.
"""

import tempfile
import weakref
from dataclasses import dataclass

import numpy as np

__all__ = ['PlaneStore', 'StoredPlane']


@dataclass(frozen=True)
class StoredPlane:
    """
    Place of a plane in the file.

    Attributes
    ----------
    first : int
        Number of its first pixel in the file.

    shape : tuple of int
        Rows and columns.
    """

    first: int
    shape: tuple


class PlaneStore:
    """
    Planes of single precision on disk.

    They are in one file without a name, so that nothing is left of it
    however the process ends, and many planes need one open file.

    Parameters
    ----------
    folder : path-like, optional
        Where the file is; by default where temporary files are.
    """

    def __init__(self, folder=None):
        # It is open as long as the store is there.
        self._file = tempfile.TemporaryFile(  # noqa: SIM115
            prefix='astro_denoise-', dir=folder)
        weakref.finalize(self, self._file.close)
        self._n_pixels = 0
        self._map = None

    def put(self, plane):
        """
        Write a plane.

        Parameters
        ----------
        plane : 2D `~numpy.ndarray`
            The plane.

        Returns
        -------
        place : `StoredPlane`
            Where it is.
        """
        place = StoredPlane(self._n_pixels, plane.shape)
        plane = np.ascontiguousarray(plane, np.float32)
        plane.tofile(self._file)
        self._n_pixels += plane.size
        return place

    def view(self, place):
        """
        Give a plane, mapped from the file.

        Parameters
        ----------
        place : `StoredPlane`
            Where it is.

        Returns
        -------
        plane : 2D `~numpy.memmap`
            Its pixels, to be read.
        """
        if self._map is None or self._map.size < self._n_pixels:
            self._file.flush()
            self._map = np.memmap(self._file, np.float32, 'r',
                                  shape=(self._n_pixels,))
        rows, columns = place.shape
        return self._map[place.first:place.first + rows * columns].reshape(
            place.shape)
