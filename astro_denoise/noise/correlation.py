# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
White noise, correlated noise, or structure that hides which of both.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from .block_levels import lower_mode

__all__ = ['AxisCorrelation', 'LevelFindings', 'find_level', 'uncorrelated']

# Scatter of the logarithm of a truncated variance of differences, or of the
# ratio of two, times the root of their number: it follows from how much the
# differences overlap, and was measured on white noise.
_LEVEL_SCATTER = {(2, 2): 3.5, (4, 4): 4.7, (8, 8): 6.5}
_STEP_SCATTER = {(0, 1): 3.1, (1, 2): 2.0, (1, 4): 2.95, (2, 4): 2.5,
                 (4, 8): 3.65}
_PIXEL_SCATTER = 4.3

_LEAST = 0.03       # smaller correlations are not named
_SIGNIFICANT = 3.3  # errors
_SOURCES = 0.06     # tail of differences where structure is left in them
_RESAMPLED = 0.2    # correlation along one axis that goes with the other
_PER_TAIL = 2.5     # correlation that a tail may make
_ALIKE = 0.4        # share of blocks of one level where it is that of noise
_TOP = 0.1          # what differences of order 8 may see less than of order 4


@dataclass(frozen=True)
class AxisCorrelation:
    """
    Correlation of neighbors along one axis.

    Attributes
    ----------
    rho, error : float
        Lag-1 correlation coefficient of the noise, 0 where it is not
        significant, and its error.

    verdict : {'white', 'correlated', 'cannot tell'}
        What the differences along the axis say.

    low, high : float
        Logarithms of the ratios of the variances of differences of orders
        0 and 1, and of orders 1 and the highest.
    """

    rho: float
    error: float
    verdict: str
    low: float
    high: float


@dataclass(frozen=True)
class LevelFindings:
    """
    Noise level of a plane and what it rests on.

    Attributes
    ----------
    level, error : float
        Standard deviation of a pixel, and the error of that.

    range : tuple of float
        Where the level may lie.

    verdict : {'white', 'correlated', 'cannot tell'}
        Of both axes together.

    y, x : `AxisCorrelation`
        Of each axis.

    blocks, block_errors : 1D `~torch.Tensor`
        Standard deviation of a pixel in each block, NaN where unknown, and
        its error.
    """

    level: float
    error: float
    range: tuple
    verdict: str
    y: AxisCorrelation
    x: AxisCorrelation
    blocks: torch.Tensor
    block_errors: torch.Tensor


def _errors(table, order, scatter):
    return scatter / torch.sqrt(table.number[order].double().clamp(1))


def _step(table, first, second, scatter):
    """
    Lower mode over the blocks of a ratio of variances.
    """
    step = table.log_variance[first] - table.log_variance[second]
    known = torch.isfinite(step)
    error = _errors(table, second, scatter)
    return lower_mode(step[known], error[known])


def _predicted(rho, guard):
    """
    Predict the excess of first differences over those of a higher order.

    The variance of differences of order n of noise with a lag-1
    correlation is that of white noise times 1 - 2 rho n / (n + 1).
    """
    rho = min(max(rho, -0.95), 0.5)
    factor = 2 * guard / (guard + 1)
    return math.log((1 - rho) / (1 - factor * min(rho, 0.55)))


def _axis(table, axis, guard):
    """
    Judge one axis.
    """
    def order(n):
        return (n, guard) if axis == 0 else (guard, n)

    low, low_error, _ = _step(table, order(0), order(1),
                              _STEP_SCATTER[0, 1])
    high, high_error, _ = _step(table, order(1), (guard, guard),
                                _STEP_SCATTER[1, guard])
    if not (math.isfinite(low) and math.isfinite(high)):
        return AxisCorrelation(0.0, math.inf, 'cannot tell', low, high)
    rho = 1 - math.exp(-low)
    error = low_error * math.exp(-low)
    seen = abs(low) > _SIGNIFICANT * low_error and abs(rho) > _LEAST
    expected = _predicted(rho, guard)
    tail = table.tail[order(0)]
    tail = float(tail.nanquantile(0.3)) if tail.numel() else 0.0
    if not seen:
        verdict = ('cannot tell' if high > max(0.15, 5 * high_error)
                   else 'white')
        return AxisCorrelation(0.0, error, verdict, low, high)
    share = high / expected
    noise = high_error / abs(expected)
    if rho < 0 and tail > 2 * _SOURCES:
        # noise that grows with the light looks the same
        verdict = 'cannot tell'
    elif rho > _LEAST and high < -max(0.1, 5 * high_error):
        # pixels that repeat, as in a finer grid: structure never does that
        verdict = 'correlated'
        ends = (table.tail[order(1)] - table.tail[order(0)]).nanmedian()
        rho = 1 - math.exp(float(ends) - low) if low > float(ends) else rho
    elif share > 0.5 and (tail < _SOURCES or share < 2):
        verdict = 'correlated'
    elif share + 2 * noise < 0.6:
        verdict = 'white'
    else:
        verdict = 'cannot tell'
    return AxisCorrelation(rho if verdict == 'correlated' else 0.0, error,
                           verdict, low, high)


