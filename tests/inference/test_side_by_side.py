# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of tasks that are done side by side.
"""

import numpy as np
import pytest
import torch
from astropy.nddata import CCDData
from numpy.testing import assert_array_equal

from astro_denoise import denoise, estimate_parameters
from astro_denoise.inference.side_by_side import side_by_side
from astro_denoise.simulation import GalacticCenterSimulator

CPU = torch.device('cpu')


def test_tasks_have_one_core_each(n_threads):
    with side_by_side(CPU, 5) as do:
        numbers = list(do(lambda _: torch.get_num_threads(), range(5)))
    assert numbers == [1] * 5
    assert torch.get_num_threads() == n_threads
    # Elsewhere than on the processor, one follows the other.
    with side_by_side(torch.device('meta'), 5) as do:
        assert do is map


def test_an_error_comes_out(n_threads):
    def fail(number):
        raise KeyError(number)

    with pytest.raises(KeyError, match='0'), side_by_side(CPU, 9) as do:
        list(do(fail, range(9)))
    assert torch.get_num_threads() == n_threads


def results():
    images, *_ = GalacticCenterSimulator().sample(3, seed=1)
    table = estimate_parameters(images, seed=1, n_samples=200)
    stack = np.random.default_rng(1).normal(100, 5, (4, 96, 80))
    stack[0, :4] = np.nan
    stack[2, 9, :7] = np.nan
    frame = CCDData(stack, unit='adu', mask=np.isnan(stack))
    denoised = denoise(frame, device='cpu')
    return [np.asarray(table[name]) for name in table.colnames] + [
        denoised.data, denoised.mask, denoised.uncertainty.array]


def test_results_do_not_depend_on_the_cores(torch_threads):
    found = []
    for n_threads in (1, 2, 3):
        torch_threads(n_threads)
        found.append(results())
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert_array_equal(one, other)
