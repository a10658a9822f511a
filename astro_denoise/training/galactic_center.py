# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the models for images of the Galactic Centre are trained: on skies
drawn anew for every step.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ..simulation.galactic_center import GalacticCenterSimulator
from ..simulation.image_noise import IMAGE_NOISES, add_image_noise
from .loop import train

__all__ = ['NoisyImageSampler', 'SkySampler', 'answer_loss', 'mixed_loss',
           'segmentation_loss', 'train_mixed', 'train_segmenter']


class SkySampler:
    """
    Draw batches of images of the Galactic Centre with their sources.

    Most images are as the simulator's default draws them, with the
    position of each pixel known; the others are rotated, with another
    exposure and unknown positions, so that a network may be used on
    other images too. Some have masked pixels.

    Parameters
    ----------
    batch_size : int, optional
        Images in a batch.

    other_share : float, optional
        Share of the rotated images.
    """

    def __init__(self, *, batch_size=64, other_share=0.25):
        self.n_other = round(other_share * batch_size)
        self.n_standard = batch_size - self.n_other
        self._standard = GalacticCenterSimulator('fixed')
        self._other = GalacticCenterSimulator('fixed', rotation=True,
                                              exposure=(0.2, 4.0))
        line = (np.arange(64) - 31.5) * 0.46875 / 15.0
        y, x = np.meshgrid(line, line, indexing='ij')
        self._position = np.stack([x, y, np.ones_like(x)]).astype(np.float32)

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : int or sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            Float32: ``image``, ``valid``, ``flux`` of the point sources
            as they are expected in the image, of shape (n, 1, 64, 64),
            ``offset`` (n, 2, 64, 64) and ``position`` (n, 3, 64, 64);
            ``parameters`` of the simulator, (n, 6), integers with a
            number between 0 and 1 added, and ``whole`` (n,), 1 for
            images as the simulator's default draws them.
        """
        seed = list(np.atleast_1d(seed))
        parts = [self._standard.draw(self.n_standard, [*seed, 1])]
        if self.n_other:
            parts.append(self._other.draw(self.n_other, [*seed, 2]))
        drawn = {name: torch.cat([part[name] for part in parts])
                 for name in ('images', 'sources', 'exposure', 'offsets',
                             'parameters')}
        rng = np.random.default_rng([*seed, 3])
        n = len(drawn['images'])
        known = (np.arange(n) < self.n_standard) & (rng.random(n) < 0.9)
        valid = np.ones((n, 1, 64, 64), np.float32)
        for index in np.flatnonzero(rng.random(n) < 0.1):
            valid[index, 0] -= rng.random((64, 64)) < 10.0**rng.uniform(-3, -1)
        gain = drawn['exposure'] * self._standard.gain
        flux = drawn['sources'].sum(1) * gain[:, None, None]
        parameters = drawn['parameters'].numpy()
        parameters[:, 4:] += rng.random((n, 2), np.float32)
        whole = known & (valid.min((1, 2, 3)) > 0)
        return {'image': drawn['images'].numpy()[:, None] * valid,
                'valid': valid, 'flux': flux.numpy()[:, None],
                'offset': drawn['offsets'].numpy(),
                'parameters': parameters,
                'whole': whole.astype(np.float32),
                'position': self._position
                * known[:, None, None, None].astype(np.float32)}


def segmentation_loss(model, batch, step, dtype):
    """
    The loss of `SourceSegmenter`, for `astro_denoise.training.loop.train`.

    Cross-entropy of the pixels with and without sources, the beta-NLL
    (arXiv:2203.09168, beta = 1/2) of their flux, and the squared error of
    the offset where the sources are bright.
    """
    return answer_loss(model(batch['image'], batch['valid'],
                             batch['position'], dtype=dtype), batch)


def answer_loss(answer, batch):
    """
    The loss of an answer of `SourceSegmenter`, and its parts.

    Parameters
    ----------
    answer : dict of `torch.Tensor`
        As the network gives it.

    batch : dict of `torch.Tensor`
        Of a `SkySampler`.

    Returns
    -------
    loss : `torch.Tensor`
        As explained at `segmentation_loss`.

    numbers : dict of float
        For the log.
    """
    valid, flux = batch['valid'], batch['flux']
    present = (flux > 0).float()
    entropy = F.binary_cross_entropy_with_logits(
        answer['logit'], present, weight=valid)
    log_variance = answer['log_variance']
    error = flux - answer['flux']
    likelihood = 0.5 * (error**2 * torch.exp(-log_variance) + log_variance)
    weight = torch.exp(0.5 * log_variance.detach())
    weight = weight / weight.mean((2, 3), keepdim=True)
    flux_loss = (likelihood * weight.clamp_max(10.0) * valid).mean()
    bright = (flux * torch.exp(-0.5 * log_variance.detach())
              ).clamp(0.0, 5.0) * valid
    distance = (torch.cat([answer['dx'], answer['dy']], 1)
                - batch['offset']).square().sum(1, keepdim=True)
    offset_loss = (distance * bright).sum() / bright.sum().clamp_min(1.0)
    numbers = {'entropy': float(entropy.detach()),
               'flux': float(flux_loss.detach()),
               'offset': float(offset_loss.detach())}
    return entropy + 0.02 * flux_loss + 0.1 * offset_loss, numbers


def train_segmenter(model, *, n_steps, seed=0, batch_size=64, **options):
    """
    Train a segmenter of point sources in gamma-ray images.

    Parameters
    ----------
    model : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The network; trained in place.

    n_steps : int
        Number of steps.

    seed : int, optional
        Of skies.

    batch_size : int, optional
        Images a step.

    **options
        Passed to `~astro_denoise.training.loop.train`.

    Returns
    -------
    model : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    sampler = SkySampler(batch_size=batch_size)
    configuration = {'method': 'segmenter', 'model': model.config,
                     'n_steps': n_steps, 'seed': seed,
                     'batch_size': batch_size}
    return train(model, sampler.batch, segmentation_loss, n_steps=n_steps,
                 seed=seed, configuration=configuration, **options)


