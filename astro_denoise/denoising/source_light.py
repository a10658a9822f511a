# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The light of known sources in the windows of a plane, and what it leaves.
"""

from dataclasses import replace

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ..noise.levels import MESH
from ..photometry.source_model import fit_psf_of, fit_source_model

__all__ = ['fit_window', 'stars_window', 'unexplained', 'with_psf',
           'with_seeing']

# Where the residual, filtered with the point-spread function, is farther from
# 0 than this, in standard deviations, there is something else.
_LEAST_SIGNIFICANCE = 4.0

# How far it reaches, in units of the FWHM, and pixels of the edge.
_REACH, _SOFTNESS = 1.5, 3.0

# Pixels a side of what the point-spread function is fitted to.
_PSF_SIDE = 2048

# Sources of one width that are believed to be stars, and how much smaller
# the width of the stars of a catalog must be where they are fewer.
_ENOUGH_ALIKE, _SHARPER = 30, 0.8

_MARGIN = 48  # pixels around a window from which a source has light in it


def with_seeing(guide, planes, measurement, origin=(0, 0)):
    """
    Measure the seeing on the stars of a catalog, where the frame hides it.

    A frame with few stars shows the width of the sharpest of its sources,
    or that of some that are alike, which may be galaxies. A catalog that
    tells them apart knows better.

    Parameters
    ----------
    guide : `~astro_denoise.denoising.guided.Guide`
        The sources.

    planes, measurement, origin : object
        As for `~astro_denoise.denoising.guided.denoise_guided`.

    Returns
    -------
    measurement : `~astro_denoise.noise.Measurement`
        With another ``fwhm`` if that of the stars is smaller.
    """
    if measurement.found is None:
        return measurement
    seeing = measurement.found.seeing
    of_stars = seeing.verdict == 'locus'
    if of_stars and seeing.number >= _ENOUGH_ALIKE:
        return measurement
    psf = guide.psf
    if psf is None:
        galaxy = np.asarray(guide.sources['r50']) > 0
        if galaxy.all() or not galaxy.any():
            return measurement
        try:
            psf = _fitted_psf(guide, planes, measurement, origin)
        except ValueError:  # too few of them are bright
            return measurement
    most = _SHARPER * seeing.fwhm if of_stars else measurement.fwhm
    if most is not None and psf.fwhm >= most:
        return measurement
    return replace(measurement, fwhm=float(psf.fwhm))


def with_psf(guide, planes, measurement, origin):
    """
    Fit the point-spread function of a plane, unless it is known.

    Parameters
    ----------
    guide : `~astro_denoise.denoising.guided.Guide`
        The sources.

    planes, measurement, origin : object
        As for `~astro_denoise.denoising.guided.denoise_guided`.

    Returns
    -------
    guide : `~astro_denoise.denoising.guided.Guide`
        With a point-spread function.
    """
    if guide.wants_psf:
        return replace(guide, psf=_fitted_psf(guide, planes, measurement,
                                              origin))
    return guide


def stars_window(shape):
    """
    Choose the pixels that a point-spread function is fitted to.

    Parameters
    ----------
    shape : tuple of int
        Of a plane.

    Returns
    -------
    window : tuple of slice
        Rows and columns of its middle, at multiples of a cell.

    Examples
    --------
    >>> from astro_denoise.denoising.source_light import stars_window
    >>> stars_window((512, 9000))
    (slice(0, 512, None), slice(3456, 5588, None))
    """
    return tuple(
        slice(0, n) if n <= _PSF_SIDE + 2 * MESH else
        slice((n - _PSF_SIDE) // 2 // MESH * MESH,
              (n + _PSF_SIDE) // 2 + MESH) for n in shape)


def _fitted_psf(guide, planes, measurement, origin):
    """Fit the point-spread function to the middle of a plane."""
    window = stars_window(planes.shape)
    part = planes.part(window)
    place = tuple(first + side.start for first, side in zip(
        origin, window, strict=True))
    return fit_psf_of(
        *_scene_of(part, measurement), _sources_in(guide, part, place),
        gain=_gain(measurement))


def fit_window(guide, part, measurement, place):
    """
    Fit the light of the sources to a window.

    Parameters
    ----------
    guide : `~astro_denoise.denoising.guided.Guide`
        The sources and the point-spread function.

    part : `~astro_denoise.noise.measurement.Window`
        The window.

    measurement : `~astro_denoise.noise.Measurement`
        Of the plane.

    place : tuple of int
        First row and column of the window.

    Returns
    -------
    model : `~astro_denoise.photometry.source_model.SourceModel` or `None`
        `None` if no source is near, or no pixel valid.
    """
    sources = _sources_in(guide, part, place)
    if not len(sources) or not part.valid.any():
        return None
    return fit_source_model(*_scene_of(part, measurement), sources,
                            guide.psf, gain=_gain(measurement))


def unexplained(residual, valid, fwhm):
    """
    Find where a model of the sources leaves something.

    Parameters
    ----------
    residual, valid : 2D `~numpy.ndarray`
        Pixels in units of their noise, and which of them count.

    fwhm : float
        Full width at half maximum of the point-spread function, in
        pixels.

    Returns
    -------
    weights : 2D `~numpy.ndarray`
        1 there, 0 elsewhere, with smooth edges (float32).

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.denoising.source_light import unexplained
    >>> residual = np.zeros((32, 32))
    >>> residual[15:18, 15:18] = 5.0
    >>> weights = unexplained(residual, residual < 9, fwhm=3.0)
    >>> print(weights[16, 16], weights[16, 30])
    1.0 0.0
    """
    sigma = fwhm / 2.355
    filtered = gaussian_filter(np.where(valid, residual, 0.0), sigma,
                               mode='constant')
    # The noise of the filtered noise, fewer valid pixels or not.
    variance = gaussian_filter(valid.astype(float), sigma / np.sqrt(2.0),
                               mode='constant') / (4.0 * np.pi * sigma**2)
    found = np.abs(filtered) > _LEAST_SIGNIFICANCE * np.sqrt(
        np.maximum(variance, 1e-12))
    if not found.any():
        return np.zeros(residual.shape, np.float32)
    inside = _REACH * fwhm + 0.5 * _SOFTNESS - distance_transform_edt(~found)
    ramp = np.clip(inside / _SOFTNESS, 0.0, 1.0)
    return (ramp**2 * (3.0 - 2.0 * ramp)).astype(np.float32)


def _scene_of(part, measurement):
    """Values, valid pixels and noise of the sky of a window."""
    noise = np.empty(part.shape, np.float32)
    ny, nx = part.shape
    for y in range(0, ny, MESH):
        for x in range(0, nx, MESH):
            block = np.s_[y:y + MESH, x:x + MESH]
            # Photons of sources, if they are in the noise, are in few pixels.
            seen = part.noise_map[block][part.valid[block]]
            noise[block] = np.median(seen) if seen.size else measurement.level
    return part.values, part.valid, noise


def _gain(measurement):
    """Electrons per unit of the values, if that is known."""
    if measurement.electrons is not None:
        return measurement.electrons[0]
    return measurement.gain


def _sources_in(guide, part, place):
    """Sources near a window, with positions in it."""
    sources = guide.sources.copy()
    for name, first in zip('yx', place, strict=True):
        sources[name] = sources[name] - first
    x, y = (np.asarray(sources[name]) for name in 'xy')
    ny, nx = part.shape
    return sources[(x > -_MARGIN) & (x < nx + _MARGIN)
                   & (y > -_MARGIN) & (y < ny + _MARGIN)]
