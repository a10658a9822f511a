# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of arguments that cannot be denoised with.
"""

import astropy.units as u
import ccdproc
import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty, UnknownUncertainty

from astro_denoise import denoise, load_model


@pytest.mark.parametrize(('data', 'message'), [
    (np.ones(5), r'data must have shape .* got \(5,\)'),
    (np.ones((2, 2, 2, 2)), r'data must have shape'),
    (np.ones((0, 5)), r'data must have shape .* got \(0, 5\)')])
def test_bad_values(data, message):
    with pytest.raises(ValueError, match=message):
        denoise(data)


@pytest.mark.parametrize('data', [
    np.ones((5, 5), complex), np.full((5, 5), None), np.full((5, 5), 'a'),
    np.ones((5, 5), bool), None, 'frame.fits', 3.0])
def test_bad_type(data):
    with pytest.raises(TypeError, match=r'^data must') as error:
        denoise(data)
    told = ("CCDData.read(path, unit='adu')" if isinstance(data, str)
            else str(getattr(data, 'dtype', type(data).__name__)))
    assert told in str(error.value)


@pytest.mark.parametrize(('argument', 'value', 'error', 'message'), [
    ('model', 'nope', ValueError, "'nope'"),
    ('model', 3, TypeError, 'model .* int'),
    ('model', 'none.safetensors', FileNotFoundError, r'none\.safetensors'),
    ('uncertainty', 0.0, ValueError, 'uncertainty must be positive, got 0'),
    ('uncertainty', -1.0, ValueError, 'uncertainty must be positive, got -1'),
    ('uncertainty', np.nan, ValueError, 'uncertainty must be finite'),
    ('uncertainty', np.ones((3, 3)), ValueError,
     r'uncertainty must have the shape .*\(64, 72\), got \(3, 3\)'),
    ('uncertainty', 3 * u.m, ValueError, 'uncertainty in m cannot'),
    ('uncertainty', 'RMS', TypeError, 'the path .*getdata'),
    ('uncertainty', UnknownUncertainty(np.ones((64, 72))), TypeError,
     'uncertainty must be .* got UnknownUncertainty'),
    ('mask', np.ones((3, 3), bool), ValueError, r'mask .* got \(3, 3\)'),
    ('mask', np.ones((64, 72)), TypeError, 'mask .* float64'),
    ('gain', 0.0, ValueError, r'gain must be positive and finite, got 0\.0'),
    ('gain', -2.0, ValueError, r'gain must be positive and finite, got -2'),
    ('gain', np.inf, ValueError, 'gain must be positive and finite, got inf'),
    ('gain', 2 * u.m, ValueError, r'gain=2\.0 m'),
    ('gain', 'EGAIN', ValueError, "gain='EGAIN' is not a keyword"),
    ('gain', 'OBJECT', ValueError, "gain .*'OBJECT'.* got 'field 7'"),
    ('gain', [2.0], TypeError, r'gain must .* got \[2\.0\]'),
    ('read_noise', -2.0, ValueError, 'read_noise must be positive'),
    ('read_noise', 'RON', ValueError, "read_noise='RON' is not a keyword"),
    ('read_noise', 3 * u.adu, ValueError, r'read_noise=3\.0 adu'),
    ('device', 'gpu', ValueError, "device 'gpu'"),
    ('precision', 'half', ValueError, "precision must be .* got 'half'")])
def test_bad_argument(ccd, argument, value, error, message):
    with pytest.raises(error, match=message):
        denoise(ccd, **{argument: value})


def test_model_for_another_task(ccd, small_network):
    model = type(load_model('ccd'))(small_network(),
                                    {'name': 'toy', 'task': 'segment'})
    with pytest.raises(ValueError, match="'toy' is for the task 'segment'"):
        denoise(ccd, model)


def test_uncertainty_that_cosmicray_lacosmic_left_in_adu():
    # ccdproc 2.5 multiplies the data by the gain, and not the uncertainty.
    ccd = CCDData(np.random.default_rng(1).normal(100, 5, (64, 64)),
                  unit='adu')
    ccd.uncertainty = StdDevUncertainty(np.full(ccd.shape, 5.0))
    cleaned = ccdproc.cosmicray_lacosmic(ccd, gain=1.5 * u.electron / u.adu)
    with pytest.raises(ValueError, match=r'gain_apply=False.*gain_correct'):
        denoise(cleaned)
    corrected = ccdproc.gain_correct(ccd, 1.5 * u.electron / u.adu)
    result = denoise(ccdproc.cosmicray_lacosmic(corrected, gain=1.0))
    assert result.unit == u.electron
    assert abs(result.meta['DNSIGMA'] - 7.5) < 0.1
