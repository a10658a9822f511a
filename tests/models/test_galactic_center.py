# Licensed under a 3-clause BSD style license - see LICENSE.rst
import pytest
import torch

from astro_denoise.models.galactic_center import SourceSegmenter, local_mean


@pytest.fixture
def network():
    torch.manual_seed(2)
    network = SourceSegmenter(widths=(8, 16)).eval()
    torch.nn.init.normal_(network.head.weight, std=0.05)
    for block in [*network.trunk.encoders, *network.trunk.decoders]:
        torch.nn.init.normal_(block.second.weight, std=0.05)
    return network.requires_grad_(requires_grad=False)


def _planes(size=64):
    rng = torch.Generator().manual_seed(1)
    image = torch.poisson(torch.full((1, 1, size, size), 10.0),
                          generator=rng)
    return image, torch.ones_like(image), torch.zeros(1, 3, size, size)


def test_answer(network):
    image, valid, position = _planes()
    answer = network(image, valid, position)
    assert sorted(answer) == ['dx', 'dy', 'flux', 'log_variance', 'logit']
    for plane in answer.values():
        assert plane.shape == image.shape
        assert torch.isfinite(plane).all()
    assert answer['dx'].abs().max() <= 1.0


def test_reach(network):
    # Beyond its reach nothing changes, a little nearer something does.
    size = 2 * network.stride * (network.reach // network.stride + 2)
    image, valid, position = _planes(size)
    changed = image.clone()
    middle = size // 2
    changed[..., middle, middle] += 500.0
    difference = sum((network(changed, valid, position)[name]
                      - network(image, valid, position)[name]).abs()
                     for name in ('logit', 'flux'))[0, 0]
    row, column = torch.nonzero(difference > 0).T
    distance = torch.maximum((row - middle).abs(), (column - middle).abs())
    assert network.reach // 2 < int(distance.max()) <= network.reach


def test_masked_pixels_do_not_matter(network):
    image, valid, position = _planes()
    valid[..., 20:25, 30] = 0.0
    one = network(image * valid, valid, position)['logit']
    whole = network(image * valid, torch.ones_like(valid), position)['logit']
    assert not torch.equal(one, whole)


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"kind must be .* 'radio'"):
        SourceSegmenter(kind='radio')


def test_local_mean_knows_the_mask():
    image = torch.ones(1, 1, 9, 9)
    valid = torch.ones_like(image)
    valid[..., 4, 4] = 0.0
    image[..., 4, 4] = 1e6
    assert torch.allclose(local_mean(image, valid, 3), torch.ones(1))
