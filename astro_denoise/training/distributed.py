# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Several processes that train one network.
"""

import contextlib
import datetime as dt
import os

import torch

__all__ = ['Processes', 'started_processes']

_TIMEOUT = dt.timedelta(minutes=10)


class Processes:
    """
    One process, and those it shares its work with.

    The gradient of all is the mean of theirs, weighted by how many
    pixels count in the batch of each: that of one process with all
    batches.

    Parameters
    ----------
    rank : int, optional
        Number of this process; 0 writes files and takes decisions.

    size : int, optional
        Number of processes.
    """

    def __init__(self, rank=0, size=1):
        self.rank = rank
        self.size = size

    def together(self, model):
        """
        Wrap the model as it is to be called in training.

        Parameters
        ----------
        model : `torch.nn.Module`
            The network.

        Returns
        -------
        model : `torch.nn.Module`
            The network itself, or a wrapper that averages gradients.
        """
        if self.size == 1:
            return model
        return torch.nn.parallel.DistributedDataParallel(
            model, broadcast_buffers=False)

    def weighted(self, loss, batch):
        """
        Give the loss the weight of this process.

        Parameters
        ----------
        loss : `torch.Tensor`
            A mean over the pixels of ``batch['weight']``.

        batch : dict of `torch.Tensor`
            The batch of this process.

        Returns
        -------
        loss : `torch.Tensor`
            A number.
        """
        if self.size == 1:
            return loss
        own = batch['weight'].sum()
        total = own.clone()
        torch.distributed.all_reduce(total)
        return loss * (own * self.size / total.clamp_min(1e-6))

    def agree(self, value):
        """
        Take what the first process says.

        Parameters
        ----------
        value : bool or float
            What this process says.

        Returns
        -------
        value : bool or float
            The same in all processes.
        """
        if self.size == 1:
            return value
        device = ('cuda' if torch.distributed.get_backend() == 'nccl'
                  else 'cpu')
        said = torch.tensor(float(value), dtype=torch.float64, device=device)
        torch.distributed.broadcast(said, 0)
        return type(value)(said.item())

    def same(self, network, rows):
        """
        Copy the result of the first process to all.

        Parameters
        ----------
        network : `torch.nn.Module`
            The network; its weights are set.

        rows : list of dict
            The training log.

        Returns
        -------
        network, rows : `torch.nn.Module`, list of dict
            Those of the first process.
        """
        if self.size > 1:
            for tensor in network.state_dict().values():
                torch.distributed.broadcast(tensor, 0)
            said = [rows]
            torch.distributed.broadcast_object_list(said, 0)
            rows = said[0]
        return network, rows

    @contextlib.contextmanager
    def watched(self, checkpoint):
        """
        Say what happened where another process has gone.

        Parameters
        ----------
        checkpoint : path-like or `None`
            What is left to go on from.

        Raises
        ------
        ConnectionError
            If another process does not answer any more.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_about_others(error):
                raise
            left = ('there was no checkpoint' if checkpoint is None
                    else f'start again to go on from {checkpoint}')
            reason = str(error).splitlines()[0]
            msg = (f'another process of this training has gone, process '
                   f'{self.rank} of {self.size} stops; {left} ({reason})')
            raise ConnectionError(msg) from error


def _is_about_others(error):
    """Tell whether an error comes from the exchange of processes."""
    words = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(
        part in words for part in ('gloo', 'nccl', 'connection', 'peer',
                                   'timed out'))


@contextlib.contextmanager
def started_processes(device=None):
    """
    Join the processes that ``torchrun`` started, if it did.

    Parameters
    ----------
    device : str or `torch.device`, optional
        Where to train; `None` chooses, a CUDA device for each process
        where there are.

    Yields
    ------
    processes : `Processes`
        This one and the others; alone without ``torchrun``.

    device : str, `torch.device` or `None`
        Where this process is to train.
    """
    size = int(os.environ.get('WORLD_SIZE', '1'))
    if size == 1 or torch.distributed.is_initialized():
        yield Processes(), device
        return
    local = int(os.environ.get('LOCAL_RANK', '0'))
    on_cuda = (torch.cuda.device_count() > local
               if device in (None, 'auto', 'cuda')
               else torch.device(device).type == 'cuda')
    if on_cuda:
        device = torch.device('cuda', local)
        torch.cuda.set_device(device)
    else:
        device = torch.device('cpu')
    torch.distributed.init_process_group(
        'nccl' if on_cuda else 'gloo', timeout=_TIMEOUT)
    try:
        yield (Processes(torch.distributed.get_rank(),
                         torch.distributed.get_world_size()), device)
    finally:
        torch.distributed.destroy_process_group()
