# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the networks of the student project.
"""

import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.models.paper import (
    MultiOutputCNN,
    PaperAutoencoder,
    PaperUNet,
    SingleOutputCNN,
    divide_by_maximum,
)
from astro_denoise.models.registry import Model


def count(network):
    return sum(weights.numel() for weights in network.parameters())


def images(n=2, size=64, seed=1):
    return torch.poisson(torch.rand(
        (n, size, size), generator=torch.Generator().manual_seed(seed)) * 9,
        generator=torch.Generator().manual_seed(seed))


def shapes(network, image):
    """
    Type and output shape of each layer, in the order of the calls.
    """
    found = []
    hooks = [layer.register_forward_hook(
        lambda layer, _, output: found.append(
            (type(layer).__name__, tuple(output.shape[1:]))))
        for layer in network.modules() if not list(layer.children())]
    network(image)
    for hook in hooks:
        hook.remove()
    return found


def test_weights_of_single_output():
    network = SingleOutputCNN()
    assert count(network) == 1_447_393
    sizes = [layer.weight.numel() + layer.bias.numel()
             for layer in network.modules() if hasattr(layer, 'weight')]
    assert sizes == [320, 18496, 73856, 147584, 73792, 18464, 1049088,
                     65664, 129]


def test_weights_of_two_outputs():
    network = MultiOutputCNN()
    assert count(network) == 400_658
    sizes = [layer.weight.numel() + layer.bias.numel()
             for layer in network.modules() if hasattr(layer, 'weight')]
    assert sizes == [160, 4640, 18496, 73856, 147584, 36896, 25632, 25632,
                     65664, 2064, 17, 17]


def test_shapes_of_single_output():
    found = shapes(SingleOutputCNN(), torch.rand(1, 1, 64, 64))
    assert [shape for kind, shape in found if kind == 'Conv2d'] == [
        (32, 64, 64), (64, 64, 64), (128, 32, 32), (128, 32, 32),
        (64, 16, 16), (32, 8, 8)]


def test_shapes_of_two_outputs():
    found = shapes(MultiOutputCNN(), torch.rand(1, 1, 64, 64))
    assert [shape for kind, shape in found if kind == 'Conv2d'] == [
        (16, 64, 64), (32, 64, 64), (64, 32, 32), (128, 32, 32),
        (128, 16, 16), (32, 16, 16), (32, 8, 8), (32, 8, 8)]


def test_layers_of_unet():
    found = shapes(PaperUNet().eval(), torch.rand(1, 1, 64, 64))
    outputs = [shape for kind, shape in found
               if kind in ('Conv2d', 'ConvTranspose2d')]
    encoder = [(width, size, size) for width, size in
               ((8, 64), (16, 32), (32, 16), (64, 8)) for _ in range(2)]
    assert outputs == [*encoder, (128, 4, 4), (128, 4, 4), (64, 8, 8),
                       (32, 16, 16), (16, 32, 32), (8, 64, 64), (1, 64, 64)]
    normalized = [shape for kind, shape in found if kind == 'BatchNorm2d']
    assert normalized[-4:] == [(128, 8, 8), (64, 16, 16), (32, 32, 32),
                               (16, 64, 64)]
    assert sum(kind == 'Dropout' for kind, _ in found) == 5


def test_layers_of_autoencoder():
    found = shapes(PaperAutoencoder().eval(), torch.rand(1, 1, 64, 64))
    encoder = [shape for kind, shape in found if kind == 'Conv2d']
    assert encoder == [(8, 32, 32), (16, 16, 16), (16, 8, 8), (32, 4, 4),
                       (64, 4, 4), (64, 4, 4)]
    linear = [shape for kind, shape in found if kind == 'Linear']
    assert linear == [(128,), (6,), (128,), (1024,)]
    decoder = [shape for kind, shape in found if kind == 'ConvTranspose2d']
    assert decoder == [(64, 4, 4), (32, 4, 4), (16, 8, 8), (16, 16, 16),
                       (8, 32, 32), (1, 64, 64)]
    assert found[-1][0] == 'ConvTranspose2d'  # no sigmoid


@pytest.mark.parametrize(('network', 'task'), [
    (SingleOutputCNN(), 'estimate'),
    (MultiOutputCNN(('a_dm', 'n_ps_disk', 'n_ps_gc'), (
        (0, 1), (1000, 4000), (200, 800))), 'estimate'),
    (PaperUNet((4, 8, 16), 0.2), 'segment'),
    (PaperAutoencoder(4, 32), 'denoise')],
    ids=lambda value: type(value).__name__)
def test_saved_and_loaded(network, task, tmp_path):
    model = Model(network, {'name': 'test', 'task': task})
    model.save(tmp_path / 'test.safetensors')
    loaded = load_model(tmp_path / 'test.safetensors').network
    assert loaded.config == network.config
    image = torch.rand(2, 1, 64, 64)
    assert_allclose(loaded(image), network(image), atol=2e-3)


def test_point_values_in_units():
    network = MultiOutputCNN().eval()
    assert network.outputs == ('a_dm', 'n_ps_total')
    counts = images()
    with torch.no_grad():
        scaled = network(counts[:, None])
    values = network.point_values(counts)
    assert values.shape == (2, 2)
    assert_allclose(values[:, 0], scaled[:, 0], rtol=1e-6)
    assert_allclose(values[:, 1], 1200 + 3600 * scaled[:, 1], rtol=1e-6)
    assert_allclose(network.scale(values), scaled, atol=1e-6)


def test_point_values_in_batches():
    network = MultiOutputCNN().eval()
    counts = images(70)
    together = network.point_values(counts)
    assert together.shape == (70, 2)
    assert_allclose(network.point_values(counts[66:67]), together[66:67],
                    rtol=1e-4)


def test_outputs_need_ranges():
    with pytest.raises(ValueError, match='outputs and ranges'):
        MultiOutputCNN(('a_dm',), ((0, 1), (0, 1)))


@pytest.mark.parametrize('size', [32, 64])
def test_probabilities(size):
    network = PaperUNet().eval()
    counts = images(3, size)
    found = network.probabilities(counts)
    assert found.shape == counts.shape
    assert 0 <= found.min() <= found.max() <= 1
    # Each image is divided by its own maximum.
    scale = torch.tensor([1.0, 7.0, 0.2])[:, None, None]
    assert_allclose(network.probabilities(counts * scale), found, atol=1e-5)


def test_probabilities_of_other_sizes():
    with pytest.raises(ValueError, match=r'multiples of 16.*\(1, 40, 64\)'):
        PaperUNet().probabilities(torch.zeros(1, 40, 64))


def test_probabilities_of_nothing():
    assert torch.isfinite(PaperUNet().eval().probabilities(
        torch.zeros(1, 32, 32))).all()


def test_denoised_images_scale():
    network = PaperAutoencoder().eval()
    network.error_values.copy_(torch.linspace(0.1, 0.3, 24))
    values = images(2)
    valid = torch.ones_like(values)
    denoised, error = network.denoise_images(values, valid)
    assert denoised.shape == error.shape == values.shape
    again, error_again = network.denoise_images(50 * values, valid)
    assert_allclose(again, 50 * denoised, rtol=1e-4, atol=1e-3)
    assert_allclose(error_again, 50 * error, rtol=1e-4, atol=1e-3)


def test_invalid_pixels_do_not_matter():
    network = PaperAutoencoder().eval()
    values, valid = images(2), torch.ones(2, 64, 64)
    valid[:, 10:20, 10:20] = 0
    found = network.denoise_images(values, valid)
    values[:, 10:20, 10:20] = 1e6
    values[0, 10, 10] = torch.nan
    for one, other in zip(network.denoise_images(values, valid), found,
                          strict=True):
        assert torch.equal(one, other)


def test_error_is_that_of_the_output():
    network = PaperAutoencoder().eval()
    torch.manual_seed(3)
    noisy = torch.rand(16, 64, 64)
    with torch.no_grad():
        output = network(noisy[:, None])[:, 0]
    # The error grows with the output.
    size = 0.01 + (output - output.min())
    clean = output + size * torch.randn(output.shape)
    network.calibrate(noisy, clean)
    _, maximum = divide_by_maximum(noisy)
    denoised, error = network.denoise_images(
        noisy, torch.ones_like(noisy))
    expected = (0.01 + denoised / maximum - output.min()) * maximum
    middle = ((denoised / maximum > output.quantile(0.1))
              & (denoised / maximum < output.quantile(0.9)))
    assert_allclose(error[middle], expected[middle], rtol=0.15)
