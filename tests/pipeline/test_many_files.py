# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of many frames, here and on the workers of a cluster.
"""

import errno
import itertools
import os
import signal
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty, VarianceUncertainty
from astropy.table import Table

from astro_denoise.io.output import _host
from astro_denoise.pipeline import cluster as _cluster
from astro_denoise.pipeline import one_file as pipeline
from astro_denoise.pipeline.cluster import _missing_workers, _shared_device
from astro_denoise.pipeline.many_files import denoise_files, list_frames
from astro_denoise.pipeline.status import (
    STATUS_NAME,
    FrameStatus,
    StatusTable,
    frame_hash,
)
from astro_denoise.pipeline.task import CarriedModel, FrameTask, _models

SHAPE = (40, 50)


@pytest.fixture(scope='module')
def model(half_sigma_model, tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'half.safetensors'
    half_sigma_model().save(path)
    return path


def make_frames(folder, number=3):
    paths = []
    for seed in range(number):
        data = np.random.default_rng(seed).normal(100.0, 5.0, SHAPE)
        paths.append(folder / f'frame_{seed}.fits')
        fits.writeto(paths[-1], data.astype(np.float32))
    return paths


@pytest.fixture
def frames(tmp_path):
    return make_frames(tmp_path)


def test_lists_of_frames(frames, tmp_path):
    names = [str(path) for path in frames]
    for companion in ('frame_0.mask.fits', 'frame_1.weight.fits.fz'):
        (tmp_path / companion).touch()
    assert list_frames(str(tmp_path / '*.fits*')) == names
    assert list_frames(frames) == names
    assert list_frames(frames[0]) == names[:1]
    assert list_frames([str(tmp_path / 'f*_[01].fits'), names[2]]) == names
    collection = types.SimpleNamespace(
        files_filtered=lambda include_path: names * include_path)
    assert list_frames(collection) == names
    with pytest.raises(ValueError, match=r'no file matches .*\*\.fit'):
        list_frames([*names, str(tmp_path / '*.fit')])
    for nothing in ([], [tmp_path / 'frame_0.mask.fits']):
        with pytest.raises(ValueError, match='inputs must hold a frame'):
            list_frames(nothing)


def test_ccdproc_collection(frames, tmp_path):
    ccdproc = pytest.importorskip('ccdproc')
    collection = ccdproc.ImageFileCollection(tmp_path)
    assert list_frames(collection) == [str(path) for path in frames]


def test_name_with_brackets(tmp_path):
    path = tmp_path / 'frame[1].fits'
    path.touch()
    assert list_frames([path]) == [str(path)]


def test_status(frames, tmp_path, model):
    frames.insert(1, tmp_path / 'missing.fits')
    told = []
    status = denoise_files(frames, tmp_path / 'out', model=model,
                           on_finished=told.append)
    assert status.colnames == ['input', 'output', 'status', 'attempts',
                               'seconds', 'worker', 'hash', 'message']
    assert list(status['status']) == ['finished', 'failed', 'finished',
                                      'finished']
    assert 'missing.fits: No such file' in status['message'][1]
    assert [row.status for row in told] == list(status['status'])
    table = Table.read(tmp_path / 'out' / STATUS_NAME)
    assert len(table) == 4
    done = table[table['status'] == 'finished']
    header = fits.getheader(tmp_path / 'out' / done['output'][0])
    assert header['DNINPUT'] == done['hash'][0]
    assert list(done['attempts']) == [1, 1, 1]


def test_resume(frames, tmp_path, model):
    out = tmp_path / 'out'
    first = denoise_files(frames, out, model=model)
    again = denoise_files(frames, out, model=model)
    assert list(again['attempts']) == [0, 0, 0]
    assert list(again['hash']) == list(first['hash'])
    # The table still tells what was done.
    table = Table.read(out / STATUS_NAME)
    assert list(table['attempts']) == [1, 1, 1]
    (out / 'frame_1.fits').unlink()
    (out / STATUS_NAME).unlink()
    assert list(denoise_files(frames, out, model=model)['attempts']) == [
        0, 1, 0]


@pytest.mark.parametrize('change', ['input', 'companion', 'option', 'model',
                                    'mask'])
def test_anything_else_is_done_anew(frames, tmp_path, model, change,
                                    half_sigma_model):
    out = tmp_path / 'out'
    options = {'model': model, 'gain': 2.0, 'mask': tmp_path / 'bad.fits'}
    fits.writeto(tmp_path / 'bad.fits', np.zeros(SHAPE, np.uint8))
    denoise_files(frames, out, **options)
    if change == 'input':
        with fits.open(frames[1], mode='update') as hdus:
            hdus[0].data[3, 4] += 1
    elif change == 'companion':
        fits.writeto(tmp_path / 'frame_1.weight.fits',
                     np.full(SHAPE, 0.04, np.float32))
    elif change == 'option':
        options['gain'] = 2.5
    elif change == 'model':
        options['model'] = half_sigma_model('another')
    else:
        bad = np.zeros(SHAPE, np.uint8)
        bad[1, 1] = 1
        fits.writeto(tmp_path / 'bad.fits', bad, overwrite=True)
    expected = [0, 1, 0] if change in ('input', 'companion') else [1, 1, 1]
    status = denoise_files(frames, out, **options)
    assert list(status['attempts']) == expected
    assert list(status['status'] == 'failed') == [n > 0 for n in expected]
    status = denoise_files(frames, out, overwrite=True, **options)
    assert list(status['attempts']) == expected
    assert set(status['status']) == {'finished'}


def test_options_that_change_nothing(frames, tmp_path, model):
    denoise_files(frames, tmp_path / 'out', model=model)
    status = denoise_files(frames, tmp_path / 'out', model=model, hdu=None,
                           companions=True, device='cpu', precision='auto')
    assert list(status['attempts']) == [0, 0, 0]


@pytest.mark.filterwarnings('ignore:uncertainty is')
def test_options_of_another_kind_are_done_anew(frames, tmp_path, model):
    level, other = np.full(SHAPE, 5.0), np.full(SHAPE, 5.0)
    other[20:30, 20:30] = 500.0
    out = tmp_path / 'out'
    for uncertainty in (StdDevUncertainty(level), StdDevUncertainty(other),
                        VarianceUncertainty(other), other * u.adu):
        for attempts in (1, 0):
            status = denoise_files(frames[:1], out, model=model,
                                   uncertainty=uncertainty, overwrite=True)
            assert (status['status'][0], status['attempts'][0]) == (
                'finished', attempts)


def test_option_that_no_output_can_be_known_by(frames, tmp_path, model):
    with pytest.raises(TypeError, match='uncertainty: an object of type'):
        denoise_files(frames, tmp_path / 'out', model=model,
                      uncertainty=object())
    assert not (tmp_path / 'out').exists()


def test_mask_beside_that_becomes_a_weight(frames, tmp_path):
    fits.writeto(tmp_path / 'frame_0.mask.fits', np.ones(SHAPE, np.uint8))
    before = frame_hash(frames[0], 'm', {})
    (tmp_path / 'frame_0.mask.fits').rename(
        tmp_path / 'frame_0.weight.fits')
    assert frame_hash(frames[0], 'm', {}) != before


def test_second_image_of_a_file(tmp_path, model):
    path = tmp_path / 'in.fits'
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.random.default_rng(
        seed).normal(100.0, 5.0, SHAPE), name=f'N{seed}')
        for seed in (1, 2))]).writeto(path)
    for attempts in (1, 0):
        one = denoise_files(path, tmp_path / 'one', model=model, hdu=1)
        both = denoise_files(tmp_path / 'one' / 'in.fits', tmp_path / 'both',
                             model=model, hdu=2)
        assert (one['attempts'][0], both['attempts'][0]) == (
            attempts, attempts)
    # What has more than was asked for is not what was asked for.
    status = denoise_files(path, tmp_path / 'both', model=model, hdu=1)
    assert status['status'][0] == 'failed'


def test_damaged_or_empty_output(frames, tmp_path, model):
    out = tmp_path / 'out'
    denoise_files(frames, out, model=model)
    damaged, empty = out / 'frame_0.fits', out / 'frame_1.fits'
    damaged.write_bytes(damaged.read_bytes()[:-3000])
    empty.write_bytes(b'')
    status = denoise_files(frames, out, model=model)
    # An empty file is what a killed process may leave; another one is not
    # replaced without being told to.
    assert list(status['status']) == ['failed', 'finished', 'finished']
    assert fits.getdata(empty).shape == SHAPE
    status = denoise_files(frames, out, model=model, overwrite=True)
    assert list(status['attempts']) == [1, 0, 0]


def test_tried_again(frames, tmp_path, model, monkeypatch):
    calls = []
    denoise_file = pipeline.denoise_file

    def flaky(path, output, **options):
        calls.append(path)
        if Path(path).name == 'frame_1.fits' and calls.count(path) < 3:
            raise OSError(errno.ESTALE, 'stale file handle', str(path))
        if Path(path).name == 'frame_2.fits':
            raise OSError(errno.ENOSPC, 'no space left', str(output))
        return denoise_file(path, output, **options)

    monkeypatch.setattr(pipeline, 'denoise_file', flaky)
    status = denoise_files(frames, tmp_path / 'out', model=model)
    assert list(status['attempts']) == [1, 3, 1]
    # The others do not wait for it.
    assert [Path(path).stem[-1] for path in calls] == list('01211')
    assert list(status['status']) == ['finished', 'finished', 'failed']
    assert status['message'][2] == (
        f'{tmp_path / "out" / "frame_2.fits"}: no space left')


def test_two_inputs_for_one_output(frames, tmp_path, model):
    (tmp_path / 'other').mkdir()
    with pytest.raises(ValueError, match='would both become'):
        denoise_files([*frames, tmp_path / 'other' / frames[0].name],
                      tmp_path / 'out', model=model)


def test_outputs_where_the_inputs_are(frames, tmp_path, model):
    before = frames[0].read_bytes()
    (tmp_path / 'link').symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / 'link'):
        with pytest.raises(ValueError, match='would be replaced'):
            denoise_files(frames, folder, model=model, overwrite=True)
    assert frames[0].read_bytes() == before


def test_table_that_cannot_be_written(frames, tmp_path, model, monkeypatch):
    write, calls = StatusTable.write, []

    def full(table):
        calls.append(table)
        if len(calls) < 3:
            raise OSError(errno.ENOSPC, 'no space left', str(table.path))
        write(table)

    monkeypatch.setattr(StatusTable, 'write', full)
    monkeypatch.setattr('time.monotonic', itertools.count(9, 100).__next__)
    status = denoise_files(frames[:2], tmp_path / 'out', model=model)
    assert list(status['status']) == ['finished'] * 2
    assert len(Table.read(tmp_path / 'out' / STATUS_NAME)) == 2
    # In the end it is an error.
    calls.clear()
    (tmp_path / 'out' / STATUS_NAME).unlink()
    with pytest.raises(OSError, match='no space left') as raised:
        denoise_files(frames[:1], tmp_path / 'out', model=model)
    assert raised.value.filename == str(tmp_path / 'out' / STATUS_NAME)


def test_tables_of_two_runs_are_merged(tmp_path):
    tables = [StatusTable(tmp_path) for _ in range(2)]
    for number, table in enumerate(tables):
        table.add(FrameStatus(f'in{number}', f'out{number}', 'finished', 1,
                              message='ä, "b" c' * number))
        table.write()
    written = Table.read(tmp_path / STATUS_NAME)
    assert list(written['output']) == ['out0', 'out1']
    tables[0].add(FrameStatus('in0', 'out0', 'failed', 2))
    tables[0].write()
    written = Table.read(tmp_path / STATUS_NAME)
    assert list(written['status']) == ['failed', 'finished']
    assert written['message'][1] == 'ä, "b" c'


@pytest.mark.parametrize('text', [
    'not a table', '', '# %ECSV 1.0\n# ---\n',
    '# %ECSV 1.0\n# ---\n# datatype: 5\nx\n1\n',
    '# %ECSV 1.0\n# ---\n# datatype: text\nx\n1\n',
    '# %ECSV 1.0\n# ---\n# datatype: [{name: a, datatype: string}]\na\nb\n'])
def test_foreign_table(tmp_path, text):
    (tmp_path / STATUS_NAME).write_text(text)
    table = StatusTable(tmp_path)
    table.add(FrameStatus('in', 'out', 'finished'))
    assert list(Table.read(tmp_path / STATUS_NAME)['output']) == ['out']


def test_table_without_rows_keeps_its_types(tmp_path):
    StatusTable(tmp_path).write()
    empty = Table.read(tmp_path / STATUS_NAME)
    assert len(empty) == 0
    table = StatusTable(tmp_path)
    table.add(FrameStatus('in', 'out', 'finished', 1, 2.5))
    full = Table.read(tmp_path / STATUS_NAME)
    for name in full.colnames:
        assert full[name].dtype.kind == empty[name].dtype.kind


def test_refused_run_keeps_the_table(frames, tmp_path, model):
    out = tmp_path / 'out'
    denoise_files(frames, out, model=model)
    before = (out / STATUS_NAME).read_bytes()
    changed = (out / STATUS_NAME).stat().st_mtime_ns
    # Other options, and one input that is not what it was.
    frames[1].write_bytes(b'nothing')
    for overwrite in (False, True):
        status = denoise_files(frames[:2] if overwrite else frames, out,
                               model=model, overwrite=overwrite,
                               gain=None if overwrite else 2.0)
        assert status['status'][1] == 'failed'
    assert (out / STATUS_NAME).read_bytes() == before
    assert (out / STATUS_NAME).stat().st_mtime_ns == changed
    # What is there no more is told of.
    (out / 'frame_1.fits').unlink()
    denoise_files(frames, out, model=model)
    table = Table.read(out / STATUS_NAME)
    assert list(table['status']) == ['finished', 'failed', 'finished']


def bad_card(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new, 1))


BAD_CARDS = {
    'lost': (b'NAXIS1  =', b'NAXIq1  ='),
    'no standard': (b'SIMPLE  =                    T',
                    b'SIMPLE  =                    F'),
    'unparsable': (b"BUNIT   = 'adu     '   ", b"BUNIT   = 'adu     ' x "),
    'too large': (b'NAXIS2  =                   40',
                  b'NAXIS2  = 99999999999999999999'),
    'longer than files are': (b'NAXIS2  =                   40',
                              b'NAXIS2  =          99999999999')}


@pytest.mark.parametrize('kind', BAD_CARDS)
def test_bad_header_stops_no_others(frames, tmp_path, model, kind):
    for path in frames:
        fits.setval(path, 'BUNIT', value='adu')
    bad_card(frames[0], *BAD_CARDS[kind])
    status = denoise_files(frames, tmp_path / 'out', model=model)
    assert list(status['status']) == ['failed', 'finished', 'finished']
    assert status['message'][0].startswith(
        f'{frames[0]}: cannot be read as FITS (')


def test_any_error_stops_no_others(frames, tmp_path, model, monkeypatch,
                                   caplog):
    denoise_file = pipeline.denoise_file

    def fail(path, output, **options):
        if Path(path) == frames[1]:
            return [][1]
        return denoise_file(path, output, **options)

    monkeypatch.setattr(pipeline, 'denoise_file', fail)
    status = denoise_files(frames, tmp_path / 'out', model=model)
    assert list(status['status']) == ['finished', 'failed', 'finished']
    assert status['message'][1] == (
        f'{frames[1]}: IndexError: list index out of range')
    assert 'Traceback' in caplog.text


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes')
def test_pipe_among_the_frames(frames, tmp_path, model):
    os.mkfifo(tmp_path / 'pipe.fits')
    status = denoise_files([*frames[:1], tmp_path / 'pipe.fits'],
                           tmp_path / 'out', model=model)
    assert list(status['status']) == ['finished', 'failed']
    assert status['message'][1].endswith('pipe.fits: not a regular file')


def test_another_model_of_the_same_name(model):
    carried = CarriedModel(model, '0' * 64)
    with pytest.raises(ValueError, match='where the run was started'):
        carried.load()
    assert '0' * 64 not in _models


@pytest.mark.parametrize(('number', 'device', 'worker', 'expected'), [
    (1, None, 3, None), (4, None, 6, 'cuda:2'), (4, 'cuda', '1', 'cuda:1'),
    (4, 'cpu', 1, None), (4, 'cuda:0', 1, None),
    (4, None, 'tcp://1.2.3.4:5', None)])
def test_gpu_of_a_worker(monkeypatch, number, device, worker, expected):
    import torch

    monkeypatch.setattr(torch.cuda, 'device_count', lambda: number)
    assert _shared_device(device, worker) == expected


def test_without_distributed(frames, tmp_path, model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'distributed', None)
    with pytest.raises(ImportError, match=r'astro_denoise\[dask\]'):
        denoise_files(frames, tmp_path / 'out', model=model, workers=2)


def test_workers_that_stay_away(monkeypatch):
    nannies = {number: types.SimpleNamespace(worker_address=address)
               for number, address in enumerate(['tcp://a', 'tcp://b', None])}
    # The last one could not be begun.
    cluster = types.SimpleNamespace(workers=nannies,
                                    worker_spec=dict.fromkeys(range(4)))
    client = types.SimpleNamespace(
        nthreads=lambda: {'tcp://a': 2, 'tcp://c': 2})
    missing = {0: 0.0}
    assert _missing_workers(cluster, client, missing) == []
    assert set(missing) == {1, 2, 3}
    nannies[1].worker_address = 'tcp://c'
    monkeypatch.setattr(_cluster, '_PATIENCE', -1.0)
    assert _missing_workers(cluster, client, missing) == [2, 3]
    assert missing == {}


# On a cluster

@pytest.fixture(scope='module')
def client():
    """
    Two workers, started once.
    """
    distributed = pytest.importorskip('distributed')
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None,
        memory_limit=0,
        scheduler_kwargs={'dashboard_address': '127.0.0.1:0'})
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(autouse=True)
def _sockets_closed_late():
    # What workers that are killed leave open is closed by the collector.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ResourceWarning)
        yield


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()
            if path.name != STATUS_NAME}


def test_cluster(client, tmp_path, model):
    frames = make_frames(tmp_path, 6)
    (tmp_path / 'bad.fits').write_text('nothing')
    expected = denoise_files(frames, tmp_path / 'expected', model=model)
    status = denoise_files([*frames, tmp_path / 'bad.fits'],
                           tmp_path / 'out', model=model, scheduler=client)
    assert list(status['status']) == ['finished'] * 6 + ['failed']
    assert 'bad.fits: cannot be read as FITS' in status['message'][6]
    assert list(status['hash'][:6]) == list(expected['hash'])
    assert len(set(status['worker'])) == 2
    assert contents(tmp_path / 'out') == contents(tmp_path / 'expected')
    again = denoise_files(frames, tmp_path / 'out', model=model,
                          scheduler=client.scheduler.address)
    assert list(again['attempts']) == [0] * 6


def test_task_that_cannot_be_given_to_a_worker(client, tmp_path, model,
                                               caplog):
    class Unknown:
        def __reduce__(self):
            return _fail_elsewhere, ()

    # Its hash is not taken here, and it cannot be made anew there.
    task = FrameTask(str(tmp_path / 'in.fits'), str(tmp_path / 'out.fits'),
                     CarriedModel(str(model), '0'), overwrite=False,
                     options={'psf': Unknown()})
    (number, row), = _cluster.run_on_cluster([task], client, 0)
    assert (number, row.status) == (0, 'failed')
    assert 'RuntimeError' in row.message
    assert 'cannot be denoised' in caplog.text


def _fail_elsewhere():
    msg = 'not here'
    raise RuntimeError(msg)


@pytest.mark.skipif(os.name != 'posix', reason='needs SIGKILL')
def test_killed_workers(client, tmp_path, model):
    frames = make_frames(tmp_path, 5)
    expected = denoise_files(frames, tmp_path / 'expected', model=model)
    out = tmp_path / 'out'
    out.mkdir()
    killed = []

    def kill(row):
        # A worker dies after the first and the third frame.
        if len(killed) < 2:
            # The one that was killed before may not answer yet.
            processes = client.run(os.getpid, on_error='ignore')
            killed.append(min(processes.values()))
            os.kill(killed[-1], signal.SIGKILL)
            (out / f'.astro_denoise-{_host()}-{killed[-1]}-1-00000000.part'
             ).write_text('half')

    status = denoise_files(frames, out, model=model, scheduler=client,
                           on_finished=kill)
    assert len(killed) == 2
    assert set(status['status']) == {'finished'}
    assert contents(out) == contents(tmp_path / 'expected')
    assert list(status['hash']) == list(expected['hash'])
    assert len(Table.read(out / STATUS_NAME)) == 5


def test_job_scripts_of_batch_systems(tmp_path, monkeypatch):
    # Nothing is submitted: the configuration of the manual is built.
    jobqueue = pytest.importorskip('dask_jobqueue')
    monkeypatch.chdir(tmp_path)
    common = {'cores': 2, 'processes': 1, 'memory': '4GB',
              'job_script_prologue': ['export OMP_NUM_THREADS=2'],
              'scheduler_options': {'dashboard_address': '127.0.0.1:0'}}
    with jobqueue.SLURMCluster(
            queue='normal', account='survey', walltime='02:00:00',
            interface='lo', **common) as cluster:
        script = cluster.job_script()
    for line in ('#SBATCH -p normal', '#SBATCH -A survey', '#SBATCH -n 1',
                 '#SBATCH --cpus-per-task=2', '#SBATCH --mem=4G',
                 '#SBATCH -t 02:00:00', 'export OMP_NUM_THREADS=2'):
        assert line in script.splitlines()
    assert 'distributed.cli.dask_worker tcp://127.0.0.1:' in script
    with jobqueue.HTCondorCluster(disk='4GB', interface='lo',
                                  **common) as cluster:
        script = cluster.job_script()
    assert 'RequestCpus = MY.DaskWorkerCores' in script
    assert 'MY.DaskWorkerMemory = 4000000000' in script
