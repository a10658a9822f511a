# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests for the tables module.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.wcs import WCS
from numpy.testing import assert_allclose
from photutils.aperture import (
    CircularAperture,
    EllipticalAperture,
    RectangularAperture,
    SkyCircularAperture,
)

from astro_denoise.photometry.tables import aperture_table, read_table


@pytest.fixture
def wcs():
    """World coordinates of 0.3 arcsec per pixel."""
    wcs = WCS(naxis=2)
    wcs.wcs.crpix = [51, 51]
    wcs.wcs.cdelt = np.array([-0.3, 0.3]) / 3600
    wcs.wcs.crval = [150, 2]
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    return wcs


@pytest.fixture
def catalog():
    """Two sources in the columns of the PAU survey."""
    return QTable({'ref_id': [11, 12], 'aperture_x': [50.0, 20.0],
                   'aperture_y': [50.0, 30.0], 'aperture_a': [3.0, 4.0],
                   'aperture_b': [2.0, 4.0],
                   'aperture_theta': [62.5, -43.7]})


class TestReadTable:
    @pytest.mark.parametrize(('name', 'kind'), [
        ('a.fits', 'fits'), ('a.ecsv', 'ascii.ecsv'), ('a.csv', 'ascii.csv'),
        ('a.fits.gz', 'fits'), ('A.FITS', 'fits')])
    def test_formats(self, tmp_path, catalog, name, kind):
        path = tmp_path / name
        catalog.write(path, format=kind)
        table = read_table(path)
        assert table.colnames == catalog.colnames
        assert_allclose(table['aperture_theta'], catalog['aperture_theta'])

    def test_parquet(self, tmp_path, catalog):
        pytest.importorskip('pyarrow')
        pytest.importorskip('pandas')
        path = tmp_path / 'a.parquet'
        catalog.write(path, format='parquet')
        assert_allclose(read_table(path)['aperture_a'],
                        catalog['aperture_a'])

    def test_unknown_ending(self):
        with pytest.raises(ValueError, match=r"got 'a\.txt'"):
            read_table('a.txt')

    def test_no_file(self):
        with pytest.raises(OSError, match=r"no such file: 'missing\.csv'"):
            read_table('missing.csv')

    def test_broken_file(self, tmp_path):
        path = tmp_path / 'broken.fits'
        path.write_bytes(b'SIMPLE  = nonsense')
        with pytest.raises(OSError, match=r'cannot read .*broken\.fits'):
            read_table(path)


