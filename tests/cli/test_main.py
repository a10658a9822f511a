# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the command line.
"""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable

import astro_denoise
from astro_denoise.cli import main
from astro_denoise.data.examples import get_example_path
from astro_denoise.exceptions import NoiseEstimateWarning
from astro_denoise.io.output import atomic_output
from astro_denoise.models import Model, load_model, registry
from astro_denoise.pipeline import one_file as pipeline
from astro_denoise.pipeline.status import STATUS_NAME

COMMANDS = ['denoise', 'demo', 'models', 'simulate']


@pytest.fixture(autouse=True)
def _small_model(monkeypatch, half_sigma_model):
    """
    The default model is a trivial one here; other names are as they are.
    """
    model = half_sigma_model('ccd', summary='takes half a sigma')

    def load(name, **options):
        return model if name == 'ccd' else load_model(name, **options)

    monkeypatch.setattr(astro_denoise, 'load_model', load)
    monkeypatch.setattr(registry, 'load_model', load)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """
    The working folder, with pieces of the two real frames.
    """
    for name in ('a', 'b'):
        path = get_example_path(f'eso085_030_00{"ab".index(name) + 4}.fits')
        with fits.open(path) as hdus:
            hdus[0].data = hdus[0].data[:64, :80].copy()
            hdus[0].header['EGAIN'] = 1.4
            hdus[0].header['RON'] = 9.0
            hdus.writeto(tmp_path / f'{name}.fits')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('command', ['', *COMMANDS])
def test_help_fits_a_screen(command, capsys):
    assert main([*command.split(), '--help']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 79
    assert lines[-2] == 'example:'
    assert lines[-1].startswith(f'  astro-denoise {command}')


@pytest.mark.parametrize('command', COMMANDS)
def test_examples_of_the_help_are_valid(command, capsys, monkeypatch):
    main([command, '--help'])
    words = capsys.readouterr().out.splitlines()[-1].split()[1:]
    called = []
    for name in COMMANDS:
        monkeypatch.setattr(f'astro_denoise.cli.{name}._run_{name}',
                            lambda options: called.append(options) or 0)
    assert main(words) == 0
    assert len(called) == 1


def test_version(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out == (
        f'astro-denoise {astro_denoise.__version__}\n')


@pytest.mark.parametrize('args', [
    [], ['nothing'], ['denoise'], ['denoise', 'a.fits'],
    ['denoise', 'a.fits', '-o', 'b.fits', '--hdu', 'SCI,x'],
    ['denoise', 'a.fits', '-o', 'b.fits', '--precision', 'float8'],
    ['simulate', '-o', 'a', '--n', 'x']])
def test_wrong_command_line(args, capsys):
    assert main(args) == 2
    assert ': error: ' in capsys.readouterr().err


def test_torch_is_loaded_only_when_needed(tmp_path):
    code = ('import sys\n'
            'from astro_denoise.cli.main import main\n'
            "assert main(['--help']) == 0\n"
            "assert main(['simulate', '-o', 'field', '--shape', '32', '32',\n"
            "             '--seed', '1', '--n', '1']) == 0\n"
            "assert 'torch' not in sys.modules\n"
            "assert 'matplotlib' not in sys.modules\n")
    subprocess.run([sys.executable, '-W', 'error', '-c', code], check=True,
                   cwd=tmp_path, capture_output=True)


def test_denoise(folder, capsys):
    assert main(['denoise', 'a.fits', '-o', 'out.fits']) == 0
    captured = capsys.readouterr()
    assert captured.out == ('out.fits: 1 image denoised with ccd, noise '
                            'estimated from the image\n')
    assert captured.err == ''
    assert names(folder) == ['a.fits', 'b.fits', 'out.fits']
    ccd = CCDData.read('out.fits')
    assert ccd.header['DNMODEL'] == 'ccd'
    assert ccd.header['DNNOISE'] == 'estimated'
    assert ccd.unit == u.adu


@pytest.mark.parametrize(('gain', 'read_noise'), [
    ('EGAIN', 'RON'), ('1.4', '9'), ('1.4', 'RON')])
def test_gain_and_read_noise(folder, gain, read_noise):
    assert main(['denoise', 'a.fits', '-o', 'out.fits', '--gain', gain,
                 '--read-noise', read_noise]) == 0
    header = fits.getheader('out.fits')
    assert header['DNNOISE'] == 'gain'
    assert header['DNGAIN'] == pytest.approx(1.4)
    assert header['DNRDNOIS'] == pytest.approx(9.0)


@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_other_options(folder):
    data = fits.getdata('a.fits')
    mask = np.zeros(data.shape, np.uint8)
    mask[1, 2] = 1
    fits.writeto('mask.fits', mask)
    fits.writeto('variance.fits', np.full(data.shape, 16.0))
    fits.append('a.fits', data)
    assert main(['denoise', 'a.fits', '-o', 'out.fits', '--hdu', '1',
                 '--mask', 'mask.fits', '--uncertainty', 'variance.fits',
                 '--uncertainty-type', 'var', '--device', 'cpu',
                 '--precision', 'float32']) == 0
    expected = data - 2.0
    expected[1, 2] = data[1, 2]
    np.testing.assert_allclose(fits.getdata('out.fits', 1), expected)
    np.testing.assert_array_equal(fits.getdata('out.fits', 0), data)


def test_several_inputs(folder, capsys):
    assert main(['denoise', 'a.fits', 'b.fits', '-o', 'new/out/',
                 '--progress']) == 0
    assert names(folder / 'new' / 'out') == ['a.fits', STATUS_NAME, 'b.fits']
    assert '2/2' in capsys.readouterr().err
    for name in ('a.fits', 'b.fits'):
        header = fits.getheader(folder / 'new' / 'out' / name)
        assert header['ORIGFILE'] == fits.getheader(name)['ORIGFILE']


def test_one_input_into_a_folder(folder):
    (folder / 'out').mkdir()
    assert main(['denoise', 'a.fits', '-o', 'out', '--no-progress']) == 0
    assert names(folder / 'out') == ['a.fits', STATUS_NAME]


def test_progress_bar_of_one_frame(folder, capsys):
    assert main(['denoise', 'a.fits', '-o', 'out.fits', '--progress']) == 0
    assert '100%' in capsys.readouterr().err


def test_one_bad_frame_of_several(folder, capsys):
    (folder / 'a.fits').write_bytes(b'nothing')
    assert main(['denoise', 'a.fits', 'b.fits', '-o', 'out/']) == 1
    assert names(folder / 'out') == [STATUS_NAME, 'b.fits']
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith('astro-denoise: error: a.fits: ')


def fails(args, capsys, status=1):
    """
    The message of a command that must fail with one line.
    """
    assert main(args) == status
    captured = capsys.readouterr()
    assert captured.out == ''
    line, = captured.err.splitlines()
    assert line.startswith('astro-denoise: error: ')
    return line.removeprefix('astro-denoise: error: ')


@pytest.mark.parametrize(('options', 'message'), [
    (['--model', 'no-such-model'], 'no-such-model'),
    (['--model', 'no.safetensors'], 'no.safetensors'),
    (['--gain', 'NOGAIN'], "a.fits: gain='NOGAIN'"),
    (['--gain', '-2'], 'gain must be positive'),
    (['--read-noise', 'OBJECT', '--gain', '1'], 'OBJECT'),
    (['--hdu', '5'], 'hdu=5'),
    (['--hdu', 'SCI,2'], "hdu=('SCI', 2)"),
    (['--mask', 'no.fits'], 'no.fits: No such file'),
    (['--mask', 'small.fits'], 'mask must have the shape (64, 80)'),
    (['--uncertainty', 'small.fits'], 'uncertainty'),
    (['--uncertainty', 'text.txt'], 'text.txt: cannot be read as FITS'),
    (['--device', 'abacus'], 'abacus'),
])
def test_bad_option(folder, capsys, options, message):
    fits.writeto('small.fits', np.ones((3, 4)))
    (folder / 'text.txt').write_text('text')
    before = names(folder)
    args = ['denoise', 'a.fits', '-o', 'out.fits', *options]
    assert message in fails(args, capsys)
    assert names(folder) == before


@pytest.mark.parametrize(('kind', 'message'), [
    ('missing', 'a.fits: No such file or directory'),
    ('truncated', 'a.fits: cannot be read as FITS (HDU 0 is cut short)'),
    ('text', 'a.fits: cannot be read as FITS (No SIMPLE'),
    ('empty', 'a.fits: cannot be read as FITS'),
    ('table', "'a.fits' holds no image"),
])
def test_bad_input(folder, capsys, kind, message):
    path = folder / 'a.fits'
    content = path.read_bytes()
    path.unlink()
    if kind == 'truncated':
        path.write_bytes(content[:-5000])
    elif kind == 'table':
        fits.BinTableHDU(QTable({'x': [1]})).writeto(path)
    elif kind != 'missing':
        path.write_text('text\n' * 1000 * (kind == 'text'))
    before = names(folder)
    args = ['denoise', 'a.fits', '-o', 'out.fits']
    assert message in fails(args, capsys)
    assert names(folder) == before


def test_wrong_checksum(folder, capsys):
    fits.writeto('sums.fits', fits.getdata('a.fits'), checksum=True)
    content = bytearray((folder / 'sums.fits').read_bytes())
    content[4000] ^= 1
    (folder / 'sums.fits').write_bytes(content)
    args = ['denoise', 'sums.fits', '-o', 'out.fits']
    assert '--ignore-checksum' in fails(args, capsys)
    assert main([*args, '--ignore-checksum']) == 0
    assert fits.getheader('out.fits')['DNMODEL'] == 'ccd'


def test_image_without_a_finite_pixel(folder):
    fits.writeto('blank.fits', np.full((20, 20), np.nan))
    with pytest.warns(NoiseEstimateWarning, match='returned as it was'):
        assert main(['denoise', 'blank.fits', '-o', 'out.fits']) == 0
    with fits.open('out.fits') as hdus:
        assert np.isnan(hdus[0].data).all()
        assert hdus['MASK'].data.all()


def test_existing_output(folder, capsys):
    (folder / 'out.fits').write_text('precious')
    args = ['denoise', 'a.fits', '-o', 'out.fits']
    assert fails(args, capsys) == (
        'out.fits: file exists; --overwrite replaces it')
    assert (folder / 'out.fits').read_text() == 'precious'
    assert main([*args, '--overwrite']) == 0
    assert fits.getdata('out.fits').shape == (64, 80)


@pytest.mark.parametrize(('args', 'message'), [
    (['a.fits', 'b.fits', '-o', 'out.fits'], 'several inputs need a folder'),
    (['a.fits', './a.fits', '-o', 'out/'], 'would both become out/a.fits'),
    (['a.fits', '-o', 'no/out.fits'], 'no: no such folder'),
    (['a.fits', '-o', 'b.fits/out.fits'], 'b.fits: no such folder'),
    (['a.fits', '-o', '/dev/null', '--overwrite'], 'not a regular file'),
    (['a.fits', '-o', 'b.jpg'], '-o must end in .fits, .fit or .fts (and'),
    (['a.fits', '-o', 'b.jpg'], ".fz after it), got 'b.jpg'; the name of a"),
    (['a.fits', '-o', 'out'], "got 'out'; the name of a folder ends in /"),
    (['a.fits', '-o', 'out.gz'], "got 'out.gz'"),
])
def test_bad_output(folder, capsys, args, message):
    assert message in fails(['denoise', *args], capsys)
    assert [path.name for path in folder.glob('*.fits')] == names(
        folder)[:2]


def test_bad_ending_is_told_before_any_work(folder, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, 'denoise_file', None)
    monkeypatch.setattr(astro_denoise, 'load_model', None)
    fails(['denoise', 'a.fits', '-o', 'b.png'], capsys)


def test_names_of_outputs_that_are_the_inputs(folder):
    # What a folder gets, whatever its owner calls a FITS file.
    (folder / 'a.fits').rename(folder / 'a.dat')
    assert main(['denoise', 'a.dat', '-o', 'out/']) == 0
    assert main(['denoise', 'a.dat', '-o', 'new.dat/']) == 0
    assert main(['denoise', 'a.dat', '-o', 'new.dat/a.dat',
                 '--overwrite']) == 0
    for name in ('out/a.dat', 'new.dat/a.dat'):
        assert fits.getheader(name)['DNMODEL'] == 'ccd'


@pytest.mark.parametrize('command', ['demo', 'simulate', 'denoise'])
def test_output_that_is_no_folder(folder, capsys, command):
    (folder / 'file').write_text('precious')
    inputs = ['a.fits', 'b.fits'] if command == 'denoise' else []
    assert fails([command, *inputs, '-o', 'file/'],
                 capsys) == 'file/: not a folder'
    if not inputs:
        assert fails([command, '-o', 'c.fits'], capsys).endswith(
            "must be a folder, got what looks like a FITS file, 'c.fits'")
    assert names(folder) == ['a.fits', 'b.fits', 'file']


def test_disk_full(folder, capsys):
    resource = pytest.importorskip('resource')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        message = fails(['denoise', 'a.fits', '-o', 'out.fits'], capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message == ('out.fits: cannot be written (5120 requested and 3560 '
                       'written)')
    assert names(folder) == ['a.fits', 'b.fits']


@pytest.mark.parametrize(('number', 'status'), [
    (signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize('output', ['out.fits', 'out/'])
def test_stopped_by_a_signal(folder, capsys, monkeypatch, number, status,
                             output):
    def stopped(path, output, **options):
        with atomic_output(output) as temporary:
            temporary.write_text('half')
            os.kill(os.getpid(), number)
            time.sleep(10)

    handlers = [signal.getsignal(each) for each in (signal.SIGINT,
                                                    signal.SIGTERM)]
    monkeypatch.setattr(pipeline, 'denoise_file', stopped)
    assert fails(['denoise', 'a.fits', '-o', output, '--no-progress'],
                 capsys, status) == 'stopped'
    assert [path.name for path in folder.rglob('*') if path.is_file()] == [
        'a.fits', 'b.fits', *[STATUS_NAME] * (output == 'out/')]
    assert [signal.getsignal(each) for each in (
        signal.SIGINT, signal.SIGTERM)] == handlers


def test_bugs_keep_their_traceback(folder, monkeypatch, capsys, caplog):
    def bug(*args, **options):
        return {}['bug']

    monkeypatch.setattr(pipeline, 'denoise_file', bug)
    with pytest.raises(KeyError):
        main(['denoise', 'a.fits', '-o', 'out.fits'])
    # Of many frames the others go on, and the log has it.
    assert main(['denoise', 'a.fits', 'b.fits', '-o', 'out/']) == 1
    assert "KeyError: 'bug'" in capsys.readouterr().err
    assert caplog.text.count('Traceback') == 2


def test_models(capsys):
    assert main(['models']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'astro-denoise denoise --model'
    model = load_model('ccd')
    line, = (line for line in lines if line.startswith('  ccd '))
    assert line == (f'{"  ccd":19}{model.hash[:8]}  '
                    f'{model.metadata["summary"]}')
    for task in ('segment', 'estimate'):
        assert f'astro-denoise {task} --model' in lines
    assert 'SHA-256' in lines[-1]
    assert max(map(len, lines)) <= 79


def test_models_of_files(tmp_path, capsys, monkeypatch, half_sigma_model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'more').mkdir()
    model = half_sigma_model('mine', summary='takes half a sigma')
    for name in ('a', 'c', 'more/d'):
        model.save(f'{name}.safetensors')
    (tmp_path / 'b.safetensors').write_bytes(b'nothing at all')
    content = bytearray((tmp_path / 'c.safetensors').read_bytes())
    content[-1] ^= 1
    (tmp_path / 'c.safetensors').write_bytes(content)
    (tmp_path / 'empty').mkdir()
    assert main(['models', '.', 'more/d.safetensors', 'empty',
                 'no.safetensors']) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == 'astro-denoise denoise --model'
    assert lines[1:3] == [f'  {name} {model.hash[:8]}  takes half a sigma'
                          for name in ('a.safetensors   ',
                                       'more/d.safetensors')]
    assert len(lines) == 4
    for line, reason in zip(captured.err.splitlines(), (
            'b.safetensors is not a whole safetensors file',
            'c.safetensors have the SHA-256 ', 'empty: holds no file of ',
            "there is no file of weights 'no.safetensors'"), strict=True):
        assert line.startswith('astro-denoise: error: ')
        assert reason in line
    assert main(['models', 'a.safetensors']) == 0


def test_models_without_one_that_is_damaged(tmp_path, capsys, monkeypatch,
                                            half_sigma_model):
    model = half_sigma_model('good')
    model.save(tmp_path / 'good.safetensors')
    (tmp_path / 'bad.safetensors').write_bytes(b'nothing at all')
    (tmp_path / 'hashes.json').write_text(f'{{"good": "{model.hash}"}}')
    monkeypatch.setattr(registry, '_WEIGHTS', tmp_path)
    monkeypatch.setattr(registry, '_loaded', {})
    assert main(['models']) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split() == ['good', model.hash[:8]]
    error, = captured.err.splitlines()
    assert 'bad.safetensors is not a whole safetensors file' in error


@pytest.mark.parametrize('args', [[], ['denois'], ['denoise', 'a.fits'],
                                  ['denoise', '--gian', '1']])
def test_wrong_command_line_says_where_to_look(args, capsys):
    assert main(args) == 2
    name = ' '.join(['astro-denoise', *args[:1]]) if (
        args[:1] == ['denoise']) else 'astro-denoise'
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"see '{name} --help'"


def test_closed_pipe(tmp_path):
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = ('import sys, astro_denoise\n'
            'from astro_denoise.cli.main import main\n'
            'from astro_denoise.models import registry\n'
            'class Model: task, hash, metadata = "denoise", "0", {}\n'
            "registry.read_models = lambda files: [('ccd', Model)] * 9999\n"
            "sys.exit(main(['models']))\n")
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, stdout=write_end,
        stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert result.returncode == 1
    assert result.stderr == b''


@pytest.mark.filterwarnings('ignore:the noise of neighboring')
def test_demo(tmp_path, capsys):
    args = ['demo', '-o', str(tmp_path / 'new')]
    assert main(args) == 0
    assert 'noise of the blank sky' in capsys.readouterr().out
    assert len(names(tmp_path / 'new')) == 3
    assert fails(args, capsys).endswith(
        'eso085_030_004_denoised.fits: file exists; --overwrite replaces it')


def simulate(folder, *options):
    return main(['simulate', '-o', str(folder), '--shape', '64', '48',
                 '--seed', '3', '--density', '2000', *options])


def test_simulate(tmp_path, capsys):
    folder = tmp_path / 'field'
    assert simulate(folder, '--n', '3', '--gain', '2', '--psf-fwhm',
                    '1.0') == 0
    files = ['catalog.ecsv'] + [f'exposure_00{number}.fits'
                                for number in (1, 2, 3)]
    assert names(folder) == files
    line, = capsys.readouterr().out.splitlines()
    assert line.startswith(f'{folder}: 3 exposures of 48 x 64 pixels, and '
                           'catalog.ecsv with ')
    ccd = CCDData.read(folder / 'exposure_002.fits')
    assert ccd.shape == (64, 48)
    assert ccd.header['GAIN'] == 2
    assert ccd.header['EXPNUM'] == 2
    assert ccd.wcs.has_celestial
    assert ccd.mask.dtype == bool
    catalog = QTable.read(folder / 'catalog.ecsv')
    assert catalog['flux'].unit == u.electron
    assert catalog.meta['seed'] == 3
    assert set(catalog.meta) >= {'version', 'date', 'gain'}


def test_simulate_is_reproducible(tmp_path):
    for name in ('a', 'b'):
        assert simulate(tmp_path / name, '--unit', 'electron') == 0
    for name in ('exposure_001.fits', 'exposure_002.fits'):
        assert ((tmp_path / 'a' / name).read_bytes()
                == (tmp_path / 'b' / name).read_bytes())


def test_simulate_keeps_what_exists(tmp_path, capsys):
    (tmp_path / 'exposure_002.fits').write_text('precious')
    assert simulate(tmp_path) == 1
    assert 'exposure_002.fits: file exists' in capsys.readouterr().err
    assert names(tmp_path) == ['exposure_002.fits']
    assert simulate(tmp_path, '--overwrite') == 0
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize(('options', 'message'), [
    (['--n', '0'], '--n must be at least 1, got 0'),
    (['--gain', '-1'], 'gain must be positive, got -1'),
    (['--psf-fwhm', '0'], 'psf_fwhm')])
def test_simulate_bad_option(tmp_path, capsys, options, message):
    assert simulate(tmp_path / 'new', *options) == 1
    assert message in capsys.readouterr().err
    assert names(tmp_path) == []


def test_models_says_what_a_model_learned_from(small_network, tmp_path,
                                              capsys):
    groups = dict.fromkeys(('all', 'blank', 'faint', 'bright'), 0.25)
    path = tmp_path / 'survey.safetensors'
    Model(small_network((6, 8)), {
        'name': 'survey', 'task': 'denoise', 'summary': 'of a survey',
        'training': {'method': 'gr2r', 'frames': {
            'n_frames': 12, 'noise': ['gain'], 'gain': 1.5, 'level': 9.25,
            'read_noise': None, 'correlation': None}},
        'figures': {'squared_errors': {'trained': groups, 'ccd': groups},
                    'flux_kept': [{'snr': 5.0, 'kept': 0.97, 'error': 0.02,
                                   'number': 40}]}}).save(path)
    assert main(['models', str(path)]) == 0
    text = capsys.readouterr().out
    for line in ('gr2r on 12 frames, noise: gain (level 9.25, gain 1.5)',
                 'trained          0.250', 'ccd              0.250',
                 'flux kept: 0.97 ± 0.02 at S/N 5'):
        assert line in text
