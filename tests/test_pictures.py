# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pictures compared with those in ``baseline``.

``python -m pytest tests/test_pictures.py
--mpl-generate-path=tests/baseline`` makes them anew; look at each before it
is committed.
"""

from functools import partial

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable
from astropy.wcs import WCS

from astro_denoise import evaluation
from astro_denoise.denoising.plots import plot_denoised, plot_profile
from astro_denoise.estimation.plots import plot_posterior
from astro_denoise.photometry.plots import (
    plot_apertures,
    plot_differences,
    plot_repeatability,
    plot_response,
    plot_sigma68,
)
from astro_denoise.photometry.repeatability import check_repeatability
from astro_denoise.segmentation.core import PointSources
from astro_denoise.sky_maps.galactic_grid import grid_wcs

# Letters a little other, as another FreeType draws them, are within the
# tolerance; a panel, a color bar or a stretch that is another is not.
image_test = partial(pytest.mark.mpl_image_compare, tolerance=4,
                     savefig_kwargs={'dpi': 40})


@pytest.fixture(scope='module')
def pair():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:24, :32]
    truth = 100 + 4000 * np.exp(-np.hypot((x - 10) / 1.5, y - 16))
    truth += 60 * np.exp(-((x - 24)**2 + (y - 6)**2) / 4)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150, 2]
    wcs.wcs.crpix = [16, 12]
    wcs.wcs.cd = [[-1.8e-3, 0.6e-3], [0.6e-3, 1.8e-3]]
    before = CCDData(rng.normal(truth, 10.0), unit='adu', wcs=wcs,
                     mask=(x == 4) & (y < 12))
    after = before.copy()
    after.data = rng.normal(truth, 3.0)
    after.uncertainty = StdDevUncertainty(np.full(truth.shape, 3.0))
    return before, after


@pytest.fixture(scope='module')
def report():
    rng = np.random.default_rng(1)
    galaxy = np.tile(np.arange(4000), 2)
    magnitude = rng.uniform(18, 23, 4000)[galaxy]
    flux = 10.0**(-0.4 * (magnitude - 22.5) + rng.normal(0, 0.2, 4000)[galaxy])
    raw = QTable({'ref_id': galaxy, 'image_id': np.repeat([1, 2], 4000),
                  'i_auto': magnitude, 'flux': flux + rng.normal(size=8000),
                  'flux_error': np.ones(8000),
                  'floor_error': np.full(8000, 0.88)})
    shrunk = raw.copy()
    keep = 1 / (1 + 0.7 * 10.0**(0.4 * (magnitude - 22)))
    shrunk['flux'] = keep * raw['flux'] + (1 - keep) * 0.4
    return check_repeatability(shrunk, raw, n_resamples=20, seed=1)


@pytest.fixture(scope='module')
def samples():
    samples = np.random.default_rng(1).normal(0, 1, (5000, 7))
    samples[:, 4] -= 0.8 * samples[:, 0]
    return samples


@image_test()
def test_denoised(pair):
    return plot_denoised(*pair)


@image_test()
def test_denoised_without_wcs(pair):
    return plot_denoised(*(frame.data for frame in pair), uncertainty=10.0,
                         cmap='viridis')


@image_test()
def test_profile(pair):
    return plot_profile(*pair, row=6, sigma=3).figure


@image_test()
def test_apertures(pair):
    table = QTable({
        'ref_id': [1, 2], 'aperture_x': [10.0, 24.0],
        'aperture_y': [16.0, 6.0], 'aperture_a': [4.0, 3.0],
        'aperture_b': [2.0, 3.0], 'aperture_theta': [20.0, 0.0],
        'flag': [0, 4], 'flux': [9e4, 1e3], 'flux_error': [90.0, 80.0]})
    return plot_apertures(pair[1], table, r_in=5, r_out=7)


@image_test()
def test_differences(report):
    return plot_differences(report, row=4).figure


@image_test()
def test_sigma68(report):
    return plot_sigma68(report).figure


@image_test()
def test_response(report):
    return plot_response(report).figure


@image_test()
def test_repeatability(report):
    return plot_repeatability(report, row=2)


@image_test()
def test_sources():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64]
    catalog = QTable({
        'x_centroid': [15.0, 40.0, 30.0], 'y_centroid': [20.0, 45.0, 8.0],
        'flux': [90.0, 30.0, 2.0], 'flux_error': [3.0, 3.0, 3.0],
        'snr': [30.0, 10.0, 0.7]})
    probability = 0.3 * rng.random((64, 64))
    for source in catalog:
        probability += 0.7 * np.exp(-((x - source['x_centroid'])**2
                                      + (y - source['y_centroid'])**2) / 4)
    image = CCDData(probability, unit='', wcs=grid_wcs(), mask=x + y < 12)
    return PointSources(image, image, None, catalog, 0.4).plot().figure


@image_test()
def test_posterior(samples):
    return plot_posterior(samples, names=['a_dm', 'n_ps_gc', 'a_ic'],
                          truth={'a_dm': 0.5, 'n_ps_gc': -0.4})


@image_test()
def test_reliability():
    rng = np.random.default_rng(1)
    probability = rng.beta(0.5, 2, 20000)
    return evaluation.plot_reliability(evaluation.reliability(
        probability, rng.random(20000) < probability**1.3))


@image_test()
def test_coverage():
    rng = np.random.default_rng(1)
    samples = rng.normal(0, [1.0, 0.7], (300, 200, 2))
    truth = rng.normal(0, 1, (300, 2))
    return evaluation.plot_coverage(evaluation.expected_coverage(
        samples, truth, names=['right', 'too narrow'])).figure


@image_test()
def test_ranks():
    rng = np.random.default_rng(1)
    return evaluation.plot_ranks(evaluation.rank_statistics(
        rng.normal(0, 0.7, (500, 100, 1)), rng.normal(0, 1, (500, 1)),
        names=['too narrow']))


@image_test()
def test_tarp():
    rng = np.random.default_rng(1)
    return evaluation.plot_tarp(evaluation.tarp_coverage(
        rng.random((200, 100, 2)), rng.random((200, 2)), seed=1)).figure
