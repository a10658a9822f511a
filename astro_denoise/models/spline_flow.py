# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A neural spline flow whose inverse is computed in double precision.
"""

import copy
from functools import partial

from ..exceptions import needs_extra

with needs_extra('galactic', 'for posteriors of parameters'):
    from zuko.flows import MAF
    from zuko.transforms import MonotonicRQSTransform

__all__ = ['spline_flow']

_BINS = 8
_SLOPE = 1e-3


class _Spline(MonotonicRQSTransform):
    """
    A rational-quadratic spline, inverted in double precision.

    The inverse is the root of a quadratic equation. In single precision,
    rounding makes its discriminant negative now and then, and the answer
    NaN. In double precision it cannot, with knots that are as far apart
    as the least slope of the spline keeps them.
    """

    def _inverse(self, y):
        double = copy.copy(self)
        for name in ('horizontal', 'vertical', 'derivatives'):
            setattr(double, name, getattr(self, name).double())
        return MonotonicRQSTransform._inverse(double, y.double()).to(y.dtype)


def spline_flow(n_features, context, transforms):
    """
    Build a neural spline flow (arXiv:1906.04032).

    Parameters
    ----------
    n_features : int
        Dimensions of the density.

    context : int
        Numbers that it is conditioned on.

    transforms : int
        Number of transformations.

    Returns
    -------
    flow : `torch.nn.Module`
        Called with a context, it gives the distribution.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.models.spline_flow import spline_flow
    >>> flow = spline_flow(2, 3, 1)
    >>> flow(torch.zeros(3)).transform.inv(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    return MAF(n_features, context, transforms=transforms,
               univariate=partial(_Spline, slope=_SLOPE),
               shapes=[(_BINS,), (_BINS,), (_BINS - 1,)],
               hidden_features=(128, 128))
