# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The smooth background of a plane: a mesh, and its values on pixels.
"""

from dataclasses import dataclass

import numpy as np

from ..frames.windows import plan_tiles
from .levels import MESH, Sky
from .strips import fill_holes, upsample

__all__ = ['BackgroundMesh', 'mesh_of_window', 'mesh_of_windows', 'mesh_plan']

# Pixels that the mesh of a large plane is measured on at once, a side, and
# what of them is only there for its filter.
_WINDOW = 2304
_HALO = 2 * MESH


@dataclass(frozen=True)
class BackgroundMesh:
    """
    The background in cells of 64 x 64 pixels.

    Parameters
    ----------
    mesh : 2D `~numpy.ndarray`
        The background as a multiple of ``scale`` above ``centre``
        (float32): single precision holds the differences from a typical
        value.

    centre, scale : float
        What the mesh is counted in.
    """

    mesh: np.ndarray
    centre: float = 0.0
    scale: float = 1.0

    @property
    def level(self):
        """Median background."""
        return self.centre + self.scale * float(np.median(self.mesh))

    def over(self, window, dtype):
        """
        The background on the pixels of a window.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns; both begin at multiples of 64.

        dtype : `numpy.dtype`
            Type of the result.

        Returns
        -------
        background : 2D `~numpy.ndarray`
            On every pixel.
        """
        shape = tuple(side.stop - side.start for side in window)
        # One cell on each side is what the interpolation sees.
        first = [max(0, side.start // MESH - 1) for side in window]
        mesh = self.mesh[tuple(
            slice(low, -(-side.stop // MESH) + 1)
            for low, side in zip(first, window, strict=True))]
        rows, columns = (side.start - MESH * low
                         for side, low in zip(window, first, strict=True))
        plane = upsample(mesh, tuple(MESH * n for n in mesh.shape), MESH,
                         slice(rows, rows + shape[0]))
        # In the order of `Sky.background`: not a bit is to differ.
        out = np.empty(shape, dtype)
        np.multiply(plane[:, columns:columns + shape[1]], self.scale,
                    out=out)
        out += self.centre
        return out


def mesh_plan(shape):
    """
    The windows in which the mesh of a large plane is measured.
    """
    return plan_tiles(shape, _WINDOW, halo=_HALO, stride=MESH).tiles


def mesh_of_window(values, valid, shape, tile):
    """
    The part of the mesh that one window answers for.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        The pixels of the window.

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


def mesh_of_windows(meshes, plan):
    """
    The mesh of a plane from those of its windows.

    Parameters
    ----------
    meshes : list of 2D `~numpy.ndarray`
        Of `mesh_of_window`, in the order of the plan.

    plan : tuple of `~astro_denoise.frames.windows.Tile`
        Of `mesh_plan`.

    Returns
    -------
    background : `BackgroundMesh`
        The whole, without holes.
    """
    size = [max(-(-tile.core[axis].stop // MESH) for tile in plan)
            for axis in (0, 1)]
    mesh = np.empty(size)
    for part, tile in zip(meshes, plan, strict=True):
        rows, columns = (slice(core.start // MESH, -(-core.stop // MESH))
                         for core in tile.core)
        mesh[rows, columns] = part
    fill_holes(mesh)
    centre = float(np.median(mesh))
    return BackgroundMesh((mesh - centre).astype(np.float32), centre)
