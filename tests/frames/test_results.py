# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of taking arrays out of a frame and putting them back.
"""

import contextlib
import warnings
from io import BytesIO

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    NDDataRef,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from astro_denoise.exceptions import NoiseEstimateWarning
from astro_denoise.frames import FrameWriter, open_frame, unpack

LOG = {'DNMODEL': ('ccd', 'model that denoised'), 'DNLEVEL': 1.5,
       'DNTILES': np.int64(4)}
DTYPES = ['u1', 'i1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f2', 'f4', 'f8']


class Flux(u.SpecificTypeQuantity):
    _equivalent_unit = u.adu


def repack(frame, denoised, error, *, mask=None, **options):
    """
    Put new pixels, plane by plane, into an object like what was given.
    """
    reader = open_frame(frame.data, mask=mask)
    shape = reader.pixels.shape
    dtype = output_dtype(reader.pixels.dtype)
    writer = FrameWriter(reader, np.empty(shape, dtype),
                         np.empty(shape, dtype))
    for number, index in enumerate(reader.indices):
        # In two parts, as an engine does.
        for rows in (slice(0, 1), slice(1, shape[-2])):
            window = rows, slice(0, shape[-1])
            writer.write(reader.plane(index), window,
                         *(each[number][window] for each in
                           (denoised, error, frame.valid)))
    return writer.wrap(**options)



def output_dtype(dtype):
    """
    Type that the result must have, said in another way than in the code.
    """
    if dtype.kind == 'f':
        return np.dtype(f'f{max(4, dtype.itemsize)}')
    return np.dtype('f4') if dtype.itemsize <= 2 else np.dtype('f8')


def tan_wcs(n_axes):
    wcs = WCS(naxis=n_axes)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN', 'LINEAR'][:n_axes]
    wcs.wcs.crval = [266.4, -29.0, 1][:n_axes]
    wcs.wcs.cdelt = [-1e-4, 1e-4, 1][:n_axes]
    wcs.wcs.set()
    return wcs


@st.composite
def arrays(draw):
    """
    An array of any type, byte order, layout and shape, with some NaN.
    """
    order = draw(st.sampled_from('<>'))
    dtype = np.dtype(order + draw(st.sampled_from(DTYPES)))
    shape = draw(st.sampled_from([(1, 1), (1, 7), (5, 1), (4, 6), (9, 8),
                                  (1, 4, 5), (3, 4, 6), (2, 1, 1)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    array = rng.integers(1, 100, shape).astype(dtype)
    if dtype.kind == 'f':
        lost = rng.random(shape) < draw(st.sampled_from([0, 0.1, 0.5]))
        lost.flat[0] = False
        array[lost] = rng.choice([np.nan, np.inf, -np.inf], lost.sum())
    layout = draw(st.sampled_from(['c', 'fortran', 'step', 'flip',
                                   'read-only']))
    if layout == 'fortran':
        array = np.asfortranarray(array)
    elif layout == 'step':
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    elif layout == 'flip':
        array = array[..., ::-1, ::-1].copy()[..., ::-1, ::-1]
    elif layout == 'read-only':
        array.flags.writeable = False
    return array


@st.composite
def frames(draw):
    """
    A frame in any container, with its mask and standard deviation.
    """
    array = draw(arrays())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random(array.shape) < draw(st.sampled_from([0, 0.2, 0.8]))
    mask.flat[0] = False
    unit = draw(st.sampled_from([u.adu, u.electron, u.Jy,
                                 u.dimensionless_unscaled]))
    kind = draw(st.sampled_from(['ndarray', 'masked', 'quantity', 'subclass',
                                 'masked quantity', 'nddata', 'nddataref',
                                 'ccddata', 'ccddata header']))
    if kind == 'ndarray':
        return array, None, None
    if kind == 'masked':
        return np.ma.MaskedArray(array, mask=mask), mask, None
    if kind == 'quantity':
        return u.Quantity(array, unit, dtype=array.dtype), None, None
    if kind == 'subclass':
        return Flux(array, u.adu, dtype=array.dtype), None, None
    if kind == 'masked quantity':
        quantity = u.Quantity(array, unit, dtype=array.dtype)
        return Masked(quantity, mask=mask), mask, None

    mask_type = draw(st.sampled_from([None, bool, np.int32, np.uint8]))
    own_mask = None if mask_type is None else mask.astype(mask_type) * 4
    if mask_type is bool:
        own_mask = mask
    sigma = rng.uniform(1, 2, array.shape).astype(
        draw(st.sampled_from(['>f4', 'f8'])))
    uncertainty, power = draw(st.sampled_from(
        [(None, 0), (StdDevUncertainty, 1), (VarianceUncertainty, 2),
         (InverseVariance, -2)]))
    keywords = {'unit': unit, 'mask': own_mask, 'meta': {'OBJECT': 'M 13'}}
    if uncertainty is None:
        sigma = None
    else:
        keywords['uncertainty'] = uncertainty(sigma**power)
    if draw(st.booleans()):
        keywords['wcs'] = tan_wcs(array.ndim)
    if kind == 'nddata':
        frame = NDData(array, psf=np.ones((3, 3)), **keywords)
    elif kind == 'nddataref':
        frame = NDDataRef(array, **keywords)
    else:
        if kind == 'ccddata header':
            keywords['meta'] = fits.Header({'OBJECT': 'M 13', 'GAIN': 2.0})
        frame = CCDData(array, **keywords)
    return frame, mask if mask_type is not None else None, sigma


def plain(frame):
    """
    The bytes of all arrays of a frame, to see that they do not change.
    """
    if isinstance(frame, NDData):
        parts = [frame.data, frame.mask, str(dict(frame.meta))]
        if frame.uncertainty is not None:
            parts += [frame.uncertainty.array,
                      type(frame.uncertainty).__name__]
    else:
        parts = [np.asarray(getattr(frame, 'unmasked', frame)),
                 getattr(frame, 'mask', None)]
    return [part.tobytes() if hasattr(part, 'tobytes') else part
            for part in parts]


@given(frames())
@settings(max_examples=400)
def test_round_trip(case):
    data, mask, sigma = case
    before = plain(data)
    values = data
    if isinstance(data, NDData):
        values = data.data
    elif isinstance(data, Masked):
        values = data.unmasked
    values = np.asarray(values)
    dtype = output_dtype(values.dtype)
    good = np.isfinite(values)
    if mask is not None:
        good &= ~mask

    frame = unpack(data)
    assert frame.data is data
    assert frame.values.shape == frame.valid.shape == (
        (1, *values.shape) if values.ndim == 2 else values.shape)
    assert frame.values.dtype == np.dtype(
        'f4' if dtype.itemsize == 4 else 'f8')
    assert frame.values.dtype.isnative
    assert frame.values.flags.c_contiguous
    assert_array_equal(frame.valid.reshape(good.shape), good)
    expected = np.where(good, values, 0)
    assert_array_equal(frame.values.reshape(good.shape), expected)
    assert frame.unit == getattr(data, 'unit', None)
    if sigma is None:
        assert frame.sigma is None
    else:
        assert frame.sigma.dtype == frame.values.dtype
        assert_allclose(frame.sigma.reshape(good.shape), sigma, rtol=1e-5)

    denoised = frame.values + 0.25
    error = np.full_like(denoised, 0.5)
    log = LOG if isinstance(data, NDData) else None
    result = repack(frame, denoised, error, log=log)
    assert type(result) is type(data)
    check = result.data if isinstance(data, NDData) else result
    if isinstance(data, Masked):
        check = result.unmasked
    check = np.asarray(check)
    assert check.dtype == dtype
    assert check.dtype.isnative
    assert check.flags.writeable
    assert_array_equal(check, np.where(good, values + 0.25, values))
    assert not np.shares_memory(check, values)
    assert getattr(result, 'unit', None) == getattr(data, 'unit', None)
    if isinstance(data, Masked | np.ma.MaskedArray):
        assert_array_equal(np.ma.getmaskarray(result)
                           if isinstance(data, np.ma.MaskedArray)
                           else result.mask, ~good)
    if isinstance(data, NDData):
        check_nddata(data, result, good, sigma)
    else:
        pair = repack(frame, denoised, error, return_uncertainty=True)
        assert isinstance(pair, tuple)
        assert all(type(item) is type(data) for item in pair)
        assert pair[1].dtype == dtype
        array = np.asarray(getattr(pair[1], 'unmasked', pair[1]))
        assert_array_equal(array, np.where(good, 0.5, np.nan))
    assert plain(data) == before


def check_nddata(data, result, good, sigma):
    assert isinstance(result.uncertainty, StdDevUncertainty)
    assert result.uncertainty.array.dtype == result.data.dtype
    array = result.uncertainty.array
    assert np.all(array[good] == 0.5)
    if sigma is None:
        assert np.all(np.isnan(array[~good]))
    else:
        assert_allclose(array[~good], sigma[~good], rtol=1e-5)
    if data.mask is None and good.all():
        assert result.mask is None
    else:
        assert_array_equal(result.mask != 0, ~good)
    if data.mask is not None:
        assert result.mask.dtype == data.mask.dtype
        assert_array_equal(result.mask[data.mask != 0],
                           data.mask[data.mask != 0])
        assert result.mask is not data.mask
    assert result.meta is not data.meta
    assert type(result.meta) is type(data.meta)
    for keyword, value in dict(data.meta).items():
        assert result.meta[keyword] == value
    for keyword, value in (('DNMODEL', 'ccd'), ('DNLEVEL', 1.5),
                           ('DNTILES', 4)):
        assert result.meta[keyword] == value
    if data.psf is not None:
        assert_array_equal(result.psf, data.psf)
    if data.wcs is None:
        assert result.wcs is None
    else:
        assert result.wcs is not data.wcs
        assert result.wcs.wcs.compare(data.wcs.wcs)
    if isinstance(data, CCDData):
        check_file(result)


def check_file(ccd):
    """
    Written to FITS and read back, with warnings as errors.
    """
    if ccd.mask is not None:
        ccd = CCDData(ccd, mask=ccd.mask != 0)
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ccd.to_hdu(as_image_hdu=False).writeto(stream,
                                               output_verify='exception')
        stream.seek(0)
        with fits.open(stream) as hdus:
            hdus.verify('exception')
            assert_array_equal(hdus[0].data, ccd.data)
            for keyword in ('DNMODEL', 'DNLEVEL', 'OBJECT'):
                assert hdus[0].header[keyword] == ccd.meta[keyword]
            if isinstance(ccd.meta, fits.Header):
                comment = hdus[0].header.comments['DNMODEL']
                assert comment == 'model that denoised'


class TestMask:
    values = np.arange(1.0, 13).reshape(3, 4)

    @pytest.mark.parametrize('dtype', [bool, int, 'u1', '>i2'])
    def test_argument(self, dtype):
        mask = np.zeros((3, 4), dtype)
        mask[1, 2] = 1
        own = np.zeros((3, 4), bool)
        own[0, 0] = True
        ccd = CCDData(self.values, unit='adu', mask=own)
        frame = unpack(ccd, mask=mask)
        expected = own | (mask != 0)
        assert_array_equal(~frame.valid[0], expected)
        result = repack(frame, frame.values, frame.values, mask=mask)
        assert_array_equal(result.mask, expected)
        assert result.data[1, 2] == self.values[1, 2]
        assert own.sum() == 1

    def test_bits_are_kept(self):
        bits = np.zeros((3, 4), np.int16)
        bits[0, 0] = 4096
        frame = unpack(NDData(self.values, mask=bits),
                       mask=self.values == 12)
        result = repack(frame, frame.values, frame.values,
                        mask=self.values == 12)
        assert result.mask.dtype == np.int16
        assert result.mask[0, 0] == 4096
        assert result.mask[2, 3] == 1
        assert result.mask.sum() == 4097

    def test_scalar(self):
        frame = unpack(NDData(self.values, mask=False),
                       mask=np.ma.nomask)
        assert frame.valid.all()

    @pytest.mark.parametrize(('mask', 'error', 'match'), [
        (np.zeros((4, 3), bool), ValueError,
         r'mask must have the shape of data \(3, 4\), got \(4, 3\)'),
        (np.zeros(4, bool), ValueError, r'got \(4,\)'),
        (np.zeros((3, 4)), TypeError, 'mask must have .*float64'),
        (np.ones((3, 4), bool), ValueError, 'all 12 are masked'),
    ])
    def test_bad(self, mask, error, match):
        with pytest.raises(error, match=match):
            unpack(self.values, mask=mask)


class TestUncertainty:
    values = np.ones((2, 3))
    std = np.array([[1, 2, 4], [1, 1, 0.5]])

    @pytest.mark.parametrize('uncertainty', [
        std, std.astype('>f4'), std * u.electron,
        1000 * std * u.Unit('0.001 electron'),
        StdDevUncertainty(std), VarianceUncertainty(std**2),
        InverseVariance(1 / std**2),
        StdDevUncertainty(std, unit=u.electron),
        VarianceUncertainty(std**2, unit=u.electron**2),
        InverseVariance(1e-6 / std**2, unit=u.Unit('0.001 electron')**-2),
    ])
    def test_kinds(self, uncertainty):
        own = StdDevUncertainty(np.full((2, 3), 9.0))
        ccd = CCDData(self.values, unit='electron', uncertainty=own)
        frame = unpack(ccd, uncertainty=uncertainty)
        assert_allclose(frame.sigma[0], self.std)
        assert ccd.uncertainty.array[0, 0] == 9

    @pytest.mark.parametrize('uncertainty', [
        2, 2.0, np.float32(2), 2 * u.electron, 2000 * u.Unit('0.001 electron'),
        np.full((2, 3), 2), np.full((2, 3), 2, '>u2')])
    def test_scalars_and_integers(self, uncertainty):
        data = CCDData(self.values, unit='electron')
        assert np.all(unpack(data, uncertainty=uncertainty).sigma == 2)

    @pytest.mark.parametrize('value', [np.nan, np.inf])
    def test_not_finite_is_not_valid(self, value):
        std = self.std.copy()
        std[0, 1] = value
        # Infinite is said on purpose.
        with (pytest.warns(NoiseEstimateWarning, match='is NaN for 1 of the '
                           r'valid pixels \(17 %\)') if np.isnan(value)
              else contextlib.nullcontext()):
            frame = unpack(self.values, uncertainty=std)
        assert_array_equal(frame.valid[0], np.isfinite(std))
        assert frame.values[0, 0, 1] == 0

    def test_nan_where_nothing_is_valid_anyway(self):
        std = self.std.copy()
        std[0, :2] = np.nan
        values = self.values.astype(float)
        values[0, 0] = np.nan
        mask = np.zeros(values.shape, bool)
        mask[0, 1] = True
        frame = unpack(values, uncertainty=std, mask=mask)
        assert frame.valid.sum() == 4

    def test_no_weight_is_not_valid(self):
        weight = np.array([[0, 1, 4.0], [1, 1, 1]])
        ccd = CCDData(self.values, unit='adu',
                      uncertainty=InverseVariance(weight))
        frame = unpack(ccd)
        assert_array_equal(frame.valid[0], weight > 0)
        result = repack(frame, frame.values, frame.sigma)
        assert_array_equal(result.mask, weight == 0)

    def test_zero_where_masked(self):
        std = self.std.copy()
        std[0, 0] = 0
        frame = unpack(self.values, uncertainty=std, mask=std == 0)
        assert frame.valid.sum() == 5

    @pytest.mark.parametrize(('uncertainty', 'error', 'match'), [
        (0, ValueError, r'uncertainty must be positive, got 0 at pixel'),
        (-1.0, ValueError, r'got -1\.0 at pixel \(0, 0\)'),
        (np.diag([0, 1, 2.0])[:2], ValueError, r'got 0\.0 at pixel \(0, 0'),
        (InverseVariance(-std), ValueError, 'must be positive'),
        (VarianceUncertainty(0 * std), ValueError, 'must be positive'),
        (InverseVariance(0 * std), ValueError,
         'uncertainty must be finite for some valid pixel, got inf'),
        (np.nan, ValueError, 'must be finite for some valid pixel, got nan'),
        (np.ones((3, 2)), ValueError,
         r'uncertainty must have the shape of data \(2, 3\), got \(3, 2\)'),
        (StdDevUncertainty(np.ones((3, 2))), ValueError, 'the shape of data'),
        (2 * u.m, ValueError, 'uncertainty in m cannot be converted'),
        (StdDevUncertainty(std, unit='m'), ValueError, 'cannot be converted'),
        (UnknownUncertainty(std), TypeError, 'got UnknownUncertainty'),
        ('high', TypeError, "must be an array, got the path 'high': read it"),
        (1j, TypeError, 'uncertainty must have .*complex'),
        (True, TypeError, 'uncertainty must have .*bool'),
    ])
    def test_bad(self, uncertainty, error, match):
        data = CCDData(self.values, unit='adu')
        with pytest.raises(error, match=match):
            unpack(data, uncertainty=uncertainty)

    def test_bad_own(self):
        with pytest.raises(TypeError, match='got UnknownUncertainty'):
            unpack(NDData(self.values,
                          uncertainty=UnknownUncertainty(self.std)))


class TestBadData:
    @pytest.mark.parametrize('data', [
        np.ones(5), np.ones((2, 2, 2, 2)), np.array(1.0), np.ones((0, 4)),
        np.ones((0, 4, 4)), NDData(np.ones(5)), np.ones(3) * u.adu])
    def test_shape(self, data):
        with pytest.raises(ValueError, match=r'data must have shape .*got'):
            unpack(data)

    @pytest.mark.parametrize('dtype', [complex, object, bool, 'U3', 'S3',
                                       'M8[s]', [('a', float)]])
    def test_dtype(self, dtype):
        with pytest.raises(TypeError, match='data must have an integer or'):
            unpack(np.zeros((3, 3), dtype))

    @pytest.mark.parametrize('data', [None, 1.5, {}, open])
    def test_kind(self, data):
        with pytest.raises(TypeError, match=r'data must be CCDData, NDData'):
            unpack(data)

    def test_text_and_ragged(self):
        with pytest.raises(TypeError, match=r'data must be CCDData.*frame'):
            unpack('frame.fits')
        with pytest.raises(ValueError, match='data must be an array'):
            unpack([[1, 2], [3]])

    @pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
    def test_not_finite(self, value):
        with pytest.raises(ValueError, match='must have finite pixels'):
            unpack(np.full((3, 3), value))


def test_list():
    frame = unpack([[1, 2], [3, 4]])
    result = repack(frame, frame.values, frame.values)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float64


def test_memory_map(tmp_path):
    path = tmp_path / 'frame.fits'
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    fits.writeto(path, values)
    content = path.read_bytes()
    with fits.open(path, memmap=True) as hdus:
        frame = unpack(hdus[0].data)
        result = repack(frame, frame.values * 2, frame.values)
        del frame
        del hdus[0].data
    assert_array_equal(result, values * 2)
    assert type(result) is np.ndarray
    assert path.read_bytes() == content


class TestWriter:
    def test_long_keyword(self):
        frame = unpack(CCDData(np.ones((3, 4)), unit='adu'))
        with pytest.raises(ValueError, match="HIERARCH, got 'DENOISEDBY'"):
            repack(frame, frame.values, frame.values, log={'DENOISEDBY': 1})

    def test_flags(self):
        ccd = CCDData(np.ones((3, 4)), unit='adu', flags=np.ones((3, 4)))
        frame = unpack(ccd)
        result = repack(frame, frame.values, frame.values)
        assert_array_equal(result.flags, ccd.flags)
        assert result.flags is not ccd.flags
