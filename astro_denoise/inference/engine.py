# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run a denoising network over a frame of any size.

Where it can, the network goes down the frame some rows at a time, and
nothing is computed twice; a frame too wide for that is cut into tiles, as
is any for a network that knows no rows.
"""

import copy
import logging

import numpy as np
import torch

from ..frames.windows import plan_tiles
from ..models.denoiser import psf_context
from .rows import RowStream

__all__ = ['denoise_plane', 'denoise_windows', 'placed']

logger = logging.getLogger(__name__)

# Pixels of the rows worked on at a time. On the processor, no plane is then
# larger than 32 MiB: larger ones are given back to the system and asked for
# again by each layer, which takes as long as the layer. A CUDA device wants
# more work at once.
_WINDOW_PIXELS = {'cpu': 5 * 2**17, 'cuda': 2**24}

_SMALLEST_WINDOW = 2**14

# Pixels of a tile for a network that cannot go down a frame.
_LARGEST_TILE = 2**21

# With fewer rows, the few that each layer computes twice would count for
# more than the halo of a tile.
_FEWEST_ROWS = 128


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


def _cut(plane, rows, columns, shape, fill=0.0):
    """A float32 copy of a window, padded where it leaves the plane."""
    part = plane[rows, columns]
    if part.shape == shape:
        return np.array(part, dtype=np.float32)
    whole = np.full(shape, fill, dtype=np.float32)
    whole[:part.shape[0], :part.shape[1]] = part
    return whole


def denoise_plane(network, values, valid, background, sigma, level, *,
                  fwhm=None, electrons=None, device, dtype,
                  window_pixels=None, progress=None):
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

    fwhm, electrons, device, dtype, window_pixels, progress : optional
        As for `denoise_windows`.

    Returns
    -------
    denoised, error : 2D `~numpy.ndarray`
        The denoised frame in the type of ``values``, and the standard
        deviation of its error (float32).
    """
    denoised = np.empty(values.shape, dtype=values.dtype)
    error = np.empty(values.shape, dtype=np.float32)

    def write(rows, columns, *answer):
        denoised[rows, columns], error[rows, columns] = answer

    denoise_windows(network, (values, valid, background, sigma), level,
                    write, fwhm=fwhm, electrons=electrons, device=device,
                    dtype=dtype, window_pixels=window_pixels,
                    progress=progress)
    return denoised, error


