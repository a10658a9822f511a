# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the methods of training that are not tested by training.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from astro_denoise import load_model
from astro_denoise.training import MethodOptions
from astro_denoise.training.methods import METHODS, noise_span


def correlation_of(kernel):
    """Lag-1 correlation, and lags at which more than a tenth is shared."""
    shared = np.correlate(kernel, kernel, 'full')[len(kernel) - 1:]
    shared = shared / shared[0]
    return shared[1], int(np.flatnonzero(shared > 0.1).max())


@pytest.mark.parametrize('width', [0.5, 0.7, 1.0, 1.4])
def test_span_of_gaussian_kernels(width):
    impulse = np.zeros(31)
    impulse[15] = 1.0
    rho, lags = correlation_of(gaussian_filter(impulse, width))
    span = noise_span([SimpleNamespace(correlation=(rho, 0.0))])
    assert span == (min(lags, 4), 0)


def test_span_is_that_of_the_worst_frame_and_at_least_a_square():
    white = SimpleNamespace(correlation=(0.0, 0.0))
    assert noise_span([white]) == (1, 1)
    shared = SimpleNamespace(correlation=(0.0, -0.3))
    assert noise_span([white, shared]) == (0, 1)


@pytest.mark.parametrize(('method', 'start'), [
    ('r2r', 'ccd'), ('noise2void', 'ccd-mmse'), ('gr2r', 'gc-mixed')])
def test_what_cannot_be_trained_further(method, start):
    with pytest.raises(ValueError, match=f'model {start!r} cannot be'):
        METHODS[method].build(load_model(start), [], MethodOptions(), seed=1)
