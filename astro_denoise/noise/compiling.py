# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compiled passes: when they pay, and how they are made.
"""

import functools
from contextlib import contextmanager
from contextvars import ContextVar

from ..exceptions import needs_extra

__all__ = ['FEWEST_COMPILED', 'compiled', 'compiling_pays', 'one_of_many']

#: Pixels below which loading what was compiled takes longer than it saves.
FEWEST_COMPILED = 2**20


# Pixels of all planes that are worked on after another.
_TOGETHER = ContextVar('pixels of all planes', default=0)


@contextmanager
def one_of_many(n_pixels):
    """
    Work on a plane of many, whose pixels count together.

    Parameters
    ----------
    n_pixels : int
        Of all planes.
    """
    token = _TOGETHER.set(n_pixels)
    try:
        yield
    finally:
        _TOGETHER.reset(token)


def compiling_pays(shape):
    """
    Tell if a plane is large enough for compiled passes, and numba is there.

    Of a stack it is the pixels of all planes that count.
    """
    n_pixels = max(shape[0] * shape[1], _TOGETHER.get())
    return n_pixels >= FEWEST_COMPILED and _has_numba()


@functools.cache
def _has_numba():
    """
    Tell if numba can be imported; it refuses versions of numpy it is not for.
    """
    try:
        with needs_extra('fast', 'to compile passes over pixels'):
            import numba  # noqa: F401
    except ImportError:
        return False
    return True


def compiled(function):
    """
    Compile a function, which must hold no object of Python, with numba.

    Sums may be taken in any order; what is no number stays none. The lock of
    the interpreter is not held meanwhile.
    """
    with needs_extra('fast', 'to compile passes over pixels'):
        from numba import njit

    make = functools.partial(
        njit, nogil=True, error_model='numpy',
        fastmath={'arcp', 'contract', 'nsz', 'reassoc'})
    try:
        return make(cache=True)(function)
    except RuntimeError:
        # No folder to keep it in can be written to.
        return make()(function)
