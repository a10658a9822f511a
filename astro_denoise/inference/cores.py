# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Count the processor cores that this process may use.
"""

import os

__all__ = ['count_cores']


def count_cores():
    """
    Count the processor cores that this process may use.

    Batch systems give a job some cores of a computer.

    Returns
    -------
    n_cores : int
        At least 1.

    Examples
    --------
    >>> from astro_denoise.inference.cores import count_cores
    >>> count_cores() >= 1
    True
    """
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
