# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the patches that networks learn from.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.models.denoiser import psf_context
from astro_denoise.training.batches import (
    BatchPlan,
    PatchSampler,
    blind_areas,
    blind_spots,
    emphasized,
    pair,
    recorrupted,
    standardized,
)
from astro_denoise.training.frame_store import TrainingFrame


def make_frame(shape=(96, 80), *, seed=0, group=0, flux_scale=1.0):
    rng = np.random.default_rng(seed)
    return TrainingFrame(
        f'image {seed}', rng.standard_normal(shape, np.float32),
        np.full(shape, 0.25, np.float32), group, flux_scale, {}, 3.0)


def make_maps(size=64, seed=1):
    frame = make_frame((size, size), seed=seed)
    return {'signal': frame.signal, 'log_sigma': frame.log_sigma,
            'context': np.float32(psf_context(3.0))}


@pytest.mark.parametrize(('fraction', 'radius'), [(0.002, 5), (0.03, 2)])
def test_blind_spots_take_values_of_neighbors(fraction, radius):
    maps = make_maps(160)
    rng = np.random.default_rng(3)
    batch = blind_spots(fraction, radius)(maps, rng)
    signal = maps['signal']
    assert_allclose(batch['target'][0, 0], signal)
    seen = batch['x'][0, 0] * np.exp(batch['log_sigma'][0, 0])
    chosen = batch['weight'][0, 0] > 0
    assert_allclose(chosen.mean(), fraction, rtol=0.2)
    assert_allclose(seen[~chosen], signal[~chosen], rtol=1e-5)
    for y, x in np.argwhere(chosen):
        if min(y, x) < radius or max(y, x) >= 160 - radius:
            continue
        near = signal[y - radius:y + radius + 1, x - radius:x + radius + 1]
        assert np.isclose(near, seen[y, x], rtol=1e-5).any()
        assert not np.isclose(signal[y, x], seen[y, x], rtol=1e-5)


def test_blind_spots_may_take_the_median():
    maps = make_maps()
    batch = blind_spots(0.02, 1, median=True)(maps,
                                              np.random.default_rng(3))
    seen = batch['x'][0, 0] * np.exp(batch['log_sigma'][0, 0])
    for y, x in np.argwhere(batch['weight'][0, 0] > 0):
        if min(y, x) > 0 and max(y, x) < 63:
            near = np.delete(maps['signal'][y - 1:y + 2, x - 1:x + 2], 4)
            assert_allclose(seen[y, x], np.median(near), rtol=1e-5)


@pytest.mark.parametrize('median', [False, True])
def test_bad_pixels_are_neither_targets_nor_seen(median):
    maps = make_maps()
    bad = np.random.default_rng(2).random((64, 64)) < 0.4
    bad[:20, :20] = True
    maps['signal'] = np.where(bad, np.nan, maps['signal'])
    batch = blind_spots(0.05, 2, median=median)(maps,
                                                np.random.default_rng(3))
    assert all(np.isfinite(plane).all() for plane in batch.values())
    assert_array_equal(batch['valid'][0, 0] > 0, ~bad)
    assert not batch['weight'][0, 0][bad].any()
    assert not batch['x'][0, 0][bad].any()
    assert batch['weight'].sum() > 50


