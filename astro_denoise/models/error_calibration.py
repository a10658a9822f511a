# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Calibration of the errors that networks for CCD frames state.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F

from .layers import asinh

__all__ = ['KNOT_STEP', 'calibration_knots', 'variance_correction']

# Signals over the noise between which errors are calibrated.
_LEAST_SIGNAL, _LARGEST_SIGNAL = math.sinh(-1.0), math.sinh(7.0)

#: Distance of the knots in asinh of them.
KNOT_STEP = 0.4


def calibration_knots(scale=1.0):
    """
    Compute the knots between which errors are calibrated.

    Parameters
    ----------
    scale : float, optional
        The ``calibration_scale`` of a
        `~astro_denoise.models.denoiser.CCDDenoiser`.

    Returns
    -------
    knots : `~numpy.ndarray`
        In asinh of the denoised signal over the noise of the sky and
        over ``scale``.

    Examples
    --------
    >>> from astro_denoise.models.error_calibration import calibration_knots
    >>> print(calibration_knots()[:3].round(3))
    [-1.  -0.6 -0.2]
    """
    first = math.asinh(_LEAST_SIGNAL / scale)
    last = math.asinh(_LARGEST_SIGNAL / scale)
    return first + KNOT_STEP * np.arange(
        round((last - first) / KNOT_STEP) + 1)


def variance_correction(signal, calibration, scale=1.0):
    """
    Interpolate the correction of the logarithm of the variance.

    Parameters
    ----------
    signal : `torch.Tensor`
        Shape (n, 1, ny, nx): the denoised signal in units of the noise of
        blank sky. Its means over 2x2 pixels count.

    calibration : `torch.Tensor`
        The correction at each of the `calibration_knots`.

    scale : float, optional
        Of the knots.

    Returns
    -------
    correction : `torch.Tensor`
        Shape of ``signal``.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.error_calibration import (
    ...     calibration_knots, variance_correction)
    >>> knots = torch.from_numpy(calibration_knots()).float()
    >>> signal = torch.full((1, 1, 2, 2), 3.0)
    >>> print(variance_correction(signal, 2.0 * knots)[0, 0, 0, 0])
    tensor(3.6369)
    """
    signal = asinh(F.avg_pool2d(signal, 2) / scale)
    first = math.asinh(_LEAST_SIGNAL / scale)
    # What is not a number has no place, and stays none in the end.
    place = ((signal - first) / KNOT_STEP).nan_to_num_(0.0).clamp_(
        0.0, len(calibration) - 1.001)
    lower = place.long()
    correction = torch.lerp(calibration[lower], calibration[lower + 1],
                            place - lower)
    return F.interpolate(correction, scale_factor=2, mode='nearest')
