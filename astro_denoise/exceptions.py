# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Warnings and errors of the package.
"""

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['CorrelatedNoiseWarning', 'NoiseEstimateWarning', 'WeightsError']


class NoiseEstimateWarning(AstropyUserWarning):
    """
    The noise of a frame is not what it should be, or cannot be estimated.
    """


class CorrelatedNoiseWarning(AstropyUserWarning):
    """
    The noise of neighbouring pixels is correlated.
    """


class WeightsError(ValueError):
    """
    A file of weights is not what it should be.
    """
