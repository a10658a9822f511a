# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the command that denoises many files.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astro_denoise.cli import main
from astro_denoise.pipeline.status import STATUS_NAME

NAMES = ['a b.fits', 'ä星.fits', 'c.fits']


@pytest.fixture
def night(tmp_path, monkeypatch, half_sigma_model):
    """
    The working folder, with a model and some frames.
    """
    half_sigma_model().save(tmp_path / 'half.safetensors')
    for seed, name in enumerate(NAMES):
        data = np.random.default_rng(seed).normal(100.0, 5.0, (40, 50))
        fits.writeto(tmp_path / name, data.astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*options, output='out/'):
    return ['denoise', *NAMES, '-o', output, '--model', 'half.safetensors',
            *options]


def contents(folder):
    """
    All files but the table of the status, whose times differ.
    """
    return {path.name: path.read_bytes() for path in folder.iterdir()
            if path.name != STATUS_NAME}


def test_names_with_spaces_and_other_letters(night):
    assert main(command()) == 0
    assert sorted(contents(night / 'out')) == sorted(NAMES)
    table = Table.read(night / 'out' / STATUS_NAME)
    assert sorted(table['output']) == sorted(NAMES)


def test_again_does_nothing(night, capsys):
    assert main(command()) == 0
    before = {path: path.stat().st_mtime_ns
              for path in (night / 'out').glob('*.fits')}
    assert main(command()) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert capsys.readouterr().err == ''


def test_other_options_are_another_output(night, capsys):
    assert main(command()) == 0
    assert main(command('--gain', '2')) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all('file exists, was made from something else' in line
               for line in errors)
    assert main(command('--gain', '2', '--overwrite')) == 0
    assert fits.getheader(night / 'out' / NAMES[0])['DNGAIN'] == 2.0


@pytest.mark.parametrize(('options', 'message'), [
    (['--workers', '0'], 'workers must be a number of 1 or more, got 0'),
    (['--workers', '2', '--scheduler', 'tcp://1.2.3.4:5'],
     'workers and scheduler cannot both be given'),
    (['--retries', '-1'], 'retries must be a number of 0 or more, got -1')])
def test_bad_option(night, capsys, options, message):
    assert main(command(*options)) == 1
    assert message in capsys.readouterr().err
    assert not (night / 'out').exists()


@pytest.mark.parametrize('option', [['--workers', '2'],
                                    ['--scheduler', 'tcp://1.2.3.4:5']])
def test_workers_need_a_folder(night, capsys, option):
    args = ['denoise', NAMES[0], '-o', 'out.fits', *option]
    assert main(args) == 1
    assert f'{option[0]} needs a folder' in capsys.readouterr().err


def test_companions_can_be_left_out(night):
    mask = np.zeros((40, 50), np.int16)
    mask[2, 3] = 2048
    fits.writeto(night / 'c.mask.fits', mask)
    assert main(['denoise', 'c.fits', '-o', 'with.fits', '--model',
                 'half.safetensors']) == 0
    assert fits.getdata('with.fits', 'MASK')[2, 3] == 2048
    assert main(['denoise', 'c.fits', '-o', 'without.fits', '--model',
                 'half.safetensors', '--no-companions']) == 0
    with fits.open('without.fits') as hdus:
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'UNCERT']


@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_kind_of_uncertainty_is_told(night, capsys):
    fits.writeto('noise.fits', np.full((40, 50), 25.0), fits.Header(
        {'EXTNAME': 'VAR'}))
    args = ['denoise', 'c.fits', '--model', 'half.safetensors',
            '--uncertainty', 'noise.fits', '-o']
    assert main([*args, 'auto.fits']) == 0
    assert capsys.readouterr().out == (
        'auto.fits: 1 image denoised with half, noise from variances\n')
    assert main([*args, 'std.fits', '--uncertainty-type', 'std']) == 0
    assert capsys.readouterr().out == (
        'std.fits: 1 image denoised with half, noise from standard '
        'deviations\n')
    for name, level in (('auto', 5.0), ('std', 25.0)):
        header = fits.getheader(f'{name}.fits')
        assert header['DNSIGMA'] == pytest.approx(level)


