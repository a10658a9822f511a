# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise many files, here or on the workers of a cluster.

What is finished is told by the outputs themselves: each holds the hash of
all that it was made from. A run that was stopped, however hard, is
therefore started again by the same call.
"""

import contextlib
import glob
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from astropy.table import Table

from ..io.companions import is_companion
from ..io.output import (
    COMPRESSED,
    FITS_ENDINGS,
    make_folder,
    remove_leftovers,
)
from .cluster import connected, run_on_cluster
from .status import OPTIONS_OF_FILES, StatusTable, hash_options
from .task import CarriedModel, FrameTask, denoise_one

__all__ = ['denoise_files', 'list_frames', 'output_names', 'with_suffix',
           'without_outputs']


def denoise_files(inputs, folder, *, model='ccd', workers=None,
                  scheduler=None, retries=3, suffix='', overwrite=False,
                  progress_bar=False, on_finished=None, **options):
    """
    Denoise many FITS files into a folder.

    A frame whose output is there already, made from the same input with
    the same model and options, is skipped: after a crash, the same call
    goes on where it was. One that cannot be denoised does not stop the
    others.

    Parameters
    ----------
    inputs : str, path-like, iterable or ccdproc ImageFileCollection
        The files; a string may hold wildcards. Files that are the mask
        or the weights of a frame by their name (``.mask.fits`` and
        ``.weight.fits``, ``ood`` and ``oow`` of DECam) are left out.

    folder : str or path-like
        For the outputs, which have the names of the inputs and ``suffix``;
        it is made where it is missing.

    model : str, path-like or model object, optional
        As for `astro_denoise.denoise`. Each worker loads it once.

    workers : int, optional
        How many processes of this computer share the work; `None` takes
        this one. Needs dask.distributed.

    scheduler : str, ``distributed.Client`` or cluster object, optional
        A dask cluster that does the work instead: the address of its
        scheduler, or an object such as ``dask_jobqueue.SLURMCluster``.
        The files must have the same names on its workers.

    retries : int, optional
        How often a frame is tried again whose workers died, or for
        which a file system was not there.

    suffix : str, optional
        Put before the ending of the names: with ``'_denoised'``,
        ``a.fits`` becomes ``a_denoised.fits``. Inputs that are the output
        of another input are then left out, so that the same pattern can be
        given again.

    overwrite : bool, optional
        Whether to replace outputs made from something else.

    progress_bar : bool, optional
        Show a progress bar.

    on_finished : callable, optional
        Called with each row of the table when it is there; the columns
        are its attributes.

    **options
        As for `~astro_denoise.pipeline.denoise_file`.

    Returns
    -------
    status : `~astropy.table.Table`
        A row for each input, in their order: ``input, output, status``
        ('finished' or 'failed'), ``attempts`` (0 if found finished),
        ``seconds, worker, hash, message``. The folder holds the same
        table of all its outputs, ``astro-denoise-status.ecsv``, renewed
        while frames finish.

    Raises
    ------
    ValueError
        If there is no input, two would have the same output, one would
        replace itself, or the model or an option is bad.

    TypeError
        If an option is of a type that no output can be known by.

    OSError
        If the folder cannot be made, or the scheduler not be reached.

    Examples
    --------
    >>> import tempfile
    >>> from astro_denoise.data import get_example_path
    >>> from astro_denoise.pipeline import denoise_files
    >>> path = get_example_path('eso085_030_005.fits')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     status = denoise_files([path], folder)
    ...     again = denoise_files([path], folder)
    >>> print(status['status'][0], again['status'][0], again['attempts'][0])
    finished finished 0
    """
    from tqdm import tqdm

    from ..models.registry import load_model

    if isinstance(retries, bool) or not isinstance(retries, int) or (
            retries < 0):
        msg = f'retries must be a number of 0 or more, got {retries!r}'
        raise ValueError(msg)
    if workers is not None and (isinstance(workers, bool) or not isinstance(
            workers, int) or workers < 1):
        msg = f'workers must be a number of 1 or more, got {workers!r}'
        raise ValueError(msg)
    if workers is not None and scheduler is not None:
        msg = ('workers and scheduler cannot both be given, got '
               f'{workers!r} and {scheduler!r}')
        raise ValueError(msg)
    paths = without_outputs(list_frames(inputs), suffix)
    given, folder = folder, Path(folder)
    names = output_names(paths, folder, suffix)
    _check_inputs_stay(paths, names, folder, options)
    hash_options(options)  # refuses what no output can be known by
    carried = CarriedModel(model, load_model(model, task='denoise').hash)
    make_folder(given)
    remove_leftovers(folder)
    tasks = [FrameTask(os.path.abspath(path), os.path.abspath(folder / name),
                   carried, overwrite, options)
             for path, name in zip(paths, names, strict=True)]
    done = {}
    table = StatusTable(folder)
    bar = tqdm(total=len(tasks), disable=not progress_bar, unit='frame')
    with contextlib.ExitStack() as stack:
        stack.enter_context(bar)
        # Also when the run is stopped half way.
        stack.callback(_finish, table, folder)
        if workers is None and scheduler is None:
            finished = _run_here(tasks, retries)
        else:
            client = stack.enter_context(connected(workers, scheduler))
            finished = run_on_cluster(tasks, client, retries)
        stack.enter_context(contextlib.closing(finished))
        for number, row in finished:
            row = replace(row, input=_text(paths[number]),
                          output=_text(names[number]),
                          message=_as_given(row.message, tasks[number],
                                            paths[number], folder))
            done[number] = row
            table.add(row)
            bar.update()
            if on_finished is not None:
                on_finished(row)
    return Table([asdict(done[number]) for number in range(len(tasks))])


def list_frames(inputs):
    """
    The files that inputs of `denoise_files` stand for.

    Parameters
    ----------
    inputs : object
        As for `denoise_files`.

    Returns
    -------
    paths : list of str
        The files.

    Raises
    ------
    ValueError
        If there is none, or nothing matches a pattern.

    Examples
    --------
    >>> from astro_denoise.pipeline.many_files import list_frames
    >>> list_frames(['a.fits', 'a.mask.fits', 'b.fits'])
    ['a.fits', 'b.fits']
    """
    if hasattr(inputs, 'files_filtered'):  # an ImageFileCollection
        found = list(inputs.files_filtered(include_path=True))
    else:
        given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
        found = []
        for each in given:
            name = os.fspath(each)
            wild = not os.path.lexists(name) and glob.has_magic(name)
            matching = sorted(glob.glob(name)) if wild else [name]
            if not matching:
                msg = f'inputs: no file matches {name!r}'
                raise ValueError(msg)
            found += matching
    frames = [path for path in found if not is_companion(path)]
    if not frames:
        msg = f'inputs must hold a frame, got {inputs!r:.200}'
        raise ValueError(msg)
    return frames


def with_suffix(path, suffix):
    """
    Put a suffix before the ending of the name of a file.

    Parameters
    ----------
    path : path-like
        The file.

    suffix : str
        What to put there.

    Returns
    -------
    path : `~pathlib.Path`
        Another name in the same folder.

    Examples
    --------
    >>> from astro_denoise.pipeline.many_files import with_suffix
    >>> print(with_suffix('m13.r.fits.gz', '_denoised'))
    m13.r_denoised.fits.gz
    """
    if os.sep in suffix:
        msg = f'suffix must be a part of a name, got {suffix!r}'
        raise ValueError(msg)
    path = Path(path)
    stem, ending = path.name, ''
    for endings in ((*COMPRESSED, '.fz'), FITS_ENDINGS):
        part = Path(stem).suffix
        if part.lower() in endings:
            stem, ending = stem.removesuffix(part), part + ending
    return path.with_name(f'{stem}{suffix}{ending}')


def without_outputs(paths, suffix):
    """
    Leave out inputs that are the output of another one.

    Parameters
    ----------
    paths : list of str
        The inputs.

    suffix : str
        As for `denoise_files`.

    Returns
    -------
    paths : list of str
        The others.
    """
    if not suffix:
        return paths
    made = {str(with_suffix(path, suffix)) for path in paths}
    return [path for path in paths if str(Path(path)) not in made]


def output_names(paths, folder, suffix=''):
    """
    One name for each input.

    Parameters
    ----------
    paths : list of str
        The inputs.

    folder : path-like
        Where the outputs go, for messages.

    suffix : str, optional
        As for `denoise_files`.

    Returns
    -------
    names : list of str
        Names of files.

    Raises
    ------
    ValueError
        If two would be the same.
    """
    names = {}
    for path in paths:
        name = with_suffix(path, suffix).name
        if name in names:
            msg = (f'{names[name]} and {path} would both become '
                   f'{Path(folder) / name}')
            raise ValueError(msg)
        names[name] = path
    return list(names)


def _check_inputs_stay(paths, names, folder, options):
    """
    Raise ValueError if an output is one of the files that are read.

    With overwrite, the next run would denoise what is denoised.
    """
    others = [each for each in map(options.get, OPTIONS_OF_FILES)
              if isinstance(each, str | os.PathLike)]
    read = {_place(path): path for path in (*paths, *others)}
    for name in names:
        place = _place(folder / name)
        if place is not None and place in read:
            msg = (f'{read[place]} would be replaced: folder must be another '
                   f'one')
            raise ValueError(msg)


def _place(path):
    """Identify a file under all of its names; `None` without one."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _text(name):
    """A name that can be written, whatever bytes it is made of."""
    return os.fspath(name).encode(errors='backslashreplace').decode()


def _as_given(message, task, path, folder):
    """A message with the names that the user gave."""
    for known, given in ((task.path, path),
                         (task.output, folder / Path(task.output).name)):
        message = message.replace(known, os.fspath(given))
    return _text(message)


def _finish(table, folder):
    try:
        table.write()
    finally:
        remove_leftovers(folder)


def _run_here(tasks, retries):
    """
    Do all tasks in this process; the next file is read meanwhile.
    """
    waiting = deque((number, 1) for number in range(len(tasks)))
    with ThreadPoolExecutor(1) as reader:
        ahead = None
        while waiting:
            number, attempt = waiting.popleft()
            current = ahead or reader.submit(tasks[number].hash)
            ahead = (reader.submit(tasks[waiting[0][0]].hash) if waiting
                     else None)
            row, transient = denoise_one(tasks[number], current.result)
            if transient and attempt <= retries:
                # After the others: what is wrong may be over by then.
                waiting.append((number, attempt + 1))
                continue
            if row.attempts:
                row.attempts = attempt
            yield number, row
