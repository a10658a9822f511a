# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the compiled passes of a denoiser.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import denoise, load_model
from astro_denoise.inference.elementwise import CompiledPasses, elementwise_of
from astro_denoise.models.denoiser import psf_context
from astro_denoise.models.layers import asinh
from astro_denoise.noise import compiling
from astro_denoise.simulation.survey import SurveySimulator

pytest.importorskip('numba')

SHAPE = 96, 160


def planes_of(*, masked, seed):
    """
    Noise with stars, cosmic rays, huge values and holes, at the edges too.
    """
    generator = torch.Generator().manual_seed(seed)
    x = 1.2 * torch.randn(1, 1, *SHAPE, generator=generator)
    x[..., 30:33, 40:43] += torch.tensor([[3.0, 8, 3], [8, 40, 8], [3, 8, 3]])
    for row, column, value in ((0, 0, 9.0), (20, 159, 40.0), (95, 80, 6.2),
                               (50, 60, 30.0), (50, 61, 5.0), (70, 9, 1e9),
                               (71, 100, -30.0)):
        x[..., row, column] = value
    valid = torch.ones_like(x)
    if masked:
        valid = (torch.rand(x.shape, generator=generator) > 0.1).float()
        valid[..., 60:90, 100:130] = 0
    log_sigma = 0.1 * torch.randn(x.shape, generator=generator)
    return x * valid, log_sigma * valid, valid


@pytest.mark.parametrize('seed', [1, 2])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse'])
def test_passes_are_those_of_the_network(name, masked, seed):
    network = load_model(name).network
    passes = CompiledPasses(network)
    x, log_sigma, valid = planes_of(masked=masked, seed=seed)
    context = torch.tensor([psf_context(3.3)])
    generator = torch.Generator().manual_seed(seed)
    answer = 2 * torch.randn(1, 8, SHAPE[0] // 2, SHAPE[1] // 2,
                             generator=generator)
    answer = answer.contiguous(memory_format=torch.channels_last)
    noise = (0.9 * x).clamp(-6, 6)
    log_variance = torch.randn(x.shape, generator=generator) - 3
    with torch.inference_mode():
        for method, arguments in (
                ('features', (x, log_sigma, valid)),
                ('estimated', (answer, x, valid)),
                ('finished', (noise, log_variance, x, log_sigma, valid,
                              context))):
            expected = getattr(network, method)(*arguments)
            got = getattr(passes, method)(*arguments)
            if method == 'features':
                assert got.stride() == expected.stride()
                expected, got = [expected], [got]
            for one, other in zip(got, expected, strict=True):
                assert_allclose(one, other, rtol=3e-6, atol=1e-5)


@pytest.mark.parametrize('level', [0, 1, 2])
@pytest.mark.parametrize('start', [0, 3, 8])
def test_joined_as_the_network(level, start):
    network = load_model('ccd').network
    widths = network.config['widths'][level:]
    generator = torch.Generator().manual_seed(level)

    def drawn(width, n_rows, n_columns):
        return torch.randn(1, width, n_rows, n_columns, generator=generator
                           ).bfloat16().contiguous(
                               memory_format=torch.channels_last)

    features, skip = drawn(widths[1], 12, 20), drawn(widths[0], 24, 40)
    rows = slice(start, start + 15)
    skips = [(0, skip[:, :, 2:12]), (10, skip[:, :, 15:20])]
    with torch.inference_mode():
        expected = network.joined(level, features, rows, skips,
                                  torch.bfloat16)
        got = CompiledPasses(network).joined(level, features, rows, skips,
                                             torch.bfloat16)
    assert got.is_contiguous(memory_format=torch.channels_last)
    # The inner levels are enlarged more exactly than torch does.
    assert_allclose(got.float(), expected.float(), rtol=2**-7,
                    atol=2**-9 if level == 0 else 2**-5)


def test_features_in_bfloat16():
    network = load_model('ccd').network
    planes = planes_of(masked=True, seed=4)
    got = CompiledPasses(network, torch.bfloat16).features(*planes)
    expected = CompiledPasses(network).features(*planes).bfloat16()
    assert got.stride() == expected.stride()
    assert torch.equal(got, expected)


def test_asinh_as_torch():
    from astro_denoise.inference.compiled_passes import hyperbolic

    values = np.concatenate([-np.geomspace(1e-12, 1e10, 500, dtype='f4'),
                             np.geomspace(1e-12, 1e10, 500, dtype='f4'),
                             np.zeros(1, 'f4')])
    root, out = np.empty_like(values), np.empty_like(values)
    hyperbolic(values, root, root.view(np.int32), out)
    assert_allclose(out, asinh(torch.from_numpy(values)), rtol=1e-6,
                    atol=2e-7)


def test_what_is_no_number_stays_none():
    network = load_model('ccd').network
    x, log_sigma, valid = planes_of(masked=False, seed=3)
    noise = x.clone()
    noise[..., 10, 10] = torch.nan
    with torch.inference_mode():
        noise, _ = CompiledPasses(network).finished(
            noise, torch.zeros_like(x), x, log_sigma, valid,
            torch.tensor([psf_context(3.3)]))
    assert noise[..., 10, 10].isnan().all()


def test_only_large_planes_on_the_processor():
    network = load_model('ccd').network
    for shape, device, compiled in (((1024, 1024), 'cpu', True),
                                    ((1024, 1023), 'cpu', False),
                                    ((2048, 2048), 'meta', False)):
        chosen = elementwise_of(network, shape, torch.device(device))
        assert isinstance(chosen, CompiledPasses) == compiled
        assert compiled or chosen is network


def test_a_frame_as_without(monkeypatch, n_threads):
    simulator = SurveySimulator(shape=(1024, 1030), gain=0.65,
                                read_noise=9.0)
    (frame,), _ = simulator.exposures(1, seed=1)
    options = {'gain': 0.65, 'read_noise': 9.0, 'device': 'cpu',
               'precision': 'float32'}
    passes = denoise(frame, **options)
    monkeypatch.setattr(compiling, 'FEWEST_COMPILED', np.inf)
    plain = denoise(frame, **options)
    assert_allclose(passes.data, plain.data, atol=1e-4)
    assert_allclose(passes.uncertainty.array, plain.uncertainty.array,
                    rtol=1e-4)
