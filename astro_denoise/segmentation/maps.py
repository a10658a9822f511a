# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Maps that the networks for sources make of images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
        `~astro_denoise.segmentation.catalog.measure_sources` wants it.

    height : 3D `~numpy.ndarray` or `None`
        What is climbed to the sources; `None` where a source is all of a
        region.

    finish : callable
        ``finish(index, catalog, peaks)`` adds ``snr`` to the catalog of
        an image, and measures its stars if it is an optical frame.

    scales : list of int
        For each image, the power of two that its fluxes were divided by.

    fitted : bool
        Bright sources are to be fitted in the counts.
    """

    answers: np.ndarray
    height: np.ndarray | None
    finish: Callable
    scales: list
    fitted: bool = False


def source_maps(reader, frame, part, network, position, *, runtime):
    """
    Ask a network about each pixel of some images.

    Parameters
    ----------
    reader : `~astro_denoise.frames.FrameReader`
        The images.

    frame : `~astro_denoise.frames.Frame`
        Their pixels.

    part : slice
        Of their stack.

    network : `torch.nn.Module`
        The network.

    position : 3D `~numpy.ndarray` or `None`
        Where the pixels are in the sky; not for optical frames.

    runtime : `~astro_denoise.inference.Runtime`
        Where to compute, and the precision of the convolutions.

    Returns
    -------
    maps : `SourceMaps`
        The answers.
    """
    if getattr(network, 'kind', 'counts') == 'ccd':
        return _in_frames(reader, frame, part, network, runtime)
    if hasattr(network, 'probabilities'):
        return _by_document(frame, part, network, runtime)
    return _in_counts(frame, part, network, position, runtime)


def _in_counts(frame, part, network, position, runtime):
    """Compute maps by a network for counts."""
    from scipy.ndimage import correlate1d

    from ..inference.point_sources import find_in_planes

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

    return SourceMaps(answers, answers[1], finish, [0] * len(values),
                      fitted=True)


def _in_frames(reader, frame, part, network, runtime):
    """Compute maps by a network for optical frames."""
    from ..inference.point_sources import find_in_planes
    from ..noise.gain import resolve_gain
    from ..noise.measurement import measure_plane, warn_of
    from .catalog import measure_stars

    gain = resolve_gain(None, reader.header, reader.unit)
    planes, measurements = [], []
    for index in reader.indices[part]:
        plane = reader.plane(index)
        measurement, whole = measure_plane(plane, gain=gain, keep=True)
        if whole is None:
            whole = measurement.whole(plane)
        planes.append(whole)
        measurements.append(measurement)
    warn_of(measurements, header=reader.header, stacklevel=5)
    scales = [each.scale.exponent for each in measurements]
    noise_map = np.stack([plane.noise_map for plane in planes])
    valid = np.stack([plane.valid for plane in planes])
    frame.valid[part] = valid  # less what is beyond the range
    signal = np.stack([(plane.values - plane.background) * plane.valid
                       for plane in planes]).astype(np.float32)
    answers = find_in_planes(
        network, signal / noise_map, valid,
        np.zeros((3, *signal.shape[1:]), np.float32), runtime=runtime)
    height = answers[1].copy()
    answers[1] *= noise_map
    answers[2] *= noise_map**2

    def finish(index, catalog, peaks):
        measure_stars(catalog, signal[index], noise_map[index], valid[index])

    return SourceMaps(answers, height, finish, scales)


def _by_document(frame, part, network, runtime):
    """Compute maps by the document's network, of probabilities only."""
    import torch
    from scipy.ndimage import median_filter

    counts = (frame.values[part] * frame.valid[part]).astype(np.float32)
    probability = network.probabilities(
        torch.from_numpy(counts).to(runtime.device))
    background = median_filter(
        counts, size=(1, _BACKGROUND_BOX, _BACKGROUND_BOX), mode='nearest')
    answers = np.zeros((5, *counts.shape), np.float32)
    answers[0] = probability.cpu().numpy()
    answers[1] = counts - background
    answers[2] = counts

    def finish(index, catalog, peaks):
        catalog['snr'] = catalog['flux'] / catalog['flux_error']

    return SourceMaps(answers, None, finish, [0] * len(counts))
