# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
One training loop for every method.
"""

import logging
import math
import signal
import time

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .interrupts import deferred_interrupts
from .options import Descent, Run
from .progress import BestWeights, RunningMeans

__all__ = ['train']

logger = logging.getLogger(__name__)


def train(model, make_batch, loss_function, schedule, run=None, *,
          configuration=None, evaluate=None, descent=None):
    """
    Train a network, with checkpoints from which the same result follows.

    Parameters
    ----------
    model : `torch.nn.Module`
        The network; trained in place.

    make_batch : callable
        ``make_batch([seed, step])`` returns a dict of arrays; called in
        the order of the steps, on which alone it may depend, or, in epochs,
        on those since the last row of the log as well.

    loss_function : callable
        ``loss_function(model, batch, step, dtype)`` returns the loss
        and a dict of numbers for the log.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the batches, devices and checkpoint.

    configuration : dict, optional
        What the result depends on besides schedule and seed. A checkpoint
        of another configuration is refused.

    evaluate : callable, optional
        ``evaluate(averaged)`` returns a dict of numbers for the log, of
        which ``score`` is the lower the better. Called for each row of
        the log and at the end; the weights of the lowest score are the
        result, if there are scores.

    descent : `~astro_denoise.training.options.Descent`, optional
        How the gradient is followed.

    Returns
    -------
    averaged : `torch.nn.Module`
        A copy of the model with the running mean of its weights, or, where
        no mean is taken, the model itself.

    log : list of dict
        Means of the logged numbers.

    Raises
    ------
    ValueError
        If the checkpoint belongs to another configuration.

    OSError
        If the checkpoint cannot be read or written, or one of several
        processes has gone.

    KeyboardInterrupt
        If a signal came, the checkpoint is written, and the run does not
        keep the best; or at a second signal.
    """
    run = run or Run()
    processes, checkpoint = run.processes, run.checkpoint
    training = _Training(model, schedule, run, descent or Descent())
    configuration = {**(configuration or {}), **schedule.configuration,
                     'seed': run.seed}
    training.load(checkpoint.read(configuration, run.runtime.device))
    network = processes.together(model)
    training.wait(first=True)
    with training.progress_bar() as bar, deferred_interrupts() as interrupts:
        spent = training.spent()
        while not training.is_over(spent):
            batch = {name: torch.from_numpy(plane).to(run.runtime.device) for
                     name, plane in make_batch([run.seed,
                                                training.step]).items()}
            with processes.watched(checkpoint.path):
                training.take_step(network, batch, loss_function, spent)
                spent = training.spent()
                if training.step % schedule.log_every == 0 or (
                        evaluate is not None and training.is_over(spent)):
                    bar.set_postfix(training.write_row(evaluate),
                                    refresh=False)
            bar.update(training.progress() - bar.n)
            interrupts.number = processes.agree(interrupts.number)
            if training.is_due or (interrupts.number
                                   and training.can_be_saved):
                training.save(configuration)
                training.wait()
            if interrupts.number:
                training.stop(interrupts, evaluate)
                break
        else:
            training.save(configuration)
    return training.result(), training.log


def _moving_average(schedule):
    """Make the update of an `AveragedModel`, faster in the first steps."""
    def update(averaged, current, n_averaged):
        decay = schedule.decay(int(n_averaged))
        get_ema_multi_avg_fn(decay)(averaged, current, n_averaged)

    return update


class _Training:
    """
    A training on its way: all that its checkpoint holds.

    Parameters
    ----------
    model : `torch.nn.Module`
        The network; trained in place.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate.

    run : `~astro_denoise.training.options.Run`
        Seed, devices and checkpoint.

    descent : `~astro_denoise.training.options.Descent`
        How the gradient is followed.
    """

    def __init__(self, model, schedule, run, descent):
        self.schedule = schedule
        self.run = run
        self.descent = descent
        self.model = model.to(device=run.runtime.device,
                              memory_format=torch.channels_last).train()
        self.averaged = None
        if descent.averages:
            self.averaged = AveragedModel(
                model, multi_avg_fn=_moving_average(schedule)).eval()
            self.averaged.update_parameters(model)  # the first is a copy
        self.optimizer = descent.optimizer(model, schedule.learning_rate)
        self._peaks = [group['lr'] for group in self.optimizer.param_groups]
        self.step, self.log, self.means = 0, [], RunningMeans()
        self.best, self.stopped = BestWeights(schedule.patience), False
        self._seconds_before, self._started = 0.0, time.monotonic()
        self._due = math.inf

    @property
    def _parts(self):
        """Weights and optimizer as a checkpoint holds them."""
        names = ['model', 'optimizer']
        return names if self.averaged is None else [*names, 'averaged']

    @property
    def _trained(self):
        """The network whose weights are the result."""
        return (self.model if self.averaged is None
                else self.averaged.module)

    def wait(self, *, first=False):
        """Note the time of the next checkpoint."""
        self._due = (time.monotonic()
                     + self.run.checkpoint.pause(first=first))

    @property
    def can_be_saved(self):
        """True where a training can go on from."""
        return (not self.descent.in_epochs
                or self.step % self.schedule.log_every == 0)

    @property
    def is_due(self):
        """True where a checkpoint is to be written."""
        return self.can_be_saved and (self.descent.in_epochs
                                      or time.monotonic() > self._due)

    def load(self, state):
        """Go on from the state in a checkpoint, if there is one."""
        if state is None:
            return
        for name in self._parts:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.log = state['step'], state['log']
        self.means = RunningMeans(**state['means'])
        self.best.load(state['best'])
        self.stopped = state['stopped']
        self._seconds_before = state['seconds']
        self._started = time.monotonic()

    def save(self, configuration):
        """Write the state; the first process does."""
        if self.run.processes.rank == 0:
            self.run.checkpoint.write(configuration, {
                **{name: getattr(self, name).state_dict()
                   for name in self._parts},
                'step': self.step, 'log': self.log,
                'means': self.means.state(), 'best': self.best.state(),
                'stopped': self.stopped, 'seconds': self._seconds()})

    def stop(self, interrupts, evaluate):
        """End with the best weights, or at once, after a signal."""
        resumes = (interrupts.number == signal.SIGTERM
                   and self.run.checkpoint.path is not None)
        if not self.run.keeps_best or resumes:
            raise KeyboardInterrupt(interrupts.number)
        logger.warning(
            'stopped by %s after %d steps: the best weights so far are kept; '
            'a second signal stops at once', interrupts.name, self.step)
        if not self.log or self.log[-1]['step'] != self.step:
            self.write_row(evaluate)
        self.log[-1]['signal'] = interrupts.name

    def _seconds(self):
        """Measure the time, that before a checkpoint included."""
        return self._seconds_before + time.monotonic() - self._started

    def spent(self):
        """Give the share of the time that has gone, as all agree."""
        if self.schedule.minutes is None:
            return 0.0
        return self.run.processes.agree(self._seconds()) / (
            60.0 * self.schedule.minutes)

    def is_over(self, spent):
        """Tell whether steps, time or patience are at their end."""
        return (self.step >= self.schedule.n_steps or spent >= 1.0
                or self.stopped)

    def take_step(self, network, batch, loss_function, spent):
        """Follow the gradient of a batch, if it is finite."""
        for group, peak in zip(self.optimizer.param_groups, self._peaks,
                               strict=True):
            group['lr'] = self.schedule.rate(self.step, spent, peak)
        loss, numbers = loss_function(network, batch, self.step,
                                      self.run.runtime.dtype)
        self.optimizer.zero_grad(set_to_none=True)
        self.run.processes.weighted(loss, batch).backward()
        found = {'loss': float(loss.detach())}
        largest, norm = self.descent.largest_norm, 0.0
        if largest is not None:
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(),
                                                  largest)
            found['gradient'] = float(norm)
        if math.isfinite(norm):
            self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        self.means.add({**found, **numbers},
                       len(next(iter(batch.values()))))
        self.step += 1

    def write_row(self, evaluate):
        """Add a row to the log, judge the weights, give what to show."""
        row = {'step': self.step, **self.means.row()}
        if evaluate is not None and self.run.processes.rank == 0:
            numbers = evaluate(self._trained.eval())
            self.model.train()
            row |= {'minutes': self._seconds() / 60.0, **numbers}
            if 'score' in numbers:
                self.best.judge(numbers['score'], self._trained)
        self.stopped = self.run.processes.agree(self.best.exhausted)
        self.log.append(row)
        self.means = RunningMeans()
        return {name: f'{value:.4g}' for name, value in row.items()
                if name not in ('step', 'minutes')}

    def progress(self):
        """Count the steps, or seconds where time is the limit."""
        if self.schedule.minutes is None:
            return self.step
        return min(round(self._seconds()), round(60.0
                                                 * self.schedule.minutes))

    def progress_bar(self):
        """Show how far the training is."""
        from tqdm import tqdm

        minutes = self.schedule.minutes
        total, unit = ((self.schedule.n_steps, 'it') if minutes is None
                       else (round(60.0 * minutes), 's'))
        return tqdm(initial=self.progress(), total=total, unit=unit,
                    desc='training', disable=not self.run.shows_progress)

    def result(self):
        """Give the mean of the weights, those of the best score."""
        self.best.restore(self._trained)
        return self._trained.eval()
