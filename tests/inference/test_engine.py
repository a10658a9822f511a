# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of running a network over a frame, window by window.
"""

import logging

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.utils._python_dispatch import TorchDispatchMode

from astro_denoise import load_model
from astro_denoise.inference import (
    Runtime,
    denoise_windows,
    engine,
    structure,
)
from astro_denoise.models import layers, lone_pixels
from astro_denoise.noise.measurement import Measurement, Window
from astro_denoise.simulation.profiles import render_sources

FWHMS = (1.2, 2.4, 4.8)
SIGMA = 5.0


def frame(shape, *, seed=1, sky=100.0, masked=0.0):
    """
    Stars on a sky with Gaussian noise, and what goes with it.
    """
    rng = np.random.default_rng(seed)
    n_stars = max(shape[0] * shape[1] // 1000, 1)
    stars = {'x': rng.uniform(0, shape[1], n_stars),
             'y': rng.uniform(0, shape[0], n_stars),
             'flux': 10**rng.uniform(1.5, 5.5, n_stars)}
    values = render_sources(shape, stars, 3.0, 3.0) + np.float32(sky)
    values += SIGMA * rng.standard_normal(shape, dtype=np.float32)
    valid = rng.random(shape) >= masked
    values[~valid] = 0.0
    sigma = SIGMA * rng.uniform(0.8, 1.5, shape).astype(np.float32)
    return {'values': values, 'valid': valid, 'sigma': sigma,
            'background': np.full(shape, sky, np.float32), 'level': SIGMA}


def run(network, planes, *, fwhm=2.5, electrons=None, device='cpu',
        dtype=torch.float32, outermost=None, **options):
    """
    Denoise a plane that is at hand.
    """
    values, level = planes['values'], planes['level']
    window = Window(values, planes['valid'], planes['background'],
                    planes['sigma'])
    measurement = Measurement('gain', None, None, level, 0.0, fwhm,
                              electrons=electrons)
    denoised = np.empty_like(values)
    error = np.empty(values.shape, np.float32)

    def write(rows, columns, *answer):
        denoised[rows, columns], error[rows, columns] = answer

    denoise_windows(network, window, measurement, write,
                    runtime=Runtime(torch.device(device), dtype, outermost),
                    **options)
    return denoised, error


@pytest.fixture(params=[(), FWHMS], ids=['plain', 'kernels'])
def network(request, small_network):
    return small_network((6, 8), kernel_fwhms=request.param)


@pytest.mark.parametrize('shape', [(330, 290), (257, 305), (400, 61)])
@pytest.mark.parametrize('masked', [0.0, 0.05])
def test_windows_leave_no_seam(network, shape, masked):
    planes = frame(shape, masked=masked)
    whole = run(network, planes)
    for window_pixels in (200 * 180, 150**2, 2**14):
        parts = run(network, planes, window_pixels=window_pixels)
        assert_allclose(parts[0], whole[0], rtol=0, atol=1e-3 * SIGMA)
        assert_allclose(parts[1], whole[1], rtol=1e-3)


@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_windows_leave_no_seam_with_shipped_models(name, dtype):
    network = load_model(name).network
    planes = frame((560, 208), masked=0.01)
    whole = run(network, planes, dtype=dtype)
    parts = run(network, planes, dtype=dtype, window_pixels=2**16)
    assert_allclose(parts[0], whole[0], rtol=0, atol=1e-3 * SIGMA)
    assert_allclose(parts[1], whole[1], rtol=1e-3)


@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse'])
def test_bfloat16_is_close_with_shipped_models(name, monkeypatch):
    network = load_model(name).network
    planes = frame((300, 300), masked=0.01)

    def difference():
        exact = run(network, planes)[0]
        fast = run(network, planes, dtype=torch.bfloat16)[0]
        return np.abs(fast - exact) / SIGMA

    # What is taken for structure depends on the errors, which are rounded.
    with_structure = difference()
    assert with_structure.max() < 0.1
    assert np.mean(with_structure > 0.02) < 0.01
    monkeypatch.setattr(engine, '_knows_its_error', lambda network: False)
    without_structure = difference()
    assert without_structure.max() < 0.03
    assert without_structure.std() < 0.002
    # the outermost level in float32
    mixed = np.abs(run(network, planes, dtype=torch.bfloat16,
                       outermost=torch.float32)[0]
                   - run(network, planes)[0]) / SIGMA
    assert mixed.max() < 0.02


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (33, 1), (2, 3), (7, 7),
                                   (16, 16), (31, 50)])
def test_small_frames(network, shape):
    denoised, error = run(network, frame(shape))
    assert denoised.shape == error.shape == shape
    assert np.all(np.isfinite(denoised))
    assert np.all(np.isfinite(error) & (error > 0))


def test_photons_of_what_was_found(network):
    # Of 20 electrons a unit with a read noise of 2 units, but for the right
    # half, whose map knows the photons of its stars.
    planes = frame((60, 60))
    planes['sigma'] = np.full((60, 60), 3.0, np.float32)
    planes['sigma'][:, 30:] = 300.0
    plain = run(network, planes)
    gain, read_noise, pedestal = 20.0, 40.0, 0.0
    denoised, error = run(network, planes,
                          electrons=(gain, read_noise, pedestal))
    assert_array_equal(denoised, plain[0])
    ratio = error / plain[1]
    signal = denoised - planes['background']
    assert_array_equal(ratio[:, 30:], 1.0)
    assert_array_equal(ratio[signal <= 0.0], 1.0)
    assert ratio[(signal > 0.0) & (signal < 0.2 * SIGMA)].max() < 1.01
    bright = signal > SIGMA
    bright[:, 30:] = False
    assert bright.sum() > 100
    assert_allclose(ratio[bright], np.sqrt(
        denoised[bright] / gain + (read_noise / gain)**2) / 3.0, rtol=1e-4)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_type_of_values_is_kept(network, dtype):
    planes = frame((20, 20))
    planes['values'] = planes['values'].astype(dtype)
    denoised, error = run(network, planes)
    assert denoised.dtype == dtype
    assert error.dtype == np.float32


def test_large_sky_in_double_precision(network):
    # A sky of 1e8 leaves single precision no room for the signal.
    planes = frame((40, 40))
    low = run(network, planes)
    planes = {**planes, 'values': planes['values'].astype(float) + 1e8,
              'background': planes['background'].astype(float) + 1e8}
    high = run(network, planes)
    assert_allclose(high[0] - 1e8, low[0], rtol=0, atol=1e-3 * SIGMA)


@pytest.mark.parametrize('widths', [(6, 8), (6, 8, 10), (6, 7, 8, 9)])
def test_reach_is_that_of_the_layers(small_network, widths):
    # Derivatives are exactly zero beyond the reach, and not at it for
    # some pixel of a stride; its last two pixels matter beside a cosmic
    # ray only.
    network = small_network(widths, scale=0.12)
    size = (2 * network.reach // network.stride + 4) * network.stride
    planes = frame((size, size))
    inputs = [torch.from_numpy((planes['values'] - 100) / SIGMA),
              torch.from_numpy(np.log(planes['sigma'] / SIGMA)),
              torch.ones(size, size)]
    inputs = [plane[None, None].requires_grad_() for plane in inputs]
    outputs = network(*inputs, torch.zeros(1, 2))
    start = size // 2 // network.stride * network.stride
    farthest = 0
    for place in range(start, start + network.stride):
        answer = sum(plane[0, 0, place, place] for plane in outputs)
        for slope in torch.autograd.grad(answer, inputs, retain_graph=True):
            pixels = torch.nonzero(slope[0, 0]) - place
            farthest = max(farthest, int(pixels.abs().max()))
    assert network.reach - 2 <= farthest <= network.reach


def test_nothing_beyond_the_reach_changes(network):
    size = 2 * network.reach + 60
    planes = frame((size, size), masked=0.02)
    y, x = size // 2, size // 2 + 3
    planes['valid'][y, x] = True
    before = run(network, planes)
    values = planes['values'].copy()
    values[y, x] += 1e5 * SIGMA
    after = run(network, {**planes, 'values': values})
    rows, columns = np.ogrid[:size, :size]
    near = np.maximum(abs(rows - y), abs(columns - x)) <= network.reach
    change = np.abs(after[0] - before[0]) / SIGMA
    # The Fourier transform spreads rounding errors.
    assert change[~near].max() < 1e-4
    assert change[near].max() > 0.1


def test_masked_pixels_have_no_influence(network):
    planes = frame((90, 70), masked=0.1)
    before = run(network, planes)
    bad = ~planes['valid']
    rng = np.random.default_rng(2)
    for name, low, high in (('values', -1e5, 1e5), ('sigma', 0.1, 1e3),
                            ('background', -1e3, 1e3)):
        plane = planes[name].copy()
        plane[bad] = rng.uniform(low, high, bad.sum())
        planes[name] = plane
    after = run(network, planes)
    for plane, expected in zip(after, before, strict=True):
        assert_array_equal(plane[~bad], expected[~bad])


def test_everything_masked(network):
    planes = frame((40, 40), masked=1.1)
    denoised, error = run(network, planes)
    assert np.all(np.isfinite(denoised))
    assert np.all(np.isfinite(error))


@pytest.mark.parametrize('fwhm', [None, 0.7, 3.0, 50.0])
def test_any_width_of_the_point_spread_function(network, fwhm):
    denoised, _ = run(network, frame((40, 40)), fwhm=fwhm)
    assert np.all(np.isfinite(denoised))


@pytest.mark.parametrize('window_pixels', [None, 150**2])
def test_progress_adds_up(network, window_pixels):
    steps = []
    run(network, frame((300, 200)), window_pixels=window_pixels,
        progress=steps.append)
    assert_allclose(sum(steps), 1.0)
    assert (len(steps) > 1) == (window_pixels is not None)


class Limited:
    """
    A network that runs out of memory on large windows, or at a call.
    """

    def __init__(self, network, error, *, n_pixels=np.inf, call=None):
        self.network = network
        self.error, self.n_pixels, self.call = error, n_pixels, call
        self.n_calls = 0

    def __getattr__(self, name):
        return getattr(self.network, name)

    def features(self, x, *planes):
        self.n_calls += 1
        if x.numel() > self.n_pixels or self.n_calls == self.call:
            raise self.error
        return self.network.features(x, *planes)


@pytest.mark.parametrize('error', [
    torch.OutOfMemoryError('CUDA out of memory.'), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: "
                 "can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError('DefaultCPUAllocator: not enough memory: you tried')])
@pytest.mark.parametrize('limit', [{'n_pixels': 200**2}, {'call': 2}])
def test_out_of_memory(network, caplog, error, limit):
    planes = frame((500, 300))
    expected = run(network, planes)
    steps = []
    with caplog.at_level(logging.WARNING, 'astro_denoise'):
        result = run(Limited(network, error, **limit), planes,
                     window_pixels=300**2, progress=steps.append)
    assert 'out of memory on cpu: going on with windows of' in caplog.text
    assert_allclose(sum(steps), 1.0)
    assert_allclose(result[0], expected[0], rtol=0, atol=1e-3 * SIGMA)
    assert_allclose(result[1], expected[1], rtol=1e-3)


def test_memory_that_never_suffices(network):
    # It ends, and with the error itself.
    limited = Limited(network, MemoryError('none left'), n_pixels=0)
    with pytest.raises(MemoryError, match='none left'):
        run(limited, frame((300, 300)))
    assert limited.n_calls < 20


@pytest.mark.parametrize('error', [RuntimeError('another reason'),
                                   ValueError("can't allocate memory")])
def test_other_errors_are_not_hidden(network, error):
    limited = Limited(network, error, n_pixels=0)
    with pytest.raises(type(error), match=str(error)):
        run(limited, frame((30, 30)))
    assert limited.n_calls == 1


def test_placed(small_network):
    network = small_network()
    assert Runtime(torch.device('cpu')).place(network) is network
    other = Runtime(torch.device('meta')).place(network)
    assert next(other.parameters()).device.type == 'meta'
    assert next(network.parameters()).device.type == 'cpu'


@pytest.mark.parametrize('shape', [(600, 90), (90, 600), (400, 400)])
def test_windows_are_no_larger_than_asked(network, shape):
    sizes = []

    class Recorded(Limited):
        def features(self, x, *planes):
            sizes.append(x.shape[2:])
            return super().features(x, *planes)

    run(Recorded(network, None), frame(shape), window_pixels=2**15)
    heights, widths = zip(*sizes, strict=True)
    assert len(set(widths)) == 1
    # Some rows are seen twice.
    assert max(heights) * widths[0] <= 2**15 + 8 * widths[0]
    # A narrow frame is not cut across, a wide one into few tiles.
    assert widths[0] < shape[1] + network.stride or widths[0] >= 256


class Waits(TorchDispatchMode):
    """Count values of tensors that the program looks at."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse'])
