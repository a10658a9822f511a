# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the threads that share the strips of a plane.
"""

import os
import threading
import time

import pytest

from astro_denoise.noise.strips import map_strips


def test_results_in_order(n_threads):
    for n_parts in (0, 1, 2, 40):
        assert map_strips(lambda part: part**2, range(n_parts)) == [
            number**2 for number in range(n_parts)]


def test_threads_share_the_work(n_threads):
    met = threading.Barrier(n_threads)

    def meet(part):
        # Nobody comes any further alone.
        met.wait(20)
        return threading.get_ident()

    assert len(set(map_strips(meet, range(n_threads)))) == n_threads


def test_strips_within_strips(n_threads):
    def inner(part):
        return sum(map_strips(lambda each: each * part, range(30)))

    assert map_strips(inner, range(20)) == [435 * part for part in range(20)]


def test_errors_come_out(n_threads):
    def fail(part):
        time.sleep(1e-4)
        if part == 7:
            raise KeyError(part)

    for _ in range(5):
        with pytest.raises(KeyError, match='7'):
            map_strips(fail, range(20))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_after_a_fork(torch_threads):
    torch_threads(2)
    map_strips(abs, range(10))
    child = os.fork()
    if child == 0:
        right = map_strips(abs, range(-9, 0)) == list(range(9, 0, -1))
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
