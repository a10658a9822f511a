# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure a plane: noise, background and seeing, for everyone who asks.

What comes out is small, whatever the size of the plane: the background is
a mesh, all else are numbers. With it, each window is worked on as it is in
the plane, and no seam can show.
"""

import math
import warnings
from dataclasses import dataclass, field, replace

import numpy as np

from ..frames.scaling import Scale, sample_step, single_precision
from ..frames.windows import grown, within
from .areas import RelativeNoise
from .background import (
    BackgroundMesh,
    joined_meshes,
    mesh_plan,
    meshes_of_window,
)
from .doubts import doubts_of
from .levels import MESH
from .model import noise_model, photons_of, relative_mesh
from .photon_map import photon_noise_map
from .sampling import is_measured_whole, sample_parts

__all__ = ['MAP_HALO', 'Measurement', 'Window', 'complete', 'measure_plane',
           'measure_sample', 'measure_window', 'read_scaled', 'read_valid',
           'read_window', 'warn_of']

MAP_HALO = 4 * MESH  # reach of a photon noise map

# Electrons of the scatter of the pixels, for any detector: at most, and one
# over it at least.
_MOST_ELECTRONS = 1e12


@dataclass(frozen=True)
class Measurement:
    """
    Noise, background and seeing of a plane.

    Parameters
    ----------
    origin : str
        Where the noise comes from, as for `~astro_denoise.noise.NoiseModel`.

    gain, read_noise : float or `None`
        As for `~astro_denoise.noise.NoiseModel`.

    level : float
        Noise of the blank sky.

    correlation : float
        Lag-1 autocorrelation of the noise, the larger one of both axes.

    fwhm : float or `None`
        Full width at half maximum of the point sources in pixels.

    scale : `~astro_denoise.frames.scaling.Scale`
        The range in which the plane is worked on; all other numbers are
        those after its division.

    electrons : tuple of float or `None`
        Gain, read noise and pedestal of the photon noise map, where the
        noise is not known and not the same in all pixels.

    expected : tuple of float or `None`
        As for `~astro_denoise.noise.NoiseModel`.

    background : `~astro_denoise.noise.background.BackgroundMesh` or `None`
        The background.

    n_valid : int
        Number of valid pixels that were measured.

    found : `~astro_denoise.noise.findings.NoiseFindings` or `None`
        All that the plane says of its noise, without the pixels that hold
        no measurement.

    relative : `~astro_denoise.noise.areas.RelativeNoise` or `None`
        Noise over that of the level, where it differs from place to place.

    supplied : `~astro_denoise.noise.supplied.SuppliedNoise` or `None`
        How noise that was given compares with that of the plane.

    rest : float or `None`
        As for `~astro_denoise.noise.NoiseModel`.
    """

    origin: str
    gain: float | None
    read_noise: float | None
    level: float
    correlation: float
    fwhm: float | None
    scale: Scale = field(default_factory=Scale)
    electrons: tuple | None = None
    background: BackgroundMesh | None = None
    n_valid: int = 1
    found: object = None
    relative: RelativeNoise | None = None
    supplied: object = None
    rest: float | None = None
    expected: tuple | None = None

    @property
    def defects(self):
        """Values that are no measurement, in single precision."""
        return () if self.found is None else self.found.defects

    @property
    def is_mosaic(self):
        """True if the pixels of each 2 x 2 have levels of their own."""
        return self.found is not None and self.found.phases.found

    @property
    def doubts_map(self):
        """True if structure may be what differs from place to place."""
        return self.relative is not None and (
            self.found.verdict == 'cannot tell')

    @property
    def wants_map(self):
        """True if the noise of all blocks is to be compared."""
        return (self.origin == 'estimated' and self.found is not None
                and self.found.may_have_map)

    def describe(self):
        """
        Put the numbers in the unit of the frame.

        Returns
        -------
        description : dict
            Origin, gain, read noise, level of the blank sky, its value if
            the noise differs from there by the light alone, correlation,
            verdict and seeing.
        """
        found = self.found
        by_light = found and self.origin != 'uncertainty' and (
            self.relative is None or self.doubts_map)
        return {
            'origin': self.origin,
            'gain': self.gain and math.ldexp(self.gain,
                                              -self.scale.exponent),
            'read_noise': self.read_noise,
            'level': math.ldexp(self.level, self.scale.exponent),
            'sky': math.ldexp(found.sky + found.pedestal,
                              self.scale.exponent) if by_light else None,
            'correlation': self.correlation or None,
            'verdict': found and found.verdict,
            'fwhm': self.fwhm}

    def whole(self, reader):
        """
        Read all of a plane that was not kept.

        Parameters
        ----------
        reader : `~astro_denoise.frames.PlaneReader`
            The plane.

        Returns
        -------
        whole : `Window`
            The plane, its noise map and background.
        """
        window = tuple(slice(0, n) for n in reader.shape)
        values, valid, noise_map = read_window(reader, self, window)
        return Window(values, valid, self.background.over(
            window, values.dtype), noise_map)

    def noise_map(self, values, valid, sigma, window):
        """
        Make the noise map of a window.

        Parameters
        ----------
        values, valid, sigma : 2D `~numpy.ndarray`
            The window, which starts at a multiple of 64 pixels in both
            axes and has a halo of `MAP_HALO` pixels; ``sigma`` may be
            `None` where the noise is not known.

        window : tuple of slice
            Its rows and columns.

        Returns
        -------
        noise_map : 2D `~numpy.ndarray`
            Noise standard deviation (float32).
        """
        if sigma is not None:
            return np.where(valid, sigma, self.level).astype(np.float32)
        if self.electrons is None:
            noise_map = np.full(values.shape, self.level, np.float32)
        else:
            gain, read_noise, pedestal = self.electrons
            noise_map = photon_noise_map(values, valid, gain, read_noise,
                                         pedestal=pedestal)
        if self.relative is not None and not self.doubts_map:
            noise_map *= self.relative.over(window, np.float32)
        return noise_map


@dataclass(frozen=True)
class Window:
    """
    The pixels of a window with their noise and background.

    Parameters
    ----------
    values, valid, background, noise_map : 2D `~numpy.ndarray`
        In the scale of the measurement.
    """

    values: np.ndarray
    valid: np.ndarray
    background: np.ndarray
    noise_map: np.ndarray

    @property
    def shape(self):
        """Rows and columns."""
        return self.values.shape

    def part(self, window):
        """
        Cut out a part.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns.

        Returns
        -------
        part : `Window`
            Views of the arrays.
        """
        return Window(self.values[window], self.valid[window],
                      self.background[window], self.noise_map[window])


def read_scaled(reader, window, scale):
    """
    Read a window, brought into the range in which it is worked on.

    Parameters
    ----------
    reader : `~astro_denoise.frames.PlaneReader`
        The plane.

    window : tuple of slice
        Rows and columns.

    scale : `~astro_denoise.frames.scaling.Scale`
        The range.

    Returns
    -------
    values, valid, sigma : 2D `~numpy.ndarray`
        Pixels beyond the range are not valid.
    """
    values, valid, sigma = reader.read(window)
    values, sigma = scale.apply(values, valid, sigma)
    return values, valid, sigma


def read_valid(reader, measurement, window):
    """
    Read a window, without pixels that hold no measurement.

    Parameters
    ----------
    reader, measurement, window : object
        As for `read_window`.

    Returns
    -------
    values, valid, sigma : 2D `~numpy.ndarray`
        As for `read_scaled`.
    """
    scale = measurement.scale
    if not measurement.defects:
        return read_scaled(reader, window, scale)
    import torch

    from .defects import defect_pixels

    part = grown(window, MESH, reader.shape)
    part = tuple(slice(max(side.start, held.start),
                       min(side.stop, held.stop))
                 for side, held in zip(part, reader.held, strict=True))
    values, valid, sigma = read_scaled(reader, part, scale)
    valid &= ~defect_pixels(
        torch.from_numpy(single_precision(values, scale.pedestal)),
        torch.from_numpy(valid), measurement.defects).numpy()
    values = np.where(valid, values, 0)
    seen = within(window, part)
    return values[seen], valid[seen], None if sigma is None else sigma[seen]


def read_window(reader, measurement, window):
    """
    Read a window with its noise map.

    Parameters
    ----------
    reader : `~astro_denoise.frames.PlaneReader`
        The plane.

    measurement : `Measurement`
        Of the plane.

    window : tuple of slice
        Rows and columns, which begin at multiples of 64 pixels.

    Returns
    -------
    values, valid, noise_map : 2D `~numpy.ndarray`
        In the scale of the measurement.
    """
    halo = 0 if reader.knows_noise else MAP_HALO
    part = grown(window, halo, reader.shape)
    values, valid, sigma = read_valid(reader, measurement, part)
    seen = within(window, part)
    noise_map = measurement.noise_map(values, valid, sigma, part)
    if noise_map[seen].shape == noise_map.shape:
        return values, valid, noise_map
    # Copies: the halo is not kept.
    return values[seen].copy(), valid[seen].copy(), noise_map[seen].copy()


def measure_plane(reader, *, gain=None, read_noise=None, keep=False):
    """
    Measure noise, background and seeing of one plane.

    A plane of up to 16 million pixels is measured as a whole. Of a larger
    one, the noise and the seeing come from pieces all over it, and the
    background from all its pixels, window by window.

    Parameters
    ----------
    reader : `~astro_denoise.frames.PlaneReader`
        The plane.

    gain, read_noise : float, optional
        As for `~astro_denoise.noise.noise_model`.

    keep : bool, optional
        Keep what was read and made of a plane that is measured as a
        whole.

    Returns
    -------
    measurement : `Measurement`
        The numbers and the mesh.

    whole : `Window` or `None`
        The whole plane, if it was kept.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.frames import open_frame
    >>> from astro_denoise.noise import measure_plane
    >>> frame = np.random.default_rng(1).normal(100, 5, (256, 256))
    >>> measurement, _ = measure_plane(open_frame(1e-30 * frame).plane())
    >>> print(f'{measurement.describe()["level"]:.1e}')
    5.0e-30
    """
    scale = _scale(reader)
    options = {'gain': gain, 'read_noise': read_noise, 'unit': reader.unit,
               'scale': scale}
    if is_measured_whole(reader.shape):
        values, valid, sigma = read_scaled(
            reader, (slice(None), slice(None)), scale)
        measurement, noise = measure_sample(values, valid, sigma, **options)
        whole = None
        if keep:
            if measurement.defects:
                values = np.where(noise.valid, values, 0)
            whole = Window(values, noise.valid, noise.background, noise.sigma)
        return measurement, whole

    def read(window):
        planes = read_scaled(reader, window, scale)
        reader.release()
        return planes

    rows = [[read(part) for part in row] for row in sample_parts(reader.shape)]
    sample = [None if rows[0][0][number] is None else
              np.block([[part[number] for part in row] for row in rows])
              for number in range(3)]
    del rows
    measurement, _ = measure_sample(*sample, **options, mapped=False)
    del sample
    parts, plan = [], mesh_plan(reader.shape)
    for tile in plan:
        planes = read_valid(reader, measurement,
                            grown(tile.window, 0, reader.shape))
        parts.append(measure_window(planes, measurement, reader.shape, tile))
        reader.release()
    return complete(measurement, parts, plan), None


def measure_window(planes, measurement, shape, tile):
    """
    Measure one window of a large plane.

    Parameters
    ----------
    planes : tuple of 2D `~numpy.ndarray`
        Of `read_valid`.

    measurement : `Measurement`
        Of a sample of the plane.

    shape, tile : object
        As for `~astro_denoise.noise.background.meshes_of_window`.

    Returns
    -------
    meshes : `~astro_denoise.noise.background.WindowMeshes`
        What the window answers for.
    """
    values, valid, _ = planes
    single = None
    if measurement.wants_map:
        import torch

        from .quantization import dither

        single = single_precision(values, measurement.scale.pedestal)
        if measurement.found.step:
            single = dither(torch.from_numpy(single),
                            measurement.found.step).numpy()
    return meshes_of_window(values, valid, shape, tile, single=single)


def _scale(reader):
    """The range in which a plane is worked on, from a sample."""
    every = slice(None, None, sample_step(reader.shape[0] * reader.shape[1]))
    for window in ((every, every),
                   *(grown(tile.window, 0, reader.shape)
                     for tile in mesh_plan(reader.shape))):
        values, valid, _ = reader.read(window)
        reader.release()
        scale = Scale.of_sample(values[valid])
        if scale is not None:
            return scale
    return Scale()


def measure_sample(values, valid, sigma, *, gain, read_noise, unit, scale,
                   mapped=True):
    """
    Measure a plane that is at hand, or a sample of one.

    Parameters
    ----------
    values, valid, sigma : 2D `~numpy.ndarray`
        The plane, brought into the range; ``sigma`` may be `None`.

    gain, read_noise, unit : optional
        As for `~astro_denoise.noise.noise_model`, of the frame itself.

    scale : `~astro_denoise.frames.scaling.Scale`
        The range.

    mapped : bool, optional
        Whether the noise of all blocks is compared.

    Returns
    -------
    measurement : `Measurement`
        Complete if this is the whole plane.

    noise : `~astro_denoise.noise.NoiseModel`
        Noise map and background of the pixels given.
    """
    gain = _scaled_gain(gain, scale)
    noise = noise_model(values, valid, sigma=sigma, gain=gain,
                        read_noise=read_noise, unit=unit,
                        pedestal=scale.pedestal, mapped=mapped)
    found = noise.found
    if found is not None:
        # The mask is as large as the plane.
        found = replace(found, defect_mask=None)
    return Measurement(
        noise.origin, noise.gain, noise.read_noise, noise.level,
        noise.correlation, found and found.seeing.fwhm, scale,
        noise.electrons, noise.mesh, int(np.count_nonzero(noise.valid)),
        found, noise.relative, noise.supplied, noise.rest,
        noise.expected), noise


def _scaled_gain(gain, scale):
    """A gain for pixels that were divided, if a detector may have it."""
    if gain is None:
        return None
    try:
        scaled = math.ldexp(gain, scale.exponent)
    except OverflowError:
        scaled = math.inf
    electrons = scaled * (scale.spread or 1.0)
    if not 1 / _MOST_ELECTRONS < electrons < _MOST_ELECTRONS:
        msg = (f'gain={gain:g} makes {electrons:.2g} electrons of the '
               f'scatter of the pixels, as that of no detector does')
        raise ValueError(msg)
    return scaled


def complete(measurement, parts, plan):
    """
    Add what was measured of all of a large plane to that of its sample.

    Parameters
    ----------
    measurement : `Measurement`
        Of `measure_sample`.

    parts, plan : list
        As for `~astro_denoise.noise.background.joined_meshes`.

    Returns
    -------
    measurement : `Measurement`
        Of the plane.
    """
    background, levels, cells = joined_meshes(parts, plan)
    measurement = replace(measurement, background=background)
    if levels is None:
        return measurement
    slope = measurement.electrons and 1 / measurement.electrons[0]
    found = measurement.found.with_map(levels, slope=slope,
                                       cells=lambda: cells)
    electrons = measurement.electrons
    if electrons is not None:
        known = (measurement.rest, measurement.read_noise) != (None, None)
        electrons = photons_of(found, electrons[0], known=known)
    expected = measurement.expected and photons_of(
        found, measurement.expected[0], known=False)
    return replace(measurement, found=found, electrons=electrons,
                   expected=expected, level=found.pixel_level,
                   relative=relative_mesh(found))


def warn_of(measurements, *, header=None, without=(), stacklevel=3):
    """
    Warn of what was found that the models are not made for.

    Parameters
    ----------
    measurements : list of `Measurement`
        Of each plane.

    header : mapping, optional
        Of the frame.

    without : sequence of str, optional
        Kinds of doubts that the caller has words of its own for.

    stacklevel : int, optional
        Of the warnings.

    Warns
    -----
    AstropyUserWarning
        One of the classes of `astro_denoise.exceptions`, for what
        `~astro_denoise.noise.doubts.doubts_of` finds.
    """
    kinds = {}
    for number, each in enumerate(measurements):
        for doubt in doubts_of(each, exponent=each.scale.exponent,
                               header=header):
            if doubt.kind not in without:
                kinds.setdefault(doubt.kind, []).append((number, doubt))
    for found in kinds.values():
        planes = {number for number, _ in found}
        for number, doubt in found:
            if number != found[0][0]:
                break
            msg = doubt.message
            if len(measurements) > 1:
                msg += f' (in {len(planes)} of {len(measurements)} planes)'
            warnings.warn(msg, doubt.category, stacklevel=stacklevel)
