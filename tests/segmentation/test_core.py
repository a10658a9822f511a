# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of finding point sources, with networks made by hand.
"""


import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.table import QTable
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal
from photutils.background import LocalBackground
from photutils.psf import CircularGaussianPRF, PSFPhotometry
from photutils.segmentation import SegmentationImage
from photutils.utils.exceptions import NoDetectionsWarning
from torch.nn import functional as F

from astro_denoise import segment_point_sources
from astro_denoise.exceptions import CountsWarning, UnusualImageWarning
from astro_denoise.models.registry import Model
from astro_denoise.segmentation.core import PointSourceFinder, PointSources
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator
from astro_denoise.sky_maps.galactic_grid import grid_wcs

SOURCES = ((12.2, 20.7, 400.0), (18.4, 21.1, 300.0), (50.0, 40.0, 600.0),
           (33.3, 8.6, 350.0))


class Contrast(torch.nn.Module):
    """
    What is above its surroundings is taken for sources.
    """

    stride = 2
    reach = 16

    def __init__(self, scale=3.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.seen = []

    def forward(self, image, valid, position, *, dtype):
        self.seen.append((image, valid, position))

        def smooth(plane, size):
            return F.avg_pool2d(plane, size, 1, size // 2,
                                count_include_pad=False)

        # A wide box of which the sources are cut off.
        low = torch.minimum(image, 1.5 * smooth(image, 15))
        wide = smooth(low, 15)
        flux = (image - wide) * valid
        noise = wide.clamp_min(1.0)
        significance = smooth(flux, 3) * 3.0 / noise.sqrt()
        # The flux of a source is in its middle pixel.
        total = 25.0 * smooth(flux, 5)
        middle = (smooth(flux, 3) == F.max_pool2d(smooth(flux, 3), 3, 1, 1))
        flux = torch.where(middle & (significance > 2.0), total,
                           0.01 * smooth(flux, 3))
        return {'logit': significance - self.scale, 'flux': flux,
                'log_variance': (25.0 * noise).log(),
                'dx': torch.full_like(flux, 0.25), 'dy': 0.0 * flux}


class Plain(torch.nn.Module):
    """
    Like the document's network: probabilities alone.
    """

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def probabilities(self, counts):
        return self.weight * counts / counts.amax((1, 2), keepdim=True)


def model(network=None, **metadata):
    return Model(network or Contrast(), {
        'name': 'by-hand', 'task': 'segment', 'threshold': 0.7, **metadata})


def image(shape=(64, 64), background=20.0, sources=SOURCES, seed=1):
    y, x = np.indices(shape)
    expected = np.full(shape, background)
    prf = CircularGaussianPRF(fwhm=2.0)
    for x0, y0, flux in sources:
        expected += prf.evaluate(x, y, flux, x0, y0, 2.0)
    return np.random.default_rng(seed).poisson(expected)


@pytest.fixture(scope='module')
def counts():
    return image()


def test_catalog(counts):
    before = counts.copy()
    found = segment_point_sources(counts, model())
    assert_array_equal(counts, before)
    assert isinstance(found, PointSources)
    assert isinstance(found.segmentation, SegmentationImage)
    catalog = found.catalog
    assert isinstance(catalog, QTable)
    assert catalog.colnames == ['label', 'x_centroid', 'y_centroid',
                                'probability', 'flux', 'flux_error', 'snr',
                                'x_centroid_error', 'y_centroid_error']
    assert_array_equal(catalog['label'], found.segmentation.labels)
    bright = catalog[catalog['flux'] > 8 * catalog['flux_error']]
    bright.sort('flux')
    expected = sorted(SOURCES, key=lambda source: source[2])
    assert len(bright) == len(expected)
    for row, (x, y, flux) in zip(bright, expected, strict=True):
        # Fitted in the counts, whatever the network says.
        assert row['x_centroid'] == pytest.approx(x, abs=0.3)
        assert row['y_centroid'] == pytest.approx(y, abs=0.3)
        assert row['flux'] == pytest.approx(flux, rel=0.2)
        assert row['probability'] > 0.99
        assert found.segmentation.data[round(y), round(x)] == row['label']
    for row in catalog:
        inside = found.segmentation.data == row['label']
        assert (found.probability[inside] > 0.7).all()
        assert found.probability[inside].max() == pytest.approx(
            row['probability'])
    assert_array_equal(found.segmentation.data > 0, found.probability > 0.7)
    assert catalog.meta['model'] == 'by-hand'
    assert 'astro_denoise' in catalog.meta['version']
    assert str(len(catalog)) in repr(found)


def test_signal_to_noise_ratio(counts):
    # The matched filter of the simulator's profile, on the counts.
    found = segment_point_sources(counts, model())
    line = np.exp(-0.5 * (0.46875 * np.arange(-2, 3) / (0.8 / 3))**2)
    profile = np.outer(line, line) / line.sum()**2
    numbers = found.segmentation.data
    assert len(found.catalog) >= len(SOURCES)
    for row in found.catalog:
        inside = np.where(numbers == row['label'], found.flux, -np.inf)
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        if min(y, x) < 2 or max(y, x) > 61:
            continue
        near = counts[y - 2:y + 3, x - 2:x + 3]
        assert row['snr'] == pytest.approx(
            row['flux'] * np.sqrt((profile**2 / near).sum()), rel=1e-4)


def test_threshold(counts):
    default = segment_point_sources(counts, model())
    assert default.threshold == 0.7
    lower = segment_point_sources(counts, model(), threshold=0.02)
    assert lower.threshold == lower.catalog.meta['threshold'] == 0.02
    assert ((lower.segmentation.data > 0).sum()
            > (default.segmentation.data > 0).sum())
    assert_array_equal(lower.probability, default.probability)
    unstated = Model(Contrast(), {'name': 'a', 'task': 'segment'})
    assert segment_point_sources(counts, unstated).threshold == 0.02


def test_n_pixels(counts):
    found = segment_point_sources(counts, model(), n_pixels=6,
                                  threshold=0.1)
    sizes = np.bincount(found.segmentation.data.ravel())[1:]
    assert sizes.min() >= 6
    assert len(found.catalog) == len(sizes)
    assert len(found.catalog) < len(
        segment_point_sources(counts, model(), threshold=0.1).catalog)


@pytest.mark.parametrize('dtype', ['>i2', 'uint8', '>f4', 'float16', 'int64'])
def test_types(counts, dtype):
    counts = np.minimum(counts, 200)
    expected = segment_point_sources(counts, model())
    found = segment_point_sources(counts.astype(dtype), model())
    assert found.probability.dtype == np.float32
    assert_array_equal(found.probability, expected.probability)


def test_same_type_out(counts):
    plain = segment_point_sources(counts, model())
    found = segment_point_sources(counts * u.ct, model())
    assert found.probability.unit == u.dimensionless_unscaled
    assert found.catalog['flux'].unit == u.ct
    assert found.catalog['flux_error'].unit == u.ct
    assert found.flux.unit == u.ct
    assert_array_equal(found.flux.value, plain.flux)
    assert found.catalog['snr'].unit is None
    assert_array_equal(found.probability.value, plain.probability)
    ccd = CCDData(counts, unit='ct', wcs=grid_wcs(),
                  meta={'OBJECT': 'center'}, mask=counts < 0,
                  uncertainty=StdDevUncertainty(counts + 1.0))
    found = segment_point_sources(ccd, model())
    assert isinstance(found.probability, CCDData)
    assert found.probability.unit == u.dimensionless_unscaled
    assert found.probability.meta['OBJECT'] == 'center'
    assert found.probability.wcs is not ccd.wcs
    assert found.probability.wcs.wcs.ctype[0] == 'GLON-CAR'
    assert ccd.unit == u.ct
    assert type(segment_point_sources(NDData(counts), model())
                .probability) is NDData
    for kind in (np.ma.MaskedArray, Masked):
        found = segment_point_sources(kind(counts, mask=counts > 100),
                                      model())
        assert_array_equal(found.probability.mask, counts > 100)


def test_sky_positions(counts):
    wcs = grid_wcs()
    wcs.wcs.cdelt = -wcs.wcs.cdelt[0], wcs.wcs.cdelt[1]
    found = segment_point_sources(CCDData(counts, unit='ct', wcs=wcs),
                                  model())
    catalog = found.catalog
    assert catalog.colnames[3] == 'sky_centroid'
    assert isinstance(catalog['sky_centroid'], SkyCoord)
    expected = wcs.pixel_to_world(catalog['x_centroid'],
                                  catalog['y_centroid'])
    assert np.all(catalog['sky_centroid'].separation(expected) < 1e-9 * u.deg)


def test_what_the_network_is_told(counts):
    network = Contrast()
    mask = np.zeros(counts.shape, bool)
    mask[3, 4] = True
    data = counts.astype(float)
    data[7, 8] = np.nan
    segment_point_sources(data, model(network), mask=mask)
    seen, valid, position = (plane.numpy() for plane in network.seen[-1])
    good = np.isfinite(data) & ~mask
    assert_array_equal(valid[0, 0], good)
    assert_array_equal(seen[0, 0], np.where(good, data, 0))
    assert (position[0, 2] == 1).all()  # 64x64: on the grid
    segment_point_sources(image((50, 70)), model(network))
    assert not network.seen[-1][2].any()
    segment_point_sources(CCDData(counts, unit='ct', wcs=grid_wcs()),
                          model(network))
    assert_allclose(network.seen[-1][2], position, atol=1e-6)


def test_masked_pixels_influence_nothing(counts):
    mask = np.zeros(counts.shape, bool)
    mask[40, 50] = mask[10:13, 30] = True
    found = []
    for value in (0, 1e30, np.nan, -5):
        data = counts.astype(float)
        data[mask] = value
        found.append(segment_point_sources(data, model(), mask=mask))
    for other in found[1:]:
        assert_array_equal(other.probability, found[0].probability)
        assert_array_equal(other.segmentation.data,
                           found[0].segmentation.data)
    assert (found[0].probability[mask] == 0).all()
    assert (found[0].segmentation.data[mask] == 0).all()
    own = segment_point_sources(CCDData(counts, unit='ct', mask=mask),
                                model())
    assert_array_equal(own.probability.data, found[0].probability)
    assert_array_equal(own.probability.mask, mask)


def test_stack(counts):
    other = image(seed=2)
    found = segment_point_sources(np.stack([counts, other]), model())
    assert [type(one) for one in found] == [PointSources] * 2
    for one, plane in zip(found, (counts, other), strict=True):
        alone = segment_point_sources(plane, model())
        assert_allclose(one.probability, alone.probability, atol=1e-5)
        assert len(one.catalog) == len(alone.catalog)
    mask = np.zeros((2, 64, 64), bool)
    mask[1, 5, 5] = True
    cube = CCDData(np.stack([counts, other]), unit='ct', mask=mask)
    found = segment_point_sources(cube, model())
    assert found[1].probability.shape == (64, 64)
    assert_array_equal(found[1].probability.mask, mask[1])


@pytest.mark.parametrize('shape', [(1, 1), (7, 64), (33, 190)])
def test_any_size(shape):
    found = segment_point_sources(image(shape, sources=()), model(),
                                  threshold=0.0)
    assert found.probability.shape == shape
    assert (found.segmentation.data > 0).all()


def test_nothing_found():
    flat = np.full((64, 64), 20)
    with pytest.warns(NoDetectionsWarning, match=r'threshold 0\.7'):
        found = segment_point_sources(flat, model())
    assert len(found.catalog) == 0
    assert isinstance(found.segmentation, SegmentationImage)
    assert_array_equal(found.segmentation.data, np.zeros((64, 64)))
    assert found.segmentation.n_labels == 0
    assert found.probability.shape == (64, 64)
    assert '0 sources' in repr(found)
    with pytest.warns(NoDetectionsWarning, match='1 of 2 images'):
        found = segment_point_sources(np.stack([flat, image()]), model())
    assert len(found[0].catalog) == 0
    assert len(found[1].catalog) >= 4


def as_ccd(values, unit='ct'):
    wcs = grid_wcs()
    return CCDData(values, unit=unit, wcs=wcs)


@pytest.mark.parametrize('kind', ['counts', 'document'])
@pytest.mark.parametrize('given', [np.asarray, as_ccd,
                                   lambda values: values * u.electron])
def test_catalog_of_nothing_has_all_columns(counts, given, kind):
    network = Plain() if kind == 'document' else Contrast()
    some = segment_point_sources(given(counts), model(network))
    with pytest.warns(NoDetectionsWarning):
        none = segment_point_sources(given(counts), model(network),
                                     threshold=1.0 - 1e-16, n_pixels=4096)
    assert len(some.catalog) > 0
    assert len(none.catalog) == 0
    assert none.catalog.colnames == some.catalog.colnames
    for name in some.catalog.colnames:
        full, empty = some.catalog[name], none.catalog[name]
        assert type(empty) is type(full)
        assert getattr(empty, 'unit', None) == getattr(full, 'unit', None)
        assert getattr(empty, 'dtype', None) == getattr(full, 'dtype', None)
    assert set(none.catalog.meta) == set(some.catalog.meta)
    assert none.segmentation.data.dtype == some.segmentation.data.dtype
    assert none.plot().get_title().startswith('0 sources, 0')


def test_documents_network(counts):
    found = segment_point_sources(counts, model(Plain(), threshold=0.5))
    assert_allclose(found.probability, counts / counts.max(), rtol=1e-6)
    assert len(found.catalog) >= 3
    brightest = found.catalog[np.argmax(found.catalog['flux'])]
    assert brightest['x_centroid'] == pytest.approx(50, abs=0.3)
    inside = found.segmentation.data == brightest['label']
    assert brightest['flux'] == pytest.approx(
        counts[inside].sum() - 20 * inside.sum(), rel=0.1)
    assert brightest['flux_error'] == pytest.approx(
        counts[inside].sum()**0.5)


@pytest.mark.parametrize(('data', 'match'), [
    (np.full((64, 64), -1), 'data must hold counts.*-1'),
    (np.zeros((64, 64)), 'data must hold counts, got 0'),
    (np.full((64, 64), 1e19), r'data must not exceed 1e\+18 .* 1e\+19'),
    (np.full((64, 64), np.nan), 'data must have finite pixels'),
    (np.ones(64), r'data must have shape .*\(64,\)'),
    (np.ones((0, 64)), 'data must have shape'),
    (np.ones((64, 64)) * u.Jy, "unit 'Jy'"),
])
def test_bad_images(data, match):
    with pytest.raises(ValueError, match=match):
        segment_point_sources(data, model())


@pytest.mark.parametrize(('options', 'error', 'match'), [
    ({'threshold': 1.0}, ValueError, 'threshold .* 1.0'),
    ({'threshold': -0.1}, ValueError, 'threshold .* -0.1'),
    ({'threshold': 'low'}, TypeError, "threshold .* 'low'"),
    ({'n_pixels': 0}, ValueError, 'n_pixels .* 0'),
    ({'n_pixels': 1.5}, TypeError, 'n_pixels .* 1.5'),
    ({'mask': np.zeros((3, 3), bool)}, ValueError, 'mask'),
    ({'gain': 1.0}, ValueError, 'gain is for models of optical frames'),
    ({'purity': 0.9}, ValueError, 'purity is for models of optical'),
    ({'device': 'abacus'}, ValueError, 'abacus'),
    ({'precision': 'half'}, ValueError, 'half'),
])
def test_bad_options(counts, options, error, match):
    with pytest.raises(error, match=match):
        segment_point_sources(counts, model(), **options)


def test_wrong_model(counts):
    with pytest.raises(ValueError, match="'denoise', not 'segment'"):
        segment_point_sources(counts, 'ccd')
    with pytest.raises(ValueError, match='no-such-model'):
        segment_point_sources(counts, 'no-such-model')


def test_rates(counts):
    with pytest.warns(CountsWarning, match='data holds .* not integers'):
        segment_point_sources(counts / 7, model())


def test_optical_frame_for_a_model_for_counts(counts):
    frame = CCDData(counts + 2000, unit='adu')
    with pytest.warns(UnusualImageWarning, match=(
            r"image 0 is 20\d\d: the model 'by-hand' is for gamma-ray .*"
            "model='ccd-sources'")) as record:
        segment_point_sources(frame, model())
    assert record[0].filename == __file__
    with pytest.warns(UnusualImageWarning, match='image 1') as record:
        segment_point_sources(np.stack([counts, frame.data, frame.data]),
                              model())
    assert len(record) == 1
    # Deep gamma-ray images, and a bright half of which the mask leaves
    # nothing: no warning.
    deep = GalacticCenterSimulator(exposure=4.0).sample(8, seed=1)[0]
    segment_point_sources(deep, model(), threshold=0.0)
    mask = np.indices(counts.shape)[0] > 20
    segment_point_sources(np.where(mask, 9000, counts), model(), mask=mask)


def test_progress_bar(counts, capsys):
    segment_point_sources(counts, model(), progress_bar=True)
    assert '1/1' in capsys.readouterr().err


def test_finder(counts):
    finder = PointSourceFinder(model(), n_pixels=4)
    table = finder(counts)
    expected = segment_point_sources(counts, model(), n_pixels=4).catalog
    assert table.colnames[:3] == ['id', 'x_centroid', 'y_centroid']
    assert_array_equal(table['x_centroid'], expected['x_centroid'])
    mask = np.zeros(counts.shape, bool)
    mask[36:45, 46:55] = True
    masked = finder(counts, mask=mask)
    for x, y, there in ((50, 40, False), (33.3, 8.6, True)):
        near = np.hypot(masked['x_centroid'] - x,
                        masked['y_centroid'] - y) < 2
        assert near.any() == there
    with pytest.warns(NoDetectionsWarning):
        assert finder(np.full((64, 64), 9)) is None
    with pytest.raises(ValueError, match=r'shape \(ny, nx\)'):
        finder(np.stack([counts, counts]))
    assert 'n_pixels=4' in repr(finder)


@pytest.mark.parametrize(('options', 'message'), [
    ({'threshold': 2}, 'threshold must be from 0'),
    ({'threshold': 'high'}, 'threshold must be a number'),
    ({'n_pixels': 0}, 'n_pixels must be at least 1'),
    ({'n_pixels': 1.5}, 'n_pixels must be an integer'),
    ({'precision': 'half'}, 'precision must be'),
    ({'device': 'abacus'}, "device 'abacus'"),
    ({'model': 'ccd'}, "'ccd'")])
def test_finder_is_checked_when_it_is_made(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        PointSourceFinder(**{'model': model(), **options})


@pytest.mark.parametrize('unit', [None, u.ct])
def test_photometry_of_photutils(counts, unit):
    prf = CircularGaussianPRF(fwhm=2.0)
    prf.fwhm.fixed = True
    photometry = PSFPhotometry(
        prf, (7, 7), finder=PointSourceFinder(model(), n_pixels=4),
        local_bkg_estimator=LocalBackground(4, 8), aperture_radius=3)
    table = photometry(counts * (1.0 if unit is None else unit))
    flux = table['flux_fit'] if unit is None else table['flux_fit'].value
    for x, y, true in SOURCES:
        distance = np.hypot(table['x_fit'] - x, table['y_fit'] - y)
        nearest = np.argmin(distance)
        assert distance[nearest] < 0.5, (x, y)
        assert flux[nearest] == pytest.approx(true, rel=0.2)
