# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw samples of the posterior of an image.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch

from ..inference.predictive import check_posterior

__all__ = ['Drawn', 'ModelImages', 'draw_samples']

# How often samples that are not finite are drawn again.
_N_ROUNDS = 8


@dataclass
class ModelImages:
    """
    Images on the grid of the models, and what is known of them.

    Attributes
    ----------
    counts : 3D `~numpy.ndarray`
        Shape (n, 64, 64), float32, 0 where not valid.

    valid : 3D bool `~numpy.ndarray`
        Same shape.

    exposure : 1D `~numpy.ndarray` or `None`
        Shape (n,), if it is known.
    """

    counts: np.ndarray
    valid: np.ndarray
    exposure: np.ndarray | None = None

    def tensors(self, index, device):
        """
        Make tensors of one image.

        Parameters
        ----------
        index : int
            Number of the image.

        device : `torch.device`
            Where to put them.

        Returns
        -------
        image : `torch.Tensor`
            Shape (1, 64, 64).

        options : dict of `torch.Tensor`
            ``valid`` and ``exposure``, if they say something.
        """
        options = {}
        if not self.valid[index].all():
            options['valid'] = torch.from_numpy(
                self.valid[index:index + 1].astype(np.float32)).to(device)
        if self.exposure is not None:
            options['exposure'] = torch.tensor(
                self.exposure[index:index + 1], dtype=torch.float32,
                device=device)
        return torch.from_numpy(
            self.counts[index:index + 1]).to(device), options


@dataclass
class Drawn:
    """
    Samples that were drawn for an image.

    Attributes
    ----------
    samples : 2D `~numpy.ndarray`
        Shape (n_samples, 7): the parameters of the network, and the
        number of all point sources.

    score : float
        How unlike the training set the image is.

    p_value : float
        Of the predictive check; NaN for networks without one.

    all_finite : bool
        `False` if a sample was not finite, even if it was drawn again.
    """

    samples: np.ndarray
    score: float
    p_value: float
    all_finite: bool


def draw_samples(network, images, index, n_samples, seed, *, device):
    """
    Draw samples of the posterior of one image, and check it.

    The random numbers follow from the seed and from the image alone.
    Samples that are not finite are drawn again, up to eight times.

    Parameters
    ----------
    network : `torch.nn.Module`
        As `~astro_denoise.models.posterior.PosteriorNetwork`, on
        ``device``.

    images : `ModelImages`
        The images.

    index : int
        Number of the image.

    n_samples : int
        Number of samples.

    seed : int
        Same seed and same image, same samples.

    device : `torch.device`
        Where to compute.

    Returns
    -------
    drawn : `Drawn`
        Samples and checks.
    """
    # One image at a time: in a batch, its last digits would depend on others.
    image, options = images.tensors(index, device)
    known = {name: options[name] for name in ('valid',) if name in options}
    image_seed = _image_seed(images, index, seed, known)
    rng = torch.Generator(device)
    rng.manual_seed(image_seed)
    with torch.inference_mode():
        checks = hasattr(network, 'simulated')
        if checks:
            context = network.embed(image, **options)

            def draw(number):
                return network.sampled(context, number, rng)[0]
        else:
            def draw(number):
                return network.sample(image, number, rng)[0]

        samples = draw(n_samples)
        bad = ~torch.isfinite(samples).all(-1)
        all_finite = not bad.any()
        for _ in range(_N_ROUNDS):
            if not bad.any():
                break
            samples[bad] = draw(int(bad.sum()))
            bad = ~torch.isfinite(samples).all(-1)
        score = float(network.ood_score(image, **known)[0])
        p_value = math.nan
        if checks:
            p_value = 0.0 if bad.any() else check_posterior(
                network, image, context, image_seed, rng, **known)
        # All point sources are those of the center and of the disk.
        samples = torch.cat([samples, samples[:, 4:].sum(-1, keepdim=True)],
                            -1)
        return Drawn(samples.cpu().numpy(), score, p_value, all_finite)


def _image_seed(images, index, seed, known):
    """Derive a seed from another one and all that is known of an image."""
    digest = hashlib.blake2b(f'{seed} '.encode(), digest_size=8)
    # -0 becomes 0; the order of the bytes is always the same.
    digest.update((images.counts[index] + 0.0).astype('<f4').tobytes())
    if known:
        digest.update(np.packbits(images.valid[index]).tobytes())
    if images.exposure is not None:
        digest.update(f'{images.exposure[index]:.9g}'.encode())
    return int.from_bytes(digest.digest(), 'little') >> 1
