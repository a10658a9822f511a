# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure the growth of the noise of a plane with its light.
"""

import logging
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ['PhotonSlope', 'believed_slope', 'photon_slope',
           'sharpest_light']

logger = logging.getLogger(__name__)

_ROWS = 64                # worked on at a time
_MOST_PIXELS = 2_000_000  # looked at
_MOST_BRIGHT = 20_000     # pixels of a strip
_LEAST_IN_BIN = 50        # pixels
_LEAST_OF_STARS = 15      # where the structure that is left is known
_SIGNIFICANT = 4.0
_LIKELY = 2.0             # errors, where little structure is left
_SKY_ERROR = 0.03         # of the variance of the sky
_MISFIT = 3.0             # reduced chi-squared of a fit
# FWHM of stars, and what differences of an order along both axes leave of
# them over the mean of 3 x 3 pixels, at most.
_LEFT_OF_STARS = {4: ((2.0, 2.5, 3.0, 4.0), (0.04, 0.015, 0.006, 0.0013)),
                  2: ((2.5, 3.0, 4.0, 5.0), (0.09, 0.047, 0.017, 0.008))}
_NORM = {2: 6, 4: 70}
_SHARP = 2.0          # pixels: stars whose differences look like noise
_WIDEST = 3.0         # pixels: wide enough to leave little in differences
_FEWEST_SOURCES = 2   # by which the sharpest light is known
_MUCH_LIGHT = 0.02    # share of pixels of ten sigma
_NEARLY_ANY = 3.0     # factor of the noise of bright pixels
_FEW_KNOWN = 0.3  # of the pixels, below which differences reach less far


@dataclass(frozen=True)
class PhotonSlope:
    """
    Growth of the variance of a plane with its light.

    Attributes
    ----------
    value : float
        Variance per unit of light above the sky, one error low, in the
        unit of the plane: the inverse of a gain. 0 where it is not
        significant.

    limit : float
        What it may be, one error high, or two where it is not significant;
        infinite where the plane does not tell.

    mean : float
        What is to be expected of it: neither high nor low, and above 0
        where it is not significant. 0 where the plane does not tell.
    """

    value: float = 0.0
    limit: float = math.inf
    mean: float = 0.0


def _binomial(plane, order):
    """Convolve with the binomial coefficients along both axes."""
    for _ in range(order):
        plane = plane[1:] + plane[:-1]
    for _ in range(order):
        plane = plane[:, 1:] + plane[:, :-1]
    return plane * 0.25**order


def _smooth(part, mean, *, whole):
    """A wide mean of what is known, NaN where nothing is."""
    if whole:
        # what is left to do of the narrow one
        return _binomial(mean, 4)
    return (_binomial(part.nan_to_num(0.0), 6)
            / _binomial(torch.isfinite(part).to(part.dtype), 6))


def _strip_sample(part, level, sky, order, *, whole):
    """
    Mean, high-pass residual and curvature of the bright pixels of a strip.

    Also the residual of the dark ones; all in units of the level. Where all
    pixels are valid, the strip is ``whole``.
    """
    part = (part - sky) / level
    mean = _binomial(part, 2)
    smooth = _smooth(part, mean, whole=whole)
    mean = mean[2:-2, 2:-2]
    # fourth differences see next to nothing of what the optics let by
    reach = 3 - order // 2
    inside = slice(reach, -reach)
    residual = torch.diff(torch.diff(part, order, dim=0), order, dim=1)
    residual = residual[inside, inside] / _NORM[order]
    known = torch.isfinite(smooth if whole else mean + residual)
    bright = torch.nonzero((known & (smooth > 1)).flatten())[:, 0]
    bright = _thinned(bright, _MOST_BRIGHT)
    dark = torch.nonzero((known & (smooth.abs() < 1)).flatten())[:, 0]
    dark = _thinned(dark, _MOST_BRIGHT // 4)
    rows = [plane.flatten()[bright] for plane in (mean, residual,
                                                  mean - smooth)]
    return torch.stack(rows).cpu().numpy(), residual.flatten()[
        dark].cpu().numpy()


def _thinned(index, most):
    """
    Some of the pixels of a list, each by its place and not its rank.
    """
    every = 1 + len(index) // most
    # the golden ratio spreads neighbors evenly
    return index[(index * 40503 % 65536) % every == 0] if every > 1 else index


def _variance(sample):
    return np.quantile(np.abs(sample), 0.6827)**2 if sample.size else 0.0


def photon_slope(values, valid, level, sky, *, white=True, fwhm=None):
    """
    Slope of the variance with the mean.

    Structure that the high-pass residual still sees grows with the square
    of the mean, photon noise with the mean: both are fitted and only the
    latter is kept.

    Parameters
    ----------
    values, valid : 2D `~torch.Tensor`
        The plane (float32), and `False` where a pixel must not be used.

    level, sky : float
        Noise of a pixel of the sky, and its value.

    white : bool, optional
        Whether the noise is independent from pixel to pixel. Differences
        see less of noise that is not, but as much less in the light.

    fwhm : float, optional
        Of the point sources in pixels, if it is known: nothing is sharper
        than these, so that little structure is left in differences. Then
        they may reach less far where few pixels have all of their
        neighbors.

    Returns
    -------
    slope : `PhotonSlope`
        The slope and its limit.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise.noise.photon_slope import photon_slope
    >>> generator = torch.Generator().manual_seed(1)
    >>> light = 100 + 2000 * torch.linspace(-1, 1, 300).square()
    >>> light = light.expand(300, 300)
    >>> values = torch.poisson(light, generator=generator)
    >>> slope = photon_slope(values, values > 0, 10.0, 100.0)
    >>> print(f'{slope.value:.1f} {slope.limit:.1f}')
    0.9 0.9
    """
    n_rows, n_columns = values.shape
    if not level > 0 or min(n_rows, n_columns) < 16:
        return PhotonSlope()
    order = 2 if math.isfinite(_most_structure(fwhm, 2)) and _share_known(
        valid) < _FEW_KNOWN else 4
    structure = _most_structure(fwhm, order)
    (mean, residual, curvature), dark = _sample(values, valid, level, sky,
                                                order)
    points = _points(mean, residual, curvature,
                     flat=structure == math.inf)
    if dark.size > 500:
        points.insert(0, (0.0, _variance(dark), dark.size))
    if len(points) < 4:
        return PhotonSlope()
    mean, variance, number = np.array(points).T
    # the brightest bins are left out until the terms fit the others
    for last in range(len(mean), 3, -1):
        slope, error, misfit = _fit(
            mean[:last], variance[:last], number[:last],
            sky_error=_SKY_ERROR if white else math.inf, structure=structure,
            expected=order == 2)
        if misfit < _MISFIT:
            logger.debug('photon slope %s +- %s', slope, error)
            # where much structure is left, it would be too large
            seen = order > 2 and slope > error * (
                _SIGNIFICANT if structure == math.inf else _LIKELY)
            return PhotonSlope((slope - error) * level if seen else 0.0,
                               (max(slope, 0.0) + (1 if seen else 2)
                                * error) * level,
                               _positive_mean(slope, error) * level)
    return PhotonSlope()


def _sample(values, valid, level, sky, order):
    """
    Bright and dark pixels of all strips, as of `_strip_sample`.
    """
    n_rows = values.shape[0]
    every = max(1, values.numel() // _MOST_PIXELS)
    rows, dark = [], []
    for start in range(0, n_rows, _ROWS * every):
        part = slice(max(start - 3, 0), start + _ROWS + 3)
        if min(start + _ROWS + 3, n_rows) - part.start < 8:
            continue
        good = valid[part]
        whole = bool(good.all())
        plane = values[part] if whole else torch.where(
            good, values[part], math.nan)
        bright, blank = _strip_sample(plane, level, sky, order, whole=whole)
        rows.append(bright)
        dark.append(blank)
    return (np.concatenate(rows, axis=1).astype(float),
            np.concatenate(dark).astype(float))


def _share_known(valid):
    """
    Share of the valid pixels of which all neighbors are, 5 x 5 together.
    """
    known, n_valid = 0, 1
    for start in range(0, valid.shape[0], max(valid.shape[0] // 4, 1)):
        good = valid[start:start + _ROWS // 2]
        if len(good) < 5:
            continue
        if good.all():
            known += good[2:-2, 2:-2].numel()
        else:
            bad = F.max_pool2d((~good).to(torch.float32)[None], 5, 1)
            known += int((bad == 0).sum())
        n_valid += int(good[2:-2, 2:-2].sum())
    return known / n_valid


def _positive_mean(value, error):
    """
    Mean of a normal distribution of which only the positive part counts.
    """
    if error == 0:
        return max(value, 0.0)
    place = value / error
    return value + error * math.exp(-0.5 * place**2) / math.sqrt(
        math.pi / 2) / max(math.erfc(-place / math.sqrt(2)), 1e-300)


def _most_structure(fwhm, order):
    """
    Square of what is left of a star in differences, over its light.

    For profiles of Moffat (beta = 3.5) at all places within a pixel.
    """
    widths, left = _LEFT_OF_STARS[order]
    if fwhm is None or fwhm < widths[0]:
        return math.inf
    return float(np.interp(fwhm, widths, left))**2


def _points(mean, residual, curvature, *, flat):
    """
    Variance of the residual in bins of brightness.

    Where structure may be left in it, only the flatter half is used.
    """
    edges = 1.5 * 1.4**np.arange(50)
    which = np.digitize(mean, edges)
    points = []
    for i in range(1, edges.size):
        inside = which == i
        if np.count_nonzero(inside) < (_LEAST_IN_BIN if flat else
                                       _LEAST_OF_STARS):
            continue
        if flat:
            curved = np.abs(curvature)
            inside &= curved <= np.median(curved[inside])
        points.append((mean[inside].mean(), _variance(residual[inside]),
                       np.count_nonzero(inside)))
    return points


def _fit(mean, variance, number, *, sky_error, structure, expected):
    """
    Fit ``sky + slope * mean + structure * mean**2``, none negative.

    What is known of the first (1 of white noise) and the last term (it is
    small, or ``expected`` to be as large as it may be) counts as two more
    points.

    Returns the slope over the sky, its error and the reduced chi-squared.
    """
    columns = np.stack([np.ones_like(mean), mean, mean**2], axis=1)
    known = np.diag([1 / sky_error, 0.0, 1 / structure])
    wanted = np.array([1 / sky_error, 0.0, float(expected)])
    model = variance
    for _ in range(6):
        # variance of a 68.27 % quantile, and of residuals that overlap
        weight = np.sqrt(number / 6.6) / model
        n_terms = columns.shape[1]
        design = np.vstack([columns * weight[:, np.newaxis],
                            known[:, :n_terms]])
        covariance = np.linalg.inv(design.T @ design)
        solution = covariance @ design.T @ np.append(variance * weight,
                                                     wanted)
        if solution[-1] < 0 and n_terms == 3:
            columns = columns[:, :2]
        else:
            model = np.maximum(columns @ solution, variance.min() / 2)
    misfit = np.sum(((variance - model) * weight)**2)
    misfit /= max(variance.size + np.isfinite(sky_error) - n_terms, 1)
    error = math.sqrt(covariance[1, 1] * max(misfit, 1))
    sky = max(float(solution[0]), float(variance.min()) / 2)
    return float(solution[1]) / sky, error / sky, misfit


def sharpest_light(seeing, bright_share):
    """
    Tell the width than which no light of a plane is sharper.

    A few sources that agree are not all there is, but a frame with little
    light has next to nothing sharper than the sharpest of them.

    Parameters
    ----------
    seeing : `~astro_denoise.noise.psf_width.PsfWidth`
        Of the plane.

    bright_share : float
        Share of the pixels that have ten times the level.

    Returns
    -------
    fwhm : float or `None`
        In pixels; `None` if it is unknown.
    """
    if seeing.verdict == 'locus':
        return seeing.fwhm
    few = seeing.number < _FEWEST_SOURCES or bright_share > _MUCH_LIGHT
    return None if few else min(seeing.fwhm, _WIDEST)


def believed_slope(slope, level, seeing, *, bright_light=0.0,
                   bright_share=0.0):
    """
    Expect nothing of a slope that may be nearly anything.

    Sharp stars leave much in differences, so that what is seen is a guess,
    which in most frames is within a factor of 3.

    Parameters
    ----------
    slope : `PhotonSlope`
        As measured.

    level : float
        Of the noise of the sky.

    seeing : `~astro_denoise.noise.psf_width.PsfWidth`
        Of the plane.

    bright_light, bright_share : float, optional
        Median light of the pixels that have ten times the level, and their
        share.

    Returns
    -------
    slope : `PhotonSlope`
        What is believed of it.
    """
    if seeing.fwhm is not None and seeing.fwhm < _SHARP:
        few = bright_share < _MUCH_LIGHT
        return PhotonSlope(mean=slope.mean if few else 0.0)
    most = level**2 + slope.limit * bright_light
    least = level**2 + slope.value * bright_light
    far = bright_light > 0 and most > _NEARLY_ANY**2 * least
    return replace(slope, mean=slope.value) if far else slope
