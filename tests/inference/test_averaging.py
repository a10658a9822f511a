# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of means over turned and shifted versions of a frame.
"""

import types

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise import denoise
from astro_denoise.cli import main
from astro_denoise.denoising import core
from astro_denoise.inference import averaging
from astro_denoise.inference.averaging import MOST_VERSIONS, _Version
from astro_denoise.noise.measurement import Window
from astro_denoise.simulation.profiles import render_sources

SIGMA = 5.0  # of the skies
VERSIONS = [_Version.numbered(number) for number in range(MOST_VERSIONS)]


@pytest.fixture(scope='module')
def field(sky):
    return sky((150, 170), seed=3, n_stars=12)


def test_versions_are_all_there_are():
    assert MOST_VERSIONS == 32
    assert len(set(VERSIONS)) == 32
    # Each eight have all turns, and one shift.
    for start in range(0, 32, 8):
        eight = VERSIONS[start:start + 8]
        assert len({(each.turns, each.transposed) for each in eight}) == 8
        assert len({each.shift for each in eight}) == 1


@pytest.mark.parametrize('version', VERSIONS, ids=str)
def test_versions_are_undone(version):
    array = np.arange(12.0).reshape(3, 4)
    turned = version.apply(array)
    assert turned.flags['C_CONTIGUOUS']
    assert_array_equal(version.undo(turned), array)
    window = Window(array, array > 3, array, array + 1.0)
    turned = version.of(window)
    assert_array_equal(version.undo(turned.valid), window.valid)
    assert turned.valid.sum() == window.valid.sum()
    assert turned.noise_map.min() >= 1.0


@pytest.mark.parametrize('turn', [
    np.rot90, np.flipud, np.fliplr, np.transpose])
def test_orientation_counts_less(field, turn):
    def difference(average):
        options = {'uncertainty': SIGMA, 'average': average,
                   'precision': 'float32'}
        return float(np.std(turn(denoise(field, **options)) - denoise(
            turn(field).copy(), **options)) / SIGMA)

    assert 0.03 < difference(1) < 0.08
    # The mean of all turns is the same for each of them.
    assert difference(8) < 0.003


def test_shift_counts_less(field):
    moved = np.pad(field, ((1, 0), (0, 0)), mode='edge')

    def difference(average):
        options = {'uncertainty': SIGMA, 'average': average,
                   'precision': 'float32'}
        return float(np.std(denoise(moved, **options)[9:]
                            - denoise(field, **options)[8:]) / SIGMA)

    once = difference(1)
    assert 0.03 < once < 0.08
    assert difference(8) < min(0.02, 0.5 * once)


def test_uncertainty_is_that_of_the_mean(monkeypatch):
    # Two unbiased answers a pixel, +-3 around the truth of 7, each of which
    # says so: their mean is right.
    offsets = iter((3.0, -3.0))

    def answer(network, planes, measurement, write, **options):
        shape = planes.shape
        write(slice(0, shape[0]), slice(0, shape[1]),
              np.full(shape, 7.0 + next(offsets)), np.full(shape, 5.0))

    monkeypatch.setattr(averaging, 'denoise_windows', answer)
    ones = np.ones((20, 30))
    results = []
    averaging.denoise_averaged(
        types.SimpleNamespace(reach=8), Window(ones, ones > 0, ones, ones),
        None, lambda *parts: results.append(parts), average=2, runtime=None)
    (rows, columns, denoised, sigma), = results
    assert (rows, columns) == (slice(0, 20), slice(0, 30))
    assert_allclose(denoised, 7.0)
    assert_allclose(sigma, 4.0)  # sqrt(25 - 9)


def test_errors_fit_the_scatter():
    rng = np.random.default_rng(7)
    shape = 300, 320
    truth = render_sources(shape, {
        'x': rng.uniform(0, 320, 20), 'y': rng.uniform(0, 300, 20),
        'flux': 10**rng.uniform(2.5, 4.5, 20)}, 3.0, 3.5)
    frame = truth + 100.0 + SIGMA * rng.standard_normal(shape)
    pulls = {}
    for average in (1, 8):
        denoised, error = denoise(frame, average=average, uncertainty=SIGMA,
                                  return_uncertainty=True)
        pulls[average] = np.std((denoised - 100.0 - truth) / error)
        assert (error > 0).all()
    assert pulls[8] == pytest.approx(pulls[1], rel=0.05)


def test_model_that_orientation_is_nothing_to(field, half_sigma_model):
    model = half_sigma_model()
    for average in (2, 8, 32):
        expected, result = (
            denoise(field, model, uncertainty=SIGMA, average=each,
                    return_uncertainty=True) for each in (1, average))
        assert_allclose(result, expected, rtol=1e-6)


def test_memory_maps_and_tiles(field, tmp_path, monkeypatch):
    options = {'uncertainty': SIGMA, 'average': 3, 'precision': 'float32'}
    expected = denoise(field, return_uncertainty=True, **options)
    outputs = [np.lib.format.open_memmap(
        tmp_path / f'{name}.npy', 'w+', np.float32, field.shape)
        for name in 'ab']
    monkeypatch.setattr(averaging, '_SIDE', 128)
    denoise(field, output_array=outputs[0], output_uncertainty=outputs[1],
            **options)
    for found, wanted in zip(outputs, expected, strict=True):
        assert_allclose(found, wanted, rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize('chunks', [64, 150, 1000])
def test_dask(field, chunks):
    array = pytest.importorskip('dask.array')
    options = {'uncertainty': SIGMA, 'average': 3, 'precision': 'float32'}
    found = denoise(array.from_array(field, chunks=chunks), **options)
    assert_allclose(found.compute(scheduler='sync'),
                    denoise(field, **options), rtol=1e-5, atol=2e-3)


def test_stack(field):
    options = {'uncertainty': SIGMA, 'average': 2, 'precision': 'float32'}
    stack = denoise(np.stack([field, field[::-1]]), **options)
    assert_array_equal(stack[0], denoise(field, **options))
    assert_array_equal(stack[1], denoise(field[::-1], **options))


def test_pixels_that_are_not_valid(field):
    frame = field.copy()
    frame[20, 30] = np.nan
    mask = np.zeros(frame.shape, bool)
    mask[100:103, 50] = True
    other = frame.copy()
    other[mask] = 1e5
    options = {'uncertainty': SIGMA, 'average': 5, 'precision': 'float32',
               'mask': mask}
    result, changed = denoise(frame, **options), denoise(other, **options)
    assert_array_equal(result[mask], frame[mask])
    assert_array_equal(changed[mask], other[mask])
    assert np.isnan(result[20, 30])
    assert_array_equal(result[~mask], changed[~mask])


def test_progress_is_that_of_all_versions(field):
    shares = []
    from astro_denoise.frames import open_frame
    from astro_denoise.frames.results import FrameWriter
    from astro_denoise.inference import Runtime
    from astro_denoise.models import load_model

    reader = open_frame(field, uncertainty=SIGMA)
    core.denoise_plane(
        reader.plane(), load_model('ccd').network,
        FrameWriter(reader, np.empty_like(field)), in_memory=True, average=4,
        runtime=Runtime.resolve('cpu', 'float32'), progress=shares.append)
    assert len(shares) >= 4
    assert sum(shares) == pytest.approx(1.0)


def test_header_and_command(field, tmp_path):
    ccd = CCDData(field, unit='adu')
    result = denoise(ccd, average=2)
    assert result.header['DNAVERAG'] == 2
    assert 'DNAVERAG' not in denoise(ccd).header
    fits.writeto(tmp_path / 'a.fits', field)
    assert main(['denoise', str(tmp_path / 'a.fits'), '-o',
                 str(tmp_path / 'b.fits'), '--average', '2']) == 0
    with fits.open(tmp_path / 'b.fits') as hdus:
        assert hdus[0].header['DNAVERAG'] == 2
        assert_allclose(hdus[0].data, result.data, rtol=1e-6)


@pytest.mark.parametrize(('average', 'error'), [
    (0, ValueError), (33, ValueError), (-1, ValueError), (2.0, TypeError),
    (True, TypeError), ('8', TypeError), (None, TypeError)])
def test_bad_average(field, average, error):
    with pytest.raises(error, match='average must be') as raised:
        denoise(field, average=average)
    assert repr(average) in str(raised.value)


def test_small_images_are_not_averaged():
    counts = np.random.default_rng(1).poisson(3.0, (64, 64))
    with pytest.raises(ValueError, match='average must be 1 for the model'):
        denoise(counts, 'gc-mixed', average=2)
