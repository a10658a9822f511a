# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of warnings of skies that a segmenter does not know.
"""

import warnings

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.wcs import WCS

from astro_denoise import segment_point_sources
from astro_denoise.data import load_fermi_map
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation import GalacticCenterSimulator
from astro_denoise.sky_maps.galactic_grid import grid_wcs

pytestmark = pytest.mark.filterwarnings('ignore:no source was found')


def turned(image, along_y, along_x):
    """
    The same sky with its axes in another direction.
    """
    wcs = WCS(grid_wcs().to_header())
    for axis, step in ((1, along_y), (0, along_x)):
        if step < 0:
            wcs.wcs.cdelt[axis] *= -1
            wcs.wcs.crpix[axis] = 65 - wcs.wcs.crpix[axis]
    return CCDData(image[::along_y, ::along_x], unit='ct', wcs=wcs)


def test_the_real_sky_is_not_that_of_the_simulator():
    with pytest.warns(UnusualImageWarning,
                      match="model='galactic-sky' knows more skies"):
        segment_point_sources(load_fermi_map())


@pytest.mark.parametrize('model', ['galactic-center', 'galactic-sky'])
@pytest.mark.parametrize('along_y', [1, -1])
@pytest.mark.parametrize('along_x', [1, -1])
def test_every_orientation_is_checked(model, along_y, along_x):
    image = GalacticCenterSimulator().sample(1, seed=4)[0][0]
    with warnings.catch_warnings():
        warnings.simplefilter('error', UnusualImageWarning)
        segment_point_sources(turned(image, along_y, along_x), model)
    flat = np.random.default_rng(3).poisson(30.0, (64, 64))
    with pytest.warns(UnusualImageWarning, match=model):
        segment_point_sources(turned(flat, along_y, along_x), model)


def test_masked_skies_are_checked():
    mask = np.zeros((64, 64), bool)
    mask[28:36] = True
    image = GalacticCenterSimulator().sample(1, seed=4)[0][0]
    segment_point_sources(image, 'galactic-sky', mask=mask)
    flat = np.random.default_rng(3).poisson(30.0, (64, 64))
    with pytest.warns(UnusualImageWarning, match='galactic-sky'):
        segment_point_sources(flat, 'galactic-sky', mask=mask)


def test_images_of_a_stack_are_named():
    images = np.random.default_rng(3).poisson(30.0, (2, 64, 64))
    mask = np.zeros(images.shape, bool)
    # Not checked: this model knows nothing of masked pixels.
    mask[0, 20:30] = True
    with pytest.warns(UnusualImageWarning, match=r'\(image 1 first\)'):
        segment_point_sources(images, 'galactic-center', mask=mask)
