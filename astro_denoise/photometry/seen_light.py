# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The noise of light that a denoiser sees.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve
from scipy.signal import fftconvolve, oaconvolve

from ..frames.kernel_card import FAINT
from ..noise.strips import map_strips, strips
from .plane import cutout

__all__ = ['SeenLight']

# A network sees a source as it is through a spot of this share of the width
# of the kernel: FWHM 2.4 to 6 pixels give 0.36 to 0.73 pixels.
_SPOT = 0.47

# Light over the noise of a pixel from which on the pixel stays as it is.
_BRIGHT = 15.0

# More light lets the network see more of what it sees. How much of that is
# of a whole source, within this many widths of the kernel.
_COMMON, _SOURCE = 0.3, 3.6

# At most so many times the light in a sum counts as lost by the kernel.
_MOST = 1.5

_STEP = 9  # every so many rows and columns tell the usual noise

# Light of fewer sigmas of a filtered pixel is noise.
_NOISE = 1.8


@dataclass
class SeenLight:
    """
    Dependence of sums over pixels with light in them on the raw pixels.

    A network that leaves faint light to a kernel :math:`K` takes the share
    :math:`m = L^2 / (L^2 + 4)` of the light that it sees, :math:`L` in
    units of the noise. To first order, the noise of a sum with weights
    :math:`w` is that of the raw pixels with weights

    .. math:: K * (w (1 - g)) + B * (w g) + 0.3 \\, t \\sum w D,

    where :math:`g = m (3 - 2 m)` is how a change of the light goes through,
    :math:`B` the spot through which bright light is seen, and the last
    term that of a source that is seen the better, the brighter its pixels
    happen to be together: :math:`t` is the profile of a matched filter and
    :math:`D` what the kernel loses of the change. Widths and the factor
    were found on simulated stars and galaxies; see the benchmark
    ``flux_errors.py`` for how well that holds.

    Attributes
    ----------
    share : 2D `~numpy.ndarray`
        How far a change of a pixel goes through, about 0 to 1.1.

    raw : 2D `~numpy.ndarray`
        The part of a change that goes through as it is, and not through
        the spot, from 0 to 1.

    seen : 2D `~numpy.ndarray`
        The light that the network sees, in units of the usual noise.

    lost : 2D `~numpy.ndarray`
        What the kernel loses of the light that more light would show.

    spot : 2D `~numpy.ndarray`
        Of odd size, with the sum 1.

    reach : float
        Of a source, in pixels.
    """

    share: np.ndarray
    raw: np.ndarray
    seen: np.ndarray
    lost: np.ndarray
    spot: np.ndarray
    reach: float

    @classmethod
    def of(cls, light, variance, kernel, kept=None):
        """
        Find what was seen on a frame.

        Parameters
        ----------
        light : 2D `~numpy.ndarray`
            The denoised frame less its sky, finite.

        variance : 2D `~numpy.ndarray`
            Of the raw pixels; 0 where there are none.

        kernel : 2D `~numpy.ndarray`
            That of the network.

        kept : 2D bool `~numpy.ndarray`, optional
            Pixels that were kept as they were for other reasons than their
            light.

        Returns
        -------
        seen : `SeenLight`
            Of the frame.
        """
        planes = share, raw, seen, more = [
            np.zeros(light.shape, np.float32) for _ in range(4)]
        power = np.sum(kernel**2)
        least = _NOISE**2 * power
        # Whatever the unit, squares stay within single precision.
        usual = variance[::_STEP, ::_STEP]
        usual = usual[usual > 0]
        unit = np.sqrt(np.median(usual)) if len(usual) else 1.0

        def fill(rows):
            part = light[rows].astype(float, copy=False)
            noise = variance[rows]
            there = (part > 0) & (noise > 0) & (part * part > least * noise)
            if kept is not None:
                there |= kept[rows]
            found = _seen(part[there] / unit, noise[there] / unit**2,
                          None if kept is None else kept[rows][there])
            for plane, values in zip(planes, found, strict=True):
                plane[rows][there] = values

        map_strips(fill, strips(len(light)))
        width = 1.0 / np.sqrt(4.0 * np.pi * power)
        lost = more
        if more.any():
            lost = more - oaconvolve(more, kernel.astype(np.float32),
                                     mode='same')
        return cls(share, raw, seen, lost, _spot(_SPOT * width),
                   _SOURCE * width)

    def filtered(self, weights, kernel, box):
        """
        Compute the weights of the raw pixels in a sum.

        Parameters
        ----------
        weights : 2D `~numpy.ndarray`
            Of the denoised pixels of a box.

        kernel : 2D `~numpy.ndarray`
            As for `of`.

        box : tuple of int
            ``(x_low, x_high, y_low, y_high)``.

        Returns
        -------
        filtered : 2D `~numpy.ndarray`
            Of the box, larger by half a kernel on each side.
        """
        share, raw, lost = (_cut(plane, weights.shape, box)
                            for plane in (self.share, self.raw, self.lost))
        through = weights * share
        filtered = fftconvolve(weights - through, kernel)
        if not through.any():
            return filtered
        half = kernel.shape[0] // 2
        middle = convolve(through * (1.0 - raw), self.spot, mode='constant')
        inside = tuple(slice(half, half + length)
                       for length in weights.shape)
        filtered[inside] += middle + through * raw
        x_low, x_high, y_low, y_high = box
        seen = _cut(self.seen, filtered.shape, (
            x_low - half, x_high + half, y_low - half, y_high + half))
        return filtered + self._common(weights, lost, seen, half)

    def _common(self, weights, lost, seen, half):
        """Weights of the pixels that show more of a source together."""
        total = np.sum(np.abs(weights))
        y, x = (np.sum(np.abs(weights) * place) / total
                for place in np.indices(weights.shape))
        rows, columns = (np.arange(length) - half - center
                         for length, center in zip(seen.shape, (y, x),
                                                   strict=True))
        near = np.exp(-0.5 * (rows[:, np.newaxis]**2 + columns**2)
                      / self.reach**2)
        square = np.sum(seen**2 * near)
        if not square > 0:
            return 0.0
        inside = tuple(slice(half, half + length)
                       for length in weights.shape)
        change = np.sum(weights * lost * near[inside])
        # In proportion to what there is: not what the kernel brings from
        # far away.
        limit = _MOST * np.sum(np.abs(weights) * seen[inside] * near[inside])
        change = np.clip(change, -limit, limit)
        return _COMMON * change / square * seen * near


def _seen(light, variance, kept):
    """Compute for some pixels what `SeenLight` has of them."""
    square = np.maximum(light, 0.0)**2 / np.maximum(variance, 1e-30)
    believed = square / (square + FAINT)
    share = believed * (3.0 - 2.0 * believed)
    raw = square / (square + _BRIGHT**2)
    more = 2.0 * light * share * (1.0 - believed)
    if kept is not None:
        raw, share = np.maximum(raw, kept), np.maximum(share, kept)
    return share, raw, light * believed, more


def _cut(plane, shape, box):
    """Copy a box out of a plane, 0 where it leaves the plane."""
    pixels = np.zeros(shape)
    here, part = cutout(plane.shape, *box)
    if here is not None:
        pixels[part] = plane[here]
    return pixels


def _spot(width):
    """A Gaussian of sum 1."""
    reach = np.ceil(3.0 * width)
    line = np.arange(-reach, reach + 1)
    line = np.exp(-0.5 * (line / width)**2)
    return np.outer(line, line) / line.sum()**2
