# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The blank sky of a plane: background mesh, and which pixels are of it.
"""

import math

import numpy as np
from astropy.stats import SigmaClip
from scipy.ndimage import binary_dilation

from .strips import (
    bin_plane,
    bin_sums,
    binomial,
    map_strips,
    strips,
    upsample,
)

__all__ = ['MESH', 'Sky']

# Scatter over value that is of the rounding, in single and in double
# precision.
_LEAST_SCATTER = 1e-7, 1e-15

MESH = 64  # pixels in a mesh of the background, a side


class Sky:
    """
    Background mesh and blank sky of one plane.

    Everything is done on ``(values - center) / scale`` with a robust
    center and scale, so that a frame shifted or scaled gives the same,
    shifted or scaled, whatever its numbers are.
    """

    def __init__(self, values, valid):
        self.values = values
        self.valid = valid
        self.center, self.scale = _center_and_scale(values, valid)
        self.size = 4 if min(values.shape) >= MESH else 2
        if self.scale == 0:
            self.mesh = np.zeros((1, 1), np.float32)
            self.blank = np.ones([-(-n // self.size) for n in values.shape],
                                 bool)
            return
        sums, counts = bin_plane(values, valid, self.size,
                                 **self.standard)
        known = counts > 0
        means = sums / np.maximum(counts, 1)
        self.mesh = _background_mesh(means, known, MESH // self.size)

        grid = upsample(self.mesh, means.shape, MESH // self.size)
        residual = (means - grid) * np.sqrt(counts)
        self.blank = known & ~_sources(residual, known)

    @property
    def standard(self):
        """Offset and factor that standardize values to the sky."""
        return {'offset': self.center, 'factor': 1 / self.scale}

    @property
    def level(self):
        """
        Median background.
        """
        return self.center + self.scale * float(np.median(self.mesh))

    def background(self):
        """
        The background on every pixel.
        """
        out = np.empty(self.values.shape,
                       np.result_type(self.values.dtype, np.float32))

        def fill(rows):
            part = upsample(self.mesh, out.shape, MESH, rows)
            np.multiply(part, self.scale, out=out[rows])
            out[rows] += self.center

        map_strips(fill, strips(out.shape[0]))
        return out

    def blank_pixels(self, rows=slice(None), columns=slice(None)):
        """
        Blank sky in some rows and columns of pixels.
        """
        rows, columns = (np.arange(n)[part] // self.size for n, part in
                         zip(self.values.shape, (rows, columns),
                             strict=True))
        return self.blank[rows][:, columns]


def _center_and_scale(values, valid):
    """
    Robust center and scale from at most some 40,000 pixels.

    Results do not depend on them, up to rounding.
    """
    step = max(1, math.isqrt(values.size // 40_000))
    sample = values[::step, ::step][valid[::step, ::step]]
    if sample.size < 1000:
        sample = values[valid]
    sample = sample.astype(float)
    if sample.size == 0:
        return 0.0, 0.0
    low, center, high = np.percentile(sample, [15.87, 50, 84.13])
    scale = (high - low) / 2
    least = _LEAST_SCATTER[values.dtype.itemsize > 4] * abs(center)
    if scale <= least:
        # more than two thirds of the pixels have the same value
        scale = np.std(sample)
    if scale <= least:
        scale = 0.0
    return float(center), float(scale)


def _background_mesh(means, known, box):
    """
    Sigma-clipped background in boxes of bins, filtered, without holes.
    """
    from photutils.background import Background2D

    fullest = bin_sums(known.astype(np.float32), box).max()
    if fullest == 0:
        return np.zeros((1, 1), np.float32)
    background = Background2D(
        means, tuple(min(box, n) for n in means.shape), mask=~known,
        exclude_percentile=90 if fullest > 0.1 * box**2 + 1 else 100,
        filter_size=3, sigma_clip=SigmaClip(3, maxiters=5))
    return background.background_mesh


def _sources(residual, known):
    """
    Bins with sources, from the residual in equal noise.

    A bin counts that is significant itself or with its neighbors.
    """
    weight = np.pad(known.astype(np.float32), 1)
    norm = binomial(weight, 2)
    # white noise keeps its scatter where all neighbors are known
    smooth = binomial(np.pad(residual, 1), 2) / (3 / 8)
    surrounded = known & (norm > 0.5)
    if not surrounded.any():
        surrounded = known
    far, far_together = map_strips(
        lambda plane: _far_out(plane, surrounded), (residual, smooth))
    return binary_dilation(far | far_together, np.ones((3, 3)))


def _far_out(plane, use):
    """
    Bins beyond three standard deviations of the others, from those to use.
    """
    use = use.copy()
    far = np.zeros(use.shape, bool)
    for _ in range(5):
        part = plane[use]
        if part.size == 0:
            break
        center = np.median(part)
        limit = 3 * 1.4826 * np.median(np.abs(part - center))
        far = np.abs(plane - center) > max(limit, 1e-3)
        use &= ~far
        if part.size - np.count_nonzero(use) < 1e-3 * part.size:
            break
    return far
