# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The width of the point-spread function, and how far it can be trusted.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from .seeing import first_star

__all__ = ['PsfWidth', 'psf_width']

_THRESHOLD = 5.0     # noise of the peak pixel
_SIGNIFICANCE = 20   # of the source, so that widths are known to 5 %
_RADIUS = 12         # pixels, half the side of a stamp
_APART = 3           # pixels, half the side of where there is one peak
_LEAST_AROUND = 5    # of the eight neighbors of a peak that are known
_ROWS = 256          # looked through at a time
_MOST = 800          # sources
_ROUNDS = 15
_LEAST_VALID = 0.4   # share of the light of a source on valid pixels

_ELLIPTICITY = 0.2   # stars are rounder than an axis ratio of 1.5
_ROUND = 0.08        # median of a locus of stars, knots of nebulae have more
_SHARPEST = 0.42     # pixels: a star of 1.0 pixel; cosmic rays are sharper
_SAME = 1.08         # stars agree in width within this factor
_ENOUGH = 6          # sources that agree, fewer may be galaxies

_FWHM = 2.3548
# A Gaussian fitted to a Moffat profile (beta = 3.5) is wider.
_MOFFAT = 1.11


@dataclass(frozen=True)
class PsfWidth:
    """
    Width of the point sources.

    Attributes
    ----------
    fwhm : float or `None`
        Full width at half maximum in pixels; `None` if unknown.

    verdict : {'locus', 'upper limit', 'unknown'}
        Whether enough sources agree on the width (the locus of stars), or
        it is that of the sharpest ones, or there is nothing to measure.

    number : int
        Sources that agree.

    elongation : float
        Ellipticity that the sources have in common, along one direction: 0
        for round ones and for galaxies, which point anywhere.
    """

    fwhm: float | None
    verdict: str
    number: int
    elongation: float = 0.0


def _bright(values, valid, background, sigma):
    """
    Rows, columns and heights of pixels well above the noise, in strips.
    """
    def rows_of(plane, part):
        return plane[part] if torch.is_tensor(plane) else plane

    found = []
    n_rows, n_columns = values.shape
    for start in range(_RADIUS, n_rows - _RADIUS, _ROWS):
        part = slice(start, min(start + _ROWS, n_rows - _RADIUS))
        height = (values[part] - rows_of(background, part)) / rows_of(
            sigma, part)
        peak = (height > _THRESHOLD) & valid[part]
        # most are not as high as their neighbors along x
        peak[:, 1:] &= values[part, 1:] >= values[part, :-1]
        peak[:, :-1] &= values[part, :-1] >= values[part, 1:]
        y, x = torch.nonzero(peak, as_tuple=True)
        inside = (x >= _RADIUS) & (x < n_columns - _RADIUS)
        y, x = y[inside], x[inside]
        found.append((y + start, x, height[y, x]))
    return (torch.cat(parts) for parts in zip(*found, strict=True))


def _peaks(values, valid, background, sigma):
    """
    Rows and columns of local maxima well above the noise.
    """
    y, x, height = _bright(values, valid, background, sigma)
    near = range(-_APART, _APART + 1)
    # The nearest neighbors first: they leave few for the others.
    offsets = sorted(((dy, dx) for dy in near for dx in near if dy or dx),
                     key=lambda offset: offset[0]**2 + offset[1]**2)
    value, n_known = values[y, x], torch.zeros_like(y)
    for number, (dy, dx) in enumerate(offsets):
        beside = y + dy, x + dx
        known = valid[beside]
        keep = (value >= values[beside]) | ~known
        if number < 8:
            n_known += known
        if number == 7:
            keep &= n_known >= _LEAST_AROUND
        if not keep.all():
            y, x, height, value, n_known = (
                one[keep] for one in (y, x, height, value, n_known))
    order = torch.argsort(height, descending=True, stable=True)[:_MOST]
    return y[order], x[order]


def _stamps(plane, y, x):
    along = torch.arange(-_RADIUS, _RADIUS + 1, device=plane.device)
    return plane[(y[:, None] + along)[:, :, None],
                 (x[:, None] + along)[:, None, :]]


