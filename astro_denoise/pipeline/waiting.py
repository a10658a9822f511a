# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Waiting of threads for each other, in processes of the package itself.
"""

__all__ = ['brief_waits']

# Turns of the loop in which a thread of GNU OpenMP waits, some microseconds;
# by default it is a millisecond, which is lost to the other processes.
_TURNS = '1000'


def brief_waits(environment):
    """
    Choose how long threads wait in a loop before they leave their core.

    Threads that wait in a loop for one whose core another process has keep
    that process, and so themselves, from going on: two commands that each
    use all cores of a computer take several times as long as one after the
    other (``benchmarks/denoise_speed.py``).

    Parameters
    ----------
    environment : mapping
        Variables of the environment.

    Returns
    -------
    variables : dict
        What is to be added, before torch is loaded; nothing if the user has
        chosen.

    Examples
    --------
    >>> from astro_denoise.pipeline.waiting import brief_waits
    >>> brief_waits({})
    {'GOMP_SPINCOUNT': '1000'}
    >>> brief_waits({'OMP_WAIT_POLICY': 'passive'})
    {}
    """
    if {'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'} & set(environment):
        return {}
    return {'GOMP_SPINCOUNT': _TURNS}
