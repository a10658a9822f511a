# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of frames of classes that others have made.
"""

import functools
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.nddata import CCDData, NDData, NDDataRef
from astropy.utils import lazyproperty
from astropy.utils.exceptions import AstropyUserWarning

from astro_denoise import denoise, segment_point_sources
from astro_denoise.simulation import GalacticCenterSimulator


class Exposure(CCDData):
    """
    What the pipelines of observatories do: more attributes, and an
    ``__init__`` of its own.
    """

    def __init__(self, camera, number, data, **options):
        super().__init__(data, **options)
        self.camera = camera
        self.number = number
        self.weights = np.ones(self.shape)

    @lazyproperty
    def brightest(self):
        return float(self.data.max())

    @functools.cached_property
    def faintest(self):
        return float(self.data.min())

    @property
    def label(self):
        return f'{self.camera}-{self.number}'


class Plain(CCDData):
    """
    A class that adds nothing but a name.
    """


@pytest.fixture
def exposure(sky):
    return Exposure('MegaCam', 17, sky(), unit='adu', meta={'OBJECT': 'M 13'})


def test_attributes_are_kept(exposure):
    before = exposure.brightest, exposure.faintest
    exposure.files = {'raw': Path('a.fits')}
    result = denoise(exposure)
    assert type(result) is Exposure
    assert result.label == 'MegaCam-17'
    assert result.files == exposure.files
    assert result.files is not exposure.files
    np.testing.assert_array_equal(result.weights, exposure.weights)
    assert not np.shares_memory(result.weights, exposure.weights)
    assert result.meta['OBJECT'] == 'M 13'
    # What was computed from the pixels is computed from the new ones.
    assert (result.brightest, result.faintest) == (result.data.max(),
                                                   result.data.min())
    assert before == (exposure.data.max(), exposure.data.min())
    np.testing.assert_array_equal(
        result.data, denoise(CCDData(exposure.data, unit='adu')).data)


@pytest.mark.parametrize('make', [
    lambda data: Plain(data, unit='adu'), lambda data: CCDData(data, unit=''),
    NDData, NDDataRef])
def test_attribute_of_one_object(sky, make):
    frame = make(sky())
    frame.seeing = 1.2
    result = denoise(frame)
    assert type(result) is type(frame)
    assert result.seeing == 1.2


def test_what_cannot_be_copied_is_told(exposure):
    exposure.lock = threading.Lock()
    with pytest.warns(AstropyUserWarning, match='Exposure that cannot be '
                      'copied: lock .TypeError') as record:
        result = denoise(exposure)
    assert record[0].filename == __file__
    assert not hasattr(result, 'lock')
    assert result.number == 17


def test_segmentation():
    counts, *_ = GalacticCenterSimulator('legacy').sample(1, seed=1)
    frame = Exposure('LAT', 3, counts[0], unit='ct')
    frame.lock = threading.Lock()
    with pytest.warns(AstropyUserWarning, match='lock') as record:
        result = segment_point_sources(frame, threshold=0.0)
    assert [each.filename for each in record] == [__file__]
    for plane in (result.probability, result.flux):
        assert type(plane) is Exposure
        assert plane.label == 'LAT-3'
        assert plane.brightest == plane.data.max()
