# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Arrays that take results, and those that are mapped from files.
"""

import mmap
from pathlib import Path

import numpy as np
from numpy.lib.array_utils import byte_bounds

__all__ = ['check_output_array', 'release']


def check_output_array(name, array, shape, read=()):
    """
    Refuse an array that cannot take a result.

    Parameters
    ----------
    name : str
        Name of the parameter, for messages.

    array : object
        What the user gave.

    shape : tuple of int
        Shape of the frame.

    read : iterable of `~numpy.ndarray`, optional
        What is read while the array is written.

    Raises
    ------
    TypeError
        If it is not an array of floating-point numbers.

    ValueError
        If it has another shape, is read-only, or shares memory with what
        is read.
    """
    if not isinstance(array, np.ndarray):
        msg = f'{name} must be an array, got {type(array).__name__}'
        raise TypeError(msg)
    if array.dtype.kind != 'f' or array.dtype.itemsize < 4:
        msg = (f'{name} must have a type of 32 or more bits of floating '
               f'point, got {array.dtype}')
        raise TypeError(msg)
    if array.shape != shape:
        msg = (f'{name} must have the shape of data {shape}, got '
               f'{array.shape}')
        raise ValueError(msg)
    if not array.flags.writeable:
        msg = f'{name} must be writeable, got a read-only array'
        raise ValueError(msg)
    # The surroundings of a pixel are read after others were written.
    if any(_overlap(array, other) for other in read):
        msg = (f'{name} must not share memory with another array of the '
               f'call, got one that does')
        raise ValueError(msg)


def _overlap(array, other):
    """Tell if two arrays share memory, or the same part of a file."""
    if np.may_share_memory(array, other):
        return True
    first, second = _place_in_file(array), _place_in_file(other)
    if first is None or second is None or not first[0].samefile(second[0]):
        return False
    return first[1] < second[2] and second[1] < first[2]


def _place_in_file(array):
    """File of a memory map, and the bytes of it that an array covers."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    name = getattr(base, 'filename', None)
    if name is None or not Path(name).exists():
        return None
    low, high = byte_bounds(array)
    first = base.offset - byte_bounds(base)[0]
    return Path(name), low + first, high + first


def release(arrays):
    """
    Give back the memory that pages of mapped files take.

    They stay in the cache of the system for as long as it has room. A
    private copy of a file (mode ``'c'``) could lose what was written to
    it, and is left alone.
    """
    if not hasattr(mmap, 'MADV_DONTNEED'):
        return
    for array in arrays:
        shared, base = False, array
        while base is not None and not isinstance(base, mmap.mmap):
            shared |= getattr(base, 'mode', None) in ('r', 'r+', 'w+')
            base = getattr(base, 'base', None)
        if base is None:
            continue
        with memoryview(base) as view:
            shared |= view.readonly
        if shared:
            base.madvise(mmap.MADV_DONTNEED)
