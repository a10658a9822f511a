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

from .._output import atomic_output

__all__ = ['train']

logger = logging.getLogger(__name__)


def _learning_rate(step, n_steps, peak, warmup=300):
    """Linear warm-up, then half a cosine to a hundredth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min((step - warmup) / max(n_steps - warmup, 1), 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))


def _read(checkpoint, device):
    """The state in a checkpoint, which may have been cut short."""
    try:
        return torch.load(checkpoint, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, LookupError, ValueError,
            pickle.UnpicklingError) as error:
        msg = f'{checkpoint} is not a whole checkpoint: {error}'
        raise OSError(msg) from error


def train(model, make_batch, loss_function, *, n_steps, seed=0,
          learning_rate=1.5e-3, ema_decay=0.998, dtype=torch.float32,
          device='cpu', checkpoint=None, checkpoint_minutes=3.0,
          configuration=None, log_every=50, progress_bar=False):
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
        If the checkpoint cannot be read or written.
    """
    from tqdm import tqdm

    configuration = json.dumps(configuration or {}, sort_keys=True)
    model.to(device=device, memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate,
                                  weight_decay=1e-4, betas=(0.9, 0.98))
    start, log, sums, count = 0, [], {}, 0
    if checkpoint is not None and Path(checkpoint).exists():
        state = _read(checkpoint, device)
        if state['configuration'] != configuration:
            msg = (f'checkpoint {checkpoint} was written for '
                   f'{state["configuration"]}, not for {configuration}')
            raise ValueError(msg)
        model.load_state_dict(state['model'])
        averaged.load_state_dict(state['averaged'])
        optimizer.load_state_dict(state['optimizer'])
        start, log = state['step'], state['log']
        sums, count = state['sums'], state['count']
        logger.info('resumed %s at step %d', checkpoint, start)

    def save(step):
        if checkpoint is None:
            return
        with atomic_output(checkpoint, overwrite=True) as temporary:
            torch.save({'configuration': configuration, 'step': step,
                        'model': model.state_dict(), 'log': log, 'sums': sums,
                        'averaged': averaged.state_dict(), 'count': count,
                        'optimizer': optimizer.state_dict()}, temporary)

    saved = time.monotonic()
    bar = tqdm(range(start, n_steps), initial=start, total=n_steps,
               disable=not progress_bar, desc='training')
    for step in bar:
        batch = {name: torch.from_numpy(plane).to(device)
                 for name, plane in make_batch([seed, step]).items()}
        for group in optimizer.param_groups:
            group['lr'] = _learning_rate(step, n_steps, learning_rate)
        loss, numbers = loss_function(model, batch, step, dtype)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(norm):
            optimizer.step()
        decay = min(ema_decay, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            for mean, value in zip(averaged.parameters(), model.parameters(),
                                   strict=True):
                mean.lerp_(value, 1.0 - decay)
        numbers = {'loss': float(loss.detach()), 'gradient': float(norm),
                   **numbers}
        sums = {name: sums.get(name, 0.0) + value
                for name, value in numbers.items()}
        count += 1
        if (step + 1) % log_every == 0:
            log.append({'step': step + 1,
                        **{name: total / count
                           for name, total in sums.items()}})
            bar.set_postfix({name: f'{value:.4g}'
                             for name, value in log[-1].items()
                             if name != 'step'}, refresh=False)
            sums, count = {}, 0
        if time.monotonic() - saved > 60.0 * checkpoint_minutes:
            save(step + 1)
            saved = time.monotonic()
    save(n_steps)
    return averaged, log
