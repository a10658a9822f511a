# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of catalogs of sources that may lie anywhere in their pixels.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.segmentation.sky_catalog import find_sky_sources


def found_in(answers, threshold, *, noise=1000.0, n_pixels=1):
    """
    Find sources that do not stand out in the photons.
    """
    return find_sky_sources(answers, np.full(answers[0].shape, noise),
                            threshold, n_pixels=n_pixels)


def made(*sources, shape=(12, 15)):
    """
    Answers for sources that are each shared out among some pixels.
    """
    answers = np.zeros((6, *shape))
    answers[5] = 4.0
    for flux, pixels in sources:
        for (row, column), share in pixels.items():
            answers[0, row, column] += share
            answers[1, row, column] += share * flux
    return answers


CORNER = {(4, 4): 0.25, (4, 5): 0.25, (5, 4): 0.25, (5, 5): 0.25}


@pytest.mark.parametrize('pixels', [
    {(4, 6): 1.0}, {(4, 6): 0.5, (4, 7): 0.5}, {(4, 6): 0.6, (5, 7): 0.3},
    CORNER, {(0, 0): 0.9}, {(11, 14): 0.5, (10, 14): 0.4}])
def test_one_source_is_one_row(pixels):
    catalog, labels, peaks = found_in(made((80.0, pixels)), 0.5)
    assert len(catalog) == len(peaks) == 1
    total = sum(pixels.values())
    assert catalog['probability'][0] == pytest.approx(total)
    assert catalog['flux'][0] == pytest.approx(80 * total)
    assert catalog['flux_error'][0] == 2
    place = np.average(list(pixels), axis=0, weights=list(pixels.values()))
    assert_allclose([catalog['y_centroid'][0], catalog['x_centroid'][0]],
                    place, atol=1e-9)
    assert {tuple(pixel) for pixel in np.argwhere(labels)} == set(pixels)
    assert tuple(np.unravel_index(peaks[0], labels.shape)) in pixels


def test_two_sources_two_pixels_apart():
    answers = made((80.0, {(4, 4): 1.0}), (300.0, {(4, 6): 0.9}))
    catalog, labels, peaks = found_in(answers, 0.5)
    assert_array_equal(peaks, [4 * 15 + 4, 4 * 15 + 6])
    assert_allclose(catalog['flux'], [80, 270])
    assert labels[4, 4] == 1
    assert labels[4, 6] == 2


def test_threshold_and_size():
    answers = made((80.0, {(4, 4): 0.3, (4, 5): 0.3}), (50.0, {(9, 9): 0.7}))
    assert len(found_in(answers, 0.5)[0]) == 2
    assert len(found_in(answers, 0.65)[0]) == 1
    catalog, labels, peaks = found_in(answers, 0.5, n_pixels=2)
    assert_array_equal(catalog['label'], [1])
    assert_array_equal(np.unique(labels), [0, 1])
    assert labels[9, 9] == 0
    assert len(peaks) == 1


def test_nothing():
    catalog, labels, peaks = found_in(np.zeros((6, 8, 8)), 0.5)
    assert len(catalog) == len(peaks) == 0
    assert not labels.any()
    assert catalog.colnames == ['label', 'x_centroid', 'y_centroid',
                                'probability', 'flux', 'flux_error']


def test_two_sources_in_neighboring_pixels():
    """Two that are both sure are not one source in doubt."""
    answers = made((80.0, {(4, 4): 1.0}), (70.0, {(4, 5): 0.8}),
                   (60.0, {(8, 8): 0.7, (8, 9): 0.45}))
    catalog = found_in(answers, 0.5)[0]
    assert_allclose(catalog['flux'], [80, 56, 60 * 1.15])
    assert_allclose(catalog['probability'], [1, 0.8, 1])


def test_flux_tells_of_a_source_too():
    """Where no pixel is probable, but the flux of all is well known."""
    answers = made((80.0, CORNER))
    answers[0] *= 0.2
    assert len(found_in(answers, 0.5)[0]) == 0
    catalog = found_in(answers, 0.5, noise=10.0)[0]
    assert_allclose(catalog['flux'], [80])
    assert_allclose(catalog['probability'], [80**2 / (80**2 + 2**2)])
    # That a neighbor has a part of it is no reason to think so.
    assert len(found_in(made((80.0, {(4, 4): 0.1}), (900.0, {(4, 6): 1.0})),
                        0.5, noise=1.0)[0]) == 1
    # A flux that may well be nothing is none.
    answers[5] = 100.0**2
    assert len(found_in(answers, 0.5, noise=10.0)[0]) == 0


def test_masked_pixels_hold_no_source():
    answers = made()
    answers[:3, 3:6, 3:6] = np.array([0.03, 10.0, 1e4])[:, None, None]
    answers[5, 3:6, 3:6] = 1e4
    answers[:, 4, 4] = 0.0
    catalog, labels, _ = found_in(answers, 0.5, noise=10.0)
    assert len(catalog) == 0
    assert not labels.any()


def test_rows_have_a_flux():
    catalog = found_in(made((80.0, CORNER)), 0.0)[0]
    assert len(catalog) == 1
    assert (catalog['flux'] > 0).all()
