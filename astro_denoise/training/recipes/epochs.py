# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training in epochs over a fixed set of images.
"""

import logging
import time

import numpy as np
import torch

from ..options import Run
from ..progress import BestWeights, RunningMeans

__all__ = ['train_epochs']

logger = logging.getLogger(__name__)


def train_epochs(model, training, validation, loss_function, run=None, *,
                 epochs, batch_size, learning_rate=1e-3, patience=None,
                 corrupt=None, configuration=None):
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
    """
    from tqdm import tqdm

    run = run or Run()
    configuration = {**(configuration or {}), 'seed': run.seed,
                     'batch_size': batch_size,
                     'learning_rate': learning_rate}
    worker = _Worker(model, loss_function, run, corrupt, learning_rate)
    log, best = [], BestWeights(patience)
    state = run.checkpoint.read(configuration, run.runtime.device)
    if state is not None:
        worker.load(state)
        best.load(state['best'])
        log = state['log']
    bar = tqdm(range(len(log), epochs), initial=len(log), total=epochs,
               disable=not run.progress_bar, desc='epochs')
    for epoch in bar:
        if best.exhausted:
            break
        started = time.monotonic()
        row = {'epoch': epoch + 1,
               **worker.train(_batches(*training, batch_size, [run.seed,
                                                               epoch]),
                              epoch),
               **worker.validate(_batches(*validation, batch_size)),
               'seconds': time.monotonic() - started}
        row['kept'] = patience is None or best.judge(row['validation_loss'],
                                                     model)
        if row['kept']:
            log = [{**earlier, 'kept': False} for earlier in log]
        log.append(row)
        bar.set_postfix({'loss': f'{row["validation_loss"]:.4g}'},
                        refresh=False)
        logger.info('%s', row)
        run.checkpoint.write(configuration, {
            **worker.state(), 'best': best.state(), 'log': log})
    best.restore(model)
    return model.eval(), log


def _batches(images, targets, batch_size, seed=None):
    """Give pairs of batches, shuffled if there is a seed."""
    order = np.arange(len(images))
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(images))
    for rows in torch.from_numpy(order).split(batch_size):
        yield images[rows], targets[rows]


class _Worker:
    """
    A network, its optimizer, and what is done in an epoch.
    """

    def __init__(self, model, loss_function, run, corrupt, learning_rate):
        self.device = run.runtime.device
        self.model = model.to(device=self.device,
                              memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(model.parameters(),
                                          lr=learning_rate)
        self.loss_function = loss_function
        self.corrupt = corrupt
        self.run = run

    def state(self):
        """Give what a checkpoint keeps."""
        return {'model': self.model.state_dict(),
                'optimizer': self.optimizer.state_dict()}

    def load(self, state):
        """Go on from a checkpoint."""
        self.model.load_state_dict(state['model'])
        self.optimizer.load_state_dict(state['optimizer'])

    def _generator(self, number):
        seed = np.random.SeedSequence([self.run.seed, number])
        return torch.Generator(self.device).manual_seed(
            int(seed.generate_state(1)[0]))

    def _losses(self, batches, generator):
        """Compute the loss of each batch, its numbers, and its size."""
        for images, targets in batches:
            images = images.to(self.device)
            if self.corrupt is not None:
                images = self.corrupt(images, generator)
            images = images.contiguous(memory_format=torch.channels_last)
            fast = self.run.runtime.dtype == torch.bfloat16
            with torch.autocast(self.device.type, dtype=torch.bfloat16,
                                enabled=fast):
                output = self.model(images)
            loss, numbers = self.loss_function(output.float(),
                                               targets.to(self.device))
            yield loss, {name: float(value.detach()) for name, value
                         in {'loss': loss, **numbers}.items()}, len(images)

    def train(self, batches, epoch):
        """Take a step for each batch."""
        means = RunningMeans()
        self.model.train()
        generator = self._generator(epoch + 1)
        with torch.random.fork_rng([self.device] if self.device.type == 'cuda'
                                   else []):
            torch.manual_seed(generator.initial_seed())  # dropout
            for loss, numbers, size in self._losses(batches, generator):
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                means.add(numbers, size)
        return {f'train_{name}': mean for name, mean in means.row().items()}

    @torch.no_grad()
    def validate(self, batches):
        """Compute the means of the numbers, always on the same images."""
        means = RunningMeans()
        self.model.eval()
        for _, numbers, size in self._losses(batches, self._generator(0)):
            means.add(numbers, size)
        return {f'validation_{name}': mean
                for name, mean in means.row().items()}
