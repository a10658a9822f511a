# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
One training loop for every method.
"""

import copy
import json
import logging
import math
import pickle
import time
from pathlib import Path

import torch

from ..io.output import atomic_output
from .distributed import Processes

__all__ = ['read_checkpoint', 'train']

logger = logging.getLogger(__name__)


def _learning_rate(step, n_steps, peak, warmup=300, spent=0.0):
    """
    Linear warm-up, then half a cosine to a hundredth of the peak.

    ``spent`` is the share of the time that has gone: whichever of steps
    and time ends the training sets the pace.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min((step - warmup) / max(n_steps - warmup, 1), 1.0)
    progress = min(max(progress, spent), 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))


def read_checkpoint(checkpoint, device='cpu'):
    """
    The state in a checkpoint, which may have been cut short.

    Parameters
    ----------
    checkpoint : path-like
        The file.

    device : str, optional
        Where its tensors go.

    Returns
    -------
    state : dict
        What `train` goes on from.

    Raises
    ------
    OSError
        If the file is not whole.
    """
    try:
        return torch.load(checkpoint, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, LookupError, ValueError,
            pickle.UnpicklingError) as error:
        msg = f'{checkpoint} is not a whole checkpoint: {error}'
        raise OSError(msg) from error


def train(model, make_batch, loss_function, *, n_steps, seed=0,
          learning_rate=1.5e-3, ema_decay=0.998, dtype=torch.float32,
          device='cpu', checkpoint=None, checkpoint_minutes=3.0,
          configuration=None, log_every=50, progress_bar=False, warmup=300,
          minutes=None, evaluate=None, patience=None, processes=None):
    """
    Train a network, with checkpoints from which the same result follows.

    Parameters
    ----------
    model : `torch.nn.Module`
        The network; trained in place.

    make_batch : callable
        ``make_batch([seed, step])`` returns a dict of arrays; called in
        the order of the steps, on which alone it may depend.

    loss_function : callable
        ``loss_function(model, batch, step, dtype)`` returns the loss
        and a dict of numbers for the log.

    n_steps : int
        Length of the training, and of the learning-rate schedule.

    seed : int, optional
        Of the batches.

    learning_rate : float, optional
        Peak of the schedule.

    ema_decay : float, optional
        Of the running mean of the weights, which is the result.

    dtype : `torch.dtype`, optional
        Precision handed to the loss function.

    device : str, optional
        Where to train.

    checkpoint : path-like, optional
        File to resume from, and to write to every few minutes.

    checkpoint_minutes : float, optional
        Time between checkpoints.

    configuration : dict, optional
        Kept in the checkpoint; one of another configuration is refused.

    log_every : int, optional
        Steps between rows of the log.

    progress_bar : bool, optional
        Show a progress bar.

    warmup : int, optional
        Steps in which the learning rate rises.

    minutes : float, optional
        Stop after this time, that before a resumed checkpoint included;
        the schedule follows the clock where that is ahead of the steps.

    evaluate : callable, optional
        ``evaluate(averaged)`` returns a dict of numbers for the log, of
        which ``score`` is the lower the better. Called for each row of
        the log and at the end; the weights of the lowest score are the
        result.

    patience : int, optional
        Stop after so many scores that were no improvement.

    processes : `~astro_denoise.training.distributed.Processes`, optional
        The processes that share the work, of which this is one.

    Returns
    -------
    averaged : `torch.nn.Module`
        A copy of the model with the running mean of its weights.

    log : list of dict
        Means of the logged numbers.

    Raises
    ------
    ValueError
        If the checkpoint belongs to another configuration.

    OSError
        If the checkpoint cannot be read or written, or one of several
        processes has gone.
    """
    from tqdm import tqdm

    processes = processes or Processes()
    configuration = json.dumps(configuration or {}, sort_keys=True)
    model.to(device=device, memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate,
                                  weight_decay=1e-4, betas=(0.9, 0.98))
    start, log, sums, count = 0, [], {}, 0
    best = _Best(patience)
    spent_before = 0.0
    if checkpoint is not None and Path(checkpoint).exists():
        state = read_checkpoint(checkpoint, device)
        if state['configuration'] != configuration:
            msg = (f'checkpoint {checkpoint} was written for '
                   f'{state["configuration"]}, not for {configuration}')
            raise ValueError(msg)
        model.load_state_dict(state['model'])
        averaged.load_state_dict(state['averaged'])
        optimizer.load_state_dict(state['optimizer'])
        start, log = state['step'], state['log']
        sums, count = state['sums'], state['count']
        best.load(state.get('best'))
        spent_before = state.get('seconds', 0.0)
        logger.info('resumed %s at step %d', checkpoint, start)

    started = time.monotonic()

    def seconds():
        return spent_before + time.monotonic() - started

    def save(step):
        if checkpoint is None or processes.rank > 0:
            return
        with atomic_output(checkpoint, overwrite=True) as temporary:
            torch.save({'configuration': configuration, 'step': step,
                        'model': model.state_dict(), 'log': log, 'sums': sums,
                        'averaged': averaged.state_dict(), 'count': count,
                        'optimizer': optimizer.state_dict(),
                        'best': best.state(), 'seconds': seconds()},
                       temporary)

    def spent():
        """The share of the time that has gone, the same everywhere."""
        if minutes is None:
            return 0.0
        return processes.agree(seconds()) / (60.0 * minutes)

    def judge(step):
        """A row of the log; whether it is the last."""
        row = {'step': step, **{name: total / count
                                for name, total in sums.items()}}
        stop = False
        if evaluate is not None and processes.rank == 0:
            numbers = evaluate(averaged)
            row |= {'minutes': seconds() / 60.0, **numbers}
            stop = best.judge(numbers['score'], averaged)
        log.append(row)
        bar.set_postfix({name: f'{value:.4g}' for name, value in row.items()
                         if name not in ('step', 'minutes')}, refresh=False)
        return processes.agree(stop)

    saved = time.monotonic()
    bar = tqdm(initial=start, total=n_steps, desc='training',
               disable=not progress_bar or processes.rank > 0)
    if minutes is not None:
        bar.unit, bar.total = 's', round(60.0 * minutes)
        bar.n = bar.initial = min(round(spent_before), bar.total)
    together = processes.together(model)
    step, share = start, spent()
    while step < n_steps and share < 1.0 and not best.exhausted:
        batch = {name: torch.from_numpy(plane).to(device)
                 for name, plane in make_batch([seed, step]).items()}
        for group in optimizer.param_groups:
            group['lr'] = _learning_rate(step, n_steps, learning_rate,
                                         warmup, share)
        with processes.watched(checkpoint):
            loss, numbers = loss_function(together, batch, step, dtype)
            optimizer.zero_grad(set_to_none=True)
            processes.weighted(loss, batch).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(norm):
            optimizer.step()
        decay = min(ema_decay, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            for mean, value in zip(averaged.parameters(), model.parameters(),
                                   strict=True):
                mean.lerp_(value, 1.0 - decay)
            for mean, value in zip(averaged.buffers(), model.buffers(),
                                   strict=True):
                mean.copy_(value)
        numbers = {'loss': float(loss.detach()), 'gradient': float(norm),
                   **numbers}
        sums = {name: sums.get(name, 0.0) + value
                for name, value in numbers.items()}
        count += 1
        step += 1
        with processes.watched(checkpoint):
            share = spent()
            last = step == n_steps or share >= 1.0
            if step % log_every == 0 or (last and evaluate is not None):
                best.exhausted = judge(step)
                sums, count = {}, 0
        bar.update(1 if minutes is None
                   else max(0, min(round(seconds()), bar.total) - bar.n))
        if time.monotonic() - saved > 60.0 * checkpoint_minutes:
            save(step)
            saved = time.monotonic()
    bar.close()
    save(step)
    best.restore(averaged)
    return averaged, log


class _Best:
    """
    The weights of the lowest score so far.

    Parameters
    ----------
    patience : int or `None`
        How many scores may pass without a lower one.
    """

    def __init__(self, patience):
        self.patience = patience
        self.score = math.inf
        self.weights = None
        self.waited = 0
        self.exhausted = False

    def judge(self, score, network):
        """Take a score and return whether patience is at its end."""
        self.waited += 1
        if score < self.score:
            self.score, self.waited = score, 0
            self.weights = {name: value.clone() for name, value
                            in network.state_dict().items()}
        return self.patience is not None and self.waited >= self.patience

    def restore(self, network):
        """Give a network the best weights, if there was a score."""
        if self.weights is not None:
            network.load_state_dict(self.weights)

    def state(self):
        """What a checkpoint keeps."""
        return {'score': self.score, 'weights': self.weights,
                'waited': self.waited, 'exhausted': self.exhausted}

    def load(self, state):
        """Go on from a checkpoint."""
        if state is not None:
            self.score, self.weights = state['score'], state['weights']
            self.waited = state['waited']
            self.exhausted = state['exhausted']
