# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of running a network down a frame, some rows at a time.
"""

import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.inference.rows import RowStream

CONTEXT = torch.tensor([[0.1, 1.0]])


def planes_of(shape, *, masked=0.02, seed=1):
    """
    Noise and a few sources: the network's three planes.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 1, *shape, generator=generator)
    x[..., ::37, ::29] += 300.0
    log_sigma = 0.2 * torch.randn(1, 1, *shape, generator=generator)
    valid = (torch.rand(1, 1, *shape, generator=generator)
             >= masked).float()
    return torch.cat([x * valid, log_sigma * valid, valid], 1)


def streamed(network, planes, sizes, dtype=torch.float32):
    """
    The answers for a frame given in pieces of these numbers of rows.
    """
    stream = RowStream(network, planes.shape[2], CONTEXT, dtype)
    answers, n_answered = [], 0
    with torch.inference_mode():
        for piece in planes.split(sizes, 2):
            rows, *answer = stream.push(piece)
            assert rows.start == n_answered
            n_answered = rows.stop
            assert [part.shape[2] for part in answer] == [
                rows.stop - rows.start] * 2
            answers.append(answer)
    assert n_answered == planes.shape[2]
    return [torch.cat(parts, 2) for parts in zip(*answers, strict=True)]


def whole(network, planes, dtype=torch.float32):
    with torch.inference_mode():
        return network(*planes.split(1, 1), CONTEXT, dtype=dtype)


@pytest.mark.parametrize('kernel_fwhms', [(), (1.5, 3.0, 6.0)])
@pytest.mark.parametrize(('widths', 'options'), [
    ((6, 8), {}), ((6, 8, 10), {}), ((6, 7, 8, 9), {}),
    ((6, 8), {'shuffle': 4}), ((6, 8, 10), {'shuffle': 4, 'gated': True})])
@pytest.mark.parametrize('masked', [0.0, 0.02])
def test_rows_add_up_to_the_whole(small_network, widths, kernel_fwhms,
                                  masked, options):
    network = small_network(widths, kernel_fwhms=kernel_fwhms,
                            **options)
    planes = planes_of((208, 48), masked=masked)
    expected = whole(network, planes)
    for sizes in (16, 48, 160, 208, (16, 112, 32, 16, 32), (192, 16)):
        result = streamed(network, planes, sizes)
        for one, other in zip(result, expected, strict=True):
            assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_shipped_models(name, dtype):
    network = load_model(name).network
    planes = planes_of((432, 64))
    expected = whole(network, planes, dtype)
    for sizes in (32, 160):
        result = streamed(network, planes, sizes, dtype)
        for one, other in zip(result, expected, strict=True):
            assert_allclose(one, other, rtol=0, atol=1e-3)


def test_answers_lag_by_the_reach_at_most(small_network):
    network = small_network((6, 8, 10), kernel_fwhms=(1.5, 3.0))
    stream = RowStream(network, 400, CONTEXT, torch.float32)
    n_seen = 0
    with torch.inference_mode():
        for piece in planes_of((400, 32)).split(16, 2):
            n_seen += 16
            rows, *_ = stream.push(piece)
            assert rows.stop > n_seen - network.reach - network.stride
            assert rows.stop <= n_seen
