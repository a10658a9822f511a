# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Cut a frame into tiles: pure geometry.
"""

from dataclasses import dataclass

__all__ = ['Tile', 'TilePlan', 'grown', 'outwards', 'plan_tiles', 'within']


@dataclass(frozen=True)
class Tile:
    """
    One tile: the window that the network sees, and the part it answers.

    Attributes
    ----------
    window : tuple of slice
        Rows and columns of the frame that the network sees. It may end
        beyond the frame, where nothing is valid.

    core : tuple of slice
        Rows and columns of the frame that are taken from the answer.
    """

    window: tuple
    core: tuple


@dataclass(frozen=True)
class TilePlan:
    """
    All tiles of a frame: windows of one shape, cores without overlap.

    Attributes
    ----------
    window_shape : tuple of int
        Shape of every window.

    tiles : tuple of `Tile`
        In the order of rows, then columns.
    """

    window_shape: tuple
    tiles: tuple


def _round_up(number, stride):
    return -(-number // stride) * stride


def _plan_axis(length, size, halo, stride):
    """Windows and cores along one axis, and the length of a window."""
    padded = _round_up(length, stride)
    size = _round_up(max(size, 1), stride)
    if padded <= size:
        return padded, [((0, padded), (0, length))]
    # A window answers for what lies more than the halo inside its ends,
    # except that an end of the frame needs no halo.
    size = max(size, _round_up(2 * halo + stride, stride))
    if padded <= size:
        return padded, [((0, padded), (0, length))]
    # As few windows as the size allows, and those no larger than needed.
    step = (size - 2 * halo) // stride * stride
    n_steps = -(-(padded - size) // step)
    while size - stride + n_steps * (step - stride) >= padded:
        size, step = size - stride, step - stride
    parts, start, answered = [], 0, 0
    while answered < length:
        start = min(start, padded - size)
        end = start + size - halo if start + size < padded else length
        parts.append(((start, start + size), (answered, end)))
        answered, start = end, start + step
    return size, parts


def plan_tiles(shape, size, *, halo, stride):
    """
    Cut a frame into overlapping windows.

    Origins are multiples of the stride of the network and windows are
    of one shape, so that every pixel goes through the same arithmetic
    wherever the cuts fall; each core lies at least a halo inside its
    window, or at an end of the frame.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the frame.

    size : int or tuple of int
        Pixels per side of a window; made larger where it does not hold
        two halos and one stride, smaller where the frame is.

    halo : int
        Pixels that influence a result, on each side.

    stride : int
        Window origins and sizes are multiples of it.

    Returns
    -------
    plan : `TilePlan`
        The tiles.

    Examples
    --------
    >>> from astro_denoise.frames.windows import plan_tiles
    >>> plan = plan_tiles((100, 40), 64, halo=10, stride=8)
    >>> plan.window_shape
    (64, 40)
    >>> [tile.window[0] for tile in plan.tiles]
    [slice(0, 64, None), slice(40, 104, None)]
    >>> [tile.core[0] for tile in plan.tiles]
    [slice(0, 54, None), slice(54, 100, None)]
    """
    if min(shape) < 1 or stride < 1 or halo < 0:
        msg = (f'shape and stride must be positive and halo not negative, '
               f'got {shape!r}, {stride!r} and {halo!r}')
        raise ValueError(msg)
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    (height, rows), (width, columns) = (
        _plan_axis(length, side, halo, stride)
        for length, side in zip(shape, sizes, strict=True))
    tiles = tuple(
        Tile((slice(*window_y), slice(*window_x)),
             (slice(*core_y), slice(*core_x)))
        for window_y, core_y in rows for window_x, core_x in columns)
    return TilePlan((height, width), tiles)


def grown(window, halo, shape):
    """
    A window with a halo, as far as the plane goes.

    Parameters
    ----------
    window : tuple of slice
        Rows and columns; may end beyond the plane.

    halo : int
        Pixels to add on every side.

    shape : tuple of int
        Shape of the plane.

    Returns
    -------
    window : tuple of slice
        Within the plane.
    """
    return tuple(slice(max(0, side.start - halo), min(side.stop + halo, n))
                 for side, n in zip(window, shape, strict=True))


def outwards(window, step, shape):
    """
    A window that begins at multiples of ``step`` pixels, within the plane.
    """
    return tuple(slice(side.start // step * step, min(side.stop, n))
                 for side, n in zip(window, shape, strict=True))


def within(inner, outer):
    """
    The slices of an outer window that give an inner one.

    Both are given as slices of the plane; what of the inner one lies
    outside is left out.
    """
    return tuple(slice(max(a.start, b.start) - b.start,
                       min(a.stop, b.stop) - b.start)
                 for a, b in zip(inner, outer, strict=True))
