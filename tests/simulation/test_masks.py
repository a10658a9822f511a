# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of masks of the gamma-ray sky.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from astro_denoise.simulation.masks import random_sky_mask, random_validity


@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_some_skies_are_partly_masked(share):
    images = np.random.default_rng(1).poisson(20.0, (200, 64, 64))
    valid = random_validity(images, share, np.random.default_rng(2))
    assert valid.dtype == np.float32
    assert set(np.unique(valid)) <= {0.0, 1.0}
    assert (valid.max((1, 2)) == 1).all()
    # One kind of mask or another is not always drawn: 0.16 have none.
    masked = np.mean(valid.min((1, 2)) == 0)
    assert masked == pytest.approx(0.84 * share, abs=0.1)
    assert_array_equal(valid, random_validity(images, share,
                                              np.random.default_rng(2)))


def test_masks_are_those_of_a_sky():
    images = np.random.default_rng(1).poisson(20.0, (3, 64, 64))
    valid = random_validity(images, 1.0, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    rng.random(3)  # which are masked
    for plane, image in zip(valid, images, strict=True):
        assert_array_equal(plane == 0, random_sky_mask(image, rng))