@pytest.mark.parametrize('span', [(1, 1), (0, 2), (3, 0), (4, 4)])
def test_areas_that_share_noise_are_blind(span):
    maps = make_maps(96)
    signal = maps['signal']
    batch = blind_areas(0.03, span)(maps, np.random.default_rng(2))
    assert_array_equal(batch['target'][0, 0], signal)
    seen = batch['x'][0, 0] * np.exp(batch['log_sigma'][0, 0])
    kept = np.isclose(seen, signal, rtol=5e-7)
    covered = np.zeros(signal.shape, bool)
    places = np.argwhere(batch['weight'][0, 0] > 0)
    assert len(places) > 30
    for y, x in places:
        rows, columns = (slice(max(at - n, 0), at + n + 1)
                         for at, n in zip((y, x), span, strict=True))
        assert not kept[rows, columns].any()
        covered[rows, columns] = True
    # Nothing else is touched, and what came in is from beyond the span.
    assert kept[~covered].all()
    y, x = places[len(places) // 2]
    source = np.argwhere(np.isclose(signal, seen[y, x], rtol=5e-7))[0]
    assert (abs(source - [y, x]) > np.add(span, 1)).any()
    assert abs(source - [y, x]).max() <= max(span) + 4


def test_recorrupted_pairs_share_no_noise():
    maps = make_maps(256)
    # Pure noise, as large as its map says.
    maps['signal'] = maps['signal'] * np.exp(0.25)
    batch = recorrupted(0.5)(maps, np.random.default_rng(3))
    x, target = batch['x'].ravel(), batch['target'].ravel()
    assert_allclose(x.var(), 1.0, rtol=0.02)
    assert_allclose(target.var(), 4.0, rtol=0.02)
    assert_allclose(batch['target_variance'], 4.0)
    assert abs(np.mean(x * target)) < 0.03
    # Without noise they are the same.
    maps['signal'] = 0.0 * maps['signal'] + 1e6
    batch = recorrupted(0.5)(maps, np.random.default_rng(3))
    assert_allclose(batch['x'], batch['target'], rtol=1e-4)


def test_emphasis_knows_nothing_of_the_noise():
    maps = make_maps(512)
    maps['signal'] = maps['signal'] * np.exp(0.25)
    batch = emphasized(0.5, 4.0, 3.0)(maps, np.random.default_rng(3))
    x, (one, two), (weight, other) = (
        batch[name][0] for name in ('x', 'target', 'weight'))
    assert_allclose(x.var(), 1.0, rtol=0.02)
    for target in (one, two):
        assert_allclose(target.var(), 8.0, rtol=0.02)
        assert abs(np.mean(x * target)) < 0.04
    assert_allclose(batch['target_variance'], 8.0)
    assert abs(np.mean(one * two)) < 0.1
    assert_allclose([weight.mean(), other.mean()], 1.0, atol=0.25)
    assert_allclose(weight.std(), 4.0, rtol=0.05)
    # Neither target is pulled by its own weight.
    assert abs(np.mean(weight * one)) < 0.15
    assert abs(np.mean(other * two)) < 0.15
    assert np.mean(weight * two) > 1.0


def test_sources_count_more():
    y, x = np.mgrid[:64, :64]
    maps = make_maps()
    maps['signal'] = (maps['signal'] * np.exp(0.25) + 200.0 * np.exp(
        -((x - 32)**2 + (y - 32)**2) / 3.2)).astype(np.float32)
    maps['signal'][40, 32] = np.nan
    weight = emphasized(0.5, 4.0, 3.0)(
        maps, np.random.default_rng(3))['weight'][0]
    assert_allclose(weight[:, 32, 32], 13.0)
    assert_allclose(weight[:, 40, 32], 0.0)


def test_batch_depends_on_the_seed_alone():
    sampler = PatchSampler([make_frame(), make_frame(seed=1)],
                           blind_spots(0.03, 2),
                           BatchPlan(patch=32, n_patches=3))
    first, again, other = (sampler.batch([5, step]) for step in (0, 0, 1))
    for name in first:
        assert_array_equal(first[name], again[name])
    assert not np.array_equal(first['x'], other['x'])
    assert first['x'].shape == (3, 1, 32, 32)
    assert first['context'].shape == (3, 2)


def test_processes_share_a_batch():
    frames = [make_frame(), make_frame(seed=1)]
    whole, *parts = (
        PatchSampler(frames, blind_spots(0.03, 2), BatchPlan(
            patch=32, n_patches=5, rank=rank, size=size)).batch([5, 0])
        for rank, size in ((0, 1), (0, 2), (1, 2)))
    for name, plane in whole.items():
        assert_array_equal(plane[0::2], parts[0][name])
        assert_array_equal(plane[1::2], parts[1][name])


def test_whole_frames_are_held_out():
    frames = [make_frame(seed=seed) for seed in range(12)]
    sampler = PatchSampler(frames, blind_spots(0.03, 2), BatchPlan(32))
    training = {area[0] for area in sampler.training}
    held_out = {area[0] for area in sampler.held_out}
    assert len(held_out) == 1
    assert training | held_out == set(range(12))
    assert not training & held_out


def test_rows_of_a_single_frame_are_held_out():
    frame = make_frame((200, 64))
    frame.signal = np.repeat(np.arange(200.0)[:, None], 64, axis=1).astype(
        np.float32)
    frame.log_sigma = np.zeros_like(frame.signal)
    sampler = PatchSampler([frame], lambda maps, rng: standardized(maps),
                           BatchPlan(patch=32, n_patches=100))
    rows = sampler.batch([0, 0])['x']
    out = sampler.validation(50)['x']
    assert rows.max() < out.min() == 168.0
    assert rows.min() < 5.0
    assert out.max() == 199.0


def test_patches_come_in_all_orientations():
    frame = make_frame((32, 32))
    sampler = PatchSampler([frame, make_frame((32, 32))],
                           lambda maps, rng: standardized(maps),
                           BatchPlan(patch=32, n_patches=80))
    patches = {plane.tobytes() for plane in sampler.batch([0, 0])['x']}
    assert len(patches) == 8


def test_pairs_are_exposures_of_one_field():
    frames = []
    for group in range(3):
        first = make_frame((32, 32), seed=group, group=group)
        second = make_frame((32, 32), seed=group, group=group,
                            flux_scale=2.0)
        second.signal = first.signal / 2.0
        second.signal[3, 4] = np.nan
        frames += [first, second]
    sampler = PatchSampler(frames, pair, BatchPlan(32, n_patches=20),
                           pairs=True)
    batch = sampler.batch([1, 2])
    good = batch['weight'] > 0
    assert_allclose(batch['target'][good], batch['x'][good], rtol=1e-5)
    assert batch['weight'].sum() == 20 * (32**2 - 1)
    # Scaled up, a target is noisier; scaled down, less noisy.
    variances = np.unique(batch['target_variance'][good].round(3))
    assert_allclose(variances, [0.25, 4.0], rtol=1e-3)
    assert len({area[0] // 2 for area in sampler.held_out}) == 1


def test_psf_is_told():
    sampler = PatchSampler([make_frame(), make_frame(seed=1)], pair,
                           BatchPlan(patch=32, n_patches=1))
    assert_allclose(sampler.batch([0, 0])['context'], [psf_context(3.0)],
                    rtol=1e-6)
