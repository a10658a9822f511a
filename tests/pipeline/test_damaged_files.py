# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests with files that chance has damaged: no result is wrong without a
word, no error is of another kind, and no file is left over.
"""

import bz2
import gzip
import lzma
import os
import re
import warnings
from collections import Counter

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astro_denoise.pipeline import denoise_file
from astro_denoise.pipeline.status import (
    STATUS_NAME,
    FrameStatus,
    StatusTable,
)

SHAPE = (40, 60)

COMPRESS = {'gz': gzip.compress, 'bz2': bz2.compress, 'xz': lzma.compress}


@pytest.fixture(scope='module')
def model(half_sigma_model):
    return half_sigma_model()


@pytest.fixture
def compressed(tmp_path, noise_image):
    """
    Make a good file that is compressed in one of the ways there are.
    """
    def make(kind):
        data = noise_image(1).round().astype(np.int16)
        path = tmp_path / f'in.fits.{kind}'
        if kind == 'fz':
            # fpack writes the sums unless it is told not to.
            fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(
                data, tile_shape=(10, 60))]).writeto(path, checksum=True)
        else:
            fits.writeto(tmp_path / 'plain.fits', data)
            path.write_bytes(COMPRESS[kind](
                (tmp_path / 'plain.fits').read_bytes()))
            (tmp_path / 'plain.fits').unlink()
        return path

    return make


def outcome(path, model, is_right):
    """
    Denoise a file and say what came of it.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file, alone in its folder.

    model : `~astro_denoise.models.Model`
        The model.

    is_right : callable
        Takes the output.

    Returns
    -------
    kind : str
        'refused', 'right', 'told' (of a header that was changed), or what
        is no good.
    """
    output = path.with_name('out.fits')
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        try:
            denoise_file(path, output, model=model, uncertainty=5.0)
        except OSError as error:
            named = error.filename == str(path)
            kind = 'refused' if named else f'unnamed: {error}'
        except ValueError as error:
            # What no image to denoise is, is no fault of the file.
            known = re.search('holds no image|must have (finite|valid)|'
                              'mask must have the shape', str(error))
            kind = 'refused' if known else f'ValueError: {error}'
        except Exception as error:  # noqa: BLE001
            kind = f'uncaught {type(error).__name__}: {error}'
        else:
            about_it = any('wrong checksum' in str(each.message)
                           for each in told)
            kind = ('right' if is_right(output) else
                    'told' if about_it else 'WRONG')
            output.unlink()
    assert os.listdir(path.parent) == [path.name]
    return kind


def flipped(content, rng):
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncated(content, rng):
    return content[:rng.integers(len(content))]


def first_image(path):
    with fits.open(path) as hdus:
        return next(hdu.data for hdu in hdus if hdu.data is not None)


@pytest.mark.parametrize('kind', ['gz', 'bz2', 'xz', 'fz'])
@pytest.mark.parametrize('damage', [flipped, truncated])
@pytest.mark.parametrize('number', [
    15, pytest.param(125, marks=pytest.mark.slow)])
def test_compressed_files(compressed, model, kind, damage, number):
    path = compressed(kind)
    content = path.read_bytes()
    expected = first_image(path) - np.float32(2.5)
    rng = np.random.default_rng(number)
    found = Counter()
    for _ in range(number):
        path.write_bytes(damage(content, rng))
        found[outcome(path, model, lambda output: np.array_equal(
            first_image(output), expected))] += 1
    assert set(found) <= {'refused', 'right', 'told'}
    # Most of a file is what is compressed.
    assert found['refused'] > number / 2


# Headers

VALUES = ['0', '-1', '1', '2', '3', '99999999999', '-32', '-64', '8', '64',
          '7', 'NaN', '1e400', '1E300', 'T', 'F', "'abc'", "''", "'O''",
          '(1.,2.)', 'INF', '-1.0E-300', '']
KEYWORDS = [b'NAXIS1  ', b'END     ', b'BSCALE  ', b'BZERO   ', b'BLANK   ',
            b'EXTEND  ', b'GROUPS  ', b'PCOUNT  ', b'CONTINUE', b'HIERARCH',
            b'\xff' * 8, b'ZBLANK  ', b'THEAP   ', b'CHECKSUM', b'DATASUM ',
            b'INHERIT ']


@pytest.fixture
def good(noise_image):
    """
    Make a file of one image, of two with what belongs to them, or of tiles.
    """
    def make(kind):
        header = fits.Header([
            ('BUNIT', 'adu'), ('GAIN', 2.0), ('OBJECT', 'field'),
            ('HISTORY', 'made'), ('LONGTEXT', 'a' * 100)])
        if kind == 'plain':
            return fits.HDUList([fits.PrimaryHDU(
                noise_image(1).astype(np.uint16), header)])
        hdus = [fits.PrimaryHDU(header=header)]
        if kind == 'tiles':
            hdus.append(fits.CompImageHDU(
                noise_image(1).round().astype(np.int16), header, name='N1',
                tile_shape=(10, 60)))
        for version in (1, 2) if kind == 'mosaic' else ():
            flags = np.zeros(SHAPE, np.int16)
            flags[3, 4] = 64
            hdus += [fits.ImageHDU(noise_image(version).astype(np.float32),
                                   name='SCI', ver=version),
                     fits.ImageHDU(flags, name='DQ', ver=version)]
        return fits.HDUList(hdus)

    return make


def changed_cards(content, places, rng):
    """
    A file of which one card or two were changed.
    """
    changed = bytearray(content)
    for _ in range(rng.integers(1, 3)):
        start = int(rng.choice(places))
        kind = rng.integers(7)
        if kind == 0:
            changed[start + rng.integers(80)] ^= 1 << rng.integers(8)
        elif kind == 1:
            value = str(rng.choice(VALUES)).rjust(20).ljust(70)
            changed[start + 10:start + 80] = value.encode()
        elif kind == 2:
            changed[start:start + 80] = b' ' * 80
        elif kind == 3:
            other = int(rng.choice(places))
            changed[start:start + 80] = content[other:other + 80]
        elif kind == 4:
            changed[start:start + 8] = KEYWORDS[rng.integers(len(KEYWORDS))]
        elif kind == 5:
            first, last = sorted(rng.integers(81, size=2))
            changed[start + first:start + last] = rng.bytes(last - first)
        else:
            changed[start + 8:start + 10] = [b'  ', b'==', b'= '][
                rng.integers(3)]
    return bytes(changed)


def as_astropy_reads_it(path):
    """
    Whether what astropy reads of a file is what an output was made from.
    """
    def is_right(output):
        with fits.open(path) as before, fits.open(output) as after:
            found = [index for index, hdu in enumerate(after)
                     if 'DNMODEL' in hdu.header]
            return len(after) >= len(before) and found and all(
                _is_denoised(before[index].data.astype(np.float64),
                             after[index].data) for index in found)

    return is_right


def _is_denoised(image, denoised):
    same = denoised == image.astype(np.float32)
    taken = np.isclose(denoised, image - 2.5, rtol=1e-4, atol=1e-3)
    # One pixel is masked; half a sigma is little where values are large.
    enough = np.mean(same & ~taken) < 0.01 or np.ptp(
        image[np.isfinite(image)]) == 0
    return enough and np.all(same | taken | ~np.isfinite(image))


@pytest.mark.parametrize('kind', ['plain', 'mosaic', 'tiles'])
@pytest.mark.parametrize('number', [
    20, pytest.param(700, marks=pytest.mark.slow)])
# Of scales of 1e300, and of what the standard does not allow.
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
@pytest.mark.filterwarnings('ignore::astropy.io.fits.verify.VerifyWarning')
@pytest.mark.filterwarnings(
    'ignore::astropy.utils.exceptions.AstropyUserWarning')
def test_headers(good, tmp_path, model, kind, number):
    path = tmp_path / 'in.fits'
    hdus = good(kind)
    hdus.writeto(path)
    content = path.read_bytes()
    with fits.open(path, disable_image_compression=True) as hdus:
        places = [place for hdu in hdus for place in range(
            hdu.fileinfo()['hdrLoc'], hdu.fileinfo()['datLoc'], 80)]
    rng = np.random.default_rng(number)
    found = Counter()
    for _ in range(number):
        path.write_bytes(changed_cards(content, places, rng))
        found[outcome(path, model, as_astropy_reads_it(path))] += 1
    assert set(found) == {'refused', 'right'}


# Tables of what became of frames

@pytest.mark.parametrize('number', [
    30, pytest.param(1000, marks=pytest.mark.slow)])
def test_status_tables(tmp_path, number, caplog):
    table = StatusTable(tmp_path)
    for name in ('a', 'b', 'c'):
        table.add(FrameStatus(f'{name}.fits', name, 'finished', 1, 2.5,
                              'host:1', '0' * 64, 'text, "quoted"'))
    table.write()
    content = table.path.read_bytes()
    rng = np.random.default_rng(number)
    new = FrameStatus('b.fits', 'b', 'failed', 2, 0.5, 'host:2', '', 'why')
    for turn in range(number):
        damage = (flipped, truncated, without_a_line)[turn % 3]
        table.path.write_bytes(damage(content, rng))
        again = StatusTable(tmp_path)
        again.add(new)
        again.write()
        written = Table.read(table.path)
        row, = written[written['output'] == 'b']
        assert (row['input'], row['status'], row['attempts'],
                row['message']) == ('b.fits', 'failed', 2, 'why')
        assert set(written['status']) <= {'finished', 'failed'}
        assert os.listdir(tmp_path) == [STATUS_NAME]


def without_a_line(content, rng):
    lines = content.splitlines(keepends=True)
    del lines[rng.integers(len(lines))]
    return b''.join(lines)


@pytest.mark.parametrize('kind', ['gz', 'bz2', 'xz'])
def test_damage_behind_the_last_pixel(compressed, model, kind):
    # What says that all before it is right stands at the end.
    path = compressed(kind)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert outcome(path, model, None) == 'refused'
    if kind == 'gz':
        changed = bytearray(content)
        changed[-6] ^= 1
        path.write_bytes(changed)
        assert outcome(path, model, None) == 'refused'
