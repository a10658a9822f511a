# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run a denoising network over a frame of any size, tile by tile.
"""

import copy
import logging

import numpy as np
import torch

from ..models.denoiser import psf_context
from .tiles import plan_tiles

__all__ = ['denoise_plane', 'placed']

logger = logging.getLogger(__name__)

# Pixels of a window. On the processor, about 300 bytes a pixel are in use
# at the peak, and larger windows gain little; a CUDA device wants more work
# at once.
_WINDOW_PIXELS = {'cpu': 2**21, 'cuda': 2**24}

_SMALLEST_WINDOW = 2**14


def placed(network, device):
    """
    A network on a device, laid out as its convolutions are fastest.

    Parameters
    ----------
    network : `torch.nn.Module`
        The network; stays where it is.

    device : `torch.device`
        Where to compute.

    Returns
    -------
    network : `torch.nn.Module`
        The network itself if it is there already, else a copy.
    """
    here = next(network.parameters()).device
    if device == here:
        return network
    return copy.deepcopy(network).to(device=device,
                                     memory_format=torch.channels_last)


def _is_out_of_memory(error):
    """Whether torch ran out of memory, on a GPU or on the processor."""
    return (isinstance(error, (torch.OutOfMemoryError, MemoryError))
            or "can't allocate memory" in str(error)
            or 'not enough memory' in str(error))


def _window_size(shape, n_pixels, stride):
    """A window of about so many pixels, as wide as the frame if it may."""
    nx = shape[1]
    width = nx if nx * 768 <= n_pixels else int(n_pixels**0.5)
    return max(n_pixels // width, stride), width


def _cut(plane, window, shape, fill=0.0):
    """A float32 copy of a window, padded where it leaves the plane."""
    rows, columns = window
    part = plane[rows.start:rows.stop, columns.start:columns.stop]
    if part.shape == shape:
        return np.array(part, dtype=np.float32)
    whole = np.full(shape, fill, dtype=np.float32)
    whole[:part.shape[0], :part.shape[1]] = part
    return whole


def _predict(network, planes, context, device, dtype):
    """Noise and log variance in one window, as arrays."""
    tensors = [torch.from_numpy(plane)[None, None].to(device)
               for plane in planes]
    with torch.inference_mode():
        noise, log_variance = network(*tensors, context, dtype=dtype)
    return (noise[0, 0].cpu().numpy(), log_variance[0, 0].cpu().numpy())


def denoise_plane(network, values, valid, background, sigma, level, *,
                  fwhm=None, device, dtype, window_pixels=None,
                  progress=None):
    """
    Denoise one frame.

    Parameters
    ----------
    network : `torch.nn.Module`
        As `~astro_denoise.models.denoiser.CCDDenoiser`, on ``device``.

    values, valid, background, sigma : 2D `~numpy.ndarray`
        The frame, its valid pixels, background and noise map.

    level : float
        Noise of the blank sky.

    fwhm : float, optional
        Full width at half maximum of the point sources in pixels.

    device : `torch.device`
        Where to compute.

    dtype : `torch.dtype`
        Precision of the convolutions.

    window_pixels : int, optional
        Pixels of a window; halved for as long as memory does not
        suffice.

    progress : callable, optional
        Called with the share of the frame that each step finished.

    Returns
    -------
    denoised, error : 2D `~numpy.ndarray`
        The denoised frame in the type of ``values``, and the standard
        deviation of its error (float32).
    """
    if window_pixels is None:
        window_pixels = _WINDOW_PIXELS.get(device.type, 2**20)
        if dtype == torch.float32:
            window_pixels = window_pixels * 7 // 8  # more memory a pixel
    context = torch.tensor([psf_context(fwhm)], dtype=torch.float32,
                           device=device)
    denoised = np.empty(values.shape, dtype=values.dtype)
    error = np.empty(values.shape, dtype=np.float32)

    while True:
        plan = plan_tiles(
            values.shape,
            _window_size(values.shape, window_pixels, network.stride),
            halo=network.reach, stride=network.stride)
        done = 0
        try:
            for tile in plan.tiles:
                _denoise_tile(network, tile, plan.window_shape,
                              (values, valid, background, sigma), level,
                              context, device, dtype, (denoised, error))
                done += 1
                if progress is not None:
                    progress(1.0 / len(plan.tiles))
        except (RuntimeError, MemoryError) as failure:
            if (not _is_out_of_memory(failure)
                    or window_pixels <= _SMALLEST_WINDOW):
                raise
            if device.type == 'cuda':
                torch.cuda.empty_cache()
            # The new windows are cut anew: tiles done are done again.
            if progress is not None:
                progress(-done / len(plan.tiles))
            window_pixels //= 2
            logger.warning('out of memory on %s: going on with windows of '
                           '%d pixels', device, window_pixels)
        else:
            return denoised, error


def _denoise_tile(network, tile, shape, planes, level, context, device,
                  dtype, outputs):
    values, valid, background, sigma = planes
    rows, columns = tile.window
    window = (slice(rows.start, min(rows.stop, values.shape[0])),
              slice(columns.start, min(columns.stop, values.shape[1])))
    weight = _cut(valid, tile.window, shape)
    noise_map = _cut(sigma, tile.window, shape, fill=level)
    # The difference is taken in the precision of the frame.
    x = _cut(values[window] - background[window],
             (slice(0, shape[0]), slice(0, shape[1])), shape)
    x /= noise_map
    x *= weight
    log_sigma = np.log(noise_map / np.float32(level)) * weight
    noise, log_variance = _predict(network, (x, log_sigma, weight), context,
                                   device, dtype)

    inside = tuple(slice(core.start - part.start, core.stop - part.start)
                   for core, part in zip(tile.core, tile.window, strict=True))
    noise_map = noise_map[inside]
    denoised, error = outputs
    denoised[tile.core] = values[tile.core] - noise_map * noise[inside]
    error[tile.core] = noise_map * np.exp(0.5 * log_variance[inside])
