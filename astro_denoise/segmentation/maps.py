# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the networks for sources say of each pixel of some images.
"""

import numpy as np

__all__ = ['source_maps']

# The point-spread function of the models for counts along a line: that of
# the simulator, whose profile is a Gaussian on 5x5 pixels.
_PROFILE = np.exp(-0.5 * (np.arange(-2, 3) * 0.46875 / (0.8 / 3.0))**2)
_PROFILE /= _PROFILE.sum()

# Without a network that measures fluxes: pixels per side of the box whose
# median is the background.
_BACKGROUND_BOX = 11


def source_maps(frame, part, network, position, *, device, dtype):
    """
    What a network says of each pixel, and how sources are measured by it.

    Parameters
    ----------
    frame : `~astro_denoise.frames.Frame`
        The images.

    part : slice
        Of their stack.

    network : `torch.nn.Module`
        The network.

    position : 3D `~numpy.ndarray` or `None`
        Where the pixels are in the sky; not for optical frames.

    device, dtype : `torch.device`, `torch.dtype`
        Where and in what to compute.

    Returns
    -------
    answers : 4D `~numpy.ndarray`
        Shape (5, n, ny, nx), for each image as
        `~astro_denoise.segmentation.catalog.measure_sources` wants it.

    height : 3D `~numpy.ndarray` or `None`
        What is climbed to the sources; `None` where a source is all of a
        region.

    finish : callable
        ``finish(index, catalog, peaks)`` adds ``snr`` to the catalogue of
        an image, and measures its stars if it is an optical frame.
    """
    if getattr(network, 'kind', 'counts') == 'ccd':
        find = _in_frames
    elif hasattr(network, 'probabilities'):
        find = _by_document
    else:
        find = _in_counts
    return find(frame, part, network, position, device=device, dtype=dtype)


def _in_counts(frame, part, network, position, *, device, dtype):
    """By a network for counts."""
    from scipy.ndimage import correlate1d

    from ..inference.point_sources import find_in_planes

    values, valid = frame.values[part], frame.valid[part]
    answers = find_in_planes(network, values, valid, position,
                             device=device, dtype=dtype)
    information = valid / np.maximum(values, 1.0)
    for axis in (1, 2):
        information = correlate1d(information, _PROFILE**2, axis,
                                  mode='constant')
    error = 1.0 / np.sqrt(np.maximum(information, 1e-12))

    def finish(index, catalog, peaks):
        catalog['snr'] = catalog['flux'] / error[index].flat[peaks]

    return answers, answers[1], finish


def _in_frames(frame, part, network, position, *, device, dtype):
    """By a network for optical frames."""
    from ..frames.scaling import in_range
    from ..inference.point_sources import find_in_planes
    from ..noise.gain import resolve_gain
    from ..noise.model import noise_model
    from .catalog import measure_stars

    gain = resolve_gain(None, frame.header, frame.unit)
    signal = np.zeros(frame.values[part].shape, np.float32)
    noise_map = np.ones_like(signal)
    for index, number in enumerate(range(*part.indices(len(frame.values)))):
        valid = frame.valid[number]
        values, sigma = in_range(
            frame.values[number], valid,
            None if frame.sigma is None else frame.sigma[number], 0)
        noise = noise_model(values, valid, sigma=sigma, gain=gain,
                            read_noise=None, unit=frame.unit)
        noise_map[index] = noise.sigma
        signal[index] = (values - noise.background) * valid
    answers = find_in_planes(
        network, signal / noise_map, frame.valid[part],
        np.zeros((3, *signal.shape[1:]), np.float32), device=device,
        dtype=dtype)
    height = answers[1].copy()
    answers[1] *= noise_map
    answers[2] *= noise_map**2

    def finish(index, catalog, peaks):
        measure_stars(catalog, signal[index], noise_map[index],
                      frame.valid[part][index])

    return answers, height, finish


def _by_document(frame, part, network, position, *, device, dtype):
    """By the source document's network, which knows probabilities only."""
    import torch
    from scipy.ndimage import median_filter

    counts = (frame.values[part] * frame.valid[part]).astype(np.float32)
    probability = network.probabilities(torch.from_numpy(counts).to(device))
    background = median_filter(
        counts, size=(1, _BACKGROUND_BOX, _BACKGROUND_BOX), mode='nearest')
    answers = np.zeros((5, *counts.shape), np.float32)
    answers[0] = probability.cpu().numpy()
    answers[1] = counts - background
    answers[2] = counts

    def finish(index, catalog, peaks):
        catalog['snr'] = catalog['flux'] / catalog['flux_error']

    return answers, None, finish
