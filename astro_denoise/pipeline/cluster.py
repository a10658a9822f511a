# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise files on the workers of a dask cluster.
"""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from pathlib import Path

from ..exceptions import needs_extra
from ..inference.cores import count_cores
from ..io.output import remove_leftovers
from .status import FrameStatus
from .task import denoise_one, describe_error
from .waiting import brief_waits

__all__ = ['connected', 'run_on_cluster']

logger = logging.getLogger(__name__)

# What says how many threads a worker computes with.
_THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')

# Seconds that a worker may take to start.
_PATIENCE = 60.0


@contextlib.contextmanager
def connected(workers, scheduler):
    """
    A client of the cluster, which is made where none is given.

    Parameters
    ----------
    workers : int or `None`
        Processes of a cluster on this computer.

    scheduler : object
        As for `~astro_denoise.pipeline.denoise_files`.

    Yields
    ------
    client : `distributed.Client`
        The client.
    """
    with needs_extra('dask', 'for several workers'):
        from distributed import Client

    if isinstance(scheduler, Client):
        yield scheduler
        return
    if scheduler is not None:
        with Client(scheduler) as client:
            yield client
        return
    with (_local_cluster(workers) as cluster, Client(cluster) as client,
          _kept_alive(cluster, client, workers)):
        yield client


def _local_cluster(workers):
    """
    Start a cluster on this computer that nobody else can use.

    Who can send work to a scheduler runs code as the user who started it,
    and ports are open to all users of a computer. So everything is
    encrypted with keys that are made for this cluster, never leave its
    processes, and are asked of all who connect. There are no web servers.
    """
    with needs_extra('dask', 'for several workers'):
        import cryptography  # noqa: F401
        import dask
        from distributed import LocalCluster, Security

    from .worker_plugins import NoServer

    threads = str(max(1, count_cores() // workers))
    settings = {
        'distributed.nanny.pre-spawn-environ': {
            **{name: os.environ.get(name, threads) for name in _THREADS},
            **brief_waits(os.environ)},
        'distributed.scheduler.http.routes': [],
        'distributed.worker.http.routes': []}
    with dask.config.set(settings):
        try:
            # Two threads: one reads while the other computes.
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=2, processes=True,
                dashboard_address=None, memory_limit=0,
                # any free port, until it is closed below
                scheduler_kwargs={'dashboard_address': '127.0.0.1:0'},
                security=Security.temporary(), plugins=(NoServer(),))
        except RuntimeError as error:
            msg = f'{workers} workers cannot be started: {error}'
            raise OSError(msg) from error
    cluster.scheduler.loop.add_callback(cluster.scheduler.http_server.stop)
    return cluster


@contextlib.contextmanager
def _kept_alive(cluster, client, workers):
    """
    Replace workers of a local cluster that stay away.

    One that dies is started again by its nanny, but one that dies while
    it starts is not.
    """
    stop, missing = threading.Event(), {}

    def look():
        while not stop.wait(5.0):
            # What fails now is tried again.
            with contextlib.suppress(RuntimeError, OSError):
                lost = _missing_workers(cluster, client, missing)
                if lost:
                    logger.warning('workers %s are replaced', lost)
                    cluster.sync(cluster.scale_down, lost)
                    cluster.scale(workers)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _missing_workers(cluster, client, missing):
    """
    Names of workers that have been away for too long.

    Parameters
    ----------
    cluster, client : object
        The cluster, and a client of it.

    missing : dict
        Since when each has been away; renewed here.

    Returns
    -------
    lost : list
        Names; they are not in ``missing`` any more.
    """
    present = set(client.nthreads())
    now = time.monotonic()
    # One that could not even be begun is wanted, but not there.
    for name in list(cluster.worker_spec):
        nanny = cluster.workers.get(name)
        if nanny is not None and nanny.worker_address in present:
            missing.pop(name, None)
        else:
            missing.setdefault(name, now)
    lost = [name for name, since in missing.items()
            if now - since > _PATIENCE]
    for name in lost:
        del missing[name]
    return lost


def run_on_cluster(tasks, client, retries):
    """
    Do all tasks on the workers of a dask cluster.

    Only some tasks are with the scheduler at a time, which may have
    thousands of frames to wait for otherwise.

    Parameters
    ----------
    tasks : list of `~astro_denoise.pipeline.task.FrameTask`
        The work.

    client : `distributed.Client`
        The cluster.

    retries : int
        How often a task is tried again.

    Yields
    ------
    number : int
        Which task it was.

    row : `~astro_denoise.pipeline.status.FrameStatus`
        What became of it.
    """
    from distributed import as_completed

    waiting = deque((number, 1) for number in range(len(tasks)))
    running, known = as_completed(), {}

    def submit():
        most = 2 * max(1, sum(client.nthreads().values()))
        while waiting and len(known) < most:
            number, attempt = waiting.popleft()
            future = client.submit(
                _denoise_on_worker, tasks[number], pure=False,
                key=f'denoise-{number}-{attempt}-{os.urandom(4).hex()}')
            known[future.key] = number, attempt, future
            running.add(future)

    submit()
    for future in running:
        number, attempt, _ = known.pop(future.key)
        row, transient = _answer(future, tasks[number])
        future.release()
        if transient and attempt <= retries:
            waiting.append((number, attempt + 1))
        else:
            if row.attempts:
                row.attempts = attempt
            yield number, row
        submit()
    # Killed workers may have left something on other computers.
    client.run(remove_leftovers, Path(tasks[0].output).parent,
               on_error='ignore')


def _answer(future, task):
    """
    Read the answer of a worker to a task, or that it died of it.
    """
    from distributed.scheduler import KilledWorker

    error = future.exception() if future.status == 'error' else None
    if error is None and not future.cancelled():
        return future.result()
    row = FrameStatus(task.path, task.output, attempts=1)
    if error is None or isinstance(error, KilledWorker):
        row.message = f'{task.path}: its workers died'
        return row, True
    # The task came to no worker, or its row not back.
    logger.error('%s cannot be denoised', task.path, exc_info=(
        type(error), error, future.traceback()))
    row.message = f'{task.path}: {describe_error(error)}'
    return row, False


def _denoise_on_worker(task):
    from distributed import get_worker

    device = _shared_device(task.options.get('device'), get_worker().name)
    return denoise_one(task, device=device)


def _shared_device(device, worker):
    """
    One of several GPUs for a worker that is known by its number.
    """
    import torch

    number = torch.cuda.device_count()
    if (number < 2 or device not in (None, 'auto', 'cuda')
            or not str(worker).isdecimal()):
        return None
    return f'cuda:{int(worker) % number}'
