# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of processes that are started by one that has denoised.
"""

import json
import multiprocessing
import subprocess
import sys

import pytest

METHODS = multiprocessing.get_all_start_methods()

# Run as a script, since a process that pytest has forked from its own would
# inherit all that pytest has open.
SCRIPT = """
import json
import multiprocessing
import sys

import numpy as np


def result(seed):
    from astro_denoise import denoise

    data = np.random.default_rng(seed).normal(100.0, 5.0, (150, 90))
    return denoise(data, precision='float32').sum()


if __name__ == '__main__':
    here = [result(seed) for seed in (1, 2)]
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        there = pool.map(result, (1, 2))
    print(json.dumps([here, there]))
"""


@pytest.mark.parametrize('method', METHODS)
def test_start_method(tmp_path, method, monkeypatch):
    # More than one thread: what a fork inherits of them may hang.
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    (tmp_path / 'script.py').write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, 'script.py', method], cwd=tmp_path, timeout=600,
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    here, there = json.loads(done.stdout)
    assert there == pytest.approx(here, rel=1e-9)


# One thread loads a model, slowly, while the other one forks.
LOADING = """
import multiprocessing
import sys
import threading
import time

import numpy as np
import astropy.nddata  # a fork amid imports of others is not ours
import numpy.fft
import astro_denoise
from astro_denoise.models import registry


def result(verb):
    counts = np.random.default_rng(1).poisson(3.0, (64, 64))
    if verb == 'denoise':
        return astro_denoise.denoise(counts + 100.0).shape
    if verb == 'segment':
        return astro_denoise.segment_point_sources(counts).flux.shape
    return len(astro_denoise.estimate_parameters(counts, n_samples=2)),


def build(path):
    loading.set()
    time.sleep(1.0)
    return original(path)


def load(name, task):
    astro_denoise.load_model(name, task=task)
    # The end of a thread that has computed loads a library (libgcc_s), which
    # a fork at that moment would have half of.
    forked.wait()


if __name__ == '__main__':
    loading, forked = threading.Event(), threading.Event()
    original = registry._build
    registry._build = build
    names = {'denoise': 'ccd', 'segment': 'galactic-center',
             'estimate': 'galactic-center'}
    verb = sys.argv[1]
    thread = threading.Thread(target=load, args=(names[verb], verb))
    thread.start()
    loading.wait()
    with multiprocessing.get_context('fork').Pool(2) as pool:
        forked.set()
        print(*pool.map(result, [verb, verb]))
    thread.join()
"""


@pytest.mark.skipif('fork' not in METHODS, reason='no forks')
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('verb', ['denoise', 'segment', 'estimate'])
def test_fork_while_a_model_is_loaded(tmp_path, verb, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    (tmp_path / 'script.py').write_text(LOADING)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', 'script.py', verb], cwd=tmp_path,
        timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = '(1,)' if verb == 'estimate' else '(64, 64)'
    assert done.stdout.split('\n')[0] == f'{expected} {expected}'
