# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare two exposures that should show the same sky.
"""

from dataclasses import dataclass

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma, mad_std
from scipy import fft
from scipy.ndimage import (
    gaussian_filter,
    label,
    maximum_filter,
    uniform_filter,
)

__all__ = ['ANY_FWHM', 'FieldShift', 'color_scatter', 'find_shift',
           'shared_noise']

ANY_FWHM = 3.0  # pixels, where the seeing is not known

_RING = np.ones((3, 3), bool)
_RING[1, 1] = False

_THRESHOLD = 5.0     # S/N of what is taken for a source
_FEWEST = 3          # sources that make a shift
_MATCHED = 0.3       # share of the sources in both exposures, at least
_OTHER_FIELD = 0.2   # share below which it is not the same field
_ENOUGH = 10         # sources from which on that can be told
_BLANK = 3.0         # largest signal of blank sky, in sigmas
_BRIGHT = 15.0       # S/N of the sources whose fluxes are compared
_MOST = 2_000_000    # pixels that noise is compared of


@dataclass(frozen=True)
class FieldShift:
    """
    Shift of one exposure against another.

    Attributes
    ----------
    shift : tuple of float or `None`
        Rows and columns, in pixels; `None` where it cannot be told.

    same_field : bool
        `False` if both have sources, and no shift brings them together.
    """

    shift: tuple | None
    same_field: bool = True

    @property
    def size(self):
        """Length of the shift in pixels, 0 where it is not known."""
        return 0.0 if self.shift is None else float(np.hypot(*self.shift))


def _sources(signal, fwhm):
    """
    Sources of similar weight on a blank sky, and how many there are.

    Without what is narrower than the seeing, as hot pixels, which do not
    move with the sky, and without what is wider.
    """
    plane = np.nan_to_num(signal, nan=0.0, posinf=0.0, neginf=0.0)
    plane = np.minimum(plane, maximum_filter(plane, footprint=_RING))
    width = fwhm * gaussian_fwhm_to_sigma
    smooth = (gaussian_filter(plane, width)
              - gaussian_filter(plane, 4.0 * width))
    noise = mad_std(smooth[::2, ::2])
    if not noise > 0:
        return np.zeros_like(smooth), 0
    found = np.log(np.maximum(smooth / (_THRESHOLD * noise), 1.0))
    return found, label(found > 0)[1]


def find_shift(first, second, fwhm=None):
    """
    Find the shift between two exposures by the correlation of their sources.

    Parameters
    ----------
    first, second : 2D `~numpy.ndarray`
        Exposures of one shape without their background, NaN where they
        are not valid.

    fwhm : float, optional
        Of the point-spread function in pixels.

    Returns
    -------
    found : `FieldShift`
        The shift of the second against the first.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.training.registration import find_shift
    >>> y, x = np.mgrid[:64, :64]
    >>> first = np.random.default_rng(1).normal(size=(64, 64))
    >>> for row, column in ((15, 20), (30, 50), (50, 30)):
    ...     first += 50 * np.exp(-((x - column)**2 + (y - row)**2) / 4)
    >>> found = find_shift(first, np.roll(first, (3, -2), (0, 1)))
    >>> print(np.round(found.shift).tolist())
    [3.0, -2.0]
    """
    planes, numbers = zip(*(
        _sources(np.asarray(plane, np.float32), fwhm or ANY_FWHM)
        for plane in (first, second)), strict=True)
    if min(numbers) < _FEWEST:
        return FieldShift(None)
    shape = [fft.next_fast_len(n, real=True) for n in first.shape]
    power = min(float((plane**2).sum()) for plane in planes)
    one, other = (fft.rfft2(plane - plane.mean(), shape) for plane in planes)
    correlation = fft.irfft2(other * one.conj(), shape) / power
    peak = np.unravel_index(correlation.argmax(), correlation.shape)
    matched = float(correlation[peak])
    if matched < _MATCHED or matched * min(numbers) < 0.8 * _FEWEST:
        return FieldShift(None, matched >= _OTHER_FIELD
                          or min(numbers) < _ENOUGH)
    return FieldShift(tuple(
        _refined(np.take(correlation, range(place - 1, place + 2), axis,
                         mode='wrap').take(peak[1 - axis], 1 - axis),
                 place, correlation.shape[axis])
        for axis, place in enumerate(peak)))


def _refined(values, place, length):
    """The top of a parabola through three values, as a signed shift."""
    before, here, after = values
    curvature = before + after - 2.0 * here
    place = place + (0.5 * (before - after) / curvature if curvature else 0.0)
    return float(place - length if place > length / 2 else place)


def shared_noise(first, second):
    """
    Find the correlation of the noise of two exposures.

    Parameters
    ----------
    first, second : 2D `~numpy.ndarray`
        As for `find_shift`.

    Returns
    -------
    correlation : float
        Of the differences of neighboring pixels of blank sky: 0 for
        independent noise, 1 for the same exposure, NaN where there is too
        little blank sky.
    """
    rows = slice(0, max(1, _MOST // first.shape[1]))
    planes = [np.asarray(plane[rows]) for plane in (first, second)]
    blank = np.logical_and(*(np.abs(plane) < _BLANK for plane in planes))
    blank = blank[:, 1:] & blank[:, :-1]
    if np.count_nonzero(blank) < 100:
        return np.nan
    steps = [np.diff(plane, axis=1)[blank] for plane in planes]
    if not all(step.any() for step in steps):
        return np.nan
    return float(np.corrcoef(*steps)[0, 1])


def color_scatter(first, second, fwhm=None):
    """
    Find how much the ratio of the fluxes differs from source to source.

    Parameters
    ----------
    first, second : 2D `~numpy.ndarray`
        As for `find_shift`.

    fwhm : float, optional
        Of the point-spread function in pixels.

    Returns
    -------
    scatter : float
        Of the logarithm of the ratio, without what noise makes of it; NaN
        where there are too few bright sources.
    """
    side = 2 * round(fwhm or ANY_FWHM) + 1
    fluxes = [uniform_filter(np.nan_to_num(plane), side) * side
              for plane in (first, second)]
    total = np.minimum(*fluxes)
    tops = (total > _BRIGHT) & (total == maximum_filter(total, 2 * side + 1))
    if np.count_nonzero(tops) < _ENOUGH:
        return np.nan
    one, other = (flux[tops] for flux in fluxes)
    ratio = np.log(other / one)
    return float(np.sqrt(max(
        mad_std(ratio)**2 - np.median(one**-2.0 + other**-2.0), 0.0)))
