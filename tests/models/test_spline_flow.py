# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the spline flow.
"""

import pytest
import torch

from astro_denoise.models.spline_flow import inverted, spline_flow


@pytest.mark.parametrize(('n_features', 'transforms'), [(2, 1), (6, 4),
                                                        (7, 3)])
def test_inverse_is_that_of_the_transformation(n_features, transforms):
    torch.manual_seed(n_features)
    flow = spline_flow(n_features, 5, transforms)
    context, start = torch.randn(3, 5), 2.0 * torch.randn(40, 3, n_features)
    start[0, 0, 0] = 7.0  # beyond the splines
    with torch.no_grad():
        found = inverted(flow, context, start)
        transform = flow(context).transform
        torch.testing.assert_close(found, transform.inv(start), rtol=1e-4,
                                   atol=1e-5)
        torch.testing.assert_close(transform(found), start, rtol=1e-3,
                                   atol=1e-4)


def test_weights_that_change_count():
    torch.manual_seed(1)
    flow = spline_flow(3, 5, 2)
    context, start = torch.randn(2, 5), torch.randn(30, 2, 3)
    before = inverted(flow, context, start)
    assert torch.equal(before, inverted(flow, context, start))
    with torch.no_grad():
        for weight in flow.parameters():
            weight.mul_(1.5)
        torch.testing.assert_close(
            inverted(flow, context, start),
            flow(context).transform.inv(start), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, inverted(flow, context, start))


def test_an_image_does_not_depend_on_others():
    torch.manual_seed(1)
    flow = spline_flow(6, 5, 4)
    context, start = torch.randn(3, 5), torch.randn(64, 3, 6)
    together = inverted(flow, context, start)
    for index in range(3):
        part = slice(index, index + 1)
        alone = inverted(flow, context[part], start[:, part])
        # Whole vectors of the processor: to the last digit.
        assert torch.equal(together[:, part], alone)
    # A sample for each context.
    each = inverted(flow, context, start[:1])
    torch.testing.assert_close(each, together[:1], rtol=1e-5, atol=1e-5)
