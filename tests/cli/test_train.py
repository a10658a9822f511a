# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the command train; the training itself is tested elsewhere.
"""

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from astropy.io import fits
from safetensors.torch import load_file

import astro_denoise
from astro_denoise.cli import main
from astro_denoise.training import denoiser
from astro_denoise.training.method_names import METHOD_NAMES
from astro_denoise.training.methods import METHODS


class TrainedModel:
    """
    What the training returns.
    """

    metadata: ClassVar = {'figures': {'squared_errors': {
        'trained': {'all': 0.051, 'blank': 0.02, 'faint': 0.4,
                    'bright': None}}, 'flux_kept': [
        {'snr': 3.2, 'kept': 0.512, 'error': 0.04, 'number': 30},
        {'snr': 9.0, 'kept': None, 'error': None, 'number': 2},
        {'snr': 40.0, 'kept': 0.98, 'error': 0.01, 'number': 50}]}}

    def save(self, path, *, overwrite):
        Path(path).write_text(f'{overwrite}')


@pytest.fixture
def trained(monkeypatch):
    """
    The calls of the training, which is not run here.
    """
    calls = []
    shipped = types.ModuleType('shipped')
    shipped.train_shipped = lambda *args, **options: calls.append(
        (args, options))
    monkeypatch.setitem(sys.modules, 'astro_denoise.training.recipes.shipped',
                        shipped)

    def train_denoiser(*args, **options):
        calls.append((args, options))
        return TrainedModel()

    monkeypatch.setattr(astro_denoise, 'train_denoiser', train_denoiser)
    return calls


def fails(args, capsys):
    assert main(args) == 1
    output = capsys.readouterr()
    assert output.out == ''
    assert output.err.startswith('astro-denoise: error: ')
    assert len(output.err.splitlines()) == 1
    return output.err


def test_help_fits_a_screen(capsys):
    assert main(['train', '--help']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 79
    assert lines[-2] == 'example:'
    assert lines[-1].startswith('  astro-denoise train ')


def test_example_of_the_help_is_valid(tmp_path, monkeypatch, capsys,
                                      trained):
    monkeypatch.chdir(tmp_path)
    main(['train', '--help'])
    words = capsys.readouterr().out.splitlines()[-1].split()[1:]
    assert main(words) == 0
    (images, method), options = trained[0]
    assert (images, method) == (['*.fits'], 'gr2r')
    assert options['minutes'] == 15


def test_frames(tmp_path, capsys, trained):
    output = tmp_path / 'survey.safetensors'
    assert main(['train', 'a.fits', 'b.fits', '--method', 'pn2v', '-o',
                 str(output), '--gain', 'GAIN', '--read-noise', '9',
                 '--saturation', '60000', '--steps', '250', '--seed', '3',
                 '--hdu', 'SCI,2', '--checkpoint', 'state.pt', '--model',
                 'old.safetensors']) == 0
    assert trained == [((['a.fits', 'b.fits'], 'pn2v'), {
        'model': 'old.safetensors', 'epochs': 3, 'seed': 3,
        'gain': 'GAIN', 'read_noise': 9.0, 'saturation': 60000.0,
        'hdu': ('SCI', 2), 'checkpoint': 'state.pt', 'name': 'survey',
        'progress_bar': False, 'log': tmp_path / 'survey.ecsv',
        'figure': tmp_path / 'survey.png'})]
    assert output.read_text() == 'False'
    line = (f'{output}: flux kept: 0.98 ± 0.01 at S/N 40, 0.51 ± 0.04 at '
            f'S/N 3.2')
    assert capsys.readouterr().out.splitlines() == [line]
    args = ['train', 'a.fits', '-o', str(output), '--overwrite']
    assert main([*args, '--quiet']) == 0
    assert capsys.readouterr().out == ''
    assert main([*args, '--verbose']) == 0
    assert capsys.readouterr().out.splitlines() == [
        line, 'squared error      all   blank   faint  bright',
        'trained          0.051   0.020   0.400       -']


def test_every_option_reaches_the_training(tmp_path, trained):
    output = tmp_path / 'survey.safetensors'
    assert main(['train', 'a.fits', '-o', str(output), '--device', 'cpu',
                 '--psf-fwhm', '3.5', '--patch', '64', '--patience', '7',
                 '--folder', str(tmp_path)]) == 0
    (images, method), options = trained[0]
    assert (images, method) == (['a.fits'], 'gr2r')
    assert {name: options[name] for name in (
        'device', 'psf_fwhm', 'patch', 'patience', 'folder')} == {
        'device': 'cpu', 'psf_fwhm': 3.5, 'patch': 64, 'patience': 7,
        'folder': str(tmp_path)}


def test_skies_are_drawn(tmp_path, trained):
    assert main(['train', '--method', 'supervised', '-o',
                 str(tmp_path / 'new.safetensors')]) == 0
    assert trained[0][0] == (None, 'supervised')


def test_fields_are_told_by_a_keyword(tmp_path, monkeypatch, trained,
                                      capsys):
    monkeypatch.chdir(tmp_path)
    for name, field in (('a', 'M13'), ('b', 'M51'), ('c', 'M13')):
        hdu = fits.ImageHDU(np.zeros((4, 4)), fits.Header({'OBJECT': field}))
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(f'{name}.fits')
    args = ['train', 'a.fits', 'b.fits', 'c.fits', '--method', 'noise2noise',
            '-o', 'new.safetensors', '--group-by']
    assert main([*args, 'OBJECT']) == 0
    assert trained[0][0] == ([['a.fits', 'c.fits'], ['b.fits']],
                             'noise2noise')
    capsys.readouterr()
    assert "a.fits: --group-by 'FIELD'" in fails(
        [*args, 'FIELD', '--overwrite'], capsys)


def test_names_of_the_methods():
    assert set(METHOD_NAMES) == set(METHODS)


def test_only_the_first_process_writes(tmp_path, capsys, trained,
                                       monkeypatch):
    monkeypatch.setenv('RANK', '1')
    output = tmp_path / 'survey.safetensors'
    assert main(['train', 'a.fits', '--method', 'n2v2', '-o',
                 str(output)]) == 0
    assert len(trained) == 1
    assert not output.exists()
    assert capsys.readouterr().out == ''


def test_recipe(tmp_path, trained):
    threads = torch.get_num_threads()
    output = tmp_path / 'new.safetensors'
    try:
        assert main(['train', '--recipe', 'ccd-mmse', '-o', str(output),
                     '--seed', '5', '--checkpoint', 'ckpt', '--steps', '10',
                     '--threads', '1']) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert trained == [(('ccd-mmse', output), {
        'seed': 5, 'checkpoint': 'ckpt', 'n_steps': 10, 'overwrite': False,
        'progress_bar': False})]


def test_recipe_has_a_seed(tmp_path, trained):
    assert main(['train', '--recipe', 'ccd', '-o',
                 str(tmp_path / 'new.safetensors')]) == 0
    assert trained[0][1]['seed'] == 1


@pytest.mark.parametrize('name', ['old.safetensors', 'old.ecsv'])
@pytest.mark.parametrize('what', [['--recipe', 'ccd'],
                                  ['a.fits', '--method', 'gr2r']])
def test_what_exists_is_kept(tmp_path, trained, capsys, name, what):
    (tmp_path / name).write_text('precious')
    args = ['train', *what, '-o', str(tmp_path / 'old.safetensors')]
    assert 'file exists' in fails(args, capsys)
    assert trained == []
    assert main([*args, '--overwrite']) == 0


@pytest.mark.parametrize(('args', 'message'), [
    (['a.fits', '--method', 'supervised'], 'takes no FRAME'),
    (['a.fits', '--group-by', 'OBJECT'], '--group-by is for --method noise2'),
    (['--recipe', 'ccd', '--patch', '64'], '--recipe takes no patch'),
    (['--method', 'n2v2'], 'FRAME is needed'),
    (['a.fits', '--recipe', 'ccd'], '--recipe takes no frames'),
    (['--recipe', 'ccd', '--minutes', '3'], '--recipe takes no minutes'),
    (['--recipe', 'ccd', '--read-noise', '3'],
     '--recipe takes no read-noise')])
def test_what_does_not_fit(tmp_path, trained, capsys, args, message):
    args = ['train', *args, '-o', str(tmp_path / 'new.safetensors')]
    assert message in fails(args, capsys)
    assert trained == []


def test_ending(tmp_path, trained, capsys):
    args = ['train', '--recipe', 'ccd', '-o', str(tmp_path / 'new.pt')]
    assert '-o must end in .safetensors' in fails(args, capsys)


@pytest.mark.parametrize('args', [
    ['--recipe', 'nothing'], ['a.fits', '--method', 'nothing'],
    ['a.fits', '--method', 'gr2r', '--minutes', 'x']])
def test_wrong_command_line(args, capsys):
    assert main(['train', '-o', 'a.safetensors', *args]) == 2
    assert ': error: ' in capsys.readouterr().err


@pytest.mark.parametrize(('given', 'expected'), [
    ([], {}), (['--checkpoint-minutes', '0.5'], {'checkpoint_minutes': 0.5})])
def test_checkpoint_minutes(tmp_path, trained, given, expected):
    assert main(['train', 'a.fits', '--method', 'n2v2', '-o',
                 str(tmp_path / 'new.safetensors'), *given]) == 0
    options = trained[0][1]
    assert {name: value for name, value in options.items()
            if name == 'checkpoint_minutes'} == expected


COMMAND = ['train', 'a.fits', '--method', 'noise2void', '--steps', '100',
           '--seed', '1', '--threads', '1', '--no-progress',
           '--checkpoint-minutes', '0.001']


def started(folder, *args):
    """
    The command as a process of its own, with a small network.
    """
    code = ('import sys\n'
            'from astro_denoise.cli import main\n'
            'from astro_denoise.training import denoiser, methods\n'
            'denoiser.EPOCH = 30\n'
            "methods.METHODS['noise2void'].network['widths'] = (6, 8)\n"
            'sys.exit(main())\n')
    (folder / 'temporary').mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, '-c', code, *COMMAND, *args], cwd=folder,
        env={**os.environ, 'TMPDIR': str(folder / 'temporary'),
             'PYTHONPATH': str(Path(astro_denoise.__file__).parents[1])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(folder):
    return sorted(path.name for path in folder.rglob('*') if path.is_file())


@pytest.mark.skipif(os.name != 'posix', reason='needs SIGKILL')
def test_killed_and_started_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(denoiser, 'EPOCH', 30)
    monkeypatch.setitem(METHODS['noise2void'].network, 'widths', (6, 8))
    rng = np.random.default_rng(1)
    fits.writeto('a.fits', rng.normal(100.0, 5.0, (144, 144)))
    threads = torch.get_num_threads()
    resumed = ('-o', 'new.safetensors', '--checkpoint', 'state.pt')
    state = tmp_path / 'state.pt'
    for number, status in ((signal.SIGTERM, 143),
                           (signal.SIGKILL, -signal.SIGKILL)):
        last = state.stat().st_mtime_ns if state.exists() else 0
        process = started(tmp_path, *resumed)
        deadline = time.monotonic() + 120.0
        while not state.exists() or state.stat().st_mtime_ns == last:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == status, errors
        # No copies of frames, and no model that is not finished.
        assert [name for name in names(tmp_path) if '.part' not in name] == [
            'a.fits', 'state.pt']
    try:
        assert main([*COMMAND, *resumed]) == 0
        assert main([*COMMAND, '-o', 'whole.safetensors']) == 0
    finally:
        torch.set_num_threads(threads)
    assert names(tmp_path) == sorted([
        'a.fits', 'state.pt', *(f'{name}.{ending}' for name in
                                ('new', 'whole') for ending in
                                ('ecsv', 'png', 'safetensors'))])
    models = [load_file(f'{name}.safetensors') for name in ('new', 'whole')]
    assert all(torch.equal(models[0][name], models[1][name])
               for name in models[1])
