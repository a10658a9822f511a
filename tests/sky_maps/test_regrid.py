# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of bringing counts onto the grid of the models.
"""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy_healpix import HEALPix
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.data.examples import load_fermi_map
from astro_denoise.sky_maps.galactic_grid import galactic_degrees, grid_wcs
from astro_denoise.sky_maps.healpix import healpix_to_image
from astro_denoise.sky_maps.regrid import _pixel_areas, onto_grid

NSIDE = 32
N_HEALPIX = 12 * NSIDE**2


def frame_wcs(kind, *, scale=0.25, n=160, center=None):
    wcs = WCS(naxis=2)
    equatorial = kind == 'RA'
    wcs.wcs.ctype = (('RA---TAN', 'DEC--TAN') if equatorial
                     else ('GLON-SIN', 'GLAT-SIN'))
    wcs.wcs.crval = center or ((266.405, -28.936) if equatorial else (0, 0))
    wcs.wcs.cdelt = -scale, scale
    wcs.wcs.crpix = (n + 1) / 2, (n + 1) / 2
    return wcs


def inside(wcs, shape):
    y, x = np.indices(shape)
    longitude, latitude = galactic_degrees(wcs, x, y)
    return (abs(longitude) < 15) & (abs(latitude) < 15)


def test_areas():
    area = _pixel_areas(grid_wcs(), (64, 64))
    total = np.radians(30) * 2 * np.sin(np.radians(15))
    assert area.sum() == pytest.approx(total, rel=1e-4)
    assert area[32, 0] == pytest.approx(np.radians(0.46875)**2, rel=1e-4)
    assert area[0, 0] / area[32, 0] == pytest.approx(
        np.cos(np.radians(14.765625)), rel=1e-3)


def test_on_the_grid_nothing_changes():
    counts = np.random.default_rng(1).poisson(5, (64, 64))
    assert_array_equal(onto_grid(counts, grid_wcs(), 'image'), counts)


@pytest.mark.parametrize(('x', 'y'), [(-1, 1), (1, -1), (-1, -1)])
def test_mirrored(x, y):
    counts = np.random.default_rng(1).poisson(5, (64, 64))
    wcs = grid_wcs()
    wcs.wcs.cdelt = wcs.wcs.cdelt * [x, y]
    assert_array_equal(onto_grid(counts, wcs, 'image'), counts[::y, ::x])


@pytest.mark.parametrize('kind', ['RA', 'GLON'])
def test_counts_are_conserved(kind):
    # Equatorial: turned by 59 degrees, so that more pixels are needed.
    n = 180 if kind == 'RA' else 130
    wcs = frame_wcs(kind, n=n)
    counts = np.random.default_rng(1).poisson(3, (n, n)).astype(float)
    image = onto_grid(counts, wcs, 'image')
    assert image.shape == (64, 64)
    assert image.sum() == pytest.approx(counts[inside(wcs, (n, n))].sum(),
                                        rel=0.01)
    # A source keeps its counts and its place.
    counts[:] = 0
    x, y = wcs.world_to_pixel(grid_wcs().pixel_to_world(20, 45))
    counts[round(float(y)), round(float(x))] = 100
    image = onto_grid(counts, wcs, 'image')
    assert image.sum() == pytest.approx(100, rel=1e-6)
    assert image[44:47, 19:22].sum() == pytest.approx(100, rel=1e-6)
    # What is flat on the sky stays flat.
    area = _pixel_areas(wcs, (n, n))
    assert_allclose(onto_grid(area, wcs, 'image'),
                    _pixel_areas(grid_wcs(), (64, 64)), rtol=1e-6)


@pytest.mark.parametrize('scale', [0.46875 / 2, 0.5, 1.0])
def test_edges_that_coincide(scale):
    n = 2 * round(16 / scale)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'GLON-CAR', 'GLAT-CAR'
    wcs.wcs.cdelt = -scale, scale
    wcs.wcs.crpix = (n + 1) / 2, (n + 1) / 2
    counts = np.random.default_rng(1).poisson(50, (n, n)).astype(float)
    image = onto_grid(counts, wcs, 'image')
    # Borders of the field cut pixels: their counts are shared.
    y, x = np.indices((n, n))
    longitude, latitude = galactic_degrees(wcs, x, y)
    share = np.prod([np.clip((15 - abs(place)) / scale + 0.5, 0, 1)
                     for place in (longitude, latitude)], axis=0)
    assert image.sum() == pytest.approx((share * counts).sum(), rel=1e-3)
    assert_allclose(image.mean(), 50 * (0.46875 / scale)**2, rtol=0.02)


def test_half_the_sky():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'GLON-AIT', 'GLAT-AIT'
    wcs.wcs.cdelt = -1.0, 1.0
    wcs.wcs.crpix = 180.5, 90.5
    counts = np.full((180, 360), 4.0)
    image = onto_grid(counts, wcs, 'image')
    assert image.sum() == pytest.approx(4 * 900, rel=0.05)


@pytest.mark.parametrize(('center', 'match'), [
    ((83.6, 22.0), 'image must show the Galactic Center'),
    ((330.0, -10.0), 'image must show the Galactic Center'),
    ((262.0, -33.0), 'image must cover the whole field .* per cent'),
])
def test_outside(center, match):
    counts = np.ones((130, 130))
    with pytest.raises(ValueError, match=match):
        onto_grid(counts, frame_wcs('RA', n=130, center=center), 'image')


def healpix_map(order='ring'):
    """
    Poisson counts of a sky that is bright in the plane.
    """
    healpix = HEALPix(NSIDE, order=order, frame='galactic')
    sky = healpix.healpix_to_skycoord(np.arange(N_HEALPIX))
    expected = 5 + 200 * np.exp(-abs(sky.b.deg) / 5)
    # One realisation of the sky, in whatever ordering.
    ring = HEALPix(NSIDE, order='ring', frame='galactic')
    counts = np.random.default_rng(1).poisson(expected) if (
        order == 'ring') else healpix_map()[ring.skycoord_to_healpix(sky)]
    return counts.astype(float)


def test_healpix():
    counts = healpix_map()
    image = healpix_to_image(counts)
    assert image.unit == 'ct'
    assert image.shape == (64, 64)
    assert image.wcs.wcs.ctype[0] == 'GLON-CAR'
    sky = HEALPix(NSIDE, frame='galactic').healpix_to_skycoord(
        np.arange(N_HEALPIX))
    field = ((abs(sky.l.wrap_at('180d').deg) < 15) & (abs(sky.b.deg) < 15))
    assert image.data.sum() == pytest.approx(counts[field].sum(), rel=0.03)
    nested = healpix_to_image(healpix_map('nested'), nested=True)
    assert_allclose(nested.data, image.data, rtol=1e-9)


def test_healpix_pixel_keeps_its_counts():
    counts = np.zeros(N_HEALPIX)
    healpix = HEALPix(NSIDE, frame='galactic')
    sky = grid_wcs().pixel_to_world(20, 45)
    counts[healpix.skycoord_to_healpix(sky)] = 50
    for seed in (None, 1):
        image = healpix_to_image(counts, seed=seed).data
        assert image.sum() == pytest.approx(50, rel=1e-12)
        assert image[40:51, 15:26].sum() == pytest.approx(50, rel=1e-12)
    assert_array_equal(image, np.rint(image))
    # Drawn uniformly over the pixel.
    many = healpix_to_image(20000 * counts, seed=2).data / 20000
    assert_allclose(many, healpix_to_image(counts).data, atol=0.1)


@pytest.mark.parametrize('nside', [1, 2, 16, 128, 1024])
@pytest.mark.parametrize('seed', [None, 1])
def test_pixels_of_any_size(nside, seed):
    """What is flat on the sky stays flat, whatever the size of pixels."""
    n = max(10**6 // nside**2, 1)
    image = healpix_to_image(np.full(12 * nside**2, n), seed=seed).data
    area = _pixel_areas(grid_wcs(), (64, 64))
    expected = n * 12 * nside**2 / (4 * np.pi) * area
    assert image.sum() == pytest.approx(expected.sum(), rel=2e-4 if (
        seed is None) else 4 * expected.sum()**-0.5)
    scatter = np.std(image / expected - 1)
    noise = 0 if seed is None else np.mean(expected**-0.5)
    assert scatter < 0.01 + 1.1 * noise


def test_against_points_on_the_sky():
    """A map of few pixels, beside one drawn point by point."""
    rng = np.random.default_rng(1)
    healpix = HEALPix(8, frame='icrs')
    counts = rng.integers(1000, 3000, 12 * 8**2)
    longitude = rng.uniform(-15, 15, 10**6)
    latitude = np.degrees(np.arcsin(rng.uniform(-1, 1, 10**6)
                                    * np.sin(np.radians(15))))
    sky = SkyCoord(longitude, latitude, unit='deg', frame='galactic')
    density = counts[healpix.skycoord_to_healpix(sky)] / (
        healpix.pixel_area.value)
    field = np.radians(30) * 2 * np.sin(np.radians(15))
    expected, _, _ = np.histogram2d(
        latitude, longitude, bins=64, range=[[-15, 15], [-15, 15]],
        weights=density * field / 10**6)
    image = healpix_to_image(counts, frame='icrs').data
    # About 244 points a pixel of the grid.
    assert np.std(image / expected - 1) < 1.2 / np.sqrt(10**6 / 64**2)
    assert image.sum() == pytest.approx(expected.sum(), rel=2e-3)


def test_healpix_one_by_one():
    counts = np.random.default_rng(1).poisson(20.0, N_HEALPIX)
    spread = healpix_to_image(counts).data
    placed = healpix_to_image(counts, seed=3).data
    assert placed.sum() == pytest.approx(spread.sum(), rel=0.01)
    assert placed[:8].mean() == pytest.approx(spread[:8].mean(), rel=0.1)
    # Spreading takes away noise that placing keeps.
    assert spread.var() < 0.7 * placed.var()
    assert_array_equal(placed, healpix_to_image(counts, seed=3).data)
    assert not np.array_equal(placed, healpix_to_image(counts, seed=4).data)


def test_healpix_of_another_frame():
    healpix = HEALPix(NSIDE, frame='icrs')
    sky = healpix.healpix_to_skycoord(np.arange(N_HEALPIX)).galactic
    counts = np.rint(5 + 200 * np.exp(-abs(sky.b.deg) / 5))
    image = healpix_to_image(counts, frame='icrs').data
    assert image[30:34].mean() > 4 * image[:4].mean()
    assert abs(image[:32].sum() / image[32:].sum() - 1) < 0.02


@pytest.mark.parametrize('order', ['ring', 'nested'])
def test_wrong_ordering(order):
    with pytest.raises(ValueError, match=f'have it in the {order} ordering'
                       f" .* frame 'galactic': nested={order == 'ring'} must "
                       f'be wrong'):
        healpix_to_image(healpix_map(order), nested=order == 'ring')


@pytest.mark.parametrize('order', ['ring', 'nested'])
def test_wrong_frame(order):
    """A map in equatorial coordinates is not taken for one in the other
    ordering."""
    healpix = HEALPix(NSIDE, order=order, frame='icrs')
    sky = healpix.healpix_to_skycoord(np.arange(N_HEALPIX)).galactic
    counts = np.rint(5 + 200 * np.exp(-abs(sky.b.deg) / 5))
    with pytest.raises(ValueError, match=f'in the {order} ordering of HEALPix '
                       "and the frame 'icrs': frame='galactic' must be "
                       'wrong'):
        healpix_to_image(counts, nested=order == 'nested')


@pytest.mark.parametrize(('nside', 'seed'), [(1024, 1), (2048, None)])
def test_pixels_of_any_size_keep_their_counts(nside, seed):
    healpix = HEALPix(nside, frame='icrs')
    sky = SkyCoord(*np.random.default_rng(2).uniform(-14, 14, (2, 500)),
                   unit='deg', frame='galactic')
    counts = np.zeros(12 * nside**2, np.float32)
    np.add.at(counts, healpix.skycoord_to_healpix(sky), 40.0)
    image = healpix_to_image(counts, frame='icrs', seed=seed).data
    assert image.sum() == pytest.approx(20_000, rel=1e-9)
    row, column = grid_wcs().world_to_array_index(sky)
    expected = np.zeros((64, 64))
    np.add.at(expected, (row, column), 40.0)
    # Some lie at the border of a pixel of the grid.
    assert abs(image - expected).sum() < 0.3 * 20_000


@pytest.mark.parametrize(('counts', 'options', 'match'), [
    (np.ones(1000), {}, r'length 12 \* nside\*\*2.*\(1000,\)'),
    (np.ones((12, 64)), {}, r'got shape \(12, 64\)'),
    (np.ones(0), {}, r'got shape \(0,\)'),
    (np.ones(12 * 9), {'nested': True}, 'power of 2, got 3'),
    (np.ones(12 * 9), {}, 'power of 2, got 3'),
    (np.zeros(768), {}, 'must not be 0'),
    (np.full(768, -2.0), {}, 'must not be negative, got -2 in pixel 0'),
    (np.full(768, -1.6375e30), {}, 'must cover the whole field'),
    (np.full(768, 0.5), {'seed': 1}, 'integers .* seed=1, got 0.5'),
])
def test_bad_maps(counts, options, match):
    with pytest.raises(ValueError, match=match):
        healpix_to_image(counts, **options)


def test_map_of_wrong_type():
    with pytest.raises(TypeError, match='got bool'):
        healpix_to_image(np.ones(768, bool))


def test_unseen_pixels():
    counts = healpix_map()
    sky = HEALPix(NSIDE, frame='galactic').healpix_to_skycoord(
        np.arange(N_HEALPIX))
    far = sky.separation(grid_wcs().pixel_to_world(31.5, 31.5)).deg > 30
    expected = healpix_to_image(counts).data
    for value in (np.nan, -1.6375e30):
        counts[far] = value
        assert_array_equal(healpix_to_image(counts).data, expected)
    counts[~far] = np.where(sky[~far].b.deg > 5, np.nan, counts[~far])
    for seed in (None, 1):
        with pytest.raises(ValueError, match=r'must cover .* got 6'):
            healpix_to_image(counts, seed=seed)


def test_fermi_map_is_mirrored():
    image = load_fermi_map()
    assert_array_equal(onto_grid(image.data, image.wcs, 'image'),
                       image.data[:, ::-1])
