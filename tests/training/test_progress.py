# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of means and of the best weights.
"""

import numpy as np
import torch
from numpy.testing import assert_allclose

from astro_denoise.training.progress import BestWeights, RunningMeans


def test_means():
    means = RunningMeans()
    means.add({'loss': 1.0, 'rms': 2.0})
    means.add({'loss': 4.0, 'rms': 0.0}, 3)
    again = RunningMeans(**means.state())
    again.add({'loss': 3.0, 'rms': 1.0}, 4)
    assert means.row() == {'loss': 3.25, 'rms': 0.5}
    assert_allclose(list(again.row().values()), [3.125, 0.75])


def network(value):
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(value)
    return layer


def test_best_weights():
    best = BestWeights(2)
    result = network(9.0)
    best.restore(result)
    assert result.weight == 9.0  # no score yet
    judged = [best.judge(score, network(score))
              for score in (5.0, 3.0, np.nan)]
    assert judged == [True, True, False]
    assert not best.exhausted
    again = BestWeights(2)
    again.load(best.state())
    assert not again.judge(3.0, network(7.0))
    assert again.exhausted
    again.restore(result)
    assert result.weight == 3.0


def test_patience_without_end():
    best = BestWeights(None)
    for _ in range(100):
        best.judge(1.0, network(1.0))
    assert not best.exhausted
