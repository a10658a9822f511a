# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of training on one's own frames, by short trainings.
"""

import json
import os
import signal
import types

import numpy as np
import pytest
import torch
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from numpy.testing import assert_allclose

from astro_denoise import denoise, load_model, train_denoiser
from astro_denoise.models.blind_spot import BlindSpotDenoiser
from astro_denoise.models.denoiser import CCDDenoiser
from astro_denoise.models.registry import Model
from astro_denoise.training import (
    datasets,
    denoiser,
    judgement,
    methods,
)
from astro_denoise.training.batches import BatchPlan, recorrupted
from astro_denoise.training.frame_store import FrameFolder, open_images
from astro_denoise.training.methods import METHODS, fitting_kernels
from astro_denoise.training.restoration import design_kernels
from astro_denoise.training.scenes import draw_scenes

BLIND = ('noise2void', 'n2v2', 'pn2v')


class InterruptedTrainingError(Exception):
    pass


@pytest.fixture(autouse=True)
def _small(monkeypatch, small_network):
    """
    Short epochs, few skies, and a small network in the place of ccd.
    """
    monkeypatch.setattr(denoiser, 'EPOCH', 3)
    monkeypatch.setattr(datasets, '_N_SKIES', 2)
    monkeypatch.setattr(datasets, '_FEWEST_BATCHES', 1)
    model = Model(small_network((6, 8), (1.5, 3.0), scale=0.05),
                  {'name': 'ccd', 'task': 'denoise'})
    monkeypatch.setattr(
        methods, 'load_model',
        lambda name, **options: model if name == 'ccd'
        else load_model(name, **options))
    monkeypatch.setattr(judgement, 'load_model',
                        lambda name, **options: model)
    for method in METHODS.values():
        if getattr(method, 'network', None):
            monkeypatch.setitem(method.network, 'widths', (6, 8))


def make_frame(seed=0, shape=(96, 96), noise=5.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]]
    values = 100.0 + noise * rng.standard_normal(shape)
    for row, column in ((20, 30), (70, 60), (40, 80)):
        values += 300.0 * np.exp(-((x - column)**2 + (y - row)**2) / 8.0)
    return CCDData(values, unit='adu', meta={'GAIN': 4.0, 'RON': 3.0})


def train(images=None, method='noise2void', **options):
    if images is None:
        images = [make_frame(0), make_frame(1)]
    return train_denoiser(images, method, **{
        'epochs': 1, 'seed': 1, 'patch': 32, 'n_patches': 2,
        'progress_bar': False, 'precision': 'float32', **options})


def assert_same(one, other):
    for (name, first), second in zip(
            one.network.state_dict().items(),
            other.network.state_dict().values(), strict=True):
        assert torch.equal(first, second), name


@pytest.mark.parametrize(('method', 'given', 'expected'), [
    ('r2r', None, 1.0), ('gr2r', None, 0.5), ('r2r', 0.7, 0.7)])
def test_each_method_recorrupts_as_it_says(monkeypatch, method, given,
                                           expected):
    used = []
    prepare = type(METHODS[method]).prepare

    def spy(self, frames, options):
        used.append(options.recorruption)
        return prepare(self, frames, options)

    monkeypatch.setattr(type(METHODS[method]), 'prepare', spy)
    options = {} if given is None else {'recorruption': given}
    model = train(method=method, **options)
    assert set(used) == {expected}
    assert model.metadata['training']['recorruption'] == expected


@pytest.mark.parametrize('method', [*BLIND, 'r2r', 'struct_n2v',
                                    'noise2noise', 'gr2r'])
def test_a_model_is_a_file(tmp_path, method):
    model = train(method=method, gain='GAIN', read_noise='RON',
                  name='my-survey')
    path = tmp_path / 'survey.safetensors'
    model.save(path)
    loaded = load_model(path)
    assert loaded.name == 'my-survey'
    training = loaded.metadata['training']
    assert training['method'] == method
    assert training['seed'] == 1
    assert training['n_steps'] == 3
    frames = training['frames']
    assert frames['n_frames'] == 2
    assert frames['n_pixels'] == 2 * 96**2
    assert len(frames['sha256']) == 64
    assert frames['noise'] == ['gain']
    assert frames['gain'] == 4.0
    assert loaded.metadata['figures']['score_kind'] == (
        'noise2noise' if method == 'noise2noise' else 'sure')
    assert np.isfinite(loaded.metadata['figures']['score'])
    frame = make_frame(5)
    result = denoise(frame, model=path, gain='GAIN', read_noise='RON')
    assert result.header['DNMODEL'] == 'my-survey'
    assert np.isfinite(result.data).all()
    assert (result.uncertainty.array > 0).all()
    assert np.abs(result.data - frame.data).max() < 6.1 * 15.0


def test_supervised(monkeypatch):
    calibrated = []
    monkeypatch.setattr(datasets, 'calibrate_uncertainty',
                        lambda network, scenes, **options:
                        calibrated.append(scenes))
    scenes = draw_scenes(2, seed=1, size=130)
    model = train(scenes, 'supervised', n_patches=4)
    assert calibrated == [scenes[:1]]
    assert model.metadata['figures']['score_kind'] == 'truth'
    assert model.metadata['training']['frames']['n_scenes'] == 2
    with pytest.raises(ValueError, match=r'128 or more pixels .*, got 100'):
        train(draw_scenes(2, seed=1, size=100), 'supervised')
    with pytest.raises(TypeError, match='noise-free Scene objects'):
        train([make_frame(), make_frame()], 'supervised')


@pytest.mark.parametrize('method', ['noise2noise', 'gr2r'])
@pytest.mark.parametrize(('psf_fwhm', 'low', 'high'), [
    (None, 4.0, 6.0), (7.0, 6.65, 7.35)])
def test_skies_have_the_seeing_of_the_frames(monkeypatch, method, psf_fwhm,
                                             low, high):
    drawn, calibrated = [], []
    original = datasets.draw_scenes

    def draw(*args, **options):
        drawn.extend(original(*args, **options))
        return drawn

    monkeypatch.setattr(datasets, 'draw_scenes', draw)
    monkeypatch.setattr(
        datasets, 'calibrate_uncertainty',
        lambda network, scenes, **options: calibrated.extend(scenes))
    train(method=method, psf_fwhm=psf_fwhm)
    assert len(drawn) == len(calibrated) == 2
    # Sources of make_frame have a FWHM of 4.7 pixels.
    assert all(low < scene.psf_fwhm < high for scene in drawn + calibrated)


@pytest.mark.parametrize(('images', 'most'), [('frames', 24), ('skies', 40)])
def test_a_short_training_is_calibrated_for_a_short_time(monkeypatch, images,
                                                         most):
    lengths = []
    monkeypatch.setattr(datasets, '_FEWEST_BATCHES', 3)
    monkeypatch.setattr(datasets, 'calibrate_uncertainty',
                        lambda network, skies, *, n_batches, **options:
                        lengths.append(n_batches))
    monkeypatch.setattr(datasets, 'level_pattern', lambda *args, **opts: None)
    if images == 'skies':
        data = datasets.SimulatedSkies(draw_scenes(2, size=128), BatchPlan())
    else:
        data = datasets.SurveyFrames(
            types.SimpleNamespace(hash='', frames=[types.SimpleNamespace(
                shape=(300, 300), fwhm=3.0,
                noise={'gain': None}, correlation=(0.0, 0.0))]), None,
            BatchPlan(), pairs=False, with_skies=False)
    for number in (data.n_pixels, 1e5, 1e7, 2.62e7, 1e9):
        data.n_pixels = number
        data.calibrate(BlindSpotDenoiser((6, 8)), None)
    assert lengths == [most, 3, 3, 9, most]


@pytest.mark.parametrize(('rank', 'size'), [(0, 2), (1, 2)])
def test_each_process_has_the_same_skies(tmp_path, rank, size):
    def batch(rank, size):
        folder = tmp_path / f'{rank} of {size}'
        folder.mkdir()
        frames = FrameFolder(folder, patch=32)
        frames.read(open_images(make_frame()))
        return datasets.SurveyFrames(
            frames, recorrupted(0.5), BatchPlan(32, 4, 1, rank, size),
            pairs=False, with_skies=True).batch([1, 5])

    whole, part = batch(0, 1), batch(rank, size)
    assert len(whole['x']) == 4
    assert_allclose(part['x'], whole['x'][rank::size])
    assert len(whole['sky_x']) == 4
    for name in ('sky_x', 'sky_truth', 'sky_context'):
        assert_allclose(part[name], whole[name])


def test_it_learns():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:128, :128]
    waves = 20.0 * np.sin(x / 4.0) * np.sin(y / 3.0)
    frame = CCDData(waves + 5.0 * rng.standard_normal(waves.shape),
                    unit='adu', uncertainty=StdDevUncertainty(
                        np.full(waves.shape, 5.0)))
    scores = [train(frame, 'noise2void', epochs=epochs,
                    patch=64).metadata['figures']['score']
              for epochs in (1, 40)]
    # Nothing predicted leaves the waves, whose mean square is 4.
    assert 0.0 < scores[1] < 2.0 < scores[0] < 5.0


def test_same_seed_same_model():
    models = [train(seed=seed) for seed in (1, 1, 2)]
    assert_same(models[0], models[1])
    weight = [model.network.head.weight for model in models]
    assert not torch.equal(weight[0], weight[2])
    state = torch.random.get_rng_state()
    train()
    assert torch.equal(state, torch.random.get_rng_state())


def fail_at(monkeypatch, step):
    """
    The power fails.
    """
    original = torch.optim.AdamW.step
    calls = []

    def stop(self, *arguments):
        calls.append(1)
        if len(calls) == step:
            raise InterruptedTrainingError
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, 'step', stop)


def signal_at(monkeypatch, steps, number):
    """
    A signal comes within some steps.
    """
    original = torch.optim.AdamW.step
    calls = []

    def step(self, *arguments):
        calls.append(1)
        if len(calls) in steps:
            os.kill(os.getpid(), number)
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, 'step', step)


@pytest.mark.parametrize(('number', 'keeps_checkpoint'), [
    (signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False)])
def test_a_signal_ends_with_the_best_weights(tmp_path, monkeypatch, caplog,
                                             number, keeps_checkpoint):
    files = {'log': tmp_path / 'log.ecsv', 'figure': tmp_path / 'log.png'}
    if keeps_checkpoint:
        files['checkpoint'] = tmp_path / 'state.pt'
    handlers = signal.getsignal(number)
    with monkeypatch.context() as patch:
        signal_at(patch, [5], number)
        model = train(epochs=40, **files)
    assert signal.getsignal(number) is handlers
    training = model.metadata['training']
    assert training['n_steps'] == 5
    assert training['signal'] == signal.Signals(number).name
    assert f'stopped by {training["signal"]} after 5 steps' in caplog.text
    table = Table.read(files['log'])
    assert list(table['step']) == [3, 5]
    assert_allclose(table['score'].min(), model.metadata['figures']['score'],
                    rtol=1e-3)
    if keeps_checkpoint:
        # As if nothing had been: the row of the early end is not in it.
        resumed = train(epochs=4, checkpoint=None)
        other = tmp_path / 'other.pt'
        with monkeypatch.context() as patch:
            signal_at(patch, [5], number)
            train(epochs=4, checkpoint=other)
        assert_same(train(epochs=4, checkpoint=other), resumed)


def test_sigterm_leaves_a_checkpoint(tmp_path, monkeypatch):
    checkpoint = tmp_path / 'state.pt'
    expected = train(epochs=3)
    with monkeypatch.context() as patch:
        signal_at(patch, [4], signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt, match='15'):
            train(epochs=3, checkpoint=checkpoint, log=tmp_path / 'a.ecsv')
    assert [path.name for path in tmp_path.iterdir()] == ['state.pt']
    assert_same(train(epochs=3, checkpoint=checkpoint), expected)


def test_a_second_signal_stops(tmp_path, monkeypatch):
    def stop(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(torch.optim.AdamW, 'step', stop)
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=tmp_path / 'state.pt')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('method', ['pn2v', 'gr2r'])
def test_resumed_training(tmp_path, monkeypatch, method):
    expected = train(method=method, epochs=3)
    checkpoint = tmp_path / 'state.pt'
    with monkeypatch.context() as patch:
        fail_at(patch, 6)
        with pytest.raises(InterruptedTrainingError):
            train(method=method, epochs=3, checkpoint=checkpoint,
                  checkpoint_minutes=1e-9)
    # The seed is that of the checkpoint.
    model = train(method=method, epochs=3, checkpoint=checkpoint, seed=None)
    assert_same(model, expected)
    assert (model.metadata['figures'] == expected.metadata['figures'])


def test_checkpoint_of_another_configuration(tmp_path):
    checkpoint = tmp_path / 'state.pt'
    train(checkpoint=checkpoint)
    for options in ({'method': 'n2v2'}, {'images': make_frame(4)},
                    {'masked_fraction': 0.01}, {'seed': 9}):
        with pytest.raises(ValueError, match=r'state\.pt was written for'):
            train(checkpoint=checkpoint, **options)


def test_minutes():
    model = train(epochs=None, minutes=0.02)
    training = model.metadata['training']
    assert 1 <= training['n_steps'] < 10**5
    assert training['epochs'] is None


def test_patience(monkeypatch):
    scores = iter([3.0, 2.0, 2.5, 2.5, 9.0, 9.0])
    monkeypatch.setattr(
        denoiser, 'squared_errors',
        lambda *args: torch.tensor(next(scores)))
    model = train(epochs=6, patience=2)
    assert model.metadata['training']['n_steps'] == 12
    assert model.metadata['figures']['score'] == 2.0


def test_log_and_figure(tmp_path):
    log, figure = tmp_path / 'log.ecsv', tmp_path / 'log.png'
    model = train(epochs=2, log=log, figure=figure)
    table = Table.read(log)
    assert table.colnames == ['step', 'loss', 'gradient', 'minutes', 'score']
    assert list(table['step']) == [3, 6]
    assert_allclose(table['score'].min(), model.metadata['figures']['score'],
                    rtol=1e-3)
    assert table.meta['hash'] == model.hash
    assert table.meta['training']['method'] == 'noise2void'
    assert figure.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('name', ['log', 'figure', 'checkpoint'])
def test_files_are_checked_before_the_training(tmp_path, name):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        train([], **{name: tmp_path / 'no' / 'file'})


def test_bad_pixels_change_nothing():
    frames = [make_frame(0), make_frame(1)]
    masked = []
    for number, frame in enumerate(frames):
        bad = np.random.default_rng(number).random(frame.shape) < 0.05
        masked.append(CCDData(np.where(bad, 1e7, frame.data), unit='adu',
                              mask=bad))
        frame.data[bad] = np.nan
    assert_same(train(frames), train(masked))


def test_a_model_is_trained_further():
    first = train()
    again = train(model=first, epochs=2)
    assert again.metadata['training']['start'] == 'noise2void'
    assert again.network.config == first.network.config
    with pytest.raises(ValueError, match='cannot be trained by this method'):
        train(method='gr2r', model=first)
    with pytest.raises(ValueError, match='cannot be trained by this method'):
        train(model='ccd')


def test_measured_histogram():
    frames = [make_frame(seed, (160, 160)) for seed in range(2)]
    model = train(frames, 'pn2v', noise_model='histogram')
    mixture = model.network.config['noise_mixture']
    weight, mean, width = np.transpose(mixture)
    assert_allclose((weight * (mean**2 + width**2)).sum(), 1.0, rtol=0.1)
    assert model.metadata['training']['noise_model'] == 'histogram'


@pytest.mark.parametrize(('fwhm', 'given', 'expected'), [
    (2.0, None, 2.0), (9.0, None, 9.0), (None, 12.0, 12.0),
    (None, None, None), (2.0, 6.0, 6.0)])
def test_kernels_follow_the_frames(fwhm, given, expected):
    network = CCDDenoiser((2, 4), (1.5, 3.0))
    frames = [types.SimpleNamespace(fwhm=fwhm)] * 2
    fitted = fitting_kernels(network, frames, given)
    if expected is None or expected <= 3.0:
        assert fitted is network
        return
    fwhms = fitted.config['kernel_fwhms']
    assert fwhms[0] < expected < fwhms[-1]
    assert_allclose(np.diff(np.log(fwhms)), np.log(fwhms[1] / fwhms[0]),
                    rtol=1e-2)
    assert_allclose(fitted.kernels, design_kernels(fwhms, faithfulness=40.0))
    assert torch.equal(fitted.head.weight, network.head.weight)


@pytest.mark.parametrize(('options', 'message'), [
    ({'method': 'n3v'}, "method must be one of .*, got 'n3v'"),
    ({'patch': 30}, 'patch must be a multiple of 16 .*, got 30'),
    ({'epochs': 0}, 'epochs must be positive, got 0'),
    ({'minutes': -1}, 'minutes must be positive, got -1'),
    ({'checkpoint_minutes': 0}, 'checkpoint_minutes must be positive, got 0'),
    ({'masked_fraction': 0.5}, 'masked_fraction must be .*, got 0.5'),
    ({'noise_model': 'best'}, "noise_model must be .*, got 'best'"),
    ({'method': 'gr2r', 'recorruption': 0.0}, 'recorruption must be'),
    ({'patch': 128}, 'image 1: .* smaller than a patch of 128'),
    ({'method': 'noise2noise', 'images': make_frame()},
     'two or more exposures of each field, got image 1 alone'),
    ({'method': 'noise2noise',
      'images': [[make_frame(), make_frame(shape=(96, 80))]]},
     'images of one field must have one shape'),
    ({'images': []}, 'at least one frame')])
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    seen = []

    def step(self, *arguments):
        seen.extend(tmp_path.iterdir())

    monkeypatch.setattr(torch.optim.AdamW, 'step', step)
    train(folder=tmp_path)
    # Not even while it is at work, so that no way to end leaves anything.
    assert seen == list(tmp_path.iterdir()) == []


def test_header_is_json():
    model = train(method='pn2v')
    assert json.loads(json.dumps(model.metadata)) == model.metadata
    assert isinstance(model.network, BlindSpotDenoiser)
