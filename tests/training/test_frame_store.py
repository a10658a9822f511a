# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of frames as training data.
"""

import os
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.data.examples import get_example_path
from astro_denoise.training.frame_store import (
    FrameFolder,
    open_images,
)


def make_frame(seed=0, shape=(64, 72), **options):
    rng = np.random.default_rng(seed)
    values = 100.0 + 5.0 * rng.standard_normal(shape)
    return CCDData(values, **{'unit': 'adu', **options})


def read(tmp_path, images, *, grouped=False, **options):
    folder = FrameFolder(tmp_path, **{'patch': 32, **options})
    folder.read(open_images(images, grouped=grouped))
    return folder


class Collection:
    """
    What is used of an ImageFileCollection.
    """

    def __init__(self, paths):
        self.paths = paths

    def files_filtered(self, include_path=False):
        return [str(path) if include_path else path.name
                for path in self.paths]


@pytest.mark.parametrize('kind', [
    'one', 'array', 'list', 'generator', 'path', 'string', 'paths',
    'collection', 'stack'])
def test_kinds_of_images(tmp_path, kind):
    frames = [make_frame(seed) for seed in range(2)]
    paths = [tmp_path / f'{name}.fits' for name in 'ab']
    for frame, path in zip(frames, paths, strict=True):
        frame.write(path)
    images, n_expected = {
        'one': (frames[0], 1), 'array': (frames[0].data, 1),
        'list': (frames, 2), 'generator': (iter(frames), 2),
        'path': (paths[0], 1), 'string': (str(paths[0]), 1),
        'paths': (paths, 2), 'collection': (Collection(paths), 2),
        'stack': (np.stack([frame.data for frame in frames]), 2)}[kind]
    folder = tmp_path / 'planes'
    folder.mkdir()
    found = read(folder, images)
    assert len(found.frames) == n_expected
    for frame, source in zip(found.frames, frames, strict=False):
        assert_allclose(frame.signal.std(), 1.0, rtol=0.1)
        assert np.corrcoef(frame.signal.ravel(),
                           source.data.ravel())[0, 1] > 0.99
    description = found.description()
    assert description['n_frames'] == n_expected
    assert description['n_pixels'] == n_expected * 64 * 72


def test_planes_are_mapped_from_disk(tmp_path):
    frame, = read(tmp_path, make_frame()).frames
    for plane in (frame.signal, frame.log_sigma):
        assert isinstance(plane, np.memmap)
        assert plane.dtype == np.float32
    assert list(tmp_path.iterdir()) == []


def test_many_planes_are_one_open_file(tmp_path):
    resource = pytest.importorskip('resource')
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir('/proc/self/fd')) if os.path.isdir(
        '/proc/self/fd') else 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, limits[1]))
    try:
        folder = read(tmp_path, (make_frame(seed) for seed in range(14)),
                      grouped=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for seed, frame in enumerate(folder.frames):
        assert np.corrcoef(frame.signal.ravel(), make_frame(
            seed).data.ravel())[0, 1] > 0.99


def test_bad_pixels(tmp_path):
    mask = np.zeros((64, 72), bool)
    mask[3, 4] = True
    frame = make_frame(mask=mask, meta={'FULL': 3000.0})
    frame.data[5, 6] = np.nan
    frame.data[7, 8] = 3000.0
    signal = read(tmp_path, frame, saturation='FULL').frames[0].signal
    assert_array_equal(np.argwhere(~np.isfinite(signal)),
                       [[3, 4], [5, 6], [7, 8]])


@pytest.mark.parametrize(('options', 'origin'), [
    ({'uncertainty': StdDevUncertainty(np.full((64, 72), 5.0))},
     'uncertainty'),
    ({'meta': {'G': 4.0, 'R': 0.5}}, 'gain'), ({}, 'estimated')])
def test_noise_is_that_of_the_frame(tmp_path, options, origin):
    known = {'gain': 'G', 'read_noise': 'R'} if origin == 'gain' else {}
    folder = read(tmp_path, make_frame(**options), **known)
    assert folder.description()['noise'] == [origin]
    assert_allclose(folder.frames[0].noise['level'], 5.0, rtol=0.1)
    assert folder.description()['unit'] == 'adu'


def test_numbers_out_of_range(tmp_path):
    frame = make_frame()
    tiny = CCDData(frame.data * 1e-40, unit='adu')
    planes = []
    for name, image in (('a', frame), ('b', tiny)):
        (tmp_path / name).mkdir()
        planes.append(read(tmp_path / name, image).frames[0])
    assert_allclose(planes[1].signal, planes[0].signal, atol=1e-3)
    assert_allclose(planes[1].noise['level'],
                    planes[0].noise['level'] * 1e-40, rtol=1e-3)


def test_hash_is_that_of_the_pixels(tmp_path):
    hashes = []
    masked = make_frame(mask=np.eye(64, 72, dtype=bool))
    for number, images in enumerate((
            make_frame(), [make_frame()], make_frame(1), masked,
            [make_frame(), make_frame(1)])):
        (tmp_path / str(number)).mkdir()
        hashes.append(read(tmp_path / str(number), images).hash)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


@pytest.mark.parametrize(('images', 'message'), [
    ([make_frame(), make_frame(unit='electron')],
     'image 2: its unit is electron, that of image 1 is adu'),
    ([make_frame(), np.ones((64, 72))], 'image 2: its unit is None'),
    ([make_frame(), make_frame(shape=(64, 20))],
     r'image 2: a frame of shape \(64, 20\) is smaller than a patch of 32'),
    ([make_frame(mask=np.ones((64, 72), bool))],
     r'image 1: .*all 4608 are masked'),
    ([], 'at least one frame, got none')])
def test_bad_frames(tmp_path, images, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, images)


def test_all_saturated(tmp_path):
    with pytest.raises(ValueError, match='image 1: no pixel is valid'):
        read(tmp_path, make_frame(), saturation=1.0)


@pytest.mark.parametrize('images', [3, [3], ['no/such/file.fits']])
def test_no_images(tmp_path, images):
    with pytest.raises((TypeError, OSError), match=r'images|no/such/file'):
        read(tmp_path, images)


def test_damaged_file(tmp_path):
    path = tmp_path / 'cut.fits'
    path.write_bytes(Path(get_example_path(
        'eso085_030_004.fits')).read_bytes()[:100_000])
    with pytest.raises(OSError, match=r'cut\.fits'):
        read(tmp_path, path)


def test_hdu(tmp_path):
    path = tmp_path / 'two.fits'
    fits.HDUList([fits.PrimaryHDU(), *(
        fits.ImageHDU(make_frame(seed).data, name=name)
        for seed, name in enumerate('AB'))]).writeto(path)
    with pytest.raises(ValueError, match='hdu must say which of 2'):
        read(tmp_path, path)
    folder = FrameFolder(tmp_path, patch=32)
    folder.read(open_images(path, hdu='B'))
    assert len(folder.frames) == 1


def test_groups(tmp_path):
    pairs = [[make_frame(0), make_frame(1)], [make_frame(2), make_frame(3)]]
    found = [group for *_, group in open_images(pairs, grouped=True)]
    assert found == [0, 0, 1, 1]
    found = [group for *_, group in open_images(pairs[0], grouped=True)]
    assert found == [0, 0]


def test_flux_scale(tmp_path):
    y, x = np.mgrid[:96, :96]
    star = 2000.0 * np.exp(-((x - 48)**2 + (y - 40)**2) / 50.0)
    frames = []
    for seed, factor in enumerate((1.0, 0.8)):
        frame = make_frame(seed, (96, 96))
        frame.data += factor * star
        frames.append(frame)
    first, second = read(tmp_path, frames, grouped=True).frames
    assert first.flux_scale == 1.0
    ratio = second.noise['level'] / first.noise['level']
    assert_allclose(second.flux_scale, ratio / 0.8, rtol=0.03)



def test_quantity_of_saturation(tmp_path):
    frame = make_frame()
    frame.data[0, 0] = 500.0
    signal = read(tmp_path, frame, saturation=400 * u.adu).frames[0].signal
    assert np.isnan(signal).sum() == 1