def test_no_window_waits_for_a_card(name, monkeypatch):
    network = load_model(name).network
    planes = frame((600, 208), masked=0.01)
    expected = run(network, planes)
    for module in (layers, lone_pixels, structure):
        monkeypatch.setattr(module, 'at_hand', lambda tensor: False)
    waits = []
    for window_pixels in (2**18, 2**14):
        with Waits() as counted:
            result = run(network, planes, window_pixels=window_pixels)
        waits.append(counted.number)
        for one, other in zip(result, expected, strict=True):
            assert_allclose(one, other, rtol=1e-3, atol=1e-3 * SIGMA)
    # a few for the frame, none for a window
    assert waits[0] == waits[1] < 5


@pytest.mark.gpu
@pytest.mark.parametrize('name', ['ccd', 'ccd-mmse'])
@pytest.mark.parametrize(('dtype', 'tolerance'), [
    (torch.float32, 1e-2), (torch.bfloat16, 0.02)])
def test_gpu_agrees_with_processor(name, dtype, tolerance):
    device = torch.device('cuda')
    network = load_model(name).network
    planes = frame((560, 208), masked=0.01)
    expected = run(network, planes)
    result = run(Runtime(device).place(network), planes, device=device,
                 dtype=dtype, window_pixels=2**16)
    assert_allclose(result[0], expected[0], rtol=0, atol=tolerance * SIGMA)
