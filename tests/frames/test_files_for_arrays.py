# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what is said of files that are given in the place of arrays.
"""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from astro_denoise import (
    denoise,
    estimate_parameters,
    segment_point_sources,
)
from astro_denoise.denoising import plot_denoised
from astro_denoise.photometry import (
    annulus_photometry,
    check_repeatability,
    forced_photometry,
)

FRAME = np.ones((8, 9))
CATALOG = QTable({'x_centroid': [4.0], 'y_centroid': [4.0],
                  'aperture_x': [4.0], 'aperture_y': [4.0],
                  'aperture_a': [2.0], 'aperture_b': [2.0],
                  'aperture_theta': [0.0]})
HDU = fits.PrimaryHDU(FRAME)

FUNCTIONS = [
    denoise, segment_point_sources, estimate_parameters,
    lambda data: forced_photometry(data, CATALOG, np.ones((5, 5))),
    lambda data: annulus_photometry(data, CATALOG),
    lambda data: plot_denoised(data, data)]


@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize(('data', 'cure'), [
    ('f0.fits', "'f0.fits': read it with CCDData.read(path, unit='adu')"),
    (Path('f0.fits'), "read it with CCDData.read(path, unit='adu')"),
    (['a.fits', 'b.fits'], 'pipeline.denoise_files(paths, folder)'),
    (fits.HDUList([HDU]), "use CCDData.read(path, unit='adu')"),
    (HDU, "CCDData(hdu.data, unit='adu', meta=hdu.header)")])
def test_frames(function, data, cure):
    with pytest.raises(TypeError) as raised:
        function(data)
    assert cure in str(raised.value)


@pytest.mark.parametrize('name', ['mask', 'uncertainty'])
@pytest.mark.parametrize(('value', 'cure'), [
    ('bad.fits', 'read it with astropy.io.fits.getdata(path)'),
    (HDU, 'give hdu.data')])
def test_masks_and_noise(name, value, cure):
    with pytest.raises(TypeError, match=f'{name} must be an array, got') as (
            raised):
        denoise(FRAME, **{name: value})
    assert cure in str(raised.value)


@pytest.mark.parametrize('function', [
    lambda catalog: denoise(FRAME, catalog=catalog),
    lambda catalog: forced_photometry(FRAME, catalog, np.ones((5, 5))),
    lambda catalog: annulus_photometry(FRAME, catalog),
    lambda catalog: check_repeatability(catalog)])
def test_catalogs(function):
    with pytest.raises(TypeError, match=(
            r"the path 'c\.ecsv': read it with "
            r'astro_denoise\.photometry\.read_table')):
        function('c.ecsv')


@pytest.mark.parametrize('function', [
    lambda psf: denoise(FRAME, catalog=CATALOG, guide='model', psf=psf),
    lambda psf: forced_photometry(FRAME, CATALOG, psf)])
def test_point_spread_functions(function):
    with pytest.raises(ValueError, match=r"'psf\.fits': read the image of a "
                                         r'file with .*getdata'):
        function('psf.fits')
