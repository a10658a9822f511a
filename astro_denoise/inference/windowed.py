# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Ask a network about images of any size, window by window.
"""

from functools import partial

import numpy as np
import torch

from ..frames.windows import plan_tiles
from .answers import check_answers
from .memory import run_within_memory

__all__ = ['ask_in_windows']

# Pixels that go through the network at once.
_WINDOW_PIXELS = {'cpu': 2**21, 'cuda': 2**23}


def ask_in_windows(network, ask, answers, *, runtime, window_pixels=None,
                   progress=None):
    """
    Ask a network about images of one shape, and fill in what it answers.

    Parameters
    ----------
    network : `torch.nn.Module`
        The network, on the device, with ``stride`` and ``reach``.

    ask : callable
        ``ask(part, cut)`` asks about a window of the images of a slice,
        ``part``; ``cut(plane)`` gives that window of an array of shape
        (..., ny, nx), as a tensor on the device. It returns a tensor of
        shape (n_images, n_answers, ny, nx).

    answers : 4D `~numpy.ndarray`
        Shape (n_answers, n, ny, nx), float32; filled in place.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute.

    window_pixels : int, optional
        Pixels that go through the network at once; halved for as long
        as memory does not suffice.

    progress : callable, optional
        Called with the share of the images that each step finished.

    Raises
    ------
    WeightsError
        If the first answer is not finite everywhere.
    """
    n, *shape = answers.shape[1:]
    if window_pixels is None:
        window_pixels = _WINDOW_PIXELS.get(runtime.device.type, 2**20)

    def run(window_pixels):
        side = max(int(window_pixels**0.5), network.stride)
        plan = plan_tiles(shape, side, halo=network.reach,
                          stride=network.stride)
        batch = max(window_pixels // int(np.prod(plan.window_shape)), 1)
        for start in range(0, n, batch):
            part = slice(start, min(start + batch, n))
            for tile in plan.tiles:
                with torch.inference_mode():
                    found = ask(part, partial(
                        _cut, window=tile.window, shape=plan.window_shape,
                        device=runtime.device))
                inside = tuple(
                    slice(core.start - whole.start, core.stop - whole.start)
                    for core, whole in zip(tile.core, tile.window,
                                           strict=True))
                answers[(slice(None), part, *tile.core)] = found[
                    (..., *inside)].transpose(0, 1).cpu().numpy()
                yield (part.stop - part.start) / n / len(plan.tiles)

    run_within_memory(run, window_pixels, device=runtime.device,
                      progress=progress)
    check_answers(answers[0])


def _cut(plane, *, window, shape, device):
    """Cut a window, which may reach beyond the plane."""
    part = plane[(..., *window)]
    whole = np.zeros((*part.shape[:-2], *shape), np.float32)
    whole[..., :part.shape[-2], :part.shape[-1]] = part
    return torch.from_numpy(whole).to(device)
