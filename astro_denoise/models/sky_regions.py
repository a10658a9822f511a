# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Regions of the Galactic Center, and the planes that are averaged over them.
"""

from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional as F

__all__ = ['N_SOURCE_PLANES', 'sky_regions', 'source_planes']

_SIZE = 32

#: Planes of a segmenter beside its features and their squares.
N_SOURCE_PLANES = 16


def sky_regions(*, folded=False):
    """
    Make the regions to average over, at half resolution.

    Parameters
    ----------
    folded : bool, optional
        Whether north and south, east and west go together.

    Returns
    -------
    regions : `torch.Tensor`
        Shape (n, 32, 32), each of the sum 1: rings, split by latitude,
        and parts of belts far from the center.
    """
    line = (np.arange(_SIZE) - (_SIZE - 1) / 2) * 30.0 / _SIZE
    y, x = np.meshgrid(line, line, indexing='ij')
    radius = np.hypot(x, y)
    maps = []
    edges = (0.0, 1.5, 3.0, 4.5, 6.5, 9.0, 12.0, 16.0, 22.0)
    halves = [y > 0, y < 0] if not folded else [y != 0]
    for low, high in pairwise(edges):
        ring = (radius >= low) & (radius < high)
        for belt in (np.abs(y) < 2.0,
                     *((np.abs(y) >= 2.0) & half for half in halves)):
            if (ring & belt).any():
                maps.append(ring & belt)
    halves = [x > 7.0, x < -7.0] if not folded else [np.abs(x) > 7.0]
    for low, high in ((0, 1), (1, 3), (3, 6), (6, 10), (10, 15)):
        belt = (np.abs(y) >= low) & (np.abs(y) < high)
        maps.extend(belt & half for half in halves)
    maps = np.array(maps, np.float32)
    return torch.from_numpy(maps / maps.sum((1, 2), keepdims=True))


def source_planes(features, answer, scale):
    """
    Make planes of the answer of a segmenter, in the forms to be averaged.

    Parameters
    ----------
    features, answer, scale : `torch.Tensor`, dict, `torch.Tensor`
        From `~astro_denoise.models.galactic_center.SourceSegmenter.\
described`.

    Returns
    -------
    planes : `torch.Tensor`
        Shape (n, 2 n_features + `N_SOURCE_PLANES`, 32, 32): the
        features and their squares; sources and their flux, counted
        above several significances.
    """
    flux = answer['flux']
    share = torch.sigmoid(answer['logit'])
    size = flux.clamp_min(0.0)
    # A root has no gradient at 0, which some pixel in a few hundred batches
    # hits exactly.
    bright = flux > 0
    root = bright * torch.sqrt(torch.where(bright, flux, 1.0))
    variance = answer['log_variance'].exp()
    steps = [torch.sigmoid(width * (flux - limit))
             for limit, width in ((1.0, 4.0), (2.0, 4.0), (2.5, 3.0),
                                  (4.0, 3.0), (8.0, 2.0))]
    planes = torch.cat([
        share, share.square(), flux * scale, share * flux * scale,
        size / (1.0 + size), size.square() / (1.0 + 0.1 * size.square()),
        root, torch.log1p(size * scale),
        variance / (1.0 + variance), *steps,
        *(flux * scale * step for step in steps[2:4])], 1)
    return torch.cat([features, 0.3 * features.square(),
                      F.avg_pool2d(planes, 2)], 1)
