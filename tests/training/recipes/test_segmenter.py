# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training of segmenters.
"""

import numpy as np

from astro_denoise.training.recipes.segmenter import SkySampler


def test_sky_batches():
    sampler = SkySampler(batch_size=8)
    batch, again, other = (sampler.batch([1, step]) for step in (3, 3, 4))
    for name, plane in batch.items():
        np.testing.assert_array_equal(plane, again[name])
    assert not np.array_equal(batch['image'], other['image'])
    # Counts follow the flux of the sources in them.
    bright = batch['flux'] > 300
    assert bright.any()
    assert np.median(batch['image'][bright] / batch['flux'][bright]) > 0.3
    assert (batch['position'][6:] == 0).all()  # rotated skies
    assert np.abs(batch['offset']).max() <= 0.5
