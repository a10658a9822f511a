# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of denoising with a catalog of the sources.
"""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData, NDData
from astropy.table import QTable, vstack
from numpy.testing import assert_allclose, assert_array_equal
from photutils.aperture import CircularAperture

from astro_denoise import denoise
from astro_denoise.denoising import dask_arrays
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.frames import open_frame
from astro_denoise.inference import averaging
from astro_denoise.photometry import denoised_flux_error, forced_photometry
from astro_denoise.simulation import SurveySimulator, moffat_image
from astro_denoise.simulation.profiles import render_sources

SIGMA = 5.0
FWHM = 3.5
SHAPE = (230, 260)
OPTIONS = {'uncertainty': SIGMA, 'precision': 'float32'}


@pytest.fixture(scope='module')
def scene():
    """
    A frame with faint and bright stars, its truth, and their catalog.
    """
    rng = np.random.default_rng(5)
    y, x = (each.ravel() for each in np.mgrid[24:SHAPE[0]:30, 24:SHAPE[1]:30])
    x, y = (each + rng.uniform(-4, 4, len(x)) for each in (x, y))
    flux = np.where(np.arange(len(x)) % 3 == 0, 3e3, 120.0)
    truth = render_sources(SHAPE, {'x': x, 'y': y, 'flux': flux}, FWHM,
                           3.5) + 100.0
    frame = (truth + SIGMA * rng.standard_normal(SHAPE)).astype(np.float32)
    return frame, truth, QTable({'x': x, 'y': y, 'flux': flux})


@pytest.fixture(scope='module')
def results(scene):
    """
    The three results of the frame, and the weights of the blend.
    """
    frame, _, catalog = scene
    ccd = CCDData(frame, unit='adu')
    options = {'precision': 'float32', 'uncertainty': SIGMA * u.adu}
    return (denoise(ccd, catalog=catalog, **options),
            denoise(ccd, **options), denoise(ccd, 'ccd-mmse', **options))


def test_blend_is_one_model_in_footprints_and_another_outside(scene, results):
    blend = results[0]
    catalog = scene[2]
    yy, xx = np.indices(SHAPE)
    distance = np.min(np.hypot(
        xx - catalog['x'][:, np.newaxis, np.newaxis],
        yy - catalog['y'][:, np.newaxis, np.newaxis]), axis=0)
    near, far = distance < FWHM, distance > 14
    assert far.any()
    for name in ('data', 'uncertainty'):
        of = [np.asarray(getattr(each, name).array if name == 'uncertainty'
                         else each.data) for each in results]
        assert_array_equal(of[0][near], of[1][near])
        assert_array_equal(of[0][far], of[2][far])
        low, high = np.minimum(of[1], of[2]), np.maximum(of[1], of[2])
        assert np.all((of[0] >= low - 1e-4) & (of[0] <= high + 1e-4))
    assert blend.flags.dtype == np.uint8
    assert set(np.unique(blend.flags)) == {0, 1}
    assert blend.flags[near].all()
    assert not blend.flags[far].any()
    header = blend.header
    assert (header['DNMODEL'], header['DNGUIDE'], header['DNCATMOD'],
            header['DNCATUSE'], header['DNCATOFF']) == (
                'ccd', 'blend', 'ccd-mmse', len(catalog), 0)


def test_flux_is_kept_and_sky_is_smooth(scene, results):
    _, truth, catalog = scene
    blend, _, outer = (each.data for each in results)
    yy, xx = np.indices(SHAPE)
    sums = np.zeros((3, len(catalog)))
    for number, (x, y) in enumerate(zip(catalog['x'], catalog['y'],
                                        strict=True)):
        inside = np.hypot(xx - x, yy - y) < FWHM
        sums[:, number] = [np.sum(image[inside] - 100.0)
                           for image in (truth, blend, outer)]
    faint = np.asarray(catalog['flux']) < 1e3
    # 40 sources of a signal-to-noise ratio of 3: 5 per cent.
    assert sums[1, faint].mean() / sums[0, faint].mean() == pytest.approx(
        1.0, abs=0.15)
    assert sums[2, faint].mean() / sums[0, faint].mean() < 0.7
    assert sums[1, ~faint].mean() / sums[0, ~faint].mean() == pytest.approx(
        1.0, abs=0.02)
    sky = results[0].flags == 0
    assert np.std((blend - truth)[sky]) < 0.1 * SIGMA
    assert abs(np.mean((blend - truth)[sky])) < 0.02 * SIGMA


def test_pulls(scene, results):
    flags = results[0].flags
    blend, inner, outer = (
        (each.data - scene[1]) / each.uncertainty.array for each in results)
    assert 0.8 < np.std(blend[flags == 1]) < 1.15
    assert np.std(blend[flags == 1]) == pytest.approx(
        np.std(inner[flags == 1]), rel=0.05)
    assert np.std(blend[flags == 0]) == pytest.approx(
        np.std(outer[flags == 0]), rel=0.1)


def test_types(scene, results):
    frame, _, catalog = scene
    expected = results[0]
    data, error = denoise(frame, catalog=catalog, return_uncertainty=True,
                          **OPTIONS)
    assert type(data) is np.ndarray
    assert_array_equal(data, expected.data)
    assert_array_equal(error, expected.uncertainty.array)
    quantity = denoise(frame * u.adu, catalog=catalog, precision='float32',
                       uncertainty=SIGMA * u.adu)
    assert quantity.unit == u.adu
    assert_array_equal(quantity.value, data)
    nddata = denoise(NDData(frame), catalog=catalog, **OPTIONS)
    assert type(nddata) is NDData
    assert_array_equal(nddata.data, data)
    assert nddata.meta['DNCATUSE'] == len(catalog)


def test_flags_of_the_frame_stay(scene):
    frame, _, catalog = scene
    ccd = CCDData(frame, unit='adu')
    ccd.flags = np.full(SHAPE, 7)
    assert np.all(denoise(ccd, catalog=catalog).flags == 7)


def test_stack(scene, results):
    frame, _, catalog = scene
    stack = CCDData(np.stack([frame, frame[::-1].copy()]), unit='adu')
    result = denoise(stack, catalog=catalog, precision='float32',
                     uncertainty=SIGMA * u.adu)
    assert result.flags.shape == stack.shape
    assert_allclose(result.data[0], results[0].data, rtol=1e-6)


@pytest.mark.parametrize('average', [1, 2])
def test_memory_maps(scene, tmp_path, monkeypatch, average):
    frame, _, catalog = scene
    options = OPTIONS | {'catalog': catalog, 'average': average}
    expected = denoise(frame, return_uncertainty=True, **options)
    outputs = [np.lib.format.open_memmap(
        tmp_path / f'{name}.npy', 'w+', np.float32, SHAPE) for name in 'ab']
    monkeypatch.setattr(averaging, '_SIDE', 64)
    denoise(frame, output_array=outputs[0], output_uncertainty=outputs[1],
            **options)
    for found, wanted in zip(outputs, expected, strict=True):
        assert_allclose(found, wanted, rtol=1e-5, atol=2e-3)


def test_wide_memory_maps_are_cut_into_windows(tmp_path, monkeypatch):
    # More than two halos: each window knows the sources near it alone.
    rng = np.random.default_rng(8)
    shape = (200, 900)
    catalog = QTable({'x': rng.uniform(0, 900, 60),
                      'y': rng.uniform(0, 200, 60),
                      'flux': 10**rng.uniform(2.0, 5.5, 60)})
    frame = render_sources(shape, catalog, FWHM, 2.5) + rng.normal(
        100, SIGMA, shape)
    expected = denoise(frame, catalog=catalog, **OPTIONS)
    output = np.lib.format.open_memmap(tmp_path / 'a.npy', 'w+', np.float32,
                                       shape)
    monkeypatch.setattr(averaging, '_SIDE', 64)
    denoise(frame, output_array=output, catalog=catalog, **OPTIONS)
    assert_allclose(output, expected, rtol=1e-5, atol=5e-3)


@pytest.mark.parametrize('chunks', [100, 300])
def test_dask(scene, chunks):
    array = pytest.importorskip('dask.array')
    frame, _, catalog = scene
    options = OPTIONS | {'catalog': catalog}
    lazy = denoise(array.from_array(frame, chunks=chunks), **options)
    assert lazy.chunks == array.from_array(frame, chunks=chunks).chunks
    assert_allclose(lazy.compute(scheduler='sync'),
                    denoise(frame, **options), rtol=1e-5, atol=2e-3)
    both = np.stack([frame, frame])
    stack = denoise(array.from_array(both), **options)
    assert_allclose(stack.compute(scheduler='sync')[1],
                    denoise(frame, **options), rtol=1e-5, atol=2e-3)


def test_masked_pixels_influence_no_other(scene):
    frame, _, catalog = scene
    mask = np.zeros(SHAPE, bool)
    mask[40:44, 30:60] = mask[:, 100] = True
    results = []
    for value in (np.nan, 1e6):
        changed = frame.copy()
        changed[mask] = value
        results.append(denoise(CCDData(changed, unit='adu', mask=mask),
                               catalog=catalog, precision='float32'))
    assert_array_equal(*(each.data[~mask] for each in results))
    assert np.isnan(results[0].data[mask]).all()
    assert_array_equal(results[0].mask, mask)


@pytest.mark.parametrize('names', [
    ('x', 'y'), ('x_centroid', 'y_centroid'), ('aperture_x', 'aperture_y')])
def test_names_of_positions(scene, results, names):
    catalog = QTable(dict(zip(names, (scene[2]['x'], scene[2]['y']),
                              strict=True)))
    result = denoise(scene[0], catalog=catalog, **OPTIONS)
    assert_array_equal(result, results[0].data)


def test_positions_on_the_sky():
    simulator = SurveySimulator((160, 160), density=500, n_cosmic_rays=0,
                                n_bad_columns=0, psf_fwhm=1.0)
    (ccd,), catalog = simulator.exposures(1, seed=3)
    pixels = denoise(ccd, catalog=catalog['x_centroid', 'y_centroid'])
    catalog['ra'] = catalog['sky_centroid'].ra
    catalog['dec'] = catalog['sky_centroid'].dec
    for names in (['sky_centroid'], ['ra', 'dec']):
        sky = denoise(ccd, catalog=catalog[names])
        assert_allclose(sky.data, pixels.data, rtol=1e-4)
    with pytest.raises(ValueError, match='wcs must be given'):
        denoise(ccd.data, catalog=catalog['sky_centroid',])


def test_shapes_make_footprints_larger(scene):
    frame = CCDData(scene[0], unit='adu')
    place = {'x': [120.0], 'y': [110.0]}
    star, disk, wide = (
        denoise(frame, catalog=QTable(place | shape)).flags
        for shape in ({}, {'r50': [6.0]},
                      {'r50': [6.0], 'q': [0.3], 'theta': [90.0]}))
    assert star.sum() < disk.sum()
    rows, columns = (np.ptp(np.flatnonzero(wide.any(axis=axis)))
                     for axis in (1, 0))
    assert rows > 1.5 * columns


@pytest.mark.filterwarnings('ignore:the pixels of each 2 x 2')
def test_mosaic_of_filters():
    rng = np.random.default_rng(4)
    shape = (256, 256)
    truth = render_sources(shape, {
        'x': [60.0, 180.0], 'y': [64.0, 190.0], 'flux': [4e3, 4e3]}, 8.0, 3.5)
    levels = np.array([[100.0, 300.0], [200.0, 100.0]])
    frame = truth + np.tile(levels, (128, 128)) + rng.normal(0, 5, shape)
    result = denoise(CCDData(frame, unit='adu'),
                     catalog=QTable({'x': [60.0], 'y': [64.0]}))
    rows, columns = np.nonzero(result.flags)
    assert abs(rows.mean() - 64) < 1.5
    assert abs(columns.mean() - 60) < 1.5
    assert result.header['DNCATUSE'] == 1


def test_catalogs_that_make_no_sense(scene):
    frame, _, catalog = scene
    positions = catalog['x', 'y']

    def message(table=positions, error=ValueError, **options):
        with pytest.raises(error) as caught:
            denoise(frame, catalog=table, **options)
        return str(caught.value)

    far = positions.copy()
    far['x'] = far['x'] + 1e4
    assert 'catalog must have sources on the frame of 230 x 260' in message(
        far)
    bad = positions.copy()
    bad['y'][3] = np.nan
    assert "column 'y' must be finite, got nan in row 3" in message(bad)
    assert 'catalog must have the columns x, y or' in message(
        catalog['flux',])
    assert 'catalog must have at least one row' in message(positions[:0])
    assert 'catalog must be a table, got int' in message(7, TypeError)
    assert "guide must be 'blend' or 'model'" in message(guide='mean')
    assert "got 'ccd-mmse'" in message(model='ccd-mmse')
    assert 'psf must be None' in message(psf=np.ones((5, 5)))
    with pytest.raises(ValueError, match='psf is for a catalog'):
        denoise(frame, psf='fit')
    with pytest.raises(ValueError, match='catalog must be None'):
        denoise(np.ones((64, 64)), 'gc-mixed', catalog=positions)


def test_some_sources_off_the_frame_and_twice(scene, results):
    catalog = scene[2]['x', 'y']
    for x, y in ((-500.0, 3.0), (1e9, -1e9), *catalog[:5].iterrows()):
        catalog.add_row((x, y))
    result = denoise(CCDData(scene[0], unit='adu'), catalog=catalog,
                     precision='float32', uncertainty=SIGMA * u.adu)
    assert_array_equal(result.data, results[0].data)
    assert result.header['DNCATOFF'] == 2
    assert result.header['DNCATUSE'] == len(catalog) - 2


def test_a_source_beyond_the_edge_has_its_light_on_the_frame(scene):
    frame = CCDData(scene[0], unit='adu')
    result = denoise(frame, catalog=QTable({'x': [100.0, -2.0],
                                            'y': [100.0, 50.0]}))
    assert result.flags[50, 0] == 1
    assert result.header['DNCATUSE'] == 1


def test_a_million_rows(scene):
    rng = np.random.default_rng(2)
    catalog = QTable({name: rng.uniform(0, 2e4, 1_000_000) for name in 'xy'})
    result = denoise(CCDData(scene[0], unit='adu'), catalog=catalog)
    assert (result.header['DNCATUSE'] + result.header['DNCATOFF']
            == len(catalog))
    assert result.header['DNCATUSE'] > 50


def test_data_are_not_changed(scene):
    frame, _, catalog = scene
    before, table = frame.copy(), catalog.copy()
    denoise(frame, catalog=catalog, **OPTIONS)
    assert_array_equal(frame, before)
    assert all(np.all(catalog[name] == table[name])
               for name in table.colnames)
    assert open_frame(frame).pixels is frame


def test_errors_of_fluxes(scene, results):
    blend, inner = results[:2]
    catalog = scene[2]
    known = CircularAperture(np.transpose([catalog['x'], catalog['y']]), 3)
    ratio = denoised_flux_error(blend, known).value / denoised_flux_error(
        inner, known).value
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.02)
    assert np.all(np.abs(ratio - 1) < 0.07)
    # Of the pixel that is farthest from all sources.
    yy, xx = np.indices(SHAPE)
    distance = np.min(np.hypot(
        xx - catalog['x'][:, np.newaxis, np.newaxis],
        yy - catalog['y'][:, np.newaxis, np.newaxis]), axis=0)
    y, x = np.unravel_index(np.argmax(distance), SHAPE)
    other = CircularAperture([(x, y)], 3)
    assert np.isnan(denoised_flux_error(blend, other).value).all()
    assert np.isfinite(denoised_flux_error(inner, other).value).all()


# With a model of the sources


@pytest.fixture(scope='module')
def psf():
    return moffat_image(41, FWHM, 3.5)


@pytest.fixture(scope='module')
def modeled(scene, psf):
    return denoise(CCDData(scene[0], unit='adu'), catalog=scene[2],
                   guide='model', psf=psf, precision='float32',
                   uncertainty=SIGMA * u.adu)


def test_model_has_less_noise_and_keeps_flux(scene, results, modeled):
    _, truth, catalog = scene
    rms = [np.std(each.data - truth) / SIGMA
           for each in (modeled, results[0])]
    assert rms[0] < 0.7 * rms[1]
    yy, xx = np.indices(SHAPE)
    flux = np.array([[np.sum((image - 100.0)[np.hypot(xx - x, yy - y) < FWHM])
                      for image in (truth, modeled.data)]
                     for x, y in zip(catalog['x'], catalog['y'],
                                     strict=True)])
    faint = np.asarray(catalog['flux']) < 1e3
    for chosen, error in ((faint, 0.15), (~faint, 0.02)):
        assert np.divide(*flux[chosen].mean(axis=0)[::-1]) == pytest.approx(
            1.0, abs=error)
    pull = (modeled.data - truth) / modeled.uncertainty.array
    assert 0.8 < np.std(pull[modeled.flags == 1]) < 1.15
    assert modeled.header['DNGUIDE'] == 'model'
    assert 'DNKERNEL' not in modeled.header


@pytest.mark.parametrize('fault', ['positions', 'sizes', 'psf'])
def test_uncertainty_of_a_model_holds_what_is_wrong(scene, psf, fault):
    frame, truth, catalog = scene
    catalog = catalog['x', 'y']
    if fault == 'positions':
        angle = np.random.default_rng(2).uniform(0, 2 * np.pi, len(catalog))
        catalog['x'] += 0.5 * np.cos(angle)
        catalog['y'] += 0.5 * np.sin(angle)
    elif fault == 'sizes':  # all are stars
        catalog['r50'] = np.full(len(catalog), 0.8)
    else:
        psf = moffat_image(41, 1.15 * FWHM, 3.5)
    result = denoise(CCDData(frame, unit='adu'), catalog=catalog,
                     guide='model', psf=psf, precision='float32',
                     uncertainty=SIGMA * u.adu)
    pull = (result.data - truth) / result.uncertainty.array
    assert 0.8 < np.std(pull[result.flags == 1]) < 1.2
    assert 0.8 < np.std(pull) < 1.2


def test_model_with_a_fitted_psf(scene, modeled):
    fitted = denoise(scene[0], catalog=scene[2], guide='model', psf='fit',
                     **OPTIONS)
    assert np.std(fitted - modeled.data) < 0.05 * SIGMA


def test_source_that_the_catalog_lacks_is_in_the_residual(scene, psf):
    frame, truth, catalog = scene
    brightest = np.argmax(catalog['flux'])
    x, y = (int(np.rint(catalog[name][brightest])) for name in 'xy')
    rest = catalog[np.arange(len(catalog)) != brightest]
    result = denoise(CCDData(frame, unit='adu'), catalog=rest, guide='model',
                     psf=psf, precision='float32',
                     uncertainty=SIGMA * u.adu)
    here = np.s_[y - 3:y + 4, x - 3:x + 4]
    assert np.sum(result.data[here] - 100) == pytest.approx(
        np.sum(truth[here] - 100), rel=0.03)
    assert result.flags[y, x] == 0


def test_seeing_is_that_of_the_frame(scene, modeled):
    # A residual has no stars from which it could be measured.
    assert modeled.header['DNFWHM'] == pytest.approx(FWHM, rel=0.1)


def test_model_of_memory_maps_and_dask(scene, psf, modeled, tmp_path,
                                       monkeypatch):
    array = pytest.importorskip('dask.array')
    frame, _, catalog = scene
    options = OPTIONS | {'catalog': catalog, 'guide': 'model', 'psf': psf}
    lazy = denoise(array.from_array(frame, chunks=100), **options)
    assert_allclose(lazy.compute(scheduler='sync'), modeled.data, atol=0.01)
    output = np.lib.format.open_memmap(tmp_path / 'a.npy', 'w+', np.float32,
                                       SHAPE)
    denoise(frame, output_array=output, **options)
    assert_allclose(output, modeled.data, atol=0.01)
    options |= {'psf': 'fit'}
    lazy = denoise(array.from_array(frame, chunks=100), **options)
    assert_allclose(lazy.compute(scheduler='sync'),
                    denoise(frame, **options), atol=0.01)


def test_model_of_a_stack(scene, psf, modeled):
    frame, _, catalog = scene
    stack = denoise(np.stack([frame, frame]), catalog=catalog, guide='model',
                    psf=psf, **OPTIONS)
    assert_array_equal(stack[1], modeled.data)


def test_model_leaves_masked_pixels_out(scene, psf):
    frame, _, catalog = scene
    mask = np.zeros(SHAPE, bool)
    mask[:, 100] = mask[54:58, 50:60] = True
    results = []
    for value in (np.nan, 1e6):
        changed = frame.copy()
        changed[mask] = value
        results.append(denoise(
            CCDData(changed, unit='adu', mask=mask), catalog=catalog,
            guide='model', psf=psf, precision='float32'))
    assert_array_equal(*(each.data[~mask] for each in results))
    assert_array_equal(results[1].data[mask], np.float32(1e6))


def test_sources_at_one_place(scene, psf, modeled):
    catalog = vstack([scene[2], scene[2][:7]])
    result = denoise(scene[0], catalog=catalog, guide='model', psf=psf,
                     **OPTIONS)
    assert_allclose(result, modeled.data, atol=0.1 * SIGMA)


def test_unit_and_scale(scene, psf, modeled):
    result = denoise(scene[0].astype(float) * 1e-20, catalog=scene[2],
                     guide='model', psf=psf, precision='float32',
                     uncertainty=SIGMA * 1e-20)
    assert_allclose(result * 1e20, modeled.data, atol=0.02)


def test_psfs_that_make_no_sense(scene, psf):
    frame, _, catalog = scene

    def message(psf, error=ValueError):
        with pytest.raises(error) as caught:
            denoise(frame, catalog=catalog, guide='model', psf=psf)
        return str(caught.value)

    assert "for guide='model', got None" in message(None)
    assert "psf must be 'fit', a photutils" in message('moffat')
    assert 'finite 2D image' in message(np.full((5, 5), np.nan))
    assert 'FWHM of 0.5 to 60' in message(moffat_image(301, 90.0, 3.5))
    # Sampled twice or three times as finely as the frame, or half so.
    for factor in (0.5, 2, 3):
        wrong = moffat_image(121, factor * FWHM, 3.5)
        with pytest.warns(UnusualImageWarning, match='sampled as the frame'):
            forced_photometry(frame, catalog, wrong, error=SIGMA)
    with pytest.warns(UnusualImageWarning, match='sampled as the frame is'):
        denoise(frame, catalog=catalog, guide='model', psf=wrong)
    with pytest.raises(ValueError, match="psf='fit' needs 3 sources"):
        denoise(frame, catalog=catalog[:2], guide='model', psf='fit')


def test_seeing_is_that_of_the_stars_of_a_catalog(monkeypatch):
    rng = np.random.default_rng(12)
    y, x = (each.ravel() for each in np.mgrid[30:250:40, 30:250:40])
    star = np.isin(np.arange(36), [3, 8, 16, 27, 32])
    catalog = QTable({
        'x': x + rng.uniform(-5, 5, 36), 'y': y + rng.uniform(-5, 5, 36),
        'flux': np.where(star, 2500.0, 6000.0),
        'r50': np.where(star, 0.0, rng.uniform(2.5, 5.0, 36)),
        'sersic_n': np.ones(36), 'q': np.ones(36), 'theta': np.zeros(36)})
    frame = render_sources((256, 256), catalog, FWHM, 3.5) + rng.normal(
        100.0, SIGMA, (256, 256))

    def seeing(known):
        return denoise(CCDData(frame, unit='adu'),
                       catalog=known).header['DNFWHM']

    # Without shapes those of the galaxies are taken for stars.
    assert seeing(catalog['x', 'y']) > 1.5 * FWHM
    assert_allclose(seeing(catalog), FWHM, rtol=0.12)
    # of dask arrays too
    array = pytest.importorskip('dask.array')
    monkeypatch.setattr(dask_arrays, '_BLOCK', 64)
    expected = denoise(frame, catalog=catalog, precision='float32')
    lazy = denoise(array.from_array(frame), catalog=catalog,
                   precision='float32')
    assert_allclose(lazy.compute(scheduler='sync'), expected,
                    atol=2e-3 * SIGMA)
    other = denoise(frame, catalog=catalog['x', 'y'], precision='float32')
    assert np.std(other - expected) > 0.02 * SIGMA
