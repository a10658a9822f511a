# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of positions on the sky and checks of counts.
"""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData, NDData
from astropy.wcs import WCS
from astropy.wcs.wcsapi import HighLevelWCSWrapper, SlicedLowLevelWCS
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.exceptions import CountsWarning
from astro_denoise.frames.checks import check_counts, check_counts_unit
from astro_denoise.sky_maps.galactic_grid import (
    celestial_wcs,
    grid_wcs,
    position_planes,
)

LINE = (np.arange(64) - 31.5) * 0.46875 / 15


def sky_wcs(*, center=(266.4, -28.9), scale=0.1, shape=(200, 300),
            kinds=('RA---TAN', 'DEC--TAN')):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = kinds
    wcs.wcs.crval = center
    wcs.wcs.cdelt = -scale, scale
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    return wcs


def test_plain_array_is_on_the_grid():
    position = position_planes(None, (64, 64))
    assert position.dtype == np.float32
    assert_allclose(position[0], np.tile(LINE, (64, 1)), atol=1e-6)
    assert_allclose(position[1], np.tile(LINE, (64, 1)).T, atol=1e-6)
    assert_array_equal(position[2], 1)


def test_other_shape_is_unknown():
    assert_array_equal(position_planes(None, (64, 65)), 0)


def test_wcs_comes_before_shape():
    wcs = grid_wcs()
    wcs.wcs.cdelt = -wcs.wcs.cdelt[0], wcs.wcs.cdelt[1]
    position = position_planes(wcs, (64, 64))
    assert_allclose(position[0], np.tile(-LINE, (64, 1)), atol=1e-6)
    far = sky_wcs(center=(80.0, 10.0))
    assert_array_equal(position_planes(far, (64, 64)), 0)


@pytest.mark.parametrize('shape', [(200, 300), (700, 400)])
def test_sky_coordinates(shape):
    wcs = sky_wcs(shape=shape, scale=30 / max(shape))
    position = position_planes(wcs, shape)
    y, x = np.indices(shape)
    sky = wcs.pixel_to_world(x, y).galactic
    longitude, latitude = sky.l.wrap_at('180d').deg, sky.b.deg
    inside = np.maximum(abs(longitude), abs(latitude)) <= 15
    assert 0.5 < inside.mean() < 1
    assert np.mean(position[2] == inside) > 0.999
    inside &= position[2] > 0
    # Interpolation between nodes is good to a small part of a pixel.
    assert_allclose(15 * position[0][inside], longitude[inside], atol=0.01)
    assert_allclose(15 * position[1][inside], latitude[inside], atol=0.01)
    assert (position[:, position[2] == 0] == 0).all()


def test_beyond_the_sky():
    wcs = sky_wcs(center=(0, 0), scale=4.0, kinds=('GLON-AIT', 'GLAT-AIT'),
                  shape=(60, 120))
    position = position_planes(wcs, (60, 120))
    assert np.isfinite(position).all()
    assert 30 < position[2].sum() < 90


def test_which_wcs():
    wcs = sky_wcs()
    assert celestial_wcs(np.ones((3, 3))) is None
    assert celestial_wcs(CCDData(np.ones((3, 3)), unit='ct')) is None
    assert celestial_wcs(NDData(np.ones((3, 3)), wcs=wcs)) is not None
    linear = WCS(naxis=2)
    assert celestial_wcs(CCDData(np.ones((3, 3)), unit='ct',
                                 wcs=linear)) is None
    cube = WCS(naxis=3)
    cube.wcs.ctype = 'RA---TAN', 'DEC--TAN', 'FREQ'
    assert celestial_wcs(NDData(np.ones((2, 3, 3)), wcs=cube)).naxis == 2
    sliced = HighLevelWCSWrapper(SlicedLowLevelWCS(wcs, np.s_[2:, 3:]))
    found = celestial_wcs(NDData(np.ones((3, 3)), wcs=sliced))
    assert_allclose(position_planes(found, (50, 50))[0],
                    position_planes(wcs, (52, 53))[0, 2:, 3:], atol=1e-6)


@pytest.mark.parametrize('unit', [None, '', 'ct', 'ph', 'adu', 'electron'])
def test_units_of_counts(unit):
    check_counts_unit(None if unit is None else u.Unit(unit))


def test_other_units():
    with pytest.raises(ValueError, match="got the unit 'ct / s'"):
        check_counts_unit(u.ct / u.s)


def test_counts():
    counts = np.arange(24.0).reshape(2, 3, 4)
    valid = np.ones(counts.shape, bool)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check_counts(counts, valid, 'image')
    counts[1, 2, 3] = -1
    with pytest.raises(ValueError, match=r'image must .* got -1 at pixel '
                       r'\(2, 3\) of image 1'):
        check_counts(counts, valid, 'image')
    valid[1, 2, 3] = False
    check_counts(counts, valid, 'image')
    with pytest.warns(CountsWarning, match='image holds .* not integers'):
        check_counts(counts + 0.5 * valid, valid, 'image')
    counts[1, 0, 1] = 1.1e18
    with pytest.raises(ValueError, match=r'got 1.1e\+18 at pixel \(0, 1\) of '
                       'image 1'):
        check_counts(counts, valid, 'image')
    counts[1] = 0
    with pytest.raises(ValueError, match='got 0 in all pixels of image 1'):
        check_counts(counts, valid, 'image')
