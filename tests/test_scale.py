# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests that results do not depend on the unit that a frame is in.
"""

import numpy as np
import pytest
from astropy.table import QTable
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise import (
    denoise,
    segment_point_sources,
)
from astro_denoise.data import load_example_pair
from astro_denoise.frames import open_frame
from astro_denoise.noise import measure_plane
from astro_denoise.photometry import annulus_photometry, profile_photometry
from astro_denoise.simulation import GalacticCenterSimulator
from astro_denoise.training.frame_store import FrameFolder, open_images

POWERS = st.integers(-30, 30)


@pytest.fixture(scope='module')
def frame():
    return np.asarray(load_example_pair()[1].data[:300, :320], float)


@pytest.fixture(scope='module')
def catalog():
    places = np.random.default_rng(1).uniform(60, 240, (2, 12))
    return QTable({'ref_id': np.arange(12), 'aperture_x': places[0],
                   'aperture_y': places[1], 'aperture_a': np.full(12, 4.0),
                   'aperture_b': np.full(12, 3.0),
                   'aperture_theta': np.full(12, 30.0)})


@pytest.mark.parametrize('model', ['ccd', 'ccd-mmse'])
@pytest.mark.parametrize('mapped', [False, True])
def test_denoise(frame, model, mapped):
    def run(data):
        options = {'precision': 'float32', 'return_uncertainty': True}
        if mapped:
            options['output_array'] = np.empty_like(data)
        return denoise(data, model, **options)

    expected = run(frame)

    @settings(max_examples=6)
    @given(POWERS)
    def same(power):
        scale = 10.0**power
        denoised, error = (plane / scale for plane in run(frame * scale))
        # To what single precision leaves.
        assert np.all(np.abs(denoised - expected[0])
                      < 1e-3 * expected[1] + 1e-6 * expected[0])
        assert_allclose(error, expected[1], rtol=1e-3)

    same()


def test_denoise_images():
    # No integers: those are counts, which tell their exposure.
    image = GalacticCenterSimulator().sample(1, seed=1)[0] / 7
    expected = denoise(image, 'gc-mixed')

    @settings(max_examples=6)
    @given(POWERS)
    def same(power):
        scale = 10.0**power
        # What is near zero is known as well as the rest.
        assert_allclose(denoise(image * scale, 'gc-mixed') / scale, expected,
                        rtol=1e-4, atol=1e-6 * expected.max())

    same()


def test_measurement(frame):
    expected, _ = measure_plane(open_frame(frame).plane())
    expected = expected.describe()

    @settings(max_examples=10)
    @given(POWERS)
    def same(power):
        scale = 10.0**power
        measurement, _ = measure_plane(open_frame(frame * scale).plane())
        found = measurement.describe()
        assert found['origin'] == expected['origin']
        for name, factor in (('level', scale), ('fwhm', 1.0)):
            assert_allclose(found[name], factor * expected[name], rtol=1e-4)

    same()


@pytest.mark.filterwarnings('ignore:the noise of neighboring')
def test_segment_stars():
    # As many stars as in adu, whatever the unit.
    frame = np.asarray(load_example_pair()[0].data, float)
    expected = segment_point_sources(frame, 'ccd-sources', precision='float32')
    assert len(expected.catalog) == 186
    for power in (-30, -7, 30):
        scale = 10.0**power
        found = segment_point_sources(frame * scale, 'ccd-sources',
                                      precision='float32')
        assert_array_equal(found.segmentation.data,
                           expected.segmentation.data)
        # NaN where a star reaches over the edge.
        error = np.asarray(expected.catalog['flux_error'])
        # The profile of stars that blend is fitted to two thousandths.
        assert_allclose(found.catalog['flux_error'] / scale, error,
                        rtol=2e-3)
        flux = np.asarray(expected.catalog['flux'])
        assert np.nanmax(np.abs(found.catalog['flux'] / scale - flux)
                         - 2e-3 * np.abs(flux) - 0.005 * error) < 0
        # But for pixels that are on the edge of standing alone.
        alike = np.isclose(np.asarray(found.flux) / scale, expected.flux,
                           rtol=1e-3, atol=1e-3)
        assert alike.mean() > 0.999


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('measure', [annulus_photometry, profile_photometry])
def test_photometry(frame, catalog, measure, dtype):
    expected = measure(frame.astype(dtype), catalog)

    @settings(max_examples=6)
    @given(POWERS)
    def same(power):
        scale = 10.0**power
        found = measure((frame * scale).astype(dtype), catalog)
        assert np.isfinite(found['flux']).all()
        for name in ('flux', 'flux_error', 'annulus_median',
                     'annulus_sigma'):
            if name in found.colnames:
                # A pixel may fall on either side of a clip.
                assert_allclose(found[name] / scale, expected[name],
                                rtol=5e-3)

    same()


@pytest.mark.filterwarnings('ignore')  # of rates, and of many counts
def test_counts_in_another_scale():
    # Another scale is another image to these models: numbers all the same.
    image = GalacticCenterSimulator().sample(1, seed=1)[0][0].astype(float)
    for power in (-30, -3, 3, 15):
        sources = segment_point_sources(image * 10.0**power)
        probability = np.asarray(sources.probability)
        assert np.isfinite(probability).all()
        assert probability.min() >= 0


def test_training(frame, tmp_path):
    def stored(scale):
        folder = tmp_path / f'{scale:g}'
        folder.mkdir()
        store = FrameFolder(folder, patch=64)
        store.read(open_images([frame * scale]))
        return store.frames[0]

    expected = stored(1.0)
    for scale in (1e-30, 1e-7, 1e30):
        found = stored(scale)
        assert_allclose(found.signal, expected.signal, atol=1e-4, rtol=1e-4)
        assert_allclose(found.log_sigma, expected.log_sigma, atol=1e-4)
        assert_allclose(found.noise['level'] / scale,
                        expected.noise['level'], rtol=1e-5)
