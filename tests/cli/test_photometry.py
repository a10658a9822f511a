# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the commands photometry and check, on the real pair of frames.
"""

import shutil
import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.table import QTable, vstack
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from photutils.detection import DAOStarFinder
from scipy.ndimage import gaussian_filter

from astro_denoise.cli import main
from astro_denoise.data.examples import load_example_pair
from astro_denoise.exceptions import ProcessedFrameWarning
from astro_denoise.frames.kernel_card import kernel_to_text
from astro_denoise.photometry import denoised_flux_error
from astro_denoise.photometry.apertures import ApertureFlag, annulus_photometry
from astro_denoise.photometry.repeatability import check_repeatability


@pytest.fixture(scope='module')
def night(tmp_path_factory):
    """
    The pair as it is and smoothed, and a catalog.
    """
    folder = tmp_path_factory.mktemp('night')
    pair = load_example_pair()
    data = pair[0].data - np.median(pair[0].data)
    found = DAOStarFinder(8 * mad_std(data), 3.0)(data)
    catalog = QTable({
        'ref_id': found['id'], 'aperture_x': found['x_centroid'],
        'aperture_y': found['y_centroid'],
        'aperture_a': np.full(len(found), 3.0),
        'aperture_b': np.full(len(found), 2.0),
        'aperture_theta': np.full(len(found), 30.0),
        'i_auto': found['mag'] - found['mag'].max() + 22.9})
    catalog.write(folder / 'catalog.ecsv')
    for kind, sigma in (('raw', 0), ('smooth', 1)):
        (folder / kind).mkdir()
        for name, frame, zp in zip('ab', pair, (1.0, 1.07), strict=True):
            frame = CCDData(
                gaussian_filter(frame.data.astype(np.float32), sigma),
                unit='adu', meta={'EGAIN': 1.4, 'ZPT': zp, 'ZPERR': 0.01,
                                  'EXPNUM': 'ab'.index(name),
                                  'SATURATE': 60000})
            frame.write(folder / kind / f'{name}.fits')
    return folder


@pytest.fixture
def folder(night, tmp_path, monkeypatch):
    """
    The working folder, a copy of the above.
    """
    shutil.copytree(night, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command, capsys=None):
    """
    Run a command that must succeed, and return what it prints.
    """
    assert main(command.split()) == 0
    return capsys.readouterr().out if capsys else None


def fails(command, capsys):
    """
    The message of a command that must fail with one line.
    """
    assert main(command.split()) == 1
    captured = capsys.readouterr()
    assert captured.out == ''
    line, = captured.err.splitlines()
    return line.removeprefix('astro-denoise: error: ')


def is_png(path):
    return path.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('command', ['photometry', 'check'])
def test_help(command, capsys, monkeypatch):
    lines = run(f'{command} --help', capsys).splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 79
    called = []
    monkeypatch.setattr(f'astro_denoise.cli.{command}._run_{command}',
                        lambda options: called.append(options) or 0)
    run(lines[-1].removeprefix('  astro-denoise '))
    assert len(called) == 1


def test_from_frames_to_verdict(folder, capsys):
    options = '--gain EGAIN --zp ZPT --zp-error ZPERR'
    for kind in ('raw', 'smooth'):
        printed = run(f'photometry {kind}/a.fits {kind}/b.fits catalog.ecsv '
                      f'-o {kind}.ecsv --plot {kind}.png {options}', capsys)
        assert is_png(folder / f'{kind}.png')
    catalog = QTable.read('catalog.ecsv')
    raw, smooth = QTable.read('raw.ecsv'), QTable.read('smooth.ecsv')
    assert printed == (
        f'smooth.ecsv: {len(smooth)} fluxes, '
        f'{np.sum(np.isnan(smooth["flux"]))} of them NaN, '
        f'{np.sum(smooth["flag"] > 0)} flagged\n')
    frames = [CCDData.read(f'raw/{name}.fits') for name in 'ab']
    expected = vstack([annulus_photometry(frame, catalog, gain=1.4)
                       for frame in frames], metadata_conflicts='silent')
    for name in expected.colnames:
        assert_array_equal(raw[name], expected[name])
    assert list(raw['image_id']) == [
        'a.fits'] * len(catalog) + ['b.fits'] * len(catalog)
    assert set(raw['zp']) == {1.0, 1.07}
    assert_array_equal(raw['i_auto'][:len(catalog)], catalog['i_auto'])
    assert raw.meta['frames'] == ['raw/a.fits', 'raw/b.fits']

    printed = run('check smooth.ecsv --raw raw.ecsv --raw-errors --unflagged '
                  '--bins 2 --seed 1 -o report.ecsv --plot report.png',
                  capsys)
    raw, smooth = (table[(raw['flag'] == 0) & (smooth['flag'] == 0)]
                   for table in (raw, smooth))
    smooth['flux_error'] = raw['flux_error']
    report = check_repeatability(smooth, raw, bins=2, seed=1)
    assert 'shrunk' in report.table['verdict'][0]
    assert printed == f'{report}\n'
    assert is_png(folder / 'report.png')
    written = QTable.read('report.ecsv')
    assert_allclose(written['response'], report.table['response'])
    assert list(written['verdict']) == list(report.table['verdict'])
    assert written.meta['raw'] == ['raw.ecsv']


def test_identity_and_separate_tables(folder, capsys):
    for name in 'ab':
        run(f'photometry raw/{name}.fits catalog.ecsv -o {name}.ecsv '
            '--image-id EXPNUM')
    run('check a.ecsv b.ecsv --raw a.ecsv b.ecsv -o report.ecsv '
        '--bins 0,22,30')
    report = QTable.read('report.ecsv')
    assert_array_equal(report['response'], 1)
    assert_array_equal(report['low'], [0, 22])
    assert list(QTable.read('b.ecsv')['image_id'][:1]) == [1]


def test_table_of_a_survey(tmp_path, capsys):
    rng = np.random.default_rng(1)
    table = QTable({
        'galaxy': np.tile(np.arange(300), 2),
        'image_id': np.repeat([11, 12], 300),
        'flux': rng.normal(np.tile(np.linspace(1, 30, 300), 2), 1),
        'flux_error': np.ones(600), 'zp': np.full(600, 4.5),
        'zp_error': np.full(600, 0.02), 'i_auto': rng.uniform(20, 22, 600)})
    table.write(tmp_path / 'pairs.csv')
    printed = run(f'check {tmp_path / "pairs.csv"} --by galaxy --seed 3 '
                  '--column flux --bins 3', capsys)
    assert printed == str(check_repeatability(
        table, by='galaxy', column='flux', bins=3, seed=3)) + '\n'


@pytest.mark.parametrize('ending', ['fits', 'csv', 'parquet'])
def test_kinds_of_catalogs(folder, ending):
    if ending == 'parquet':
        pytest.importorskip('pyarrow')
        pytest.importorskip('pandas')
    QTable.read('catalog.ecsv').write(f'catalog.{ending}')
    for name in ('ecsv', ending):
        run(f'photometry raw/a.fits catalog.{name} -o {name}.ecsv')
    assert_array_equal(QTable.read(f'{ending}.ecsv')['flux'],
                       QTable.read('ecsv.ecsv')['flux'])


def test_parquet_without_pyarrow(folder, capsys, monkeypatch):
    (folder / 'catalog.parquet').write_bytes(b'PAR1')
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    assert 'pyarrow' in fails(
        'photometry raw/a.fits catalog.parquet -o out.ecsv', capsys)


@pytest.mark.parametrize('own', [True, False])
def test_mask_noise_and_header(folder, own):
    """
    In the file of the frame, or in files of their own.
    """
    data = fits.getdata('raw/a.fits')
    catalog = QTable.read('catalog.ecsv')[20:21]
    catalog.write('one.ecsv')
    x, y = (int(np.rint(catalog[f'aperture_{axis}'][0])) for axis in 'xy')
    bits = np.zeros(data.shape, np.int16)
    bits[y, x] = 1024
    sigma = np.full(data.shape, 70.0)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, name='SCI')]
    hdus[0].header['EGAIN'] = 2.0
    options = '--mask mask.fits --uncertainty var.fits'
    if own:
        hdus += [fits.ImageHDU(sigma, name='ERR'),
                 fits.ImageHDU(bits, name='DQ')]
        options = '--hdu SCI'
    else:
        fits.writeto('mask.fits', bits)
        fits.writeto('var.fits', sigma**2)
        options += ' --uncertainty-type var'
    fits.HDUList(hdus).writeto('frame.fits')
    run(f'photometry frame.fits one.ecsv -o out.ecsv --gain EGAIN {options}')
    table = QTable.read('out.ecsv')
    expected = annulus_photometry(CCDData(data, unit='adu'), catalog,
                                  error=sigma * u.adu, mask=bits, gain=2.0)
    for name in ('flux', 'flux_error', 'area', 'flag'):
        assert_allclose(table[name], expected[name])
    assert table['flag'][0] == ApertureFlag.MASKED | ApertureFlag.SATURATED


def test_flags_and_kind_of_noise(folder):
    """
    What is no defect is measured; variances are known by their name.
    """
    data = fits.getdata('raw/a.fits')
    catalog = QTable.read('catalog.ecsv')
    bits = np.where(data > np.median(data) + 200, 32, 0).astype(np.int32)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, name='IMAGE'),
            fits.ImageHDU(bits, name='MASK'),
            fits.ImageHDU(np.full(data.shape, 70.0**2), name='VARIANCE')]
    hdus[2].header['HIERARCH MP_DETECTED'] = 5
    fits.HDUList(hdus).writeto('frame.fits')
    expected = annulus_photometry(CCDData(data, unit='adu'), catalog,
                                  error=np.full(data.shape, 70.0) * u.adu)
    for number, options in enumerate(('', '--ignore-flags 32',
                                      '--ignore-flags DETECTED',
                                      '--uncertainty-type auto')):
        run(f'photometry frame.fits catalog.ecsv -o {number}.ecsv {options}')
        table = QTable.read(f'{number}.ecsv')
        for name in ('flux', 'flux_error', 'flag'):
            assert_allclose(table[name], expected[name])
    run('photometry frame.fits catalog.ecsv -o all.ecsv --ignore-flags 0')
    flag = QTable.read('all.ecsv')['flag']
    assert np.mean(flag & ApertureFlag.MASKED > 0) > 0.9


def test_apertures_on_the_sky(folder):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150, 2]
    wcs.wcs.cd = [[-1e-4, 0], [0, 1e-4]]
    header = wcs.to_header()
    header['DATE-OBS'] = '2020-02-30'  # which WCS warns of
    fits.writeto('frame.fits', fits.getdata('raw/a.fits'), header)
    catalog = QTable.read('catalog.ecsv')
    catalog['position'] = wcs.pixel_to_world(catalog['aperture_x'],
                                             catalog['aperture_y'])
    catalog['aperture_theta'] *= -1
    catalog.remove_columns(['aperture_x', 'aperture_y'])
    catalog.write('sky.ecsv')
    run('photometry frame.fits sky.ecsv -o sky_fluxes.ecsv --theta-sign -1 '
        '--r-in 20 --r-out 30 --saturation 60000 --plot sky.png')
    run('photometry raw/a.fits catalog.ecsv -o fluxes.ecsv --r-in 20 '
        '--r-out 30')
    assert is_png(folder / 'sky.png')
    sky, plain = QTable.read('sky_fluxes.ecsv'), QTable.read('fluxes.ecsv')
    assert_allclose(sky['flux'].value, plain['flux'].value, rtol=1e-6)
    assert_array_equal(sky['flag'], plain['flag'])


@pytest.mark.parametrize(('options', 'message'), [
    ('no.fits catalog.ecsv', 'no.fits: No such file or directory'),
    ('text.txt catalog.ecsv', 'text.txt: cannot be read as FITS'),
    ('raw/a.fits no.ecsv', "no such file: 'no.ecsv'"),
    ('raw/a.fits text.txt', 'must end in one of .fits'),
    ('raw/a.fits text.ecsv', "cannot read 'text.ecsv'"),
    ('raw/a.fits raw/b.fits', "cannot read 'raw/b.fits'"),
    ('raw/a.fits no_b.csv', "raw/a.fits: catalog has no column 'aperture_b'"),
    ('raw/a.fits smooth/a.fits catalog.ecsv', 'image_id must differ'),
    ('raw/a.fits electron.fits catalog.ecsv',
     'electron.fits: frames must have one unit, got electron after adu'),
    ('two.fits catalog.ecsv', 'two.fits: hdu must say which of 2 images'),
    ('raw/a.fits catalog.ecsv --hdu 7', 'hdu=7'),
    ('raw/a.fits catalog.ecsv --gain NO', "raw/a.fits: gain='NO'"),
    ('raw/a.fits catalog.ecsv --zp NO', '--zp NO is not a keyword'),
    ('raw/a.fits catalog.ecsv --zp-error BUNIT', "number, got 'adu'"),
    ('raw/a.fits catalog.ecsv --image-id NO', '--image-id NO is not a key'),
    ('raw/a.fits catalog.ecsv --r-in 50', 'r_in=50.0, r_out=45.0'),
    ('raw/a.fits catalog.ecsv --mask text.txt', 'text.txt: cannot be read'),
    ('raw/a.fits catalog.ecsv --plot no/a.png', 'no: no such folder'),
    ('raw/a.fits catalog.ecsv --plot a.jpg', '--plot must end in .png'),
])
def test_bad_photometry(folder, capsys, options, message):
    (folder / 'text.txt').write_text('text\n' * 1000)
    (folder / 'text.ecsv').write_text('text')
    (folder / 'no_b.csv').write_text('aperture_a,aperture_theta\n1,0\n')
    data = fits.getdata('raw/a.fits')
    CCDData(data, unit='electron').write('electron.fits')
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name='SCI', ver=1),
                  fits.ImageHDU(data, name='SCI', ver=2)]).writeto('two.fits')
    before = sorted(folder.iterdir())
    assert message in fails(f'photometry {options} -o out.ecsv', capsys)
    assert sorted(folder.iterdir()) == before


PAIRS = ('ref_id,image_id,flux,flux_error,i_auto,flag\n1,1,5,1,20,0\n'
         '1,2,6,1,20,0\n2,1,5,1,21,1\n2,2,6,1,21,1\n')


@pytest.mark.parametrize(('change', 'options', 'message'), [
    (('flux_error', 'e'), '', "exposures has no column 'flux_error'"),
    (('i_auto', 'i'), '', "no column 'i_auto'"),
    (('flag', 'f'), '--unflagged', "pairs.csv has no column 'flag'"),
    (('1,2,6,1', '1,2,6,-1'), '', "'flux_error' must be positive"),
    ((',2,6', ',2,'), '', 'exposures hold no pairs'),
    ((',2,6', ',1,6'), '', 'must hold at least two exposures'),
    (('', ''), '--by name', "no column 'name'"),
    (('', ''), '--bins 22,20', 'increasing edges'),
    (('', ''), '--raw-errors', '--raw-errors needs --raw'),
    (('', ''), '--raw other.csv', 'no galaxy and image_id in common'),
    (('', ''), '--raw no.csv', "no such file: 'no.csv'"),
    (('', ''), '--plot report.pdf', 'must end in .png'),
    (('', ''), '--plot report.png', 'report.png: file exists'),
])
def test_bad_check(tmp_path, monkeypatch, capsys, change, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pairs.csv').write_text(PAIRS.replace(*change))
    (tmp_path / 'other.csv').write_text(
        PAIRS.replace('\n1', '\n3').replace('\n2', '\n4'))
    (tmp_path / 'report.png').write_text('precious')
    before = sorted(tmp_path.iterdir())
    assert message in fails(f'check pairs.csv -o out.ecsv {options}', capsys)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize('command', [
    'photometry raw/a.fits catalog.ecsv', 'check pairs.csv'])
def test_existing_output(folder, capsys, command):
    (folder / 'pairs.csv').write_text(PAIRS)
    (folder / 'out.ecsv').write_text('precious')
    assert fails(f'{command} -o out.ecsv', capsys) == (
        'out.ecsv: file exists; --overwrite replaces it')
    assert (folder / 'out.ecsv').read_text() == 'precious'
    run(f'{command} -o out.ecsv --overwrite')
    assert len(QTable.read('out.ecsv')) > 0


@pytest.mark.parametrize('options', [
    'photometry a.fits', 'photometry a.fits b.csv', 'check',
    'photometry a.fits b.csv -o c.ecsv --theta-sign 2',
    'check a.csv --bins x'])
def test_wrong_command_line(options, capsys):
    assert main(options.split()) == 2
    assert ': error: ' in capsys.readouterr().err


def test_nothing_is_loaded_in_vain(folder):
    (folder / 'pairs.csv').write_text(PAIRS)
    code = ('import sys\n'
            'from astro_denoise.cli.main import main\n'
            "assert main(['photometry', 'raw/a.fits', 'catalog.ecsv',\n"
            "             '-o', 'out.ecsv']) == 0\n"
            "assert main(['check', 'pairs.csv']) == 0\n"
            "assert 'torch' not in sys.modules\n"
            "assert 'matplotlib' not in sys.modules\n")
    subprocess.run([sys.executable, '-W', 'error', '-c', code], check=True,
                   capture_output=True)


def test_denoised_frames(folder, capsys):
    frame = CCDData.read('raw/a.fits')
    frame.header.update(DNMODEL='ccd', DNSIGMA=3.0,
                        DNKERNEL=kernel_to_text(np.full((5, 5), 0.04)))
    frame.write('denoised.fits', overwrite=True)
    run('photometry denoised.fits catalog.ecsv -o denoised.ecsv', capsys)
    found = QTable.read('denoised.ecsv')
    expected = denoised_flux_error(frame, QTable.read('catalog.ecsv'),
                                   annulus=(30, 45))
    good = np.isfinite(found['flux'])
    assert_allclose(found['flux_error'][good].value, expected[good].value,
                    rtol=0.1)
    frame.header['DNMODEL'] = 'ccd-mmse'
    del frame.header['DNKERNEL']
    frame.write('mmse.fits')
    message = fails('photometry mmse.fits catalog.ecsv -o mmse.ecsv', capsys)
    assert message.startswith("mmse.fits: data was denoised by 'ccd-mmse'")
    assert not (folder / 'mmse.ecsv').exists()
    assert 'or give --uncertainty, the noise of the raw frame' in message
    fits.writeto('noise.fits', np.full(frame.shape, 68.5, np.float32))
    for name, path in (('mmse', 'mmse.fits'), ('raw', 'raw/a.fits')):
        run(f'photometry {path} catalog.ecsv -o {name}.ecsv '
            '--uncertainty noise.fits', capsys)
    # Forced photometry takes the noise of the raw frame too.
    with pytest.warns(ProcessedFrameWarning, match='noise of the raw frame'):
        run('photometry mmse.fits catalog.ecsv -o own.ecsv --method forced '
            '--overwrite', capsys)
    run('photometry mmse.fits catalog.ecsv -o forced.ecsv --method forced '
        '--uncertainty noise.fits', capsys)
    # The errors are those of the raw fluxes.
    mmse, raw = (QTable.read(f'{name}.ecsv') for name in ('mmse', 'raw'))
    good = np.isfinite(mmse['flux'])
    assert good.sum() > 2
    assert_allclose(mmse['flux_error'][good], raw['flux_error'][good],
                    rtol=0.05)
