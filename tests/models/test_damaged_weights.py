# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests with files of weights that chance has damaged, or that somebody has
forged so that their hash is right: they are refused, or do what a model does.
"""

import copy
import json
import math
import os
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from astro_denoise import (
    denoise,
    estimate_parameters,
    load_model,
    segment_point_sources,
)
from astro_denoise.exceptions import WeightsError
from astro_denoise.models import registry
from astro_denoise.models.blind_spot import BlindSpotDenoiser
from astro_denoise.models.denoiser import CCDDenoiser
from astro_denoise.models.galactic_center import SourceSegmenter
from astro_denoise.models.image_denoiser import MixedDenoiser
from astro_denoise.models.paper import (
    MultiOutputCNN,
    PaperAutoencoder,
    PaperUNet,
)
from astro_denoise.models.posterior import PosteriorNetwork
from astro_denoise.models.registry import Model
from astro_denoise.models.source_finder import SourceFinder

COUNTS = np.random.default_rng(1).poisson(3.0, (64, 64))
FRAME = np.random.default_rng(2).normal(100.0, 5.0, (70, 60))

NETWORKS = {
    'denoise': [
        lambda: CCDDenoiser((4, 6), (1.5, 3.0)),
        lambda: BlindSpotDenoiser((4, 6), n_components=2),
        lambda: MixedDenoiser((4, 6)), lambda: PaperAutoencoder(2, 8)],
    'segment': [
        lambda: SourceSegmenter((4, 6)), lambda: PaperUNet((2, 3)),
        lambda: SourceFinder((4, 6))],
    'estimate': [
        lambda: PosteriorNetwork(4, 1, 8, 1), lambda: MultiOutputCNN()]}
TASKS = [(task, number) for task, makers in NETWORKS.items()
         for number in range(len(makers))]

VALUES = [None, True, False, 0, -1, 1, 3, 10**9, 10**30, 0.0, -2.5, 1e308,
          math.nan, math.inf, '', 'a', '\x1b[2J', 'é' * 50, [], [1], [0, 0],
          [4, 6], [6, 4], [1e9, 1e9], [math.nan, 2.0], {}, {'a': 1}, [[1]],
          [[0.5, 0.0, 1.0]], [['a', 'b']], 2**63]


@pytest.fixture(scope='module')
def contents():
    """
    Weights and metadata of one small model of each architecture.
    """
    found = {}
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        for task, number in TASKS:
            network = NETWORKS[task][number]().eval()
            found[task, number] = Model(network, {
                'name': 'small', 'task': task, 'summary': 'good',
                'threshold': 0.4, 'version': '0'})._contents()
    return found


def used(model):
    """
    What a model makes of an image.
    """
    ccd = getattr(model.network, 'kind', '') == 'ccd'
    if model.task == 'denoise':
        image = (COUNTS if hasattr(model.network, 'denoise_images')
                 else FRAME)
        return denoise(image, model, precision='float32')
    if model.task == 'segment':
        return segment_point_sources(FRAME if ccd else COUNTS,
                                     model).probability
    table = estimate_parameters(COUNTS, model, n_samples=5, seed=1)
    if 'ood_flag' in table.colnames and table['ood_flag'][0]:
        return 0.0  # a posterior may be NaN, if it says so
    return np.array([float(table[name][0]) for name in table.colnames])


def outcome(path, may_be_used):
    """
    Load a file and use it, and say what came of it.
    """
    with warnings.catch_warnings(), np.errstate(all='ignore'):
        warnings.simplefilter('ignore')
        try:
            model = load_model(path)
        except (WeightsError, OSError) as error:
            named = str(path) in str(error)
            kind = 'refused' if named else f'unnamed: {error}'
        except Exception as error:  # noqa: BLE001
            kind = f'uncaught in loading {type(error).__name__}: {error}'
        else:
            if not may_be_used:
                return f'accepted: {model.hash}'
            try:
                result = used(model)
            except WeightsError:
                kind = 'refused'
            except ValueError as error:
                # What a network of point values says of itself.
                told = 'too large for the arithmetic of the model' in str(
                    error)
                kind = 'refused' if told else f'ValueError in use: {error}'
            except Exception as error:  # noqa: BLE001
                kind = (f'uncaught in use {type(error).__name__}: {error} '
                        f'{model.network.config}')
            else:
                kind = 'used' if np.isfinite(result).all() else (
                    f'not finite: {model.network.config}')
    assert os.listdir(path.parent) == [path.name]
    return kind


def test_small_models_can_be_used(contents, tmp_path):
    path = tmp_path / 'small.safetensors'
    for tensors, metadata in contents.values():
        save_file(tensors, path, {'astro_denoise': json.dumps(metadata)})
        assert outcome(path, may_be_used=True) == 'used', metadata


@pytest.mark.parametrize('number', [
    30, pytest.param(200, marks=pytest.mark.slow)])
def test_damaged(contents, tmp_path, number):
    path = tmp_path / 'small.safetensors'
    rng = np.random.default_rng(number)
    found = Counter()
    for turn in range(number):
        tensors, metadata = contents[TASKS[turn % len(TASKS)]]
        content = bytearray(save(
            tensors, {'astro_denoise': json.dumps(metadata)}))
        if turn % 3 == 0:
            del content[rng.integers(len(content)):]
        elif turn % 3 == 1:
            # Half of them where the header is.
            end = 8 + int.from_bytes(content[:8], 'little')
            last = end if turn % 2 else len(content)
            content[rng.integers(last)] ^= 1 << rng.integers(8)
        else:
            start, stop = sorted(rng.integers(len(content), size=2))
            content[start:stop] = rng.bytes(rng.integers(100))
        path.write_bytes(content)
        found[outcome(path, may_be_used=False)] += 1
    assert set(found) == {'refused'}, found


def forged(tensors, metadata, rng):
    """
    Change a file where it may do harm.
    """
    tensors, metadata = dict(tensors), copy.deepcopy(metadata)
    kind = rng.integers(8)
    value = VALUES[rng.integers(len(VALUES))]
    if kind < 3:
        config = metadata['config']
        key = str(rng.choice([*config, 'unknown']))
        if kind == 2:
            config.pop(key, None)
        elif kind == 1 and isinstance(config.get(key), list) and config[key]:
            config[key][rng.integers(len(config[key]))] = value
        else:
            config[key] = value
    elif kind == 3:
        metadata[str(rng.choice(sorted(metadata)))] = value
    else:
        name = str(rng.choice(sorted(tensors)))
        tensors[name] = changed(tensors[name], kind, rng).contiguous()
        if rng.integers(20) == 0:
            del tensors[name]
    return tensors, metadata


def changed(tensor, kind, rng):
    """
    A tensor with other numbers, or of another type or shape.
    """
    if kind == 4:  # numbers that a file can hold
        factor = float(rng.choice([0.0, -1.0, 1e3, -6e4, 1e30, -1e-30]))
        return (tensor.double() * factor + float(rng.choice(
            [0.0, 1.0, -1e3]))).to(torch.float32)
    if kind == 5:
        tensor = tensor.double().clone()
        tensor.view(-1)[rng.integers(tensor.numel())] = float(rng.choice(
            [np.nan, np.inf, -np.inf, 3e38]))
        return tensor.float()
    if kind == 6:
        types = [torch.int64, torch.bool, torch.complex64, torch.float64,
                 torch.uint8, torch.bfloat16, torch.float16, torch.float32]
        return tensor.to(types[rng.integers(len(types))])
    return [tensor[None], tensor.flatten(), tensor.flatten()[:1],
            tensor.flatten()[:0]][rng.integers(4)]


# Numbers of a type are changed to those of another.
@pytest.mark.filterwarnings('ignore:Casting complex')
@pytest.mark.parametrize('number', [
    40, pytest.param(300, marks=pytest.mark.slow)])
def test_forged(contents, tmp_path, number):
    path = tmp_path / 'small.safetensors'
    rng = np.random.default_rng(number)
    found = Counter()
    for turn in range(number):
        tensors, metadata = forged(*contents[TASKS[turn % len(TASKS)]], rng)
        metadata['sha256'] = registry._digest(tensors, metadata)
        save_file(tensors, path, {'astro_denoise': json.dumps(metadata)})
        found[outcome(path, may_be_used=True)] += 1
    assert set(found) == {'refused', 'used'}, found
