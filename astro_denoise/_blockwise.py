# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise a frame block by block, in memory that does not grow with it.
"""

import math
import mmap
from dataclasses import replace

import numpy as np
from astropy.nddata import NDData
from astropy.utils.masked import Masked

from ._measured import (
    MAP_HALO,
    WHOLE,
    background_mesh,
    in_range,
    map_parameters,
    measure_sample,
    mesh_plan,
    sample_exponent,
    sample_parts,
    sample_step,
    stacked,
)
from ._sky import MESH, Sky
from .frames import merge
from .inference.tiles import plan_tiles

__all__ = ['block_plan', 'check_output_array', 'denoise_blocks',
           'denoise_part', 'measure_plane', 'part_of']

# Pixels of a block, a side, its halo for the network included. A pixel takes
# some 40 bytes of the working set, and the halo some of the time.
_WINDOWS = {'cpu': 2560, 'cuda': 3840}


def check_output_array(name, array, shape):
    """
    Refuse an array that cannot take a result.

    Parameters
    ----------
    name : str
        Name of the parameter, for messages.

    array : object
        What the user gave.

    shape : tuple of int
        Shape of the frame.

    Raises
    ------
    TypeError
        If it is not an array of floating-point numbers.

    ValueError
        If it has another shape or is read-only.
    """
    if not isinstance(array, np.ndarray):
        msg = f'{name} must be an array, got {type(array).__name__}'
        raise TypeError(msg)
    if array.dtype.kind != 'f' or array.dtype.itemsize < 4:
        msg = (f'{name} must have a type of 32 or more bits of floating '
               f'point, got {array.dtype}')
        raise TypeError(msg)
    if array.shape != shape:
        msg = (f'{name} must have the shape of data {shape}, got '
               f'{array.shape}')
        raise ValueError(msg)
    if not array.flags.writeable:
        msg = f'{name} must be writeable, got a read-only array'
        raise ValueError(msg)


def block_plan(shape, network, device):
    """
    The blocks of a plane: windows for the network, and what they answer for.

    Parameters
    ----------
    shape : tuple of int
        Shape of the plane.

    network : `torch.nn.Module`
        The network.

    device : `torch.device`
        Where it computes.

    Returns
    -------
    tiles : tuple of `~astro_denoise.inference.tiles.Tile`
        Their windows begin at multiples of 64 pixels and of the stride of
        the network.
    """
    return plan_tiles(shape, _WINDOWS.get(device.type, _WINDOWS['cpu']),
                      halo=network.reach,
                      stride=math.lcm(MESH, network.stride)).tiles


def part_of(window, shape, known):
    """
    The part of a plane that has to be read for a window.

    Parameters
    ----------
    window : tuple of slice
        What the network sees; may end beyond the plane.

    shape : tuple of int
        Shape of the plane.

    known : bool
        Whether the noise of each pixel is known. If not, the noise map
        takes a halo.

    Returns
    -------
    part : tuple of slice
        Within the plane.
    """
    halo = 0 if known else MAP_HALO
    return tuple(slice(max(0, side.start - halo), min(side.stop + halo, n))
                 for side, n in zip(window, shape, strict=True))


def _within(inner, outer):
    """Slices of a part that are given as slices of the plane."""
    return tuple(slice(a.start - b.start, min(a.stop, b.stop) - b.start)
                 for a, b in zip(inner, outer, strict=True))


def denoise_part(measured, network, frame, part, tile, *, device, dtype):
    """
    Denoise one block.

    Parameters
    ----------
    measured : `~astro_denoise._measured.Measured`
        What is known of the plane.

    network : `torch.nn.Module`
        The network, on ``device``.

    frame : `~astro_denoise.frames.Frame`
        What was read of ``part``.

    part : tuple of slice
        From `part_of`.

    tile : `~astro_denoise.inference.tiles.Tile`
        The block.

    device, dtype : `torch.device`, `torch.dtype`
        As for `~astro_denoise.inference.engine.denoise_plane`.

    Returns
    -------
    core : `~astro_denoise.frames.Frame`
        What of ``frame`` the block answers for.

    denoised, error : 3D `~numpy.ndarray`
        The result for it.
    """
    from .inference.engine import denoise_plane

    valid = frame.valid[0]
    values, sigma = in_range(
        frame.values[0], valid,
        None if frame.sigma is None else frame.sigma[0], measured.exponent)
    seen, core = _within(tile.window, part), _within(tile.core, part)
    answer = _within(tile.core, tile.window)
    noise_map = measured.noise_map(values, valid, sigma)[seen]
    background = measured.background(
        [side.start for side in tile.window], noise_map.shape, values.dtype)
    denoised, error = (
        plane[answer] for plane in denoise_plane(
            network, values[seen], valid[seen], background, noise_map,
            measured.level, fwhm=measured.fwhm, device=device, dtype=dtype))
    if measured.exponent:
        denoised = np.ldexp(denoised, measured.exponent)
        error = np.ldexp(error.astype(values.dtype), measured.exponent)
    core = (slice(None), *core)
    return replace(
        frame, values=frame.values[core], valid=frame.valid[core],
        sigma=None if frame.sigma is None else frame.sigma[core],
    ), denoised[np.newaxis], error[np.newaxis]


def measure_plane(source, plane, *, gain, read_noise):
    """
    Noise, background and seeing of one plane.

    A plane of up to `WHOLE` pixels is measured as a whole. Of a larger
    one, the noise and the seeing come from pieces all over it, and the
    background from all its pixels, window by window.

    Parameters
    ----------
    source : `~astro_denoise.frames.Source`
        The frame.

    plane : tuple of int
        Number of the plane in a stack; empty for a single one.

    gain, read_noise : float or `None`
        As for `~astro_denoise.noise.noise_model`.

    Returns
    -------
    measured : `~astro_denoise._measured.Measured`
        What is known of the plane.
    """
    shape = source.pixels.shape[-2:]
    exponent = _exponent(source, plane)
    options = {'gain': gain, 'read_noise': read_noise, 'unit': source.unit,
               'exponent': exponent}

    def read(part):
        frame = source.read((*plane, *part))
        release(source.arrays)
        valid = frame.valid[0]
        sigma = None if frame.sigma is None else frame.sigma[0]
        values, sigma = in_range(frame.values[0], valid, sigma, exponent)
        return values, valid, sigma

    if shape[0] * shape[1] <= WHOLE:
        planes = read((slice(None), slice(None)))
        measured, _ = measure_sample(*planes, **options)
        sky = Sky(*planes[:2])
        return map_parameters(measured, sky.mesh, sky.centre, sky.scale,
                              read_noise=read_noise)

    rows = [[read(part) for part in row] for row in sample_parts(shape)]
    planes = [None if rows[0][0][number] is None else
              np.block([[part[number] for part in row] for row in rows])
              for number in range(3)]
    del rows
    measured, _ = measure_sample(*planes, **options)
    del planes
    meshes, plan = [], mesh_plan(shape)
    for tile in plan:
        values, valid, _ = read(part_of(tile.window, shape, known=True))
        meshes.append(background_mesh(values, valid, shape, tile))
    return map_parameters(measured, stacked(meshes, plan),
                          read_noise=read_noise)


def _exponent(source, plane):
    shape = source.pixels.shape[-2:]
    step = sample_step(shape[0] * shape[1])
    every = slice(None, None, step)
    samples = [(every, every)] + [
        part_of(tile.window, shape, known=True) for tile in mesh_plan(shape)]
    for part in samples:
        frame = source.read((*plane, *part))
        release(source.arrays)
        exponent = sample_exponent(frame.values[frame.valid])
        if exponent is not None:
            return exponent
    return 0


def denoise_blocks(source, network, output, error, *, gain, read_noise,
                   device, dtype, progress):
    """
    Denoise a frame or a stack block by block.

    Parameters
    ----------
    source : `~astro_denoise.frames.Source`
        The frame.

    network : `torch.nn.Module`
        The network, on ``device``.

    output : `~numpy.ndarray`
        Takes the denoised pixels.

    error : `~numpy.ndarray` or `None`
        Takes their standard deviation.

    gain, read_noise : float or `None`
        As for `~astro_denoise.noise.noise_model`.

    device, dtype : `torch.device`, `torch.dtype`
        As for `~astro_denoise.inference.engine.denoise_plane`.

    progress : callable
        Called with the share of a plane that each step finished.

    Returns
    -------
    measured : list of `~astro_denoise._measured.Measured`
        What is known of each plane.

    invalid : bool `~numpy.ndarray` or `None`
        Pixels that were not used, if there are any and the type of the
        frame has a mask.

    Raises
    ------
    ValueError
        If no pixel is valid.
    """
    pixels = source.pixels
    shape, known = pixels.shape[-2:], source.noise is not None
    planes = [()] if pixels.ndim == 2 else [(i,) for i in range(len(pixels))]
    has_mask = isinstance(source.data, (NDData, Masked, np.ma.MaskedArray))
    everything, n_valid, invalid = [], 0, None
    for plane in planes:
        measured = measure_plane(source, plane, gain=gain,
                                 read_noise=read_noise)
        everything.append(measured)
        plan = block_plan(shape, network, device)
        for tile in plan:
            part = part_of(tile.window, shape, known)
            frame, denoised, sigma = denoise_part(
                measured, network, source.read((*plane, *part)), part, tile,
                device=device, dtype=dtype)
            core = (*plane, *tile.core)
            result, sigma = merge(frame, denoised, sigma, core)
            output[core] = result[0]
            if error is not None:
                error[core] = sigma[0]
            if has_mask and not frame.valid.all():
                if invalid is None:
                    invalid = np.zeros(pixels.shape, bool)
                invalid[core] = ~frame.valid[0]
            n_valid += np.count_nonzero(frame.valid)
            release([*source.arrays, output, error])
            progress(1.0 / len(plan))
    if not n_valid:
        msg = f'data must have valid pixels, got none of {pixels.size}'
        raise ValueError(msg)
    return everything, invalid


def release(arrays):
    """
    Give back the memory that pages of mapped files take.

    They stay in the cache of the system for as long as it has room. A
    private copy of a file (mode ``'c'``) could lose what was written to
    it, and is left alone.
    """
    if not hasattr(mmap, 'MADV_DONTNEED'):
        return
    for array in arrays:
        shared, base = False, array
        while base is not None and not isinstance(base, mmap.mmap):
            shared |= getattr(base, 'mode', None) in ('r', 'r+', 'w+')
            base = getattr(base, 'base', None)
        if base is None:
            continue
        with memoryview(base) as view:
            shared |= view.readonly
        if shared:
            base.madvise(mmap.MADV_DONTNEED)