def _summed(stamps, weights, axis):
    """Sum stamps, shape (n, ny, nx), along an axis with weights."""
    weights = weights[:, None] if axis == 1 else weights[:, :, None]
    product = weights @ stamps if axis == 1 else stamps @ weights
    return product[:, 0] if axis == 1 else product[:, :, 0]


def _moments(stamps, known):
    """
    Gaussian widths, ellipticities, fluxes over their errors.

    Moments are taken under a round Gaussian of the width found so far and
    corrected for it (Bernstein & Jarvis 2002, AJ 123, 583). A pixel that is
    not valid holds the Gaussian of that width and of the flux that fits
    the others.
    """
    along = torch.arange(-_RADIUS, _RADIUS + 1, dtype=stamps.dtype,
                         device=stamps.device)
    zeros = torch.zeros(len(stamps), dtype=stamps.dtype,
                        device=stamps.device)
    x_center, y_center = zeros.clone(), zeros.clone()
    variance = zeros + 2.0**2
    unknown = None if known.all() else 1 - known
    for _ in range(_ROUNDS):
        at_x, at_y = along - x_center[:, None], along - y_center[:, None]
        line_x = torch.exp(-0.5 * at_x**2 / variance[:, None])
        line_y = torch.exp(-0.5 * at_y**2 / variance[:, None])
        # The light under the Gaussian, summed along each axis.
        columns = line_x * _summed(stamps, line_y, 1)
        rows = line_y * _summed(stamps, line_x, 2)
        whole = (line_x**2).sum(1) * (line_y**2).sum(1)
        square = whole
        if unknown is not None:
            gaps = line_y**2 * _summed(unknown, line_x**2, 2)
            square = whole - gaps.sum(1)
            height = (rows.sum(1) / square.clamp(1e-6))[:, None]
            columns = columns + height * line_x**2 * _summed(
                unknown, line_y**2, 1)
            rows = rows + height * gaps
        total = columns.sum(1).clamp(1e-6)
        mean_x = (columns * at_x).sum(1) / total
        mean_y = (rows * at_y).sum(1) / total
        moment_x = (columns * at_x**2).sum(1) / total
        moment_y = (rows * at_y**2).sum(1) / total
        moment = torch.minimum(((moment_x + moment_y) / 2).clamp(0.05),
                               0.95 * variance)
        variance = (1 / (1 / moment - 1 / variance)).clamp(0.1, 40.0)
        x_center = (x_center + 2 * mean_x).clamp(-1.5, 1.5)
        y_center = (y_center + 2 * mean_y).clamp(-1.5, 1.5)
    moment_xy = (line_y * at_y * _summed(stamps, line_x * at_x, 2)).sum(1)
    if unknown is not None:
        moment_xy = moment_xy + height[:, 0] * (
            line_y**2 * at_y * _summed(unknown, line_x**2 * at_x, 2)).sum(1)
    moment_xy = moment_xy / total
    # along x and along the diagonal
    ellipticity = torch.stack([moment_x - moment_y, 2 * moment_xy]) / (
        moment_x + moment_y).clamp(1e-3)
    share = square / whole
    significance = total / torch.sqrt(math.pi * variance)
    # The pixel itself has a variance of 1/12 along each axis.
    width = torch.sqrt((variance - 1 / 12).clamp(0.01))
    return width, ellipticity, significance, share


