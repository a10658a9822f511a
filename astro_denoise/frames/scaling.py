# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bring pixels into the range of single precision.
"""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ['Scale', 'sample_step', 'scaled', 'single_precision']

# Single precision, in which noise maps and networks compute, holds squares
# of numbers up to this and down to its inverse with some room.
_LARGEST_NUMBER = 1e30

# Values this many times their scatter away from 0 are too coarse in single
# precision.
_COARSE = 1e4

# A pixel that is farther from the others than this many times their scatter
# holds no measurement, nor does one whose noise is so much larger or smaller.
_FARTHEST = 1e10


def sample_step(size):
    """
    Step in both axes that leaves some 100,000 pixels of a plane.
    """
    return max(1, math.isqrt(size // 100_000))


@dataclass(frozen=True)
class Scale:
    """
    The range in which a plane is worked on.

    Parameters
    ----------
    exponent : int, optional
        The power of two by which pixels are divided, which is exact.

    center, spread : float, optional
        Median of the pixels after the division, and their scatter; 0 if it
        is not known.
    """

    exponent: int = 0
    center: float = 0.0
    spread: float = 0.0

    @property
    def limits(self):
        """The lowest and the highest value of a pixel that counts."""
        if not self.spread:
            return -_LARGEST_NUMBER, _LARGEST_NUMBER
        reach = _FARTHEST * self.spread
        return (max(self.center - reach, -_LARGEST_NUMBER),
                min(self.center + reach, _LARGEST_NUMBER))

    @property
    def pedestal(self):
        """Value subtracted before pixels are put in single precision."""
        if abs(self.center) < _COARSE * self.spread:
            return 0.0
        return self.center

    @property
    def noise_limits(self):
        """The least and the most noise of a pixel that counts."""
        if not self.spread:
            return 1 / _LARGEST_NUMBER, _LARGEST_NUMBER
        return (max(self.spread / _FARTHEST, 1 / _LARGEST_NUMBER),
                min(self.spread * _FARTHEST, _LARGEST_NUMBER))

    @classmethod
    def of_sample(cls, sample):
        """
        Find the range of a plane.

        Parameters
        ----------
        sample : 1D `~numpy.ndarray`
            Valid pixels from all over it.

        Returns
        -------
        scale : `Scale` or `None`
            `None` if all are zero.
        """
        size = np.abs(sample)
        if not size.any():
            return None
        exponent = int(np.frexp(np.median(size[size > 0]))[1])
        # of the noise, which is smaller, single precision must hold squares
        exponent = exponent if abs(exponent) >= 32 else 0
        sample = np.ldexp(sample.astype(float), -exponent)
        low, center, high = np.percentile(sample, [15.87, 50.0, 84.13])
        spread = (high - low) / 2.0
        if spread == 0:
            others = np.abs(sample[sample != center] - center)
            spread = np.median(others) if others.size else 0.0
        if not 0 < spread < np.inf:
            return cls(exponent)
        return cls(exponent, float(center), float(spread))

    def apply(self, values, valid, sigma):
        """
        Bring pixels and their noise into the range.

        Parameters
        ----------
        values : 2D `~numpy.ndarray`
            The pixels.

        valid : 2D bool `~numpy.ndarray`
            Changed in place: pixels that cannot be brought there with the
            others are not valid.

        sigma : 2D `~numpy.ndarray` or `None`
            Their noise.

        Returns
        -------
        values, sigma : 2D `~numpy.ndarray`
            Divided by the power of two.
        """
        if self.exponent:
            values = np.ldexp(values, -self.exponent)
            if sigma is not None:
                sigma = np.ldexp(sigma, -self.exponent)
        lowest, highest = self.limits
        held = (values < highest) & (values > lowest)
        if sigma is not None:
            least, most = self.noise_limits
            held &= (sigma < most) & (sigma > least)
        held |= ~valid
        if not held.all():
            valid &= held
            values = np.where(held, values, 0)
        return values, sigma


def scaled(array, exponent):
    """
    Multiply by a power of two, in double precision where it is not 0.
    """
    if not exponent:
        return array
    return np.ldexp(np.asarray(array, float), exponent)


def single_precision(values, pedestal=0.0):
    """
    Put pixels into single precision.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The pixels.

    pedestal : float, optional
        Taken off in double precision; of pixels that are in single
        precision nothing is.

    Returns
    -------
    values : `~numpy.ndarray`
        As float32; those given where they are.
    """
    if values.dtype == np.float32:
        return np.ascontiguousarray(values)
    return (values - pedestal).astype(np.float32)