def _checked(one, table, axis):
    """
    Tell if a correlation is the same where structure counts for less.
    """
    if one.verdict != 'correlated':
        return one
    orders = [(n, 8) if axis == 0 else (8, n) for n in (0, 1)]
    low, error, _ = _step(table, *orders, _STEP_SCATTER[0, 1] * 1.2)
    if one.high < 0 < one.low:
        return one
    error = math.hypot(error, one.error / (1 - one.rho))
    if abs(low) > 0.7 * abs(one.low) - error and low * one.low > 0:
        return one
    return replace(one, rho=0.0, verdict='white')


def _with_the_other(one, other):
    """
    An axis that looks like structure, where the other one is correlated.

    What resamples a frame does so along both axes; kernels of a grid that
    is finer need not fall with the order as others do.
    """
    rho = 1 - math.exp(-one.low) if math.isfinite(one.low) else 0.0
    if (other.verdict != 'correlated' or one.verdict == 'correlated'
            or rho < max(_RESAMPLED, 5 * one.error)):
        return one
    return replace(one, rho=rho, verdict='correlated')


def _plateau(table, orders):
    """
    The lowest order whose differences see no more than the next ones.

    Also how much they see more than those, as the logarithm of a
    variance.
    """
    excess = 0.0
    for first, second in pairwise(orders):
        excess, error, _ = _step(table, first, second,
                                 _STEP_SCATTER[first[0], second[0]])
        if not math.isfinite(excess):
            return first, 0.0
        if excess < max(2.5 * error, 0.01):
            return first, max(excess, 0.0)
    return orders[-1], max(excess, 0.0)


def find_level(table, *, guard=4, second=None):
    """
    Noise level and correlation of a plane from differences in blocks.

    Differences of a high order along one axis see next to nothing of
    structure; how the variance falls with the order along the other axis
    tells noise that is correlated, which falls slowly and at all orders
    alike, from structure, which falls by orders of magnitude down to the
    noise.

    Parameters
    ----------
    table : `~astro_denoise.noise.block_levels.BlockTable`
        The variances.

    guard : int, optional
        Order of the differences along the other axis.

    second : `~astro_denoise.noise.block_levels.BlockTable`, optional
        Variances of differences of order 8 along the other axis, which a
        correlation must show alike.

    Returns
    -------
    findings : `LevelFindings`
        The level, and how sure it is.
    """
    y, x = _axis(table, 0, guard), _axis(table, 1, guard)
    if second is not None:
        y, x = (_checked(one, second, axis) for axis, one in
                enumerate((y, x)))
    y, x = _with_the_other(y, x), _with_the_other(x, y)
    orders = [(n, n) for n in (2, 4, 8) if (n, n) in table.log_variance]
    best, excess = _plateau(table, orders)
    verdicts = {y.verdict, x.verdict}
    verdict = ('correlated' if 'correlated' in verdicts else
               'cannot tell' if verdicts == {'cannot tell'} else 'white')
    if verdict != 'correlated' and (best == orders[-1] and excess > _TOP):
        verdict = 'cannot tell'

    logs = table.log_variance[guard, guard]
    if verdict == 'correlated':
        logs = logs.clone()
        for axis, one in ((0, y), (1, x)):
            if one.verdict == 'correlated':
                order = (0, guard) if axis == 0 else (guard, 0)
                logs += (table.log_variance[order]
                         - table.log_variance[guard, guard])
        errors = _errors(table, (guard, guard), _PIXEL_SCATTER)
    else:
        logs = table.log_variance[best]
        errors = _errors(table, best, _LEVEL_SCATTER[best])
    known = torch.isfinite(logs)
    mode, error, share = lower_mode(logs[known], errors[known])
    rho = max(abs(y.rho), abs(x.rho))
    if verdict == 'correlated' and _is_structure(
            rho, share, _tail(table, known, guard)):
        verdict = 'cannot tell'
    level = math.exp(mode / 2) if math.isfinite(mode) else math.nan
    spread = (level * math.exp(-error), level * math.exp(error))
    if verdict == 'cannot tell':
        # Structure adds to all of them: the lowest has least of it.
        spread = _range(table, orders, level)
        level = spread[0]
    return LevelFindings(
        level, level * error / 2, spread, verdict, y, x,
        (logs / 2).exp(), (logs / 2).exp() * errors / 2)


def _tail(table, known, guard):
    """
    Tail of the differences along both axes, where it is short.

    Not even one difference is known where every third pixel is masked.
    """
    if not known.any():
        return math.nan
    return sum(float(table.tail[order][known].nanquantile(0.3)) / 2
               for order in ((0, guard), (guard, 0)))


def _is_structure(rho, share, tail):
    """
    Tell if structure may make what looks like a correlation.

    Noise is normal and of one level in most blocks.
    """
    if tail < _SOURCES / 2:
        return False
    if share < _ALIKE and tail > _SOURCES:
        return True
    return rho < _RESAMPLED and rho < _PER_TAIL * tail


def _range(table, orders, level):
    """
    Levels that differences of all orders allow.
    """
    levels = [level]
    for order in orders:
        logs = table.log_variance[order]
        known = torch.isfinite(logs)
        mode, *_ = lower_mode(logs[known], _errors(
            table, order, _LEVEL_SCATTER[order])[known])
        if math.isfinite(mode):
            levels.append(math.exp(mode / 2))
    return min(levels), max(levels)


def uncorrelated(findings):
    """
    The same level, of noise that is taken for white.
    """
    y, x = (replace(one, rho=0.0, verdict='white')
            for one in (findings.y, findings.x))
    spread = (findings.level - findings.error,
              findings.level + findings.error)
    return replace(findings, verdict='white', range=spread, y=y, x=x)
