# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Trained models: the shipped ones by name, others by path.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import threading
import warnings
from functools import cached_property
from importlib import import_module
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..exceptions import WeightsError, WeightsWarning
from ..io.output import atomic_output, check_output
from .building import build_network, check_finite, unaffected
from .schemas import check_stated

__all__ = ['Model', 'list_models', 'load_model', 'read_models']

_WEIGHTS = Path(__file__).parent / 'weights'

# Architecture named in a file -> module of its class, imported when needed.
# Nothing else is ever built from a file.
_ARCHITECTURES = {
    'BlindSpotDenoiser': 'blind_spot',
    'CCDDenoiser': 'denoiser',
    'ExpectedCounts': 'expected_counts',
    'MixedDenoiser': 'image_denoiser',
    'PosteriorNetwork': 'posterior',
    'SourceFinder': 'source_finder',
    'SkyPosterior': 'sky_posterior',
    'SkySegmenter': 'sky_segmenter',
    'SourceSegmenter': 'galactic_center',
    'SingleOutputCNN': 'paper',
    'MultiOutputCNN': 'paper',
    'PaperUNet': 'paper',
    'PaperAutoencoder': 'paper',
}

# Former models, and what took their place.
_REPLACED = {'ccd-stars': 'ccd-sources'}

# Models of which there are recipes, whether or not they ship.
_WITH_RECIPE = ('cnn-dm', 'cnn-dm-total', 'cnn-dm-disk-gc', 'gc-counts',
                'unet-paper')

# What keeps a file of weights from being used.
_UNUSABLE = (OSError, WeightsError)

_METADATA_KEY = 'astro_denoise'
_MAX_HEADER = 2**20  # bytes
_HASH = '[0-9a-f]{64}'
_NAME = '[A-Za-z0-9._+-]{1,40}'  # what fits a card of a FITS header

_loaded = {}
# One model may need another while it is loaded.
_lock = threading.RLock()
if hasattr(os, 'register_at_fork'):
    # A fork waits for what another thread loads: in the new process, which
    # that thread does not come along to, nobody would finish it.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release,
                        after_in_child=_lock.release)


