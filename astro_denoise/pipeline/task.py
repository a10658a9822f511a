# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The work on one of many files: skipped where it is done, tried again where
that may help.
"""

import errno
import logging
import os
import platform
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import one_file as pipeline
from .status import FrameStatus, frame_hash, hash_cards, is_finished

__all__ = ['USER_ERRORS', 'CarriedModel', 'FrameTask', 'denoise_one',
           'describe_error']

# What a user can cause; anything else is a bug and keeps its traceback.
USER_ERRORS = (OSError, ValueError, TypeError, ImportError, MemoryError)

# What may be gone when it is tried again.
_TRANSIENT = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOMEM,
              errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET,
              errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH}

logger = logging.getLogger(__name__)

_here = threading.Lock()  # memory for one frame at a time
_models = {}


def describe_error(error):
    """
    An error in one line.
    """
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    reason = ' '.join(str(error).split())
    if not isinstance(error, USER_ERRORS) or not reason:
        reason = f'{type(error).__name__}: {reason}'.rstrip(': ')
    return reason


@dataclass(frozen=True)
class CarriedModel:
    """
    A model on its way to workers, each of which loads it once.
    """

    model: object
    hash: str

    def load(self):
        """The model, from the memory of this process if it is there."""
        from ..models.registry import load_model

        if self.hash not in _models:
            model = load_model(self.model, task='denoise')
            if model.hash != self.hash:
                msg = (f'model {self.model!r} has the SHA-256 {model.hash} '
                       f'here, but {self.hash} where the run was started')
                raise ValueError(msg)
            _models[self.hash] = model
        return _models[self.hash]


@dataclass(frozen=True)
class FrameTask:
    """
    Input of a worker.
    """

    path: str
    output: str
    model: CarriedModel
    overwrite: bool
    options: dict

    def hash(self):
        """Hash by which the output is known."""
        return frame_hash(self.path, self.model.hash, self.options)


def denoise_one(task, get_hash=None, device=None):
    """
    Denoise one file.

    Returns
    -------
    row : `FrameStatus`
        What became of it.

    transient : bool
        Whether to try again may help.
    """
    row = FrameStatus(task.path, task.output, worker=_worker())
    start = time.perf_counter()
    transient = False
    try:
        # Reading a frame is work that one thread of a worker does while
        # another computes; there is memory for one frame at a time only.
        row.hash = (get_hash or task.hash)()
        with _here:
            start = time.perf_counter()
            if is_finished(task.output, row.hash, task.path):
                row.status = 'finished'
            else:
                row.attempts = 1
                _write_output(task, row.hash, device)
                row.status = 'finished'
    except Exception as error:
        if not isinstance(error, USER_ERRORS):
            logger.exception('%s cannot be denoised', task.path)
        transient = isinstance(error, MemoryError) or (
            getattr(error, 'errno', None) in _TRANSIENT)
        row.attempts = 1
        row.message = describe_error(error)
        if getattr(error, 'filename', None) is None:
            row.message = f'{task.path}: {row.message}'
        if isinstance(error, FileExistsError):
            row.message = (f'{task.output}: file exists, was made from '
                           f'something else, and overwrite is False')
    row.seconds = time.perf_counter() - start
    return row, transient


def _write_output(task, digest, device):
    options = dict(task.options)
    if device is not None:
        options['device'] = device
    output = Path(task.output)
    # What a process leaves that dies between taking a name and renaming,
    # where there are no hard links.
    empty = output.is_file() and output.stat().st_size == 0
    try:
        pipeline.denoise_file(
            task.path, output, model=task.model.load(),
            overwrite=task.overwrite or empty, cards=hash_cards(digest),
            **options)
    except FileExistsError:
        # Another run may have finished the same meanwhile.
        if not is_finished(output, digest, task.path):
            raise


def _worker():
    return f'{platform.node()}:{os.getpid()}'
