# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Average over turned and shifted versions of a frame.

A network answers a little differently when a frame is turned, or moved by a
pixel: which, nothing in the sky can tell. The mean over versions does not.
"""

from dataclasses import dataclass

import numpy as np

from ..frames.windows import plan_tiles, within
from ..noise.levels import MESH
from ..noise.measurement import Window
from .engine import denoise_windows

__all__ = ['MOST_VERSIONS', 'denoise_averaged', 'windows_in_memory']

# Quarter turns, and whether rows and columns are exchanged before. The mean
# over all eight is the same whichever way the frame is turned, and all shifts
# of one pixel are alike to networks that see squares of 2 x 2 pixels.
_TURNS = ((0, False), (2, False), (0, True), (2, True),
          (1, False), (3, False), (1, True), (3, True))
_SHIFTS = ((0, 0), (1, 1), (0, 1), (1, 0))

MOST_VERSIONS = len(_TURNS) * len(_SHIFTS)

# Pixels a side of what is held in memory of a plane that is not.
_SIDE = 2048

# What is left of the variance at least, however much versions differ.
_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class _Version:
    """
    One way to turn and shift a plane.
    """

    turns: int
    transposed: bool
    shift: tuple

    @classmethod
    def numbered(cls, number):
        """All turns first, then again with the next shift."""
        return cls(*_TURNS[number % len(_TURNS)],
                   _SHIFTS[number // len(_TURNS)])

    def apply(self, array, **padding):
        """Turn and shift an array."""
        array = np.rot90(array.T if self.transposed else array, self.turns)
        margins = [(pixels, 0) for pixels in self.shift]
        return np.ascontiguousarray(np.pad(array, margins, **padding))

    def undo(self, array):
        """Bring an array back."""
        array = array[self.shift[0]:, self.shift[1]:]
        array = np.rot90(array, -self.turns)
        return array.T if self.transposed else array

    def of(self, planes):
        """The version of a window; where it begins, nothing is valid."""
        return Window(self.apply(planes.values),
                      self.apply(planes.valid),
                      self.apply(planes.background, mode='edge'),
                      self.apply(planes.noise_map, mode='edge'))


def denoise_averaged(network, planes, measurement, write, *, average,
                     runtime, window_pixels=None, progress=None):
    r"""
    Denoise versions of one plane, and hand over their mean.

    The versions of a pixel have the mean square error that their
    variances :math:`v_i` state, and that of their mean :math:`\bar x` is
    less by their scatter (Krogh & Vedelsby 1995, NIPS 7, 231),

    .. math::

        v = \frac{1}{n} \sum_i v_i
            - \frac{1}{n} \sum_i (x_i - \bar x)^2 .

    Parameters
    ----------
    network, planes, measurement, write : object
        As for `~astro_denoise.inference.engine.denoise_windows`.

    average : int
        Number of versions, up to ``MOST_VERSIONS``.

    runtime, window_pixels, progress : object
        As for `~astro_denoise.inference.engine.denoise_windows`.
    """
    options = {'runtime': runtime, 'window_pixels': window_pixels}
    if average == 1:
        denoise_windows(network, planes, measurement, write,
                        progress=progress, **options)
        return
    windows = windows_in_memory(planes, network.reach)
    share = 1.0 / (average * len(windows))
    options['progress'] = progress and (
        lambda done: progress(share * done))
    for core, window in windows:
        part = planes.part(window)
        denoised, sigma = _mean_of_versions(
            network, part, measurement, average, **options)
        inside = within(core, window)
        write(*core, denoised[inside], sigma[inside])


def windows_in_memory(planes, reach):
    """
    Cut a plane that is not held in memory into windows that can be.

    Parameters
    ----------
    planes : object
        As for `~astro_denoise.inference.engine.denoise_windows`.

    reach : int
        Pixels from which a result can be influenced.

    Returns
    -------
    windows : list of tuple
        The part of the plane that each answers for, and the window.
    """
    in_memory = isinstance(planes.values, np.ndarray)
    halo = -(-reach // MESH) * MESH
    plan = plan_tiles(planes.shape, planes.shape if in_memory else _SIDE,
                      halo=halo, stride=MESH)
    return [(tile.core, tuple(
        slice(side.start, min(side.stop, n)) for side, n
        in zip(tile.window, planes.shape, strict=True)))
        for tile in plan.tiles]


def _mean_of_versions(network, planes, measurement, average, **options):
    """Mean of the versions of a window, and its standard deviation."""
    first = None
    for number in range(average):
        version = _Version.numbered(number)
        turned = version.of(planes)
        results = np.empty(turned.shape, planes.values.dtype), np.empty(
            turned.shape, np.float32)

        def write(rows, columns, *parts, results=results):
            for result, part in zip(results, parts, strict=True):
                result[rows, columns] = part

        denoise_windows(network, turned, measurement, write, **options)
        denoised, sigma = (version.undo(result) for result in results)
        if first is None:
            first = denoised
            mean, square, variance = (np.zeros(first.shape, np.float32)
                                      for _ in range(3))
        # Differences are small, whatever the level of the frame.
        difference = (denoised - first).astype(np.float32)
        mean += difference
        square += difference**2
        variance += sigma**2
    for total in (mean, square, variance):
        total /= average
    scatter = square - mean**2
    least = np.float32(_LEAST_SHARE) * variance
    return first + mean, np.sqrt(np.maximum(variance - scatter, least))
