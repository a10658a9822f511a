# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What must hold for any frame, tried on many kinds of them.
"""

import copy
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from astro_denoise import denoise
from astro_denoise.exceptions import (
    CorrelatedNoiseWarning,
    NoiseEstimateWarning,
)
from astro_denoise.models.registry import Model

TYPES = ['f2', 'f4', 'f8', 'i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8']
UNITS = ['adu', 'electron', 'ph', 'Jy / beam', 'electron / s', '']
UNCERTAINTIES = {
    None: None, 'std': StdDevUncertainty, 'var': VarianceUncertainty,
    'ivar': InverseVariance}
LAYOUTS = ['C', 'F', 'strided', 'reversed', 'read-only', 'transposed']
KINDS = ['CCDData', 'NDData', 'Quantity', 'ndarray', 'MaskedArray']


def sides(largest, most):
    """
    Shapes of one to 600 pixels a side, and not too many pixels in all.
    """
    side = st.one_of(st.integers(1, 40), st.integers(1, largest))
    return st.tuples(side, side).filter(
        lambda shape: shape[0] * shape[1] <= most)


def cases(largest=600, most=12_000):
    return st.fixed_dictionaries({
        'dtype': st.sampled_from(TYPES), 'order': st.sampled_from('<>'),
        'shape': sides(largest, most), 'stack': st.sampled_from([0, 0, 1, 2]),
        'nan_share': st.sampled_from([0.0, 0.01, 0.5]),
        'mask_share': st.sampled_from([None, 0.0, 0.05, 0.7]),
        'unit': st.sampled_from(UNITS),
        'uncertainty': st.sampled_from(list(UNCERTAINTIES)),
        'layout': st.sampled_from(LAYOUTS), 'kind': st.sampled_from(KINDS),
        'seed': st.integers(0, 2**16)})


@pytest.fixture(scope='module')
def model(request):
    import torch

    from astro_denoise.models.denoiser import CCDDenoiser

    generator = torch.Generator().manual_seed(3)
    network = CCDDenoiser((4, 6), (1.2, 2.4)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    network.to(memory_format=torch.channels_last)
    return Model(network, {'name': 'random', 'task': 'denoise'})


def laid_out(array, layout):
    """
    The same values in another layout of memory.
    """
    if layout == 'F':
        return np.asfortranarray(array)
    if layout == 'strided':
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1),
                        array.dtype)
        wide[..., 1::2] = array
        return wide[..., 1::2]
    if layout == 'reversed':
        return array[..., ::-1].copy()[..., ::-1]
    if layout == 'transposed':
        return array.swapaxes(-1, -2).copy().swapaxes(-1, -2)
    array = array.copy()
    array.flags.writeable = layout != 'read-only'
    return array


def build(case):
    """
    Pixels, mask, and uncertainty of a case.
    """
    rng = np.random.default_rng(case['seed'])
    shape = ((case['stack'],) if case['stack'] else ()) + case['shape']
    pixels = np.clip(rng.normal(90.0, 5.0, shape), 0, 120)
    dtype = np.dtype(case['order'] + case['dtype'])
    pixels = pixels.astype(dtype)
    if dtype.kind == 'f':
        lost = rng.random(shape) < case['nan_share']
        pixels[lost] = rng.choice([np.nan, np.inf, -np.inf], lost.sum())
        pixels.flat[0] = 90.0
    mask = None
    if case['mask_share'] is not None:
        mask = rng.random(shape) < case['mask_share']
        mask.flat[0] = False
    uncertainty = None
    if case['uncertainty']:
        power = {'std': 1, 'var': 2, 'ivar': -2}[case['uncertainty']]
        uncertainty = rng.uniform(4.0, 6.0, shape)**power
    return laid_out(pixels, case['layout']), mask, uncertainty


def wrapped(case, pixels, mask, uncertainty):
    """
    The frame, and the arguments that are not part of it.
    """
    kind = UNCERTAINTIES[case['uncertainty']]
    noise = None if kind is None else kind(uncertainty)
    if case['kind'] in ('CCDData', 'NDData'):
        make = {'CCDData': CCDData, 'NDData': NDData}[case['kind']]
        return make(pixels, unit=u.Unit(case['unit']), mask=mask,
                    uncertainty=noise, meta={'OBJECT': 'field'}), {}
    options = {'uncertainty': noise, 'mask': mask}
    if case['kind'] == 'Quantity':
        if noise is not None:
            noise.unit = u.Unit(case['unit'])**{
                'std': 1, 'var': 2, 'ivar': -2}[case['uncertainty']]
        if pixels.dtype.kind != 'f':
            return u.Quantity(pixels, case['unit']), options  # float64
        return u.Quantity(pixels, case['unit'], copy=False,
                          dtype=None), options
    if case['kind'] == 'MaskedArray':
        own = False if mask is None else mask
        return np.ma.MaskedArray(pixels, mask=own), {'uncertainty': noise}
    return pixels, options


def run(frame, model, options):
    with warnings.catch_warnings():
        # Few pixels do not tell what the noise is.
        warnings.simplefilter('ignore', NoiseEstimateWarning)
        warnings.simplefilter('ignore', CorrelatedNoiseWarning)
        return denoise(frame, model, **options)


def plain(frame):
    """
    The pixels of whatever it is, without their mask.
    """
    if isinstance(frame, NDData | np.ma.MaskedArray):
        return np.asarray(frame.data)
    return np.asarray(getattr(frame, 'value', frame))


def check(case, model):
    pixels, mask, uncertainty = build(case)
    frame, options = wrapped(case, pixels, mask, uncertainty)
    before = copy.deepcopy((pixels.tobytes(), mask, uncertainty))
    result = run(frame, model, options)

    # The input is as it was.
    assert pixels.tobytes() == before[0]
    for array, old in zip((mask, uncertainty), before[1:], strict=True):
        if old is not None:
            assert_array_equal(array, old)

    # Type and metadata are those of the input.
    assert type(result) is type(frame)
    values = plain(result)
    assert values.shape == pixels.shape
    assert values.dtype.isnative
    assert values.dtype.kind == 'f'
    if isinstance(frame, NDData):
        assert result.unit == frame.unit
        assert result.meta['OBJECT'] == 'field'
        assert isinstance(result.uncertainty, StdDevUncertainty)
    elif isinstance(frame, u.Quantity):
        assert result.unit == frame.unit

    # Valid pixels are finite, the others as they were.
    good = np.isfinite(plain(frame))
    if mask is not None:
        good &= ~mask
    assert np.all(np.isfinite(values[good]))
    assert_array_equal(values[~good], plain(frame)[~good])
    if isinstance(frame, NDData):
        error = result.uncertainty.array
        assert np.all(np.isfinite(error[good]) & (error[good] > 0))
        if not good.all():
            assert_array_equal(result.mask, ~good)
    elif case['kind'] == 'MaskedArray':
        assert_array_equal(np.ma.getmaskarray(result), ~good)

    # Masked pixels have no influence.
    if mask is not None and mask.any():
        other = np.array(pixels)
        other[mask] = np.random.default_rng(1).integers(
            0, 120, np.count_nonzero(mask)).astype(other.dtype)
        again, options = wrapped(case, other, mask, uncertainty)
        again = plain(run(again, model, options))
        assert_array_equal(again[good], values[good])


@given(case=cases())
@settings(max_examples=200,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_kind_of_frame(case, model):
    check(case, model)


@pytest.mark.slow
@given(case=cases(most=360_000))
@settings(max_examples=2000,
          suppress_health_check=[HealthCheck.function_scoped_fixture,
                                 HealthCheck.too_slow])
def test_any_kind_of_frame_often(case, model):
    check(case, model)
