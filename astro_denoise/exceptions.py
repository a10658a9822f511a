# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Warnings and errors of the package.
"""

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['CorrelatedNoiseWarning', 'CountsWarning', 'NoiseEstimateWarning',
           'ProcessedFrameWarning', 'SkippedImageWarning',
           'UnusualImageWarning', 'WeightsError', 'WeightsWarning']


class NoiseEstimateWarning(AstropyUserWarning):
    """
    The noise of a frame is not what it should be, or cannot be estimated.
    """


class CorrelatedNoiseWarning(AstropyUserWarning):
    """
    The noise of neighbouring pixels is correlated.
    """


class CountsWarning(AstropyUserWarning):
    """
    An image that should hold counts holds something else.
    """


class ProcessedFrameWarning(AstropyUserWarning):
    """
    A frame is not raw: it was denoised before.
    """


class SkippedImageWarning(AstropyUserWarning):
    """
    Images of a file that may be of the sky are left as they are.
    """


class UnusualImageWarning(AstropyUserWarning):
    """
    An image is unlike those that a model was trained on.
    """


class WeightsError(ValueError):
    """
    A file of weights is not what it should be.
    """


class WeightsWarning(AstropyUserWarning):
    """
    A file of weights that came with the package cannot be used.
    """
