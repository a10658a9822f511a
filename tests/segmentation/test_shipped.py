# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the shipped model for point sources.
"""

import warnings

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from numpy.testing import assert_allclose
from photutils.utils.exceptions import NoDetectionsWarning

from astro_denoise import load_model, segment_point_sources
from astro_denoise.data.examples import load_fermi_map
from astro_denoise.evaluation.catalogs import ideal_snr, match_sources
from astro_denoise.evaluation.maps import roc_auc
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.inference.devices import Runtime
from astro_denoise.inference.point_sources import find_in_planes
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator
from astro_denoise.simulation.survey import SurveySimulator


@pytest.fixture(scope='module')
def skies():
    """
    Simulated images, their parts, and what the shipped model finds.
    """
    simulator = GalacticCenterSimulator('legacy')
    images, _, sources, parts = simulator.sample(30, seed=77,
                                                 components=True)
    flux = simulator.gain * (sources['gc'] + sources['disk'])
    return images, flux, sum(parts.values()), segment_point_sources(images)


@pytest.mark.gpu
def test_gpu():
    counts = GalacticCenterSimulator().sample(1, seed=3)[0][0]
    found, expected = (
        segment_point_sources(counts, device=device, precision='float32')
        for device in ('cuda', 'cpu'))
    assert_allclose(found.probability, expected.probability, atol=1e-3)
    assert len(found.catalog) == len(expected.catalog)


def test_shipped_probabilities(skies):
    _, flux, _, found = skies
    probability = np.array([one.probability for one in found])
    assert roc_auc(probability, flux > 0) > 0.92
    # What is said to be so in so many cases is so.
    for low in (0.1, 0.3, 0.5, 0.7):
        chosen = (probability > low) & (probability < low + 0.2)
        assert probability[chosen].mean() == pytest.approx(
            np.mean(flux[chosen] > 0), abs=0.03)


def test_shipped_catalog(skies):
    _, flux, expected, found = skies
    kernel = np.exp(-0.5 * (0.46875 * np.arange(-2, 3) / (0.8 / 3))**2)
    kernel = np.outer(kernel, kernel) / kernel.sum()**2
    catalogs = [one.catalog[one.catalog['snr'] > 3.8] for one in found]
    scores = match_sources(
        [np.stack([catalog['x_centroid'], catalog['y_centroid']], 1)
         for catalog in catalogs], ideal_snr(flux, expected, kernel))
    assert scores['completeness'] > 0.88
    assert scores['purity'] > 0.88
    # Fluxes of bright sources are right, and so are their errors.
    pulls = []
    for catalog, plane in zip(catalogs, flux, strict=True):
        bright = catalog[catalog['flux'] > 6 * catalog['flux_error']]
        pixel = tuple(np.rint(bright[name]).astype(int)
                      for name in ('y_centroid', 'x_centroid'))
        pulls.append((bright['flux'] - plane[pixel]) / bright['flux_error'])
    pulls = np.concatenate(pulls)
    assert abs(np.median(pulls)) < 0.4
    assert 0.7 < np.percentile(abs(pulls), 68) < 1.4


def test_real_sky():
    image = load_fermi_map()
    found = segment_point_sources(image, 'galactic-sky')
    assert isinstance(found.probability, CCDData)
    catalog = found.catalog
    assert 25 < len(catalog) < 120
    assert (catalog['probability'] > found.threshold).all()
    # Bright pulsars off the plane.
    for pulsar in (SkyCoord('18h09m50s', '-23d32m22s'),
                   SkyCoord('17h41m57s', '-20d54m07s')):
        distance = catalog['sky_centroid'].separation(pulsar)
        assert distance.min() < 0.3 * u.deg
        assert catalog['probability'][distance.argmin()] > 0.9
    # Where the plane is masked, the others are found all the same.
    plane = np.zeros((64, 64), bool)
    plane[27:37] = True
    masked = segment_point_sources(image, 'galactic-sky', mask=plane)
    row = masked.catalog['y_centroid']
    assert ((row < 27) | (row > 36)).all()
    off_plane = abs(catalog['y_centroid'] - 31.5) > 8
    assert len(masked.catalog) > 0.7 * off_plane.sum()


@pytest.mark.parametrize('tier', ['fixed', 'realistic'])
def test_skies_with_nuisances(tier):
    drawn = GalacticCenterSimulator(
        tier, nuisances=True, exposure=(0.4, 2.5)).draw(24, 78, bright=(
            5, 100.0, 2000.0))
    gain = 2.047 * drawn['exposure'][:, None, None]
    flux = (drawn['sources'].sum(1) * gain).numpy()
    snr = np.stack([ideal_snr(*parts) for parts in zip(
        flux, drawn['expected'].numpy(), drawn['profile'].numpy(),
        strict=True)])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UnusualImageWarning)
        warnings.simplefilter('ignore', NoDetectionsWarning)
        found = segment_point_sources(drawn['images'].numpy(),
                                      'galactic-sky')
    scores = match_sources(
        [np.stack([one.catalog['x_centroid'], one.catalog['y_centroid']], 1)
         for one in found], snr)
    assert scores['completeness'] > 0.8
    assert scores['purity'] > 0.75
    # As probable as they are said to be.
    probability = np.array([one.probability for one in found])
    assert probability.sum() == pytest.approx((snr > 4).sum(), rel=0.1)


def test_masked_cores_of_sources():
    drawn = GalacticCenterSimulator(nuisances=True).draw(
        6, 5, bright=(10, 100.0, 3000.0))
    mask = (drawn['sources'].sum(1) * 2.047 > 100).numpy()
    assert mask.sum() > 20
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UnusualImageWarning)
        warnings.simplefilter('ignore', NoDetectionsWarning)
        found = segment_point_sources(drawn['images'].numpy(),
                                      'galactic-sky', mask=mask)
    for one, masked in zip(found, mask, strict=True):
        assert not one.segmentation.data[masked].any()
        assert (one.catalog['flux_error'] > 0).all()


def test_shipped_model_makes_no_seams():
    rng = np.random.default_rng(1)
    counts = rng.poisson(20, (200, 420))
    counts[rng.integers(0, 200, 300), rng.integers(0, 420, 300)] += 60
    whole = segment_point_sources(counts, precision='float32')
    network = load_model('galactic-center', task='segment').network
    tiled = find_in_planes(
        network, counts[np.newaxis], np.ones((1, 200, 420), bool),
        np.zeros((3, 200, 420), np.float32),
        runtime=Runtime(torch.device('cpu')), window_pixels=2**15)
    assert_allclose(tiled[0, 0], whole.probability, atol=1e-3)


def test_stars_of_optical_frames():
    simulator = SurveySimulator(shape=(768, 768), star_fraction=0.7,
                                magnitude_range=(16.0, 20.5))
    (frame,), stars = simulator.exposures(1, seed=12)[:2]
    found = segment_point_sources(frame, 'ccd-sources', threshold=0.5)
    assert found.flux.unit == frame.unit
    noise = np.std(frame.data[~frame.mask & (frame.data < np.quantile(
        frame.data[~frame.mask], 0.9))])
    flux = stars['flux'].to_value(u.electron) / frame.header['GAIN']
    snr = flux / (noise * np.sqrt(4 * np.pi) * frame.header['SEEING'] / 2.355)
    place = np.stack([stars['x_centroid'], stars['y_centroid']], 1)
    wanted = (stars['is_star'] & (snr > 15)
              & np.all((place > 10) & (place < 757), axis=1))
    assert wanted.sum() > 5
    table = found.catalog
    distance = np.hypot(*(table[name][:, None] - column for name, column in
                          zip(('x_centroid', 'y_centroid'),
                              place[wanted].T, strict=True)))
    assert np.mean(distance.min(0) < 1.5) > 0.9
    near = distance.min(0) < 1.5
    ratio = (table['flux'].value[distance.argmin(0)][near]
             / flux[wanted][near])
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)
    assert np.nanmedian(table['flux_error'].value) > 3 * noise
