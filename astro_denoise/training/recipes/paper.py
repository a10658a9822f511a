# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The baseline networks for images of the Galactic Center, each trained as
its authors did.

Images are of the simulator's ``legacy`` tier; their numbers, the batch,
the learning rate and the loss are those published. What was not published
was chosen: networks for parameters see counts as they are and are trained
for the mean absolute error; those and the U-net stop when the validation
loss falls no more, and keep the weights of the lowest. Autoencoders train
20 epochs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.nn import functional as F

from ...models.paper import (
    MultiOutputCNN,
    PaperAutoencoder,
    PaperUNet,
    SingleOutputCNN,
    divide_by_maximum,
)
from ...simulation.galactic_center import GalacticCenterSimulator
from ...simulation.image_noise import IMAGE_NOISES, add_image_noise
from .epochs import train_epochs
from .saving import Recipe, TrainedNetwork

__all__ = ['RECIPES', 'AutoencoderRecipe', 'EstimatorRecipe', 'PaperRecipe',
           'UNetRecipe']

# Images of training, validation and test are drawn from seeds from here on.
_IMAGE_SEED = 5_200_000

_RANGES = {'a_dm': (0.0, 1.0), 'n_ps_gc': (200.0, 800.0),
           'n_ps_disk': (1000.0, 4000.0), 'n_ps_total': (1200.0, 4800.0)}

_LEARNING_RATE = 1e-3
_CUT = 0.02  # of the masks of the U-net


def _errors(output, targets):
    """Compute mean squared and mean absolute errors."""
    difference = output - targets
    return {'mse': difference.square().mean(),
            'mae': difference.abs().mean()}


def absolute_loss(output, targets):
    """
    Compute the loss of the networks for parameters, which scores them.

    Parameters
    ----------
    output, targets : `torch.Tensor`
        Shape (n, k).

    Returns
    -------
    loss : `torch.Tensor`
        Mean absolute error.

    numbers : dict of `torch.Tensor`
        For the log.
    """
    numbers = _errors(output, targets)
    return numbers['mae'], numbers


def squared_loss(output, targets):
    """
    Compute the loss of the autoencoders.

    Parameters
    ----------
    output, targets : `torch.Tensor`
        Images, shape (n, 1, 64, 64).

    Returns
    -------
    loss : `torch.Tensor`
        Mean squared error.

    numbers : dict of `torch.Tensor`
        For the log.
    """
    numbers = _errors(output, targets)
    return numbers['mse'], numbers


def counting_loss(logits, targets, *, point_cut):
    """
    Compute the loss of the U-net: cross-entropy, and a count of points.

    Parameters
    ----------
    logits : `torch.Tensor`
        Output before the sigmoid, shape (n, 1, ny, nx).

    targets : `torch.Tensor`
        Flux of the sources in each pixel over its maximum in the image.

    point_cut : float
        Output from which on a point counts as predicted. Its authors
        took 1.08 times the smallest non-zero target of its first image.

    Returns
    -------
    loss : `torch.Tensor`
        Binary cross-entropy, plus 1e-7 times the difference between the
        numbers of predicted and of true points in the batch. That
        second term has no gradient: it is there because it was
        published.

    numbers : dict of `torch.Tensor`
        For the log.
    """
    output = torch.sigmoid(logits)
    points = targets > 0
    penalty = ((output > point_cut).sum() - points.sum()).abs()
    accuracy = ((output > _CUT) == points).float().mean()
    return (F.binary_cross_entropy_with_logits(logits, targets)
            + 1e-7 * penalty,
            {**_errors(output, targets), 'accuracy': accuracy})


