# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of what commands print and of the files that they write.
"""

import shutil

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.cli import main
from astro_denoise.data.examples import get_example_path
from astro_denoise.exceptions import CorrelatedNoiseWarning
from astro_denoise.photometry import read_table
from astro_denoise.pipeline.status import STATUS_NAME

MODEL = '--model half.safetensors'


@pytest.fixture(scope='module')
def prepared(tmp_path_factory, half_sigma_model):
    """
    Frames, a catalog with positions on the sky, tables of fluxes, a model.
    """
    folder = tmp_path_factory.mktemp('prepared')
    half_sigma_model().save(folder / 'half.safetensors')
    for name, number in (('a', '004'), ('b', '005')):
        shutil.copy(get_example_path(f'eso085_030_{number}.fits'),
                    folder / f'{name}.fits')
    shutil.copy(get_example_path('fermi_gc.fits'), folder / 'fermi.fits')
    xy = np.array([[100.0, 120.0], [230.0, 250.0], [300.0, 60.0],
                   [350.0, 360.0], [90.0, 400.0]]).T
    QTable({'ref_id': np.arange(5), 'aperture_x': xy[0],
            'aperture_y': xy[1], 'aperture_a': np.full(5, 3.0),
            'aperture_b': np.full(5, 3.0), 'aperture_theta': np.zeros(5),
            'i_auto': np.linspace(18.0, 22.0, 5),
            'sky_centroid': SkyCoord(*xy / 100.0, unit='deg'),
            }).write(folder / 'catalog.ecsv')
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    """
    The working folder, a copy of the above.
    """
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(command, capsys):
    """
    What a command that must succeed prints.
    """
    capsys.readouterr()
    assert main(command.split()) == 0
    captured = capsys.readouterr()
    assert captured.err == ''
    return captured.out


PHOTOMETRY = 'photometry a.fits b.fits catalog.ecsv -o fluxes.ecsv'
COMMANDS = {
    f'denoise b.fits -o out.fits {MODEL}': (
        ('out.fits: 1 image denoised with half, noise estimated from the '
         'image'), ['HDU 0 PRIMARY: DNMODEL = half', 'DNSIGMA']),
    f'denoise b.fits -o out.fits --gain 1.4 --read-noise 7 {MODEL}': (
        'out.fits: 1 image denoised with half, noise from the gain',
        ['DNGAIN = 1.4 (electron per unit of the frame)']),
    f'denoise a.fits b.fits -o out/ {MODEL}': (
        'out/: 2 frames denoised', ['a.fits: ', 'b.fits: ']),
    'segment fermi.fits -o out.fits --model galactic-sky': (
        'out.fits: * sources', ['model galactic-sky', 'fermi.fits']),
    'estimate fermi.fits -o out.ecsv --n-samples 20 --seed 1': (
        ('out.ecsv: 1 image, 1 of them unlike the training set (--model '
         'galactic-sky allows for more)'),
        ['fermi.fits, image 0: a_dm ', ' to ']),
    PHOTOMETRY: ('fluxes.ecsv: 10 fluxes, 0 of them NaN, * flagged',
                 ['a.fits: 5 fluxes', 'b.fits: 5 fluxes']),
    'simulate -o field/ --shape 64 48 --n 1 --seed 1': (
        'field/: 1 exposure of 48 x 64 pixels, and catalog.ecsv with * ',
        ['field/exposure_001.fits', 'field/catalog.ecsv']),
    'simulate -o sky/ --sky galactic-center --n 2 --seed 1': (
        ('sky/: 2 images of the Galactic Center in images.fits, and '
         'parameters.ecsv'), ['sky/images.fits', 'sky/parameters.ecsv'])}


@pytest.mark.filterwarnings('ignore:the noise of neighboring',
                            'ignore:.*of another tier')
@pytest.mark.parametrize('command', COMMANDS)
def test_one_line_none_or_more(folder, command, capsys):
    line, more = COMMANDS[command]
    start, _, end = line.partition('*')
    text = printed(command, capsys)
    assert text.count('\n') == 1
    assert text.startswith(start)
    assert text.rstrip().endswith(end) or end.endswith(' ')
    assert printed(f'{command} --quiet --overwrite', capsys) == ''
    assert printed(f'{command} -q --overwrite', capsys) == ''
    verbose = printed(f'{command} -v --overwrite', capsys)
    assert text.split(',')[0].rstrip() in verbose
    for each in more:
        assert each in verbose or 'done before' in verbose
    assert verbose.count('\n') > 1


def test_quiet_commands_still_tell_errors(folder, capsys):
    assert main(f'denoise no.fits b.fits -o out/ -q {MODEL}'.split()) == 1
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('astro-denoise: error: no.fits: ')


def test_summary_of_many_frames(folder, capsys):
    command = f'denoise b.fits -o out/ {MODEL}'
    assert printed(command, capsys) == 'out/: 1 frame denoised\n'
    assert printed(command, capsys) == (
        'out/: 1 frame denoised, 1 of them before\n')
    assert printed(f'{command} -v', capsys).startswith(
        'b.fits: done before\n')
    assert main(['denoise', 'no.fits', *command.split()[1:]]) == 1
    assert capsys.readouterr().out == (
        'out/: 1 frame denoised, 1 of them before, 1 failed\n')


@pytest.mark.parametrize('ending', ['ecsv', 'csv', 'fits', 'fit', 'parquet',
                                    'FITS'])
def test_kind_of_a_table_is_told_by_its_ending(folder, ending, capsys):
    if ending == 'parquet':
        pytest.importorskip('pyarrow')
        pytest.importorskip('pandas')
    printed(PHOTOMETRY, capsys)
    expected = QTable.read('fluxes.ecsv')
    printed(PHOTOMETRY.replace('fluxes.ecsv', f'new.{ending}'), capsys)
    table = read_table(f'new.{ending}')
    assert_allclose(getattr(table['flux'], 'value', table['flux']),
                    expected['flux'].value)
    if ending != 'csv':
        assert table['flux'].unit == expected['flux'].unit
    assert list(table['image_id']) == ['a.fits'] * 5 + ['b.fits'] * 5
    sky = expected['sky_centroid']
    if ending == 'ecsv':
        assert_allclose(table['sky_centroid'].ra.deg, sky.ra.deg)
    else:
        for name, angle in (('ra', sky.ra), ('dec', sky.dec)):
            assert_allclose(getattr(table[name], 'value', table[name]),
                            angle.deg)
    # What is written is read by the next command.
    assert main(f'check new.{ending} --bins 1 --seed 1 -o report.{ending}'
                .split()) == 0
    assert len(read_table(f'report.{ending}')) == 1


@pytest.mark.parametrize(('command', 'option'), [
    ('photometry a.fits catalog.ecsv -o x.txt', '-o'),
    ('check fluxes.ecsv -o x.txt', '-o'),
    ('estimate fermi.fits -o x.txt', '-o'),
    ('segment fermi.fits -o out.fits --catalog x.txt', '--catalog')])
def test_other_endings_of_tables(folder, command, option, capsys):
    assert main(command.split()) == 1
    assert capsys.readouterr().err == (
        f'astro-denoise: error: {option} must end in .ecsv, .csv, .fits, '
        f".fit or .parquet, got 'x.txt'\n")


@pytest.mark.parametrize(('command', 'options'), [
    ('segment fermi.fits -o out.fits --catalog ./out.fits',
     ('--catalog', '-o')),
    ('estimate fermi.fits -o out.fits --samples out.fits',
     ('--samples', '-o'))])
def test_outputs_differ(folder, command, options, capsys):
    assert main([*command.split(), '--overwrite']) == 1
    assert capsys.readouterr().err.startswith(
        f'astro-denoise: error: {options[0]} must be another file than '
        f'{options[1]}, got ')
    assert not (folder / 'out.fits').exists()


@pytest.mark.parametrize('ending', ['csv', 'fits'])
def test_catalogs_and_parameters(folder, ending, capsys):
    printed('segment fermi.fits -o out.fits --model galactic-sky '
            f'--catalog c.{ending}', capsys)
    catalog = read_table(f'c.{ending}')
    with fits.open('out.fits') as hdus:
        assert_allclose(np.asarray(catalog['ra'], float),
                        hdus['CATALOG'].data['ra'])
    printed(f'estimate fermi.fits -o p.{ending} --n-samples 20 --seed 1',
            capsys)
    assert list(read_table(f'p.{ending}')['file']) == ['fermi.fits']


def test_suffix(folder, capsys):
    command = f'denoise b.fits --suffix _dn {MODEL}'
    assert printed(command, capsys).startswith('b_dn.fits: ')
    assert main(command.split()) == 1
    assert 'b_dn.fits: file exists' in capsys.readouterr().err
    printed(f'denoise b.fits -o out/ --suffix _dn {MODEL}', capsys)
    assert sorted(path.name for path in (folder / 'out').iterdir()) == [
        STATUS_NAME, 'b_dn.fits']


@pytest.mark.filterwarnings('ignore:the noise of neighboring')
def test_suffix_of_several_frames(folder, capsys):
    (folder / 'sub').mkdir()
    shutil.copy('b.fits', 'sub/c.fits')
    command = f'denoise a.fits b.fits sub/c.fits --suffix _dn {MODEL}'
    lines = printed(command, capsys).splitlines()
    assert lines == ['./: 2 frames denoised', 'sub/: 1 frame denoised']
    for name in ('a_dn.fits', 'b_dn.fits', 'sub/c_dn.fits'):
        assert fits.getheader(name)['DNMODEL'] == 'half'
    # The same pattern again: what was made is no input.
    inputs = sorted(path.name for path in folder.glob('[ab]*.fits'))
    assert len(inputs) == 4
    assert printed(f'denoise {" ".join(inputs)} --suffix _dn {MODEL}',
                   capsys) == './: 2 frames denoised, 2 of them before\n'
    assert not (folder / 'a_dn_dn.fits').exists()


@pytest.mark.filterwarnings('ignore:the noise of neighboring')
def test_fluxes_of_frames_with_a_suffix_are_compared(folder, capsys):
    printed('denoise a.fits b.fits --suffix _dn -q', capsys)
    for name, frames in (('raw', 'a.fits b.fits'),
                         ('new', 'a_dn.fits b_dn.fits')):
        printed(f'photometry {frames} catalog.ecsv -o {name}.csv', capsys)
    assert list(read_table('new.csv')['image_id']) == [
        'a.fits'] * 5 + ['b.fits'] * 5
    assert ' R ' in printed('check new.csv --raw raw.csv --raw-errors '
                                '--bins 1 --seed 1', capsys)
    table = read_table('new.csv')
    table['image_id'] = [f'x{name}' for name in table['image_id']]
    table.write('other.csv')
    assert main(['check', 'other.csv', '--raw', 'raw.csv']) == 1
    assert 'image_id is a.fits there and xa.fits here' in (
        capsys.readouterr().err)


@pytest.mark.filterwarnings('default:the noise of neighboring')
def test_warnings_name_the_file(folder, capsys):
    with pytest.warns(CorrelatedNoiseWarning) as caught:
        main(f'denoise a.fits b.fits -o out/ {MODEL}'.split())
    message, = (str(each.message) for each in caught
                if each.category is CorrelatedNoiseWarning)
    assert message.startswith('the noise of neighboring')
    assert message.endswith('a.fits)')


@pytest.mark.parametrize(('options', 'status', 'message'), [
    ('', 2, '-o OUT or --suffix TEXT is required'),
    ('-o x.fits --suffix _dn', 1, '--suffix needs a folder'),
    ('--suffix /etc/x', 1, "suffix must be a part of a name, got '/etc/x'")])
def test_bad_suffix(folder, capsys, options, status, message):
    assert main(f'denoise b.fits {options} {MODEL}'.split()) == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('kind', ['GZIP_2', 'RICE_1'])
def test_new_planes_are_compressed_as_the_image_is(folder, kind, capsys):
    with fits.open('b.fits') as hdus:
        data, header = hdus[0].data, hdus[0].header
    tile = (16, 480)
    mask = np.zeros(data.shape, np.uint8)
    mask[3, 4] = 1
    fits.writeto('bad.fits', mask)
    data = data.astype(np.int32)
    fits.writeto('c.fits', data, header)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(
        data, header, name='CCD1', compression_type=kind,
        tile_shape=tile)]).writeto('c.fits.fz')
    printed(f'denoise c.fits.fz -o out.fits.fz --mask bad.fits {MODEL}',
            capsys)
    printed(f'denoise c.fits -o plain.fits --mask bad.fits {MODEL}', capsys)
    with fits.open('out.fits.fz') as hdus, fits.open('plain.fits') as plain:
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'CCD1', 'UNCERT',
                                              'MASK']
        for hdu, other in zip(hdus[1:], plain, strict=True):
            assert isinstance(hdu, fits.CompImageHDU)
            assert tuple(hdu.tile_shape) == tile
            assert_array_equal(hdu.data, other.data)
        assert hdus['UNCERT'].header['UTYPE'] == 'StdDevUncertainty'
    ccd = CCDData.read('out.fits.fz', hdu='CCD1')
    assert_array_equal(ccd.uncertainty.array, fits.getdata('plain.fits',
                                                           'UNCERT'))
    assert ccd.mask[3, 4]


def test_plot_of_segment_shows_the_image(folder, capsys, monkeypatch):
    drawn = []
    from astro_denoise.segmentation import plots

    original = plots.plot_sources

    def plot_sources(*args, **options):
        drawn.append(original(*args, **options))
        return drawn[-1]

    monkeypatch.setattr(plots, 'plot_sources', plot_sources)
    printed('segment fermi.fits -o out.fits --model galactic-sky '
            '--plot out.png', capsys)
    axes, = drawn
    assert_array_equal(axes.images[0].get_array(),
                       fits.getdata('fermi.fits'))
    assert len(axes.collections[0].get_offsets()) > 0
    assert (folder / 'out.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('command', ['denoise', 'segment', 'photometry',
                                     'train'])
def test_help_names_every_option(command, capsys):
    text = printed(f'{command} --help', capsys)
    for option in {'denoise': ('--average', '--retries', '--psf'),
                   'segment': ('--purity', '--gain'),
                   'photometry': ('--theta-sign', '--image-id'),
                   'train': ('--threads', '--group-by')}[command]:
        assert option in text
    assert '--verbose' in text
    assert '--quiet' in text