class NoisyImageSampler:
    """
    Draw batches of images with one of several kinds of noise.

    Half of the images have the amount of noise of the source document,
    the others more or less of it. A few have masked pixels besides.

    Parameters
    ----------
    noises : tuple of str
        Kinds of noise; ``'none'`` for none.

    batch_size : int, optional
        Images in a batch.
    """

    def __init__(self, noises, *, batch_size=64):
        self.noises = noises
        self.batch_size = batch_size
        self._simulator = GalacticCenterSimulator('legacy', rotation=True)
        # Less to learn where there is no noise.
        share = np.array([0.3 if name == 'none' else 1.0 for name in noises])
        self._share = share / share.sum()

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : int or sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            ``image``, ``truth`` and ``valid``, float32 of shape (n, 1,
            64, 64), and ``kind``, the number of the noise, (n,).
        """
        seed = list(np.atleast_1d(seed))
        rng = np.random.default_rng([*seed, 3])
        generator = torch.Generator().manual_seed(
            int(rng.integers(2**62)))
        truth = self._simulator.draw(self.batch_size, [*seed, 1])['images']
        truth = truth / truth.amax((1, 2), keepdim=True)
        kind = rng.choice(len(self.noises), self.batch_size, p=self._share)
        image = truth.clone()
        for index, number in enumerate(kind):
            name = self.noises[number]
            if name == 'none':
                continue
            amount = IMAGE_NOISES[name]
            if rng.random() < 0.5:
                amount = (10.0**rng.uniform(0.0, 3.0) if name == 'poisson'
                          else amount * rng.uniform(0.2, 1.6))
            image[index] = add_image_noise(truth[index], name, amount,
                                           seed=generator)
        valid = np.ones((self.batch_size, 1, 64, 64), np.float32)
        for index in np.flatnonzero(rng.random(self.batch_size) < 0.15):
            valid[index, 0] -= (rng.random((64, 64))
                                < 10.0**rng.uniform(-3.0, -0.2))
        return {'image': image.numpy()[:, None] * valid,
                'truth': truth.numpy()[:, None], 'valid': valid,
                'kind': kind}


def mixed_loss(model, batch, step, dtype):
    """
    The loss of `MixedDenoiser`, for `astro_denoise.training.loop.train`.

    Squared error in units of 0.001, the likelihood of its predicted
    variance, and the cross-entropy of the kind of noise.
    """
    denoised, log_variance, logits = model(batch['image'], batch['valid'],
                                           dtype=dtype)
    squared = (denoised - batch['truth']).square()
    likelihood = 0.5 * (squared.detach() * torch.exp(-log_variance)
                        + log_variance).mean()
    entropy = F.cross_entropy(logits, batch['kind'])
    error = squared.mean()
    return (1e3 * error + 0.05 * likelihood + 0.1 * entropy,
            {'mse': float(error.detach()), 'entropy': float(entropy.detach()),
             'likelihood': float(likelihood.detach())})


def train_mixed(model, *, n_steps, seed=0, batch_size=64, **options):
    """
    Train a denoiser for several kinds of noise.

    Parameters
    ----------
    model : `~astro_denoise.models.image_denoiser.MixedDenoiser`
        The network; trained in place.

    n_steps : int
        Number of steps.

    seed : int, optional
        Of skies and noise.

    batch_size : int, optional
        Images a step.

    **options
        Passed to `~astro_denoise.training.loop.train`.

    Returns
    -------
    model : `~astro_denoise.models.image_denoiser.MixedDenoiser`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    sampler = NoisyImageSampler(model.noises, batch_size=batch_size)
    configuration = {'method': 'mixed', 'model': model.config,
                     'n_steps': n_steps, 'seed': seed,
                     'batch_size': batch_size}
    return train(model, sampler.batch, mixed_loss, n_steps=n_steps,
                 seed=seed, configuration=configuration, **options)
