# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run a network for the centers of sources over a plane of any size.
"""

import numpy as np
import torch

from ..models.denoiser import psf_context
from ..models.source_finder import HEADS
from ..noise.compiling import compiling_pays
from .windowed import ask_in_windows

__all__ = ['find_centers']


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
    answers = np.empty((len(HEADS), 1, *signal.shape), np.float32)
    context = torch.tensor([psf_context(fwhm)], dtype=torch.float32,
                           device=runtime.device)

    compiled = (runtime.device.type == 'cpu'
                and compiling_pays(signal.shape))

    def ask(_, cut):
        planes = (cut(signal)[None, None], cut(valid)[None, None], context)
        if compiled:
            from .source_planes import compiled_planes

            found = network.answered(
                compiled_planes(*planes, runtime.dtype), context,
                dtype=runtime.dtype)
        else:
            found = network(*planes, dtype=runtime.dtype)
        for name in ('center', 'artefact'):
            found[name] = torch.sigmoid(found[name])
        return torch.cat([found[name] for name in HEADS], 1)

    ask_in_windows(network, ask, answers, runtime=runtime,
                   window_pixels=window_pixels, progress=progress)
    answers = answers[:, 0]
    answers[0] *= valid
    return answers
