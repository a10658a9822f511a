# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the commands segment and estimate, and of simulated gamma rays.
"""

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.wcs import WCS
from astropy_healpix import HEALPix
from numpy.testing import assert_allclose, assert_array_equal

import astro_denoise
from astro_denoise.cli import main
from astro_denoise.data.examples import get_example_path
from astro_denoise.estimation.core import PARAMETER_NAMES
from astro_denoise.models import Model, registry
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator
from astro_denoise.sky_maps import healpix_to_image


class Bright(torch.nn.Module):
    """
    Whatever is above 200 counts is a source.
    """

    stride, reach, kind = 2, 0, 'counts'

    def __init__(self):
        super().__init__()
        self.limit = torch.nn.Parameter(torch.tensor(200.0))

    def forward(self, image, valid, position, *, dtype):
        return {'logit': image - self.limit, 'flux': image,
                'log_variance': (image + 1.0).log(), 'dx': 0.0 * image,
                'dy': 0.0 * image}


class Even(torch.nn.Module):
    """
    A posterior that is the prior.
    """

    ood_threshold = 500.0

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def sample(self, counts, n_samples, generator):
        return torch.rand((len(counts), n_samples, 6), generator=generator)

    def ood_score(self, counts):
        return counts.amax((1, 2))


@pytest.fixture(autouse=True)
def _small_models(monkeypatch):
    models = {
        'segment': Model(Bright(), {'name': 'bright', 'task': 'segment',
                                    'threshold': 0.5}),
        'estimate': Model(Even(), {'name': 'even', 'task': 'estimate'})}
    original = registry.load_model

    def load(name, *, task=None):
        if isinstance(name, Model):
            return name
        return (models[task] if name == 'galactic-center'
                else original(name, task=task))

    monkeypatch.setattr(astro_denoise, 'load_model', load)
    monkeypatch.setattr(registry, 'load_model', load)
    # The posterior by hand cannot be checked by what it predicts.
    monkeypatch.setattr('astro_denoise.segmentation.known_skies.'
                        'warn_of_unknown_sky', lambda *args: None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'fermi.fits').write_bytes(
        get_example_path('fermi_gc.fits').read_bytes())
    counts = GalacticCenterSimulator().sample(3, seed=1)[0]
    fits.writeto('stack.fits', counts)
    fits.writeto('flat.fits', np.full((20, 30), 5.0))
    return tmp_path


def run(command, capsys=None):
    assert main(command.split()) == 0
    return capsys.readouterr().out if capsys else None


def fails(command, capsys):
    capsys.readouterr()  # what was printed before
    assert main(command.split()) == 1
    captured = capsys.readouterr()
    assert captured.out == ''
    line, = captured.err.splitlines()
    return line.removeprefix('astro-denoise: error: ')


@pytest.mark.parametrize('command', ['segment', 'estimate'])
def test_help(command, capsys, monkeypatch):
    lines = run(f'{command} --help', capsys).splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 79
    called = []
    monkeypatch.setattr(f'astro_denoise.cli.{command}._run_{command}',
                        lambda options: called.append(options) or 0)
    run(lines[-1].removeprefix('  astro-denoise '))
    assert len(called) == 1


def test_segment(folder, capsys):
    printed = run('segment fermi.fits -o out.fits --catalog out.ecsv '
                  '--plot out.png --no-progress', capsys)
    counts = fits.getdata('fermi.fits')
    with fits.open('out.fits') as hdus:
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'SEGMENTATION',
                                              'CATALOG']
        assert_array_equal(hdus[1].data > 0, counts > 200)
        assert_array_equal(hdus[0].data > 0.5, counts > 200)
        assert hdus[0].header['THRESH'] == 0.5
        assert hdus[0].header['MODEL'] == 'galactic-center'
        table = QTable(hdus[2].data)
    catalog = QTable.read('out.ecsv')
    assert printed == f'out.fits: {len(catalog)} sources\n'
    assert_allclose(table['flux'], catalog['flux'].value)
    sky = catalog['sky_centroid'].icrs
    assert_allclose(table['ra'], sky.ra.deg)
    assert_allclose(table['dec'], sky.dec.deg)
    wcs = WCS(fits.getheader('out.fits'))
    assert_allclose(wcs.pixel_to_world(5, 6).l.deg,
                    CCDData.read('fermi.fits').wcs.pixel_to_world(5, 6).l.deg)
    assert (folder / 'out.png').read_bytes().startswith(b'\x89PNG')


def test_segment_options(folder, capsys):
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40] = 1
    fits.writeto('mask.fits', mask)
    run('segment fermi.fits -o out.fits --threshold 0.9 --n-pixels 2 '
        '--mask mask.fits --hdu 0 --device cpu')
    with fits.open('out.fits') as hdus:
        assert hdus[0].header['THRESH'] == 0.9
        assert not hdus[0].data[20:40].any()
    assert 'overwrite' in fails('segment fermi.fits -o out.fits', capsys)
    run('segment fermi.fits -o out.fits --overwrite')


def test_flags_that_are_ignored(folder, capsys):
    counts = fits.getdata('fermi.fits')
    bits = np.zeros((64, 64), np.int16)
    bits[20:40], bits[:3] = 4, 8
    fits.HDUList([fits.PrimaryHDU(counts, fits.getheader('fermi.fits')),
                  fits.ImageHDU(bits, name='DQ')]).writeto('flagged.fits')
    for number, (flags, left_out) in enumerate(
            (('8', bits == 4), ('4,8', bits < 0), ('0', bits > 0))):
        run(f'segment flagged.fits -o {number}.fits --ignore-flags {flags}')
        assert_array_equal(fits.getdata(f'{number}.fits') > 0.5,
                           (counts > 200) & ~left_out)
    assert 'good_bits must be' in fails(
        'segment flagged.fits -o 9.fits --ignore-flags NAME', capsys)
    run('estimate flagged.fits -o all.ecsv --seed 1 --ignore-flags 4,8')
    run('estimate fermi.fits -o plain.ecsv --seed 1')
    flagged, plain = (QTable.read(f'{name}.ecsv') for name in ('all', 'plain'))
    assert_array_equal(flagged['a_dm'], plain['a_dm'])


@pytest.mark.parametrize(('ordering', 'system'), [
    ('NESTED', 'C'), ('RING', 'GAL')])
def test_healpix(folder, capsys, ordering, system):
    """A map is what the same counts are as an image."""
    healpix = HEALPix(64, order=ordering.lower(), frame={
        'C': 'icrs', 'GAL': 'galactic'}[system])
    sky = healpix.healpix_to_skycoord(np.arange(healpix.npix)).galactic
    counts = np.random.default_rng(1).poisson(
        20 + 1600 * np.exp(-abs(sky.b.deg) / 4))
    table = fits.table_to_hdu(QTable({'COUNTS': counts}))
    table.header.update({'PIXTYPE': 'HEALPIX', 'ORDERING': ordering,
                         'COORDSYS': system, 'NSIDE': 64})
    table.writeto('sky.fits')
    image = healpix_to_image(counts, nested=ordering == 'NESTED',
                             frame=healpix.frame, seed=1)
    image.write('image.fits')
    for name in ('sky', 'image'):
        run(f'estimate {name}.fits -o {name}.ecsv --seed 1')
        run(f'segment {name}.fits -o {name}_sources.fits')
    first, second = (QTable.read(f'{name}.ecsv') for name in ('sky', 'image'))
    assert_array_equal(first['a_dm'], second['a_dm'])
    # The map is put on the grid in the same way, with another seed.
    found = fits.getdata('sky_sources.fits') > 0.5
    assert found.any()
    assert found[24:40].sum() > 3 * found[:16].sum()
    fits.writeto('mask.fits', np.zeros((64, 64), np.uint8))
    assert '--mask is for images' in fails(
        'segment sky.fits -o other.fits --mask mask.fits', capsys)
    table.header['ORDERING'] = 'RING' if ordering == 'NESTED' else 'NESTED'
    table.writeto('wrong.fits')
    assert 'wrong.fits: counts have no Galactic plane' in fails(
        'estimate wrong.fits -o other.ecsv', capsys)


@pytest.mark.parametrize('ending', ['.fit', '.FITS.GZ', '.fts.xz'])
def test_segment_writes_other_kinds_of_fits_files(folder, ending):
    run(f'segment fermi.fits -o out{ending}')
    start = (folder / f'out{ending}').read_bytes()[:6]
    kind = ending.lower().rpartition('.')[2]
    assert start.startswith({'gz': b'\x1f\x8b', 'xz': b'\xfd7zXZ'}.get(
        kind, b'SIMPLE'))
    assert fits.getdata(f'out{ending}').shape == (64, 64)


def test_segment_nothing(folder, capsys):
    printed = run('segment flat.fits -o out.fits --catalog out.ecsv', capsys)
    assert printed == 'out.fits: 0 sources\n'
    with fits.open('out.fits') as hdus:
        assert hdus[0].data.shape == (20, 30)
        assert hdus['SEGMENTATION'].data.shape == (20, 30)
        assert not hdus['SEGMENTATION'].data.any()
        assert len(hdus['CATALOG'].data) == 0
        names = hdus['CATALOG'].columns.names
    run('segment fermi.fits -o some.fits')
    assert 'flux_error' in names
    assert names == [name for name in fits.getdata(
        'some.fits', 'CATALOG').names if name in names]
    catalog = QTable.read('out.ecsv')
    assert len(catalog) == 0
    assert {'x_centroid', 'probability', 'snr'} <= set(catalog.colnames)


def test_estimate(folder, capsys):
    printed = run('estimate fermi.fits stack.fits -o out.ecsv '
                  '--samples out.fits --n-samples 50 --seed 1', capsys)
    table = QTable.read('out.ecsv')
    assert len(table) == 4
    assert list(table['file']) == ['fermi.fits', *['stack.fits'] * 3]
    assert list(table['image']) == [0, 0, 1, 2]
    assert table['ood_flag'][0]
    assert printed == (f'out.ecsv: 4 images, {table["ood_flag"].sum()} of '
                       f'them unlike the training set (--model galactic-sky '
                       f'allows for more)\n')
    samples, header = fits.getdata('out.fits', header=True)
    assert samples.shape == (4, 50, 7)
    assert_allclose(table['a_dm'], np.median(samples[..., 0], 1), rtol=1e-6)
    for number, name in enumerate(PARAMETER_NAMES, 1):
        assert header[f'PARAM{number}'] == name
    run('estimate stack.fits -o again.ecsv --n-samples 50 --seed 1')
    run('estimate stack.fits -o again.ecsv --n-samples 50 --seed 1 '
        '--overwrite')


@pytest.mark.parametrize(('command', 'message'), [
    ('segment fermi.fits -o out.txt', ".xz after it), got 'out.txt'"),
    ('segment fermi.fits -o out.fits.fz', "got 'out.fits.fz'"),
    ('segment fermi.fits -o out.fits --catalog out.txt',
     '--catalog must end in .ecsv, .csv, .fits, .fit or .parquet, got '),
    ('segment fermi.fits -o out.fits --plot out.pdf',
     "--plot must end in .png, got 'out.pdf'"),
    ('segment no.fits -o out.fits', 'no.fits: No such file'),
    ('segment stack.fits -o out.fits', 'stack.fits: the image must have '),
    ('segment fermi.fits -o out.fits --threshold 2', 'threshold must be'),
    ('segment fermi.fits -o out.fits --model nothing', 'nothing'),
    ('estimate fermi.fits -o out.npy', "or .parquet, got 'out.npy'"),
    ('estimate fermi.fits -o out.ecsv --samples out.npy',
     '--samples must end in .fits, .fit or .fts'),
    ('estimate flat.fits -o out.ecsv', 'flat.fits: image must have shape'),
    ('estimate fermi.fits -o out.ecsv --n-samples 0', 'n_samples must be'),
    ('estimate fermi.fits -o out.ecsv --model ccd', "'denoise'"),
])
def test_bad_commands(folder, capsys, command, message):
    before = sorted(path.name for path in folder.iterdir())
    assert message in fails(command, capsys)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_simulate(folder, capsys):
    printed = run('simulate -o sky --sky galactic-center --n 3 --seed 5',
                  capsys)
    assert printed == ('sky: 3 images of the Galactic Center in images.fits, '
                       'and parameters.ecsv\n')
    images, parameters, sources = GalacticCenterSimulator().sample(3, seed=5)
    with fits.open('sky/images.fits') as hdus:
        assert_array_equal(hdus[0].data, images)
        assert_array_equal(hdus['FLUX_GC'].data, sources['gc'])
        assert_array_equal(hdus['FLUX_DISK'].data, sources['disk'])
        assert hdus[0].header['CTYPE1'] == 'GLON-CAR'
        assert hdus[0].header['BUNIT'] == 'ct'
    table = QTable.read('sky/parameters.ecsv')
    assert_allclose(table['a_dm'], parameters['a_dm'])
    assert table.meta['tier'] == 'fixed'
    assert table.meta['seed'] == 5
    run('estimate sky/images.fits -o out.ecsv --n-samples 9')
    run('simulate -o other --sky galactic-center --n 1 --tier realistic')
    assert QTable.read('other/parameters.ecsv').meta['tier'] == 'realistic'
    assert 'overwrite' in fails(
        'simulate -o sky --sky galactic-center --n 1', capsys)


@pytest.mark.parametrize(('options', 'message'), [
    ('--sky galactic-center --shape 64 64', '--shape is not for'),
    ('--sky galactic-center --sky-rate 3', '--sky-rate is not for'),
    ('--sky galactic-center --n 0', '--n must be at least 1'),
    ('--tier legacy', '--tier legacy is for'),
])
def test_bad_simulations(folder, capsys, options, message):
    assert message in fails(f'simulate -o sky {options}', capsys)
    assert not (folder / 'sky').exists()
