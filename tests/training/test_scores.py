# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of scores from noisy frames alone.
"""

import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn import functional as F

from astro_denoise.training.scores import squared_errors


class Smoother(torch.nn.Module):
    """
    A mean over 3x3 pixels, of unknown error.
    """

    def forward(self, x, log_sigma, valid, context):
        return x - F.avg_pool2d(x, 3, 1, 1), torch.zeros_like(x)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0),
                          indexing='ij')
    truth = 30.0 * torch.exp(-((x - 30)**2 + (y - 33)**2) / 18.0)
    truth = truth.expand(12, 1, 64, 64)
    noisy, other = truth + torch.randn(2, 12, 1, 64, 64,
                                       generator=generator)
    flat = torch.ones_like(truth)
    return {'x': noisy, 'log_sigma': 0 * flat, 'valid': flat,
            'context': torch.zeros(12, 2), 'truth': truth, 'other': other}


def true_error(batch):
    return F.avg_pool2d(batch['x'], 3, 1, 1) - batch['truth']


@pytest.mark.parametrize('kind', ['sure', 'noise2noise'])
def test_score_is_the_squared_error(batch, kind):
    seen = {name: batch[name] for name in ('x', 'log_sigma', 'valid',
                                           'context')}
    if kind == 'noise2noise':
        seen |= {'target': batch['other'], 'weight': batch['valid'],
                 'target_variance': batch['valid']}
    squared = squared_errors(Smoother().eval(), seen)
    expected = true_error(batch)**2
    # The scatter of both over 49,000 pixels.
    assert_allclose(squared.mean(), expected.mean(), atol=0.02)
    bright = batch['truth'].flatten() > 5.0
    assert_allclose(squared[bright].mean(), expected.flatten()[bright].mean(),
                    rtol=0.3)


def test_bad_pixels_do_not_count(batch):
    batch = {name: plane.clone() for name, plane in batch.items()
             if name in ('x', 'log_sigma', 'valid', 'context')}
    batch['valid'][:, :, :30] = batch['x'][:, :, :30] = 0.0
    squared = squared_errors(Smoother().eval(), batch)
    assert len(squared) == batch['valid'].sum()


def test_same_seed_same_score(batch):
    seen = {name: batch[name] for name in ('x', 'log_sigma', 'valid',
                                           'context')}
    first, again, other = (
        squared_errors(Smoother().eval(), seen, seed=seed)
        for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
