# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the comparison of supplied with measured noise.
"""

import pytest
import torch
from numpy.testing import assert_allclose

from astro_denoise.noise.findings import measure_noise
from astro_denoise.noise.supplied import compare_supplied


@pytest.fixture(scope='module')
def plane(zoo):
    """Findings, true sigma and valid pixels of a frame with noise of 30."""
    frame, values, valid = zoo('survey, PSF 3.0 px')
    factor = 30 / frame.level
    return (measure_noise(factor * values, valid),
            factor * torch.from_numpy(frame.sigma), valid)


def test_right(plane):
    found, sigma, valid = plane
    seen = compare_supplied(found, sigma, valid)
    assert not seen.differs
    assert seen.fits_as == 'standard deviation'
    assert_allclose(seen.factor, 1, rtol=0.05)


@pytest.mark.parametrize('factor', [1 / 1.5, 1.5, 20.0])
def test_wrong(plane, factor):
    found, sigma, valid = plane
    seen = compare_supplied(found, factor * sigma, valid)
    assert seen.differs
    assert seen.fits_as is None
    assert_allclose(seen.factor, factor, rtol=0.05)


@pytest.mark.parametrize(('power', 'meaning'), [(2, 'variance'),
                                                (-2, 'inverse variance')])
def test_another_meaning(plane, power, meaning):
    found, sigma, valid = plane
    seen = compare_supplied(found, sigma**power, valid)
    assert seen.differs
    assert seen.fits_as == meaning


def test_relative_weight(plane):
    found, _, valid = plane
    seen = compare_supplied(found, valid.double(), valid)
    assert seen.differs
    assert seen.fits_as is None


def test_number(plane):
    found, _, valid = plane
    assert not compare_supplied(found, found.level, valid).differs
    assert compare_supplied(found, 2 * found.level, valid).differs


def test_dark_pixels_count_alone(plane):
    found, sigma, valid = plane
    dark = torch.zeros_like(valid)
    dark[:50] = True
    wrong = torch.where(dark, sigma, 10 * sigma)
    assert not compare_supplied(found, wrong, valid, dark=dark).differs
    assert compare_supplied(found, wrong, valid).differs
