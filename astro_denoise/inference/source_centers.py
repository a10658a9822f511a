# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run a network for the centers of sources over a plane of any size.
"""

import numpy as np
import torch

from ..frames.windows import plan_tiles
from ..models.denoiser import psf_context
from ..models.source_finder import HEADS
from .answers import check_answers
from .memory import run_within_memory

__all__ = ['find_centers']

# Pixels that go through the network at once.
_WINDOW_PIXELS = {'cpu': 2**19, 'cuda': 2**23}


def find_centers(network, signal, valid, fwhm, *, runtime,
                 window_pixels=None, progress=None):
    """
    Look for the centers of sources in a plane.

    Parameters
    ----------
    network : `~astro_denoise.models.source_finder.SourceFinder`
        The network, on the device.

    signal, valid : 2D `~numpy.ndarray`
        The plane above its background in units of its noise, 0 where not
        valid, and its valid pixels.

    fwhm : float or `None`
        Full width at half maximum of the point sources in pixels.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute, and the precision of the convolutions.

    window_pixels : int, optional
        Pixels that go through the network at once; halved for as long
        as memory does not suffice.

    progress : callable, optional
        Called with the share of the plane that each step finished.

    Returns
    -------
    answers : 3D `~numpy.ndarray`
        Shape (5, ny, nx), float32: the planes of
        `astro_denoise.models.source_finder.HEADS`, as probabilities where
        the network answers with logits, except for the logits of stars.
    """
    answers = np.empty((len(HEADS), *signal.shape), np.float32)
    if window_pixels is None:
        window_pixels = _WINDOW_PIXELS.get(runtime.device.type, 2**19)
    context = torch.tensor([psf_context(fwhm)], dtype=torch.float32,
                           device=runtime.device)

    def run(window_pixels):
        side = max(int(window_pixels**0.5), network.stride)
        plan = plan_tiles(signal.shape, side, halo=network.reach,
                          stride=network.stride)
        for tile in plan.tiles:
            planes = [torch.from_numpy(_cut(plane, tile.window,
                                            plan.window_shape)
                                       ).to(runtime.device)
                      for plane in (signal, valid)]
            found = _ask(network, *planes, context, runtime.dtype)
            inside = tuple(
                slice(core.start - part.start, core.stop - part.start)
                for core, part in zip(tile.core, tile.window, strict=True))
            answers[(slice(None), *tile.core)] = found[
                (slice(None), *inside)].cpu().numpy()
            yield 1.0 / len(plan.tiles)

    run_within_memory(run, window_pixels, device=runtime.device,
                      progress=progress)
    check_answers(answers[0])
    answers[0] *= valid
    return answers


def _cut(plane, window, shape):
    """Cut a window, which may reach beyond the plane."""
    part = plane[window]
    whole = np.zeros((1, 1, *shape), np.float32)
    whole[0, 0, :part.shape[0], :part.shape[1]] = part
    return whole


def _ask(network, signal, valid, context, dtype):
    """Ask the network, and turn logits to probabilities."""
    with torch.inference_mode():
        found = network(signal, valid, context, dtype=dtype)
        for name in ('center', 'artefact'):
            found[name] = torch.sigmoid(found[name])
        return torch.cat([found[name][0] for name in HEADS])
