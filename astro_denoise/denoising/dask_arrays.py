# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise dask arrays: nothing is computed before the result is.
"""

import math
import sys
from dataclasses import replace

import astropy.units as u
import numpy as np

from ..frames.inputs import Source, inspect
from ..frames.results import merge, result_type
from ..frames.scaling import in_range, sample_exponent, sample_step
from ..frames.windows import Tile
from ..noise.gain import resolve_gain
from ..noise.levels import MESH
from ..noise.measurement import (
    MAP_HALO,
    WHOLE,
    background_mesh,
    map_parameters,
    measure_sample,
    mesh_plan,
    sample_parts,
    stacked,
    warn_of_correlation,
)
from .blockwise import denoise_part, measure_plane, part_of

__all__ = ['denoise_lazily', 'is_lazy']

_BLOCK = 2048  # pixels that a task answers for, a side


def is_lazy(data):
    """
    Whether something is a dask array.
    """
    # Who has one has imported dask, which is slow to import.
    array = sys.modules.get('dask.array')
    return array is not None and isinstance(data, array.Array)


def denoise_lazily(data, model, *, uncertainty=None, mask=None, gain=None,
                   read_noise=None, device=None, precision='auto',
                   return_uncertainty=False):
    """
    Denoise a dask array.

    Parameters
    ----------
    data : `dask.array.Array`
        Shape (ny, nx), or (n, ny, nx) for a stack; chunks of any size.

    model, uncertainty, mask, gain, read_noise, device, precision, \
            return_uncertainty : optional
        As for `astro_denoise.denoise`; mask and uncertainty may be dask
        arrays too. The device is that of the worker.

    Returns
    -------
    denoised : `dask.array.Array`
        With the chunks of ``data``.

    uncertainty : `dask.array.Array`
        Only with ``return_uncertainty``.
    """
    import torch

    from ..inference.devices import resolve_precision
    from ..inference.images import denoises_images
    from ..models.registry import load_model

    resolve_precision(precision, torch.device('cpu'))  # a wrong one now
    arrays, noise_kind = _checked(data, uncertainty, mask)
    model = load_model(model, task='denoise')
    if denoises_images(model.network):
        msg = (f'the model {model.name!r} is for small images, not for dask '
               f'arrays')
        raise ValueError(msg)
    options = {
        'gain': resolve_gain(gain, {}, None),
        'read_noise': resolve_gain(read_noise, {}, None, name='read_noise',
                                   default_unit=u.electron)}
    if data.ndim == 2:
        result = _lazy_plane(arrays, noise_kind, model, options, device,
                             precision)
    else:
        from dask.array import stack

        result = stack(
            [_lazy_plane([each if each is None else each[plane]
                          for each in arrays], noise_kind, model, options,
                         device, precision)
             for plane in range(data.shape[0])], axis=1)
    results = [part.rechunk(data.chunks) for part in result]
    return tuple(results) if return_uncertainty else results[0]


def _checked(data, uncertainty, mask):
    """
    Pixels, mask and noise as dask arrays or `None`, and what the noise is.
    """
    from dask.array import asarray

    if np.isnan(data.shape).any():
        msg = ('data must have chunks of known size, got '
               f'{data.shape}; see dask.array.Array.compute_chunk_sizes')
        raise ValueError(msg)

    def template(array):
        # Type and shape of an array without its memory.
        return np.broadcast_to(np.ones((), array.dtype), array.shape)

    source = inspect(
        template(data),
        uncertainty=(template(uncertainty) if is_lazy(uncertainty)
                     else uncertainty),
        mask=template(mask) if is_lazy(mask) else mask)
    arrays = [data, None, None]
    if source.masks:
        arrays[1] = asarray(mask if is_lazy(mask) else source.masks[0])
    if source.noise is not None:
        arrays[2] = asarray(uncertainty if is_lazy(uncertainty)
                            else source.noise[0])
    for number, array in enumerate(arrays):
        if array is not None and array.ndim == 0:
            from dask.array import broadcast_to

            arrays[number] = broadcast_to(array, data.shape)
    return arrays, source.noise and source.noise[1:]


def _source(pixels, mask, noise, noise_kind):
    """One chunk of each, as numpy arrays, put together."""
    return Source(pixels, pixels, [] if mask is None else [mask],
                  None if noise is None else (noise, *noise_kind), None)


def _read(pixels, mask, noise, noise_kind, exponent):
    frame = _source(pixels, mask, noise, noise_kind).read()
    valid = frame.valid[0]
    sigma = None if frame.sigma is None else frame.sigma[0]
    values, sigma = in_range(frame.values[0], valid, sigma, exponent)
    return values, valid, sigma


def _lazy_plane(arrays, noise_kind, model, options, device, precision):
    """
    Denoised pixels and standard deviation of one plane, (2, ny, nx).
    """
    from dask import delayed
    from dask.array import map_overlap

    known = arrays[2] is not None
    measured = _lazy_measure(arrays, noise_kind, options)
    align = math.lcm(MESH, model.network.stride)
    reach = -(-model.network.reach // align) * align
    depth = reach if known else reach + -(-MAP_HALO // align) * align
    chunks = tuple(_aligned(n, align, depth) for n in arrays[0].shape)
    present = [each.rechunk(chunks) for each in arrays if each is not None]
    dtype = result_type(arrays[0].dtype)
    return map_overlap(
        _denoise_chunk, *present, depth=depth, boundary='none', trim=False,
        align_arrays=False, new_axis=0, chunks=((2,), *chunks), dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
        which=tuple(each is not None for each in arrays),
        noise_kind=noise_kind, all_chunks=chunks, halo=(reach, depth),
        measured=measured, device=device, precision=precision,
        model=delayed(_Carried(model), traverse=False))


def _aligned(length, align, depth):
    """
    Sizes of chunks that begin at multiples of a number of pixels.
    """
    number = max(1, length // max(_BLOCK, -(-depth // align) * align))
    size = length // number // align * align if number > 1 else length
    return (*(size,) * (number - 1), length - (number - 1) * size)


class _Carried:
    """
    A model on its way to the workers, told from others by its hash.
    """

    def __init__(self, model):
        self.model = model

    def __dask_tokenize__(self):
        return type(self).__name__, self.model.hash


def _lazy_measure(arrays, noise_kind, options):
    from dask import delayed
    from dask.array import block

    shape = arrays[0].shape
    if shape[0] * shape[1] <= WHOLE:
        return delayed(_measure_whole)(*arrays, noise_kind, options)

    def parts(part):
        return [each if each is None else each[part] for each in arrays]

    every = slice(None, None, sample_step(shape[0] * shape[1]))
    exponent = delayed(_sample_exponent)(*parts((every, every)), noise_kind)
    rows = [[parts(part) for part in row] for row in sample_parts(shape)]
    sample = [each if each is None else
              block([[part[number] for part in row] for row in rows])
              for number, each in enumerate(arrays)]
    measured = delayed(_measure_sample)(*sample, noise_kind, exponent,
                                        options)
    plan = mesh_plan(shape)
    meshes = [delayed(_measure_mesh)(
        *parts(part_of(tile.window, shape, known=True)), noise_kind, exponent,
        shape, tile) for tile in plan]
    return delayed(_complete)(measured, meshes, plan)


def _measure_whole(pixels, mask, noise, noise_kind, options):
    measured = measure_plane(_source(pixels, mask, noise, noise_kind), (),
                             **options)
    warn_of_correlation([measured])
    return measured


def _sample_exponent(pixels, mask, noise, noise_kind):
    frame = _source(pixels, mask, noise, noise_kind).read()
    return sample_exponent(frame.values[frame.valid]) or 0


def _measure_sample(pixels, mask, noise, noise_kind, exponent, options):
    planes = _read(pixels, mask, noise, noise_kind, exponent)
    return measure_sample(*planes, unit=None, exponent=exponent,
                          **options)[0]


def _measure_mesh(pixels, mask, noise, noise_kind, exponent, shape, tile):
    values, valid, _ = _read(pixels, mask, noise, noise_kind, exponent)
    return background_mesh(values, valid, shape, tile)


def _complete(measured, meshes, plan):
    warn_of_correlation([measured])
    return map_parameters(measured, stacked(meshes, plan))


def _denoise_chunk(*chunks, which, noise_kind, all_chunks, halo, measured,
                   device, precision, model, block_info=None):
    """
    The task: one chunk with its halo.
    """
    from ..inference.devices import (
        resolve_device,
        resolve_precision,
        survive_fork,
    )
    from ..inference.engine import placed

    survive_fork()
    rest = iter(chunks)
    source = _source(*(next(rest) if there else None for there in which),
                     noise_kind)
    core, window, part = [], [], []
    for sizes, place in zip(all_chunks, block_info[0]['chunk-location'],
                            strict=True):
        start, length = sum(sizes[:place]), sum(sizes)
        stop = start + sizes[place]
        core.append(slice(start, stop))
        for out, margin in zip((window, part), halo, strict=True):
            out.append(slice(max(0, start - margin),
                             min(length, stop + margin)))
    device = resolve_device(device)
    frame, denoised, error = denoise_part(
        measured, placed(model.model.network, device), source.read(), part,
        Tile(tuple(window), tuple(core)), device=device,
        dtype=resolve_precision(precision, device))
    inside = tuple(slice(inner.start - outer.start, inner.stop - outer.start)
                   for inner, outer in zip(core, part, strict=True))
    return np.concatenate(merge(replace(frame, source=source.data),
                                denoised, error, inside))
