# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of HEALPix maps in FITS files.
"""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy_healpix import HEALPix
from numpy.testing import assert_array_equal

from astro_denoise.sky_maps import healpix_to_image, read_healpix

NSIDE = 32
N_PIXELS = 12 * NSIDE**2


def sky_counts(*, nested, frame):
    """Counts of a bright Galactic plane."""
    healpix = HEALPix(NSIDE, order='nested' if nested else 'ring',
                      frame=frame)
    sky = healpix.healpix_to_skycoord(np.arange(N_PIXELS)).galactic
    return np.rint(5 + 200 * np.exp(-abs(sky.b.deg) / 5))


def write(path, columns, **cards):
    hdu = fits.table_to_hdu(Table(columns))
    hdu.header['PIXTYPE'] = 'HEALPIX'
    for keyword, value in cards.items():
        hdu.header[keyword] = value
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return path


@pytest.mark.parametrize(('ordering', 'nested'), [
    ('RING', False), ('NESTED', True), ('nest', True)])
@pytest.mark.parametrize(('system', 'frame'), [
    ('G', 'galactic'), ('GAL', 'galactic'), ('C', 'icrs'), ('CEL', 'icrs'),
    ('E', 'barycentricmeanecliptic')])
def test_header_says_how_to_read(tmp_path, ordering, nested, system, frame):
    counts = sky_counts(nested=nested, frame=frame)
    path = write(tmp_path / 'sky.fits', {'COUNTS': counts.astype('f4')},
                 ORDERING=ordering, COORDSYS=system, NSIDE=NSIDE)
    sky = read_healpix(path)
    assert (sky.nested, sky.frame) == (nested, frame)
    assert_array_equal(sky.counts, counts)
    expected = healpix_to_image(counts, nested=nested, frame=frame, seed=1)
    assert_array_equal(sky.to_image(seed=1).data, expected.data)


def test_rows_of_many_pixels(tmp_path):
    # As healpy writes large maps.
    counts = sky_counts(nested=False, frame='galactic')
    path = write(tmp_path / 'sky.fits', {'T': counts.reshape(-1, 1024)},
                 ORDERING='RING', COORDSYS='G', NSIDE=NSIDE)
    assert_array_equal(read_healpix(path).counts, counts)


def test_part_of_the_sky(tmp_path):
    counts = sky_counts(nested=True, frame='galactic')
    pixels = np.arange(100, N_PIXELS)[::-1]
    path = write(tmp_path / 'sky.fits', {
        'PIX': pixels, 'CHANNEL1': counts[pixels],
        'CHANNEL2': 2 * counts[pixels]}, ORDERING='NESTED', COORDSYS='GAL',
        NSIDE=NSIDE)
    sky = read_healpix(path, column='CHANNEL2')
    assert np.isnan(sky.counts[:100]).all()
    assert_array_equal(sky.counts[100:], 2 * counts[100:])
    with pytest.raises(ValueError, match=r'column must be one of CHANNEL1, '
                       r'CHANNEL2 in .*got None'):
        read_healpix(path)


@pytest.mark.parametrize(('cards', 'match'), [
    ({'ORDERING': 'NUNIQ'}, "ORDERING = 'NUNIQ'"),
    ({'COORDSYS': 'X'}, "COORDSYS = 'X'"),
    ({'PIXTYPE': 'NONE'}, 'holds no HEALPix map')])
def test_what_cannot_be_read(tmp_path, cards, match):
    path = write(tmp_path / 'sky.fits', {'COUNTS': np.ones(768)}, **cards)
    with pytest.raises(ValueError, match=match):
        read_healpix(path)
