# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Maps that the networks for sources make of images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..inference.point_sources import ANSWERS, find_in_planes

__all__ = ['SourceMaps', 'source_maps']

# The point-spread function of the models for counts along a line: that of
# the simulator, whose profile is a Gaussian on 5x5 pixels.
_PROFILE = np.exp(-0.5 * (np.arange(-2, 3) * 0.46875 / (0.8 / 3.0))**2)
_PROFILE /= _PROFILE.sum()

# Without a network that measures fluxes: pixels per side of the box whose
# median is the background.
_BACKGROUND_BOX = 11


@dataclass
class SourceMaps:
    """
    Compute the maps of a network, and find how sources are measured.

    Parameters
    ----------
    answers : 4D `~numpy.ndarray`
        Shape (5, n, ny, nx), for each image as
        `~astro_denoise.segmentation.catalog.measure_sources` wants it; six
        planes for `~astro_denoise.segmentation.sky_catalog.find_sky_sources`.

    height : 3D `~numpy.ndarray` or `None`
        What is climbed to the sources; `None` where a source is all of a
        region.

    finish : callable
        ``finish(index, catalog, peaks)`` adds ``snr`` to the catalog of
        an image.

    fitted : bool
        Bright sources are to be fitted in the counts.

    noise : 3D `~numpy.ndarray`, optional
        Error of the flux of a source in each pixel from the photons alone.
    """

    answers: np.ndarray
    height: np.ndarray | None
    finish: Callable
    fitted: bool = False
    noise: np.ndarray | None = None

    @property
    def near(self):
        """Tell whether sources are sums over neighboring pixels."""
        return len(self.answers) > len(ANSWERS)


def source_maps(frame, part, network, position, *, runtime):
    """
    Ask a network about each pixel of some images.

    Parameters
    ----------
    frame : `~astro_denoise.frames.Frame`
        Their pixels.

    part : slice
        Of their stack.

    network : `torch.nn.Module`
        The network.

    position : 3D `~numpy.ndarray` or `None`
        Where the pixels are in the sky.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute, and the precision of the convolutions.

    Returns
    -------
    maps : `SourceMaps`
        The answers.
    """
    if hasattr(network, 'probabilities'):
        return _by_document(frame, part, network, runtime)
    return _in_counts(frame, part, network, position, runtime)


def _in_counts(frame, part, network, position, runtime):
    """Compute maps by a network for counts."""
    from scipy.ndimage import correlate1d

    values, valid = frame.values[part], frame.valid[part]
    answers = find_in_planes(network, values, valid, position,
                             runtime=runtime)
    information = valid / np.maximum(values, 1.0)
    for axis in (1, 2):
        information = correlate1d(information, _PROFILE**2, axis,
                                  mode='constant')
    error = 1.0 / np.sqrt(np.maximum(information, 1e-12))

    def finish(index, catalog, peaks):
        catalog['snr'] = catalog['flux'] / error[index].flat[peaks]

    return SourceMaps(answers, answers[1], finish, fitted=True, noise=error)


def _by_document(frame, part, network, runtime):
    """Compute maps by the document's network, of probabilities only."""
    import torch
    from scipy.ndimage import median_filter

    from ..inference.answers import check_answers

    counts = (frame.values[part] * frame.valid[part]).astype(np.float32)
    probability = network.probabilities(
        torch.from_numpy(counts).to(runtime.device))
    background = median_filter(
        counts, size=(1, _BACKGROUND_BOX, _BACKGROUND_BOX), mode='nearest')
    answers = np.zeros((5, *counts.shape), np.float32)
    answers[0] = probability.cpu().numpy()
    check_answers(answers[0])
    answers[1] = counts - background
    answers[2] = counts

    def finish(index, catalog, peaks):
        catalog['snr'] = catalog['flux'] / catalog['flux_error']

    return SourceMaps(answers, None, finish)
