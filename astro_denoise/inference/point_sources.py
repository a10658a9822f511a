# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run a network that looks for point sources over frames of any size.
"""

import numpy as np
import torch

from ..models.sky_segmenter import SkySegmenter
from .windowed import ask_in_windows

__all__ = ['ANSWERS', 'find_in_planes']

# What is known of each pixel, in the order of the planes. Networks for real
# skies know the variance of the flux in 3x3 pixels, too.
ANSWERS = ('probability', 'flux', 'variance', 'dx', 'dy')


def find_in_planes(network, values, valid, position, *, runtime,
                   window_pixels=None, progress=None):
    """
    Look for point sources in frames of one shape.

    Parameters
    ----------
    network : `torch.nn.Module`
        As `~astro_denoise.models.galactic_center.SourceSegmenter`, on
        ``device``.

    values, valid : 3D `~numpy.ndarray`
        The frames as the network takes them, 0 where not valid, and
        their valid pixels; shape (n, ny, nx).

    position : 3D `~numpy.ndarray`
        Shape (3, ny, nx), see
        `~astro_denoise.sky_maps.galactic_grid.position_planes`.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute, and the precision of the convolutions.

    window_pixels : int, optional
        Pixels that go through the network at once; halved for as long
        as memory does not suffice.

    progress : callable, optional
        Called with the share of the frames that each step finished.

    Returns
    -------
    answers : 4D `~numpy.ndarray`
        Shape (5, n, ny, nx), float32: the planes of `ANSWERS`, or (6, n,
        ny, nx).
    """
    n_planes = len(ANSWERS) + isinstance(network, SkySegmenter)
    answers = np.empty((n_planes, *values.shape), np.float32)

    def ask(part, cut):
        counts = cut(values[part])[:, None]
        found = network(counts, cut(valid[part])[:, None],
                        cut(position).expand(len(counts), -1, -1, -1),
                        dtype=runtime.dtype)
        planes = [torch.sigmoid(found['logit']), found['flux'],
                  torch.exp(found['log_variance']), found['dx'], found['dy']]
        if n_planes > len(ANSWERS):
            planes.append(torch.exp(found['near_log_variance']))
        return torch.cat(planes, 1).float()

    ask_in_windows(network, ask, answers, runtime=runtime,
                   window_pixels=window_pixels, progress=progress)
    return answers
