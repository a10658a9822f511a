# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the digest that tells values apart.
"""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import (
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.table import QTable, Table
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

from astro_denoise.pipeline.digest import digest_value, parts_of

ONES = np.ones((3, 4))
OTHER = np.where(np.arange(12).reshape(3, 4) == 5, 2.0, 1.0)
MASK = OTHER > 1
SKY = SkyCoord([1, 2] * u.deg, [3, 4] * u.deg)

# Each is another value than all others, if by its type alone.
VALUES = [
    None, True, 1, 1.0, 2.0, -0.0, 0.0, float('inf'), 1j, '1', b'1', '',
    '\udcff', Path('1'), (1,), [1], [(1,)], [[1]], {'a': 1}, {'a': 1.0},
    {1: 'a'}, np.float32(1), np.float64(1), np.int64(1), np.True_,
    ONES, OTHER, ONES.T, ONES.ravel(), ONES.astype(np.float32),
    ONES.astype(np.float32).view(np.int32),
    np.zeros((0, 3)), np.zeros((3, 0)), np.array(3.0), np.array([3.0]),
    np.array(['a', 'b']), np.array(['a', None], object),
    np.zeros(2, [('a', 'f4'), ('b', 'i4')]),
    np.zeros(2, [('a', 'f4'), ('c', 'i4')]),
    np.ma.array(ONES), np.ma.array(ONES, mask=MASK),
    Masked(ONES, mask=MASK), Masked(ONES * u.adu),
    Masked(ONES * u.adu, mask=MASK), ONES * u.adu, ONES * u.electron,
    2 * u.electron / u.adu, 2 * u.ph / u.adu, 5 * u.electron,
    5 * u.Unit('1000 electron'), u.adu, u.electron, 3 * u.mag(u.adu),
    StdDevUncertainty(ONES), StdDevUncertainty(OTHER),
    VarianceUncertainty(ONES), StdDevUncertainty(ONES, unit='adu'),
    Table({'a': [1, 2]}), Table({'a': [1, 3]}), Table({'b': [1, 2]}),
    Table({'a': [1, 2]}, masked=True), QTable({'a': [1, 2] * u.m}),
    QTable({'s': SKY}), QTable({'s': SKY[::-1]}), QTable({'s': SKY.fk5})]


def test_all_that_differs_is_told_apart():
    digests = [digest_value(value) for value in VALUES]
    assert len(set(digests)) == len(VALUES)


@pytest.mark.parametrize('value', VALUES, ids=repr)
def test_the_same_value_has_the_same_digest(value):
    expected = digest_value(value)
    assert digest_value(copy.deepcopy(value)) == expected
    if not isinstance(value, Masked):  # which lose their mask
        assert digest_value(pickle.loads(pickle.dumps(value))) == expected


def test_order_of_bytes():
    assert digest_value(ONES.astype('>f8')) == digest_value(ONES)


def test_same_in_every_process():
    code = ('from astro_denoise.pipeline.digest import digest_value\n'
            'print(digest_value({"b": (1, "x"), "a": None}))\n')
    found = subprocess.run([sys.executable, '-c', code], check=True,
                           capture_output=True, text=True).stdout.strip()
    assert found == digest_value({'a': None, 'b': (1, 'x')})


@pytest.mark.parametrize('value', [
    object(), print, lambda: 1, {1, 2}, NDData(ONES), ONES.view(np.matrix),
    [1, object()], {'a': print}, np.array([print], object)], ids=[
        'object', 'function', 'lambda', 'set', 'NDData', 'matrix', 'in a list',
        'in a dict', 'in an array'])
@pytest.mark.filterwarnings('ignore::PendingDeprecationWarning')
def test_what_cannot_be_told_apart_is_refused(value):
    with pytest.raises(TypeError, match='cannot be told from others'):
        digest_value(value)


def test_more_types_can_be_registered():
    class Kernel:
        def __init__(self, width):
            self.width = width

    @parts_of.register
    def _(value: Kernel):
        return [value.width]

    assert digest_value(Kernel(1)) == digest_value(Kernel(1))
    assert digest_value(Kernel(1)) != digest_value(Kernel(2))
    assert digest_value(Kernel(1)) != digest_value([1])


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=2), inner, max_size=2))


@given(plain, plain)
def test_plain_values(first, second):
    assert digest_value(first) == digest_value(copy.deepcopy(first))
    if first != second:
        assert digest_value(first) != digest_value(second)
