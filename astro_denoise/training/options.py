# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Options of a training that travel together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from ..inference.devices import Runtime
from .checkpoints import Checkpoint
from .distributed import Processes

__all__ = ['Descent', 'Run', 'Schedule', 'cosine_fall', 'adam_w']


def cosine_fall(progress):
    """
    Fall from 1 to 0.01 along half a cosine.

    Parameters
    ----------
    progress : float
        Share of the training that is over, from 0 to 1.

    Returns
    -------
    factor : float
        Learning rate over its peak.
    """
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Schedule:
    """
    Length of a training, and the pace at which it learns.

    Parameters
    ----------
    n_steps : int
        Number of steps, at most.

    learning_rate : float, optional
        Peak of the learning rate.

    warmup : int, optional
        Number of steps in which the learning rate rises to its peak.

    ema_decay : float, optional
        Share that the mean of the weights, which is the result, keeps of
        its value in a step; the mean follows faster in the first steps.

    minutes : float, optional
        Time after which the training stops, that before a resumed
        checkpoint included.

    patience : int, optional
        Number of scores without an improvement after which the training
        stops.

    log_every : int, optional
        Number of steps between two rows of the log, and two scores.
    """

    n_steps: int
    learning_rate: float = 1.5e-3
    warmup: int = 300
    ema_decay: float = 0.998
    minutes: float | None = None
    patience: int | None = None
    log_every: int = 50

    def with_steps(self, n_steps=None):
        """
        Change the length of the training.

        Parameters
        ----------
        n_steps : int, optional
            Number of steps; `None` changes nothing.

        Returns
        -------
        schedule : `Schedule`
            The same with another number of steps.
        """
        return self if n_steps is None else replace(self, n_steps=n_steps)

    def rate(self, step, spent=0.0, peak=None):
        """
        Compute the learning rate: a linear rise, then half a cosine.

        Parameters
        ----------
        step : int
            Number of steps done.

        spent : float, optional
            Share of the time that has gone. Steps or time set the pace,
            whichever is ahead.

        peak : float, optional
            Peak of the rate for some of the weights; ``learning_rate`` by
            default.

        Returns
        -------
        rate : float
            The learning rate.
        """
        peak = self.learning_rate if peak is None else peak
        if step < self.warmup:
            return peak * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(self.n_steps - self.warmup, 1)
        return peak * cosine_fall(min(max(progress, spent), 1.0))

    def decay(self, n_steps):
        """
        Compute how much of the mean of the weights is kept in a step.

        Parameters
        ----------
        n_steps : int
            Number of this step, the first being 1.

        Returns
        -------
        decay : float
            The share that is kept.
        """
        return min(self.ema_decay, n_steps / (9.0 + n_steps))

    @property
    def configuration(self):
        """Options that the weights depend on, for a checkpoint."""
        return {'n_steps': self.n_steps, 'warmup': self.warmup,
                'learning_rate': self.learning_rate,
                'ema_decay': self.ema_decay}


def adam_w(model, learning_rate):
    """
    Make the optimizer of most trainings.

    Parameters
    ----------
    model : `torch.nn.Module`
        The network.

    learning_rate : float
        Peak of the learning rate.

    Returns
    -------
    optimizer : `torch.optim.Optimizer`
        AdamW.
    """
    return torch.optim.AdamW(model.parameters(), lr=learning_rate,
                             weight_decay=1e-4, betas=(0.9, 0.98))


@dataclass(frozen=True)
class Descent:
    """
    Optimizer, largest gradient and mean of the weights of a training.

    Parameters
    ----------
    optimizer : callable, optional
        ``optimizer(model, learning_rate)`` makes the optimizer.

    largest_norm : float or `None`, optional
        Gradients of a larger norm are scaled down to it, and those that are
        not finite left out; `None` follows all as they are.

    averages : bool, optional
        Whether the running mean of the weights is the result, else the
        last weights are.

    in_epochs : bool, optional
        Whether batches follow from one another between two rows of the log:
        checkpoints are then written with the rows.
    """

    optimizer: Callable = adam_w
    largest_norm: float | None = 1.0
    averages: bool = True
    in_epochs: bool = False


@dataclass(frozen=True)
class Run:
    """
    Seed, devices and checkpoint of a training.

    Parameters
    ----------
    seed : int, optional
        Seed of all that is drawn.

    runtime : `~astro_denoise.inference.Runtime`, optional
        Device to train on, and precision of the convolutions.

    checkpoint : `~astro_denoise.training.checkpoints.Checkpoint`, optional
        File to resume from, and to write to every few minutes.

    progress_bar : bool, optional
        Show a progress bar.

    processes : `~astro_denoise.training.distributed.Processes`, optional
        The processes that share the work, of which this is one.

    keeps_best : bool, optional
        Whether a signal ends the training with the best weights so far; else
        it stops the process, after the checkpoint is written.
    """

    seed: int = 0
    runtime: Runtime = field(
        default_factory=lambda: Runtime(torch.device('cpu')))
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    progress_bar: bool = False
    processes: Processes = field(default_factory=Processes)
    keeps_best: bool = False

    @property
    def shows_progress(self):
        """True if this process shows progress bars."""
        return self.progress_bar and self.processes.rank == 0

    def stage(self, name, **changes):
        """
        Describe the run of a stage, with a checkpoint of its own.

        Parameters
        ----------
        name : str
            Name of the stage, and of the file of its checkpoint.

        **changes
            What else differs.

        Returns
        -------
        run : `Run`
            The same with another checkpoint.
        """
        return replace(self, checkpoint=self.checkpoint.sibling(f'{name}.pt'),
                       **changes)
