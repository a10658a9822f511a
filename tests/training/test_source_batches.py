# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the scenes and batches that a finder of sources learns from, and of
its calibration.
"""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.inference.devices import Runtime
from astro_denoise.models.source_finder import SourceFinder
from astro_denoise.simulation.crowded_fields import (
    EllipticalMoffat,
    render_field,
)
from astro_denoise.training.source_batches import (
    FAINTEST,
    SourceSampler,
    center_maps,
    expose,
)
from astro_denoise.training.source_calibration import (
    LabeledCandidates,
    calibrate_candidates,
    label_candidates,
    match,
)
from astro_denoise.training.source_scenes import (
    FIELDS,
    draw_source_scene,
    draw_source_scenes,
    filter_noise,
)


@pytest.fixture(scope='module')
def scenes():
    return [draw_source_scene([3, number], field=field, fwhm=2.5)
            for number, field in enumerate(['blank', 'crowded', 'halo'])]


def test_noise_of_the_filter():
    psf = EllipticalMoffat(3.0, 3.5, 0.8, 0.3)
    star = render_field((65, 65), {
        'x': np.array([32.2]), 'y': np.array([31.7]),
        'flux': np.array([1.0])}, psf, dtype=float)
    assert_allclose(filter_noise(psf), (star**2).sum()**-0.5, rtol=0.01)


@pytest.mark.parametrize('field', FIELDS)
def test_scene(field):
    scene = draw_source_scene(5, field=field)
    again = draw_source_scene(5, field=field)
    assert_array_equal(scene.image, again.image)
    assert scene.image.shape == (256, 256)
    assert scene.image.dtype == np.float32
    assert np.isfinite(scene.image).all()
    assert 1.0 <= scene.psf.fwhm <= 8.0
    assert set(np.unique(scene.sources[:, 3])) <= {0.0, 1.0}


def test_plain_scenes_have_neither_pairs_nor_structure():
    n_paired = 0
    for seed in range(8):
        plain, other = (draw_source_scene(
            [9, seed], field='blank', fwhm=3.0, density=300.0, plain=value,
            size=128) for value in (True, False))
        n = len(plain.sources)
        # Whatever is added changes nothing of the others.
        assert_array_equal(other.sources[:n], plain.sources)
        added = other.sources[n:]
        if len(added):
            n_paired += 1
            half = len(added) // 3
            distance = np.hypot(*(added[:half, :2]
                                  - added[-half:, :2]).T)
            assert (distance < 1.71 * 3.0).all()
    assert 1 <= n_paired < 8


def test_noise_that_neighbors_share():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        exposure = expose(np.zeros((128, 128), np.float32), rng)
        if exposure.correlation > 0.3:
            break
    noise = (exposure.electrons - exposure.sky)[exposure.valid
                                                & ~exposure.artefact]
    assert_allclose(noise.std() / exposure.level, 1.0, rtol=0.2)
    plane = exposure.electrons - np.median(exposure.electrons)
    plane = np.clip(plane, -4 * exposure.level, 4 * exposure.level)
    found = np.mean(plane[1:] * plane[:-1]) / np.mean(plane**2)
    assert_allclose(found, exposure.correlation, atol=0.15)
    assert exposure.broadened == 1.0 + 2.0 * np.float32(exposure.correlation)


def test_density_of_a_scene():
    scene = draw_source_scene(5, field='crowded', fwhm=2.0, density=30000.0)
    # They reach over the edges, and companions come on top.
    assert 1.0 < len(scene.sources) / (0.03 * 268**2) < 1.6


def test_same_scenes_whatever_the_number_of_workers():
    one, two = (draw_source_scenes(3, seed=2, n_workers=n, size=128)
                for n in (1, 2))
    for first, second in zip(one, two, strict=True):
        assert_array_equal(first.image, second.image)
        assert_array_equal(first.sources, second.sources)


def test_batches(scenes):
    sampler = SourceSampler(scenes, batch_size=16)
    batch, again = sampler.batch([1, 2]), sampler.batch([1, 2])
    for name, plane in batch.items():
        assert plane.dtype == np.float32
        assert_array_equal(plane, again[name])
    assert batch['image'].shape == batch['valid'].shape == (16, 1, 128, 128)
    assert batch['maps'].shape == (16, 5, 128, 128)
    assert not batch['image'][batch['valid'] == 0].any()
    center, snr, dx, dy, _ = np.moveaxis(batch['maps'], 1, 0)
    assert snr[center > 0].min() >= FAINTEST
    assert np.hypot(dx, dy).max() < 1.61
    # A pixel with a center has the light of its source.
    bright = (center > 0) & (snr > 50) & (batch['valid'][:, 0] > 0)
    assert bright.sum() > 20
    assert np.mean(batch['image'][:, 0][bright] > 5) > 0.95


def test_offsets_lead_to_the_center():
    maps = center_maps(np.array([[10.3, 20.4, 9.0, 1.0],
                                 [11.4, 20.4, 99.0, 0.0]]), (40, 50))
    y, x = np.nonzero(maps[0])
    assert list(zip(x, y, strict=True)) == [(10, 20), (11, 20)]
    # Each center is its own; beside them the brighter one is meant.
    assert_allclose(x + maps[2, y, x], [10.3, 11.4], rtol=1e-6)
    assert_allclose(12 + maps[2, 20, 12], 11.4, rtol=1e-6)
    near = maps[1] > 0
    assert near.sum() < 18
    assert_allclose(maps[3][near], (20.4 - np.indices(maps[0].shape)[0])[
        near], rtol=1e-5)


def test_each_source_is_matched_once():
    sources = np.array([[5.0, 5.0], [20.0, 5.0]])
    matched = match(np.array([5.4, 5.1, 20.0, 40.0]),
                    np.full(4, 5.0), np.array([0.9, 0.5, 0.2, 1.0]),
                    sources, 1.0)
    assert matched.tolist() == [0, -1, 1, -1]
    assert match(np.zeros(2), np.zeros(2), np.ones(2), sources[:0],
                 1.0).tolist() == [-1, -1]


def test_calibration_finds_the_truth():
    rng = np.random.default_rng(1)
    n = 60000
    expected = rng.uniform(0.02, 0.98, n)
    crowding, lit = rng.uniform(-7, 0, n), rng.uniform(0, 1, n)
    # Half as likely as it looks like, and a fourth among few.
    factor = np.where(crowding > -3.5, 0.5, 0.25)
    true = rng.random(n) < factor * expected
    features = rng.normal(size=(n, 13))
    star = rng.random(n) < 1.0 / (1.0 + np.exp(-3.0 * features[:, 2]))
    labeled = LabeledCandidates(*(
        torch.from_numpy(np.asarray(each, np.float32)) for each in (
            expected, crowding, lit, features, np.zeros(n), true, star)))
    network = SourceFinder((4, 6)).requires_grad_(requires_grad=False)
    calibrate_candidates(network, labeled, seed=1)
    scores = network.scores
    with torch.no_grad():
        probability = torch.sigmoid(scores.logit(
            labeled.expected, labeled.crowding, labeled.lit,
            labeled.features, labeled.artefact)).numpy()
        told = torch.sigmoid(scores.star_logit(labeled.features)).numpy()
    for few in (True, False):
        chosen = (crowding < -5) if few else (crowding > -2)
        wanted = (factor * expected)[chosen]
        assert np.mean(abs(probability[chosen] - wanted)) < 0.06
    assert np.corrcoef(told, features[:, 2])[0, 1] > 0.85
    assert (torch.diff(scores.calibration) > 0).all()


def test_candidates_of_simulated_frames():
    network = SourceFinder((4, 6)).eval()
    with torch.no_grad():
        # What stands out has a center in it.
        torch.manual_seed(1)
        network.head.weight.normal_(0.0, 0.3)
        network.head.bias[:4] = -3.0
    labeled = label_candidates(
        network, 4, seed=1, runtime=Runtime(torch.device('cpu')), size=128)
    n = len(labeled.expected)
    assert n > 0
    for name, values in vars(labeled).items():
        assert len(values) == n, name
        assert torch.isfinite(values).all(), name
    assert set(labeled.true.tolist()) <= {0.0, 1.0}
    assert (labeled.star <= labeled.true).all()