def denoise_windows(network, planes, level, write, *, fwhm=None,
                    electrons=None, device, dtype, window_pixels=None,
                    progress=None):
    """
    Denoise one frame, and hand over each part when it is done.

    Parameters
    ----------
    network : `torch.nn.Module`
        As `~astro_denoise.models.denoiser.CCDDenoiser`, on ``device``.

    planes : tuple
        The frame, its valid pixels, background and noise map: arrays, or
        what else has a ``shape`` and gives arrays for slices of rows and
        columns.

    level : float
        Noise of the blank sky.

    write : callable
        Called with slices of rows and of columns, the denoised pixels
        there, and the standard deviation of their error. Where memory
        does not suffice the frame is begun anew, and parts come again.

    fwhm : float, optional
        Full width at half maximum of the point sources in pixels.

    electrons : tuple of float, optional
        Gain, read noise and pedestal, where the noise map was made from the
        frame: it does not know the photons of faint compact sources.

    device : `torch.device`
        Where to compute.

    dtype : `torch.dtype`
        Precision of the convolutions.

    window_pixels : int, optional
        Pixels of the rows worked on at a time; halved for as long as
        memory does not suffice.

    progress : callable, optional
        Called with the share of the frame that each step finished.
    """
    shape = planes[0].shape
    if window_pixels is None:
        window_pixels = _WINDOW_PIXELS.get(device.type, 2**20)
    context = torch.tensor([psf_context(fwhm)], dtype=torch.float32,
                           device=device)

    in_rows = hasattr(network, 'encoded')
    while True:
        size = _window_size(shape, window_pixels, in_rows)
        plan = plan_tiles(shape, size, halo=network.reach,
                          stride=network.stride)
        n_rows = window_pixels // plan.window_shape[1]
        n_rows = max(n_rows // network.stride, 1) * network.stride
        answers_of = _go_down if in_rows else _at_once
        done = 0.0
        try:
            for tile in plan.tiles:
                for part in _denoised_rows(
                        answers_of(network, tile, plan.window_shape, n_rows,
                                   planes, level, context, device, dtype),
                        tile, planes, level, electrons, write):
                    share = part / len(plan.tiles)
                    done += share
                    if progress is not None:
                        progress(share)
        except (RuntimeError, MemoryError) as failure:
            if (not _is_out_of_memory(failure)
                    or window_pixels <= _SMALLEST_WINDOW):
                raise
            if device.type == 'cuda':
                torch.cuda.empty_cache()
            # The frame is cut anew: what is done is done again.
            if progress is not None:
                progress(-done)
            window_pixels //= 2
            logger.warning('out of memory on %s: going on with windows of '
                           '%d pixels', device, window_pixels)
        else:
            return


def _window_size(shape, n_pixels, in_rows):
    """Sides of the windows: the whole height where a network can do it."""
    if in_rows:
        return shape[0], n_pixels // _FEWEST_ROWS
    # As wide as the frame unless that makes it too low: less halo.
    n_pixels = min(n_pixels, _LARGEST_TILE)
    nx = shape[1]
    width = nx if nx * 768 <= n_pixels else int(n_pixels**0.5)
    return max(n_pixels // width, 1), width


def _standardised(planes, rows, columns, shape, level):
    """The input of a network, for the part of a frame in a window."""
    values, valid, background, sigma = planes
    rows = slice(rows.start, min(rows.stop, values.shape[0]))
    columns = slice(columns.start, min(columns.stop, values.shape[1]))
    stack = np.empty((1, 3, *shape), np.float32)
    x, log_sigma, weight = stack[0]
    noise_map = _cut(sigma, rows, columns, shape, fill=level)
    weight[...] = _cut(valid, rows, columns, shape)
    # The difference is taken in the precision of the frame.
    x[...] = _cut(values[rows, columns] - background[rows, columns],
                  slice(None), slice(None), shape)
    x /= noise_map
    x *= weight
    np.divide(noise_map, np.float32(level), out=log_sigma)
    np.log(log_sigma, out=log_sigma)
    log_sigma *= weight
    return torch.from_numpy(stack)


def _sent(stack, device):
    """A stack on its device; the processor does not wait for a GPU."""
    if device.type == 'cuda':
        return stack.pin_memory().to(device, non_blocking=True)
    return stack.to(device)


def _go_down(network, tile, shape, n_rows, planes, level, context, device,
             dtype):
    """Noise and log variance of a window, some rows at a time."""
    stream = RowStream(network, shape[0], context, dtype)
    for start in range(0, shape[0], n_rows):
        rows = slice(start, min(start + n_rows, shape[0]))
        stack = _standardised(planes, rows, tile.window[1],
                              (rows.stop - start, shape[1]), level)
        with torch.inference_mode():
            yield stream.push(_sent(stack, device))


def _at_once(network, tile, shape, n_rows, planes, level, context, device,
             dtype):
    """Noise and log variance of a window as a whole."""
    stack = _sent(_standardised(planes, *tile.window, shape, level), device)
    with torch.inference_mode():
        answers = network(*stack.split(1, 1), context, dtype=dtype)
    core, start = tile.core[0], tile.window[0].start
    inside = slice(core.start - start, core.stop - start)
    yield core, *(answer[:, :, inside] for answer in answers)


def _denoised_rows(answers, tile, planes, level, electrons, write):
    """Write answers for a tile, and yield the share of it that is done."""
    values, _, background, sigma = planes
    core, start = tile.core[1], tile.window[1].start
    inside = slice(core.start - start, core.stop - start)
    height = tile.core[0].stop - tile.core[0].start
    for done, *answer in answers:
        done = slice(done.start, min(done.stop, values.shape[0]))
        n_done = done.stop - done.start
        if not n_done:
            continue
        noise, log_variance = (plane[0, 0, :n_done, inside].cpu().numpy()
                               for plane in answer)
        noise_map = sigma[done, core]
        denoised = values[done, core] - noise_map * noise
        if electrons is not None:
            noise_map = _with_photons(noise_map, denoised, background[
                done, core], level, *electrons)
        write(done, core, denoised, noise_map * np.exp(0.5 * log_variance))
        yield n_done / height


def _with_photons(noise_map, denoised, background, level, gain, read_noise,
                  pedestal):
    """
    A noise map that has the photons of what was found, at least.

    A map that is made from a frame follows a source only where the mean of
    a few pixels tells it, which a compact one of a few sigmas does not.
    What is below 1 sigma may be noise itself.
    """
    photons = (denoised - pedestal).astype(np.float32)
    np.maximum(photons, 0.0, out=photons)
    photons *= np.float32(1.0 / gain)
    photons += np.float32((read_noise / gain)**2)
    np.sqrt(photons, out=photons)
    photons -= noise_map
    np.maximum(photons, 0.0, out=photons)
    found = (denoised - background).astype(np.float32)
    found *= np.float32(1.0 / level)
    photons *= np.clip(found, 0.0, 1.0, out=found)
    photons += noise_map
    return photons
