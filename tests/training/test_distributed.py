# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of several processes that train one network.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise import load_model
from astro_denoise.training.distributed import Processes, started_processes

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os
import sys
from pathlib import Path

import numpy as np
import torch

from astro_denoise.training import denoiser
from astro_denoise.training.methods import METHODS

torch.set_num_threads(1)
denoiser.EPOCH = 4
METHODS['pn2v'].network['widths'] = (4, 6)
folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
Path(folder / f'pid{os.environ.get("RANK", "0")}').write_text(
    str(os.getpid()))
frame = 100 + 5 * np.random.default_rng(1).standard_normal((64, 64))
frame[::7, ::5] = np.nan
try:
    model = denoiser.train_denoiser(
        frame, 'pn2v', epochs=epochs, seed=1, patch=32, n_patches=4,
        progress_bar=False, device='cpu', precision='float32',
        checkpoint=folder / 'state.pt', checkpoint_minutes=1e-9,
        log=folder / 'log.ecsv')
except ConnectionError as error:
    (folder / 'error').write_text(str(error))
    raise
if os.environ.get('RANK', '0') == '0':
    model.save(folder / 'model.safetensors')
"""


def start(folder, *, n_processes, epochs):
    script = folder / 'script.py'
    script.write_text(SCRIPT)
    launcher = [] if n_processes == 1 else [
        '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
        str(n_processes)]
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), str(folder), str(epochs)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'))


def test_two_processes_do_what_one_does(tmp_path):
    models = []
    for n_processes in (1, 2):
        folder = tmp_path / str(n_processes)
        folder.mkdir()
        process = start(folder, n_processes=n_processes, epochs=2)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output.decode()
        models.append(load_model(folder / 'model.safetensors'))
    one, two = models
    for first, second in zip(one.network.parameters(),
                             two.network.parameters(), strict=True):
        assert_allclose(first, second, atol=2e-3)
    assert_allclose(one.metadata['figures']['score'],
                    two.metadata['figures']['score'], atol=1e-4)
    assert one.metadata['training']['frames'] == (
        two.metadata['training']['frames'])


@pytest.mark.slow
def test_a_killed_process_ends_the_training(tmp_path):
    process = start(tmp_path, n_processes=2, epochs=10**6)
    checkpoint = tmp_path / 'state.pt'
    try:
        deadline = time.monotonic() + 240
        while not checkpoint.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.2)
        os.kill(int((tmp_path / 'pid1').read_text()), signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode != 0
    assert 'SIGKILL' in output.decode() or 'Signal 9' in output.decode()
    # The first process says what happened, unless it was ended before.
    error = tmp_path / 'error'
    if error.exists():
        assert 'another process of this training has gone' in (
            error.read_text())
        assert 'state.pt' in error.read_text()
    state = torch.load(checkpoint, weights_only=True)
    assert state['step'] >= 1
    assert not list(tmp_path.glob('*.part'))


def test_alone():
    processes = Processes()
    model = torch.nn.Linear(2, 1)
    assert processes.together(model) is model
    assert processes.agree(True) is True  # noqa: FBT003
    loss = torch.tensor(3.0)
    assert processes.weighted(loss, {}) is loss
    assert processes.same(model, [1]) == (model, [1])
    with started_processes('cpu') as (found, device):
        assert (found.rank, found.size, device) == (0, 1, 'cpu')


def fail(processes, checkpoint, message):
    with processes.watched(checkpoint):
        raise RuntimeError(message)


def test_errors_of_the_exchange_are_explained():
    message = 'gloo: Connection closed by peer\nand more'
    expected = (r'process 1 of 2 stops; start again to go on from state\.pt '
                r'\(gloo: Connection closed by peer\)$')
    with pytest.raises(ConnectionError, match=expected):
        fail(Processes(1, 2), 'state.pt', message)
    with pytest.raises(ConnectionError, match='there was no checkpoint'):
        fail(Processes(1, 2), None, message)
    # Other errors, and those of one process, are what they are.
    for processes, text in ((Processes(1, 2), 'shapes'),
                            (Processes(), message)):
        with pytest.raises(RuntimeError, match=text.split('\n')[0]):
            fail(processes, 'state.pt', text)


def test_weights_make_a_mean_of_all(monkeypatch):
    batches = [{'weight': torch.ones(count)} for count in (10, 30)]
    monkeypatch.setattr(torch.distributed, 'all_reduce',
                        lambda total: total.fill_(40.0))
    losses = [Processes(rank, 2).weighted(torch.tensor(value), batch)
              for rank, (value, batch) in enumerate(
                  zip((2.0, 6.0), batches, strict=True))]
    # What DistributedDataParallel makes of the gradients.
    assert_allclose(np.mean([float(loss) for loss in losses]), 5.0)
