# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of telling counts, optical frames, cubes and denoised frames apart.
"""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable
from astropy.wcs import WCS
from photutils.psf import CircularGaussianPRF

from astro_denoise import (
    denoise,
    estimate_parameters,
    segment_point_sources,
)
from astro_denoise.data import load_example_pair, load_fermi_map
from astro_denoise.exceptions import (
    CorrelatedNoiseWarning,
    NoiseEstimateWarning,
    ProcessedFrameWarning,
    UnusualImageWarning,
)
from astro_denoise.frames import unpack
from astro_denoise.frames.checks import (
    variance_over_mean,
    warn_of_counts,
    warn_of_optical,
)
from astro_denoise.noise import sampling
from astro_denoise.photometry import (
    annulus_photometry,
    forced_photometry,
    profile_photometry,
)
from astro_denoise.simulation import GalacticCenterSimulator

CATALOG = QTable({name: [value] for name, value in (
    ('ref_id', 1.0), ('aperture_x', 150.0), ('aperture_y', 150.0),
    ('aperture_a', 8.0), ('aperture_b', 8.0), ('aperture_theta', 0.0))})


@pytest.fixture
def cube():
    """
    Counts in four energies, as gammapy and fermipy write them.
    """
    counts = np.random.default_rng(1).poisson(5, (4, 64, 64))
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = 'GLON-CAR', 'GLAT-CAR', 'ENERGY'
    wcs.wcs.crpix = 32.5, 32.5, 1
    wcs.wcs.cdelt = 0.46875, 0.46875, 1
    wcs.wcs.cunit = 'deg', 'deg', 'MeV'
    return CCDData(counts, unit='ct', wcs=wcs)


@pytest.mark.parametrize('function', [
    estimate_parameters, segment_point_sources,
    lambda cube: denoise(cube, 'gc-mixed')])
@pytest.mark.parametrize('ctype', ['ENERGY', 'FREQ', 'WAVE'])
def test_energy_cube(cube, function, ctype):
    cube.wcs.wcs.ctype = 'GLON-CAR', 'GLAT-CAR', ctype
    cube.wcs.wcs.cunit = '', '', ''
    with pytest.raises(ValueError, match=f'{ctype}.* sum over energy first'):
        function(cube)


@pytest.mark.parametrize('frames', [
    [np.ones((40, 40)), np.ones((40, 40))],
    (CCDData(np.ones((40, 40)), unit='adu'),),
    [np.ones((40, 40)) * u.adu]])
@pytest.mark.parametrize('function', [denoise, segment_point_sources, unpack])
def test_list_of_frames(frames, function):
    with pytest.raises(TypeError, match=f'of {len(frames)} frames.*files'):
        function(frames)


@pytest.mark.parametrize('channels', [3, 4])
def test_channels_on_the_last_axis(channels):
    with pytest.raises(ValueError, match='channels on the last axis'):
        denoise(np.ones((40, 50, channels)))


def test_frame_that_was_denoised(exact):
    denoised = exact(load_example_pair()[1])
    for function, options in ((denoise, {}), (
            segment_point_sources, {'model': 'ccd-sources'})):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter('always')
            # Of its correlated noise as well.
            warnings.simplefilter('ignore', CorrelatedNoiseWarning)
            function(denoised, **options)
        assert [each.category for each in record] == [ProcessedFrameWarning]
        assert "'ccd'" in str(record[0].message)
        assert record[0].filename == __file__


@pytest.mark.parametrize('measure', [
    profile_photometry,
    lambda *args, **options: forced_photometry(
        *args, psf=CircularGaussianPRF(fwhm=3), **options)])
def test_photometry_of_a_frame_that_was_denoised(measure):
    frame = CCDData(np.random.default_rng(1).normal(100, 1, (150, 150)),
                    unit='adu', meta={'DNMODEL': 'ccd'})
    catalog = QTable({'ref_id': [1], 'aperture_x': [70.0],
                      'aperture_y': [75.0], 'aperture_a': [4.0],
                      'aperture_b': [4.0], 'aperture_theta': [0.0]})
    with pytest.warns(ProcessedFrameWarning, match='raw fluxes') as record:
        measure(frame, catalog)
    assert record[0].filename == __file__
    measure(frame, catalog, error=1.0 * u.adu)  # of one's own: no warning


@pytest.mark.parametrize('tier', ['fixed', 'realistic'])
def test_simulated_skies_are_counts(tier):
    images = GalacticCenterSimulator(tier).sample(100, seed=5)[0]
    warn_of_optical(unpack(images), 'data', 'a')
    ratios = [variance_over_mean(image.astype(float), image >= 0)
              for image in images]
    assert 1.0 < min(ratios) < max(ratios) < 2.6


def test_real_sky_is_counts():
    warn_of_optical(unpack(load_fermi_map()), 'data', 'a')


@pytest.mark.parametrize(('level', 'noise'), [(100, 3), (100, 25)])
def test_noise_that_is_not_of_counts(level, noise):
    image = np.rint(np.random.default_rng(1).normal(level, noise, (64, 64)))
    for function in (estimate_parameters, segment_point_sources):
        with pytest.warns(UnusualImageWarning) as record:
            function(np.maximum(image, 0))
        assert 'not that of counts' in str(record[0].message)


def test_cards_of_a_detector():
    counts = np.random.default_rng(1).poisson(20, (64, 64))
    frame = CCDData(counts, unit='adu', meta={'GAIN': 1.0, 'RDNOISE': 3.0})
    with (pytest.warns(UnusualImageWarning, match='unlike those'),
          pytest.warns(UnusualImageWarning, match='adu .* GAIN, RDNOISE')):
        denoise(frame, 'gc-mixed')


def test_photons_for_a_model_of_frames():
    counts = np.random.default_rng(1).poisson(3.0, (128, 128))
    with pytest.warns(UnusualImageWarning, match='gc-mixed'):
        denoise(CCDData(counts, unit='ct'))


@pytest.mark.parametrize('frame', [
    np.rint(np.random.default_rng(1).normal(20, 2.0, (128, 128))),
    np.random.default_rng(1).poisson(500.0, (128, 128)),
    np.random.default_rng(1).normal(3.0, 1.7, (128, 128))])
def test_frames_are_no_photons(frame):
    warn_of_counts(frame, frame == frame, None)


@pytest.fixture
def deviation():
    """
    A frame without its sky, with what ccdproc.create_deviation makes of it.
    """
    image = 2 + np.random.default_rng(1).normal(0, 11**0.5, (300, 300))
    with np.errstate(invalid='ignore'):
        return CCDData(image, unit='adu',
                       uncertainty=StdDevUncertainty(np.sqrt(image + 1)))


@pytest.mark.parametrize('function', [
    denoise, lambda frame: segment_point_sources(frame, 'ccd-sources'),
    lambda frame: annulus_photometry(frame, CATALOG),
    lambda frame: profile_photometry(frame, CATALOG)])
def test_nan_uncertainty(deviation, function):
    number = np.count_nonzero(np.isnan(deviation.uncertainty.array))
    share = 100 * number / deviation.data.size
    assert share == pytest.approx(18, abs=1)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        function(deviation)
    said, = [one for one in found if 'is NaN' in str(one.message)]
    assert said.category is NoiseEstimateWarning
    assert f'for {number} of the valid pixels ({share:.2g} %)' in str(
        said.message)
    assert said.filename == __file__


@pytest.mark.parametrize('large', [False, True])
def test_nan_uncertainty_of_a_dask_array(deviation, large, monkeypatch):
    dask_array = pytest.importorskip('dask.array')
    if large:
        monkeypatch.setattr(sampling, 'WHOLE', 1000)
    arrays = [dask_array.from_array(array, chunks=100)
              for array in (deviation.data, deviation.uncertainty.array)]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        denoise(arrays[0], uncertainty=arrays[1]).compute(
            scheduler='synchronous')
    said, = [str(one.message) for one in found if 'is NaN' in str(one.message)]
    assert ('of a sample (18 %)' if large else '(18 %), which') in said


def test_nan_uncertainty_of_a_stack(deviation):
    stack = CCDData(np.stack([deviation.data] * 2), unit='adu',
                    uncertainty=StdDevUncertainty(np.full((2, 300, 300), 3.)))
    stack.uncertainty.array[1, 7, 8:10] = np.nan
    stack.mask = np.zeros(stack.shape, bool)
    stack.mask[1, 7, 8] = True
    with pytest.warns(NoiseEstimateWarning, match=r'is NaN for 1 of the valid '
                      r'pixels \(0\.00056 %\)'):
        unpack(stack)
