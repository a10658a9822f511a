# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of models in files, and of the shipped ones.
"""

import errno
import json
import math
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from astro_denoise import denoise, list_models, load_model
from astro_denoise.exceptions import WeightsError, WeightsWarning
from astro_denoise.models import registry
from astro_denoise.models.denoiser import CCDDenoiser
from astro_denoise.models.galactic_center import SourceSegmenter
from astro_denoise.models.registry import Model

# Of the network below.
CONFIG = {'widths': [6, 8], 'kernel_fwhms': [1.5, 3.0],
          'lone_pixels': True, 'calibration_scale': 1.0}

METADATA = {'name': 'toy', 'task': 'denoise', 'licence': 'BSD-3-Clause',
            'training': {'steps': (3, 4), 1: 2.5}}


@pytest.fixture
def model(small_network):
    return Model(small_network((6, 8), (1.5, 3.0)), METADATA)


@pytest.fixture
def path(model, tmp_path):
    path = tmp_path / 'toy.safetensors'
    model.save(path)
    return path


def header_end(path):
    return 8 + struct.unpack('<Q', path.read_bytes()[:8])[0]


def rewrite(path, change):
    """
    Change metadata in a file whose weights stay the same.
    """
    data = path.read_bytes()
    end = header_end(path)
    header = json.loads(data[8:end])
    metadata = json.loads(header['__metadata__']['astro_denoise'])
    header['__metadata__']['astro_denoise'] = json.dumps(change(metadata))
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + data[end:])


def outputs(network):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 1, 16, 16, generator=generator)
    flat = torch.ones_like(x)
    with torch.inference_mode():
        return torch.stack(network(x, 0 * flat, flat,
                                   torch.tensor([[0.0, 1.0]])))


@pytest.mark.parametrize('kind', [str, Path])
def test_round_trip(model, path, kind):
    loaded = load_model(kind(path), task='denoise')
    assert isinstance(loaded.network, CCDDenoiser)
    assert loaded.network.config == model.network.config
    assert not loaded.network.training
    assert not any(parameter.requires_grad
                   for parameter in loaded.network.parameters())
    assert (loaded.name, loaded.task) == ('toy', 'denoise')
    assert loaded.metadata['training'] == {'steps': [3, 4], '1': 2.5}
    # Weights are stored in half precision.
    torch.testing.assert_close(outputs(loaded.network),
                               outputs(model.network), rtol=2e-2, atol=2e-2)
    assert 'toy' in repr(loaded)


def test_buffers_keep_their_precision(model, path):
    torch.testing.assert_close(load_model(path).network.kernels,
                               model.network.kernels, rtol=0, atol=0)


def test_hash_is_stable(model, path, tmp_path):
    loaded = load_model(path)
    assert len(model.hash) == 64
    assert loaded.hash == model.hash
    again = tmp_path / 'again.safetensors'
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    assert load_model(again).hash == model.hash


def test_hash_is_that_of_the_contents(model, path):
    loaded = load_model(path)
    other = Model(loaded.network, {**loaded.metadata, 'name': 'other'})
    assert other.hash != model.hash
    with torch.no_grad():
        loaded.network.head.bias += 1.0
    assert Model(loaded.network, loaded.metadata).hash != model.hash


def test_model_is_returned_as_it_is(model):
    assert load_model(model, task='denoise') is model


@pytest.mark.parametrize('name', ['', 'x' * 41, 'naïve', 'two\n', 'a b', None])
def test_bad_name_in_metadata(small_network, name):
    with pytest.raises(ValueError, match='name'):
        Model(small_network(), {**METADATA, 'name': name})


def test_missing_task_in_metadata(small_network):
    with pytest.raises(ValueError, match='task'):
        Model(small_network(), {'name': 'toy'})


def test_save_needs_suffix(model, tmp_path):
    with pytest.raises(ValueError, match=r'safetensors.*toy\.pt'):
        model.save(tmp_path / 'toy.pt')
    assert not list(tmp_path.iterdir())


def test_save_keeps_existing_file(model, path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match='toy'):
        model.save(path)
    assert path.read_bytes() == before
    Model(model.network, {**METADATA, 'name': 'new'}).save(path,
                                                           overwrite=True)
    assert load_model(path).name == 'new'


def test_full_disk_leaves_nothing(model, path, monkeypatch):
    before = path.read_bytes()

    def write_bytes(self, data):
        with self.open('wb') as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', write_bytes)
    with pytest.raises(OSError, match='No space left'):
        model.save(path, overwrite=True)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_metadata_that_cannot_be_stored(small_network, tmp_path):
    model = Model(small_network(), {**METADATA, 'figures': np.ones(2)})
    with pytest.raises(TypeError, match='ndarray'):
        model.save(tmp_path / 'toy.safetensors')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('position', [0, 1000, -1])
def test_tampered_weights(model, path, position):
    data = bytearray(path.read_bytes())
    if position >= 0:
        position += header_end(path)
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=model.hash) as error:
        load_model(path)
    # The message names both hashes, and the file.
    hashes = {word.strip(',:') for word in str(error.value).split()
              if len(word.strip(',:')) == 64}
    assert len(hashes) == 2
    assert str(path) in str(error.value)


@pytest.mark.parametrize(('key', 'value'), [
    ('name', 'ccd'), ('task', 'segment'), ('training', None),
    ('config', {'widths': [6, 8], 'kernel_fwhms': [1.5, 4.0]}),
    ('architecture', 'Other'), ('format', 2), ('extra', 1)])
def test_tampered_metadata(model, path, key, value):
    rewrite(path, lambda metadata: {**metadata, key: value})
    with pytest.raises(WeightsError, match=model.hash):
        load_model(path)


def test_any_changed_byte_is_noticed(path):
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    for position in rng.integers(0, len(data), 100):
        changed = bytearray(data)
        changed[position] ^= 1 << rng.integers(7)
        path.write_bytes(changed)
        with pytest.raises((OSError, WeightsError), match=r'toy\.safetens'):
            load_model(path)


@pytest.mark.parametrize('share', [0.0, 1e-4, 0.01, 0.1, 0.5, 0.999])
def test_truncated_file(path, share):
    data = path.read_bytes()
    path.write_bytes(data[:int(share * len(data))])
    with pytest.raises(OSError, match=r'toy\.safetensors is not a whole'):
        load_model(path)


@pytest.mark.parametrize('content', [
    b'SIMPLE  =                    T', b'\x00' * 100, b'\xff' * 100,
    b'\x02\x00\x00', pickle.dumps({'weights': [1.0] * 100}),
    # a header of 1 GB that is not there
    struct.pack('<Q', 2**30) + b'{}',
    struct.pack('<Q', 2) + b'[]', struct.pack('<Q', 2) + b'{]'],
    ids=['fits', 'zeros', 'ones', 'short', 'pickle', 'long', 'list', 'json'])
def test_other_file(tmp_path, content):
    path = tmp_path / 'toy.safetensors'
    path.write_bytes(content)
    with pytest.raises(OSError, match=r'toy\.safetensors (is|holds) no'):
        load_model(path)


def test_long_header_that_is_there(tmp_path):
    # A sparse file: nothing of it must be read into memory.
    path = tmp_path / 'toy.safetensors'
    with path.open('wb') as file:
        file.write(struct.pack('<Q', 2**30))
        file.truncate(2**30 + 100)
    with pytest.raises(OSError, match='not a whole safetensors file'):
        load_model(path)


def test_pickle_is_never_loaded(tmp_path):
    path = tmp_path / 'toy.safetensors'
    torch.save({'state_dict': {}}, path)
    with pytest.raises(OSError, match='not a whole safetensors file'):
        load_model(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.safetensors'):
        load_model(str(tmp_path / 'none.safetensors'))
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        load_model(tmp_path)  # a folder


def test_foreign_weights(tmp_path):
    path = tmp_path / 'foreign.safetensors'
    for metadata in (None, {'format': 'pt'}):
        save_file({'a': torch.ones(3)}, path, metadata)
        with pytest.raises(WeightsError, match=r'foreign\S* holds no model'):
            load_model(path)


@pytest.mark.parametrize('text', [
    '', '{', '[]', '3', '"a"', '{}', '{"sha256": 3}', '{"sha256": "\\u001b"}',
    100000 * '[' + 100000 * ']'])
def test_unreadable_metadata(tmp_path, text):
    path = tmp_path / 'toy.safetensors'
    save_file({'a': torch.ones(3)}, path, {'astro_denoise': text})
    with pytest.raises(WeightsError, match=r'toy\S* holds unreadable'):
        load_model(path)


@pytest.mark.parametrize(('change', 'message'), [
    ({'architecture': 'Other'}, "'Other'"), ({'architecture': []}, r'\[\]'),
    ({'architecture': None}, 'None'), ({'format': 2}, 'format 2'),
    ({'config': None}, 'toy'), ({'config': {'depth': 3}}, 'depth'),
    ({'config': {'widths': []}}, 'toy'),
    ({'config': {'widths': [6, 8]}}, 'kernel_fwhms is missing'),
    ({'config': {**CONFIG, 'widths': [6, 8, 10]}}, 'Missing weights'),
    ({'config': {**CONFIG, 'kernel_fwhms': []}}, "Unknown weights..'kernels"),
    ({'config': {**CONFIG, 'widths': [6, 9]}}, 'must have the shape'),
    ({'config': {**CONFIG, 'widths': [2000, 2000]}}, 'must have the shape'),
    ({'config': {**CONFIG, 'widths': [6, 10**9]}}, 'widths must be'),
    ({'config': {**CONFIG, 'widths': ['a', 'b']}}, 'widths must be'),
    ({'config': {**CONFIG, 'widths': [6, True]}}, 'widths must be'),
    ({'config': {**CONFIG, 'kernel_fwhms': [3.0, 1.5]}}, 'kernel_fwhms must'),
    ({'config': {**CONFIG, 'kernel_fwhms': [1.5, math.nan]}},
     'kernel_fwhms must'),
    ({'config': {**CONFIG, 'calibration_scale': 0}}, 'calibration_scale must'),
    ({'config': {**CONFIG, 'lone_pixels': 1}}, 'lone_pixels must be'),
    ({'summary': 5}, 'summary must be a text'),
    ({'threshold': math.nan}, 'threshold must be'),
    ({'task': 'segment'}, "must have the task 'denoise'"),
    ({'name': None}, 'name'), ({'task': 3}, 'task'),
    ({'sha256': None}, 'sha256 must have 64')])
def test_file_that_does_not_fit(path, change, message):
    # Its hash is right: made by another version, or by hand.
    with registry.safe_open(path, framework='pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def changed(metadata):
        metadata = {**metadata, **change}
        return {**metadata, 'sha256': registry._digest(tensors, metadata),
                **{key: change[key] for key in {'sha256'} & change.keys()}}

    rewrite(path, changed)
    with pytest.raises(WeightsError, match=message) as error:
        load_model(path)
    assert 'toy.safetensors' in str(error.value)


def forged(path, tensors, **change):
    """
    A file whose hash is right, whatever else is not.
    """
    metadata = {'name': 'evil', 'task': 'denoise', 'format': 1,
                'architecture': 'CCDDenoiser', 'config': CONFIG, **change}
    metadata['sha256'] = registry._digest(tensors, metadata)
    save_file(tensors, path, {'astro_denoise': json.dumps(metadata)})
    return path


@pytest.mark.parametrize(('change', 'message'), [
    (lambda tensor: tensor * math.nan, "weights 'head.bias' are not finite"),
    (lambda tensor: tensor + math.inf, "weights 'head.bias' are not finite"),
    (lambda tensor: tensor.to(torch.complex64), 'got torch.complex64'),
    (lambda tensor: tensor.long(), 'got torch.int64'),
    (lambda tensor: tensor.bool(), 'got torch.bool'),
    (lambda tensor: tensor[:4], r'must have the shape \(8,\), got \(4,\)'),
    (lambda tensor: tensor[None], r'must have the shape \(8,\), got \(1, 8')])
def test_forged_weights(path, model, change, message):
    tensors = model._contents()[0]
    tensors['head.bias'] = change(tensors['head.bias']).contiguous()
    with pytest.raises(WeightsError, match=message):
        load_model(forged(path, tensors))


class Largest(TorchDispatchMode):
    """
    Know the largest tensor that was made in memory.
    """

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not result.is_meta:
            self.largest = max(self.largest, result.numel())
        return result


def test_forged_weights_take_no_memory(path):
    # 1.4 GB, if they were made.
    config = {**CONFIG, 'widths': [2048, 2048, 2048]}
    forged(path, {'a': torch.zeros(1)}, config=config)
    with Largest() as memory, pytest.raises(WeightsError, match='Missing'):
        load_model(path)
    assert 0 < memory.largest < 1e5


@pytest.mark.parametrize('name', ['head.bias', 'calibration', 'kernels',
                                  'encoders.0.0.weight'])
def test_weights_that_overflow(path, model, name, sky):
    # Finite, and of no use: what comes out is no number.
    tensors = model._contents()[0]
    tensors[name] = torch.full_like(tensors[name], 6e4).float() * 1e30
    loaded = load_model(forged(path, tensors))
    with np.errstate(all='ignore'):
        try:
            result = denoise(sky(), loaded)
        except WeightsError as error:
            assert 'not finite' in str(error)  # noqa: PT017
        else:
            assert np.isfinite(result).all()


def test_weights_that_cannot_be_stored(model, tmp_path):
    # Above the largest 16-bit float.
    with torch.no_grad():
        model.network.head.bias += 1e5
    with pytest.raises(ValueError, match=r"'head\.bias' are not finite"):
        model.save(tmp_path / 'toy.safetensors')
    assert not list(tmp_path.iterdir())


def test_any_failure_is_an_error_of_the_weights(path, monkeypatch):
    def fail(*args):
        raise LookupError(args)

    monkeypatch.setattr(registry, 'build_network', fail)
    with pytest.raises(WeightsError, match=r'toy.*CCDDenoiser'):
        load_model(path)


def test_other_task(model, path):
    for given in (model, path):
        with pytest.raises(ValueError, match=r"'toy'.*'denoise'.*'segment'"):
            load_model(given, task='segment')


@pytest.mark.parametrize('name', ['nope', '', 'CCD', 'ccd.pt', '../ccd'])
def test_unknown_name(name):
    with pytest.raises(ValueError, match='ccd, ccd-mmse') as error:
        load_model(name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize('model', [None, 3, b'ccd', ['ccd'],
                                   torch.nn.Identity()])
def test_bad_type(model):
    with pytest.raises(TypeError, match='model must be') as error:
        load_model(model)
    assert type(model).__name__ in str(error.value)


def test_one_name_for_two_tasks(path, model, monkeypatch):
    folder = path.parent / 'weights'
    folder.mkdir()
    for task, network in (('denoise', model.network),
                          ('segment', SourceSegmenter((2, 2)))):
        path_of_task = folder / f'toy.{task}.safetensors'
        Model(network, {'name': 'toy', 'task': task}).save(path_of_task)
    monkeypatch.setattr(registry, '_WEIGHTS', folder)
    monkeypatch.setattr(registry, '_loaded', {})
    (folder / 'hashes.json').write_text(json.dumps({
        path.stem: registry._build(path).hash
        for path in folder.glob('*.safetensors')}))
    assert list_models() == ['toy']
    assert list_models(task='segment') == ['toy']
    assert list_models(task='estimate') == []
    for task in ('denoise', 'segment'):
        assert load_model('toy', task=task).task == task
    with pytest.raises(ValueError, match=r'several tasks.*denoise, segment'):
        load_model('toy')
    with pytest.raises(ValueError, match="not 'estimate'"):
        load_model('toy', task='estimate')
    # One of them may have the name alone.
    (folder / 'toy.denoise.safetensors').rename(folder / 'toy.safetensors')
    hashes = folder / 'hashes.json'
    hashes.write_text(hashes.read_text().replace('toy.denoise', 'toy'))
    assert list_models(task='segment') == list_models(task='denoise') == [
        'toy']
    for task in ('denoise', 'segment'):
        assert load_model('toy', task=task).task == task
    assert load_model('toy').task == 'denoise'


def test_shipped_models():
    names = list_models()
    assert {'ccd', 'ccd-mmse'} <= set(names)
    assert names == sorted(names)
    hashes = json.loads((registry._WEIGHTS / 'hashes.json').read_text())
    files = registry._shipped()
    assert set(hashes) == {path.stem for path in files.values()}
    assert sum(path.stat().st_size for path in files.values()) < 25e6
    for (name, task), path in files.items():
        assert name in names
        model = load_model(name, task=task)
        assert (model.name, model.hash) == (name, hashes[path.stem])
        assert load_model(name, task=model.task) is model
        assert name in list_models(task=model.task)
        assert path.with_name(f'{path.stem}.md').exists()
        assert path.stat().st_size < 4e6
        assert all(torch.isfinite(parameter).all()
                   for parameter in model.network.state_dict().values())
    with pytest.raises(ValueError, match='segment'):
        load_model('ccd', task='segment')


@pytest.fixture
def shipped(path, model, monkeypatch):
    """
    A package that ships another model.
    """
    monkeypatch.setattr(registry, '_WEIGHTS', path.parent)
    monkeypatch.setattr(registry, '_loaded', {})
    hashes = path.parent / 'hashes.json'
    hashes.write_text(json.dumps({'toy': model.hash}))
    return hashes


@pytest.mark.parametrize('expected', ['0' * 64, None])
def test_shipped_model_that_was_replaced(model, shipped, expected):
    shipped.write_text(json.dumps({'toy': expected} if expected else {}))
    with pytest.raises(WeightsError, match=model.hash) as error:
        load_model('toy')
    assert str(expected) in str(error.value)
    assert not registry._loaded


@pytest.mark.usefixtures('shipped')
def test_shipped_model_that_is_damaged(path):
    path.with_name('bad.safetensors').write_bytes(b'nothing at all')
    assert list_models() == ['bad', 'toy']
    with pytest.warns(WeightsWarning, match=r'bad\.safetensors is not') as (
            record):
        assert list_models(task='denoise') == ['toy']
    assert record[0].filename == __file__
    (_, error), (name, model) = registry.read_models()
    assert isinstance(error, OSError)
    assert (name, model.name) == ('toy', 'toy')


@pytest.mark.usefixtures('shipped')
def test_loaded_once_by_many_threads(monkeypatch):
    calls = []

    def build(path):
        calls.append(path)
        return original(path)

    original = registry._build
    monkeypatch.setattr(registry, '_build', build)
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(load_model, ['toy'] * 32))
    assert len(calls) == 1
    assert all(model is models[0] for model in models)


def test_later_options_change_no_hash(tmp_path):
    # A file written before an option existed does not name it.
    network = CCDDenoiser((2, 2)).eval()
    del network.config['lone_pixels']
    model = Model(network, {'name': 'old', 'task': 'denoise'})
    model.save(tmp_path / 'old.safetensors')
    again = load_model(tmp_path / 'old.safetensors')
    assert again.hash == model.hash
    assert again.network.lone_pixels
    assert again.hash != Model(CCDDenoiser((2, 2)).eval(),
                               {'name': 'old', 'task': 'denoise'}).hash