def psf_width(values, valid, background, sigma):
    """
    Measure the width of the point sources of a plane.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane (float32), and `False` where a pixel must not be used.

    background, sigma : 2D `~torch.Tensor` or float
        The background and the noise of a pixel.

    Returns
    -------
    width : `PsfWidth`
        The width, and whether it is that of a locus of stars, an upper
        limit, or unknown.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from astro_denoise.noise.psf_width import psf_width
    >>> from astro_denoise.simulation import render_sources
    >>> rng = np.random.default_rng(1)
    >>> stars = {'x': rng.uniform(20, 280, 30), 'y': rng.uniform(20, 280, 30),
    ...          'flux': np.full(30, 5000.0)}
    >>> image = render_sources((300, 300), stars, 3.0, 3.5)
    >>> image += rng.normal(0, 5, image.shape).astype('f4')
    >>> values = torch.from_numpy(image)
    >>> found = psf_width(values, torch.isfinite(values), 0.0, 5.0)
    >>> print(f'{found.fwhm:.1f} {found.verdict}')
    3.0 locus
    """
    if min(values.shape) < 2 * _RADIUS + 1:
        return PsfWidth(None, 'unknown', 0)
    y, x = _peaks(values, valid, background, sigma)
    if len(y) == 0:
        return PsfWidth(None, 'unknown', 0)
    noise = sigma[y, x] if torch.is_tensor(sigma) else sigma
    known = _stamps(valid, y, x).to(values.dtype)
    sky = _stamps(background, y, x) if torch.is_tensor(background) else (
        background)
    stamps = torch.where(known > 0, _stamps(values, y, x) - sky, 0)
    stamps = stamps / (noise[:, None, None] if torch.is_tensor(noise)
                       else noise)
    width, shape, significance, share = _moments(stamps, known)
    ellipticity = torch.hypot(*shape)
    good = ((width > _SHARPEST) & (width < 6.0)
            & (significance > _SIGNIFICANCE) & (share > _LEAST_VALID))
    elongation = _common_ellipticity(shape[:, good].cpu().numpy())
    good &= ellipticity < _ELLIPTICITY
    found = _judged(*(one[good].cpu().numpy() for one in (
        width, ellipticity, significance)))
    return replace(found, elongation=elongation)


def _common_ellipticity(shape):
    """
    The ellipticity that most sources have, along one direction.
    """
    size = np.hypot(*shape)
    if len(size) < _ENOUGH or np.median(size) < _ELLIPTICITY:
        return 0.0
    common = np.median(shape, axis=1)
    apart = np.hypot(*(shape - common[:, np.newaxis]))
    along = float(np.hypot(*common))
    # Half of the sources lie within half of what they have in common.
    return along if np.median(apart) < 0.5 * along else 0.0


def _judged(widths, ellipticities, significances):
    """
    The narrowest width at which enough sources agree.
    """
    if len(widths) == 0:
        return PsfWidth(None, 'unknown', 0)
    order = np.argsort(widths)
    # what noise adds to the ellipticity
    out_of_round = (ellipticities - 2 / significances)[order]
    widths = widths[order]
    locus, near = _round_locus(widths, out_of_round)
    if locus is not None:
        return PsfWidth(_as_fwhm(np.median(widths[near])), 'locus',
                        int(near.sum()))
    first = first_star(widths)
    alike = widths[first:][widths[first:] <= 1.1 * widths[first]]
    number = len(alike)
    return PsfWidth(_as_fwhm(np.median(alike)), 'upper limit', number)


def _round_locus(widths, out_of_round):
    """
    Find the widths at which round sources crowd.
    """
    locus = _locus(widths) if len(widths) else None
    if locus is None:
        return None, None
    near = np.abs(widths / locus - 1) < _SAME - 1
    if not near.any() or np.median(out_of_round[near]) >= _ROUND:
        return None, None
    return locus, near


def _as_fwhm(width):
    return float(_FWHM / _MOFFAT * width)


def _locus(widths):
    """
    Middle of the narrowest crowd, or `None`.

    It must stand out against the density of the sources that are wider.
    """
    logs = np.log(widths)
    window = math.log(_SAME)
    last = np.searchsorted(logs, logs + window, side='right')
    crowd = last - np.arange(len(logs))
    if crowd.max() < _ENOUGH:
        return None
    for first in np.flatnonzero(crowd >= max(_ENOUGH, 0.3 * crowd.max())):
        # of the windows that begin near here the fullest
        near = np.flatnonzero((logs >= logs[first])
                              & (logs < logs[first] + window))
        best = near[np.argmax(crowd[near])]
        wider = (np.searchsorted(logs, logs[best] + 4 * window)
                 - last[best]) / 3
        narrower = best - np.searchsorted(logs, logs[best] - window)
        expected = max(wider, 0.3)
        if (crowd[best] >= _ENOUGH
                and crowd[best] > expected + 2 * math.sqrt(expected)
                and narrower < 0.5 * crowd[best]):
            return math.exp(np.median(logs[best:last[best]]))
    return None
