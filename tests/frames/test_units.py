# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of units and quantities in the spellings of headers.
"""

import astropy.units as u
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_denoise.frames.units import parse_quantity, parse_unit

ELECTRON, ADU = u.electron, u.adu


@pytest.mark.parametrize(('text', 'unit'), [
    ('ELECTRONS', ELECTRON), ('electron/s', ELECTRON / u.s),
    ('ELECTRONS/S', ELECTRON / u.s), ('electrons/s', ELECTRON / u.s),
    ('counts/s', u.ct / u.s), ('COUNTS/SEC', u.ct / u.s),
    ('e-/s', ELECTRON / u.s), ('e- s-1', ELECTRON / u.s), ('DN', ADU),
    ('DN/s', ADU / u.s), ('ADUs', ADU), ('[adu]', ADU),
    ('electrons per second', ELECTRON / u.s), ('MJy/sr', u.MJy / u.sr),
    ('e-/pixel/s', ELECTRON / u.pixel / u.s), ('Jy / beam', u.Jy / u.beam),
    ('10**-20 erg/s/cm2/Angstrom', 1e-20 * u.erg / u.s / u.cm**2 / u.AA)])
def test_unit(text, unit):
    assert parse_unit(text) == unit


@pytest.mark.parametrize('text', ['furlongs', '3 4', 'e-/'])
def test_no_unit(text):
    with pytest.raises(ValueError, match='is not a unit'):
        parse_unit(text)


@pytest.mark.parametrize(('text', 'value'), [
    ('1.6', 1.6), (' 1,6 ', 1.6), ('-1', -1.0), ('.5', 0.5), ('1.5D1', 15.0),
    ('1.6 e-/ADU', 1.6 * ELECTRON / ADU),
    ('1,6 [e-/DN]', 1.6 * ELECTRON / ADU),
    ('5.1E0 e-', 5.1 * ELECTRON)])
def test_quantity(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize('text', ['high', '1.6.2', '', '1.6 furlongs', '1,6,7',
                                  '1,600', '12,345'])
def test_no_quantity(text):
    with pytest.raises(ValueError, match=r'number|comma|unit'):
        parse_quantity(text)


@given(st.floats(1e-6, 1e6))
def test_numbers_come_back(number):
    assert parse_quantity(f'{number!r} e-') == number * ELECTRON
    assert parse_quantity(repr(number)) == number
