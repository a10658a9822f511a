# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of labels and catalogs.
"""

import numpy as np
import pytest
from astropy.table import QTable
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from photutils.psf import MoffatPSF
from scipy.ndimage import label

from astro_denoise.segmentation.catalog import (
    label_sources,
    measure_fluxes,
    measure_sources,
)


def blobs(centers, shape=(24, 31), width=1.3):
    y, x = np.indices(shape)
    return sum(np.exp(-((x - x0)**2 + (y - y0)**2) / (2 * width**2))
               for x0, y0 in centers)


def test_touching_sources_are_separate():
    flux = blobs([(8, 10), (12, 10), (25, 18)])
    labels, peaks = label_sources(flux, flux, 0.1)
    assert_array_equal(np.divmod(peaks, 31), [[10, 10, 18], [8, 12, 25]])
    assert label(labels > 0)[1] == 2  # two of three touch
    assert labels[10, 8] == 1
    assert labels[10, 12] == 2
    assert labels[18, 25] == 3
    # The ridge between them is cut in the middle.
    assert (labels[8:13, 9] == 1).all()
    assert (labels[8:13, 11] == 2).all()
    assert_array_equal(labels > 0, flux > 0.1)


def test_what_is_climbed_is_not_what_is_cut():
    flux = blobs([(8, 10), (14, 10)])
    labels, peaks = label_sources(np.ones_like(flux), flux, 0.5)
    assert len(peaks) == 2
    assert (labels > 0).all()


def test_smallest_size():
    flux = blobs([(8, 10)])
    flux[20, 5] = 1.0
    labels, peaks = label_sources(flux, flux, 0.1, n_pixels=2)
    assert_array_equal(peaks, [10 * 31 + 8])
    assert labels[20, 5] == 0
    assert labels.max() == 1


def test_sources_of_their_own():
    flux = np.array([[1.0, 5.0, 7.0, 6.0, 2.0, 0.5]])
    labels, peaks = label_sources(flux / 10, flux, 0.1)
    assert_array_equal(labels, [[0, 1, 1, 1, 1, 0]])
    labels, peaks = label_sources(flux / 10, flux, 0.1, own=flux > 5.5)
    assert_array_equal(labels, [[0, 1, 1, 2, 2, 0]])
    assert_array_equal(peaks, [2, 3])
    # Below the threshold, nothing is a source.
    labels, peaks = label_sources(flux / 10, flux, 0.65, own=flux > 5.5)
    assert_array_equal(peaks, [2])


def test_plateau_is_one_source():
    flux = np.zeros((6, 7))
    flux[2:4, 2:6] = 1.0
    labels, peaks = label_sources(flux, flux, 0.5)
    assert len(peaks) == 1
    assert labels.sum() == 8


def test_nothing():
    labels, peaks = label_sources(np.zeros((5, 6)), np.zeros((5, 6)), 0.0)
    assert not labels.any()
    assert len(peaks) == 0


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 12))
def test_labels_are_basins(seed, ny, nx):
    rng = np.random.default_rng(seed)
    height = rng.random((ny, nx))
    probability = rng.random((ny, nx))
    labels, peaks = label_sources(probability, height, 0.4)
    assert_array_equal(labels > 0, probability > 0.4)
    assert_array_equal(labels.flat[peaks], np.arange(1, len(peaks) + 1))
    assert (np.diff(peaks) > 0).all()
    for number, peak in enumerate(peaks, 1):
        # In one piece, and the peak is the highest of all neighbors.
        assert label(labels == number, np.ones((3, 3)))[1] == 1
        y, x = divmod(peak, nx)
        near = np.s_[max(y - 1, 0):y + 2, max(x - 1, 0):x + 2]
        inside = labels[near] > 0
        assert height.flat[peak] == height[near][inside].max()
        assert height.flat[peak] == height[labels == number].max()


def test_whole_sources():
    flux = 10 * blobs([(8, 10), (20.3, 14.2)])
    probability = np.clip(flux / 10, 0, 1)
    zero = np.zeros_like(flux)
    labels, peaks = label_sources(probability, flux, 0.2)
    catalog = measure_sources(labels, peaks, np.array(
        [probability, flux, np.full_like(flux, 4.0), zero, zero]),
        whole=True)
    assert_array_equal(catalog['label'], [1, 2])
    assert_allclose(catalog['x_centroid'], [8, 20.3], atol=0.05)
    assert_allclose(catalog['y_centroid'], [10, 14.2], atol=0.05)
    for row in catalog:
        inside = labels == row['label']
        assert row['flux'] == pytest.approx(flux[inside].sum())
        assert row['flux_error'] == pytest.approx(2 * inside.sum()**0.5)
        assert row['probability'] == probability[inside].max()


def test_highest_pixels():
    flux = blobs([(8, 10), (20.3, 14.2)], width=0.6)
    probability = np.where(flux > 0.1, 0.9, 0.0)
    probability[10, 9] = 0.95
    zero = np.zeros_like(flux)
    labels, peaks = label_sources(probability, flux, 0.5)
    catalog = measure_sources(labels, peaks, np.array(
        [probability, flux, 0.04 * flux, zero, zero]))
    assert_array_equal(catalog['x_centroid'], [8, 20])
    assert_array_equal(catalog['y_centroid'], [10, 14])
    assert_allclose(catalog['flux'], [1, flux.flat[peaks[1]]])
    assert_allclose(catalog['flux_error'], 0.2 * catalog['flux']**0.5)
    assert_allclose(catalog['probability'], [0.95, 0.9])


def test_offsets_move_the_centroid():
    flux = np.zeros((9, 9))
    flux[4, 5] = 3.0
    labels, peaks = label_sources(flux, flux, 0.5)
    catalog = measure_sources(labels, peaks, np.array(
        [flux, flux, flux, np.full_like(flux, 0.3),
         np.full_like(flux, -0.2)]))
    assert catalog['x_centroid'][0] == pytest.approx(5.3)
    assert catalog['y_centroid'][0] == pytest.approx(3.8)


def test_source_without_flux_is_at_its_peak():
    height = blobs([(8, 10)])
    zero = np.zeros_like(height)
    labels, peaks = label_sources(height, height, 0.5)
    catalog = measure_sources(labels, peaks, np.array(
        [height, zero - 1, zero, zero, zero]), whole=True)
    assert catalog['x_centroid'][0] == 8
    assert catalog['y_centroid'][0] == 10
    assert catalog['flux'][0] == -np.sum(labels == 1)


@pytest.mark.parametrize(('beta', 'n_bright'), [(2.5, 8), (2.5, 1), (4.5, 8)])
def test_stars_of_other_wings(beta, n_bright):
    # The profile of the filter has a beta of its own: errors say so.
    rng = np.random.default_rng(5)
    alpha = 0.5 * 4.0 / np.sqrt(2.0**(1.0 / beta) - 1.0)
    y, x = np.mgrid[:300, :300]
    values = rng.normal(0.0, 1.0, (300, 300))
    places = [(40 + 70 * column, 40 + 70 * row) for row in range(4)
              for column in range(4)]
    true = np.where(np.arange(16) < n_bright, 3000.0, 100.0)
    for (x0, y0), flux in zip(places, true, strict=True):
        values += MoffatPSF(flux=flux, x_0=x0, y_0=y0, alpha=alpha,
                            beta=beta)(x, y)
    catalog = QTable({'label': np.arange(1, 17),
                      'x_centroid': [place[0] for place in places],
                      'y_centroid': [place[1] for place in places]})
    measure_fluxes(catalog, np.ones(16, bool), values, np.ones_like(values),
                   np.ones(values.shape, bool), sure=np.full(16, 0.9))
    pull = (catalog['flux'] - true) / catalog['flux_error']
    assert np.all(abs(pull) < 3.5)
    assert abs(np.mean(pull)) < 1.5
    bright = catalog[:n_bright]
    assert_allclose(bright['flux'], 3000.0, rtol=0.12)
    # Not known better than the wings are.
    assert np.all(bright['flux_error'] > 2.0 * bright['flux']
                  / bright['snr'])


def test_blended_stars_are_taken_apart():
    rng = np.random.default_rng(5)
    places = np.array([(40.0, 40.0), (44.0, 40.0), (90.0, 30.0),
                       (30.0, 90.0), (90.0, 90.0)])
    true = np.array([3000.0, 1500.0, 3000.0, 3000.0, 3000.0])
    values = rng.normal(0.0, 1.0, (120, 120))
    y, x = np.mgrid[:120, :120]
    for (x0, y0), flux in zip(places, true, strict=True):
        values += MoffatPSF(flux=flux, x_0=x0, y_0=y0, alpha=3.6,
                            beta=3.88)(x, y)
    catalog = QTable({'label': np.arange(1, 6), 'x_centroid': places[:, 0],
                      'y_centroid': places[:, 1]})
    plane = values, np.ones_like(values), np.ones(values.shape, bool)
    measure_fluxes(catalog, np.arange(5) > 1, *plane, sure=np.full(5, 0.9))
    assert_allclose(catalog['flux'][2:], true[2:], rtol=0.05)
    assert_allclose(catalog['flux'], true, rtol=0.06)
    assert np.all(catalog['snr'] > 20)


def test_fluxes_in_the_halo_of_a_galaxy_and_in_a_crowd():
    # The mean of what is around is brighter than what is beneath them.
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:160, :160]
    places = np.stack([each.ravel() for each in np.mgrid[20:150:11,
                                                         20:150:11]], 1)
    places = places + rng.uniform(-1.5, 1.5, places.shape)
    true = np.where(np.arange(len(places)) % 4, 120.0, 4000.0)
    values = rng.normal(0.0, 1.0, x.shape) + 40.0 * np.exp(
        -np.hypot(x - 80, y - 80) / 25.0)
    for (x0, y0), flux in zip(places, true, strict=True):
        values += MoffatPSF(flux=flux, x_0=x0, y_0=y0, alpha=3.0,
                            beta=3.88)(x, y)
    catalog = QTable({'label': np.arange(1, len(places) + 1),
                      'x_centroid': places[:, 0], 'y_centroid': places[:, 1]})
    measure_fluxes(catalog, np.ones(len(places), bool), values,
                   np.ones_like(values), np.ones(values.shape, bool),
                   sure=np.full(len(places), 0.9))
    faint = true < 1000.0
    assert np.all(catalog['flux'] > 0)
    assert_allclose(np.median(catalog['flux'][faint]), 120.0, rtol=0.08)
    assert_allclose(catalog['flux'][~faint], 4000.0, rtol=0.06)
