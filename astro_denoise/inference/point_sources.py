# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run a network that looks for point sources over frames of any size.
"""

import numpy as np
import torch

from ..frames.windows import plan_tiles
from .answers import check_answers
from .memory import run_within_memory

__all__ = ['ANSWERS', 'find_in_planes']

# What is known of each pixel, in the order of the planes.
ANSWERS = ('probability', 'flux', 'variance', 'dx', 'dy')

# Pixels that go through the network at once.
_WINDOW_PIXELS = {'cpu': 2**20, 'cuda': 2**23}


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
        Shape (5, n, ny, nx), float32: the planes of `ANSWERS`.
    """
    answers = np.empty((len(ANSWERS), *values.shape), np.float32)
    if window_pixels is None:
        window_pixels = _WINDOW_PIXELS.get(runtime.device.type, 2**20)

    def run(window_pixels):
        side = max(int(window_pixels**0.5), network.stride)
        plan = plan_tiles(values.shape[1:], side, halo=network.reach,
                          stride=network.stride)
        batch = max(window_pixels // int(np.prod(plan.window_shape)), 1)
        for start in range(0, len(values), batch):
            frames = slice(start, start + batch)
            for tile in plan.tiles:
                _find_in_tile(network, tile, plan.window_shape,
                              (values[frames], valid[frames], position),
                              answers[:, frames], runtime)
                yield (len(values[frames]) / len(values)
                       / len(plan.tiles))

    run_within_memory(run, window_pixels, device=runtime.device,
                      progress=progress)
    check_answers(answers[0])
    return answers


def _find_in_tile(network, tile, shape, planes, answers, runtime):
    """One tile of some frames."""
    n = len(planes[0])
    tensors = []
    for plane in planes:
        part = plane[..., tile.window[0], tile.window[1]]
        whole = np.zeros((*part.shape[:-2], *shape), np.float32)
        whole[..., :part.shape[-2], :part.shape[-1]] = part
        tensors.append(torch.from_numpy(whole).to(runtime.device))
    values, valid, position = tensors
    with torch.inference_mode():
        found = network(values[:, None], valid[:, None],
                        position.expand(n, -1, -1, -1), dtype=runtime.dtype)
        found = torch.cat([torch.sigmoid(found['logit']), found['flux'],
                           torch.exp(found['log_variance']), found['dx'],
                           found['dy']], 1).float()
    inside = tuple(slice(core.start - part.start, core.stop - part.start)
                   for core, part in zip(tile.core, tile.window, strict=True))
    answers[(..., *tile.core)] = found[(..., *inside)].transpose(
        0, 1).cpu().numpy()
