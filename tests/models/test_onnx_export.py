# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of networks that others than torch run.
"""

import numpy as np
import pytest
import torch
from astropy.utils import minversion
from onnxruntime import InferenceSession

from astro_denoise import load_model
from astro_denoise.models import Model, export_onnx
from astro_denoise.models.onnx_export import exported_program, graph_of

pytestmark = pytest.mark.skipif(
    not minversion(torch, '2.7'), reason='the exporter of torch needs 2.7')


def planes(shape, *, seed=1, known=True):
    """A frame with holes, a cosmic ray and a source; known seeing or not."""
    generator = torch.Generator().manual_seed(seed)
    valid = (torch.rand((1, 1, *shape), generator=generator) > 0.02).float()
    x = torch.randn((1, 1, *shape), generator=generator)
    x[..., 9, 9] = 40.0
    x[..., 20:24, 20:24] += 20.0
    log_sigma = 0.1 * torch.randn((1, 1, *shape), generator=generator)
    context = torch.tensor([[0.2, 1.0] if known else [0.0, 0.0]])
    return x * valid, log_sigma * valid, valid, context


@pytest.fixture(scope='module')
def network():
    return load_model('ccd').network


def test_graph_without_branches(network):
    # One graph is right with and without holes, cosmic rays and seeing.
    program = exported_program(network).module()
    for shape, known in (((64, 96), True), ((128, 64), False)):
        given = planes(shape, known=known)
        whole = given[0], given[1], torch.ones_like(given[2]), given[3]
        blank = (torch.zeros_like(given[0]), *whole[1:])
        for case in (given, whole, blank):
            with torch.no_grad():
                expected, answer = network(*case), program(*case)
            for one, other in zip(answer, expected, strict=True):
                assert (one - other).abs().max() < 1e-5


def test_file(small_network, tmp_path):
    model = Model(small_network((6, 8), (1.5, 3.0)),
                  {'name': 'small', 'task': 'denoise'})
    path = export_onnx(model, tmp_path / 'small.onnx')
    session = InferenceSession(path)
    given = planes((48, 64))
    answer = session.run(None, {
        name: plane.numpy() for name, plane in zip(
            graph_of(model.network)[0], given, strict=True)})
    with torch.no_grad():
        expected = model.network(*given)
    for one, other in zip(answer, expected, strict=True):
        assert np.abs(one - other.numpy()).max() < 2e-4
    with pytest.raises(FileExistsError):
        export_onnx(model, path)


@pytest.mark.parametrize('name', [
    'ccd-sources', 'galactic-sky',
    pytest.param('galactic-center', marks=pytest.mark.slow)])
def test_finders_of_sources(name, tmp_path):
    network = load_model(name, task='segment').network
    image = 9.0 * torch.rand((1, 1, 48, 72),
                             generator=torch.Generator().manual_seed(1))
    valid = torch.ones_like(image)
    valid[..., 20:22, 30:50] = 0.0
    third = (torch.tensor([[0.1, 1.0]]) if name == 'ccd-sources'
             else torch.cat([image / 9.0 - 0.5, 0.2 * valid, valid], 1))
    given = image * valid, valid, third
    with torch.no_grad():
        expected = network(*given)
        answer = exported_program(network).module()(*given)
    inputs, outputs = graph_of(network)
    for one, other in zip(answer, outputs, strict=True):
        assert (one - expected[other]).abs().max() < 1e-5
    path = export_onnx(name, tmp_path / 'finder.onnx', task='segment')
    answer = InferenceSession(path).run(outputs, {
        key: plane.numpy() for key, plane in zip(inputs, given, strict=True)})
    for one, other in zip(answer, outputs, strict=True):
        assert np.abs(one - expected[other].numpy()).max() < 3e-5


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match=r'path must end in \.onnx'):
        export_onnx('ccd', tmp_path / 'ccd.pt')
    with pytest.raises(TypeError, match=r'SourceFinder.*got a MixedDenoiser'):
        export_onnx('gc-mixed', tmp_path / 'gc.onnx')
