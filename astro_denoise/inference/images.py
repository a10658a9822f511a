# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise small images as a whole, with networks that know no noise map.
"""

import numpy as np
import torch
from torch.nn import functional as F

from .answers import check_answers

__all__ = ['denoise_images', 'denoises_images', 'image_scores',
           'takes_counts']

# Images through a network at once.
_BATCH = 64

_SIDE = 64


def denoises_images(network):
    """
    Tell if a network denoises images as a whole.

    Parameters
    ----------
    network : `torch.nn.Module`
        Any network of the task ``'denoise'``.

    Returns
    -------
    answer : bool
        `False` for networks that are given a noise map, tile by tile.
    """
    return hasattr(network, 'denoise_images')


def takes_counts(network):
    """
    Tell if a network takes counts, not images of any scale.

    Parameters
    ----------
    network : `torch.nn.Module`
        Any network of the task ``'denoise'``.

    Returns
    -------
    answer : bool
        `True` for networks of expected counts.
    """
    return getattr(network, 'takes_counts', False)


@torch.inference_mode()
def image_scores(network, values, valid, *, device):
    """
    Measure how unlike the training set of a network images are.

    Parameters
    ----------
    network : `torch.nn.Module`
        With a method ``ood_score``.

    values : 3D `~numpy.ndarray`
        Shape (n, ny, nx), 0 where not valid.

    valid : 3D bool `~numpy.ndarray`
        Which pixels count.

    device : `torch.device`
        Where the network is.

    Returns
    -------
    scores : 1D `~numpy.ndarray`
        Shape (n,).
    """
    scores = []
    for start in range(0, len(values), _BATCH):
        part = slice(start, start + _BATCH)
        scores.append(network.ood_score(*(
            torch.from_numpy(plane[part].astype(np.float32)).to(device)
            for plane in (values, valid))).cpu().numpy())
    return np.concatenate(scores)


@torch.inference_mode()
def denoise_images(network, values, valid, *, device, progress=None):
    """
    Denoise images.

    Parameters
    ----------
    network : `torch.nn.Module`
        With a method ``denoise_images``; where it has a ``stride``, it
        takes any size and fills the pixels that are not valid.

    values : 3D `~numpy.ndarray`
        Shape (n, ny, nx), 0 where not valid.

    valid : 3D bool `~numpy.ndarray`
        Which pixels count.

    device : `torch.device`
        Where the network is.

    progress : callable, optional
        Called with a number of images when they are done.

    Returns
    -------
    denoised, error : 3D `~numpy.ndarray`
        Shape and type of ``values``; the error a standard deviation.

    filled : bool
        Whether pixels that are not valid were filled.

    noise : str or `None`
        The kind of noise that the network sees on the first image, if
        it tells.

    Raises
    ------
    ValueError
        If images have a size that the network cannot take, or negative
        values.
    """
    ny, nx = values.shape[1:]
    stride = getattr(network, 'stride', None)
    if stride is None and (ny, nx) != (_SIDE, _SIDE):
        msg = (f'data must have {_SIDE}x{_SIDE} pixels for this model, got '
               f'{ny}x{nx}')
        raise ValueError(msg)
    lowest = float(np.min(values, where=valid, initial=np.inf))
    if lowest < 0:
        msg = (f'data must not be negative for this model, which was made '
               f'for counts, got {lowest}')
        raise ValueError(msg)
    margins = (0, 0) if stride is None else (-nx % stride, -ny % stride)
    denoised, error = np.empty_like(values), np.empty_like(values)
    noise = None
    for start in range(0, len(values), _BATCH):
        part = slice(start, start + _BATCH)
        scale = 1
        if not takes_counts(network):
            # Counts of any size: their maximum becomes 1.
            scale = np.max(values[part], axis=(1, 2), keepdims=True)
            scale = np.where(scale > 0, scale, 1)
        image, good = (F.pad(torch.from_numpy(plane.astype(np.float32)),
                             (0, margins[0], 0, margins[1])).to(device)
                       for plane in (values[part] / scale, valid[part]))
        if start == 0 and hasattr(network, 'name_noise'):
            share = network.name_noise(image[:1], good[:1])[0]
            noise = network.noises[int(share.argmax())]
        for plane, answer in zip(
                (denoised, error), network.denoise_images(image, good),
                strict=True):
            answer = answer[:, :ny, :nx].cpu().numpy()
            check_answers(answer)
            plane[part] = answer * scale
        if progress is not None:
            progress(len(image))
    return denoised, error, stride is not None, noise
