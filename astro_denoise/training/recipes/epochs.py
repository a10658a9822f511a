# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training in epochs over a fixed set of images.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ...models.layers import computing_in
from ..loop import train
from ..options import Descent, Run, Schedule
from ..progress import RunningMeans

__all__ = ['train_epochs']

def train_epochs(model, training, validation, loss_function, run=None, *,
                 epochs, batch_size, learning_rate=1e-3, patience=None,
                 corrupt=None, configuration=None):
    """
    Train a network over and over on the same images.

    Adam with a constant learning rate, in the loop of
    `~astro_denoise.training.loop.train`. A checkpoint is written after each
    epoch, from which the same result follows.

    Parameters
    ----------
    model : `torch.nn.Module`
        The network; trained in place.

    training, validation : tuple of `torch.Tensor`
        Images (n, 1, ny, nx) and targets (n, ...).

    loss_function : callable
        ``loss_function(output, targets)`` returns the loss and a dict
        of scalar tensors for the log.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the order of the images, of dropout and of ``corrupt``;
        device, precision and checkpoint.

    epochs : int
        How often to go through the images, at most.

    batch_size : int
        Images in a step.

    learning_rate : float, optional
        Learning rate of Adam.

    patience : int, optional
        Stop after this many epochs without a lower validation loss, and
        keep the weights of the lowest. With `None`, train all epochs and
        keep the last weights.

    corrupt : callable, optional
        ``corrupt(images, generator)`` spoils the images of each batch;
        those for validation are spoilt in the same way in each epoch.

    configuration : dict, optional
        What the result depends on besides the options here. A checkpoint
        of another configuration is refused.

    Returns
    -------
    model : `torch.nn.Module`
        The network with the weights kept, in evaluation mode.

    log : list of dict
        A row per epoch: ``epoch``, ``kept`` (whether its weights are
        those of the result), and of each number its mean over training
        and validation images.

    Raises
    ------
    ValueError
        If the checkpoint belongs to another configuration.

    OSError
        If the checkpoint cannot be read or written.

    KeyboardInterrupt
        If a signal came: the checkpoint is that of the last whole epoch.
    """
    run = run or Run()
    images = _Images(training, validation, batch_size)
    fit = _Fit(images, loss_function, run, corrupt, patience)
    device = run.runtime.device
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        model, rows = train(
            model, fit.batch, fit.loss,
            _ConstantRate(epochs * images.n_batches, learning_rate,
                          patience=patience, log_every=images.n_batches),
            run, evaluate=fit.evaluate,
            configuration={**(configuration or {}),
                           'batch_size': batch_size},
            descent=Descent(_adam, largest_norm=None, averages=False,
                            in_epochs=True))
    return model, _log(rows, images.n_batches, patience)


def _adam(model, learning_rate):
    return torch.optim.Adam(model.parameters(), lr=learning_rate)


class _ConstantRate(Schedule):
    """A constant learning rate, on which more epochs may follow."""

    def rate(self, step, spent=0.0, peak=None):
        """Give the learning rate."""
        return self.learning_rate

    @property
    def configuration(self):
        """Options that the weights depend on, for a checkpoint."""
        return {'learning_rate': self.learning_rate}


def _log(rows, n_batches, patience):
    """Give a row per epoch, of training and validation."""
    kept = len(rows) - 1
    if patience is not None:
        kept = int(np.argmin([row['validation_loss'] for row in rows]))
    log, minutes = [], 0.0
    for number, row in enumerate(rows):
        numbers = {name: value for name, value in row.items()
                   if name not in ('step', 'minutes', 'score')}
        validation = {name: numbers.pop(name) for name in list(numbers)
                      if name.startswith('validation_')}
        log.append({
            'epoch': row['step'] // n_batches,
            **{f'train_{name}': value for name, value in numbers.items()},
            **validation, 'seconds': 60.0 * (row['minutes'] - minutes),
            'kept': number == kept})
        minutes = row['minutes']
    return log


@dataclass(frozen=True)
class _Images:
    """
    Images and targets for training and validation, and how many at once.
    """

    training: tuple
    validation: tuple
    batch_size: int

    @property
    def n_batches(self):
        """Batches of an epoch."""
        return -(-len(self.training[0]) // self.batch_size)

    def shuffled(self, seed):
        """Give the rows of the batches of an epoch."""
        order = np.random.default_rng(seed).permutation(
            len(self.training[0]))
        return torch.from_numpy(order).split(self.batch_size)


class _Fit:
    """
    Step and score of a training in epochs.
    """

    def __init__(self, images, loss_function, run, corrupt, patience):
        self.images = images
        self.loss_function = loss_function
        self.run = run
        self.corrupt = corrupt
        self.judged = patience is not None
        self._rows = self._generator = None

    def _seeded(self, number):
        seed = np.random.SeedSequence([self.run.seed, number])
        return torch.Generator(self.run.runtime.device).manual_seed(
            int(seed.generate_state(1)[0]))

    def batch(self, seed):
        """Take the images of a step; each epoch has an order of its own."""
        seed, step = seed
        epoch, number = divmod(step, self.images.n_batches)
        if number == 0:
            self._rows = self.images.shuffled([seed, epoch])
            self._generator = self._seeded(epoch + 1)
            torch.manual_seed(self._generator.initial_seed())  # dropout
        return dict(zip(('images', 'targets'), (
            plane[self._rows[number]].numpy()
            for plane in self.images.training), strict=True))

    def loss(self, model, batch, step, dtype):
        """Compute the loss of a batch, and its numbers."""
        return self._loss(model, batch['images'], batch['targets'],
                          self._generator)

    def _loss(self, model, images, targets, generator):
        if self.corrupt is not None:
            images = self.corrupt(images, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        runtime = self.run.runtime
        with computing_in(runtime.dtype, runtime.device):
            output = model(images)
        loss, numbers = self.loss_function(output.float(), targets)
        return loss, {name: float(value.detach())
                      for name, value in numbers.items()}

    @torch.no_grad()
    def evaluate(self, model):
        """Compute the means of the numbers, always on the same images."""
        means, generator = RunningMeans(), self._seeded(0)
        device = self.run.runtime.device
        for images, targets in zip(*(
                plane.split(self.images.batch_size)
                for plane in self.images.validation), strict=True):
            loss, numbers = self._loss(model, images.to(device),
                                       targets.to(device), generator)
            means.add({'loss': float(loss), **numbers}, len(images))
        row = {f'validation_{name}': mean
               for name, mean in means.row().items()}
        return {**row, 'score': row['validation_loss']} if self.judged else row
