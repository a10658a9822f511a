# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise dask arrays: nothing is computed before the result is.
"""

import math
import sys

import astropy.units as u
import numpy as np

from ..frames.checks import warn_of_missing_noise
from ..frames.inputs import FrameReader, PlaneReader, open_frame
from ..frames.results import FrameWriter, result_type
from ..frames.scaling import Scale, sample_step
from ..frames.windows import grown
from ..inference.shield import shielded
from ..noise.background import mesh_plan
from ..noise.gain import resolve_gain
from ..noise.levels import MESH
from ..noise.measurement import (
    MAP_HALO,
    complete,
    measure_plane,
    measure_sample,
    measure_window,
    read_scaled,
    read_valid,
    warn_of,
)
from ..noise.sampling import is_measured_whole, sample_parts
from .guided import open_guide
from .route import denoise_measured, leave
from .source_light import stars_window, with_psf, with_seeing

__all__ = ['denoise_lazily', 'is_lazy']

_WHOLE = (slice(None), slice(None))
_BLOCK = 2048  # pixels that a task answers for, a side


def is_lazy(data):
    """
    Tell if something is a dask array.
    """
    # Who has one has imported dask, which is slow to import.
    array = sys.modules.get('dask.array')
    return array is not None and isinstance(data, array.Array)


def denoise_lazily(data, model, *, uncertainty=None, mask=None, gain=None,
                   read_noise=None, catalog=None, guide='blend', psf=None,
                   average=1, device=None, precision='auto',
                   return_uncertainty=False):
    """
    Denoise a dask array.

    Parameters
    ----------
    data : `dask.array.Array`
        Shape (ny, nx), or (n, ny, nx) for a stack; chunks of any size.

    model, uncertainty, mask, gain, read_noise, catalog, guide, psf, \
            average, device, precision, return_uncertainty : optional
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
    guide = open_guide(catalog, guide, psf, model, shape=data.shape[-2:])
    computing = {'device': device, 'precision': precision,
                 'average': average}
    if data.ndim == 2:
        result = _lazy_plane(arrays, noise_kind, model, guide, options,
                             computing)
    else:
        from dask.array import stack

        result = stack(
            [_lazy_plane([each if each is None else each[plane]
                          for each in arrays], noise_kind, model, guide,
                         options, computing)
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

    reader = open_frame(
        template(data),
        uncertainty=(template(uncertainty) if is_lazy(uncertainty)
                     else uncertainty),
        mask=template(mask) if is_lazy(mask) else mask)
    arrays = [data, None, None]
    if reader.masks:
        arrays[1] = asarray(mask if is_lazy(mask) else reader.masks[0])
    if reader.noise is not None:
        arrays[2] = asarray(uncertainty if is_lazy(uncertainty)
                            else reader.noise[0])
    for number, array in enumerate(arrays):
        if array is not None and array.ndim == 0:
            from dask.array import broadcast_to

            arrays[number] = broadcast_to(array, data.shape)
    return arrays, reader.noise and reader.noise[1:]


def _opened(pixels, mask, noise, noise_kind, **place):
    """One chunk of each, as numpy arrays, as a plane."""
    frame = FrameReader(
        pixels, pixels, [] if mask is None else [mask],
        None if noise is None else (noise, *noise_kind), None)
    return PlaneReader(frame, **place)


def _lazy_plane(arrays, noise_kind, model, guide, options, computing):
    """
    Denoised pixels and standard deviation of one plane, (2, ny, nx).
    """
    from dask import delayed
    from dask.array import map_overlap

    known = arrays[2] is not None
    measurement = _lazy_measure(arrays, noise_kind, options)
    align = math.lcm(MESH, model.network.stride)
    reach = model.network.reach
    if guide is not None:
        reach = max(reach, guide.reach)
        measurement, guide = _lazy_stars(
            arrays, noise_kind, measurement, delayed(guide, traverse=False))
    reach = -(-reach // align) * align
    depth = reach if known else reach + -(-MAP_HALO // align) * align
    chunks = tuple(_aligned(n, align, depth) for n in arrays[0].shape)
    present = [each.rechunk(chunks) for each in arrays if each is not None]
    # One chunk along an axis has no neighbors, however short it is.
    depths = tuple(depth if len(sizes) > 1 else 0 for sizes in chunks)
    dtype = result_type(arrays[0].dtype)
    return map_overlap(
        _denoise_chunk, *present, depth=depths, boundary='none', trim=False,
        align_arrays=False, new_axis=0, chunks=((2,), *chunks), dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
        which=tuple(each is not None for each in arrays),
        noise_kind=noise_kind, all_chunks=chunks, halo=(reach, depth),
        measurement=measurement, computing=computing,
        model=delayed(_Carried(model), traverse=False),
        guide=guide)


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
    """Measure a plane as `~astro_denoise.noise.measure_plane` does."""
    from dask import delayed
    from dask.array import block

    shape = arrays[0].shape
    if is_measured_whole(shape):
        return delayed(_measure_whole)(*arrays, noise_kind, options)

    def parts(part):
        return [each if each is None else each[part] for each in arrays]

    every = slice(None, None, sample_step(shape[0] * shape[1]))
    scale = delayed(_sample_scale)(*parts((every, every)), noise_kind)
    rows = [[parts(part) for part in row] for row in sample_parts(shape)]
    sample = [each if each is None else
              block([[part[number] for part in row] for row in rows])
              for number, each in enumerate(arrays)]
    measurement = delayed(_measure_sample)(*sample, noise_kind, scale,
                                           options)
    plan = mesh_plan(shape)
    meshes = [delayed(_measure_mesh)(
        *parts(grown(tile.window, 0, shape)), noise_kind, measurement, shape,
        tile) for tile in plan]
    return delayed(_complete)(measurement, meshes, plan)


@shielded()
def _measure_whole(pixels, mask, noise, noise_kind, options):
    plane = _opened(pixels, mask, noise, noise_kind)
    warn_of_missing_noise(plane.frame)
    measurement, _ = measure_plane(plane, **options)
    warn_of([measurement])
    return measurement


@shielded()
def _sample_scale(pixels, mask, noise, noise_kind):
    values, valid, _ = _opened(pixels, mask, noise, noise_kind).read()
    return Scale.of_sample(values[valid]) or Scale()


@shielded()
def _measure_sample(pixels, mask, noise, noise_kind, scale, options):
    plane = _opened(pixels, mask, noise, noise_kind)
    warn_of_missing_noise(plane.frame, sampled=True)
    planes = read_scaled(plane, _WHOLE, scale)
    return measure_sample(*planes, unit=None, scale=scale, mapped=False,
                          **options)[0]


@shielded()
def _measure_mesh(pixels, mask, noise, noise_kind, measurement, shape, tile):
    plane = _opened(pixels, mask, noise, noise_kind)
    whole = tuple(slice(0, n) for n in plane.shape)
    return measure_window(read_valid(plane, measurement, whole), measurement,
                          shape, tile)


@shielded()
def _complete(measurement, meshes, plan):
    warn_of([measurement])
    return complete(measurement, meshes, plan)


def _lazy_stars(arrays, noise_kind, measurement, guide):
    """Measure the stars of a catalog as `denoise_plane` does."""
    from dask import delayed

    shape = arrays[0].shape
    window = stars_window(shape)
    part = window if arrays[2] is not None else grown(window, MAP_HALO, shape)
    return delayed(_see_stars, nout=2)(
        *[each if each is None else each[part] for each in arrays],
        noise_kind, measurement, guide, shape, window, part)


@shielded()
def _see_stars(pixels, mask, noise, noise_kind, measurement, guide, shape,
               window, part):
    if not measurement.n_valid:
        return measurement, guide
    planes = _planes_of(
        _opened(pixels, mask, noise, noise_kind,
                origin=[side.start for side in part], shape=shape),
        measurement, window)
    origin = [side.start for side in window]
    measurement = with_seeing(guide, planes, measurement, origin)
    if guide.kind == 'model':
        guide = with_psf(guide, planes, measurement, origin)
    return measurement, guide


def _planes_of(plane, measurement, window):
    """Make of a window of a plane what a network goes down."""
    from ..inference.plane_rows import PlaneRows

    return PlaneRows(plane, measurement, window=window,
                     strip_rows=-(-plane.shape[0] // MESH) * MESH)


@shielded()
def _denoise_chunk(*chunks, which, noise_kind, all_chunks, halo, measurement,
                   computing, model, guide, block_info=None):
    """
    Denoise one chunk, which comes with its halo.
    """
    from ..inference.devices import Runtime

    shape = tuple(sum(sizes) for sizes in all_chunks)
    place = block_info[0]['chunk-location']
    core = tuple(slice(sum(sizes[:number]), sum(sizes[:number + 1]))
                 for sizes, number in zip(all_chunks, place, strict=True))
    window, part = (grown(core, margin, shape) for margin in halo)
    rest = iter(chunks)
    plane = _opened(*(next(rest) if there else None for there in which),
                    noise_kind, origin=[side.start for side in part],
                    shape=shape)
    runtime = Runtime.resolve(computing['device'], computing['precision'])
    results = np.empty((2, *(side.stop - side.start for side in core)),
                       result_type(plane.frame.pixels.dtype))
    writer = FrameWriter(plane.frame, *results, area=core)
    if not measurement.n_valid:
        leave(plane, writer, core)
        return results
    denoise_measured(
        plane, _planes_of(plane, measurement, window), measurement,
        runtime.place(model.model.network), writer, runtime=runtime,
        average=computing['average'], guide=guide,
        origin=[side.start for side in window])
    return results
