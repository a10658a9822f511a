# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What holds for every test.
"""

import os
import sys

if 'PYTEST_XDIST_WORKER' in os.environ:
    # Processes side by side that compute with all cores each wait for each
    # other. Read when torch is imported, and by processes that tests start.
    os.environ.setdefault('OMP_NUM_THREADS', '1')

import matplotlib as mpl
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.wcs import WCS
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
    def make(widths=(6, 8, 10), kernel_fwhms=(), scale=0.25, **options):
        import torch

        from astro_denoise.models.denoiser import CCDDenoiser

        generator = torch.Generator().manual_seed(7)
        network = CCDDenoiser(widths, kernel_fwhms, **options).eval()
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

        from astro_denoise.models.denoiser import CCDDenoiser
        from astro_denoise.models.registry import Model

        # Its head is zero.
        network = CCDDenoiser((2, 2), lone_pixels=False).eval()
        with torch.no_grad():
            network.head.bias[:4] = 0.5
        network.to(memory_format=torch.channels_last)
        return Model(network, {'name': name, 'task': 'denoise', **metadata})

    return make


@pytest.fixture(scope='session')
def sky():
    """
    Make a frame of stars with white noise of 5 adu, float32.
    """
    def make(shape=(64, 72), *, seed=1, level=100.0, n_stars=4):
        from astro_denoise.simulation.profiles import render_sources

        rng = np.random.default_rng(seed)
        stars = {'x': rng.uniform(0, shape[-1], n_stars),
                 'y': rng.uniform(0, shape[-2], n_stars),
                 'flux': 10**rng.uniform(2.5, 4.5, n_stars)}
        image = render_sources(shape[-2:], stars, 3.0, 3.5)
        noise = rng.standard_normal(shape, dtype=np.float32)
        return image + np.float32(level) + np.float32(5.0) * noise

    return make


@pytest.fixture(scope='session')
def ccd(sky):
    """
    Such a frame with all that a frame may have.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [149.9, -34.9]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    wcs.wcs.set()
    return CCDData(sky(), unit='adu', wcs=wcs,
                   meta=fits.Header([('OBJECT', 'field 7', 'a comment'),
                                     ('GAIN', 5.0), ('RDNOISE', 11.0)]))


@pytest.fixture(scope='session')
def exact():
    """
    Denoise in single precision: figures do not depend on the processor.
    """
    def denoise(data, **options):
        import astro_denoise

        return astro_denoise.denoise(data, precision='float32', **options)

    return denoise


@pytest.fixture(scope='session')
def noise_image():
    """
    Make an image of white noise on a level.
    """
    def make(seed, shape=(40, 60), level=100.0):
        return np.random.default_rng(seed).normal(level, 5.0, shape)

    return make


@pytest.fixture
def crop(tmp_path):
    """
    A piece of a real frame, 16-bit unsigned integers.
    """
    from astro_denoise.data.examples import get_example_path

    with fits.open(get_example_path('eso085_030_004.fits')) as hdus:
        hdus[0].data = hdus[0].data[:64, :80].copy()
        path = tmp_path / 'in.fits'
        hdus.writeto(path)
    return path


@pytest.fixture
def mosaic(tmp_path, noise_image):
    """
    Two chips in the way of Hubble files, with other HDUs around them.
    """
    shape = (40, 60)
    primary = fits.PrimaryHDU()
    primary.header['GAIN'] = 2.0
    primary.header['BUNIT'] = 'ADU'
    hdus = [primary]
    for version in (1, 2):
        science = fits.ImageHDU(noise_image(version).astype('>f4'),
                                name='SCI', ver=version)
        science.header['CHIP'] = version
        flags = np.zeros(shape, np.int16)
        flags[3, 4 + version] = 64
        hdus += [science,
                 fits.ImageHDU(np.full(shape, 5.0, np.float32), name='ERR',
                               ver=version),
                 fits.ImageHDU(flags, name='DQ', ver=version)]
    hdus += [fits.ImageHDU(np.arange(12, dtype=np.uint16).reshape(3, 4),
                           name='SCALED'),
             fits.CompImageHDU(noise_image(5).astype(np.float32),
                               name='PACKED'),
             fits.BinTableHDU(Table({'a': [1, 2]}), name='TAB')]
    path = tmp_path / 'mosaic.fits'
    fits.HDUList(hdus).writeto(path, checksum=True)
    return path


@pytest.fixture(scope='session')
def hdu_bytes():
    """
    Read an HDU as it is in its file.
    """
    def contents(path, index):
        with fits.open(path, disable_image_compression=True) as hdus:
            info = hdus[index].fileinfo()
        content = path.read_bytes()
        return content[info['hdrLoc']:info['datLoc'] + info['datSpan']]

    return contents


def pytest_collection_modifyitems(items):
    gpu_items = [item for item in items if item.get_closest_marker('gpu')]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason='no CUDA device'))


@pytest.fixture
def torch_threads():
    """
    Sets the number of threads of torch; it is what it was afterwards.
    """
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2, 5])
def n_threads(request, torch_threads):
    """
    Threads that torch takes.
    """
    torch_threads(request.param)
    return request.param
