# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the stamp_drawing and source_stamps modules.
"""

import numpy as np
import pytest
from astropy.table import QTable
from numpy.testing import assert_allclose

from astro_denoise.photometry.psf_models import MoffatPsf
from astro_denoise.photometry.source_table import source_table
from astro_denoise.photometry.stamp_drawing import render_stamps

SHAPE = (150, 170)
PSF = MoffatPsf(3.5, 3.5)


def draw(n_sources, *, seed=1, radius=None, **options):
    rng = np.random.default_rng(seed)
    catalog = QTable({'x': rng.uniform(-5, SHAPE[1] + 5, n_sources),
                      'y': rng.uniform(-5, SHAPE[0] + 5, n_sources)})
    if radius is None:
        radius = np.full(n_sources, 11)
    return catalog, render_stamps(PSF, source_table(catalog), radius, SHAPE,
                                  **options)


@pytest.mark.parametrize('derivative', [None, 'x', 'y'])
def test_many_stars_are_those_drawn_one_by_one(derivative):
    catalog, many = draw(800, derivative=derivative)
    few = render_stamps(PSF, source_table(catalog[:100]),
                        np.full(100, 11), SHAPE, derivative=derivative)
    found = {row: stamp for row, stamp, _ in many.parts()}
    peak = max(stamp.max() for _, stamp, _ in few.parts())
    # Slopes are those of the nearest of 24 positions a pixel: off by their
    # own slope over 48 pixels at most along both axes.
    limit = 5e-4 if derivative is None else 3e-2
    for row, stamp, _ in few.parts():
        assert np.max(np.abs(found[row] - stamp)) < limit * peak
    assert all(stamp.shape == (23, 23) for stamp in found.values())


def test_sums_over_stamps_and_pairs():
    # Two sizes of stamps, some over the edges of the plane.
    radius = np.where(np.arange(60) % 4, 11, 16)
    _, stamps = draw(60, radius=radius)
    profiles = np.zeros((60, *SHAPE))
    for row, stamp, here in stamps.parts():
        profiles[row][here] = stamp
    plane = np.random.default_rng(2).normal(size=SHAPE)
    flux = np.linspace(-3, 5, 60)
    assert_allclose(stamps.sums(plane), np.einsum('ijk,jk', profiles, plane),
                    atol=1e-5)
    assert_allclose(stamps.image(flux), np.tensordot(flux, profiles, 1),
                    atol=1e-5)
    assert_allclose(stamps.image(flux, flux**2), np.tensordot(
        flux, profiles, 1) + np.tensordot(flux**2, profiles**2, 1), atol=1e-5)
    products = np.einsum('ijk,ljk->il', profiles, profiles)
    forth, back = stamps.pairs.products(stamps.profiles, stamps.profiles)
    found = np.zeros((60, 60))
    found[stamps.pairs.first, stamps.pairs.second] = forth
    found[stamps.pairs.second, stamps.pairs.first] = back
    np.fill_diagonal(found, stamps.squares)
    # of the small stamps only those whose wings are worth it are pairs
    wings = (found == 0) & np.logical_and.outer(radius == 11, radius == 11)
    assert_allclose(found[~wings], products[~wings], atol=1e-6)
    assert 0 < np.max(products[wings]) < 1e-3 * np.median(stamps.squares)
    assert np.all(stamps.total[np.unique(stamps.pairs.first)] > 0.9)


def test_plane_that_is_smaller_than_a_stamp():
    catalog = source_table(QTable({'x': [5.0, 9.0], 'y': [4.0, 30.0]}))
    stamps = render_stamps(PSF, catalog, np.array([11, 11]), (9, 14))
    whole = render_stamps(PSF, catalog, np.array([11, 11]), (99, 99))
    assert_allclose(stamps.image(np.ones(2)),
                    whole.image(np.array([1.0, 0.0]))[:9, :14], atol=1e-6)
