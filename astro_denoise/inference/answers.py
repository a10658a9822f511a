# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Check that the answers of a network are numbers.
"""

import numpy as np

from ..exceptions import WeightsError

__all__ = ['check_answers']


def check_answers(answers):
    """
    Refuse answers of a network that are not finite.

    Parameters
    ----------
    answers : `~numpy.ndarray`
        The answers, to finite input of any size.

    Raises
    ------
    WeightsError
        If one is not.

    Examples
    --------
    >>> from astro_denoise.inference.answers import check_answers
    >>> check_answers([1.0, float('nan')])
    Traceback (most recent call last):
    ...
    astro_denoise.exceptions.WeightsError: the model gives numbers that ...
    """
    if not np.isfinite(answers).all():
        msg = ('the model gives numbers that are not finite: its weights '
               'cannot be those that it was trained to')
        raise WeightsError(msg)
