# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pixels of a plane that hold no measurement, though nobody says so.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ['Defect', 'defect_pixels', 'find_defects']

_CELL = 4             # pixels a side of an area of one exact value
_SAMPLE = 250_000     # pixels
_LEAST_SHARE = 1e-4   # of the pixels that hold an extreme value
_LEAST_NUMBER = 5
_GAP = 6.0            # scatter of the sky between it and the others
_MOST_VALUES = 6
_RING = 0.25          # share of what lies around it that is not a step away


@dataclass(frozen=True)
class Defect:
    """
    Pixels without a measurement that have one value.

    Attributes
    ----------
    value : float
        The value.

    share : float
        Of the valid pixels.

    kind : {'area', 'extreme'}
        Whether they were found as areas, or as an extreme value that many
        pixels hold.
    """

    value: float
    share: float
    kind: str


def find_defects(values, valid, *, step=0.0):
    """
    Find pixels that hold no measurement.

    These are areas of one exact value (borders of zeros, saturated stars)
    whose surroundings lie far from it, and an extreme value that many
    pixels hold and that stands away from all others (sentinels such as
    -9999 or 65535, dead pixels, saturation).

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane, and `False` where a pixel must not be used.

    step : float, optional
        What the values are counted in; 0 if in nothing.

    Returns
    -------
    mask : 2D bool `~torch.Tensor`
        `True` where a pixel holds no measurement.

    defects : tuple of `Defect`
        One for each value, the largest share first.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.defects import find_defects
    >>> values = torch.randn(100, 100) + 20
    >>> values[:30] = 0
    >>> mask, defects = find_defects(values, values > -1)
    >>> print(int(mask.sum()), defects[0].value, defects[0].kind)
    3000 0.0 area
    """
    mask = torch.zeros_like(valid)
    found = []
    for value in _area_values(values, valid):
        area = _areas(values, valid, value, step)
        if area is not None:
            found.append(Defect(value, _count(area), 'area'))
            mask |= area
    for _ in range(_MOST_VALUES):
        extreme = _extreme(values, valid & ~mask if found else valid, step)
        if extreme is None:
            break
        value, pixels = extreme
        found.append(Defect(value, _count(pixels), 'extreme'))
        mask |= pixels
    if not found:
        return mask, ()
    number = _count(valid)
    return mask, tuple(sorted(
        (Defect(one.value, one.share / number, one.kind)
         for one in _joined(found)), key=lambda one: -one.share))


def defect_pixels(values, valid, defects):
    """
    Find the pixels of defects that are known, in a part of a plane.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The part, which begins at multiples of 4 pixels of the plane.

    defects : tuple of `Defect`
        Of the plane.

    Returns
    -------
    mask : 2D bool `~torch.Tensor`
        `True` where a pixel holds no measurement; what reaches less than
        12 pixels into the part is that of the plane only if the part
        holds these.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.defects import defect_pixels, find_defects
    >>> values = torch.randn(100, 100) + 20
    >>> values[:30] = 0
    >>> mask, defects = find_defects(values, values > -1)
    >>> part = values[20:60, 40:80]
    >>> print(int(defect_pixels(part, part > -1, defects).sum()))
    400
    """
    mask = torch.zeros_like(valid)
    for one in defects:
        alike = (values == one.value) & valid
        mask |= alike if one.kind == 'extreme' else _area(alike)
    return mask


def _count(mask):
    return int(torch.count_nonzero(mask))


def _joined(found):
    """One entry a value, though it may have been found twice."""
    values = {}
    for one in found:
        kind, share = values.get(one.value, (one.kind, 0.0))
        if one.kind == 'extreme':
            kind = 'extreme'  # of all pixels, not only of areas
        values[one.value] = kind, share + one.share
    return [Defect(value, share, kind)
            for value, (kind, share) in values.items()]


