# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw samples of the posterior of an image.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch

from ..inference.predictive import N_PREDICTED, check_posterior

__all__ = ['Drawn', 'ModelImages', 'draw_samples']

# How often samples that are not finite are drawn again.
_N_ROUNDS = 8

# Numbers that the processor may take in one go.
_VECTOR = 32


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


def draw_samples(network, images, indices, n_samples, seed, *, device):
    """
    Draw samples of the posteriors of a few images, and check them.

    The random numbers of an image follow from the seed and from the image
    alone, and so do its samples, to the last digit on the processor.
    Samples that are not finite are drawn again, up to eight times.

    Parameters
    ----------
    network : `torch.nn.Module`
        As `~astro_denoise.models.posterior.PosteriorNetwork`, on
        ``device``.

    images : `ModelImages`
        The images.

    indices : sequence of int
        Numbers of the images.

    n_samples : int
        Number of samples.

    seed : int
        Same seed and same image, same samples.

    device : `torch.device`
        Where to compute.

    Returns
    -------
    drawn : list of `Drawn`
        Samples and checks of each.
    """
    with torch.inference_mode():
        each = [_Image.of(network, images, index, seed, device)
                for index in indices]
        if each[0].context is None:
            first = [one.draw(network, n_samples) for one in each]
        else:
            # Whole blocks of the processor's vectors: else, the last digits
            # depend on where in a batch an image is.
            number = _VECTOR * -(-(n_samples + N_PREDICTED) // _VECTOR)
            first = network.sampled(torch.cat([one.context for one in each]),
                                    number, [one.rng for one in each])
        return [one.drawn(network, samples, n_samples)
                for one, samples in zip(each, first, strict=True)]


@dataclass
class _Image:
    """One image on the device, and what its samples are drawn from."""

    counts: torch.Tensor
    known: dict
    context: torch.Tensor | None
    seed: int
    rng: torch.Generator

    @classmethod
    def of(cls, network, images, index, seed, device):
        """Prepare an image."""
        counts, options = images.tensors(index, device)
        known = {name: options[name] for name in ('valid',)
                 if name in options}
        seed = _image_seed(images, index, seed, known)
        rng = torch.Generator(device)
        rng.manual_seed(seed)
        context = None
        if hasattr(network, 'simulated'):
            # One at a time: in a batch, the last digits would depend on
            # others.
            context = network.embed(counts, **options)
        return cls(counts, known, context, seed, rng)

    def draw(self, network, number):
        """Draw samples, shape (number, 6)."""
        if self.context is None:
            return network.sample(self.counts, number, self.rng)[0]
        return network.sampled(self.context, number, self.rng)[0]

    def drawn(self, network, samples, n_samples):
        """Check samples, and draw those that are not finite again."""
        check = None
        if self.context is not None:
            check = samples[:N_PREDICTED]
            samples = samples[N_PREDICTED:N_PREDICTED + n_samples]
        bad = ~torch.isfinite(samples).all(-1)
        all_finite = not bad.any()
        for _ in range(_N_ROUNDS):
            if not bad.any():
                break
            samples[bad] = self.draw(network, int(bad.sum()))
            bad = ~torch.isfinite(samples).all(-1)
        score = float(network.ood_score(self.counts, **self.known)[0])
        p_value = math.nan
        if check is not None:
            p_value = 0.0 if bad.any() else check_posterior(
                network, self.counts, check, self.seed, context=self.context,
                rng=self.rng, **self.known)
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
