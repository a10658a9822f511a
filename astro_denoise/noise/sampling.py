# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Choose the pixels of a large plane that are measured.
"""

import math

import numpy as np

from .levels import MESH

__all__ = ['WHOLE', 'is_measured_whole', 'sample_parts']

# A plane of up to this many pixels is measured as a whole. Of a larger one
# noise and seeing are measured on as many pixels, in pieces from all over it.
WHOLE = 2**24
_PIECE = 256  # pixels a side


def is_measured_whole(shape):
    """
    Tell if a plane is small enough to be measured as a whole.
    """
    return shape[-2] * shape[-1] <= WHOLE


def sample_parts(shape):
    """
    Pieces from all over a large plane, as rows of windows.

    Put together in this order they make a plane of about `WHOLE` pixels.
    """
    n_pieces = max(1, WHOLE // _PIECE**2)
    size = [min(n, _PIECE) for n in shape]
    most = [n // length for n, length in zip(shape, size, strict=True)]
    n_rows = min(most[0], max(math.isqrt(n_pieces), n_pieces // most[1]))
    n_columns = min(most[1], n_pieces // n_rows)
    rows, columns = (
        [slice(first, first + length) for first in
         (np.linspace(0, (n - length) // MESH, number).astype(int) * MESH
          ).tolist()]
        for n, length, number in zip(shape, size, (n_rows, n_columns),
                                     strict=True))
    return [[(row, column) for column in columns] for row in rows]
