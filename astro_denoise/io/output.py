# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Output files that are either complete or not there at all.
"""

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import stat
import time
from pathlib import Path

from ..exceptions import needs_extra

__all__ = ['COMPRESSED', 'FITS_ENDINGS', 'atomic_output', 'check_output',
           'check_replaces_none', 'make_folder', 'remove_leftovers']

# Names of FITS files, in small letters or large ones.
FITS_ENDINGS = ('.fits', '.fit', '.fts')

# Endings by which astropy chooses to compress a whole file.
COMPRESSED = ('.gz', '.bz2', '.xz')

# Temporary names say which process of which computer writes to them, so that
# those of killed ones can be told from those of live ones.
_TEMPORARY = re.compile(
    r'\.astro_denoise-(?P<host>[0-9a-f]{8})-(?P<process>\d+)-'
    r'(?P<start>\d+)-[0-9a-f]{8}\.part(\.\w+)?')

# After so many seconds without a change, one of another computer is dead.
_OUTDATED = 86400.0


def check_output(path, *, overwrite=False, endings=(), packed=(),
                 name='output'):
    """
    Refuse the name of a file that cannot or must not be written.

    Parameters
    ----------
    path : str or path-like
        The file to make.

    overwrite : bool, optional
        Whether it may replace an existing file.

    endings : tuple of str, optional
        What the name must end in, one of these; large letters and small
        ones are the same. Any ending by default.

    packed : tuple of str, optional
        What may follow them, `COMPRESSED` for instance.

    name : str, optional
        Name of the parameter or option, for messages.

    Returns
    -------
    target : `~pathlib.Path`
        The file, with symbolic links followed.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is `False`.

    OSError
        If the folder does not exist, or ``path`` is something else than
        a file.

    ValueError
        If the name has another ending.

    ModuleNotFoundError
        If the name is that of a figure, and matplotlib is not installed.

    Examples
    --------
    >>> from astro_denoise.io import check_output
    >>> check_output('no/such/folder/a.fits')
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] no such folder: 'no/such/folder'
    >>> check_output('a.jpg', endings=('.fits', '.fit'))
    Traceback (most recent call last):
    ...
    ValueError: output must end in .fits or .fit, got 'a.jpg'
    """
    path = Path(path)
    if path.suffix.lower() == '.png':  # now, not after hours of work
        with needs_extra('plot', f'to write {str(path)!r}'):
            import matplotlib as mpl  # noqa: F401
    # A link must stay one: what it points to is replaced.
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        if path.is_symlink():
            raise FileNotFoundError(
                errno.ENOENT, f'is a link into a folder that is not there, '
                f'{str(target.parent)!r}', str(path))
        raise FileNotFoundError(errno.ENOENT, 'no such folder',
                                str(path.parent))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, 'not a regular file', str(path))
    if endings and not path.name.lower().endswith(tuple(
            ending + after for ending in endings for after in ('', *packed))):
        after = f' (and may in {_listed(packed)} after it)' if packed else ''
        msg = (f'{name} must end in {_listed(endings)}{after}, got '
               f'{str(path)!r}')
        raise ValueError(msg)
    if target.exists() and not overwrite:
        raise _exists(path)
    return target


def check_replaces_none(output, inputs, *, name='output'):
    """
    Refuse an output that is one of the inputs, by whatever name.

    Parameters
    ----------
    output : str or path-like
        The file to make.

    inputs : iterable
        What is read. Only names of files count, and only where there is
        such a file.

    name : str, optional
        Name of the parameter or option, for messages.

    Raises
    ------
    ValueError
        If it would be replaced.

    Examples
    --------
    >>> from astro_denoise.io.output import check_replaces_none
    >>> check_replaces_none('denoised.fits', ['raw.fits', None, 'GAIN'])
    """
    output = Path(output)
    if not output.exists():
        return
    for given in inputs:
        if not isinstance(given, str | os.PathLike):
            continue
        path = Path(given)
        # Another name, a link or other letters may be the same file.
        if path.exists() and path.samefile(output):
            msg = (f'{name} must be another file than what is read, got '
                   f'{str(output)!r}, which would replace {str(path)!r}')
            raise ValueError(msg)


def _listed(words):
    return ' or '.join(filter(None, [', '.join(words[:-1]), words[-1]]))


def _exists(path):
    return FileExistsError(
        errno.EEXIST, 'file exists, and overwrite is False', str(path))


@contextlib.contextmanager
def atomic_output(path, *, overwrite=False):
    """
    Write a file under a temporary name and rename it when it is complete.

    Whatever goes wrong, the folder holds either the complete new file or
    what it held before, and no partial file. What is replaced keeps its
    permissions.

    Parameters
    ----------
    path : str or path-like
        The file to make. A symbolic link is followed.

    overwrite : bool, optional
        Whether to replace an existing file. Without it, a file that
        appears while this one is written is kept as well.

    Yields
    ------
    temporary : `~pathlib.Path`
        The name to write to, in the same folder; there is no such file
        yet. It ends in ``.gz``, ``.bz2`` or ``.xz`` if ``path`` does, in
        small letters.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is `False`.

    OSError
        If the folder does not exist, ``path`` is something else than a
        file, or writing fails; the error names the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astro_denoise.io import atomic_output
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_output(Path(folder) / 'a.txt') as temporary:
    ...         _ = temporary.write_text('complete')
    ...     print([path.name for path in Path(folder).iterdir()])
    ['a.txt']
    """
    path, target = Path(path), check_output(path, overwrite=overwrite)
    ending = target.suffix.lower()
    ending = ending if ending in COMPRESSED else ''
    temporary = target.with_name(
        f'.astro_denoise-{_host()}-{os.getpid()}-{_start(os.getpid()) or 0}-'
        f'{secrets.token_hex(4)}.part{ending}')
    try:
        try:
            yield temporary
            _synchronize(temporary)
        except OSError as error:
            if error.filename not in (None, str(temporary)):
                raise
            raise _named(error, path) from error
        _publish(temporary, target, path, overwrite=overwrite)
    finally:
        # Where not even this can be done, the first error counts.
        with contextlib.suppress(OSError):
            temporary.unlink()


def _named(error, path):
    """
    An error in writing with what writers do not always say: file and why.
    """
    if error.errno is not None:
        return OSError(error.errno, error.strerror, str(path))
    if 'Not enough space on disk' in str(error):  # astropy's own words
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return OSError(errno.EIO, f'cannot be written ({error})', str(path))


def _synchronize(path):
    # Windows refuses to flush what may only be read.
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(temporary, target, path, *, overwrite):
    """
    Give a finished file its name, in one step.
    """
    if overwrite:
        _keep_permissions(target, temporary)
        temporary.replace(target)
        return
    try:
        try:
            # Unlike renaming, linking fails where the name is taken.
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            target.touch(exist_ok=False)
            temporary.replace(target)
    except FileExistsError as error:
        raise _exists(path) from error


def _keep_permissions(old, new):
    """
    Let a file be read and written by those who may do so with an old one.
    """
    # None there, or those of somebody else on a shared file system.
    with contextlib.suppress(OSError):
        found = old.stat()
        if hasattr(os, 'chown') and found.st_gid != new.stat().st_gid:
            with contextlib.suppress(OSError):
                os.chown(new, -1, found.st_gid)
        new.chmod(stat.S_IMODE(found.st_mode) & ~(stat.S_ISUID
                                                  | stat.S_ISGID))


def make_folder(path, *, name='folder'):
    """
    Make a folder for outputs where there is none.

    Parameters
    ----------
    path : str or path-like
        The folder; those above it are made as well.

    name : str, optional
        Name of the parameter or option, for messages.

    Returns
    -------
    folder : `~pathlib.Path`
        The folder.

    Raises
    ------
    NotADirectoryError
        If there is a file of that name.

    OSError
        If it cannot be made.

    ValueError
        If there is nothing of that name, and it is one of a FITS file; a
        separator at its end says that a folder is meant.

    Examples
    --------
    >>> from astro_denoise.io.output import make_folder
    >>> make_folder('field.fits', name='-o')
    Traceback (most recent call last):
    ...
    ValueError: -o must be a folder, got what looks like a FITS file, ...
    """
    folder = Path(path)
    if os.path.lexists(folder):
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, 'not a folder', str(path))
        return folder
    if os.fspath(path).lower().endswith(FITS_ENDINGS):
        msg = (f'{name} must be a folder, got what looks like a FITS file, '
               f'{str(path)!r}')
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def remove_leftovers(folder):
    """
    Remove temporary files of processes that were killed.

    Those of live processes stay, and those of other computers too unless
    they are older than a day.

    Parameters
    ----------
    folder : str or path-like
        Where outputs are written.

    Returns
    -------
    removed : list of `~pathlib.Path`
        What was removed.

    Examples
    --------
    >>> import tempfile
    >>> from astro_denoise.io.output import remove_leftovers
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(remove_leftovers(folder))
    []
    """
    removed = []
    for path in Path(folder).glob('.astro_denoise-*.part*'):
        found = _TEMPORARY.fullmatch(path.name)
        if not found:
            continue
        # Others may be removing the same.
        with contextlib.suppress(FileNotFoundError):
            if found['host'] == _host() and os.name == 'posix':
                dead = _start(int(found['process'])) != int(found['start'])
            else:
                dead = time.time() - path.stat().st_mtime > _OUTDATED
            if dead:
                path.unlink()
                removed.append(path)
    return removed


def _host():
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _start(process):
    """
    Read the start time of a process: 0 if unknown, `None` if it is dead.
    """
    if not Path('/proc/self/stat').exists():
        if os.name == 'posix':
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                return None
            except PermissionError:
                pass
        return 0
    try:
        # The name of the program, in brackets, may hold anything.
        text = Path(f'/proc/{process}/stat').read_text(errors='replace')
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = text.rpartition(')')[2].split()
    return None if state in 'ZX' else int(fields[18])
