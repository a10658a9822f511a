# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the choice of device and precision.
"""

import pytest
import torch

from astro_denoise.inference import Runtime, devices
from astro_denoise.inference.devices import resolve_device, resolve_precision

CPU = torch.device('cpu')
CUDA = torch.device('cuda')


@pytest.mark.parametrize('device', [None, 'auto'])
@pytest.mark.parametrize(('available', 'expected'), [(False, CPU),
                                                     (True, CUDA)])
def test_automatic_device(monkeypatch, device, available, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: available)
    assert resolve_device(device) == expected


@pytest.mark.parametrize('device', ['cpu', CPU])
def test_given_device(device):
    assert resolve_device(device) == CPU


@pytest.mark.parametrize('device', ['gpu', '', 'cuda:99', 'mps:7', 'meta',
                                    3.5, ['cpu'], -1])
def test_bad_device(device):
    with pytest.raises(ValueError, match=r'^device ') as error:
        resolve_device(device)
    assert repr(device) in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('amx', 'avx', 'expected'), [
    (False, False, torch.float32), (True, False, torch.bfloat16),
    (False, True, torch.bfloat16)])
def test_automatic_precision_of_processor(monkeypatch, amx, avx, expected):
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: amx,
                        raising=False)
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: avx,
                        raising=False)
    assert resolve_precision('auto', CPU) == expected


def test_automatic_precision_of_unknown_processor(monkeypatch):
    # Other versions of torch may not tell what the processor has.
    for name in ('_is_amx_tile_supported', '_is_avx512_bf16_supported'):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert resolve_precision('auto', CPU) == torch.float32


@pytest.mark.parametrize(('capability', 'expected'), [
    ((7, 5), torch.float32), ((8, 0), torch.bfloat16),
    ((12, 1), torch.bfloat16)])
def test_automatic_precision_of_gpu(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, 'get_device_capability',
                        lambda device: capability)
    assert resolve_precision('auto', CUDA) == expected


def test_automatic_precision_of_other_device(monkeypatch):
    monkeypatch.setattr(devices, '_processor_has_bfloat16', lambda: True)
    assert resolve_precision('auto', torch.device('mps')) == torch.float32


def test_precision_of_the_outermost_level(small_network):
    kinds = {name: Runtime.resolve('cpu', name)
             for name in ('float32', 'bfloat16', 'bfloat16-mixed')}
    for restores in ((), (2.0, 4.0)):
        network = small_network((6, 8), kernel_fwhms=restores).eval()
        dtypes = {name: network.dtypes(**runtime.precision)
                  for name, runtime in kinds.items()}
        assert dtypes['float32'] == [torch.float32] * 2
        assert dtypes['bfloat16'] == [torch.bfloat16] * 2
        assert dtypes['bfloat16-mixed'] == [torch.float32, torch.bfloat16]
        # what is chosen where nobody says it
        assert network.dtypes(torch.bfloat16) == (
            dtypes['bfloat16' if restores else 'bfloat16-mixed'])


@pytest.mark.parametrize('name', ['float32', 'bfloat16'])
def test_given_precision(name):
    assert resolve_precision(name, CPU) == getattr(torch, name)


@pytest.mark.parametrize('precision', ['half', 'float16', None, 16,
                                       torch.bfloat16, ['auto']])
def test_bad_precision(precision):
    with pytest.raises(ValueError, match='precision must be') as error:
        resolve_precision(precision, CPU)
    assert repr(precision) in str(error.value)