def test_flags_that_are_ignored(night):
    with fits.open('c.fits') as hdus:
        bits = np.zeros((40, 50), np.int16)
        bits[2, 3], bits[4, 5] = 4, 8
        hdus.append(fits.ImageHDU(bits, name='MASK'))
        hdus.writeto('flagged.fits')
    for flags, changed in (('auto', []), ('8', [8]), ('4,8', [4, 8])):
        assert main(['denoise', 'flagged.fits', '-o', f'{flags}.fits',
                     '--model', 'half.safetensors', '--ignore-flags',
                     flags]) == 0
        new = fits.getdata(f'{flags}.fits') != fits.getdata('flagged.fits')
        assert bits[new & (bits > 0)].tolist() == changed
        assert fits.getdata(f'{flags}.fits', 'MASK').tolist() == bits.tolist()


def started(args, folder):
    """
    The command as a process of its own.
    """
    code = ('import sys\n'
            'from astro_denoise.cli.main import main\n'
            'sys.exit(main())\n')
    return subprocess.Popen(
        [sys.executable, '-c', code, *args], cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.skipif(os.name != 'posix', reason='needs SIGKILL')
def test_killed_and_started_again(night, tmp_path):
    assert main(command(output='expected/')) == 0
    process = started(command(), night)
    deadline = time.monotonic() + 120.0
    # Killed when it has begun to write.
    while not (night / 'out').is_dir() or not any((night / 'out').iterdir()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    leftover = night / 'out' / (
        f'.astro_denoise-00000000-{process.pid}-1-00000000.part')
    leftover.write_text('of another computer')
    assert main(command()) == 0
    assert leftover.exists()
    leftover.unlink()
    assert contents(night / 'out') == contents(night / 'expected')
    table = Table.read(night / 'out' / STATUS_NAME)
    assert list(table['status']) == ['finished'] * 3


def test_two_commands_at_once(night):
    assert main(command(output='expected/')) == 0
    processes = [started(command(), night) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert contents(night / 'out') == contents(night / 'expected')
    table = Table.read(night / 'out' / STATUS_NAME)
    assert sorted(table['output']) == sorted(NAMES)
    assert set(table['status']) == {'finished'}


def test_disk_full_for_one_of_several(night, capsys):
    resource = pytest.importorskip('resource')
    fits.writeto(night / NAMES[1], np.random.default_rng(1).normal(
        100.0, 5.0, (100, 100)), overwrite=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        assert main(command()) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error, = capsys.readouterr().err.splitlines()
    assert f'out/{NAMES[1]}: ' in error
    assert sorted(contents(night / 'out')) == [NAMES[0], NAMES[2]]
    assert main(command()) == 0
    assert len(contents(night / 'out')) == 3


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='needs /proc')
def test_output_that_cannot_be_written(night, capsys):
    # Not even root writes there.
    args = ['denoise', NAMES[0], '-o', '/proc/self/out.fits', '--model',
            'half.safetensors']
    assert main(args) == 1
    assert '/proc/self/out.fits: ' in capsys.readouterr().err


def test_read_only_folder(night, capsys):
    (night / 'out').mkdir(mode=0o555)
    if os.access(night / 'out', os.W_OK):
        pytest.skip('this user may write everywhere')
    assert main(command()) == 1
    assert 'Permission denied' in capsys.readouterr().err


def test_loop_of_links(night, capsys):
    os.unlink(NAMES[1])
    os.symlink(NAMES[1], NAMES[1])
    assert main(command()) == 1
    error, = capsys.readouterr().err.splitlines()
    assert NAMES[1] in error
    assert sorted(contents(night / 'out')) == [NAMES[0], NAMES[2]]


def test_link_to_a_frame(night):
    shutil.move(NAMES[2], 'elsewhere.fits')
    os.symlink('elsewhere.fits', NAMES[2])
    assert main(command()) == 0
    assert len(contents(night / 'out')) == 3
