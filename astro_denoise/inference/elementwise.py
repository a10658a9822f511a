# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Passes of a denoiser over single pixels, compiled where that pays.
"""

import numpy as np
import torch

from ..models.denoiser import FAINT, LARGEST_NOISE, fwhm_of
from ..models.error_calibration import KNOT_STEP, calibration_knots
from ..models.layers import all_count
from ..models.lone_pixels import LONE, least_support
from ..models.restoring_kernels import restored
from ..noise.compiling import compiling_pays
from ..noise.strips import map_strips

__all__ = ['CompiledPasses', 'elementwise_of']

_STRIP = 32   # rows, an even number: what is between them stays in the cache


def elementwise_of(network, shape, device):
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

    Returns
    -------
    elementwise : object
        What has the methods ``features``, ``estimated`` and ``finished`` of
        the network: itself, or `CompiledPasses` for a large plane on the
        processor if numba is installed.
    """
    usual = network.lone_pixels and network.shuffle == 2 and not network.gated
    if device.type == 'cpu' and usual and compiling_pays(shape):
        return CompiledPasses(network)
    return network


class CompiledPasses:
    """
    The methods of a denoiser that work on single pixels, compiled by numba.

    The answers are those of the network up to rounding, one plane at a time.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network, on the processor and not in training.
    """

    def __init__(self, network):
        from . import compiled_passes

        self._passes = compiled_passes
        self._network = network
        self._calibration = network.calibration.numpy()
        self._scale = network.calibration_scale
        self._knots = (np.float32(calibration_knots(self._scale)[0]),
                       np.float32(KNOT_STEP))

    def features(self, x, log_sigma, valid):
        """Make features, as the network does."""
        height, width = x.shape[2] // 2, x.shape[3] // 2
        features = torch.empty(1, height, width, 16)
        planes = _planes(x, log_sigma, valid)
        everywhere = all_count(valid)

        def fill(first, stop):
            self._passes.feature_rows(*planes, everywhere, first, stop,
                                      features[0].numpy())

        _by_rows(fill, 2 * height)
        return features.permute(0, 3, 1, 2)

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


def _by_rows(function, n_rows):
    """Share an even number of rows among threads."""
    map_strips(lambda rows: function(rows.start, rows.stop), [
        slice(first, min(first + _STRIP, n_rows))
        for first in range(0, n_rows, _STRIP)])
