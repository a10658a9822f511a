# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the network for sources of real gamma-ray skies.
"""

import pytest
import torch

from astro_denoise.models import Model, load_model
from astro_denoise.models.onnx_export import exported_program
from astro_denoise.models.sky_segmenter import SkySegmenter


@pytest.fixture
def network():
    torch.manual_seed(2)
    network = SkySegmenter(widths=(8, 16)).eval()
    torch.nn.init.normal_(network.head.weight, std=0.05)
    return network.requires_grad_(requires_grad=False)


@pytest.fixture
def planes():
    rng = torch.Generator().manual_seed(1)
    image = torch.poisson(torch.full((1, 1, 64, 64), 10.0), generator=rng)
    return image, torch.ones_like(image), torch.zeros(1, 3, 64, 64)


def test_answer(network, planes):
    answer = network(*planes)
    assert sorted(answer) == ['dx', 'dy', 'flux', 'log_variance', 'logit',
                              'near_log_variance']
    for plane in answer.values():
        assert plane.shape == planes[0].shape
        assert torch.isfinite(plane).all()
    assert network.kind == 'counts'


def test_errors_are_in_the_unit_of_the_image(network, planes):
    """They grow as the noise of the counts does."""
    faint, bright = (network(factor * planes[0], *planes[1:])
                     for factor in (1.0, 100.0))
    ratio = torch.exp(0.5 * (bright['near_log_variance']
                             - faint['near_log_variance'])).median()
    assert float(ratio) == pytest.approx(10, rel=0.3)


def test_file(network, tmp_path):
    path = tmp_path / 'a.safetensors'
    Model(network, {'name': 'a', 'task': 'segment'}).save(path)
    assert isinstance(load_model(path).network, SkySegmenter)


def test_calibration(network, planes):
    plain = network(*planes)
    network.flux_factors.copy_(torch.linspace(2.0, 0.5, 7))
    network.error_factors.fill_(3.0)
    answer = network(*planes)
    snr = network.near_snr(plain)
    place = torch.log2(snr.clamp(1.0, 64.0))
    factor = 2.0 - 0.25 * place
    torch.testing.assert_close(answer['flux'], factor * plain['flux'])
    for name in ('log_variance', 'near_log_variance'):
        torch.testing.assert_close(
            answer[name], plain[name] + 2.0 * torch.log(3.0 * factor))
    assert answer['near_log_variance'].max() > 0


def test_export(network, planes):
    network.flux_factors.copy_(torch.linspace(2.0, 0.5, 7))
    program = exported_program(network).module()
    for found, expected in zip(program(*planes),
                               network(*planes).values(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
