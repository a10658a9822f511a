# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the example frames.
"""

import numpy as np
import pytest
from astropy.nddata import CCDData

from astro_denoise.data.examples import (
    get_example_path,
    load_example_pair,
    load_fermi_map,
    load_m51,
)
from astro_denoise.sky_maps.galactic_grid import galactic_degrees

NAMES = ('eso085_030_004.fits', 'eso085_030_005.fits')


def test_size():
    assert sum(get_example_path(name).stat().st_size
               for name in NAMES) < 1_000_000


def test_size_of_fermi_map():
    assert get_example_path('fermi_gc.fits').stat().st_size < 50_000


def test_fermi_map():
    image = load_fermi_map()
    assert image.shape == (64, 64)
    assert image.unit == 'ct'
    assert image.data.sum() == 211766
    assert np.median(image.data) == 24
    longitude, latitude = galactic_degrees(image.wcs, [0, 63], [0, 63])
    assert longitude == pytest.approx([14.765625, -14.765625])
    assert latitude == pytest.approx([-14.765625, 14.765625])
    # The plane is bright, and the center the brightest region.
    assert image.data[31:33].mean() > 5 * image.data[5:15].mean()
    assert 'MIT' in image.header['ORIGIN']


def test_unknown_name():
    with pytest.raises(ValueError, match=r"name='m31\.fits'"):
        get_example_path('m31.fits')


def test_pair():
    pair = load_example_pair()
    for ccd, number in zip(pair, ('004', '005'), strict=True):
        assert isinstance(ccd, CCDData)
        assert ccd.shape == (480, 480)
        assert ccd.unit == 'adu'
        assert ccd.dtype == np.uint16
        assert ccd.header['ORIGFILE'] == f'aligned_eso085-030-{number}.fit'
    first, second = (np.asarray(ccd.data, dtype=float) for ccd in pair)
    # The same sky twice, in two exposures.
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9
    assert not np.array_equal(first, second)


def test_m51():
    frame = load_m51()
    assert frame.shape == (320, 320)
    assert frame.unit == 'adu'
    assert frame.dtype.kind == 'i'
    # Values and place of the original.
    assert frame.data.max() == 19936
    assert (frame.header['CROPX0'], frame.header['CROPY0']) == (81, 101)
    assert get_example_path('m51.fits').stat().st_size < 250_000
