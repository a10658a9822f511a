# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw samples of the posterior of an image.
"""

import hashlib

import numpy as np
import torch

__all__ = ['draw_samples']

# How often samples that are not finite are drawn again.
_N_ROUNDS = 8


def draw_samples(network, counts, n_samples, seed, *, device):
    """
    Draw samples of the posterior of one image.

    The random numbers follow from the seed and from the image alone.
    Samples that are not finite are drawn again, up to eight times.

    Parameters
    ----------
    network : `torch.nn.Module`
        As `~astro_denoise.models.posterior.PosteriorNetwork`, on
        ``device``.

    counts : 2D `~numpy.ndarray`
        Shape (64, 64), float32.

    n_samples : int
        Number of samples.

    seed : int
        Same seed and same image, same samples.

    device : `torch.device`
        Where to compute.

    Returns
    -------
    samples : 2D `~numpy.ndarray`
        Shape (n_samples, 7): the parameters of the network, and the number
        of all point sources.

    score : float
        How unlike the training set the image is.

    all_finite : bool
        `False` if a sample was not finite, even if it was drawn again.
    """
    rng = torch.Generator(device)
    rng.manual_seed(_image_seed(counts, seed))
    # One image at a time: in a batch, its last digits would depend on others.
    image = torch.from_numpy(counts[np.newaxis]).to(device)
    with torch.inference_mode():
        samples = network.sample(image, n_samples, rng)[0]
        bad = ~torch.isfinite(samples).all(-1)
        all_finite = not bad.any()
        for _ in range(_N_ROUNDS):
            if not bad.any():
                break
            samples[bad] = network.sample(image, int(bad.sum()), rng)[0]
            bad = ~torch.isfinite(samples).all(-1)
        # All point sources are those of the center and of the disk.
        samples = torch.cat([samples, samples[:, 4:].sum(-1, keepdim=True)],
                            -1)
        return (samples.cpu().numpy(), float(network.ood_score(image)[0]),
                all_finite)


def _image_seed(counts, seed):
    """Derive a seed from another one and the pixels of an image."""
    digest = hashlib.blake2b(f'{seed} '.encode(), digest_size=8)
    # -0 becomes 0; the order of the bytes is always the same.
    digest.update((counts + 0.0).astype('<f4').tobytes())
    return int.from_bytes(digest.digest(), 'little') >> 1
