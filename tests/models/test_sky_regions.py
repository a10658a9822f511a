# Licensed under a 3-clause BSD style license - see LICENSE.rst
import torch

from astro_denoise.models.sky_regions import N_SOURCE_PLANES, source_planes


def test_gradient_where_a_flux_is_zero():
    torch.manual_seed(1)
    answer = {name: torch.randn(2, 1, 64, 64)
              for name in ('flux', 'logit', 'log_variance')}
    answer['flux'][0, 0, 3, 4] = 0.0
    answer['flux'].requires_grad_()
    planes = source_planes(torch.randn(2, 5, 32, 32), answer,
                           torch.ones(2, 1, 64, 64))
    assert planes.shape == (2, 2 * 5 + N_SOURCE_PLANES, 32, 32)
    planes.sum().backward()
    assert torch.isfinite(answer['flux'].grad).all()
    # The root of the flux is one of the planes.
    flux = answer['flux'].detach().clamp_min(0.0)
    root = torch.nn.functional.avg_pool2d(flux.sqrt(), 2)
    assert torch.equal(planes[:, 10 + 6], root[:, 0])
