# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what commands print.
"""

import io
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_denoise.cli import main
from astro_denoise.cli.common import print_error, printable, tell
from astro_denoise.cli.main import _printable_messages

EVIL = '\x1b]0;owned\x07\x1b[2J'


@pytest.mark.parametrize(('text', 'expected'), [
    ('Centauro è 3 µm', 'Centauro è 3 µm'), ('a\nb\tc', 'a\nb\tc'),
    ('\x1b[31m', r'\x1b[31m'), ('\r\x07\x08', r'\r\x07\x08'),
    ('\x9b31m', r'\x9b31m'), ('\u202efits', r'\u202efits'),
    ('\udcff.fits', r'\udcff.fits'), ('\0', r'\x00')])
def test_printable(text, expected):
    assert printable(text) == expected


def test_one_line():
    assert printable('a\nb', lines=False) == r'a\nb'


def test_terminal_of_few_letters():
    file = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    tell('5 µm \udcff', file=file)
    file.flush()
    assert file.buffer.getvalue() == b'5 \\xb5m \\udcff\n'


def test_error_in_one_line(capsys):
    print_error(f'no {EVIL}\nsecond')
    assert capsys.readouterr().err == (
        'astro-denoise: error: no \\x1b]0;owned\\x07\\x1b[2J\\nsecond\n')


def test_summary_of_a_model(tmp_path, capsys, half_sigma_model):
    path = tmp_path / f'{EVIL}.safetensors'
    half_sigma_model(summary=f'good {EVIL}').save(path)
    assert main(['models', str(path)]) == 0
    told = capsys.readouterr()
    assert '\x1b' not in told.out
    assert told.out.count(r'\x1b]0;owned\x07') == 2


@pytest.mark.parametrize('command', [
    'denoise {} -o out.fits', 'denoise {} {} -o out/',
    'segment {} -o out.fits', 'estimate {} -o out.ecsv',
    'photometry {} {} -o out.ecsv', 'check {} {}',
    'train {} --method noise2void -o out.safetensors', 'models {}',
    'denoise {} -o {}.txt', 'denoise {} -o out.fits --unknown {}'])
def test_no_command_prints_escape_sequences(command, tmp_path, monkeypatch,
                                            capfd):
    monkeypatch.chdir(tmp_path)
    name = f'a{EVIL}.fits'
    (tmp_path / name).write_bytes(b'SIMPLE  = ' + EVIL.encode())
    assert main([word.format(name) for word in command.split()]) != 0
    told = capfd.readouterr()
    assert '\x1b' not in told.out + told.err
    assert r'\x1b' in told.err


def test_warnings(tmp_path):
    # In a process of its own: pytest has handlers of its own.
    name = f'a{EVIL}.fits'
    image = np.random.default_rng(1).normal(100.0, 5.0, (40, 50))
    header = fits.Header({'BUNIT': 'adu', 'GAIN': 2.0})
    hdus = fits.HDUList([fits.PrimaryHDU(image.astype('f4'), header),
                         fits.ImageHDU(image.astype('f4'))])
    hdus.writeto(tmp_path / name)
    (tmp_path / 'b.fits').write_bytes(b'SIMPLE  = ' + EVIL.encode())
    done = subprocess.run(
        [sys.executable, '-c', 'from astro_denoise.cli import main; main()',
         'denoise', name, 'b.fits', '-o', 'out/', '--no-progress'],
        check=False, cwd=tmp_path, capture_output=True, timeout=300)
    assert b'\x1b' not in done.stdout + done.stderr
    assert b'WARNING: SkippedImageWarning: ' in done.stderr
    assert done.stderr.count(b'\\x1b]0;owned') == 1
    assert b'error: b.fits: ' in done.stderr


def test_log_messages_with_tracebacks(capsys):
    record = logging.makeLogRecord({
        'msg': '%s failed', 'args': (EVIL,), 'levelno': logging.ERROR,
        'exc_info': (ValueError, ValueError(EVIL), None)})
    with _printable_messages():
        logging.lastResort.handle(record)
    told = capsys.readouterr().err
    assert '\x1b' not in told
    assert told.count(r'\x1b]0;owned') == 2


def test_weights_are_never_printed_as_they_are(tmp_path, capsys):
    path = tmp_path / 'a.safetensors'
    torch.save({'a': EVIL}, path)
    main(['models', str(path)])
    assert '\x1b' not in capsys.readouterr().err


@pytest.mark.parametrize('command', [
    'denoise a.fits -o a.fits', 'denoise a.fits -o ./link.fits',
    'denoise a.fits -o b.fits --mask b.fits',
    'denoise a.fits -o b.fits --uncertainty b.fits',
    'denoise a.fits b.fits -o ./', 'denoise a.fits -o out/ --mask out/a.fits',
    'segment a.fits -o a.fits', 'segment a.fits -o b.fits --mask b.fits',
    'segment c.ecsv -o b.fits --catalog c.ecsv',
    'estimate c.ecsv -o c.ecsv',
    'estimate a.fits b.fits -o c.ecsv --samples b.fits',
    'photometry a.fits c.ecsv -o c.ecsv',
    'check c.ecsv -o c.ecsv', 'check d.ecsv --raw c.ecsv -o c.ecsv',
    'check p.png -o d.ecsv --plot p.png',
    'train a.fits --method gr2r -o m.safetensors --model m.safetensors',
    'train m.ecsv --method gr2r -o m.safetensors'])
def test_no_command_replaces_its_input(command, tmp_path, monkeypatch,
                                       capsys):
    monkeypatch.chdir(tmp_path)
    names = ['a.fits', 'b.fits', 'c.ecsv', 'd.ecsv', 'm.ecsv', 'p.png',
             'm.safetensors', 'out/a.fits']
    (tmp_path / 'out').mkdir()
    for name in names:
        (tmp_path / name).write_text(f'precious {name}')
    (tmp_path / 'link.fits').symlink_to('a.fits')
    assert main([*command.split(), '--overwrite']) == 1
    told = capsys.readouterr().err
    assert 'must be another' in told
    assert 'would ' in told
    for name in names:
        assert (tmp_path / name).read_text() == f'precious {name}'
