# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training in epochs over a fixed set of images, as the source document did.
"""

import copy
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch

from ..io.output import atomic_output
from .loop import read_checkpoint

__all__ = ['train_epochs']

logger = logging.getLogger(__name__)


def _batches(images, targets, batch_size, order):
    """Pairs of batches in a given order."""
    for rows in torch.from_numpy(order).split(batch_size):
        yield images[rows], targets[rows]


class _Means:
    """Means of numbers over the batches of an epoch."""

    def __init__(self):
        self._sums, self._weight = {}, 0

    def add(self, numbers, weight):
        for name, value in numbers.items():
            self._sums[name] = (self._sums.get(name, 0.0)
                                + weight * float(value.detach()))
        self._weight += weight

    def row(self, prefix):
        return {f'{prefix}_{name}': total / self._weight
                for name, total in self._sums.items()}


def train_epochs(model, training, validation, loss_function, *, epochs,
                 batch_size, learning_rate=1e-3, patience=None, seed=0,
                 corrupt=None, dtype=torch.float32, device='cpu',
                 checkpoint=None, configuration=None, progress_bar=False):
    """
    Train a network over and over on the same images.

    Adam with a constant learning rate. A checkpoint is written after
    each epoch, from which the same result follows.

    Parameters
    ----------
    model : `torch.nn.Module`
        The network; trained in place.

    training, validation : tuple of `torch.Tensor`
        Images (n, 1, ny, nx) and targets (n, ...).

    loss_function : callable
        ``loss_function(output, targets)`` returns the loss and a dict
        of scalar tensors for the log.

    epochs : int
        How often to go through the images, at most.

    batch_size : int
        Images in a step.

    learning_rate : float, optional
        Of Adam.

    patience : int, optional
        Stop after this many epochs without a lower validation loss, and
        keep the weights of the lowest. With `None`, train all epochs and
        keep the last weights.

    seed : int, optional
        Of the order of the images, of dropout and of ``corrupt``.

    corrupt : callable, optional
        ``corrupt(images, generator)`` spoils the images of each batch;
        those for validation are spoilt in the same way in each epoch.

    dtype : `torch.dtype`, optional
        Precision of the convolutions.

    device : str, optional
        Where to train.

    checkpoint : path-like, optional
        File to resume from, and to write to after each epoch.

    configuration : dict, optional
        Kept in the checkpoint; one of another configuration is refused.

    progress_bar : bool, optional
        Show a progress bar.

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
    """
    from tqdm import tqdm

    configuration = json.dumps(configuration or {}, sort_keys=True)
    device = torch.device(device)
    model.to(device=device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    log, best, lowest = [], copy.deepcopy(model.state_dict()), np.inf
    state = _resume(checkpoint, device, configuration)
    if state is not None:
        model.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        log, best, lowest = state['log'], state['best'], state['lowest']

    def step(images, targets, generator):
        images, targets = images.to(device), targets.to(device)
        if corrupt is not None:
            images = corrupt(images, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16,
                            enabled=dtype == torch.bfloat16):
            output = model(images)
        return loss_function(output.float(), targets)

    def generator_of(epoch):
        return torch.Generator(device).manual_seed(
            int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))

    bar = tqdm(range(len(log), epochs), initial=len(log), total=epochs,
               disable=not progress_bar, desc='epochs')
    for epoch in bar:
        if _is_over(log, patience):
            break
        started = time.monotonic()
        means = _Means(), _Means()
        model.train()
        order = np.random.default_rng([seed, epoch]).permutation(
            len(training[0]))
        generator = generator_of(epoch + 1)
        with torch.random.fork_rng([device] if device.type == 'cuda' else []):
            torch.manual_seed(generator.initial_seed())  # dropout
            for images, targets in _batches(*training, batch_size, order):
                loss, numbers = step(images, targets, generator)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                means[0].add({'loss': loss, **numbers}, len(images))
        model.eval()
        generator = generator_of(0)
        with torch.no_grad():
            for images, targets in _batches(
                    *validation, batch_size, np.arange(len(validation[0]))):
                loss, numbers = step(images, targets, generator)
                means[1].add({'loss': loss, **numbers}, len(images))
        row = {'epoch': epoch + 1, **means[0].row('train'),
               **means[1].row('validation'),
               'seconds': time.monotonic() - started}
        if patience is None or row['validation_loss'] < lowest:
            lowest = row['validation_loss']
            best = copy.deepcopy(model.state_dict())
            for earlier in log:
                earlier['kept'] = False
            row['kept'] = True
        else:
            row['kept'] = False
        log.append(row)
        bar.set_postfix({'loss': f'{row["validation_loss"]:.4g}'},
                        refresh=False)
        logger.info('%s', row)
        if checkpoint is not None:
            with atomic_output(checkpoint, overwrite=True) as temporary:
                torch.save({'configuration': configuration, 'log': log,
                            'model': model.state_dict(), 'best': best,
                            'lowest': lowest,
                            'optimizer': optimizer.state_dict()}, temporary)
    model.load_state_dict(best)
    return model.eval(), log


def _is_over(log, patience):
    """Whether the lowest validation loss lies too far back."""
    return patience is not None and len(log) > patience and not any(
        row['kept'] for row in log[-patience:])


def _resume(checkpoint, device, configuration):
    """The state in a checkpoint, if there is one."""
    if checkpoint is None or not Path(checkpoint).exists():
        return None
    state = read_checkpoint(checkpoint, device)
    if state['configuration'] != configuration:
        msg = (f'checkpoint {checkpoint} was written for '
               f'{state["configuration"]}, not for {configuration}')
        raise ValueError(msg)
    logger.info('resumed %s at epoch %d', checkpoint, len(state['log']))
    return state
