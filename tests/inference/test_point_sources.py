# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of running a network for point sources.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.frames.windows import plan_tiles
from astro_denoise.inference.devices import Runtime
from astro_denoise.inference.point_sources import ANSWERS, find_in_planes
from astro_denoise.models.galactic_center import SourceSegmenter

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def network():
    """
    The architecture of the default model with random weights.
    """
    network = SourceSegmenter((6, 8)).eval()
    network.requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.normal_(0.0, 0.2, generator=generator)
    return network


@pytest.fixture(scope='module')
def frame():
    """
    Counts, their valid pixels, and their position.
    """
    rng = np.random.default_rng(1)
    counts = rng.poisson(20, (1, 150, 171)).astype(np.float32)
    valid = rng.random(counts.shape) > 0.01
    position = rng.random((3, *counts.shape[1:])).astype(np.float32)
    return counts * valid, valid, position


def find(network, frame, **options):
    return find_in_planes(network, *frame, runtime=Runtime(CPU),
                          **options)


def test_no_seams(network, frame):
    whole = find(network, frame)
    assert whole.shape == (len(ANSWERS), 1, 150, 171)
    assert whole.dtype == np.float32
    # Windows much smaller than the frame.
    assert len(plan_tiles((150, 171), 90, halo=network.reach,
                          stride=network.stride).tiles) == 30
    tiled = find(network, frame, window_pixels=2**13)
    assert_allclose(tiled[0], whole[0], atol=1e-5)
    assert_allclose(tiled, whole, rtol=1e-3, atol=1e-4)
    assert whole[0].std() > 0.05  # there is something to be seen


def test_answers(network, frame):
    padded = [np.pad(array.astype(np.float32), ((0, 0), (0, 2), (0, 1)))
              for array in frame]
    answer = network(*(torch.from_numpy(array)[:, None]
                       for array in padded[:2]),
                     torch.from_numpy(padded[2])[None])
    found = find(network, frame)
    for name, plane in zip(ANSWERS, found, strict=True):
        if name == 'probability':
            expected = torch.sigmoid(answer['logit'])
        elif name == 'variance':
            expected = torch.exp(answer['log_variance'])
        else:
            expected = answer[name]
        expected = expected[0, 0, :150, :171]
        # A small answer is the difference of sums as large as the others.
        assert_allclose(plane[0], expected, rtol=1e-4,
                        atol=1e-5 + 1e-6 * float(expected.abs().max()))


def test_stack(network, frame):
    counts, valid, position = frame
    stack = np.concatenate([counts, 2 * counts, counts])
    shares = []
    found = find(network, (stack, np.repeat(valid, 3, 0), position),
                 window_pixels=2 * 152 * 176, progress=shares.append)
    assert_allclose(found[:, [0]], find(network, frame), rtol=1e-3,
                    atol=1e-4)
    assert_allclose(found[:, 0], found[:, 2], rtol=1e-3, atol=1e-4)
    assert not np.allclose(found[:, 1], found[:, 0])
    assert len(shares) == 2
    assert sum(shares) == pytest.approx(1)


def test_out_of_memory(network, frame, caplog):
    class Hungry(torch.nn.Module):
        stride, reach = network.stride, network.reach

        def forward(self, values, *planes, dtype):
            if values.numel() > 20_000:
                raise torch.OutOfMemoryError
            return network(values, *planes, dtype=dtype)

    shares = []
    with caplog.at_level('WARNING'):
        found = find(Hungry(), frame, window_pixels=2**16,
                     progress=shares.append)
    assert 'windows of 16384 pixels' in caplog.text
    assert_allclose(found, find(network, frame), rtol=1e-3, atol=1e-4)
    assert sum(shares) == pytest.approx(1)


def test_other_errors_are_raised(network, frame):
    class Broken(torch.nn.Module):
        stride, reach = 2, 2

        def forward(self, *planes, dtype):
            raise RuntimeError('broken')  # noqa: EM101

    with pytest.raises(RuntimeError, match='broken'):
        find(Broken(), frame)
