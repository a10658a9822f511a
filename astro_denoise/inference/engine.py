# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run a denoising network over a frame of any size.

Where it can, the network goes down the frame some rows at a time, and
nothing is computed twice; a frame too wide for that is cut into tiles, as
is any for a network that knows no rows.
"""

import math

import numpy as np
import torch

from ..frames.windows import plan_tiles
from ..models.denoiser import psf_context
from ..noise.strips import map_strips, strips
from .answers import check_answers
from .elementwise import elementwise_of
from .memory import run_within_memory
from .rows import RowStream
from .structure import BLOCK, keep_structure

__all__ = ['denoise_windows']

# Pixels of the rows worked on at a time. On the processor, no plane is then
# larger than 32 MiB: larger ones are given back to the system and asked for
# again by each layer, which takes as long as the layer. A CUDA device wants
# more work at once.
_WINDOW_PIXELS = {'cpu': 5 * 2**17, 'cuda': 2**24}

# Pixels of a tile for a network that cannot go down a frame.
_LARGEST_TILE = 2**21

# With fewer rows, the few that each layer computes twice would count for
# more than the halo of a tile.
_FEWEST_ROWS = 128

_LARGEST = 1e10  # of a pixel, in units of its noise


def _cut(plane, rows, columns, whole, fill=0.0):
    """Copy a window, padded where it leaves the plane."""
    part = plane[rows, columns]
    if part.shape != whole.shape:
        whole[part.shape[0]:] = whole[:, part.shape[1]:] = fill
    whole[:part.shape[0], :part.shape[1]] = part


def denoise_windows(network, planes, measurement, write, *, runtime,
                    window_pixels=None, progress=None):
    """
    Denoise one plane, and hand over each part when it is done.

    Parameters
    ----------
    network : `torch.nn.Module`
        As `~astro_denoise.models.denoiser.CCDDenoiser`, on the device.

    planes : `~astro_denoise.noise.measurement.Window` or \
            `~astro_denoise.inference.plane_rows.PlaneRows`
        The plane, its valid pixels, background and noise map: arrays, or
        what gives arrays for slices of rows and columns.

    measurement : `~astro_denoise.noise.measurement.Measurement`
        Of the plane: the noise of blank sky, the seeing, and gain, read
        noise and pedestal where the noise map was made from the frame.

    write : callable
        Called with slices of rows and of columns, the denoised pixels
        there, and the standard deviation of their error. Where memory
        does not suffice the plane is begun anew, and parts come again.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute, and the precision of the convolutions.

    window_pixels : int, optional
        Pixels of the rows worked on at a time; halved for as long as
        memory does not suffice.

    progress : callable, optional
        Called with the share of the plane that each step finished.
    """
    if window_pixels is None:
        window_pixels = _WINDOW_PIXELS.get(runtime.device.type, 2**20)
    context = torch.tensor([psf_context(measurement.fwhm)],
                           dtype=torch.float32, device=runtime.device)
    in_rows = hasattr(network, 'encoded')
    answers_of = _go_down if in_rows else _at_once
    # What is taken away is judged in blocks, which no tile cuts.
    block = BLOCK if _knows_its_error(network) else 1
    stride = math.lcm(network.stride, block)

    def run(window_pixels):
        size = _window_size(planes.shape, window_pixels, in_rows)
        plan = plan_tiles(planes.shape, size, stride=stride,
                          halo=-(-network.reach // block) * block)
        n_rows = window_pixels // plan.window_shape[1]
        n_rows = max(n_rows // network.stride, 1) * network.stride
        for tile in plan.tiles:
            answers = answers_of(network, tile, plan.window_shape, n_rows,
                                 planes, measurement.level, context, runtime)
            for part in _denoised_rows(answers, tile, planes, measurement,
                                       write, block):
                yield part / len(plan.tiles)

    run_within_memory(run, window_pixels, device=runtime.device,
                      progress=progress)


def _window_size(shape, n_pixels, in_rows):
    """Sides of the windows: the whole height where a network can do it."""
    if in_rows:
        return shape[0], n_pixels // _FEWEST_ROWS
    # As wide as the frame unless that makes it too low: less halo.
    n_pixels = min(n_pixels, _LARGEST_TILE)
    nx = shape[1]
    width = nx if nx * 768 <= n_pixels else int(n_pixels**0.5)
    return max(n_pixels // width, 1), width


def _standardized(planes, rows, columns, shape, level):
    """The input of a network, for the part of a frame in a window."""
    values, background = planes.values, planes.background
    rows = slice(rows.start, min(rows.stop, planes.shape[0]))
    columns = slice(columns.start, min(columns.stop, planes.shape[1]))
    stack = np.empty((1, 3, *shape), np.float32)
    # The difference is taken in the precision of the frame.
    _cut(values[rows, columns] - background[rows, columns],
         slice(None), slice(None), stack[0, 0])
    _cut(planes.noise_map, rows, columns, stack[0, 1], fill=level)
    _cut(planes.valid, rows, columns, stack[0, 2])
    # From here on in torch, which uses all cores.
    stack = torch.from_numpy(stack)
    x, log_sigma, weight = stack[0]
    x /= log_sigma
    x *= weight
    # Squares of the features stay within single precision.
    x.clamp_(-_LARGEST, _LARGEST)
    log_sigma *= 1 / level
    log_sigma.log_()
    log_sigma *= weight
    return stack


def _go_down(network, tile, shape, n_rows, planes, level, context, runtime):
    """Noise and log variance of a window, some rows at a time."""
    outermost = network.dtypes(**runtime.precision)[0]
    stream = RowStream(
        network, shape[0], context, **runtime.precision,
        elementwise=elementwise_of(network, planes.shape, runtime.device,
                                   outermost))
    for start in range(0, shape[0], n_rows):
        rows = slice(start, min(start + n_rows, shape[0]))
        stack = _standardized(planes, rows, tile.window[1],
                              (rows.stop - start, shape[1]), level)
        with torch.inference_mode():
            yield stream.push(runtime.send(stack))


def _at_once(network, tile, shape, n_rows, planes, level, context, runtime):
    """Noise and log variance of a window as a whole."""
    stack = runtime.send(_standardized(planes, *tile.window, shape, level))
    with torch.inference_mode():
        answers = network(*stack.split(1, 1), context, **runtime.precision)
    core, start = tile.core[0], tile.window[0].start
    inside = slice(core.start - start, core.stop - start)
    yield core, *(answer[:, :, inside] for answer in answers)


def _knows_its_error(network):
    """Tell if the errors that a network states were calibrated."""
    calibration = getattr(network, 'calibration', None)
    return calibration is not None and bool(calibration.any())


def _denoised_rows(answers, tile, planes, measurement, write, block):
    """Write answers for a tile, and yield the share of it that is done."""
    core, start = tile.core[1], tile.window[1].start
    inside = slice(core.start - start, core.stop - start)
    height = tile.core[0].stop - tile.core[0].start
    stop = min(tile.core[0].stop, planes.shape[0])
    for done, *answer in _in_blocks(answers, tile.core[0].start, stop, block):
        n_done = done.stop - done.start
        answer = [plane[:, :, :, inside] for plane in answer]
        if block > 1:
            valid = torch.from_numpy(np.ascontiguousarray(
                planes.valid[done, core], np.float32))
            with torch.inference_mode():
                answer = keep_structure(*answer, valid.to(answer[0].device))
        noise, log_variance = answer
        noise, error = (plane[0, 0].cpu().numpy() for plane in (
            noise, torch.exp(0.5 * log_variance)))
        check_answers(noise)
        write(done, core, *_in_units(noise, error, planes, measurement,
                                     (done, core)))
        yield n_done / height


def _in_units(noise, error, planes, measurement, window):
    """
    Denoised pixels and their errors, from those in units of the noise.
    """
    values, noise_map = planes.values[window], planes.noise_map[window]
    seen = bool(measurement.expected or measurement.electrons)
    background = planes.background[window] if seen else None
    doubts, relative = measurement.doubts_map, None
    if doubts or (seen and measurement.relative is not None):
        relative = measurement.relative.over(window, np.float32)
    denoised = np.empty(values.shape, np.result_type(values, np.float32))
    sigma = np.empty(values.shape, np.result_type(noise_map, error))

    def fill(rows):
        found, own = denoised[rows], noise_map[rows]
        np.subtract(values[rows], own * noise[rows], out=found)
        if seen:
            own = _with_photons(
                own, found, background[rows], measurement,
                None if doubts or relative is None else relative[rows])
        if doubts:
            own = own * relative[rows]
        np.multiply(own, error[rows], out=sigma[rows])

    map_strips(fill, strips(len(values)))
    return denoised, sigma


def _in_blocks(answers, first, stop, block):
    """
    Cut the rows that come so that no block is cut.
    """
    held = None
    for done, *answer in answers:
        begin, end = done.start, min(done.stop, stop)
        if end <= begin:
            continue
        answer = [plane[:, :, :end - begin] for plane in answer]
        if held is not None:
            # Only what completes a block is copied.
            rest = min(-(begin - first) % block, end - begin)
            held = [torch.cat([old, new[:, :, :rest]], 2)
                    for old, new in zip(held, answer, strict=True)]
            n_held = held[0].shape[2]
            answer = [plane[:, :, rest:] for plane in answer]
            begin += rest
            if n_held % block and begin < stop:
                continue
            yield slice(begin - n_held, begin), *held
            held = None
        cut = end if end == stop else first + (
            end - first) // block * block
        if cut > begin:
            yield slice(begin, cut), *(plane[:, :, :cut - begin]
                                       for plane in answer)
        if cut < end:
            held = [plane[:, :, max(cut - begin, 0):] for plane in answer]


def _with_photons(noise_map, denoised, background, measurement, relative):
    """
    A noise map that has the photons of what was found, at least.

    A map that is made from a frame follows a source only where the mean of
    a few pixels tells it, which a compact one of a few sigmas does not.
    What is below 1 sigma may be noise itself.
    """
    gain, read_noise, pedestal = (measurement.expected
                                  or measurement.electrons)
    photons = (denoised - pedestal).astype(np.float32)
    np.maximum(photons, 0.0, out=photons)
    photons *= np.float32(1.0 / gain)
    photons += np.float32((read_noise / gain)**2)
    np.sqrt(photons, out=photons)
    if relative is not None:
        photons *= relative
    photons -= noise_map
    np.maximum(photons, 0.0, out=photons)
    found = (denoised - background).astype(np.float32)
    found *= np.float32(1.0 / measurement.level)
    photons *= np.clip(found, 0.0, 1.0, out=found)
    photons += noise_map
    return photons
