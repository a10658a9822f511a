# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Passes of a denoiser over single pixels and features, compiled where that pays.
"""

import numpy as np
import torch

from ..frames.kernel_card import FAINT
from ..models.denoiser import LARGEST_NOISE, fwhm_of
from ..models.error_calibration import KNOT_STEP, calibration_knots
from ..models.layers import all_count
from ..models.lone_pixels import LONE, least_support
from ..models.restoring_kernels import restored
from ..noise.compiling import compiling_pays
from ..noise.strips import map_strips

__all__ = ['CompiledPasses', 'elementwise_of']

# Rows, an even number: what is between them stays in the cache. Of features,
# a row is all that is between.
_STRIP = 32
_JOINED = 8


def elementwise_of(network, shape, device, outermost=torch.float32):
    """
    Choose who works on the single pixels of a plane.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network.

    shape : tuple of int
        Of the plane.

    device : `torch.device`
        Where the network is.

    outermost : `torch.dtype`, optional
        The precision of the outermost level.

    Returns
    -------
    elementwise : object
        What has the methods ``features``, ``joined``, ``estimated`` and
        ``finished`` of the network: itself, or `CompiledPasses` for a large
        plane on the processor if numba is installed.
    """
    usual = network.lone_pixels and network.shuffle == 2 and not network.gated
    if device.type == 'cpu' and usual and compiling_pays(shape):
        return CompiledPasses(network, outermost)
    return network


class CompiledPasses:
    """
    The methods of a denoiser that work on single pixels, compiled by numba.

    The answers are those of the network up to rounding, one plane at a time.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network, on the processor and not in training.

    outermost : `torch.dtype`, optional
        Of the features: the precision of the outermost level.
    """

    def __init__(self, network, outermost=torch.float32):
        from . import compiled_levels, compiled_passes

        self._levels, self._passes = compiled_levels, compiled_passes
        self._network = network
        self._outermost = outermost
        self._calibration = network.calibration.numpy()
        self._scale = network.calibration_scale
        self._knots = (np.float32(calibration_knots(self._scale)[0]),
                       np.float32(KNOT_STEP))

    def features(self, x, log_sigma, valid):
        """Make features, as the network does."""
        height, width = x.shape[2] // 2, x.shape[3] // 2
        features = torch.empty(1, height, width, 16, dtype=self._outermost)
        planes = _planes(x, log_sigma, valid)
        everywhere = all_count(valid)
        halves = self._outermost == torch.bfloat16
        out = _channels_last(features.permute(0, 3, 1, 2))

        def fill(first, stop):
            part = out[first // 2:stop // 2]
            made = np.empty(part.shape, np.float32) if halves else part
            self._passes.feature_rows(*planes, everywhere, first, stop, made)
            if halves:
                self._levels.rounded_to_halves(
                    made.reshape(-1).view(np.int32), part.reshape(-1))

        _by_rows(fill, 2 * height)
        return features.permute(0, 3, 1, 2)

    def joined(self, level, features, rows, skips, dtype):
        """Add skips to rows of enlarged features, as the network does."""
        network = self._network
        if dtype != torch.bfloat16:
            return network.joined(level, features, rows, skips, dtype)
        small = _channels_last(network.projected(level, features,
                                                 dtype).float())
        n_rows = sum(skip.shape[2] for _, skip in skips)
        answer = torch.empty(1, n_rows, 2 * small.shape[1], small.shape[2],
                             dtype=dtype).permute(0, 3, 1, 2)
        for first, skip in skips:
            parts = _channels_last(skip), _channels_last(
                answer[:, :, first:first + skip.shape[2]])
            row = rows.start + first
            map_strips(lambda strip, row=row, parts=parts: (
                self._levels.joined_rows(small, row, parts[0], strip.start,
                                         strip.stop, parts[1])),
                _strips(skip.shape[2], _JOINED))
        return answer

    def estimated(self, answer, x, valid):
        """Unpack noise and log variance, as the network does."""
        noise, log_variance = torch.empty_like(valid), torch.empty_like(valid)
        answer = answer.permute(0, 2, 3, 1)[0].numpy()
        planes = _planes(valid, noise, log_variance)

        def fill(first, stop):
            self._passes.unpacked_rows(answer, planes[0],
                                       np.float32(LARGEST_NOISE), first, stop,
                                       *planes[1:])

        _by_rows(fill, valid.shape[2])
        return noise, log_variance

    def finished(self, noise, log_variance, x, log_sigma, valid, context):
        """Restore the flux and calibrate the errors, as the network does."""
        network = self._network
        kernel, faint, scatter = None, 0.0, 0.0
        if network.config['kernel_fwhms']:
            kernel, faint = network.kernel_of(context), FAINT
            scatter = float(kernel.square().sum().log())
        support = np.float32(least_support(fwhm_of(context))[0])
        numbers = (tuple(map(np.float32, LONE)), np.float32(faint),
                   np.float32(scatter))
        everywhere = all_count(valid)
        given = _planes(noise, log_variance, x, valid)
        noise, log_variance = torch.empty_like(x), torch.empty_like(x)
        found = _planes(noise, log_variance)

        def find(first, stop):
            self._passes.found_rows(given, everywhere, support, *numbers,
                                    first, stop, *found)

        _by_rows(find, x.shape[2])
        flux = (torch.zeros_like(x) if kernel is None
                else restored(noise, valid, kernel))
        given = (*found, *_planes(x, flux))
        relative = torch.exp(log_sigma)[0, 0].numpy()

        def calibrate(first, stop):
            self._passes.calibrated_rows(
                given, relative, self._calibration, self._knots,
                np.float32(self._scale), first, stop, *found)

        _by_rows(calibrate, x.shape[2])
        return noise, log_variance


def _planes(*planes):
    """Give tensors as arrays of the same memory."""
    return tuple(plane[0, 0].numpy() for plane in planes)


def _channels_last(features):
    """Give a tensor as an array (rows, columns, channels) of its memory."""
    features = features.permute(0, 2, 3, 1)[0]
    if features.dtype == torch.bfloat16:
        features = features.view(torch.int16)
    return features.numpy()


def _by_rows(function, n_rows):
    """Share an even number of rows among threads."""
    map_strips(lambda rows: function(rows.start, rows.stop),
               _strips(n_rows, _STRIP))


def _strips(n_rows, size):
    """Cut rows into strips."""
    return [slice(first, min(first + size, n_rows))
            for first in range(0, n_rows, size)]
