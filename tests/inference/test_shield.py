# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what the user may have set up in torch.
"""

import contextlib
import threading
from unittest import mock

import numpy as np
import pytest
import torch

from astro_denoise import (
    denoise,
    estimate_parameters,
    load_model,
    segment_point_sources,
    train_denoiser,
)
from astro_denoise.inference import shield, shielded
from astro_denoise.models import registry
from astro_denoise.simulation import GalacticCenterSimulator
from astro_denoise.training import datasets

COUNTS = np.random.default_rng(1).poisson(3.0, (64, 64))
FRAME = np.random.default_rng(2).normal(100.0, 5.0, (70, 60))


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)


def test_float32_is_not_rounded_on_cards():
    parts = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [part.allow_tf32 for part in parts]
    assert any(before)
    with shielded():
        assert not any(part.allow_tf32 for part in parts)
    assert [part.allow_tf32 for part in parts] == before


SETTINGS = {
    'float64': lambda: default_dtype(torch.float64),
    'float16': lambda: default_dtype(torch.float16),
    'device': lambda: torch.device('meta'),
    'autocast': lambda: torch.autocast('cpu', dtype=torch.bfloat16),
    'inference_mode': torch.inference_mode,
    'no_grad': torch.no_grad,
    'deterministic': deterministic,
}


def frame_from_dask():
    array = pytest.importorskip('dask.array')
    return denoise(array.from_array(FRAME, chunks=40)).compute(
        scheduler='sync')


def trained():
    # few skies, as the errors are not what is tested
    with mock.patch.multiple(datasets, _N_SKIES=2, _FEWEST_BATCHES=1):
        model = train_denoiser(FRAME, 'noise2void', epochs=1, seed=1,
                               patch=32, n_patches=1, progress_bar=False)
    return torch.cat([tensor.flatten() for tensor
                      in model.network.state_dict().values()]).numpy()


VERBS = {
    'denoise': lambda: denoise(FRAME),
    'dask': frame_from_dask,
    'gc-mixed': lambda: denoise(COUNTS, 'gc-mixed'),
    'gc-gaussian': lambda: denoise(COUNTS, 'gc-gaussian'),
    'segment': lambda: segment_point_sources(COUNTS).flux,
    'segment-ccd': lambda: segment_point_sources(FRAME, 'ccd-sources',
                                                 threshold=0.0).flux,
    'estimate': lambda: estimate_parameters(
        COUNTS, seed=1, n_samples=20, return_samples=True)[1],
    'galactic-sky': lambda: estimate_parameters(
        COUNTS, 'galactic-sky', seed=1, n_samples=20,
        return_samples=True)[1],
    'simulate': lambda: GalacticCenterSimulator().sample(1, seed=1)[0],
    'train': trained,
}


def settings():
    return (torch.get_default_dtype(), torch.get_default_device(),
            torch.is_autocast_enabled('cpu'),
            torch.is_autocast_cache_enabled(),
            torch.is_inference_mode_enabled(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled())


@pytest.fixture(scope='module')
def expected():
    """
    Results with torch as it is after its import.
    """
    results = {}

    def of(verb):
        if verb not in results:
            results[verb] = np.asarray(VERBS[verb]())
        return results[verb]

    return of


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('verb', VERBS)
@pytest.mark.parametrize('setting', SETTINGS)
def test_settings_of_the_user(setting, verb, expected, monkeypatch):
    wanted = expected(verb)
    # Models are loaded again, as in a new process.
    monkeypatch.setattr(registry, '_loaded', {})
    state = torch.get_rng_state()
    with SETTINGS[setting]():
        before = settings()
        found = np.asarray(VERBS[verb]())
        assert settings() == before
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(('name', 'task'), sorted(registry._shipped(),
                                                  key=str))
def test_loading_draws_nothing(name, task, monkeypatch):
    monkeypatch.setattr(registry, '_loaded', {})
    state = torch.get_rng_state()
    with default_dtype(torch.float64), torch.inference_mode():
        model = load_model(name, task=task)
    assert torch.equal(torch.get_rng_state(), state)
    tensors = [*model.network.parameters(), *model.network.buffers()]
    assert {tensor.dtype for tensor in tensors
            if tensor.is_floating_point()} == {torch.float32}
    assert not any(tensor.is_inference() or tensor.is_meta
                   for tensor in tensors)


def test_settings_are_kept_until_the_last_thread_has_left():
    entered, leave = threading.Event(), threading.Event()
    seen = []

    def work():
        with shielded():
            entered.set()
            leave.wait(10.0)
            seen.append(torch.get_default_dtype())

    with default_dtype(torch.float64):
        thread = threading.Thread(target=work)
        thread.start()
        entered.wait(10.0)
        with shielded():
            assert torch.get_default_dtype() == torch.float32
        leave.set()
        thread.join()
        assert seen == [torch.float32]
        assert torch.get_default_dtype() == torch.float64


def test_only_the_thread_that_forked_is_left():
    # Its own settings stay, those that others need do not.
    leave = threading.Event()
    settings = shield._Settings()
    with default_dtype(torch.float64):
        thread = threading.Thread(
            target=lambda: (settings.take(), leave.wait(10.0)))
        thread.start()
        settings.take()
        settings.forget_threads()
        assert torch.get_default_dtype() == torch.float32
        settings.leave()
        assert torch.get_default_dtype() == torch.float64
        settings.take()
        settings.leave()
        leave.set()
        thread.join()

        other = threading.Thread(target=settings.take)
        other.start()
        other.join()
        assert torch.get_default_dtype() == torch.float32
        settings.forget_threads()
        assert torch.get_default_dtype() == torch.float64


def test_settings_come_back_after_an_error():
    with (default_dtype(torch.float64), deterministic(),
          torch.inference_mode()):
        before = settings()
        with pytest.raises(ValueError, match='data'), shielded():
            denoise(np.full((20, 20), np.nan), 'gc-mixed')
        assert settings() == before
