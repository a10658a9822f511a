# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The light around candidates for sources, on the frame itself.
"""

import numpy as np

from ..noise.compiling import compiling_pays

__all__ = ['POINT', 'concentration', 'filter_width', 'significance',
           'starlike_misfit']

# Pairs of a narrow and a wide filter, in FWHM.
_PAIRS = (0.6, 1.5), (1.0, 1.6)

#: Concentration of a point source, were it a Gaussian.
POINT = tuple((1.0 + wide**2) / (1.0 + narrow**2) for narrow, wide in _PAIRS)

# Filters end where they are weak, in their widths; pixels of stamps that are
# worked on at a time.
_REACH, _N_PIXELS = 3.5, 2**21


def filter_width(fwhm):
    """
    Compute the width of a Gaussian filter that is matched to stars.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels.

    Returns
    -------
    width : float
        Standard deviation in pixels; the light of a pixel is that of all
        of it.
    """
    return float(np.hypot(fwhm / 2.3548, 12.0**-0.5))


def _stamped(measure, planes, x, y, half, *places):
    """Measure candidates on stamps of planes, some at a time."""
    side = 2 * half + 1
    step = max(_N_PIXELS // side**2, 1)
    parts = []
    for start in range(0, max(len(x), 1), step):
        part = slice(start, start + step)
        parts.append(measure(*_stamps(planes, x[part], y[part], half),
                             *(place[part] for place in places)))
    return np.concatenate(parts)


def _stamps(planes, x, y, half):
    """Cut stamps; beyond the edges planes are mirrored, and weigh nothing."""
    ny, nx = planes[0].shape
    line = np.arange(-half, half + 1)
    index, known = [], []
    for center, length in ((y, ny), (x, nx)):
        place = center[:, None] + line
        known.append((place >= 0) & (place < length))
        place = np.where(place < 0, -place - 1, place)
        place = np.where(place >= length, 2 * length - 1 - place, place)
        index.append(np.clip(place, 0, length - 1))
    flat = index[0][:, :, None] * nx + index[1][:, None, :]
    stamps = [np.take(plane.ravel(), flat) for plane in planes]
    for weight in stamps[1:]:
        weight *= known[0][:, :, None] & known[1][:, None, :]
    return stamps


def _profile(offset, width):
    """Gaussian weights along an axis, of a sum of 1."""
    line = np.exp(-0.5 * (offset / width)**2)
    return line / line.sum(-1, keepdims=True)


def significance(planes, x, y, fwhm):
    """
    Compute the signal-to-noise ratio of a matched filter around pixels.

    Parameters
    ----------
    planes : tuple of 2D `~numpy.ndarray`
        The plane above its background, 0 where not valid, and the inverse
        of its variance, 0 where not valid; float32.

    x, y : 1D `~numpy.ndarray` of int
        The pixels.

    fwhm : float
        Full width at half maximum in pixels.

    Returns
    -------
    snr : 3D `~numpy.ndarray`
        Of 5x5 pixels around each, shape (n, 5, 5).
    """
    width = filter_width(fwhm)
    half = int(np.ceil(_REACH * width)) + 2
    line = np.arange(-half, half + 1) - np.arange(-2, 3)[:, None]
    filters = [_profile(line, factor * width).astype(np.float32)
               for factor in (1.0, 2.0**-0.5)]
    # The squared profile is narrower, and so much smaller.
    norm = 1.0 / (4.0 * np.pi * width**2)

    def measure(signal, weight):
        flux = filters[0] @ (signal * weight) @ filters[0].T
        information = filters[1] @ weight @ filters[1].T
        return flux / np.sqrt(np.maximum(norm * information, 1e-30))

    return _stamped(measure, planes, x, y, half)


def concentration(planes, x, y, place_x, place_y, fwhm):
    """
    Compute the light in narrow filters over that in wide ones.

    Parameters
    ----------
    planes, x, y, fwhm
        As for `significance`.

    place_x, place_y : 1D `~numpy.ndarray`
        Positions of the sources.

    Returns
    -------
    ratios : 2D `~numpy.ndarray`
        Shape (n, 2); `POINT` for a Gaussian of this FWHM.
    """
    width = filter_width(fwhm)
    widest = max(sum(_PAIRS, ())) * width
    half = int(np.ceil(_REACH * widest)) + 1
    factors = sorted({*sum(_PAIRS, ())})
    line = np.arange(-half, half + 1)
    place = x, y, place_x - x, place_y - y

    def measure(signal, off_x, off_y):
        light = []
        for factor in factors:
            rows, columns = (
                _profile(line - off[:, None], factor * width)
                for off in (off_y, off_x))
            light.append(((rows[:, None].astype(np.float32) @ signal)[:, 0]
                          * columns).sum(1))
        return np.stack(light, 1)

    if compiling_pays(planes[0].shape):
        from .compiled_candidates import light_of_filters

        light = np.empty((len(x), len(factors)), np.float32)
        light_of_filters(planes[0], *place[:2], place[2:],
                         width * np.array(factors), half, light)
    else:
        light = _stamped(measure, planes[:1], *place[:2], half, *place[2:])
    light = dict(zip(factors, light.T, strict=True))
    ratios = []
    for (narrow, wide), point in zip(_PAIRS, POINT, strict=True):
        floor = 1e-3 * np.abs(light[narrow]) + 1e-30
        ratios.append(np.clip(light[narrow] / np.maximum(light[wide], floor),
                              0.0, 3.0 * point))
    return np.stack(ratios, 1)


def starlike_misfit(planes, x, y, place_x, place_y, fwhm):
    """
    Measure how unlike a point source the core of each source is.

    A Gaussian and a constant are fitted to the pixels within about a FWHM.

    Parameters
    ----------
    planes, x, y, place_x, place_y, fwhm
        As for `concentration`.

    Returns
    -------
    shapes : 2D `~numpy.ndarray`
        Shape (n, 3): the misfit over the flux, both in units of the
        noise; the significance of the misfit, and the highest pixel above
        the fit over the flux; compressed to order 1.
    """
    width = filter_width(fwhm)
    half = int(np.clip(round(fwhm), 2, 8))
    line = np.arange(-half, half + 1)

    def measure(signal, weight, off_x, off_y):
        rows, columns = (_profile(line - off[:, None], width)
                         for off in (off_y, off_x))
        star = (rows[:, :, None] * columns[:, None, :]).astype(np.float32)
        signal, weight, star = (each.reshape(len(each), line.size**2)
                                for each in (signal, weight, star))
        total = np.maximum(weight.sum(1, keepdims=True), 1e-30)
        star = star - (weight * star).sum(1, keepdims=True) / total
        signal = signal - (weight * signal).sum(1, keepdims=True) / total
        power = np.maximum((weight * star**2).sum(1, keepdims=True), 1e-30)
        height = (weight * star * signal).sum(1, keepdims=True) / power
        rest = (signal - height * star) * np.sqrt(weight)
        return np.stack([
            (height * np.sqrt(power))[:, 0], (rest**2).sum(1), rest.max(1),
            (weight > 0).sum(1)], 1)

    place = x, y, place_x - x, place_y - y
    if compiling_pays(planes[0].shape):
        from .compiled_candidates import misfit_of_stars

        found = np.empty((len(x), 4), np.float32)
        misfit_of_stars(*planes, *place[:2], place[2:], width, half, found)
    else:
        found = _stamped(measure, planes, *place[:2], half, *place[2:])
    flux, squares, highest, number = found.T
    n_free = np.maximum(number - 4.0, 1.0)
    excess = squares - n_free
    flux = np.maximum(flux, 1.0)
    return np.stack([
        np.minimum(np.sqrt(np.maximum(excess, 0.0)) / flux, 3.0),
        np.arcsinh(0.2 * excess / np.sqrt(2.0 * n_free)) / 3.0,
        np.minimum(3.0 * highest / flux, 3.0)], 1)
