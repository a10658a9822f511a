# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the compiled passes of the finder of sources in optical frames.
"""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise import load_model, segment_point_sources
from astro_denoise.inference.candidates import find_candidates
from astro_denoise.inference.source_planes import compiled_planes
from astro_denoise.models.denoiser import psf_context
from astro_denoise.models.layers import unshuffled
from astro_denoise.noise import compiling
from astro_denoise.training.source_batches import FAINTEST
from astro_denoise.training.source_scenes import draw_source_scene

pytest.importorskip('numba')

SHAPE = 136, 160  # more than two strips of rows


def crowded_frame(size, seed):
    """
    Electrons of a crowded field with noise, and the sources that can be seen.
    """
    scene = draw_source_scene([seed, 3], size=size, field='crowded', fwhm=2.5,
                              plain=True)
    rng = np.random.default_rng(seed)
    frame = rng.poisson(15.0 * scene.image.clip(0) + 200.0) + (
        5.0 * rng.standard_normal(scene.image.shape))
    return frame, np.count_nonzero(scene.sources[:, 2] > FAINTEST)


@pytest.mark.parametrize('fwhm', [None, 1.2, 3.3, 8.0])
@pytest.mark.parametrize('masked', [False, True])
def test_planes_are_those_of_the_network(masked, fwhm):
    generator = torch.Generator().manual_seed(1)
    image = 2.0 * torch.randn(1, 1, *SHAPE, generator=generator)
    for row, column, value in ((0, 0, 50.0), (63, 64, 1e9), (135, 159, -30.0),
                               (70, 30, 4000.0)):
        image[..., row, column] = value
    valid = torch.ones_like(image)
    if masked:
        valid = (torch.rand(image.shape, generator=generator) > 0.1).float()
        valid[..., 50:100, 40:80] = 0.0
    context = torch.tensor([psf_context(fwhm)])
    network = load_model('ccd-sources').network
    with torch.inference_mode():
        expected = unshuffled(network.planes(image, valid, context))
        got = compiled_planes(image, valid, context, torch.float32)
        halves = compiled_planes(image, valid, context, torch.bfloat16)
    assert got.stride() == halves.stride() == expected.stride()
    assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
    assert torch.equal(halves, got.bfloat16())


@pytest.mark.parametrize('fwhm', [1.2, 5.0])
@pytest.mark.parametrize('masked', [False, True])
def test_candidates_as_without(monkeypatch, masked, fwhm):
    rng = np.random.default_rng(2)
    frame, _ = crowded_frame(256, 4)
    valid = np.ones(frame.shape, bool)
    if masked:
        valid = rng.random(frame.shape) > 0.05
    signal = (frame - 200.0).astype(np.float32)
    noise = np.sqrt(225.0 + signal.clip(0)).astype(np.float32)
    # What pixels name reaches over the edges too.
    answers = rng.normal(0, 0.7, (5, *frame.shape)).astype(np.float32)
    answers[0] = (signal / noise > 2.0) * rng.random(frame.shape) * valid
    found = []
    for fewest in (1, np.inf):
        monkeypatch.setattr(compiling, 'FEWEST_COMPILED', fewest)
        found.append(find_candidates(answers, signal, noise, valid, fwhm))
    assert len(found[0]) == len(found[1]) > 500
    assert np.count_nonzero(found[0].expected > 1.15) > 20
    for name, values in vars(found[0]).items():
        assert_allclose(values, getattr(found[1], name), rtol=1e-4,
                        atol=1e-4, err_msg=name)


def test_a_frame_as_without(monkeypatch):
    frame, number = crowded_frame(1024, 5)
    options = {'gain': 1.0, 'read_noise': 5.0, 'device': 'cpu',
               'precision': 'float32'}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        compiled = segment_point_sources(frame, 'ccd-sources', **options)
        monkeypatch.setattr(compiling, 'FEWEST_COMPILED', np.inf)
        plain = segment_point_sources(frame, 'ccd-sources', **options)
    one, other = compiled.catalog, plain.catalog
    assert len(one) == len(other) > 0.2 * number
    assert_array_equal(compiled.segmentation.data, plain.segmentation.data)
    assert_allclose(one['probability'], other['probability'], atol=1e-3)
    for name in ('x_centroid', 'y_centroid'):
        assert_allclose(one[name], other[name], atol=1e-3)
