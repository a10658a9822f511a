# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A plane that is read strip by strip while a network goes down it.
"""

from dataclasses import dataclass

import numpy as np

from ..frames.windows import outwards, within
from ..noise.levels import MESH
from ..noise.measurement import Window, read_window

__all__ = ['STRIP_ROWS', 'PlaneRows']

# Rows read at a time, a multiple of 64. The noise map of a strip needs a
# halo, which takes time where there are few rows, and memory where many.
STRIP_ROWS = 768


@dataclass
class _Strip:
    """Some rows of a plane, between two columns."""

    window: tuple
    values: np.ndarray
    valid: np.ndarray
    noise_map: np.ndarray


class _Layer:
    """Gives arrays for slices, as an array does."""

    def __init__(self, shape, dtype, read):
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._read = read

    def __getitem__(self, window):
        return self._read(*window)


class PlaneRows:
    """
    A plane, or a window of one, of which some rows are read at a time.

    It stands for a `~astro_denoise.noise.measurement.Window` that may be
    larger than memory: ``values``, ``valid``, ``background`` and
    ``noise_map`` give arrays for slices of rows and columns.

    Parameters
    ----------
    reader : `~astro_denoise.frames.PlaneReader`
        The plane.

    measurement : `~astro_denoise.noise.measurement.Measurement`
        Of the plane.

    window : tuple of slice, optional
        Rows and columns, which begin at multiples of 64 pixels; the whole
        plane by default.

    strip_rows : int, optional
        Rows that are read at a time, a multiple of 64.

    on_read : callable, optional
        Called after a strip was read.
    """

    def __init__(self, reader, measurement, *, window=None,
                 strip_rows=None, on_read=None):
        if window is None:
            window = tuple(slice(0, n) for n in reader.shape)
        self._reader = reader
        self._measurement = measurement
        self._origin = [side.start for side in window]
        self._stop = tuple(side.stop for side in window)
        self._strip_rows = STRIP_ROWS if strip_rows is None else strip_rows
        self._on_read = on_read
        self._strips = {}
        self._columns = None
        self.shape = tuple(side.stop - side.start for side in window)
        self.values = _Layer(self.shape, reader.dtype, self._stored('values'))
        self.valid = _Layer(self.shape, bool, self._stored('valid'))
        self.background = _Layer(self.shape, reader.dtype, self._background)
        self.noise_map = _Layer(self.shape, np.float32,
                                self._stored('noise_map'))

    def part(self, window):
        """
        Read a window into memory.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns.

        Returns
        -------
        part : `~astro_denoise.noise.measurement.Window`
            The arrays.
        """
        return Window(self.values[window], self.valid[window],
                      self.background[window], self.noise_map[window])

    def _in_plane(self, rows, columns):
        return tuple(slice(side.start + first, side.stop + first)
                     for side, first in zip((rows, columns), self._origin,
                                            strict=True))

    def _stored(self, name):
        def read(rows, columns):
            window = self._in_plane(rows, columns)
            parts = [getattr(strip, name)[within(window, strip.window)]
                     for strip in self._strips_of(*window)]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

        return read

    def _background(self, rows, columns):
        wanted = self._in_plane(rows, columns)
        window = outwards(wanted, MESH, self._stop)
        return self._measurement.background.over(
            window, self._reader.dtype)[within(wanted, window)]

    def _strips_of(self, rows, columns):
        """The strips that hold some rows, between columns or wider."""
        if self._columns is None or not (
                self._columns.start <= columns.start
                and columns.stop <= self._columns.stop):
            self._columns = columns
            self._strips = {}
        first, last = (row // self._strip_rows
                       for row in (rows.start, rows.stop - 1))
        # Pixels are wanted once more when the network has answered.
        self._strips = {number: strip for number, strip
                        in self._strips.items() if number >= first - 1}
        for number in range(first, last + 1):
            if number not in self._strips:
                self._strips[number] = self._read(number)
        return [self._strips[number] for number in range(first, last + 1)]

    def _read(self, number):
        rows = slice(max(number * self._strip_rows, self._origin[0]),
                     (number + 1) * self._strip_rows)
        window = outwards((rows, self._columns), MESH, self._stop)
        strip = _Strip(window, *read_window(self._reader, self._measurement,
                                            window))
        if self._on_read is not None:
            self._on_read()
        return strip
