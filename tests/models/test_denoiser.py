# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the denoising network.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise import list_models, load_model
from astro_denoise.models.denoiser import CCDDenoiser, psf_context
from astro_denoise.models.error_calibration import calibration_knots

FWHMS = (1.5, 3.0, 6.0)


def context(*fwhms):
    """
    The context of frames with these point-spread functions.
    """
    return torch.tensor([[0.0, 0.0] if fwhm is None
                         else [np.log(fwhm / 3.5), 1.0] for fwhm in fwhms],
                        dtype=torch.float32)


def inputs(shape, *, n=1, masked=0.0, fwhm=3.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, *shape, generator=generator)
    x[..., shape[0] // 2, shape[1] // 2] += 1000.0
    log_sigma = 0.2 * torch.randn(n, 1, *shape, generator=generator)
    valid = (torch.rand(n, 1, *shape, generator=generator)
             >= masked).float()
    return x * valid, log_sigma * valid, valid, context(*[fwhm] * n)


@pytest.fixture(params=[
    {}, {'kernel_fwhms': FWHMS},
    {'kernel_fwhms': FWHMS, 'shuffle': 4, 'gated': True}],
    ids=['plain', 'kernels', 'gated'])
def network(request, small_network):
    return small_network(**request.param)


def test_fresh_gate_takes_all_for_noise():
    network = CCDDenoiser((6, 8), shuffle=4, gated=True).train()
    x, *others = inputs((16, 24))
    noise, _ = network(x, *others)
    assert_allclose(noise.detach(), x.clamp(-6.0, 6.0), atol=1e-6)


@pytest.mark.parametrize('options', [
    {'widths': (6, 8, 10)}, {'widths': (6, 8), 'shuffle': 4},
    {'widths': (6, 8, 10), 'shuffle': 4, 'gated': True}])
def test_nothing_beyond_the_reach_counts(small_network, options):
    network = small_network(kernel_fwhms=FWHMS, **options)
    side = -(-(2 * network.reach + 40) // network.stride) * network.stride
    planes = inputs((side, network.stride))
    changed = [plane.clone() for plane in planes]
    for plane in changed[:2]:
        plane[:, :, side // 2:] *= 1.5
    difference = (network(*changed)[0] - network(*planes)[0]).abs()
    first = side // 2 - network.reach
    assert difference[:, :, :first].max() < 1e-5
    assert difference[:, :, first:].max() > 1e-3


def test_fresh_network_finds_no_noise():
    network = CCDDenoiser((6, 8), FWHMS).eval()
    noise, log_variance = network(*inputs((16, 24)))
    # The kernels of a fresh network give back all that is removed.
    assert_allclose(noise.detach(), 0.0, atol=1e-5)
    assert not log_variance.any()


def test_unknown_width_takes_a_narrow_kernel(small_network):
    network = small_network(kernel_fwhms=FWHMS)
    unknown, narrow = network.kernel_of(context(None, 2.6))
    assert_allclose(unknown, narrow, atol=1e-7, rtol=1e-4)


def test_kernels_of_shipped_models():
    for name in list_models(task='denoise'):
        network = load_model(name).network
        if network.config.get('kernel_fwhms'):
            assert_allclose(network.kernels.sum((1, 2)), 1.0, rtol=1e-5)


@pytest.mark.parametrize('masked', [0.0, 0.1, 1.1])
def test_answers_are_finite(network, masked):
    x, log_sigma, valid, known = inputs((32, 48), masked=masked)
    for factor in (1.0, 1e15):
        answers = network(factor * x, log_sigma, valid, known)
        for plane in answers:
            assert plane.shape == x.shape
            assert torch.isfinite(plane).all()
        assert not answers[0][valid == 0].any()


def test_largest_noise(small_network):
    # Whatever the network says, a cosmic ray stays.
    network = small_network(scale=2.0)
    noise, log_variance = network(*inputs((64, 64)))
    assert 5.0 < noise.abs().max() <= 10.0
    assert -12.0 <= log_variance.min() <= log_variance.max() <= 8.0


def test_frames_of_a_batch_are_independent(network):
    planes = inputs((32, 32), n=3, masked=0.02)
    together = network(*planes)
    for index in range(3):
        alone = network(*(plane[index:index + 1] for plane in planes))
        for one, several in zip(alone, together, strict=True):
            assert_allclose(one[0], several[index], rtol=1e-4, atol=1e-4)


def test_context_changes_the_answer(network):
    x, log_sigma, valid, _ = inputs((32, 32))
    answers = [network(x, log_sigma, valid, context(fwhm))[0]
               for fwhm in (None, 1.5, 6.0)]
    assert (answers[0] - answers[1]).abs().max() > 0.01
    assert (answers[1] - answers[2]).abs().max() > 0.01


def test_bfloat16_agrees(network):
    planes = inputs((64, 64), masked=0.02)
    exact = network(*planes)
    fast = network(*planes, dtype=torch.bfloat16, outermost=torch.float32)
    for one, other in zip(exact, fast, strict=True):
        assert other.dtype == torch.float32
        # bfloat16 numbers have 8 bits, and the weights are not trained. What
        # is left to the kernels can make twice of a difference.
        largest = 0.05 if network.config['kernel_fwhms'] else 0.03
        assert_allclose(other, one, rtol=0,
                        atol=largest * one.std().item() + 0.1)
        assert (one - other).std() < 0.02 * one.std()


@pytest.mark.parametrize('scale', [1.0, 0.05])
def test_calibration_is_linear_between_knots(scale):
    network = CCDDenoiser((6, 8), calibration_scale=scale).eval()
    network.requires_grad_(requires_grad=False)
    network.head.bias[4:] = -3.0
    knots = calibration_knots(scale)
    network.calibration.copy_(torch.from_numpy(np.cos(knots)))
    flat = torch.ones(1, 1, 8, 8)
    for signal in (-50.0, -1.0, 0.0, 0.3, 2.0, 77.0, 1e6):
        _, log_variance = network(signal * flat, 0.0 * flat, flat,
                                  context(3.0))
        expected = np.interp(np.arcsinh(signal / scale), knots,
                             np.cos(knots))
        assert_allclose(log_variance, expected - 3.0, atol=1e-3)
    # The signal counts in units of the noise of the sky.
    _, log_variance = network(2.0 * flat, np.log(4.0) * flat, flat,
                              context(3.0))
    expected = np.interp(np.arcsinh(8.0 / scale), knots, np.cos(knots))
    assert_allclose(log_variance, expected - 3.0, atol=1e-3)


@pytest.mark.parametrize(('predicted', 'change', 'expected'), [
    (-3.0, 5.0, 0.0), (-3.0, 1.0, -2.0), (1.0, 2.0, 1.0), (1.0, -2.0, -1.0)])
def test_calibrated_errors_are_no_larger_than_the_noise(predicted, change,
                                                        expected):
    network = CCDDenoiser((6, 8)).eval().requires_grad_(requires_grad=False)
    network.head.bias[4:] = predicted
    network.calibration.fill_(change)
    assert_allclose(network(*inputs((8, 8)))[1], expected, atol=1e-5)


def test_calibration_is_left_out_of_training():
    network = CCDDenoiser((6, 8))
    network.calibration.fill_(-1.0)
    planes = inputs((8, 8))
    assert_array_equal(network.train()(*planes)[1].detach(), 0.0)
    assert_allclose(network.eval()(*planes)[1].detach(), -1.0)


def test_all_weights_are_trained():
    network = CCDDenoiser((6, 8, 10), FWHMS).train()
    with torch.no_grad():
        network.head.weight.normal_(0.0, 0.1)
    noise, log_variance = network(*inputs((32, 32)))
    (noise.square().sum() + log_variance.square().sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def lone_case(seed=3):
    """
    Noise, with a peak of it, cosmic rays, and a star.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(96, 96)).astype(np.float32)
    x[20, 20], x[60, 20], x[20, 70] = 4.8, 20.0, -30.0
    y, line = np.indices((9, 9)) - 4
    star = 8.0 * np.exp(-0.5 * (y**2 + line**2) / 1.3**2)
    x[56:65, 56:65] += star.astype(np.float32)
    planes = torch.from_numpy(x)[None, None]
    return planes, torch.zeros_like(planes), torch.ones_like(planes)


@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse'])
def test_lone_pixels(name):
    network = load_model(name).network
    x, log_sigma, valid = lone_case()
    context = torch.tensor([psf_context(3.1)])
    noise, _ = network(x, log_sigma, valid, context)
    result = (x - noise)[0, 0].numpy()
    # Cosmic rays stay, and have no ring.
    for y, column, height in ((60, 20, 20.0), (20, 70, -30.0)):
        assert result[y, column] == pytest.approx(height, abs=1.0)
        near = result[y - 1:y + 2, column - 1:column + 2].copy()
        near[1, 1] = 0.0
        assert abs(near).max() < 1.6
    # A star is no lone pixel.
    assert result[58:63, 58:63].sum() == pytest.approx(
        x[0, 0, 58:63, 58:63].sum().item(), rel=0.1)
    # A peak of the noise goes; that of ccd goes as its kernel says.
    if name == 'ccd-mmse':
        assert abs(result[20, 20]) < 0.2
    # Of what is masked, nothing is taken for a neighbor.
    holes = valid.clone()
    holes[..., 60, 21] = 0.0
    noise, _ = network(x * holes, log_sigma, holes, context)
    assert float((x - noise)[..., 60, 20]) == pytest.approx(20.0, abs=1.0)
    assert float(noise[..., 60, 21]) == 0.0
