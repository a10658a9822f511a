# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Frames of the zoo of the benchmarks, smaller ones.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ZOO = Path(__file__).parents[2] / 'benchmarks' / 'zoo_frames.py'


@pytest.fixture(scope='session')
def zoo():
    """
    A function that draws a frame as tensors: frame, values, valid.
    """
    if not ZOO.exists():
        pytest.skip('the benchmarks are not here')
    spec = importlib.util.spec_from_file_location('zoo_frames', ZOO)
    module = importlib.util.module_from_spec(spec)
    sys.modules['zoo_frames'] = module  # dataclasses look there
    spec.loader.exec_module(module)

    def draw(name, seed=1, shape=(256, 256)):
        frame = module.draw(name, [seed, 8], shape)
        valid = frame.valid & np.isfinite(frame.values)
        values = np.where(valid, frame.values, 0).astype(np.float32)
        return frame, torch.from_numpy(values), torch.from_numpy(valid)

    return draw
