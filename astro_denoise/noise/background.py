# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The smooth background of a plane: a mesh, and its values on pixels.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..frames.windows import plan_tiles
from .levels import MESH, Sky
from .strips import fill_holes, upsample

__all__ = ['BackgroundMesh', 'WindowMeshes', 'joined_meshes', 'mesh_plan',
           'meshes_of_window']

# Pixels that the mesh of a large plane is measured on at once, a side, and
# what of them is only there for its filter.
_WINDOW = 2304
_HALO = 2 * MESH


@dataclass(frozen=True)
class BackgroundMesh:
    """
    The background in cells of pixels, or another smooth plane.

    Parameters
    ----------
    mesh : 2D `~numpy.ndarray`
        The background as a multiple of ``scale`` above ``center``
        (float32): single precision holds the differences from a typical
        value.

    center, scale : float
        What the mesh is counted in.

    cell : int
        Pixels per side of a cell, of which 64 is a multiple.
    """

    mesh: np.ndarray
    center: float = 0.0
    scale: float = 1.0
    cell: int = MESH

    @property
    def level(self):
        """Median background."""
        return self.center + self.scale * float(np.median(self.mesh))

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
        cell = self.cell
        first = [max(0, side.start // cell - 1) for side in window]
        mesh = self.mesh[tuple(
            slice(low, -(-side.stop // cell) + 1)
            for low, side in zip(first, window, strict=True))]
        rows, columns = (side.start - cell * low
                         for side, low in zip(window, first, strict=True))
        plane = upsample(mesh, tuple(cell * n for n in mesh.shape), cell,
                         slice(rows, rows + shape[0]))
        # In the order of `Sky.background`: not a bit is to differ.
        out = np.empty(shape, dtype)
        np.multiply(plane[:, columns:columns + shape[1]], self.scale,
                    out=out)
        out += self.center
        return out


def mesh_plan(shape):
    """
    The windows in which the mesh of a large plane is measured.
    """
    return plan_tiles(shape, _WINDOW, halo=_HALO, stride=MESH).tiles


@dataclass(frozen=True)
class WindowMeshes:
    """
    Meshes that one window of a large plane contributes.

    Parameters
    ----------
    background : 2D `~numpy.ndarray`
        The background in cells, NaN where nothing is valid.

    levels : `~astro_denoise.noise.block_map.BlockLevels` or `None`
        Noise and light of the blocks, if the map is wanted.

    cells : `~astro_denoise.noise.area_cells.AreaCells` or `None`
        Squares of small cells, likewise.
    """

    background: np.ndarray
    levels: object = None
    cells: object = None


def meshes_of_window(values, valid, shape, tile, *, single=None):
    """
    Measure the meshes that one window of a large plane answers for.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        The pixels of the window.

    shape : tuple of int
        Shape of the plane.

    tile : `~astro_denoise.frames.windows.Tile`
        One of `mesh_plan`.

    single : 2D `~numpy.ndarray`, optional
        The pixels in single precision, if noise and light of the blocks
        are wanted.

    Returns
    -------
    meshes : `WindowMeshes`
        Of its core.
    """
    cells = tuple(-(-n // MESH) for n in values.shape)
    if valid.any():
        sky = Sky(values, valid)
        mesh = np.broadcast_to(
            sky.center + sky.scale * sky.mesh.astype(float), cells)
    else:
        mesh = np.full(cells, np.nan)
    core = tuple(slice(core.start - window.start,
                       min(core.stop, n) - window.start)
                 for core, window, n in zip(tile.core, tile.window, shape,
                                            strict=True))
    part = tuple(slice(side.start // MESH, -(-side.stop // MESH))
                 for side in core)
    levels = cells = None
    if single is not None:
        import torch

        from .area_cells import area_cells
        from .block_map import block_levels

        planes = [torch.from_numpy(each[core]) for each in (single, valid)]
        levels = block_levels(*planes, large=True)
        cells = area_cells(*planes, levels)
    return WindowMeshes(mesh[part], levels, cells)


def joined_meshes(parts, plan):
    """
    Put the meshes of the windows of a plane together.

    Parameters
    ----------
    parts : list of `WindowMeshes`
        Of `meshes_of_window`, in the order of the plan.

    plan : tuple of `~astro_denoise.frames.windows.Tile`
        Of `mesh_plan`.

    Returns
    -------
    background : `BackgroundMesh`
        The whole, without holes.

    levels : `~astro_denoise.noise.block_map.BlockLevels` or `None`
        Of all blocks.

    cells : `~astro_denoise.noise.area_cells.AreaCells` or `None`
        Of the plane.
    """
    mesh = _joined([part.background for part in parts], plan)
    fill_holes(mesh)
    center = float(np.median(mesh))
    background = BackgroundMesh((mesh - center).astype(np.float32), center)
    levels, cells = parts[0].levels, None
    if levels is not None:
        import torch

        from .area_cells import AreaCells

        cells = AreaCells(*(
            _joined([getattr(part.cells, name) for part in parts], plan,
                    parts[0].cells.size)
            for name in ('squares', 'number', 'light')),
            parts[0].cells.size)
        levels = replace(levels, **{
            name: torch.from_numpy(_joined(
                [getattr(part.levels, name).numpy() for part in parts],
                plan)) for name in ('logs', 'errors', 'dark')})
    return background, levels, cells


def _joined(meshes, plan, cell=MESH):
    """
    Put the meshes of windows together, each at its place.
    """
    corners = [[core.start // cell for core in tile.core] for tile in plan]
    size = [max(corner[axis] + part.shape[axis] for corner, part in zip(
        corners, meshes, strict=True)) for axis in (0, 1)]
    whole = np.empty(size)
    for (row, column), part in zip(corners, meshes, strict=True):
        whole[row:row + part.shape[0], column:column + part.shape[1]] = part
    return whole
