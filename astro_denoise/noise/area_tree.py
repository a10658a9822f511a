# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Areas of constant noise with straight borders: amplifiers, depths of a stack.

Exposures of a dither cover rectangles, and amplifiers are rectangles: the
noise is constant on areas between rows and columns. A regression tree on the
mean squares of small cells (Breiman et al. 1984, Classification and
Regression Trees) finds them, with the likelihood of a variance for that of a
mean. Which cut comes first is a matter of chance where many gain alike:
the mean of trees that begin along either axis is nearer to the truth than
any of them (Breiman 1996, Machine Learning 24, 123).
"""

from dataclasses import dataclass

import numpy as np

from .area_cells import dispersion
from .areas import NoiseAreas

__all__ = ['find_areas']

_FIRST = 15.0     # gain in log-likelihood, of the first cut
_NEXT = 5.0       # of all others: it is known that there are areas
_LEAST = 2        # cells that an area is wide
_MOST = 500       # areas
_WIDE = 0.1       # of the plane, above which areas are cut along one axis
_REACH = 3        # cells that a border may move
_SWEEPS = 2       # over the borders
_LIT = 5.0        # times the noise, by which light may differ in an area
_MANY_LIT = 0.03  # of the cells, of which more is structure


@dataclass
class _Area:
    """
    A rectangle of cells, cut in two or not.
    """

    axis: int | None = None
    at: int = 0       # pixels
    parts: tuple = ()
    level: float = 1.0

    def leaves(self, bounds):
        """All that are not cut, with their bounds in pixels."""
        if self.axis is None:
            yield bounds, self
            return
        for part, inside in zip(self.parts, self.halves(bounds),
                                strict=True):
            yield from part.leaves(inside)

    def halves(self, bounds):
        """Bounds of both parts."""
        first, second = list(bounds), list(bounds)
        first[2 * self.axis + 1] = second[2 * self.axis] = self.at
        return tuple(first), tuple(second)

    def cuts(self, bounds):
        """All that are cut, with their bounds, the smallest first."""
        if self.axis is None:
            return
        for part, inside in zip(self.parts, self.halves(bounds),
                                strict=True):
            yield from part.cuts(inside)
        yield bounds, self


def _corners(plane):
    """Sums over all rectangles that begin at the corner."""
    return np.pad(plane, ((1, 0), (1, 0))).cumsum(0).cumsum(1)


def _deviance(squares, number):
    """Minus twice the log-likelihood of some squares for their mean."""
    known = number > 0
    mean = squares / np.where(known, number, 1)
    return number * np.log(np.where(mean > 0, mean, 1))


def _best_cut(sums, bounds, least, axes=(0, 1)):
    """
    The cut of a rectangle of cells that gains most, its axis and place.
    """
    top, bottom, left, right = bounds
    best = (least, None, 0)
    for axis in axes:
        before, after, whole = [], [], []
        for one in sums:
            line = (one[top:bottom + 1, right] - one[top:bottom + 1, left]
                    if axis == 0 else
                    one[bottom, left:right + 1] - one[top, left:right + 1])
            before.append((line - line[0])[_LEAST:-_LEAST])
            after.append((line[-1] - line)[_LEAST:-_LEAST])
            whole.append(line[-1] - line[0])
        if before[0].size == 0:
            continue
        gain = (_deviance(*whole) - _deviance(*before)
                - _deviance(*after)) / 2
        place = int(gain.argmax())
        if gain[place] > best[0]:
            best = (float(gain[place]), axis, place + _LEAST)
    return best[1:]


def _grown_tree(cells, sums, unit, first):
    """
    Cut the plane where that gains more than so many units.

    Wide areas are cut along the axes given as long as that gains enough.
    """
    shape = cells.squares.shape
    root, number = _Area(), 1
    waiting = [(root, (0, shape[0], 0, shape[1]))]
    while waiting and number < _MOST:
        area, bounds = waiting.pop()
        least = unit * (_FIRST if number == 1 else _NEXT)
        pixels = (bounds[1] - bounds[0]) * (bounds[3] - bounds[2])
        axis = None
        if len(first) == 1 and pixels > _WIDE * cells.squares.size:
            axis, place = _best_cut(sums, bounds, least, first)
        if axis is None:
            axis, place = _best_cut(sums, bounds, least)
        if axis is None:
            continue
        place += bounds[2 * axis]
        area.axis, area.at = axis, place * cells.size
        area.parts = (_Area(), _Area())
        before, after = list(bounds), list(bounds)
        before[2 * axis + 1] = after[2 * axis] = place
        waiting += [(area.parts[0], before), (area.parts[1], after)]
        number += 1
    return root


def _set_levels(root, cells, sums):
    """
    Set the variance of each area, and paint it on the cells.
    """
    size = cells.size
    whole = tuple(size * n for pair in zip((0, 0), cells.squares.shape,
                                           strict=True) for n in pair)
    painted = np.empty(cells.squares.shape)
    for bounds, area in root.leaves(whole):
        # cells that lie inside, else those whose centers do
        top, left = (-(-one // size) for one in bounds[::2])
        bottom, right = (one // size for one in bounds[1::2])
        if bottom <= top or right <= left:
            top, bottom, left, right = (
                (one + size // 2) // size for one in bounds)
        squares, number = (
            one[bottom, right] - one[top, right] - one[bottom, left]
            + one[top, left] for one in sums)
        if number > 0 and squares > 0:
            area.level = float(squares / number)
        centers = tuple((one + size // 2) // size for one in bounds)
        painted[centers[0]:centers[1], centers[2]:centers[3]] = area.level
    return painted


def _move_borders(root, cells, painted):
    """
    Move each border to the pixel where it is most likely.

    A cell that a border crosses has the noise of both sides, by their
    shares.
    """
    size, shape = cells.size, cells.squares.shape
    whole = (0, size * shape[0], 0, size * shape[1])
    for bounds, area in root.cuts(whole):
        axis, at = area.axis, area.at
        near = [edge for part, inside in zip(
            area.parts, area.halves(bounds), strict=True)
            for leaf, _ in part.leaves(inside)
            for edge in leaf[2 * axis:2 * axis + 2]]
        low = max(one for one in near if one < at) + size
        high = min(one for one in near if one > at) - size
        low = max(low, at - _REACH * size) // size
        high = -(-min(high, at + _REACH * size) // size)
        lines = _lines(cells, painted, bounds, axis)
        if high - low < 1 or lines[0].size == 0:
            continue
        middle = (at + size // 2) // size
        before = lines[2][max(middle - 1, 0)]
        after = lines[2][min(middle, len(lines[2]) - 1)]
        place, _ = _best_place(*(one[low:high] for one in lines[:2]),
                               before, after, size)
        area.at = low * size + place


def _lines(cells, painted, bounds, axis):
    """
    Squares, number and variance of the lines of cells across an area.
    """
    across = slice(*((one + cells.size // 2) // cells.size
                     for one in bounds[2 * (1 - axis):2 * (1 - axis) + 2]))
    return [one[:, across] if axis == 0 else one[across].T
            for one in (cells.squares, cells.number, painted)]


def _best_place(squares, number, before, after, size):
    """
    The pixel of some lines of cells at which a border is most likely.

    And minus twice the logarithm of the likelihood.
    """
    share = np.arange(size)[:, np.newaxis] / size
    # one line of cells after the other, with the border at all its pixels
    mixed = _cost(squares, number, share * before + (1 - share) * after)
    first = _cost(squares, number, before[np.newaxis])[:, 0]
    first, last = np.cumsum(first) - first, mixed[:, 0]
    last = np.cumsum(last[::-1])[::-1] - last
    mixed += (first + last)[:, np.newaxis]
    return int(mixed.argmin()), float(mixed.min())


def _cost(squares, number, variance):
    """Minus twice the log-likelihood of lines, for lines of variances."""
    return number @ np.log(variance).T + squares @ (1 / variance).T


def _drop_slivers(root, cells, painted, unit):
    """
    Take out narrow areas that are but the cells which a border crosses.
    """
    size = cells.size
    whole = tuple(size * n for pair in zip((0, 0), cells.squares.shape,
                                           strict=True) for n in pair)
    for bounds, area in list(root.cuts(whole)):
        for side, child in enumerate(area.parts):
            if child.axis != area.axis or (
                    child.parts[1 - side].axis is not None):
                continue
            low, high = sorted((area.at // size, child.at // size))
            if high - low > _LEAST:
                continue
            squares, number, variance = _lines(cells, painted, bounds,
                                               area.axis)
            place, one = _best_place(
                squares[low:high], number[low:high], variance[low - 1],
                variance[high], size)
            both = sum(float(_cost(squares[line], number[line],
                                   variance[line]))
                       for line in range(low, high))
            if one - both < 2 * unit * _NEXT:
                area.at = low * size + place
                area.parts = tuple(
                    child.parts[side] if number == side else part
                    for number, part in enumerate(area.parts))
                break


def find_areas(cells):
    """
    Find areas of constant noise.

    Parameters
    ----------
    cells : `AreaCells`
        Of a plane.

    Returns
    -------
    areas : `NoiseAreas` or `None`
        With the noise of each, in the unit of the cells; `None` where
        there is only one, or their light is not that of a sky.
    """
    if min(cells.squares.shape) < 2 * _LEAST or not cells.number.any():
        return None
    unit = dispersion(cells)
    sums = [_corners(one) for one in (cells.squares, cells.number)]
    divisions = []
    for axes in ((0, 1), (0,), (1,)):
        root = _grown_tree(cells, sums, unit, axes)
        if root.axis is None:
            return None
        _drop_slivers(root, cells, _set_levels(root, cells, sums), unit)
        for _ in range(_SWEEPS):
            _move_borders(root, cells, _set_levels(root, cells, sums))
        _set_levels(root, cells, sums)
        divisions.append(_division(root, cells))
        if _is_structure(*divisions[0], cells):
            return None
    return NoiseAreas(tuple(divisions))


def _is_structure(bounds, factors, cells):
    """
    Tell if areas have light of their own, which noise may come from.
    """
    far = known = 0
    for corners, factor in zip(bounds, factors, strict=True):
        top, bottom, left, right = (corners + cells.size // 2) // cells.size
        used = cells.number[top:bottom, left:right] > 0
        if used.any():
            light = cells.light[top:bottom, left:right][used]
            away = np.abs(light - np.median(light)) > _LIT * factor
            far += np.count_nonzero(away)
            known += light.size
    return far > _MANY_LIT * known


def _division(root, cells):
    """
    Bounds and noise of all areas; the last ones end with the plane.
    """
    # what is left beside the last whole cell belongs to it
    bottom, right = (cells.size * (n + 1) for n in cells.squares.shape)
    leaves = list(root.leaves((0, bottom, 0, right)))
    return (np.array([bounds for bounds, _ in leaves]),
            np.sqrt([area.level for _, area in leaves]))
