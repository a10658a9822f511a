# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Work on several small images at a time, each on one core.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ['side_by_side']


@contextlib.contextmanager
def side_by_side(device, n_tasks):
    """
    Share independent tasks among as many threads as torch takes.

    The operations on a small image are too short to be shared by cores. Each
    task is done by one core, whatever the number of cores and of tasks: its
    result does not depend on them.

    Parameters
    ----------
    device : `torch.device`
        Where to compute. Elsewhere than on the processor, one task follows
        the other.

    n_tasks : int
        Number of tasks.

    Yields
    ------
    do : callable
        As `map`: yields the results in order. An error ends the others.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.inference.side_by_side import side_by_side
    >>> with side_by_side(torch.device('cpu'), 3) as do:
    ...     print(list(do(abs, [-1, 2, -3])))
    [1, 2, 3]
    """
    n_threads = torch.get_num_threads()
    if device.type != 'cpu' or n_threads == 1:
        yield map
        return
    pool = ThreadPoolExecutor(min(n_threads, max(n_tasks, 1)),
                              initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
        # The number for threads to come, which those of the pool changed.
        torch.set_num_threads(n_threads)
