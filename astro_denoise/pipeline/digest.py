# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A digest of values by all that they are: type, unit, shape, bytes, mask.
"""

import functools
import hashlib
import os

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import NDUncertainty
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.masked import Masked

__all__ = ['digest_value', 'parts_of']


def digest_value(value):
    """
    SHA-256 of a value.

    Parameters
    ----------
    value : object
        Plain values, containers of them, arrays, quantities,
        uncertainties, tables, and what is registered with `parts_of`.

    Returns
    -------
    digest : str
        64 hexadecimal digits, the same in every process, which differ if
        anything of the value does.

    Raises
    ------
    TypeError
        If not all that the value is made of is known.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astro_denoise.pipeline.digest import digest_value
    >>> digest_value(2 * u.electron) == digest_value(2 * u.adu)
    False
    """
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()


def _add(digest, value):
    parts = parts_of(value)
    # Everything is told with its length: nothing can look like two others.
    _add_bytes(digest, _name(type(value)).encode())
    digest.update(f'{len(parts)};'.encode())
    for part in parts:
        if isinstance(part, bytes | memoryview):
            _add_bytes(digest, part)
        else:
            _add(digest, part)


def _add_bytes(digest, content):
    digest.update(f'{len(content)}:'.encode())
    digest.update(content)


def _name(kind):
    return f'{kind.__module__}.{kind.__qualname__}'


@functools.singledispatch
def parts_of(value):
    """
    The parts of a value that make it what it is.

    Parameters
    ----------
    value : object
        The value.

    Returns
    -------
    parts : list
        Bytes, and values that have parts themselves.

    Raises
    ------
    TypeError
        If its type is not registered.
    """
    msg = (f'an object of type {_name(type(value))} cannot be told from '
           f'others of its kind, which takes a number, text, array, '
           f'quantity, uncertainty or table')
    raise TypeError(msg)


@parts_of.register(type(None))
@parts_of.register(bool)
@parts_of.register(int)
@parts_of.register(complex)
@parts_of.register(str)
def _(value):
    return [repr(value).encode(errors='surrogatepass')]


@parts_of.register
def _(value: float):
    return [value.hex().encode()]


@parts_of.register
def _(value: bytes):
    return [value]


@parts_of.register(os.PathLike)
def _(value):
    return [os.fspath(value)]


@parts_of.register(list)
@parts_of.register(tuple)
def _(value):
    return list(value)


@parts_of.register(dict)
def _(value):
    return [part for item in sorted(
        value.items(), key=lambda item: digest_value(item[0]))
        for part in item]


@parts_of.register(np.generic)
@parts_of.register(np.ndarray)
def _(value):
    if isinstance(value, np.ndarray) and type(value) not in (
            np.ndarray, np.memmap):
        return parts_of.dispatch(object)(value)
    if value.dtype.hasobject:
        return [str(value.dtype), list(value.shape), value.ravel().tolist()]
    # Without the order of bytes, which pickles change on the way to workers.
    content = np.ascontiguousarray(value, value.dtype.newbyteorder('<'))
    return [repr(content.dtype.descr), list(value.shape),
            memoryview(content.reshape(-1).view(np.uint8))]


@parts_of.register(np.ma.MaskedArray)
def _(value):
    return [np.ma.getdata(value, subok=False), np.ma.getmaskarray(value)]


@parts_of.register(u.UnitBase)
@parts_of.register(u.FunctionUnitBase)
@parts_of.register(u.StructuredUnit)
def _(value):
    return [value.to_string()]


@parts_of.register
def _(value: u.Quantity):
    if isinstance(value, Masked):
        return [value.unit, np.asarray(value.unmasked.value),
                np.asarray(value.mask)]
    return [value.unit, np.asarray(value.value)]


@parts_of.register
def _(value: Masked):
    return [value.unmasked, np.asarray(value.mask)]


@parts_of.register
def _(value: NDUncertainty):
    return [value.unit, np.asarray(value.array)]


@parts_of.register
def _(value: Column):
    return [value.name, value.unit, np.asarray(value)]


@parts_of.register
def _(value: MaskedColumn):
    return [value.name, value.unit, np.asarray(value),
            np.ma.getmaskarray(value)]


@parts_of.register
def _(value: SkyCoord):
    return [repr(value.frame.replicate_without_data()),
            value.cartesian.xyz]


@parts_of.register
def _(value: Table):
    return [list(value.colnames), list(value.columns.values())]
