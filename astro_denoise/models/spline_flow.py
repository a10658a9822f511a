# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A neural spline flow whose inverse is computed in double precision.
"""

import copy
import math
import weakref
from functools import partial

import torch
from torch.nn import functional as F

from ..exceptions import needs_extra

with needs_extra('galactic', 'for posteriors of parameters'):
    from zuko.flows import MAF
    from zuko.transforms import MonotonicRQSTransform

__all__ = ['inverted', 'spline_flow']

_BINS = 8
_BOUND = 5.0
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


def _knots(widths):
    """Place the knots of splines, the bins on the first axis."""
    widths = widths / (1.0 - (2.0 / math.log(_SLOPE)) * widths.abs())
    knots = F.pad(torch.softmax(widths, 0).cumsum(0), (0, 0, 1, 0))
    return _BOUND * (2.0 * knots - 1.0)


def _inverse_spline(raw, value):
    """
    Invert splines, as `_Spline` does.

    Parameters
    ----------
    raw : `torch.Tensor`
        Shape (23, n): widths, heights and derivatives, unconstrained.

    value : `torch.Tensor`
        Shape (n,).

    Returns
    -------
    inverse : `torch.Tensor`
        Shape (n,).
    """
    horizontal, vertical = (_knots(part)
                            for part in raw[:2 * _BINS].split(_BINS))
    steep = raw[2 * _BINS:]
    steep = F.pad(steep / (1.0 - steep.abs() / math.log(_SLOPE)),
                  (0, 0, 1, 1)).exp()
    number = (vertical < value).sum(0) - 1
    inside = (number >= 0) & (number < _BINS)
    pair = torch.stack([number % _BINS, number % _BINS + 1])
    (x0, x1), (y0, y1), (d0, d1) = (
        knots.gather(0, pair).double()
        for knots in (horizontal, vertical, steep))
    slope = (y1 - y0) / (x1 - x0)
    above = inside * (value.double() - y0)
    bend = above * (d0 + d1 - 2.0 * slope)
    a = (y1 - y0) * (slope - d0) + bend
    b = (y1 - y0) * d0 - bend
    c = -slope * above
    share = 2.0 * c / (-b - (b**2 - 4.0 * a * c).sqrt())
    return torch.where(inside, x0 + share * (x1 - x0), value).to(value.dtype)


class _Steps:
    """
    A transformation of the flow, one feature after the other.

    The parameters of the spline of a feature depend on the features
    before it alone. So the units of the hidden layers are sorted by the
    last feature that they depend on, and computed once that is known.

    Parameters
    ----------
    transform : `torch.nn.Module`
        A lazy autoregressive transformation with two hidden layers.
    """

    def __init__(self, transform):
        layers = [layer for layer in transform.hyper
                  if hasattr(layer, 'mask')]
        self.n_features = n = len(transform.order)
        self.order = torch.argsort(transform.order).tolist()
        place = transform.order
        # What a unit depends on: the number of features that must be known.
        level = place + 1
        known = [layers[0].mask[:, :n].long() * level]
        levels = [known[0].amax(1)]
        levels.append((layers[1].mask * levels[0]).amax(1))
        sort = [torch.argsort(each, stable=True) for each in levels]
        weights = [layer.mask * layer.weight for layer in layers]
        self.first = weights[0][sort[0]][:, :n][:, self.order]
        self.context = weights[0][sort[0]][:, n:]
        self.bias = layers[0].bias[sort[0]]
        self.second = weights[1][sort[1]][:, sort[0]]
        self.second_bias = layers[1].bias[sort[1], None]
        size = weights[2].shape[0] // n
        self.last = weights[2][:, sort[1]].unflatten(0, (n, size))
        self.last_bias = layers[2].bias.unflatten(0, (n, size))
        self.ends = [[int((each <= step).sum()) for step in range(n + 1)]
                     for each in levels]

    def inverse(self, context, start):
        """
        Invert the transformation.

        Parameters
        ----------
        context : `torch.Tensor`
            Shape (n_images, context).

        start : `torch.Tensor`
            Shape (n_features, n_samples, n_images).

        Returns
        -------
        inverse : `torch.Tensor`
            Same shape.
        """
        shape = start.shape[1:]
        start = start.flatten(1)
        base = (context @ self.context.T + self.bias).T[:, None]
        base = base.expand(-1, *shape).flatten(1)
        found = torch.zeros_like(start)
        known = start.new_empty(self.n_features, start.shape[1])
        hidden = [start.new_empty(len(self.bias), start.shape[1])
                  for _ in range(2)]
        begin = [0, 0]
        for step, feature in enumerate(self.order):
            end = [ends[step] for ends in self.ends]
            new = slice(begin[0], end[0])
            hidden[0][new] = torch.addmm(
                base[new], self.first[new, :step], known[:step]).relu_()
            new = slice(begin[1], end[1])
            hidden[1][new] = torch.addmm(
                self.second_bias[new], self.second[new, :end[0]],
                hidden[0][:end[0]]).relu_()
            raw = torch.addmm(self.last_bias[feature][:, None],
                              self.last[feature][:, :end[1]],
                              hidden[1][:end[1]])
            known[step] = _inverse_spline(raw, start[feature])
            found[feature] = known[step]
            begin = end
        return found.unflatten(1, shape)


# What was made of a transformation, and of which weights.
_made = weakref.WeakKeyDictionary()


def _steps_of(transform):
    """Prepare a transformation, once for as long as its weights stay."""
    weights = tuple((id(each), each.data_ptr(),
                     0 if each.is_inference() else each._version)
                    for each in transform.parameters())
    known, steps = _made.get(transform, (None, None))
    if known != weights:
        steps = _Steps(transform)
        _made[transform] = weights, steps
    return steps


@torch.no_grad()
def inverted(flow, context, start):
    """
    Invert a flow in a fraction of the time that its transformation takes.

    Parameters
    ----------
    flow : `torch.nn.Module`
        From `spline_flow`.

    context : `torch.Tensor`
        Shape (n_images, context).

    start : `torch.Tensor`
        Shape (n_samples, n_images, n_features).

    Returns
    -------
    inverse : `torch.Tensor`
        Same shape: as ``flow(context).transform.inv(start)``, to the
        rounding of single precision.
    """
    values = start.movedim(-1, 0).contiguous()
    for transform in reversed(flow.transform.transforms):
        values = _steps_of(transform).inverse(context, values)
    return values.movedim(0, -1)
