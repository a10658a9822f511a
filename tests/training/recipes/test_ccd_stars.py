# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training of a finder of stars.
"""

import numpy as np

from astro_denoise.training.recipes.ccd_stars import FAINTEST, StarSampler
from astro_denoise.training.scenes import draw_scenes


def test_star_batches():
    scenes = draw_scenes(2, seed=3, size=256)
    batch = StarSampler(scenes, batch_size=24).batch([1, 2])
    assert batch['image'].shape == (24, 1, 128, 128)
    assert np.hypot(*np.moveaxis(batch['offset'], 1, 0)).max() <= 1.0001
    share = np.mean(batch['flux'] > 0)
    assert 1e-4 < share < 0.1
    # The light is where the offsets point to.
    found = 0
    for image, flux, (dx, dy) in zip(batch['image'][:, 0],
                                     batch['flux'][:, 0], batch['offset'],
                                     strict=True):
        y, x = np.unravel_index(np.argmax(flux), flux.shape)
        if flux[y, x] < 200 or not (9 < x < 118 and 9 < y < 118):
            continue
        x, y = x + dx[y, x], y + dy[y, x]
        column, row = round(float(x)), round(float(y))
        stamp = np.clip(image[row - 2:row + 3, column - 2:column + 3], 0,
                        None)
        middle = np.average(np.arange(-2, 3), weights=stamp.sum(0))
        assert abs(column + middle - x) < 0.7
        found += 1
    assert found > 2
    assert FAINTEST == 3.0
