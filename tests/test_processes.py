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
