# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The denoiser of gamma-ray images with any of several noises, ``gc-mixed``:
trained on skies drawn anew for every step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ...models.image_denoiser import MixedDenoiser
from ...simulation.galactic_center import GalacticCenterSimulator
from ...simulation.image_noise import IMAGE_NOISES, add_image_noise
from ..loop import train
from ..options import Schedule
from .held_out import VALIDATION_SEED, held_out_batches, held_out_images
from .saving import Recipe, TrainedNetwork

__all__ = ['RECIPES', 'MixedRecipe', 'NoisyImageSampler',
           'SeveralNoisesSampler', 'mixed_loss', 'train_mixed',
           'train_several']


class NoisyImageSampler:
    """
    Draw batches of images with one of several kinds of noise.

    Half of the images have the amount of noise of the student project,
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
    Compute the loss of `MixedDenoiser`.

    For `astro_denoise.training.loop.train`. Squared error in units of
    0.001, the likelihood of its predicted variance, and the cross-entropy
    of the kind of noise.
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


def train_mixed(model, schedule, run=None, *, batch_size=64):
    """
    Train a denoiser for several kinds of noise.

    Parameters
    ----------
    model : `~astro_denoise.models.image_denoiser.MixedDenoiser`
        The network; trained in place.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of skies and noise, devices and checkpoint.

    batch_size : int, optional
        Images a step.

    Returns
    -------
    model : `~astro_denoise.models.image_denoiser.MixedDenoiser`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    sampler = NoisyImageSampler(model.noises, batch_size=batch_size)
    return train(model, sampler.batch, mixed_loss, schedule, run,
                 configuration={'method': 'mixed', 'model': model.config,
                                'batch_size': batch_size})


class SeveralNoisesSampler:
    """
    Draw batches of images with none, one or two kinds of noise.

    Parameters
    ----------
    noises : tuple of str
        Kinds of noise.

    batch_size : int, optional
        Images in a batch.
    """

    def __init__(self, noises, *, batch_size=64):
        self.noises = tuple(name for name in noises if name != 'none')
        self.batch_size = batch_size
        self._simulator = GalacticCenterSimulator('legacy', rotation=True)

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
            Float32: ``image`` (n, 1, 64, 64), and ``kinds`` (n, n_noises),
            1 for those that are there.
        """
        seed = list(np.atleast_1d(seed))
        rng = np.random.default_rng([*seed, 4])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        image = self._simulator.draw(self.batch_size, [*seed, 1])['images']
        image = image / image.amax((1, 2), keepdim=True)
        kinds = np.zeros((self.batch_size, len(self.noises)), np.float32)
        for index, number in enumerate(rng.choice(
                3, self.batch_size, p=(0.1, 0.45, 0.45))):
            # Noise of pixels comes before pixels are replaced.
            for kind in np.sort(rng.choice(len(self.noises), number,
                                           replace=False)):
                name = self.noises[kind]
                amount = IMAGE_NOISES[name]
                if rng.random() < 0.5:
                    amount *= rng.uniform(0.4, 1.5)
                image[index] = add_image_noise(image[index], name, amount,
                                               seed=generator)
                kinds[index, kind] = 1.0
        return {'image': image.numpy()[:, None], 'kinds': kinds}


def train_several(network, seed, *, n_batches=80, n_steps=1500,
                  learning_rate=2e-3):
    """
    Train what tells several kinds of noise on one image.

    Parameters
    ----------
    network : `~astro_denoise.models.image_denoiser.MixedDenoiser`
        The network; only its ``several`` is trained.

    seed : int
        Seed of images and order.

    n_batches : int, optional
        Number of batches that are drawn.

    n_steps : int, optional
        Number of steps.

    learning_rate : float, optional
        Of Adam, at the beginning.

    Returns
    -------
    share : float
        Share of other images all of whose kinds are named rightly.
    """
    sampler = SeveralNoisesSampler(network.noises)

    def drawn(number, offset):
        parts = []
        for index in range(number):
            batch = sampler.batch([seed + offset, index])
            image = torch.from_numpy(batch['image'])
            with torch.no_grad():
                parts.append((network.described(
                    image, torch.ones_like(image)),
                    torch.from_numpy(batch['kinds'])))
        return map(torch.cat, zip(*parts, strict=True))

    features, kinds = drawn(n_batches, 0)
    mean, scale = features.mean(0), features.std(0) + 1e-4
    several = network.several.requires_grad_()
    optimizer = torch.optim.AdamW(several.parameters(), lr=learning_rate,
                                  weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    rng = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        rows = torch.randint(len(features), (512,), generator=rng)
        logits = several((features[rows] - mean) / scale)
        loss = F.binary_cross_entropy_with_logits(logits, kinds[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        # The scales of the features become a part of the first layer.
        several[0].weight.div_(scale)
        several[0].bias.sub_(several[0].weight @ mean)
    several.requires_grad_(requires_grad=False)
    features, kinds = drawn(8, VALIDATION_SEED)
    right = (several(features) > 0).float() == kinds
    return float(right.all(1).float().mean())


def _learn_scores(network, seed, n_batches=12):
    """Learn how images look without their noise."""
    with torch.no_grad():
        denoised = torch.cat([
            network.denoise_images(batch['image'][:, 0],
                                   batch['valid'][:, 0])[0]
            for batch in held_out_batches(
                NoisyImageSampler(network.noises), n_batches, seed + 1)])
    network.scores.learn(denoised, torch.ones_like(denoised))
    network.learn_levels(held_out_images(
        GalacticCenterSimulator('legacy', rotation=True), 1000,
        VALIDATION_SEED + seed)[0])


def _figures(network, seed):
    """Score the network on images that it was not trained on."""
    squared, expected, right, total = 0.0, 0.0, 0, 0
    sampler = NoisyImageSampler(network.noises)
    for batch in held_out_batches(sampler, 10, seed):
        denoised, log_variance, logits = network(batch['image'],
                                                 batch['valid'])
        squared += float((denoised - batch['truth']).square().sum())
        expected += float(log_variance.exp().sum())
        right += int((logits.argmax(1) == batch['kind']).sum())
        total += len(logits)
    return {'noise named rightly': round(right / total, 4),
            'squared error over expected': round(squared / expected, 3)}


@dataclass(frozen=True, kw_only=True)
class MixedRecipe(Recipe):
    """
    Recipe of a denoiser for several kinds of noise.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    batch_size : int
        Images a step.
    """

    task: str = 'denoise'
    schedule: Schedule
    batch_size: int

    def train(self, run, *, n_steps=None):
        """Train the network."""
        schedule = self.schedule.with_steps(n_steps)
        network, log = train_mixed(MixedDenoiser(), schedule, run,
                                   batch_size=self.batch_size)
        network.cpu().requires_grad_(requires_grad=False)
        _learn_scores(network, run.seed)
        named = train_several(network, run.seed)
        return TrainedNetwork(network, log, {'n_steps': schedule.n_steps},
                              {'figures': {
                                  **_figures(network, run.seed),
                                  'up to two noises named rightly':
                                  round(named, 4)}})


#: Recipes by name.
RECIPES = {'gc-mixed': MixedRecipe(
    name='gc-mixed', summary='gamma-ray images with any of four noises',
    schedule=Schedule(2500, 1.5e-3), batch_size=48)}