def _digest(tensors, metadata):
    """SHA-256 over the metadata and all tensors with names and types."""
    stated = {name: value for name, value in metadata.items()
              if name != 'sha256'}
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Model:
    """
    A trained network with everything that is known about it.

    Parameters
    ----------
    network : `torch.nn.Module`
        The network; it has a ``config`` from which it can be built anew.

    metadata : dict
        Name, task, version, license, training, figures: whatever JSON
        can hold. ``name`` and ``task`` are needed; the name goes into
        FITS headers: at most 40 letters, digits, or any of ``._+-``.

    Raises
    ------
    ValueError
        If the name or the task is missing or unfit.

    Examples
    --------
    >>> from astro_denoise import load_model
    >>> model = load_model('ccd')
    >>> print(model.name, model.task)
    ccd denoise
    """

    def __init__(self, network, metadata):
        for key in ('name', 'task'):
            if not isinstance(metadata.get(key), str):
                msg = f'metadata must name the {key} of a model'
                raise ValueError(msg)  # noqa: TRY004
        if not re.fullmatch(_NAME, metadata['name']):
            msg = (f'the name of a model must have 1 to 40 letters, digits, '
                   f'or any of ._+-, got {metadata["name"]!r}')
            raise ValueError(msg)
        self.network = network.eval().requires_grad_(
            requires_grad=False)
        self.metadata = dict(metadata)

    def __repr__(self):
        return f'<Model {self.name!r} ({self.task}), hash {self.hash[:12]}>'

    @property
    def name(self):
        """Name of the model."""
        return self.metadata['name']

    @property
    def task(self):
        """Task of the model, such as ``'denoise'``."""
        return self.metadata['task']

    @cached_property
    def hash(self):
        """SHA-256 of weights and metadata, as stored in the file."""
        return self._contents()[1]['sha256']

    def _contents(self):
        """
        Weights and metadata as they are stored.

        The weights become 16-bit floats, buffers stay what they are, and
        so do weights that the network wants whole.
        """
        whole = tuple(getattr(self.network, 'full_precision', ()))
        halved = {name for name, _ in self.network.named_parameters()
                  if not name.startswith(whole)}
        tensors = {name: (tensor.half() if name in halved else tensor
                          ).detach().cpu().contiguous()
                   for name, tensor in self.network.state_dict().items()}
        metadata = {**self.metadata, 'format': 1,
                    'architecture': type(self.network).__name__,
                    'config': getattr(self.network, 'config', None)}
        metadata = json.loads(json.dumps(metadata))  # as it will be read
        metadata['sha256'] = _digest(tensors, metadata)
        return tensors, metadata

    def save(self, path, *, overwrite=False):
        """
        Write weights, configuration and metadata to one file.

        Parameters
        ----------
        path : path-like
            Name of the file, ending in ``.safetensors``.

        overwrite : bool, optional
            Replace an existing file.

        Raises
        ------
        OSError
            If the file exists, or cannot be written; nothing is left
            behind then.

        ValueError
            If the name does not end in ``.safetensors``, or a weight is not
            finite, or too large for a 16-bit float.
        """
        check_output(path, overwrite=overwrite, endings=('.safetensors',),
                     name='path')
        tensors, metadata = self._contents()
        check_finite(tensors, dict(self.network.named_buffers()))
        text = json.dumps(metadata, sort_keys=True)
        with atomic_output(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(save(tensors, {_METADATA_KEY: text}))


def _read(path):
    """Metadata and tensors of a file, refused unless they belong together."""
    path = Path(path)
    if not path.is_file():
        msg = f'there is no file of weights {str(path)!r}'
        raise FileNotFoundError(msg)
    with path.open('rb') as file:
        length = int.from_bytes(file.read(8), 'little')
    if not 2 <= length <= min(_MAX_HEADER, path.stat().st_size):
        msg = f'{path} is not a whole safetensors file'
        raise OSError(msg)
    try:
        with safe_open(path, framework='pt') as file:
            text = (file.metadata() or {}).get(_METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        msg = f'{path} is not a whole safetensors file: {error}'
        raise OSError(msg) from error
    if text is None:
        msg = f'{path} holds no model of astro_denoise (no metadata)'
        raise WeightsError(msg)
    try:
        metadata = json.loads(text)
        stated = metadata['sha256']
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f'{path} holds unreadable metadata: {error!r:.200}'
        raise WeightsError(msg) from error
    if not isinstance(stated, str) or not re.fullmatch(_HASH, stated):
        msg = (f'{path} holds unreadable metadata: sha256 must have 64 '
               f'hexadecimal digits, got {stated!r:.100}')
        raise WeightsError(msg)
    found = _digest(tensors, metadata)
    if found != stated:
        msg = (f'the contents of {path} have the SHA-256 {found}, but '
               f'{stated} was expected: the file was changed or damaged')
        raise WeightsError(msg)
    return metadata, tensors


@unaffected()
def _build(path):
    with _not_fitting(path):
        metadata, tensors = _read(path)
        architecture = metadata.pop('architecture', None)
        config = metadata.pop('config', None)
        layout = metadata.pop('format', None)
        metadata.pop('sha256')  # of this file, whatever becomes of the model
        if not isinstance(architecture, str) or (
                architecture not in _ARCHITECTURES or layout != 1):
            msg = (f'{path} needs the architecture {architecture!r:.50} in '
                   f'format {layout!r:.50}, which this version does not '
                   f'have; known: {sorted(_ARCHITECTURES)} in format 1')
            raise WeightsError(msg)
        check_stated(metadata, architecture, config)
        module = import_module(f'.{_ARCHITECTURES[architecture]}',
                               __package__)
        network = build_network(getattr(module, architecture), config,
                                tensors)
        return Model(network, metadata)


@contextlib.contextmanager
def _not_fitting(path):
    """
    Make a WeightsError of what a file makes go wrong, whatever it is.
    """
    try:
        yield
    except (*_UNUSABLE, ImportError, MemoryError):
        raise
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        msg = f'{path} does not fit its architecture: {reason}'
        raise WeightsError(msg) from error


def _shipped():
    """
    Files of the shipped models, by name and task.

    Where one name is good for two tasks, there are two files, one or
    both of which have the task before their ending.
    """
    files = {}
    for path in _WEIGHTS.glob('*.safetensors'):
        name, _, task = path.stem.partition('.')
        files[name, task or None] = path
    return files


def list_models(*, task=None):
    """
    Names of the shipped models.

    Parameters
    ----------
    task : {'denoise', 'segment', 'estimate'}, optional
        Only those for it.

    Returns
    -------
    names : list of str
        To be given to `load_model` and to the verbs.

    Warns
    -----
    WeightsWarning
        If a file had to be read to know its task, and could not be; its
        name is left out.

    Examples
    --------
    >>> from astro_denoise import list_models
    >>> 'ccd' in list_models()
    True
    >>> 'galactic-center' in list_models(task='denoise')
    False
    """
    names = set()
    for name, of in _shipped():
        if task is not None and of is None:
            try:
                of = _load_shipped(name, None).task
            except _UNUSABLE as error:
                warnings.warn(str(error), WeightsWarning, stacklevel=2)
                continue
        if task in (None, of):
            names.add(name)
    return sorted(names)


def read_models(paths=()):
    """
    Read models one after another, whether or not all of them can be.

    Parameters
    ----------
    paths : list of str or path-like, optional
        Files of weights, or folders of them; the shipped models by
        default.

    Yields
    ------
    name : str
        A name of `list_models`, or a path.

    model : `Model` or Exception
        The model, or why it cannot be used.

    Examples
    --------
    >>> from astro_denoise.models.registry import read_models
    >>> [model.task for name, model in read_models() if name == 'ccd']
    ['denoise']
    """
    sources = [(str(path), path) for path in paths]
    if not sources:
        sources = [(name, (name, task)) for name, task in sorted(
            _shipped(), key=str)]
    for name, source in sources:
        if not isinstance(source, tuple) and Path(source).is_dir():
            files = sorted(Path(source).glob('*.safetensors'))
            if not files:
                yield name, FileNotFoundError(
                    errno.ENOENT, 'holds no file of weights', name)
                continue
            yield from read_models(files)
            continue
        try:
            yield name, (_load_shipped(*source) if isinstance(source, tuple)
                         else _build(source))
        except _UNUSABLE as error:
            yield name, error


def _load_shipped(name, task):
    """A shipped model, read once, checked against the list of hashes."""
    path = _shipped()[name, task]
    with _lock:
        if path not in _loaded:
            model = _build(path)
            expected = json.loads((_WEIGHTS / 'hashes.json').read_text())
            if model.hash != expected.get(path.stem):
                msg = (f'the weights of the shipped model {path.stem!r} have '
                       f'the SHA-256 {model.hash}, but '
                       f'{expected.get(path.stem)} was expected: install '
                       f'the package again')
                raise WeightsError(msg)
            _loaded[path] = model
        return _loaded[path]


def _load_named(name, task):
    """A shipped model by its name and, where that is not enough, task."""
    files = _shipped()
    if (name, None) in files:
        return _load_shipped(name, task if (name, task) in files else None)
    tasks = sorted(of for known, of in files if known == name)
    if not tasks and name in _REPLACED:
        msg = (f'the model {name!r} was replaced by {_REPLACED[name]!r}: '
               f'give model={_REPLACED[name]!r}')
        raise ValueError(msg)
    if not tasks and name in _WITH_RECIPE:
        msg = (f'the model {name!r} does not come with the package: make it '
               f'by "astro-denoise train --recipe {name} -o '
               f'{name}.safetensors" and give the name of the file')
        raise ValueError(msg)
    if not tasks:
        msg = (f'there is no model {name!r}; known are '
               f'{", ".join(list_models(task=task))}, or the path of a '
               f'.safetensors file')
        raise ValueError(msg)
    if task is None and len(tasks) > 1:
        msg = (f'model {name!r} is for several tasks, say which: task must '
               f'be one of {", ".join(tasks)}')
        raise ValueError(msg)
    return _load_shipped(name, task if task in tasks else tasks[0])


def load_model(model, *, task=None):
    """
    Load a trained model.

    Parameters
    ----------
    model : str, path-like or `~astro_denoise.models.Model`
        A name of `list_models`, the path of a ``.safetensors`` file, or
        a model, which is returned as it is.

    task : {'denoise', 'segment', 'estimate'}, optional
        What the model must be for; ``'galactic-center'`` and
        ``'galactic-sky'`` are names of two models each, one for each of two
        tasks. Without a task, ``'galactic-sky'`` is the posterior.

    Returns
    -------
    model : `~astro_denoise.models.Model`
        The model, on the processor.

    Raises
    ------
    ValueError
        If there is no model of that name, or it is for another task, or
        the file was tampered with (`~astro_denoise.exceptions.WeightsError`,
        which names the hash found and the one expected).

    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from astro_denoise import load_model
    >>> print(load_model('ccd-mmse').task)
    denoise
    """
    if isinstance(model, Model):
        loaded = model
    elif isinstance(model, os.PathLike) or (
            isinstance(model, str)
            and model.lower().endswith('.safetensors')):
        with _lock:
            loaded = _build(model)
    elif isinstance(model, str):
        loaded = _load_named(model, task)
    else:
        msg = (f'model must be a name, a path or a Model, got an object of '
               f'type {type(model).__name__}')
        raise TypeError(msg)
    if task is not None and loaded.task != task:
        msg = (f'model {loaded.name!r} is for the task {loaded.task!r}, '
               f'not {task!r}')
        raise ValueError(msg)
    return loaded
