# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the command train; the training itself is tested elsewhere.
"""

import sys
import types
from pathlib import Path

import pytest
import torch

import astro_denoise
from astro_denoise.cli import main


class TrainedModel:
    """
    What the training returns.
    """

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
        'model': 'old.safetensors', 'epochs': 3, 'minutes': None, 'seed': 3,
        'gain': 'GAIN', 'read_noise': 9.0, 'saturation': 60000.0,
        'hdu': ('SCI', 2), 'checkpoint': 'state.pt', 'name': 'survey',
        'progress_bar': False, 'log': tmp_path / 'survey.ecsv',
        'figure': tmp_path / 'survey.png'})]
    assert output.read_text() == 'False'
    assert capsys.readouterr().out == f'{output}\n'


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
    (['a.fits'], '--method is needed'),
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
