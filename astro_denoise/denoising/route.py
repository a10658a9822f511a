# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The one way of a plane: reader, measurement, engine, writer.

Arrays in memory, memory maps, stacks, sections of files and chunks of dask
arrays all go through `denoise_plane` or, once they are measured, through
`denoise_measured`.
"""

import numpy as np

from .guided import denoise_guided
from .source_light import with_seeing

__all__ = ['denoise_measured', 'denoise_plane', 'leave']

# Where a plane is read strip by strip, the width of a strip is limited by
# the memory of the processor, where the noise map is made, on a GPU too.
_STRIP_WINDOW_PIXELS = {'cuda': 2**21}

_LEAST_FLAGGED = 0.5  # share of a pixel that is due to the catalog

_LEFT_ROWS = 768  # written at a time where nothing is valid


def denoise_plane(plane, network, writer, *, gain=None, read_noise=None,
                  runtime, in_memory, average=1, guide=None, progress=None):
    """
    Measure a plane and denoise it.

    Parameters
    ----------
    plane : `~astro_denoise.frames.PlaneReader`
        The plane.

    network : `torch.nn.Module`
        The network, on the device.

    writer : `~astro_denoise.frames.FrameWriter`
        Takes the result.

    gain, read_noise : float, optional
        As for `~astro_denoise.noise.measure_plane`.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute, and the precision of the convolutions.

    in_memory : bool
        Hold the plane with its noise map and background in memory, if it
        is measured as a whole. Else it is read strip by strip.

    average : int, optional
        As for `~astro_denoise.inference.averaging.denoise_averaged`.

    guide : `~astro_denoise.denoising.guided.Guide`, optional
        The sources that are known.

    progress : callable, optional
        Called with the share of the plane that each step finished.

    Returns
    -------
    measurement : `~astro_denoise.noise.Measurement`
        Of the plane.
    """
    from ..inference.plane_rows import PlaneRows
    from ..noise.measurement import measure_plane

    measurement, planes = measure_plane(plane, gain=gain,
                                        read_noise=read_noise, keep=in_memory)
    if not measurement.n_valid:
        leave(plane, writer)
        return measurement
    if measurement.is_mosaic and plane.phase is None:
        del planes
        for part in plane.phases():
            denoise_plane(
                part, network, writer, gain=gain, read_noise=read_noise,
                runtime=runtime, in_memory=in_memory, average=average,
                guide=guide and guide.of_phase(part.phase),
                progress=progress and (lambda share: progress(share / 4)))
        return measurement
    window_pixels = None
    if planes is None:
        planes = PlaneRows(plane, measurement, on_read=writer.release)
        window_pixels = _STRIP_WINDOW_PIXELS.get(runtime.device.type)
    if guide is not None:
        measurement = with_seeing(guide, planes, measurement)
    denoise_measured(plane, planes, measurement, network, writer,
                     runtime=runtime, window_pixels=window_pixels,
                     average=average, guide=guide, progress=progress)
    writer.release()
    return measurement


def leave(plane, writer, area=None):
    """
    Write a plane without a valid pixel as it is.

    Parameters
    ----------
    plane : `~astro_denoise.frames.PlaneReader`
        The plane.

    writer : `~astro_denoise.frames.FrameWriter`
        Takes the result.

    area : tuple of slice, optional
        Rows and columns to write; by default all.
    """
    if area is None:
        area = tuple(slice(0, n) for n in plane.shape)
    width = area[1].stop - area[1].start
    for start in range(area[0].start, area[0].stop, _LEFT_ROWS):
        rows = slice(start, min(start + _LEFT_ROWS, area[0].stop))
        empty = np.zeros((rows.stop - start, width), plane.dtype)
        writer.write(plane, (rows, area[1]), empty, empty, empty > 0)
    writer.release()


def denoise_measured(plane, planes, measurement, network, writer, *,
                     runtime, origin=(0, 0), window_pixels=None, average=1,
                     guide=None, progress=None):
    """
    Denoise a plane, or a window of one, that was measured.

    Parameters
    ----------
    plane : `~astro_denoise.frames.PlaneReader`
        The plane.

    planes : `~astro_denoise.noise.measurement.Window` or \
            `~astro_denoise.inference.plane_rows.PlaneRows`
        What the network goes down.

    measurement : `~astro_denoise.noise.Measurement`
        Of the whole plane.

    network, writer, runtime : object
        As for `denoise_plane`.

    origin : tuple of int, optional
        First row and column of ``planes`` in the plane.

    window_pixels : int, optional
        As for `~astro_denoise.inference.engine.denoise_windows`.

    average : int, optional
        As for `~astro_denoise.inference.averaging.denoise_averaged`.

    guide : `~astro_denoise.denoising.guided.Guide`, optional
        The sources that are known, on the plane.

    progress : callable, optional
        As for `denoise_plane`.
    """
    from ..inference.averaging import denoise_averaged

    exponent = measurement.scale.exponent

    def write(rows, columns, denoised, sigma, share=None):
        valid = planes.valid[rows, columns]
        if exponent:
            denoised = np.ldexp(denoised, exponent)
            sigma = np.ldexp(sigma.astype(denoised.dtype), exponent)
        window = tuple(slice(side.start + first, side.stop + first)
                       for side, first in zip((rows, columns), origin,
                                              strict=True))
        writer.write(plane, window, denoised, sigma, valid)
        if share is not None:
            writer.flag(plane, window, share >= _LEAST_FLAGGED)

    options = {'average': average, 'runtime': runtime,
               'window_pixels': window_pixels, 'progress': progress}
    if guide is None:
        denoise_averaged(network, planes, measurement, write, **options)
    else:
        denoise_guided(guide, network, planes, measurement, write,
                       origin=origin, **options)
