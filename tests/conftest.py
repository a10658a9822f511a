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


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # The pictures in ``baseline`` are of the version in constraints.txt;
    # others draw letters and ticks a little elsewhere.
    if mpl.__version_info__[:2] != (3, 11):
        config.option.mpl = False


@pytest.fixture(autouse=True)
def _fixed_seeds():
    # For global generators that other packages draw from; torch is not
    # imported for the tests that do without it.
    np.random.seed(20150212)
    if 'torch' in sys.modules:
        sys.modules['torch'].manual_seed(20150212)


@pytest.fixture
def small_network():
    """
    Make a network with random weights, the same in every run.
    """
    def make(widths=(6, 8, 10), kernel_fwhms=(), scale=0.25):
        import torch

        from astro_denoise.models.denoiser import CCDDenoiser

        generator = torch.Generator().manual_seed(7)
        network = CCDDenoiser(widths, kernel_fwhms).eval()
        network.requires_grad_(requires_grad=False)
        for parameter in network.parameters():
            parameter.normal_(0.0, scale, generator=generator)
        if kernel_fwhms:
            network.kernels.uniform_(generator=generator)
            network.kernels /= network.kernels.sum((1, 2), keepdim=True)
        return network.to(memory_format=torch.channels_last)

    return make


@pytest.fixture(scope='session')
def half_sigma_model():
    """
    Make a small model that takes half a sigma from each pixel.
    """
    def make(name='half', **metadata):
        import torch

        from astro_denoise.models import Model
        from astro_denoise.models.denoiser import CCDDenoiser

        # Its head is zero.
        network = CCDDenoiser((2, 2), lone_pixels=False).eval()
        with torch.no_grad():
            network.head.bias[:4] = 0.5
        network.to(memory_format=torch.channels_last)
        return Model(network, {'name': name, 'task': 'denoise', **metadata})

    return make


def pytest_collection_modifyitems(items):
    gpu_items = [item for item in items if item.get_closest_marker('gpu')]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason='no CUDA device'))