def _area_values(values, valid):
    """
    Values of the cells whose pixels are all alike, most frequent first.
    """
    rows, columns = (n // _CELL * _CELL for n in values.shape)
    if rows == 0 or columns == 0:
        return []
    cells = values[:rows, :columns].reshape(rows // _CELL, _CELL, columns)
    # what two opposite corners have in common is nearly always an area
    first, last = cells[:, 0, ::_CELL], cells[:, -1, _CELL - 1::_CELL]
    index = (first == last).nonzero()
    if len(index) == 0:
        return []
    part = cells[index[:, 0]].reshape(len(index), _CELL, -1, _CELL) if (
        len(index) < 64) else None
    if part is None:
        low = cells.amin(1).reshape(rows // _CELL, -1, _CELL).amin(2)
        high = cells.amax(1).reshape(rows // _CELL, -1, _CELL).amax(2)
        good = valid[:rows, :columns].reshape(
            rows // _CELL, _CELL, -1, _CELL).all(3).all(1)
        found = low[(low == high) & good]
    else:
        part = part[torch.arange(len(index)), :, index[:, 1]].flatten(1)
        good = torch.stack([valid[
            _CELL * y:_CELL * (y + 1), _CELL * x:_CELL * (x + 1)].all()
            for y, x in index.tolist()])
        found = part[(part == part[:, :1]).all(1) & good, 0]
    if found.numel() == 0:
        return []
    unique, counts = torch.unique(found, return_counts=True)
    order = torch.argsort(counts, descending=True)[:_MOST_VALUES]
    return unique[order].tolist()


def _grown(mask):
    """A mask and the eight neighbors of its pixels."""
    plane = mask[None, None].half() if mask.is_cuda else mask[None, None
                                                              ].float()
    return F.max_pool2d(plane, 3, 1, 1)[0, 0] > 0


def _area(alike):
    """
    Cells whose pixels are all alike, and what of these touches them.
    """
    rows, columns = (-(-n // _CELL) * _CELL for n in alike.shape)
    padded = F.pad(alike, (0, columns - alike.shape[1],
                           0, rows - alike.shape[0]))
    cells = padded.reshape(rows // _CELL, _CELL, columns // _CELL, _CELL)
    full = cells.all(3).all(1)
    area = full.repeat_interleave(_CELL, 0).repeat_interleave(_CELL, 1)
    area = area[:alike.shape[0], :alike.shape[1]]
    for _ in range(2 * _CELL):
        wider = _grown(area) & alike
        if torch.equal(wider, area):
            break
        area = wider
    return area


def _areas(values, valid, value, step):
    """
    The areas of one value, or `None` if their surroundings are like them.
    """
    alike = (values == value) & valid
    area = _area(alike)
    ring = values[_grown(area) & ~alike & valid]
    if ring.numel() == 0:
        return None
    far = (ring - value).abs() > 1.5 * step
    return area if far.float().mean() > _RING else None


def _extreme(values, valid, step):
    """
    The smallest or largest value and its pixels, if they stand apart.
    """
    stride = max(1, math.isqrt(values.numel() // _SAMPLE))
    sample = values[::stride, ::stride][valid[::stride, ::stride]]
    if sample.numel() < 100:
        return None
    ordered = torch.from_numpy(np.sort(sample.cpu().numpy()))
    low, middle, high = (float(ordered[round(share * (len(ordered) - 1))])
                         for share in (0.1587, 0.5, 0.8413))
    for sign, line in ((1, ordered), (-1, -ordered.flip(0))):
        least = float(line[0])
        count = int(torch.searchsorted(line, line[:1], right=True))
        enough = max(_LEAST_NUMBER if stride == 1 else 3,
                     _LEAST_SHARE * line.numel())
        if not enough <= count < 0.5 * line.numel():
            continue
        # the scatter of the side away from it, which it has no part in
        scatter = high - middle if sign > 0 else middle - low
        gap = max(_GAP * max(scatter, step / 2), 1.5 * step)
        if float(line[count]) - least <= gap:
            continue
        same = (values == sign * least) & valid
        plane = torch.where(valid & ~same, sign * values, math.inf)
        if float(plane.min()) - least > gap:
            return sign * least, same
    return None
