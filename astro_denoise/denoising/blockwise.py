# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise a frame part by part, in memory that does not grow with it.
"""

from dataclasses import dataclass, replace

import numpy as np
from astropy.nddata import NDData
from astropy.utils.masked import Masked

from ..frames.inputs import working_type
from ..frames.memory_maps import release
from ..frames.results import merge
from ..frames.scaling import in_range, sample_exponent, sample_step
from ..noise.levels import MESH, Sky
from ..noise.measurement import (
    MAP_HALO,
    WHOLE,
    background_mesh,
    map_parameters,
    measure_sample,
    mesh_plan,
    sample_parts,
    stacked,
)

__all__ = ['denoise_part', 'denoise_strips', 'measure_plane', 'part_of']

# Rows read at a time, a multiple of 64. The noise map of a strip needs a
# halo, which takes time where there are few rows, and memory where many.
_STRIP_ROWS = 768

# On a GPU too, the width of a strip is limited by the memory of the
# processor, where the noise map is made.
_WINDOW_PIXELS = {'cuda': 2**21}


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
    """Slices of a part for what is given as slices of the plane."""
    return tuple(slice(max(a.start, b.start) - b.start,
                       min(a.stop, b.stop) - b.start)
                 for a, b in zip(inner, outer, strict=True))


def denoise_part(measured, network, frame, part, tile, *, device, dtype):
    """
    Denoise one block.

    Parameters
    ----------
    measured : `~astro_denoise.noise.Measured`
        What is known of the plane.

    network : `torch.nn.Module`
        The network, on ``device``.

    frame : `~astro_denoise.frames.Frame`
        What was read of ``part``.

    part : tuple of slice
        From `part_of`.

    tile : `~astro_denoise.frames.windows.Tile`
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
    from ..inference.engine import denoise_plane

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
            measured.level, fwhm=measured.fwhm, electrons=measured.electrons,
            device=device, dtype=dtype))
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
    source : `~astro_denoise.frames.inputs.Source`
        The frame.

    plane : tuple of int
        Number of the plane in a stack; empty for a single one.

    gain, read_noise : float or `None`
        As for `~astro_denoise.noise.noise_model`.

    Returns
    -------
    measured : `~astro_denoise.noise.Measured`
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
        return map_parameters(measured, sky.mesh, sky.centre, sky.scale)

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
    return map_parameters(measured, stacked(meshes, plan))


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


@dataclass
class _Strip:
    """
    Some rows of a plane, between two columns.
    """

    window: tuple
    values: np.ndarray
    valid: np.ndarray
    noise_map: np.ndarray


class _Plane:
    """
    A plane that is read strip by strip while a network goes down it.

    Parameters
    ----------
    source : `~astro_denoise.frames.inputs.Source`
        The frame.

    index : tuple of int
        Number of the plane in a stack; empty for a single one.

    measured : `~astro_denoise.noise.Measured`
        What is known of the plane.

    on_read : callable
        Called after a strip was read.
    """

    def __init__(self, source, index, measured, on_read):
        self.shape = source.pixels.shape[-2:]
        self._source = source
        self._index = index
        self._measured = measured
        self._on_read = on_read
        self._strips = {}
        self._columns = None

    @property
    def layers(self):
        """What `denoise_windows` takes for the planes of a frame."""
        dtype = working_type(self._source.pixels.dtype)
        return (_Layer(self.shape, dtype, self._stored('values')),
                _Layer(self.shape, bool, self._stored('valid')),
                _Layer(self.shape, dtype, self._background),
                _Layer(self.shape, np.float32, self._stored('noise_map')))

    def _stored(self, name):
        def read(rows, columns):
            parts = [getattr(strip, name)[_within((rows, columns),
                                                  strip.window)]
                     for strip in self._strips_of(rows, columns)]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

        return read

    def _background(self, rows, columns):
        window = _outwards(rows, columns, self.shape)
        plane = self._measured.background(
            [side.start for side in window],
            [side.stop - side.start for side in window],
            working_type(self._source.pixels.dtype))
        return plane[_within((rows, columns), window)]

    def _strips_of(self, rows, columns):
        """The strips that hold some rows, between columns or wider."""
        if self._columns is None or not (
                self._columns.start <= columns.start
                and columns.stop <= self._columns.stop):
            self._columns = columns
            self._strips = {}
        first, last = rows.start // _STRIP_ROWS, (rows.stop - 1) // _STRIP_ROWS
        # Pixels are wanted once more when the network has answered.
        self._strips = {number: strip for number, strip
                        in self._strips.items() if number >= first - 1}
        for number in range(first, last + 1):
            if number not in self._strips:
                self._strips[number] = self._read(number)
        return [self._strips[number] for number in range(first, last + 1)]

    def _read(self, number):
        start = number * _STRIP_ROWS
        window = _outwards(slice(start, start + _STRIP_ROWS), self._columns,
                           self.shape)
        source = self._source
        part = part_of(window, self.shape, source.noise is not None)
        frame = source.read((*self._index, *part))
        valid = frame.valid[0]
        values, sigma = in_range(
            frame.values[0], valid, None if frame.sigma is None else
            frame.sigma[0], self._measured.exponent)
        seen = _within(window, part)
        # Copies: the halo is not kept.
        strip = _Strip(
            window, values[seen].copy(), valid[seen].copy(),
            self._measured.noise_map(values, valid, sigma)[seen].copy())
        self._on_read()
        return strip

    def piece(self, rows, columns):
        """
        What the user gave for a part, and which pixels of it were used.
        """
        frame = self._source.read((*self._index, rows, columns))
        valid = self._stored('valid')(rows, columns)
        return replace(frame, valid=valid[np.newaxis])


