# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of networks that learn the answers of larger ones.
"""

import pytest
import torch

from astro_denoise.models.denoiser import CCDDenoiser
from astro_denoise.training.distillation import distillation_loss
from astro_denoise.training.exposures import ExposureSampler
from astro_denoise.training.scenes import draw_scenes

FWHMS = (1.5, 3.0, 6.0)


@pytest.fixture(scope='module')
def batch():
    sampler = ExposureSampler(draw_scenes(1, seed=3, size=64), patch=32,
                              n_clean=2, n_copies=2)
    return {name: torch.from_numpy(plane)
            for name, plane in sampler.batch([1, 2]).items()}


@pytest.mark.parametrize('bias_weight', [0.0, 60.0])
def test_answers_of_the_teacher_are_learnt(small_network, batch,
                                           bias_weight):
    teacher = small_network(kernel_fwhms=FWHMS)
    loss_function = distillation_loss(teacher, 2, bias_weight)
    assert not teacher.training
    network = CCDDenoiser((6, 8, 10), FWHMS)
    network.load_state_dict(teacher.state_dict())
    _, numbers = loss_function(network, batch, 0, torch.float32)
    assert numbers['rms'] == 0.0
    network.head.bias.data[:4] += 0.1
    loss, numbers = loss_function(network, batch, 0, torch.float32)
    assert numbers['rms'] > 0.0
    assert ('bias' in numbers) == bool(bias_weight)
    loss.backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert all(weight.grad is None for weight in teacher.parameters())