class TestApertureTable:
    def test_columns(self, catalog):
        table = aperture_table(catalog)
        assert list(table['ref_id']) == [11, 12]
        assert_allclose(np.rad2deg(table['theta']), [62.5, -43.7])

    def test_theta_sign(self, catalog):
        table = aperture_table(catalog, theta_sign=-1)
        assert_allclose(np.rad2deg(table['theta']), [-62.5, 43.7])
        with pytest.raises(ValueError, match='theta_sign must be 1 or -1'):
            aperture_table(catalog, theta_sign=0)

    def test_units(self, catalog):
        for name in ('aperture_x', 'aperture_y', 'aperture_a', 'aperture_b'):
            catalog[name] = catalog[name] * u.pix
        catalog['aperture_theta'] = np.deg2rad([62.5, -43.7]) * u.rad
        table = aperture_table(catalog)
        assert_allclose(table['a'], [3, 4])
        assert_allclose(np.rad2deg(table['theta']), [62.5, -43.7])

    def test_mapping_without_ref_id(self, catalog):
        columns = {name: list(catalog[name]) for name in catalog.colnames
                   if name != 'ref_id'}
        assert list(aperture_table(columns)['ref_id']) == [1, 2]

    def test_sky_coordinates(self, catalog, wcs):
        expected = aperture_table(catalog)
        sky = wcs.pixel_to_world(catalog['aperture_x'],
                                 catalog['aperture_y'])
        for name in ('aperture_a', 'aperture_b'):
            catalog[name] = 0.3 * catalog[name] * u.arcsec
        catalog.remove_columns(['aperture_x', 'aperture_y'])
        catalog['ra'], catalog['dec'] = sky.ra.deg, sky.dec.deg
        degrees = aperture_table(catalog, wcs=wcs)
        catalog.remove_columns(['ra', 'dec'])
        catalog['sky_centroid'] = sky
        coordinates = aperture_table(catalog, wcs=wcs)
        for table in (degrees, coordinates):
            for name in ('x', 'y', 'a', 'b'):
                assert_allclose(table[name], expected[name], rtol=1e-5)
        with pytest.raises(ValueError, match='wcs must be given'):
            aperture_table(catalog)

    def test_photutils_apertures(self, wcs):
        ellipse = EllipticalAperture([(1, 2), (3, 4)], 5, 2, theta=0.3)
        circle = CircularAperture((7, 8), 3)
        table = aperture_table([ellipse, circle])
        assert list(table['ref_id']) == [1, 2, 3]
        assert_allclose(table['x'], [1, 3, 7])
        assert_allclose(table['b'], [2, 2, 3])
        assert_allclose(table['theta'], [0.3, 0.3, 0])
        assert len(aperture_table(ellipse)) == 2
        sky = SkyCircularAperture(SkyCoord(150, 2, unit='deg'),
                                  0.9 * u.arcsec)
        table = aperture_table(sky, wcs=wcs)
        assert_allclose([table['x'][0], table['a'][0]], [50, 3], rtol=1e-4)
        with pytest.raises(ValueError, match='wcs must be given'):
            aperture_table(sky)

    def test_other_apertures(self):
        with pytest.raises(TypeError, match='RectangularAperture as numb'):
            aperture_table([RectangularAperture((1, 2), 3, 4)])

    @pytest.mark.parametrize('name', ['aperture_x', 'aperture_y',
                                      'aperture_a', 'aperture_theta'])
    def test_missing_column(self, catalog, name):
        catalog.remove_column(name)
        with pytest.raises(ValueError, match=f"no column '{name}'"):
            aperture_table(catalog)

    @pytest.mark.parametrize(('name', 'value', 'rule'), [
        ('aperture_x', np.nan, 'finite'), ('aperture_y', np.inf, 'finite'),
        ('aperture_a', -1.0, 'positive'), ('aperture_b', 0.0, 'positive'),
        ('aperture_theta', np.nan, 'finite')])
    def test_bad_value(self, catalog, name, value, rule):
        catalog[name][1] = value
        with pytest.raises(ValueError, match=(
                f"column '{name}' must be {rule}, got {value} in row 1 "
                r'\(ref_id 12\)')):
            aperture_table(catalog)

    def test_nan_sky_position(self, catalog, wcs):
        catalog.remove_columns(['aperture_x', 'aperture_y'])
        catalog['sky'] = SkyCoord([150, np.nan], [2, 2], unit='deg')
        with pytest.raises(ValueError, match='got nan 2 in row 1'):
            aperture_table(catalog, wcs=wcs)

    def test_mixed_units(self, catalog, wcs):
        catalog['aperture_a'] = catalog['aperture_a'] * u.arcsec
        with pytest.raises(ValueError, match="mixed units 'arcsec' and"):
            aperture_table(catalog, wcs=wcs)

    def test_wrong_unit(self, catalog):
        catalog['aperture_x'] = catalog['aperture_x'] * u.s
        with pytest.raises(ValueError, match="'aperture_x' must have the"):
            aperture_table(catalog)

    def test_arcsec_without_wcs(self, catalog):
        for name in ('aperture_a', 'aperture_b'):
            catalog[name] = catalog[name] * u.arcsec
        with pytest.raises(ValueError, match="wcs must be given for 'apert"):
            aperture_table(catalog)

    def test_no_table(self):
        with pytest.raises(TypeError, match='catalog must be a table'):
            aperture_table(3)

    def test_empty(self, catalog):
        with pytest.raises(ValueError, match='at least one row'):
            aperture_table(catalog[:0])

    def test_text_column(self, catalog):
        catalog['aperture_a'] = ['a', 'b']
        with pytest.raises(TypeError, match="column 'aperture_a' must hold"):
            aperture_table(catalog)
