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

from ..exceptions import CorrelatedNoiseWarning
from ..frames.scaling import Scale, sample_step
from ..frames.windows import grown, within
from .background import (
    BackgroundMesh,
    mesh_of_window,
    mesh_of_windows,
    mesh_plan,
)
from .levels import MESH
from .model import noise_model
from .photon_map import electrons_of_sky, photon_noise_map
from .sampling import is_measured_whole, sample_parts
from .seeing import estimate_fwhm

__all__ = ['MAP_HALO', 'Measurement', 'Window', 'complete', 'measure_plane',
           'measure_sample', 'read_scaled', 'read_window', 'warn_of']

MAP_HALO = 4 * MESH  # reach of a photon noise map

# Lag-1 autocorrelation of the blank background above which the noise is no
# longer independent from pixel to pixel, as the models assume.
_LARGEST_CORRELATION = 0.05

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
        Lag-1 autocorrelation of the blank sky.

    fwhm : float or `None`
        Full width at half maximum of the point sources in pixels.

    scale : `~astro_denoise.frames.scaling.Scale`
        The range in which the plane is worked on; all other numbers are
        those after its division.

    electrons : tuple of float or `None`
        Gain, read noise and pedestal of the photon noise map, where the
        noise is not known and not the same in all pixels.

    background : `~astro_denoise.noise.background.BackgroundMesh` or `None`
        The background.

    n_valid : int
        Number of valid pixels that were measured.
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

    def describe(self):
        """
        Put the numbers in the unit of the frame.

        Returns
        -------
        description : dict
            Origin, gain, read noise, level, correlation and seeing.
        """
        return {
            'origin': self.origin,
            'gain': self.gain and math.ldexp(self.gain,
                                              -self.scale.exponent),
            'read_noise': self.read_noise,
            'level': math.ldexp(self.level, self.scale.exponent),
            'correlation': self.correlation, 'fwhm': self.fwhm}

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

    def noise_map(self, values, valid, sigma):
        """
        Make the noise map of a window.

        Parameters
        ----------
        values, valid, sigma : 2D `~numpy.ndarray`
            The window, which starts at a multiple of 64 pixels in both
            axes and has a halo of `MAP_HALO` pixels; ``sigma`` may be
            `None` where the noise is not known.

        Returns
        -------
        noise_map : 2D `~numpy.ndarray`
            Noise standard deviation (float32).
        """
        if sigma is not None:
            return np.where(valid, sigma, self.level).astype(np.float32)
        if self.electrons is None:
            return np.full(values.shape, self.level, np.float32)
        gain, read_noise, pedestal = self.electrons
        return photon_noise_map(values, valid, gain, read_noise,
                                pedestal=pedestal)


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
    values, valid, sigma = read_scaled(reader, part, measurement.scale)
    seen = within(window, part)
    noise_map = measurement.noise_map(values, valid, sigma)
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
        whole = (Window(values, valid, noise.background, noise.sigma)
                 if keep else None)
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
    measurement, _ = measure_sample(*sample, **options)
    del sample
    meshes, plan = [], mesh_plan(reader.shape)
    for tile in plan:
        values, valid, _ = read(grown(tile.window, 0, reader.shape))
        meshes.append(mesh_of_window(values, valid, reader.shape, tile))
    return complete(measurement, meshes, plan), None


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


def measure_sample(values, valid, sigma, *, gain, read_noise, unit, scale):
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

    Returns
    -------
    measurement : `Measurement`
        Complete if this is the whole plane.

    noise : `~astro_denoise.noise.NoiseModel`
        Noise map and background of the pixels given.
    """
    gain = _scaled_gain(gain, scale)
    noise = noise_model(values, valid, sigma=sigma, gain=gain,
                        read_noise=read_noise, unit=unit)
    fwhm = estimate_fwhm(values, noise.background, noise.sigma, valid)
    return Measurement(
        noise.origin, noise.gain, noise.read_noise, noise.level,
        noise.correlation, fwhm, scale, noise.electrons, noise.mesh,
        int(np.count_nonzero(valid))), noise


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


def complete(measurement, meshes, plan):
    """
    Add the background of a plane of which only a sample was measured.

    Parameters
    ----------
    measurement : `Measurement`
        Of `measure_sample`.

    meshes, plan : list
        As for `~astro_denoise.noise.background.mesh_of_windows`.

    Returns
    -------
    measurement : `Measurement`
        Of the plane.
    """
    background = mesh_of_windows(meshes, plan)
    electrons = measurement.electrons
    if electrons is not None and measurement.origin == 'estimated':
        electrons = electrons_of_sky(background.level, measurement.level,
                                     measurement.gain)
    return replace(measurement, electrons=electrons, background=background)


def warn_of(measurements, *, stacklevel=3):
    """
    Warn of what was found that the models are not made for.

    Parameters
    ----------
    measurements : list of `Measurement`
        Of each plane.

    stacklevel : int, optional
        Of the warnings.

    Warns
    -----
    CorrelatedNoiseWarning
        If the noise of neighbouring pixels is correlated.
    """
    correlation = max((each.correlation for each in measurements), default=0)
    if correlation > _LARGEST_CORRELATION:
        msg = (f'the noise of neighbouring pixels is correlated (lag-1 '
               f'autocorrelation {correlation:.2f}), as in resampled frames: '
               f'the models take it for independent, and the uncertainty '
               f'returned is too small')
        warnings.warn(msg, CorrelatedNoiseWarning, stacklevel=stacklevel)
