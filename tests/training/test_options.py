# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the options of a training.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from astro_denoise.training.checkpoints import Checkpoint
from astro_denoise.training.options import Run, Schedule, cosine_fall


def test_cosine_fall():
    assert cosine_fall(0.0) == 1.0
    assert_allclose(cosine_fall(0.5), 0.505)
    assert_allclose(cosine_fall(1.0), 0.01)


def test_rate():
    schedule = Schedule(1000, 0.1, warmup=200)
    rates = [schedule.rate(step) for step in range(1001)]
    assert_allclose(rates[:200], 0.1 * np.arange(1, 201) / 200)
    assert rates[200] == 0.1
    assert np.all(np.diff(rates[200:]) < 0)
    assert_allclose(rates[600], 0.1 * 0.505)
    assert_allclose(rates[-1], 1e-3)


@pytest.mark.parametrize(('step', 'spent', 'progress'), [
    (600, 0.2, 0.5), (600, 0.9, 0.9), (600, 1.5, 1.0)])
def test_rate_follows_the_clock(step, spent, progress):
    schedule = Schedule(1000, 0.1, warmup=200)
    assert schedule.rate(step, spent) == 0.1 * cosine_fall(progress)
    assert schedule.rate(10, spent) == schedule.rate(10)


def test_decay():
    schedule = Schedule(1000, ema_decay=0.9)
    assert schedule.decay(1) == 0.1
    assert schedule.decay(81) == schedule.decay(10_000) == 0.9


def test_length():
    schedule = Schedule(1000, 0.1)
    assert schedule.with_steps() is schedule
    assert schedule.with_steps(5) == Schedule(5, 0.1)


def test_stage(tmp_path):
    run = Run(seed=3, checkpoint=Checkpoint(tmp_path / 'whole.pt'))
    stage = run.stage('first', seed=4)
    assert (stage.seed, stage.checkpoint.path) == (4, tmp_path / 'first.pt')
    assert stage.processes is run.processes
