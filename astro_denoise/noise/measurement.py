# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What has to be known of a whole plane before a part of it is denoised.

Noise level, gain and seeing are numbers of the plane, and the background is
a mesh of 64 x 64 pixels: all of it is small, whatever the size of the plane.
With it, each part is denoised as it is in the plane, and no seam can show.
"""

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np

from ..exceptions import CorrelatedNoiseWarning
from ..frames.windows import plan_tiles
from .levels import MESH, Sky
from .model import noise_model
from .photon_map import electrons_of_sky, photon_noise_map
from .seeing import estimate_fwhm
from .strips import fill_holes, upsample

__all__ = ['MAP_HALO', 'WHOLE', 'Measured', 'background_mesh',
           'map_parameters', 'measure_sample', 'mesh_plan', 'sample_parts',
           'stacked', 'warn_of_correlation']

# A plane of up to this many pixels is measured as a whole. Of a larger one
# noise and seeing are measured on as many pixels, in pieces from all over it.
WHOLE = 2**24
_PIECE = 256  # pixels a side
_N_PIECES = WHOLE // _PIECE**2

# Pixels that the background mesh is measured on at once, a side, and what
# of them is only there for its filter.
_MESH_WINDOW = 2304
_MESH_HALO = 2 * MESH

MAP_HALO = 4 * MESH  # reach of a photon noise map

# Lag-1 autocorrelation of the blank background above which the noise is no
# longer independent from pixel to pixel, as the models assume.
_LARGEST_CORRELATION = 0.05


@dataclass(frozen=True)
class Measured:
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

    exponent : int
        The power of two by which pixels are divided; all other numbers
        are those after the division.

    electrons : tuple of float or `None`
        Gain, read noise and pedestal of the photon noise map, where the
        noise is not known and not the same in all pixels.

    mesh : 2D `~numpy.ndarray`
        The background in cells of 64 x 64 pixels, as a multiple of
        ``scale`` above ``centre``.

    centre, scale : float
        What the mesh is counted in.
    """

    origin: str
    gain: float | None
    read_noise: float | None
    level: float
    correlation: float
    fwhm: float | None
    exponent: int
    electrons: tuple | None = None
    mesh: np.ndarray | None = None
    centre: float = 0.0
    scale: float = 1.0

    def log(self):
        """What is logged of it, in the unit of the frame."""
        return (self.origin,
                self.gain and math.ldexp(self.gain, -self.exponent),
                self.read_noise, math.ldexp(self.level, self.exponent),
                self.correlation, self.fwhm)

    def background(self, start, shape, dtype):
        """
        The background in a part of the plane.

        Parameters
        ----------
        start : tuple of int
            First row and column, multiples of 64.

        shape : tuple of int
            Rows and columns.

        dtype : `numpy.dtype`
            Type of the result.

        Returns
        -------
        background : 2D `~numpy.ndarray`
            On every pixel.
        """
        # One cell on each side is what the interpolation sees.
        first = [max(0, n // MESH - 1) for n in start]
        cells = tuple(slice(low, -(-(n + length) // MESH) + 1) for low, n,
                      length in zip(first, start, shape, strict=True))
        mesh = self.mesh[cells]
        skip = [n - MESH * low for n, low in zip(start, first, strict=True)]
        whole = tuple(MESH * n for n in mesh.shape)
        plane = upsample(mesh, whole, MESH,
                         slice(skip[0], skip[0] + shape[0]))
        # In the order of `Sky.background`: not a bit is to differ.
        out = np.empty(shape, dtype)
        np.multiply(plane[:, skip[1]:skip[1] + shape[1]], self.scale,
                    out=out)
        out += self.centre
        return out

    def noise_map(self, values, valid, sigma):
        """
        The noise in a part of the plane.

        Parameters
        ----------
        values, valid, sigma : 2D `~numpy.ndarray`
            The part, which starts at a multiple of 64 pixels in both axes
            and has a halo of `MAP_HALO` pixels; ``sigma`` may be `None`
            where the noise is not known.

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


def mesh_plan(shape):
    """
    The windows in which the background mesh of a large plane is measured.
    """
    return plan_tiles(shape, _MESH_WINDOW, halo=_MESH_HALO,
                      stride=MESH).tiles


def background_mesh(values, valid, shape, tile):
    """
    The part of the background mesh that one window answers for.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        What is in the window.

    shape : tuple of int
        Shape of the plane.

    tile : `~astro_denoise.frames.windows.Tile`
        One of `mesh_plan`.

    Returns
    -------
    mesh : 2D `~numpy.ndarray`
        The background, NaN where nothing is valid.
    """
    cells = tuple(-(-n // MESH) for n in values.shape)
    if valid.any():
        sky = Sky(values, valid)
        mesh = np.broadcast_to(
            sky.centre + sky.scale * sky.mesh.astype(float), cells)
    else:
        mesh = np.full(cells, np.nan)
    part = tuple(slice((core.start - window.start) // MESH,
                       -(-(min(core.stop, n) - window.start) // MESH))
                 for core, window, n in zip(tile.core, tile.window, shape,
                                            strict=True))
    return mesh[part]


def stacked(meshes, plan):
    """
    The whole background mesh from those of the windows.
    """
    size = [max(-(-tile.core[axis].stop // MESH) for tile in plan)
            for axis in (0, 1)]
    mesh = np.empty(size)
    for part, tile in zip(meshes, plan, strict=True):
        rows, columns = (slice(core.start // MESH, -(-core.stop // MESH))
                         for core in tile.core)
        mesh[rows, columns] = part
    return fill_holes(mesh)


def sample_parts(shape):
    """
    Pieces from all over a large plane, as rows of slices.

    Put together in this order they make a plane of about `WHOLE` pixels.
    """
    size = [min(n, _PIECE) for n in shape]
    most = [n // length for n, length in zip(shape, size, strict=True)]
    n_rows = min(most[0], max(math.isqrt(_N_PIECES), _N_PIECES // most[1]))
    n_columns = min(most[1], _N_PIECES // n_rows)
    rows, columns = (
        [slice(first, first + length) for first in
         (np.linspace(0, (n - length) // MESH, number).astype(int) * MESH
          ).tolist()]
        for n, length, number in zip(shape, size, (n_rows, n_columns),
                                     strict=True))
    return [[(row, column) for column in columns] for row in rows]


def measure_sample(values, valid, sigma, *, gain, read_noise, unit,
                   exponent):
    """
    Noise and seeing of a plane or of a sample of one.

    Parameters
    ----------
    values, valid, sigma : 2D `~numpy.ndarray`
        The plane, divided by the power of two; ``sigma`` may be `None`.

    gain, read_noise, unit : optional
        As for `~astro_denoise.noise.noise_model`, of the frame itself.

    exponent : int
        The power of two.

    Returns
    -------
    measured : `Measured`
        Without a background mesh.

    noise : `~astro_denoise.noise.NoiseModel`
        The planes too.
    """
    noise = noise_model(
        values, valid, sigma=sigma, read_noise=read_noise, unit=unit,
        gain=None if gain is None else math.ldexp(gain, exponent))
    fwhm = estimate_fwhm(values, noise.background, noise.sigma, valid)
    return Measured(noise.origin, noise.gain, noise.read_noise, noise.level,
                    noise.correlation, fwhm, exponent,
                    noise.electrons), noise


def map_parameters(measured, mesh, centre=0.0, scale=1.0):
    """
    Add what the noise map and the background of a part need.

    Parameters
    ----------
    measured : `Measured`
        From `measure_sample`.

    mesh : 2D `~numpy.ndarray`
        The background of the whole plane.

    centre, scale : float, optional
        What it is counted in.

    Returns
    -------
    measured : `Measured`
        Complete.
    """
    if mesh.dtype == float:
        # Single precision holds the differences from a typical value.
        centre = float(np.median(mesh))
        mesh = (mesh - centre).astype(np.float32)
    electrons = measured.electrons
    if electrons is not None and measured.origin == 'estimated':
        sky = centre + scale * float(np.median(mesh))
        electrons = electrons_of_sky(sky, measured.level, measured.gain)
    return replace(measured, electrons=electrons, mesh=mesh, centre=centre,
                   scale=scale)


def warn_of_correlation(measured):
    """
    Warn where the noise of neighbouring pixels is correlated.

    Parameters
    ----------
    measured : list of `Measured`
        What is known of each plane.
    """
    correlation = max(each.correlation for each in measured)
    if correlation > _LARGEST_CORRELATION:
        msg = (f'the noise of neighbouring pixels is correlated (lag-1 '
               f'autocorrelation {correlation:.2f}), as in resampled frames: '
               f'the models take it for independent, and the uncertainty '
               f'returned is too small')
        warnings.warn(msg, CorrelatedNoiseWarning, stacklevel=3)
