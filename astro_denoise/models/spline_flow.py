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


def _inverse_spline(raw, value):
    """
    Invert splines, as `_Spline` does.

    Parameters
    ----------
    raw : `torch.Tensor`
        Shape (n_images, 23, n): widths, heights and derivatives,
        unconstrained.

    value : `torch.Tensor`
        Shape (n_images, n).

    Returns
    -------
    inverse : `torch.Tensor`
        Same shape.
    """
    sides = raw[:, :2 * _BINS].unflatten(1, (2, _BINS))
    sides = sides / (1.0 - (2.0 / math.log(_SLOPE)) * sides.abs())
    # Knots from 0 to 1, of what goes from -_BOUND to _BOUND.
    knots = F.pad(torch.softmax(sides, 2).cumsum(2), (0, 0, 1, 0))
    share = value[:, None] / (2.0 * _BOUND) + 0.5
    number = (knots[:, 1] < share).sum(1) - 1
    inside = (number >= 0) & (number < _BINS)
    number = number.remainder(_BINS)
    pair = torch.stack([number, number + 1], 1)
    (x0, x1), (y0, y1) = (
        (2.0 * _BOUND * part.gather(1, pair).double() - _BOUND).unbind(1)
        for part in knots.unbind(1))
    # At both ends the slope is 1, and its logarithm 0.
    steep = F.pad(raw[:, 2 * _BINS:], (0, 0, 1, 1)).gather(1, pair)
    d0, d1 = (steep / (1.0 - steep.abs() / math.log(_SLOPE))).exp(
        ).double().unbind(1)
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

        Each block is multiplied by itself, so that its last digits do not
        depend on the others; all else is done for all of them at once.

        Parameters
        ----------
        context : `torch.Tensor`
            Shape (n_blocks, context), or (n, context) for one block that
            has a sample for each.

        start : `torch.Tensor`
            Shape (n_blocks, n_features, n).

        Returns
        -------
        inverse : `torch.Tensor`
            Same shape.
        """
        blocks = context.split(1) if len(start) > 1 else [context]
        base = torch.stack([(block @ self.context.T + self.bias).T
                            for block in blocks])
        found = torch.empty_like(start)
        known = torch.empty_like(start)
        hidden = [start.new_empty(len(start), len(self.bias), start.shape[2])
                  for _ in range(2)]
        raw = start.new_empty(len(start), self.last.shape[1], start.shape[2])
        begin = [0, 0]
        for step, feature in enumerate(self.order):
            end = [ends[step] for ends in self.ends]
            new = [slice(*pair) for pair in zip(begin, end, strict=True)]
            for index in range(len(start)):
                first, second = (layer[index] for layer in hidden)
                torch.addmm(base[index, new[0]], self.first[new[0], :step],
                            known[index, :step],
                            out=first[new[0]]).relu_()
                torch.addmm(self.second_bias[new[1]],
                            self.second[new[1], :end[0]], first[:end[0]],
                            out=second[new[1]]).relu_()
                torch.addmm(self.last_bias[feature][:, None],
                            self.last[feature][:, :end[1]],
                            second[:end[1]], out=raw[index])
            known[:, step] = _inverse_spline(raw, start[:, feature])
            found[:, feature] = known[:, step]
            begin = end
        return found


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
    # Images are blocks, or all of them are one if each has one sample.
    order = (0, 2, 1) if len(start) == 1 else (1, 2, 0)
    values = start.permute(order).contiguous()
    for transform in reversed(flow.transform.transforms):
        values = _steps_of(transform).inverse(context, values)
    return values.permute([order.index(axis) for axis in range(3)])
