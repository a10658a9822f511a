# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of reading as much as a training can use.
"""

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from astro_denoise.frames import open_frame
from astro_denoise.training import subsampling
from astro_denoise.training.frame_store import (
    FrameFolder,
    count_images,
    open_images,
)
from astro_denoise.training.subsampling import (
    ReadingPlan,
    check_disk,
    cut_image,
    usable_pixels,
)

LENGTH = {'epochs': 40, 'minutes': None, 'patch': 128, 'n_patches': 8,
          'epoch': 100, 'device': torch.device('cpu')}


def frames(number, shape=(256, 320)):
    for seed in range(number):
        yield np.random.default_rng(seed).normal(100.0, 5.0, shape)


@pytest.mark.parametrize(('options', 'expected'), [
    ({}, 65_536_000), ({'epochs': 1}, 2**24), ({'epochs': 10**6}, 2**26),
    ({'epochs': None, 'minutes': 1.0}, 30_000_000),
    ({'epochs': None, 'minutes': 1.0, 'device': torch.device('meta')},
     2**28), ({'minutes': 1.0}, 30_000_000)])
def test_usable_pixels(options, expected):
    assert usable_pixels(**{**LENGTH, **options}) == expected


@given(st.integers(1, 3000), st.integers(70, 5000), st.integers(70, 5000),
       st.integers(2**20, 2**28))
def test_plan(n_images, n_rows, n_columns, n_pixels):
    plan = ReadingPlan(n_pixels, n_images)
    read = sum(plan.reads(number, n_rows * n_columns)
               for number in range(n_images))
    assert min(2, n_images) <= read <= n_images
    rows, columns = plan.size((n_rows, n_columns))
    assert 0 < rows <= n_rows
    assert 0 < columns <= n_columns
    if n_pixels >= n_images * n_rows * n_columns:
        assert (rows, columns) == (n_rows, n_columns)
        assert read == n_images
    elif (rows, columns) != (n_rows, n_columns):
        assert rows >= min(n_rows, 512)
        assert columns >= min(n_columns, 512)
    # No more than asked for, but for windows of the least size.
    assert read * rows * columns <= max(n_pixels, 2 * 512**2) * 1.5


def test_hundred_frames_of_a_survey():
    plan = ReadingPlan(usable_pixels(**LENGTH), 100)
    rows, columns = plan.size((4096, 2048))
    assert all(map(plan.reads, range(100)))
    assert 0.8 * 65e6 < 100 * rows * columns < 1.1 * 65e6


@pytest.mark.parametrize('count', [
    lambda images: images, lambda images: list(images)])
def test_what_cannot_be_counted_is_read_whole(tmp_path, count):
    images = count(frames(3))
    known = isinstance(images, list)
    assert count_images(images) == (3 if known else None)
    folder = FrameFolder(tmp_path, patch=64, plan=ReadingPlan(
        3 * 128**2, count_images(images), 128))
    folder.read(open_images(images))
    shape = (128, 128) if known else (256, 320)
    assert [frame.shape for frame in folder.frames] == [shape] * 3
    description = folder.description()
    assert description['n_pixels'] == 3 * shape[0] * shape[1]
    assert description['n_pixels_given'] == 3 * 256 * 320


def test_exposures_of_a_field_have_one_window(tmp_path):
    sky = np.random.default_rng(9).normal(0.0, 50.0, (256, 320))
    folder = FrameFolder(tmp_path, patch=64,
                         plan=ReadingPlan(2 * 128**2, 2, 128))
    folder.read(open_images([sky + one for one in frames(2)], grouped=True))
    first, second = (frame.signal for frame in folder.frames)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9


def test_window_lies_where_there_are_data():
    frame, = frames(1, (512, 512))
    frame[:, :256] = 0.0
    frame[256:] = np.nan
    plan = ReadingPlan(128**2, 1, 128)
    for key in range(5):
        rows, columns = plan.window(open_frame(frame), key)
        assert rows.stop <= 256 + 64
        assert columns.start >= 256 - 64


@pytest.mark.parametrize('kind', ['array', 'quantity', 'ccd', 'nddata',
                                  'masked', 'cube'])
def test_cut(kind):
    frame, = frames(1)
    mask = frame > 105
    image = {
        'array': frame, 'quantity': frame * u.adu,
        'ccd': CCDData(frame, unit='adu', mask=mask, meta={'GAIN': 2.0},
                       uncertainty=StdDevUncertainty(0.1 * frame)),
        'nddata': NDData(frame, mask=mask),
        'masked': np.ma.MaskedArray(frame, mask),
        'cube': np.stack([frame, frame + 1])}[kind]
    window = np.s_[64:128, 100:150]
    found, whole = (open_frame(one) for one in (cut_image(image, window),
                                                image))
    for name in ('values', 'valid', 'sigma'):
        part, expected = (getattr(reader.read(), name)
                          for reader in (found, whole))
        if expected is None:
            assert part is None
        else:
            assert_array_equal(part, expected[(slice(None), *window)])
    assert found.unit == whole.unit
    assert dict(found.header) == dict(whole.header)


def test_full_disk(tmp_path, monkeypatch):
    assert check_disk(2e6, tmp_path) == '0.016 GB'
    with pytest.raises(OSError, match=r'8e\+09 GB of disk, and .* give anot'):
        check_disk(1e18, tmp_path)
    monkeypatch.setattr(subsampling, 'BYTES_PER_PIXEL', 1e15)
    with pytest.raises(OSError, match='or fewer frames'):
        FrameFolder(tmp_path, patch=64).read(open_images(frames(1)))


def test_progress(tmp_path, capsys):
    images = list(frames(2))
    FrameFolder(tmp_path, patch=64, progress_bar=True,
                plan=ReadingPlan(n_images=2)).read(open_images(images))
    shown = capsys.readouterr().err
    assert 'reading, 0.0013 GB on disk' in shown
    assert '2/2' in shown


def test_of_very_many_images_some_are_opened(tmp_path):
    paths = []
    for number, one in enumerate(frames(12, (128, 128))):
        paths.append(tmp_path / f'{number}.fits')
        if number % 3 == 0:  # the others cannot be opened
            fits.writeto(paths[-1], one)
    folder = FrameFolder(tmp_path, patch=64,
                         plan=ReadingPlan(4 * 128**2, 12, 128))
    folder.read(open_images(paths, wants=folder.wants))
    assert [frame.name for frame in folder.frames] == [
        f'{number}.fits' for number in (0, 3, 6, 9)]
