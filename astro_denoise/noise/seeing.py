# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The width of the point-spread function, measured on the frame itself.
"""

import numpy as np

__all__ = ['estimate_fwhm', 'first_star', 'frame_fwhm']

_THRESHOLD = 5.0    # sigmas of the peak pixel
_SIGNIFICANCE = 20  # sigmas of the source, so that widths are known to 5 %
_RADIUS = 12        # pixels, half the side of a stamp
_APART = 3          # pixels, half the side of where there is one peak
_N_CANDIDATES = 600
_N_NEEDED = 6         # fewer that agree may be galaxies

# Stars are rounder than an axis ratio of about 1.5, and agree in width within
# a factor; fewer of them than of galaxies or cosmic rays may do so.
_ELLIPTICITY = 0.2
_SAME_WIDTH = 1.1
_LEAST_SHARE = 0.5

# Cosmic rays that are as round as stars are at most this wide (standard
# deviation in pixels).
_RAY = 0.7

# With so many stars that agree, their width needs no second look; it is
# doubted where the sharpest sources are sharper by more than this factor.
_N_TRUSTED, _SHARPER = 60, 0.9


def _peaks(values, background, sigma, valid):
    """Positions of local maxima well above the noise, brightest first."""
    ny, nx = values.shape
    found, heights = [], []
    rows = max(1, 2**20 // nx)
    for start in range(_RADIUS, ny - _RADIUS, rows):
        part = slice(start, min(start + rows, ny - _RADIUS))
        height = (values[part] - background[part]) / sigma[part]
        peak = (height > _THRESHOLD) & valid[part]
        rising = values[part, 1:] > values[part, :-1]
        peak[:, 1:] &= rising
        peak[:, :-1] &= ~rising
        y, x = np.nonzero(peak)
        inside = (x >= _RADIUS) & (x < nx - _RADIUS)
        y, x = y[inside], x[inside]
        found.append(np.stack([y + start, x]))
        heights.append(height[y, x])
    y, x = np.concatenate(found, axis=1) if found else np.zeros((2, 0), int)
    height = np.concatenate(heights) if heights else np.zeros(0)
    # The nearest neighbors first: they leave few for the others.
    near = np.arange(-_APART, _APART + 1)
    offsets = np.stack(np.meshgrid(near, near), axis=-1).reshape(-1, 2)
    order = np.argsort((offsets**2).sum(axis=1))
    for dy, dx in offsets[order[1:]]:
        keep = values[y, x] > values[y + dy, x + dx]
        known = valid[y + dy, x + dx]
        touching = max(abs(dy), abs(dx)) == 1
        keep = keep & known if touching else keep | ~known
        y, x, height = y[keep], x[keep], height[keep]
    order = np.argsort(-height, kind='stable')[:_N_CANDIDATES]
    return y[order], x[order]


def _adaptive_moments(stamps, weights):
    """
    Gaussian widths of many stamps, their ellipticities and fluxes.

    The second moment is taken under a round Gaussian of the width found
    so far and corrected for it (Bernstein & Jarvis 2002, AJ 123, 583);
    the ellipticity is that under the Gaussian. The flux is that of a
    matched filter, over its error in noise of 1.
    """
    offsets = np.arange(-_RADIUS, _RADIUS + 1, dtype=np.float32)
    x_center = np.zeros(len(stamps), np.float32)
    y_center = np.zeros(len(stamps), np.float32)
    variance = np.full(len(stamps), 2.0**2, np.float32)
    for _ in range(12):
        along_x = offsets - x_center[:, None]
        along_y = offsets - y_center[:, None]
        line_x = np.exp(-0.5 * along_x**2 / variance[:, None])
        line_y = np.exp(-0.5 * along_y**2 / variance[:, None])
        light = stamps * weights * line_y[:, :, None] * line_x[:, None, :]
        columns, rows = light.sum(axis=1), light.sum(axis=2)
        total = np.maximum(columns.sum(axis=1), 1e-6)
        mean_x = (columns * along_x).sum(axis=1) / total
        mean_y = (rows * along_y).sum(axis=1) / total
        moment_x = (columns * along_x**2).sum(axis=1) / total
        moment_y = (rows * along_y**2).sum(axis=1) / total
        moment = np.clip((moment_x + moment_y) / 2.0, 0.05, 0.95 * variance)
        variance = np.clip(1.0 / (1.0 / moment - 1.0 / variance), 0.1, 36.0)
        x_center = np.clip(x_center + 2.0 * mean_x, -1.5, 1.5)
        y_center = np.clip(y_center + 2.0 * mean_y, -1.5, 1.5)
    moment_xy = np.einsum('nyx,ny,nx->n', light, along_y, along_x) / total
    ellipticity = (np.hypot(moment_x - moment_y, 2.0 * moment_xy)
                   / np.maximum(moment_x + moment_y, 1e-3))
    significance = total / np.sqrt(np.pi * variance)
    # The pixel itself has a variance of 1/12 along each axis.
    return (np.sqrt(np.maximum(variance - 1.0 / 12.0, 0.01)), ellipticity,
            significance)


def _crowded_width(widths):
    """
    The width that stars have in common, or `None`.

    Galaxies and cosmic rays have all widths; the sharpest crowd is that
    of the stars.
    """
    widths = np.sort(widths)
    last = np.searchsorted(widths, _SAME_WIDTH * widths, side='right')
    crowd = last - np.arange(len(widths))
    if len(widths) == 0 or crowd.max() < _N_NEEDED:
        return None
    first = np.argmax(crowd >= max(_N_NEEDED, _LEAST_SHARE * crowd.max()))
    return np.median(widths[first:last[first]])


def first_star(widths):
    """
    Find the sharpest source that may be a star.

    One that is as sharp as a cosmic ray, which no optics blurred, is a star
    if many others agree with it; one that stands alone is none.

    Parameters
    ----------
    widths : 1D `~numpy.ndarray`
        Standard deviations in pixels, in increasing order.

    Returns
    -------
    first : int
        Its index.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.noise.seeing import first_star
    >>> first_star(np.array([0.45, 0.55, 1.3, 1.31, 1.33, 1.34, 1.35]))
    2
    >>> first_star(np.array([0.55, 0.56, 0.57, 1.3, 1.33]))
    0
    """
    last = np.searchsorted(widths, _SAME_WIDTH * widths, side='right')
    crowd = last - np.arange(len(widths))
    first = int(np.argmax((widths > _RAY)
                          | (crowd >= _LEAST_SHARE * crowd.max())))
    alone = len(widths) > 2 and widths[0] < 0.6 * widths[1]
    return max(first, int(alone))


def _sharpest_width(widths):
    """
    The width of the sharpest sources, or `None`: what too few of them say.

    It is rather too small than too large, which keeps flux.
    """
    widths = np.sort(widths)
    if len(widths) == 0:
        return None
    if len(widths) == 1:
        return 0.75 * widths[0]
    first = first_star(widths)
    alike = widths[first:][widths[first:] <= _SAME_WIDTH * widths[first]]
    return np.median(alike) * (1.0 - 0.05 / len(alike))


def _inside(stars, shape):
    """Pixels of stars whose stamps are within the frame."""
    x, y = (np.rint(np.asarray(along, float)).astype(int) for along in stars)
    keep = np.ones(len(x), bool)
    for along, length in ((y, shape[0]), (x, shape[1])):
        keep &= (along >= _RADIUS) & (along < length - _RADIUS)
    return y[keep], x[keep]


def _widths(y, x, values, background, sigma, valid):
    """Widths of the sources at some pixels that may be stars."""
    if len(y) == 0:
        return np.zeros(0)
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    rows = (y[:, None] + offsets)[:, :, None]
    columns = (x[:, None] + offsets)[:, None, :]
    stamps = ((values[rows, columns] - background[rows, columns])
              / sigma[y, x][:, None, None]).astype(np.float32)
    weights = valid[rows, columns].astype(np.float32)
    widths, ellipticity, significance = _adaptive_moments(stamps, weights)
    # Cosmic rays and hot pixels are sharper than the pixels resolve.
    return widths[(widths > 0.5) & (widths < 5.5)
                  & (ellipticity < _ELLIPTICITY)
                  & (significance > _SIGNIFICANCE)]


def estimate_fwhm(values, background, sigma, valid, *, stars=None):
    """
    Estimate the full width at half maximum of the point sources.

    Bright local maxima are measured by adaptive moments. Elongated ones
    and those sharper than any star (cosmic rays) are left out, and the
    width at which the others crowd is taken: all stars have the same
    one, galaxies and what is left of cosmic rays do not. Where fewer
    than six agree, the sharpest ones that do are taken, and the width
    is made a little smaller the fewer they are.

    Parameters
    ----------
    values, background, sigma : 2D `~numpy.ndarray`
        The frame, its background and its noise, all in the same unit.

    valid : 2D bool `~numpy.ndarray`
        Pixels that may be used.

    stars : tuple of 1D `~numpy.ndarray`, optional
        Positions x and y of sources that are known to be stars. Where
        there is no crowd, the median of their widths is taken.

    Returns
    -------
    fwhm : float or `None`
        In pixels; `None` without a source that can be measured.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.noise import estimate_fwhm
    >>> from astro_denoise.simulation import render_sources
    >>> rng = np.random.default_rng(1)
    >>> stars = {'x': rng.uniform(20, 180, 15), 'y': rng.uniform(20, 180, 15),
    ...          'flux': np.full(15, 5000.0)}
    >>> image = render_sources((200, 200), stars, 3.0, 3.5)
    >>> image += 5.0 * rng.standard_normal(image.shape)
    >>> flat = np.ones_like(image)
    >>> fwhm = estimate_fwhm(image, 0.0 * flat, 5.0 * flat, flat > 0)
    >>> print(bool(abs(fwhm - 3.0) < 0.3))
    True
    """
    if min(values.shape) < 2 * _RADIUS + 1:
        return None
    plane = values, background, sigma, valid
    widths = _widths(*_peaks(*plane), *plane)
    width = _crowded_width(widths)
    if width is None and stars is not None:
        known = _widths(*_inside(stars, values.shape), *plane)
        width = np.median(known) if len(known) else None
    if width is None:
        width = _sharpest_width(widths)
    # A Gaussian fitted to a Moffat profile (beta = 3.5) is wider.
    return None if width is None else float(2.3548 / 1.11 * width)


def frame_fwhm(measurement, signal, sigma, valid):
    """
    Give the full width at half maximum of the point sources of a frame.

    That of the measurement; where few stars agree on it, small galaxies may
    be taken for them, and the sharper one of it and of `estimate_fwhm`
    counts.

    Parameters
    ----------
    measurement : `~astro_denoise.noise.Measurement`
        Of the frame.

    signal, sigma : 2D `~numpy.ndarray`
        The frame above its background, and its noise, in the same unit.

    valid : 2D bool `~numpy.ndarray`
        Pixels that may be used.

    Returns
    -------
    fwhm : float or `None`
        In pixels; `None` if it is not known.
    """
    fwhm, found = measurement.fwhm, measurement.found
    if fwhm is None or (found is not None
                        and found.seeing.number >= _N_TRUSTED):
        return fwhm
    sharper = estimate_fwhm(signal, np.zeros_like(signal), sigma, valid)
    if sharper is not None and sharper < _SHARPER * fwhm:
        return sharper
    return fwhm
