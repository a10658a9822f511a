# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of fitting point sources in counts.
"""

import warnings

import numpy as np
import pytest
from photutils.utils.exceptions import NoDetectionsWarning

from astro_denoise import segment_point_sources
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.segmentation.psf_fit import fit_source
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator

LEVEL, SCALE = 15.0, 0.46875


def single_sources(n, flux, seed):
    """Draw images of one source each, anywhere in its pixel."""
    simulator, rng = GalacticCenterSimulator(), np.random.default_rng(seed)
    places = rng.uniform(-12.0, 12.0, (n, 2))
    images = np.stack([rng.poisson(LEVEL + simulator.expected_light(
        [x], [y], [flux])) for x, y in places])
    return images, (places + 15.0) / SCALE - 0.5


@pytest.mark.parametrize(('flux', 'largest'), [(200.0, 0.08), (1000.0, 0.03)])
def test_fits_are_right_and_so_are_their_errors(flux, largest):
    images, places = single_sources(150, flux, 3)
    fits = [fit_source(image, *np.rint(place[::-1]).astype(int))
            for image, place in zip(images, places, strict=True)]
    values = np.array([fit.values for fit in fits])
    errors = np.array([fit.errors for fit in fits])
    pulls = (values[:, :3] - np.column_stack(
        [np.full(len(places), flux), places])) / errors[:, :3]
    assert np.all(abs(pulls.mean(0)) < 0.35)
    assert np.all((pulls.std(0) > 0.85) & (pulls.std(0) < 1.15))
    distance = np.hypot(*(values[:, 1:3] - places).T) * SCALE
    assert np.percentile(distance, 95) < largest
    assert np.percentile([fit.chi2 for fit in fits], 90) < 2.5


def test_nothing_to_fit():
    counts = np.random.default_rng(1).poisson(LEVEL, (64, 64))
    fits = [fit_source(counts, row, 30) for row in range(5, 60)]
    flux = [0.0 if fit is None else fit.values[0] / fit.errors[0]
            for fit in fits]
    assert np.percentile(flux, 90) < 6


def test_two_sources_are_not_one():
    light = GalacticCenterSimulator().expected_light(
        [0.2, 0.9], [0.2, 0.2], [2000.0, 1500.0])
    fit = fit_source(np.random.default_rng(1).poisson(LEVEL + light), 32, 32)
    assert fit is None or fit.chi2 > 3


def test_one_entry_of_one_source():
    images, places = single_sources(40, 1000.0, 5)
    with warnings.catch_warnings():
        # There is no Galaxy.
        warnings.simplefilter('ignore', UnusualImageWarning)
        found = segment_point_sources(images)
    single, pulls = 0, []
    for sources, (x, y) in zip(found, places, strict=True):
        catalog = sources.catalog[sources.catalog['snr'] > 3.8]
        distance = np.hypot(catalog['x_centroid'] - x,
                            catalog['y_centroid'] - y)
        single += np.count_nonzero(distance < 2.0) == 1
        row = catalog[np.argmin(distance)]
        assert distance.min() * SCALE < 0.05
        assert 0 < row['x_centroid_error'] < 0.05
        pulls.append((row['flux'] - 1000.0) / row['flux_error'])
        numbers = np.unique(sources.segmentation.data)
        assert list(numbers[numbers > 0]) == list(sources.catalog['label'])
    assert single >= 38
    assert 0.75 < np.std(pulls) < 1.25


def test_faint_sources_wherever_they_are():
    images, places = single_sources(40, 100.0, 6)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UnusualImageWarning)
        warnings.simplefilter('ignore', NoDetectionsWarning)
        found = segment_point_sources(images)
    near = [np.hypot(sources.catalog['x_centroid'] - x,
                     sources.catalog['y_centroid'] - y)[
                         sources.catalog['snr'] > 3.8]
            for sources, (x, y) in zip(found, places, strict=True)]
    assert np.mean([len(one) > 0 and one.min() < 2.0 for one in near]) > 0.85
