# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of images of all sources at once.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from astro_denoise.simulation.crowded_fields import (
    EllipticalMoffat,
    render_field,
)
from astro_denoise.simulation.profiles import render_sources


@pytest.mark.parametrize('fwhm', [1.2, 2.0, 4.0, 8.0])
@pytest.mark.parametrize('galaxies', [False, True])
def test_same_as_source_by_source(fwhm, galaxies):
    rng = np.random.default_rng(1)
    n = 40
    sources = {'x': rng.uniform(70, 186, n), 'y': rng.uniform(70, 186, n),
               'flux': 10.0**rng.uniform(1, 4, n)}
    if galaxies:
        sources |= {'r50': np.full(n, 0.6 * fwhm),
                    'sersic_n': np.tile([1.0, 2.5], n // 2),
                    'axis_ratio': np.full(n, 0.6),
                    'theta': rng.uniform(0, 3, n)}
    expected = render_sources((256, 256), sources, fwhm, 3.0)
    image = render_field((256, 256), sources, EllipticalMoffat(fwhm, 3.0))
    assert image.dtype == np.float32
    assert abs(image - expected).max() < 0.015 * expected.max()
    assert_allclose(image.sum(), expected.sum(), rtol=0.01)


def test_ellipse():
    star = {'x': np.array([40.0]), 'y': np.array([40.0]),
            'flux': np.array([1.0])}
    image = render_field((81, 81), star, EllipticalMoffat(
        6.0, 12.0, 0.5, np.radians(30.0)), dtype=float)
    y, x = np.mgrid[-40:41, -40:41]
    xx, yy, xy = ((image * each).sum() for each in (x * x, y * y, x * y))
    assert_allclose(np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)), 30.0,
                    atol=1.0)
    long, short = np.linalg.eigvalsh([[xx, xy], [xy, yy]])[::-1]
    assert_allclose(np.sqrt(short / long), 0.5, rtol=0.05)


def test_nothing_to_draw():
    nothing = {name: np.zeros(0) for name in ('x', 'y', 'flux')}
    assert not render_field((20, 30), nothing,
                            EllipticalMoffat(2.0, 3.0)).any()
