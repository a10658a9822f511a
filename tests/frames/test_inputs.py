# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the axes of frames.
"""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from astro_denoise import denoise, segment_point_sources
from astro_denoise.frames.inputs import empty_axes
from astro_denoise.pipeline import denoise_file


@pytest.mark.parametrize(('shape', 'number'), [
    ((4, 5), 0), ((1, 4, 5), 0), ((1, 1, 4, 5), 2), ((1, 3, 4, 5), 1),
    ((3, 1, 4, 5), 0), ((1, 1, 1, 4, 5), 3)])
def test_empty_axes(shape, number):
    assert empty_axes(shape) == number


def test_frame_with_empty_axes(sky, half_sigma_model):
    frame = sky((40, 50))
    mask = np.zeros((1, 1, 40, 50), bool)
    mask[0, 0, 2, 3] = True
    expected = denoise(CCDData(frame, unit='adu', mask=mask[0, 0]),
                       half_sigma_model())
    result = denoise(CCDData(frame[None, None], unit='adu', mask=mask),
                     half_sigma_model())
    for name in ('data', 'mask'):
        np.testing.assert_array_equal(getattr(result, name)[0, 0],
                                      getattr(expected, name))
    np.testing.assert_array_equal(result.uncertainty.array[0, 0],
                                  expected.uncertainty.array)
    output = np.zeros((1, 1, 40, 50), np.float32)
    denoise(frame[None, None], half_sigma_model(), mask=mask,
            output_array=output)
    np.testing.assert_allclose(output[0, 0], expected.data, rtol=1e-6)


def test_axes_that_are_not_empty():
    with pytest.raises(ValueError, match=r'got \(2, 3, 40, 50\)'):
        denoise(np.ones((2, 3, 40, 50)))


@pytest.mark.filterwarnings('ignore:no source was found')
def test_sources_of_a_frame_with_empty_axes(sky):
    frame = sky((64, 72))
    found = segment_point_sources(CCDData(
        frame[None, None], unit='adu', mask=np.zeros((1, 1, 64, 72), bool)),
        'ccd-sources')
    assert found.probability.shape == (64, 72)


def test_file_with_empty_axes(tmp_path, sky, half_sigma_model):
    fits.writeto(tmp_path / 'in.fits', sky((40, 50))[None, None])
    path = denoise_file(tmp_path / 'in.fits', tmp_path / 'out.fits',
                        model=half_sigma_model())
    assert fits.getdata(path).shape == (1, 1, 40, 50)