@dataclass(frozen=True, kw_only=True)
class PaperRecipe(Recipe):
    """
    Recipe of a baseline network; each task derives a class of its own.

    Parameters
    ----------
    n_validation, n_test : int
        Numbers of images besides those of training, ``n_skies``.

    batch_size : int
        Images of a step.

    epochs : int
        Number of epochs, at most.

    patience : int, optional
        Number of epochs without a lower validation loss after which the
        training stops.
    """

    n_validation: int
    n_test: int
    batch_size: int = 64
    epochs: int
    patience: int | None = None

    def network(self):
        """Make the network, with new weights."""
        raise NotImplementedError

    def dataset(self, network, n_images, seed):
        """
        Draw images and their targets.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network.

        n_images : int
            Number of images.

        seed : int
            Same seed, same images.

        Returns
        -------
        images : `torch.Tensor`
            Shape (n_images, 1, 64, 64).

        targets : `torch.Tensor`
            Shape (n_images, ...).
        """
        raise NotImplementedError

    def loss(self, training):
        """
        Choose the loss.

        Parameters
        ----------
        training : tuple of `torch.Tensor`
            Images and targets of the training.

        Returns
        -------
        loss_function : callable
            For `~astro_denoise.training.recipes.epochs.train_epochs`.
        """
        raise NotImplementedError

    @property
    def corrupt(self):
        """Function that spoils images, or `None`."""
        return None

    def described(self, network, validation, seed):
        """
        Complete a trained network, and describe it.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network.

        validation : tuple of `torch.Tensor`
            Images and targets.

        seed : int
            Seed of the training.

        Returns
        -------
        found : dict
            Entries of the header of the model.
        """
        return {}

    def train(self, run, *, n_steps=None, n_skies=None):
        """Train the network, ``n_steps`` being epochs, and measure it."""
        sizes = [self.n_skies, self.n_validation, self.n_test]
        if n_skies is not None:
            sizes = [math.ceil(size * n_skies / sizes[0]) for size in sizes]
        network = self.network()
        training, validation, test = (
            self.dataset(network, size, _IMAGE_SEED + 10 * run.seed + number)
            for number, size in enumerate(sizes))
        loss_function = self.loss(training)
        network, log = train_epochs(
            network, training, validation, loss_function, run,
            epochs=n_steps or self.epochs, batch_size=self.batch_size,
            learning_rate=_LEARNING_RATE, patience=self.patience,
            corrupt=self.corrupt,
            configuration={'name': self.name, 'sizes': sizes})
        network = network.cpu()
        found = self.described(network, validation, run.seed)
        return TrainedNetwork(network, log, {
            'sizes': sizes, 'epochs': len(log),
            'kept_epoch': next(row['epoch'] for row in log if row['kept']),
            'batch_size': self.batch_size, 'learning_rate': _LEARNING_RATE},
            {**found, 'figures': self._figures(network, test, loss_function,
                                               run.seed + 1)})

    def _figures(self, network, test, loss_function, seed):
        """Compute the numbers of the log for the test images."""
        images, targets = test
        if self.corrupt is not None:
            images = self.corrupt(images, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            output = torch.cat([network(part) for part in images.split(64)])
        _, numbers = loss_function(output, targets)
        return {name: float(f'{value:.5g}')
                for name, value in numbers.items()}


@dataclass(frozen=True, kw_only=True)
class EstimatorRecipe(PaperRecipe):
    """
    Recipe of a network for parameters.

    Parameters
    ----------
    architecture : callable
        Class of the network.

    outputs : tuple of str
        Names of the parameters.
    """

    task: str = 'estimate'
    n_skies: int = 8192
    epochs: int
    patience: int = 8
    architecture: Callable
    outputs: tuple

    def network(self):
        """Make the network, with new weights."""
        return self.architecture(outputs=self.outputs, ranges=[
            _RANGES[name] for name in self.outputs])

    def dataset(self, network, n_images, seed):
        """Draw counts, and the parameters as the network gives them."""
        counts, parameters, _ = GalacticCenterSimulator('legacy').sample(
            n_images, seed=seed)
        values = torch.stack([torch.as_tensor(parameters[name].astype('f4'))
                              for name in self.outputs], 1)
        return torch.from_numpy(counts)[:, None], network.scale(values)

    def loss(self, training):
        """Choose the loss."""
        return absolute_loss


@dataclass(frozen=True, kw_only=True)
class UNetRecipe(PaperRecipe):
    """
    Recipe of the U-net for point sources.
    """

    task: str = 'segment'

    def network(self):
        """Make the network, with new weights."""
        return PaperUNet()

    def dataset(self, network, n_images, seed):
        """Draw images, and the flux of the point sources in each pixel."""
        counts, _, sources = GalacticCenterSimulator('legacy').sample(
            n_images, seed=seed)
        flux = torch.from_numpy(sources['gc'] + sources['disk'])
        return tuple(divide_by_maximum(plane)[0][:, None]
                     for plane in (torch.from_numpy(counts), flux))

    def loss(self, training):
        """Choose the loss, for the faintest point of the first image."""
        first = training[1][0]
        return partial(counting_loss,
                       point_cut=1.08 * float(first[first > 0].min()))

    def described(self, network, validation, seed):
        """State the threshold."""
        return {'threshold': _CUT}


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe(PaperRecipe):
    """
    Recipe of an autoencoder for images with one kind of noise.

    Parameters
    ----------
    noise : str
        Name of the noise.
    """

    task: str = 'denoise'
    n_skies: int = 8192
    n_validation: int = 1024
    n_test: int = 1024
    epochs: int = 20
    noise: str

    def network(self):
        """Make the network, with new weights."""
        return PaperAutoencoder()

    def dataset(self, network, n_images, seed):
        """Draw images without noise, which are their own targets."""
        simulator = GalacticCenterSimulator('legacy', rotation=True)
        counts, _, _ = simulator.sample(n_images, seed=seed)
        images = divide_by_maximum(torch.from_numpy(counts))[0][:, None]
        return images, images

    def loss(self, training):
        """Choose the loss."""
        return squared_loss

    @property
    def corrupt(self):
        """Function that adds the noise."""
        return lambda images, generator: add_image_noise(
            images, self.noise, seed=generator)

    def described(self, network, validation, seed):
        """Calibrate the errors and state the noise."""
        images, targets = validation
        noisy = self.corrupt(images, torch.Generator().manual_seed(seed))
        network.calibrate(noisy[:, 0], targets[:, 0])
        return {'noise': {'kind': self.noise,
                          'amount': IMAGE_NOISES[self.noise]}}

    def train(self, run, *, n_steps=None, n_skies=None):
        """Train in single precision, and measure the network."""
        runtime = replace(run.runtime, dtype=torch.float32)
        return super().train(replace(run, runtime=runtime),
                             n_steps=n_steps, n_skies=n_skies)


def _estimator(name, architecture, outputs, *, n_validation=1024, n_test=1024,
               epochs=24):
    return EstimatorRecipe(
        name=name, architecture=architecture, outputs=outputs,
        n_validation=n_validation, n_test=n_test, epochs=epochs,
        summary="the student project's network for " + ', '.join(outputs))


def _autoencoder(noise):
    return AutoencoderRecipe(
        name=f'gc-{noise}', noise=noise,
        summary=(f"the student project's autoencoder, {noise} noise of "
                 f'{IMAGE_NOISES[noise]}'))


#: Recipes by name.
RECIPES = {recipe.name: recipe for recipe in (
    _estimator('cnn-dm', SingleOutputCNN, ('a_dm',), n_validation=1966,
               n_test=3072, epochs=12),
    _estimator('cnn-dm-total', MultiOutputCNN, ('a_dm', 'n_ps_total')),
    _estimator('cnn-dm-disk-gc', MultiOutputCNN,
               ('a_dm', 'n_ps_disk', 'n_ps_gc')),
    UNetRecipe(name='unet-paper', n_skies=6592, n_validation=800, n_test=800,
               batch_size=128, epochs=60, patience=20,
               summary="the student project's U-net for point sources"),
    *map(_autoencoder, ('gaussian', 'poisson', 'masked', 'saltpepper')))}
