# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of commands that hand a catalog of sources to each other.
"""

import shutil
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.utils.exceptions import AstropyUserWarning
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise import denoise
from astro_denoise.cli import main
from astro_denoise.pipeline import denoise_files
from astro_denoise.simulation import moffat_image

NOISE = ['--gain', 'GAIN', '--read-noise', 'RDNOISE']


@pytest.fixture(scope='module')
def simulated(tmp_path_factory):
    """
    Two exposures of 1.1 arcsec and their catalog, by the command.
    """
    folder = tmp_path_factory.mktemp('field')
    assert main(['simulate', '-o', str(folder), '--n', '2', '--shape', '220',
                 '240', '--seed', '1', '--density', '600', '--psf-fwhm',
                 '1.1']) == 0
    return folder


@pytest.fixture
def field(simulated, tmp_path, monkeypatch):
    """
    The working folder, a copy of the above.
    """
    shutil.copytree(simulated, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command):
    assert main([str(word) for word in command]) == 0


def fails(capsys, *command):
    assert main([str(word) for word in command]) == 1
    line, = capsys.readouterr().err.splitlines()
    return line


def test_denoise_one_file(field):
    run('denoise', 'exposure_001.fits', '-o', 'one.fits', '--catalog',
        'catalog.ecsv', *NOISE)
    frame = CCDData.read('exposure_001.fits')
    catalog = QTable.read('catalog.ecsv')
    expected = denoise(frame, catalog=catalog['sky_centroid', 'r50',
                                              'sersic_n', 'axis_ratio',
                                              'theta'],
                       gain='GAIN', read_noise='RDNOISE')
    with fits.open('one.fits') as hdus:
        assert_allclose(hdus[0].data, expected.data, rtol=1e-6)
        assert_array_equal(hdus['CATMASK'].data, expected.flags)
        header = hdus[0].header
        assert header['DNGUIDE'] == 'blend'
        assert header['DNCATUSE'] + header['DNCATOFF'] == len(catalog)
        names = [hdu.name for hdu in hdus]
    # What is denoised again has one such plane, and it is no image.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        run('denoise', 'one.fits', '-o', 'two.fits', '--catalog',
            'catalog.ecsv')
    with fits.open('two.fits') as hdus:
        assert [hdu.name for hdu in hdus] == names


def test_denoise_many_files(field):
    command = ['denoise', 'exposure_001.fits', 'exposure_002.fits', '-o',
               'out/', '--catalog', 'catalog.ecsv', *NOISE]
    run(*command)
    names = ['exposure_001.fits', 'exposure_002.fits']
    first = [fits.getdata(field / 'out' / name) for name in names]
    before = [(field / 'out' / name).stat().st_mtime_ns for name in names]
    run(*command)
    assert before == [(field / 'out' / name).stat().st_mtime_ns
                      for name in names]
    # Another catalog of the same name makes other outputs.
    catalog = QTable.read('catalog.ecsv')
    catalog[:5].write('catalog.ecsv', overwrite=True)
    run(*command, '--overwrite')
    assert not np.array_equal(first[0],
                              fits.getdata(field / 'out' / names[0]))
    status = denoise_files(names, 'tables/', catalog=catalog, gain='GAIN',
                           read_noise='RDNOISE')
    assert set(status['status']) == {'finished'}
    assert_array_equal(fits.getdata(field / 'tables' / names[0]), first[0])


def test_positions_on_the_sky_count_in_files(field):
    # The second exposure is moved; pixels of the first are wrong there.
    with fits.open('exposure_002.fits', mode='update') as hdus:
        for hdu in hdus:
            hdu.data = np.roll(hdu.data, 30, axis=1)
        hdus[0].header['CRPIX1'] += 30
    run('denoise', 'exposure_002.fits', '-o', 'moved.fits', '--catalog',
        'catalog.ecsv', *NOISE)
    catalog = QTable.read('catalog.ecsv')
    flags = fits.getdata('moved.fits', 'CATMASK')
    x, y = (np.rint(catalog[f'{name}_centroid']).astype(int)
            for name in 'xy')
    here = (x + 30 < 240) & (y >= 0) & (y < 220) & (x >= 0)
    assert flags[y[here], x[here] + 30].all()
    run('photometry', 'exposure_002.fits', 'catalog.ecsv', '-o', 'moved.ecsv',
        '--method', 'forced', '--gain', 'GAIN')
    bright = (np.asarray(catalog['flux']) > 3000) & here
    ratio = (QTable.read('moved.ecsv')['flux'].value * 0.65
             / catalog['flux'].value)[bright]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)


def test_model_with_a_psf_from_a_file(field):
    psf = moffat_image(41, 1.1 / 0.263, 3.5)
    fits.writeto('psf.fits', psf.astype(np.float32))
    run('denoise', 'exposure_001.fits', '-o', 'model.fits', '--catalog',
        'catalog.ecsv', '--guide', 'model', '--psf', 'psf.fits', *NOISE)
    assert fits.getheader('model.fits')['DNGUIDE'] == 'model'
    run('denoise', 'exposure_001.fits', '-o', 'fit/', '--catalog',
        'catalog.ecsv', '--guide', 'model', '--psf', 'fit', *NOISE)
    noise = fits.getheader('model.fits')['DNSIGMA']
    assert np.std(fits.getdata('model.fits') - fits.getdata(
        field / 'fit' / 'exposure_001.fits')) < 0.2 * noise


def test_catalogs_that_cannot_be_used(field, capsys):
    command = ['denoise', 'exposure_001.fits', '-o', 'out.fits']
    assert 'no such file' in fails(capsys, *command, '--catalog', 'no.ecsv')
    QTable({'flux': [1.0]}).write('flux.ecsv')
    assert 'exposure_001.fits: catalog must have the columns x, y' in fails(
        capsys, *command, '--catalog', 'flux.ecsv')
    QTable({'x': [1e5], 'y': [1.0]}).write('far.ecsv')
    assert 'catalog must have sources on the frame of 220 x 240' in fails(
        capsys, *command, '--catalog', 'far.ecsv')
    assert "psf must be 'fit'" in fails(
        capsys, *command, '--catalog', 'catalog.ecsv', '--guide', 'model')
    assert 'which would replace' in replaced(capsys)
    assert not (field / 'out.fits').exists()


def replaced(capsys):
    QTable({'x': [1.0], 'y': [1.0]}).write('catalog.fits')
    return fails(capsys, 'denoise', 'exposure_001.fits', '-o', 'catalog.fits',
                 '--catalog', 'catalog.fits', '--overwrite')


def test_simulate_writes_apertures(field):
    catalog = QTable.read('catalog.ecsv')
    assert_array_equal(catalog['aperture_x'], catalog['x_centroid'])
    star = catalog['is_star']
    assert_allclose(catalog['aperture_a'][star], catalog['aperture_b'][star])
    assert np.all(catalog['aperture_a'][~star] > catalog['aperture_a'][
        star].min())
    run('photometry', 'exposure_001.fits', 'exposure_002.fits',
        'catalog.ecsv', '-o', 'fluxes.ecsv', '--gain', 'GAIN')
    table = QTable.read('fluxes.ecsv')
    share = table['flux'][:len(catalog)].value * 0.65 / catalog['flux'].value
    bright = (catalog['flux'].value > 3000) & (table['flag'][
        :len(catalog)] == 0)
    assert np.median(share[bright]) == pytest.approx(0.625, abs=0.05)


def test_forced(field, capsys):
    run('photometry', 'exposure_001.fits', 'exposure_002.fits',
        'catalog.ecsv', '-o', 'forced.ecsv', '--gain', 'GAIN', '--method',
        'forced', '--plot', 'forced.png', '--zp', '1.5')
    table, catalog = QTable.read('forced.ecsv'), QTable.read('catalog.ecsv')
    assert len(table) == 2 * len(catalog)
    assert {'image_id', 'flux_error', 'blend_inflation', 'chi2', 'i_auto',
            'zp'} <= set(table.colnames)
    pull = ((table['flux'].value * 0.65 - np.tile(catalog['flux'].value, 2))
            / (table['flux_error'].value * 0.65))
    faint = np.tile(catalog['flux'].value, 2) < 2000
    assert 0.6 < np.std(pull[faint & (table['flag'] == 0)]) < 1.5
    run('check', 'forced.ecsv', '-o', 'check.ecsv')
    assert '--saturation is not for --method forced' in fails(
        capsys, 'photometry', 'exposure_001.fits', 'catalog.ecsv', '-o',
        'x.ecsv', '--method', 'forced', '--saturation', '6e4')


def test_catalog_of_segment(field, capsys):
    run('segment', 'exposure_001.fits', '--model', 'ccd-sources', '-o',
        'stars.fits', '--catalog', 'stars.ecsv')
    found = QTable.read('stars.ecsv')
    assert '--radius or --radius-fwhm' in fails(
        capsys, 'photometry', 'exposure_001.fits', 'stars.ecsv', '-o',
        'x.ecsv')
    fits.writeto('psf.fits', moffat_image(41, 1.1 / 0.263, 3.5))
    for number, options in enumerate((
            ['--radius', '4'], ['--radius-fwhm', '1'],
            ['--method', 'forced', '--psf', 'psf.fits'])):
        run('photometry', 'exposure_001.fits', 'exposure_002.fits',
            'stars.ecsv', '-o', f'{number}.ecsv', *options)
        assert len(QTable.read(f'{number}.ecsv')) == 2 * len(found)
    table = QTable.read('0.ecsv')
    assert np.all(table['aperture_a'] == 4)
    assert_allclose(table['aperture_x'][:len(found)], found['x_centroid'],
                    atol=1e-4)
    assert 'radius must be positive' in fails(
        capsys, 'photometry', 'exposure_001.fits', 'stars.ecsv', '-o',
        'x.ecsv', '--radius', '-3')
    run('denoise', 'exposure_001.fits', '-o', 'guided.fits', '--catalog',
        'stars.ecsv', *NOISE)


def test_radius_on_a_denoised_frame(field):
    run('denoise', 'exposure_001.fits', '-o', 'one.fits', '--catalog',
        'catalog.ecsv', *NOISE)
    run('photometry', 'one.fits', 'catalog.ecsv', '-o', 'x.ecsv',
        '--radius-fwhm', '0.72')
    table = QTable.read('x.ecsv')
    assert_array_equal(np.isnan(table['flux_error']),
                       np.isnan(table['flux']))
    assert np.isfinite(table['flux']).sum() > 20
    # No error of what is not in the catalog is right.
    QTable({'x': [60.0], 'y': [60.0]}).write('one.ecsv')
    run('denoise', 'exposure_001.fits', '-o', 'other.fits', '--catalog',
        'one.ecsv', *NOISE)
    run('photometry', 'other.fits', 'catalog.ecsv', '-o', 'y.ecsv')
    table = QTable.read('y.ecsv')
    far = np.hypot(table['aperture_x'] - 60, table['aperture_y'] - 60) > 25
    assert np.isnan(table['flux_error'][far]).all()
    assert np.isfinite(table['flux']).any()
    fwhm = fits.getheader('one.fits')['DNFWHM']
    assert_allclose(QTable.read('x.ecsv')['aperture_a'], 0.72 * fwhm)
