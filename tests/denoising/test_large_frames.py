# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of frames that are denoised block by block, dask arrays among them.
"""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from numpy.testing import assert_allclose, assert_array_equal

import astro_denoise
from astro_denoise.denoising import dask_arrays, route
from astro_denoise.exceptions import (
    CorrelatedNoiseWarning,
    NoiseEstimateWarning,
)
from astro_denoise.frames import open_frame
from astro_denoise.frames.memory_maps import release
from astro_denoise.frames.windows import grown
from astro_denoise.inference import plane_rows
from astro_denoise.models.registry import Model
from astro_denoise.noise import background as backgrounds
from astro_denoise.noise import measure_plane, sampling
from astro_denoise.noise.levels import MESH, Sky
from astro_denoise.noise.strips import upsample
from astro_denoise.simulation.profiles import render_sources

# Of one pixel, which must be left out wherever it is read.
pytestmark = pytest.mark.filterwarnings('ignore:uncertainty is NaN')

SIGMA = 5.0
SHAPE = (700, 836)  # two strips of columns, the last mesh cells cut


def stars(shape=SHAPE, *, seed=1, level=200.0, gain=2.0):
    """
    A frame with photon and read noise on a slope, float32.
    """
    rng = np.random.default_rng(seed)
    n_stars = shape[0] * shape[1] // 3000
    sources = {'x': rng.uniform(0, shape[1], n_stars),
               'y': rng.uniform(0, shape[0], n_stars),
               'flux': 10**rng.uniform(2.5, 4.5, n_stars)}
    image = render_sources(shape, sources, 3.0, 3.5) + level
    image += np.linspace(0.0, 40.0, shape[1])
    variance = image / gain + SIGMA**2
    return (image + np.sqrt(variance) * rng.standard_normal(shape)
            ).astype(np.float32)


@pytest.fixture(scope='module')
def frame():
    return stars()


def denoise(data, *args, **options):
    """
    In single precision: a random network amplifies what bfloat16 rounds.
    """
    return astro_denoise.denoise(data, *args,
                                 **{'precision': 'float32', **options})


def set_strips(monkeypatch):
    """
    Strips with few rows, and not as wide as a frame.
    """
    monkeypatch.setattr(plane_rows, 'STRIP_ROWS', 192)
    monkeypatch.setattr(route, '_STRIP_WINDOW_PIXELS', {'cpu': 512 * 128})


@pytest.fixture
def model(small_network, monkeypatch):
    """
    A small network, for which strips and blocks are small.
    """
    set_strips(monkeypatch)
    monkeypatch.setattr(dask_arrays, '_BLOCK', 256)
    network = small_network((4, 6), kernel_fwhms=(1.2, 2.4, 4.8))
    return Model(network, {'name': 'small', 'task': 'denoise'})


def set_whole(monkeypatch, n_pixels):
    """
    Frames above so many pixels are measured on a sample.
    """
    monkeypatch.setattr(sampling, 'WHOLE', n_pixels)
    monkeypatch.setattr(backgrounds, '_WINDOW', 448)


def noises(frame):
    """
    The ways to say what the noise is.
    """
    sigma = np.full(frame.shape, 2 * SIGMA)
    sigma[:, 300:] *= 1.3
    sigma[5, 6] = np.nan
    mask = np.random.default_rng(5).random(frame.shape) < 0.02
    mask[100:240, 300:420] = True
    return {'estimated': {}, 'gain': {'gain': 2.0, 'read_noise': 10.0},
            'uncertainty': {'uncertainty': sigma}, 'mask': {'mask': mask},
            'one gain': {'gain': 2.0}}


KINDS = ['estimated', 'gain', 'uncertainty', 'mask', 'one gain']


def assert_same(result, expected, tolerance=1e-3):
    values, error = expected
    # In float32 a bright star is known to 1e-7 of itself.
    limit = tolerance * SIGMA + 1e-6 * np.abs(values)
    bad = np.isnan(error)
    assert_array_equal(np.isnan(result[1]), bad)
    assert np.all(np.abs(result[0] - values)[~bad] < limit[~bad])
    assert_allclose(result[1], error, rtol=1e-3)


@pytest.mark.parametrize('kind', KINDS)
def test_output_array(frame, model, kind):
    options = {'model': model, 'return_uncertainty': True,
               **noises(frame)[kind]}
    expected = denoise(frame, **options)
    output, error = np.empty((2, *SHAPE), np.float64)
    result = denoise(frame, output_array=output, output_uncertainty=error,
                     **options)
    assert result[0] is output
    assert result[1] is error
    assert_same(result, expected)


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_network_of_the_package(frame, monkeypatch, precision):
    set_strips(monkeypatch)
    part = frame[:300, :640]
    options = {'precision': precision, 'return_uncertainty': True}
    expected = denoise(part, **options)
    result = denoise(part, output_array=np.empty_like(part), **options)
    assert_same(result, expected)


def test_memory_map_to_memory_map(frame, model, tmp_path):
    np.save(tmp_path / 'in.npy', frame.astype('>f4'))
    source = np.load(tmp_path / 'in.npy', mmap_mode='r')
    output = np.lib.format.open_memmap(tmp_path / 'out.npy', 'w+',
                                       np.float32, SHAPE)
    denoise(source, model, output_array=output)
    output.flush()
    expected = denoise(frame, model, return_uncertainty=True)
    written = np.load(tmp_path / 'out.npy')
    assert_same((written, expected[1]), expected)
    assert_array_equal(np.load(tmp_path / 'in.npy'), frame)


def test_fits_memory_map(frame, model, tmp_path):
    fits.writeto(tmp_path / 'in.fits', frame)
    with fits.open(tmp_path / 'in.fits', memmap=True) as hdus:
        output = np.empty(SHAPE, np.float32)
        denoise(hdus[0].data, model, output_array=output)
    assert_array_equal(output, denoise(
        frame, model, output_array=np.empty(SHAPE, np.float32)))


def test_private_map_keeps_what_was_written_to_it(tmp_path):
    np.save(tmp_path / 'in.npy', np.zeros((600, 600)))
    private = np.load(tmp_path / 'in.npy', mmap_mode='c')
    private[:] = 7.0
    release([private, private[2:], None])
    assert np.all(private == 7.0)
    shared = np.load(tmp_path / 'in.npy', mmap_mode='r+')
    shared[:] = 8.0
    release([shared[3:]])
    assert np.all(shared == 8.0)


def test_types(frame, model):
    values = frame[:90, :100].copy()
    values[3, 4] = np.nan
    output = np.empty(values.shape, np.float32)
    quantity = denoise(values * u.electron, model, output_array=output)
    assert quantity.unit == u.electron
    assert np.shares_memory(quantity.value, output)
    mask = np.zeros(values.shape, np.int16)
    mask[5, 6] = 64
    ccd = CCDData(values, unit='adu', mask=mask, meta={'OBJECT': 'field'})
    result = denoise(ccd, model, output_array=output)
    assert type(result) is CCDData
    assert np.shares_memory(result.data, output)
    assert result.uncertainty is None
    assert_array_equal(result.mask, denoise(ccd, model).mask)
    assert np.argwhere(result.mask).tolist() == [[3, 4], [5, 6]]
    assert result.meta['DNMODEL'] == 'small'
    assert output[5, 6] == values[5, 6]
    error = np.empty_like(output)
    result = denoise(NDData(values), model, output_array=output,
                     output_uncertainty=error)
    assert isinstance(result.uncertainty, StdDevUncertainty)
    assert np.shares_memory(result.uncertainty.array, error)
    masked = denoise(np.ma.array(values, mask=mask > 0), model,
                     output_array=output)
    assert np.count_nonzero(masked.mask) == 2


def test_stack(frame, model):
    stack = np.stack([frame[:200, :300], 3 * frame[300:500, :300]])
    output = np.empty_like(stack)
    denoise(stack, model, output_array=output)
    assert_allclose(output, denoise(stack, model), rtol=1e-5, atol=1e-2)


def test_numbers_beyond_single_precision(frame, model):
    values = frame.astype(float)[:200, :300]
    expected = denoise(values, model)
    scaled = np.ldexp(values, 300)
    output = denoise(scaled, model, output_array=np.empty_like(scaled))
    assert_allclose(np.ldexp(output, -300), expected, rtol=1e-6)


@pytest.mark.parametrize(('name', 'array', 'error', 'message'), [
    ('output_array', [1.0], TypeError, 'must be an array, got list'),
    ('output_array', np.zeros((20, 20), int), TypeError, 'got int64'),
    ('output_array', np.zeros((20, 20), np.float16), TypeError, 'float16'),
    ('output_uncertainty', np.zeros((20, 21)), ValueError, r'\(20, 21\)'),
    ('output_array', np.broadcast_to(1.0, (20, 20)), ValueError,
     'read-only')])
def test_bad_output(model, name, array, error, message):
    with pytest.raises(error, match=f'{name} .*{message}'):
        denoise(np.ones((20, 20)), model, **{name: array})


@pytest.mark.parametrize(('name', 'other'), [
    ('output_array', 'data'), ('output_uncertainty', 'mask'),
    ('output_array', 'uncertainty'), ('output_uncertainty', 'output_array')])
def test_output_that_is_read_too(model, name, other):
    arrays = {'data': np.ones((20, 20)), 'mask': np.zeros((20, 20), bool),
              'uncertainty': np.ones((20, 20)),
              'output_array': np.empty((20, 20))}
    memory = np.ones((25, 20))
    arrays[other], arrays[name] = memory[:20], memory[5:]
    if other == 'mask':
        arrays['mask'] = memory.view(bool)[:20, :20]
    with pytest.raises(ValueError, match=f'{name} must not share memory'):
        denoise(arrays.pop('data'), model, **arrays)


def test_output_in_the_file_that_is_read(model, tmp_path):
    np.save(tmp_path / 'in.npy', np.ones((2, 20, 20)))
    frame = np.load(tmp_path / 'in.npy', mmap_mode='r')
    output = np.load(str(tmp_path / 'in.npy'), mmap_mode='r+')
    with pytest.raises(ValueError, match='must not share memory'):
        denoise(frame[0], model, uncertainty=1.0,
                output_array=np.asarray(output)[0])
    # Another part of it is no harm.
    denoise(frame[0], model, uncertainty=1.0, output_array=output[1])
    assert np.all(frame[0] == 1)
    assert_allclose(output[1], denoise(frame[0], model, uncertainty=1.0))


def test_memory_that_does_not_suffice(frame, model, monkeypatch):
    expected = denoise(frame, model, return_uncertainty=True)
    features, calls = model.network.features, []

    def limited(x, *planes):
        calls.append(x.shape[2:])
        if len(calls) == 4:
            raise MemoryError
        return features(x, *planes)

    monkeypatch.setattr(model.network, 'features', limited)
    output, error = np.empty((2, *SHAPE), np.float32)
    denoise(frame, model, output_array=output, output_uncertainty=error)
    assert calls[-1][1] < calls[0][1]
    assert_same((output, error), expected)


@pytest.mark.parametrize(('kind', 'message'), [
    ('mask', 'it must have valid pixels, all 1200 are masked'),
    ('nan', 'it must have finite pixels, got none of 1200')])
def test_nothing_valid(model, kind, message):
    values = np.full((30, 40), np.nan if kind == 'nan' else 1.0)
    output = np.empty((30, 40))
    with pytest.warns(NoiseEstimateWarning, match=message):
        denoise(values, model, mask=kind == 'mask', output_array=output)
    assert_array_equal(output, values)


def test_progress_bar(frame, model, capsys):
    denoise(frame, model, output_array=np.empty_like(frame),
            progress_bar=True)
    assert '100%' in capsys.readouterr().err


# Frames too large to be measured as a whole

@pytest.mark.parametrize('kind', ['estimated', 'gain', 'mask', 'one gain'])
def test_measured_on_a_sample(frame, monkeypatch, kind):
    options = {'gain': None, 'read_noise': None, **noises(frame)[kind]}
    given = {name: options.pop(name) for name in ('gain', 'read_noise')}
    plane = open_frame(frame, **options).plane()
    whole, _ = measure_plane(plane, **given)
    set_whole(monkeypatch, 2**18)
    sample, _ = measure_plane(plane, **given)
    assert sample.origin == whole.origin
    assert_allclose(sample.level, whole.level, rtol=0.05)
    assert_allclose(sample.fwhm, whole.fwhm, rtol=0.05)
    window = tuple(slice(0, n) for n in SHAPE)
    assert_allclose(sample.background.over(window, float),
                    whole.background.over(window, float), atol=SIGMA)


def test_large_frame_in_memory(frame, model, monkeypatch):
    set_whole(monkeypatch, 2**18)
    result = denoise(frame, model)
    again = denoise(frame, model, output_array=np.empty_like(frame))
    assert_array_equal(again, result)
    ccd = denoise(CCDData(frame, unit='adu'), model)
    assert_array_equal(ccd.data, result)
    assert np.all(ccd.uncertainty.array > 0)


def test_no_seam_in_the_background(frame, monkeypatch):
    # The mesh of windows put together is that of the whole.
    valid = np.ones(SHAPE, bool)
    valid[64:330, 128:390] = False
    values = np.where(valid, frame, 0)
    monkeypatch.setattr(backgrounds, '_WINDOW', 448)
    plan = backgrounds.mesh_plan(SHAPE)
    assert len(plan) > 3
    meshes = []
    for tile in plan:
        part = grown(tile.window, 0, SHAPE)
        meshes.append(backgrounds.meshes_of_window(
            values[part], valid[part], SHAPE, tile))
    whole, *_ = backgrounds.joined_meshes(meshes, plan)
    mesh = whole.center + whole.scale * whole.mesh
    sky = Sky(values, valid)
    expected = sky.center + sky.scale * sky.mesh
    known = np.ones(expected.shape, bool)
    known[:7, 1:8] = False  # interpolated from what is near
    assert_allclose(mesh[known], expected[known], atol=0.02 * SIGMA)
    assert_allclose(mesh, expected, atol=2 * SIGMA)


@pytest.mark.parametrize('start', [(0, 0), (64, 128), (576, 640), (640, 0)])
def test_background_of_a_part(start):
    mesh = np.random.default_rng(1).normal(size=(11, 14)).astype(np.float32)
    whole = upsample(mesh, SHAPE, MESH)
    window = tuple(slice(first, min(first + 200, n))
                   for n, first in zip(SHAPE, start, strict=True))
    part = backgrounds.BackgroundMesh(mesh).over(window, np.float32)
    # Not a bit differs.
    assert_array_equal(part, whole[window])


@pytest.mark.parametrize('shape', [(700, 836), (100, 20_000), (9000, 70),
                                   (3, 100_000), (5000, 5000)])
def test_sample_is_from_all_over_the_frame(shape, monkeypatch):
    monkeypatch.setattr(sampling, 'WHOLE', 16 * 2**16)
    rows = sampling.sample_parts(shape)
    assert 1 <= sum(len(row) for row in rows) <= 16
    covered = np.zeros(2, int)
    for row in rows:
        for part in row:
            for axis, side in enumerate(part):
                assert 0 <= side.start < side.stop <= shape[axis]
                assert side.start % MESH == 0
                covered[axis] = max(covered[axis], side.stop)
    assert np.all(covered > np.array(shape) - 256 - MESH)


# dask

@pytest.fixture
def da():
    array = pytest.importorskip('dask.array')
    config = pytest.importorskip('dask').config
    with config.set(scheduler='synchronous'):
        yield array


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('chunks', [(700, 836), (130, 333), ((1, 600, 99),
                                                             836)])
def test_dask(da, frame, model, kind, chunks):
    options = noises(frame)[kind]
    expected = denoise(frame, model, return_uncertainty=True, **options)
    array = da.from_array(frame, chunks=chunks)
    lazily = denoise(array, model, return_uncertainty=True, **options)
    for each in lazily:
        assert isinstance(each, da.Array)
        assert each.chunks == array.chunks
        assert each.dtype == np.float32
    assert_same(da.compute(*lazily), expected)


@pytest.mark.parametrize('shape', [
    (1, 1), (3, 700), (64, 65), (300, 300), (447, 449), (40, 1024),
    (2, 100, 90)])
@pytest.mark.parametrize('chunks', [-1, 50])
def test_dask_arrays_of_any_size(da, shape, chunks):
    # Smaller than the reach of the network, too.
    values = np.random.default_rng(1).normal(100, 5, shape)
    options = {'uncertainty': 5.0, 'return_uncertainty': True}
    expected = denoise(values, **options)
    lazily = denoise(da.from_array(values, chunks=chunks), **options)
    assert_same(da.compute(*lazily), expected)


def test_dask_measured_on_a_sample(da, frame, model, monkeypatch):
    set_whole(monkeypatch, 2**18)
    array = da.from_array(frame, chunks=(300, 250))
    lazily = denoise(array, model, return_uncertainty=True)
    expected = denoise(frame, model, return_uncertainty=True)
    assert_same(da.compute(*lazily), expected)


@pytest.mark.parametrize('n_pixels', [2**18, 2**24])
def test_areas_of_noise(da, model, monkeypatch, n_pixels):
    # The same in memory, in strips and in chunks; to a few pixels, also
    # where the noise is measured window by window.
    set_whole(monkeypatch, n_pixels)
    sigma = np.full(SHAPE, SIGMA)
    sigma[:, 410:] = 12.0
    values = (100 + sigma * np.random.default_rng(4).standard_normal(SHAPE)
              ).astype(np.float32)
    measurement, _ = measure_plane(open_frame(values).plane())
    whole = tuple(slice(0, n) for n in SHAPE)
    ratio = (measurement.describe()['level'] / sigma
             * measurement.relative.over(whole, np.float32))
    assert_allclose(ratio[:, :400], 1, atol=0.03)
    assert_allclose(ratio[:, 420:], 1, atol=0.03)
    result = denoise(values, model, output_array=np.empty_like(values))
    assert_allclose(denoise(values, model), result, atol=1e-3 * SIGMA)
    lazily = denoise(da.from_array(values, chunks=(300, 250)), model)
    assert_allclose(lazily.compute(), result, atol=1e-3 * SIGMA)


def test_nothing_is_computed_before_it_is_wanted(da, model):
    def refuse(block):
        raise AssertionError

    array = da.ones((900, 700), chunks=300).map_blocks(
        refuse, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    result = denoise(array, model)
    with pytest.raises(AssertionError):
        result.compute()


def test_dask_stack_mask_and_integers(da, frame, model):
    stack = np.stack([frame, frame[::-1]])[:, :300, :300].astype('>i2')
    mask = np.random.default_rng(3).random(stack.shape) < 0.1
    lazily = denoise(da.from_array(stack, chunks=(1, 100, 300)), model,
                     mask=da.from_array(mask, chunks=100),
                     uncertainty=da.full(stack.shape, 2 * SIGMA))
    assert lazily.dtype == np.float32
    result = lazily.compute()
    expected = denoise(stack, model, mask=mask, uncertainty=2 * SIGMA)
    assert_allclose(result, expected, atol=1e-3 * SIGMA)
    assert_array_equal(result[mask], stack[mask])


@pytest.mark.parametrize('shape', [(300, 420), (2, 150, 150)])
def test_dask_without_a_valid_pixel(da, model, shape):
    empty = np.full(shape, np.nan)
    if len(shape) == 3:
        empty[0] = np.random.default_rng(1).normal(100, 5, shape[1:])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        result = denoise(da.from_array(empty, chunks=64), model,
                         return_uncertainty=True)
        expected = denoise(empty, model, return_uncertainty=True)
        for found, right in zip(result, expected, strict=True):
            assert_allclose(found.compute(scheduler='sync'), right,
                            atol=0.01)


def test_correlated_dask_array(da, frame, model):
    smooth = frame[1:] + frame[:-1]
    lazily = denoise(da.from_array(smooth), model)
    with pytest.warns(CorrelatedNoiseWarning):
        lazily.compute()


@pytest.mark.parametrize(('options', 'error', 'message'), [
    ({'output_array': np.ones((20, 20))}, ValueError, 'not for dask arrays'),
    ({'mask': np.ones((2, 2), bool)}, ValueError, 'mask must have the shape'),
    ({'uncertainty': np.ones((2, 2))}, ValueError, 'uncertainty must have'),
    ({'precision': 'half'}, ValueError, "'half'"),
    ({'gain': 'GAIN'}, ValueError, 'GAIN')])
def test_bad_argument_for_dask(da, model, options, error, message):
    with pytest.raises(error, match=message):
        denoise(da.ones((20, 20)), model, **options)


def test_dask_array_of_unknown_size(da, model):
    array = da.ones((30, 20))
    with pytest.raises(ValueError, match='chunks of known size'):
        denoise(array[array[:, 0] > 0], model)
