# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What holds for every test.
"""

import sys

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import settings

mpl.use('Agg')

# The same examples in every run, and no verdict that depends on how busy
# the machine is.
settings.register_profile('astro_denoise', deadline=None, derandomize=True)
settings.load_profile('astro_denoise')


@pytest.fixture(autouse=True)
def _fixed_seeds():
    # For global generators that other packages draw from; torch is not
    # imported for the tests that do without it.
    np.random.seed(20150212)
    if 'torch' in sys.modules:
        sys.modules['torch'].manual_seed(20150212)


def pytest_collection_modifyitems(items):
    gpu_items = [item for item in items if item.get_closest_marker('gpu')]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason='no CUDA device'))