class _Layer:
    """
    What gives arrays for slices, like an array.
    """

    def __init__(self, shape, dtype, read):
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._read = read

    def __getitem__(self, part):
        return self._read(*part)


def _outwards(rows, columns, shape):
    """A window that begins at multiples of 64 pixels."""
    return tuple(slice(side.start // MESH * MESH, min(side.stop, n))
                 for side, n in zip((rows, columns), shape, strict=True))


def denoise_strips(source, network, output, error, *, gain, read_noise,
                   device, dtype, progress):
    """
    Denoise a frame or a stack, of which some rows are read at a time.

    Parameters
    ----------
    source : `~astro_denoise.frames.inputs.Source`
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
        As for `~astro_denoise.inference.denoise_windows`.

    progress : callable
        Called with the share of a plane that each step finished.

    Returns
    -------
    measured : list of `~astro_denoise.noise.Measured`
        What is known of each plane.

    invalid : bool `~numpy.ndarray` or `None`
        Pixels that were not used, if there are any and the type of the
        frame has a mask.

    Raises
    ------
    ValueError
        If no pixel is valid.
    """
    from ..inference.engine import denoise_windows

    pixels = source.pixels
    indices = [()] if pixels.ndim == 2 else [(i,) for i in range(len(pixels))]
    has_mask = isinstance(source.data, (NDData, Masked, np.ma.MaskedArray))
    everything, any_valid, invalid = [], False, None

    def give_back():
        release([*source.arrays, output, error])

    for index in indices:
        measured = measure_plane(source, index, gain=gain,
                                 read_noise=read_noise)
        everything.append(measured)
        plane = _Plane(source, index, measured, give_back)

        def write(rows, columns, denoised, sigma, index=index, plane=plane,
                  exponent=measured.exponent):
            nonlocal any_valid, invalid
            if exponent:
                denoised = np.ldexp(denoised, exponent)
                sigma = np.ldexp(sigma.astype(denoised.dtype), exponent)
            frame, part = plane.piece(rows, columns), (*index, rows, columns)
            result, sigma = merge(frame, denoised[np.newaxis],
                                  sigma[np.newaxis], part)
            output[part] = result[0]
            if error is not None:
                error[part] = sigma[0]
            any_valid |= bool(frame.valid.any())
            if has_mask and not frame.valid.all():
                if invalid is None:
                    invalid = np.zeros(pixels.shape, bool)
                invalid[part] = ~frame.valid[0]

        denoise_windows(network, plane.layers, measured.level, write,
                        fwhm=measured.fwhm, electrons=measured.electrons,
                        device=device, dtype=dtype,
                        window_pixels=_WINDOW_PIXELS.get(device.type),
                        progress=progress)
        give_back()
    if not any_valid:
        msg = f'data must have valid pixels, got none of {pixels.size}'
        raise ValueError(msg)
    return everything, invalid
