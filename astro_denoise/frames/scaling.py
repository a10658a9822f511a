# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Bring pixels into the range of single precision.
"""

import math

import numpy as np

__all__ = ['in_range', 'sample_exponent', 'sample_step', 'scaled']


# Single precision, in which noise maps and networks compute, holds squares
# of numbers up to this and down to its inverse with some room.
_LARGEST_NUMBER = 1e30


def sample_step(size):
    """
    Step in both axes that leaves some 100,000 pixels of a plane.
    """
    return max(1, math.isqrt(size // 100_000))


def sample_exponent(sample):
    """
    The power of two that brings pixels into the range of single precision.

    0 where they are in it; `None` where all are zero.
    """
    sample = np.abs(sample)
    if not sample.any():
        return None
    exponent = int(np.frexp(np.median(sample[sample > 0]))[1])
    return exponent if abs(exponent) >= 64 else 0


def in_range(values, valid, sigma, exponent):
    """
    Bring pixels and their noise into the range of single precision.

    Pixels that cannot be brought there with the others are marked as not
    valid, in place. The division by a power of two is exact.
    """
    if exponent:
        values = np.ldexp(values, -exponent)
        sigma = None if sigma is None else np.ldexp(sigma, -exponent)
    held = (values < _LARGEST_NUMBER) & (values > -_LARGEST_NUMBER)
    if sigma is not None:
        held &= (sigma < _LARGEST_NUMBER) & (sigma > 1 / _LARGEST_NUMBER)
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
