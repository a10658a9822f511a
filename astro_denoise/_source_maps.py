# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the networks for sources say of each pixel of some images.

The functions return ``answers``, as
`~astro_denoise._source_catalog.measure_sources` wants them, but for several
images; ``height``, what is climbed to the sources, or `None` where a source
is all of a region; and what else is known of the pixels.
"""

import numpy as np

__all__ = ['find_by_document', 'find_in_counts', 'find_in_frames']

# The point-spread function of the models for counts along a line: that of
# the simulator, whose profile is a Gaussian on 5x5 pixels.
_PROFILE = np.exp(-0.5 * (np.arange(-2, 3) * 0.46875 / (0.8 / 3.0))**2)
_PROFILE /= _PROFILE.sum()

# Without a network that measures fluxes: pixels per side of the box whose
# median is the background.
_BACKGROUND_BOX = 11


def find_in_counts(frame, part, network, position, *, device, dtype):
    """
    By a network for counts.

    Parameters
    ----------
    frame : `~astro_denoise.frames.Frame`
        The images.

    part : slice
        Of their stack.

    network : `torch.nn.Module`
        The network.

    position : 3D `~numpy.ndarray` or `None`
        Where the pixels are in the sky.

    device, dtype : `torch.device`, `torch.dtype`
        Where and in what to compute.

    Returns
    -------
    answers : 4D `~numpy.ndarray`
        Shape (5, n, ny, nx).

    height : 3D `~numpy.ndarray`
        The flux.

    error : 3D `~numpy.ndarray`
        The Cramér-Rao error of a flux.
    """
    from scipy.ndimage import correlate1d

    from .inference.sources import find_in_planes

    values, valid = frame.values[part], frame.valid[part]
    answers = find_in_planes(network, values, valid, position,
                             device=device, dtype=dtype)
    information = valid / np.maximum(values, 1.0)
    for axis in (1, 2):
        information = correlate1d(information, _PROFILE**2, axis,
                                  mode='constant')
    return answers, answers[1], 1.0 / np.sqrt(np.maximum(information, 1e-12))


def find_in_frames(frame, part, network, position, *, device, dtype):
    """
    By a network for optical frames.

    Parameters
    ----------
    frame : `~astro_denoise.frames.Frame`
        The images.

    part : slice
        Of their stack.

    network : `torch.nn.Module`
        The network.

    position : 3D `~numpy.ndarray` or `None`
        Where the pixels are in the sky.

    device, dtype : `torch.device`, `torch.dtype`
        Where and in what to compute.

    Returns
    -------
    answers : 4D `~numpy.ndarray`
        Shape (5, n, ny, nx).

    height : 3D `~numpy.ndarray`
        The flux, in units of the noise.

    signal, sigma : 3D `~numpy.ndarray`
        The frames less their background, and their noise.
    """
    from ._measured import in_range
    from .inference.sources import find_in_planes
    from .noise import noise_model, resolve_gain

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
    return answers, height, signal, noise_map


def find_by_document(frame, part, network, position, *, device, dtype):
    """
    By the network of the source document, which knows probabilities only.

    Parameters
    ----------
    frame : `~astro_denoise.frames.Frame`
        The images.

    part : slice
        Of their stack.

    network : `torch.nn.Module`
        The network.

    position : 3D `~numpy.ndarray` or `None`
        Where the pixels are in the sky.

    device, dtype : `torch.device`, `torch.dtype`
        Where and in what to compute.

    Returns
    -------
    answers : 4D `~numpy.ndarray`
        Shape (5, n, ny, nx).

    height : `None`
        There is none.
    """
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
    return answers, None
