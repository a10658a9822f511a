# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Keep the status of many frames: those that are finished, and a table.
"""

import contextlib
import functools
import hashlib
import logging
import os
import time
import warnings
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path

import numpy as np
from astropy.table import Table

from .. import __version__
from ..io.companions import companion
from ..io.fits_files import open_fits, opened, reading
from ..io.output import atomic_output
from .digest import digest_value
from .one_file import denoise_file

__all__ = ['OPTIONS_OF_FILES', 'STATUS_NAME', 'FrameStatus', 'StatusTable',
           'frame_hash', 'hash_cards', 'hash_options', 'is_finished',
           'stored_hashes']

logger = logging.getLogger(__name__)

STATUS_NAME = 'astro-denoise-status.ecsv'

_KEYWORD = 'DNINPUT'

# Options that may be the names of files, whose content counts.
OPTIONS_OF_FILES = ('mask', 'uncertainty', 'catalog', 'psf')

# Options that do not change an output.
_OF_NO_INFLUENCE = ('device', 'ignore_checksum', 'progress_bar')


@dataclass
class FrameStatus:
    """
    A row of the table.

    Parameters
    ----------
    input, output : str
        The file read, and the name of the file written.

    status : {'finished', 'failed'}
        What became of it.

    attempts : int
        How often it was begun by the run that tells; 0 if it was found
        finished.

    seconds : float
        What the last attempt took.

    worker : str
        Who did it.

    hash : str
        SHA-256 of input, model and options; see `frame_hash`.

    message : str
        Why it failed.
    """

    input: str
    output: str
    status: str = 'failed'
    attempts: int = 0
    seconds: float = float('nan')
    worker: str = ''
    hash: str = ''
    message: str = ''


def frame_hash(path, model_hash, options):
    """
    SHA-256 of all that makes an output what it is.

    These are the content of the input and of the files that belong to
    it, the model, the version of this package, and the options, but for
    those that have their default.

    Parameters
    ----------
    path : path-like
        The input.

    model_hash : str
        That of the model.

    options : dict
        Those of `~astro_denoise.pipeline.denoise_file`.

    Returns
    -------
    digest : str
        64 hexadecimal digits.

    Raises
    ------
    OSError
        If a file cannot be read.

    TypeError
        If an option is of a type that cannot be told from others.
    """
    files = {'input': path}
    files.update((name, options[name]) for name in OPTIONS_OF_FILES
                 if isinstance(options.get(name), str | os.PathLike)
                 and options[name] != 'fit')
    if options.get('companions', True):
        files.update((f'{kind} beside', beside) for kind in ('mask', 'weight')
                     if (beside := companion(path, kind)))
    stated = hash_options({name: value for name, value in options.items()
                           if name not in files})
    contents = {}
    for name, each in files.items():
        with opened(Path(each)) as file:
            contents[name] = hashlib.file_digest(file, 'sha256').hexdigest()
    return digest_value((__version__, model_hash, stated, contents))


def hash_options(options):
    """
    Digests of the options that are not what they are by default.

    Parameters
    ----------
    options : dict
        As for `frame_hash`.

    Returns
    -------
    digests : dict
        By name.

    Raises
    ------
    TypeError
        If an option is of a type that cannot be told from others.
    """
    digests = {}
    for name, value in options.items():
        if name in _OF_NO_INFLUENCE:
            continue
        try:
            digest = digest_value(value)
        except TypeError as error:
            msg = f'{name}: {error}'
            raise TypeError(msg) from error
        if digest != _defaults().get(name, digest_value(None)):
            digests[name] = digest
    return digests


@functools.cache
def _defaults():
    """
    Digests of the options by default.
    """
    from ..denoising.core import denoise

    return {name: digest_value(parameter.default)
            for function in (denoise, denoise_file)
            for name, parameter in signature(function).parameters.items()
            if parameter.default is not parameter.empty}


def hash_cards(digest):
    """
    The header cards by which an output is known to be finished.
    """
    return {_KEYWORD: digest}


def stored_hashes(path):
    """
    The hashes that the images of a finished output were written with.

    Parameters
    ----------
    path : path-like
        The output.

    Returns
    -------
    digests : set of str
        Empty if there is no such file, or it is none of ours, or damaged.
    """
    with (contextlib.suppress(OSError), warnings.catch_warnings(),
          reading(path)):
        warnings.simplefilter('ignore')
        with open_fits(Path(path)) as (hdus, _):
            return {hdu.header[_KEYWORD] for hdu in hdus
                    if _KEYWORD in hdu.header}
    return set()


def is_finished(output, digest, path):
    """
    Tell if an output is there that was made with a hash.

    Parameters
    ----------
    output : path-like
        The output.

    digest : str
        From `frame_hash`.

    path : path-like
        The input, which may have images that were denoised before.

    Returns
    -------
    finished : bool
        Whether it was, and nothing was made of it since.
    """
    found = stored_hashes(output)
    return digest in found and (
        found == {digest} or found - {digest} <= stored_hashes(path))


class StatusTable:
    """
    The table of a folder, in a file that is always complete.

    Rows of other outputs stay, so that several runs, also at the same
    time, may share the folder. So does the row of an output that is
    there: a run that may not replace it, or fails to, takes nothing away.

    Parameters
    ----------
    folder : path-like
        Where the outputs are.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.path = self.folder / STATUS_NAME
        self._new = {}
        self._written = 0.0
        self._pause = 1.0

    def add(self, row):
        """
        Take a row in; the file follows within about a second.

        If it cannot be written now, it is tried again with a later row:
        a disk that is full is no reason to stop.
        """
        there = (stored_hashes(self.folder / row.output)
                 if row.status == 'failed' else set())
        self._new[row.output] = row, there
        if time.monotonic() - self._written > self._pause:
            try:
                self.write()
            except OSError as error:
                logger.warning('%s cannot be written: %s', self.path, error)
                self._written = time.monotonic()

    def write(self):
        """
        Write the file, if it is not what it should be.

        Raises
        ------
        OSError
            If that fails.
        """
        start = time.monotonic()
        with _locked(self.folder):
            rows = self._read()
            changed = rows is None
            rows = rows or {}
            for name, (row, there) in self._new.items():
                if not _tells_more(rows.get(name), row, there):
                    rows[name] = row
                    changed = True
            if changed:
                self._write([rows[name] for name in sorted(rows)])
        self._written = time.monotonic()
        # Large tables are not to take the time of the frames.
        self._pause = max(1.0, 20.0 * (self._written - start))

    def _write(self, rows):
        # Also a table without a row says what its columns hold.
        table = Table({
            each.name: np.array([getattr(row, each.name) for row in rows],
                                each.type)
            for each in fields(FrameStatus)})
        table['seconds'].info.format = '.3f'
        table.meta['version'] = __version__
        with atomic_output(self.path, overwrite=True) as temporary:
            table.write(temporary, format='ascii.ecsv')

    def _read(self):
        """
        The rows of the file by output, or `None` without a good file.
        """
        if not self.path.exists():
            return None
        try:
            table = Table.read(self.path, format='ascii.ecsv')
            rows = [_from_table(row) for row in table]
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001
            # Not one of ours, or damaged in one of many ways.
            logger.warning('%s cannot be read and is made anew: %s',
                           self.path, ' '.join(str(error).split()))
            return None
        return {row.output: row for row in rows}


def _tells_more(old, row, there):
    """
    Tell if an old row of an output stays.

    Parameters
    ----------
    old, row : `FrameStatus`
        The rows; ``old`` may be `None`.

    there : set of str
        The hashes of the output that a failed ``row`` found.
    """
    if old is None or old == row:
        return old is not None
    if row.status == 'finished':
        return row.attempts == 0 and (old.status, old.hash) == (
            row.status, row.hash)
    return old.status == 'finished' and old.hash in there


def _from_table(row):
    # An empty text is read as masked.
    values = {each.name: each.type('' if np.ma.is_masked(row[each.name])
                                   else row[each.name])
              for each in fields(FrameStatus)}
    status = FrameStatus(**values)
    if status.status not in ('finished', 'failed'):
        msg = f'unknown status {status.status!r}'
        raise ValueError(msg)
    return status


@contextlib.contextmanager
def _locked(folder):
    """
    Let one process at a time at the table, where the system can.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Network file systems may know no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
