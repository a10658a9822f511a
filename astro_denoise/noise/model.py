# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise of a frame: gain, read noise, noise maps, background, estimates.

Planes come as two arrays of the same shape: ``values``, and ``valid``,
which is `False` where a pixel is masked or not finite.
"""

import logging
import math
import warnings
from dataclasses import dataclass

import astropy.units as u
import numpy as np

from ..exceptions import NoiseEstimateWarning
from .background import BackgroundMesh
from .gain import check_positive
from .levels import Sky, photon_slope, sky_noise
from .photon_map import electrons_of_sky, photon_noise_map

__all__ = ['NoiseModel', 'estimate_background', 'estimate_gain',
           'estimate_noise_level', 'noise_model', 'photon_noise_map']

logger = logging.getLogger(__name__)

# In electrons; detectors for images have less.
_LARGEST_READ_NOISE = 300.0


@dataclass
class NoiseModel:
    """
    Noise and background of one plane.

    Parameters
    ----------
    sigma : 2D `~numpy.ndarray`
        Noise standard deviation (float32) in the unit of the frame,
        positive everywhere.

    background : 2D `~numpy.ndarray`
        Smooth background in the unit of the frame.

    level : float
        Median noise standard deviation of the blank sky.

    origin : {'uncertainty', 'gain', 'estimated'}
        Where ``sigma`` comes from.

    gain : float or `None`
        Electrons per unit of the frame, given or estimated.

    read_noise : float or `None`
        Read noise in electrons, given or estimated.

    correlation : float
        Lag-1 autocorrelation of the residual blank background, the mean of
        both axes; 0 where it is within three times its error.

    electrons : tuple of float or `None`
        Gain, read noise and pedestal that `photon_noise_map` made
        ``sigma`` of; `None` where it did not.

    mesh : `~astro_denoise.noise.background.BackgroundMesh` or `None`
        What ``background`` was made of.
    """

    sigma: np.ndarray
    background: np.ndarray
    level: float
    origin: str
    gain: float | None
    read_noise: float | None
    correlation: float
    electrons: tuple | None = None
    mesh: BackgroundMesh | None = None


def estimate_background(values, valid):
    """
    Smooth background of a plane.

    Sigma-clipped background (`~photutils.background.Background2D`) of the
    plane in bins, in meshes of 64 x 64 pixels, interpolated linearly.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The plane.

    valid : 2D bool `~numpy.ndarray`
        `False` where a pixel must not be used.

    Returns
    -------
    background : 2D `~numpy.ndarray`
        The background on every pixel: float32, or float64 for values of
        that type.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.noise import estimate_background
    >>> values = np.random.default_rng(1).normal(100, 5, (128, 128))
    >>> background = estimate_background(values, np.isfinite(values))
    >>> print(abs(background - 100).max() < 1)
    True
    """
    return Sky(values, valid).background()


def estimate_noise_level(values, valid):
    """
    Noise level of the blank sky and its autocorrelation.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        The plane, and `False` where a pixel must not be used.

    Returns
    -------
    level : float
        Noise standard deviation of the blank sky; 0 where all pixels have
        the same value.

    correlation : float
        Lag-1 autocorrelation of the residual sky, the mean of both axes; 0
        where it is within three times its error.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.noise import estimate_noise_level
    >>> values = np.random.default_rng(1).normal(100, 5, (256, 256))
    >>> level, correlation = estimate_noise_level(values, values > 0)
    >>> print(f'{level:.1f} {correlation:.1f}')
    5.0 0.0
    """
    sky = Sky(values, valid)
    level, correlation = sky_noise(sky)
    return level * sky.scale, correlation


def estimate_gain(values, valid):
    """
    Gain of a plane from the growth of its noise with the mean.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        The plane, and `False` where a pixel must not be used.

    Returns
    -------
    gain : float or `None`
        Electrons per unit of ``values``, or `None` where the growth is not
        significant or the noise is correlated.

    Notes
    -----
    The variance of fourth differences, which see next to nothing of what
    the optics let by, is fitted with a constant, a term that grows with the
    mean (photons) and one that grows with its square (what is left of stars
    and galaxies).  The slope is taken one standard error low: a noise too
    large would smooth the cores of stars.
    """
    sky = Sky(values, valid)
    level, correlation = sky_noise(sky)
    return _gain_of_sky(sky, level * sky.scale, correlation)


def _gain_of_sky(sky, level, correlation):
    if level == 0 or abs(correlation) > 0.1:
        return None
    slope = photon_slope(sky, level)
    return 1 / (slope * level) if slope > 0 else None


def noise_model(values, valid, *, sigma=None, gain=None, read_noise=None,
                unit=None):
    """
    Noise map, background and noise level of one plane.

    The noise comes from ``sigma``, else from ``gain`` with ``read_noise``,
    else from the plane itself: its level from the blank sky, its growth
    with the mean from ``gain``, or ``read_noise``, or where neither is
    given from the plane too if that allows it.  A plane without a valid
    pixel has noise 1.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The plane.

    valid : 2D bool `~numpy.ndarray`
        `False` where a pixel must not be used.

    sigma : 2D `~numpy.ndarray`, optional
        Known noise standard deviation, positive where valid.

    gain : float, optional
        Electrons per unit of the plane.

    read_noise : float, optional
        Read noise in electrons.

    unit : `~astropy.units.Unit`, optional
        Unit of the plane; electrons have gain 1.

    Returns
    -------
    model : `NoiseModel`
        Noise and background.

    Raises
    ------
    ValueError
        If ``gain`` or ``read_noise`` is not positive and finite, or the
        shapes differ.

    Warns
    -----
    NoiseEstimateWarning
        If all pixels have the same value, or the noise of the sky is far
        from that of ``gain`` and ``read_noise``.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.noise import noise_model
    >>> values = np.random.default_rng(1).normal(100, 5, (256, 256))
    >>> model = noise_model(values, np.isfinite(values))
    >>> print(f'{model.level:.1f} {model.origin}')
    5.0 estimated
    """
    for name, array in (('valid', valid), ('sigma', sigma)):
        if array is not None and array.shape != values.shape:
            msg = (f'{name} must have the shape of values {values.shape}, '
                   f'got {array.shape}')
            raise ValueError(msg)
    if gain is not None:
        check_positive('gain', gain)
    elif unit == u.electron:
        gain = 1.0
    if read_noise is not None:
        check_positive('read_noise', read_noise)

    sky = Sky(values, valid)
    level, correlation = sky_noise(sky)
    level *= sky.scale
    mesh = BackgroundMesh(sky.mesh, sky.centre, sky.scale)
    if not valid.any():
        return NoiseModel(np.ones(values.shape, np.float32),
                          sky.background(), 1.0, 'estimated', gain,
                          read_noise, 0.0, mesh=mesh)
    electrons = None
    if sigma is not None:
        origin = 'uncertainty'
        sigma, level = _known_noise(sigma, sky)
    elif gain is not None and read_noise is not None:
        origin = 'gain'
        electrons = gain, read_noise, 0.0
        sigma = photon_noise_map(values, valid, gain, read_noise)
        level = _compare_level(sigma, sky, level)
    elif level == 0:
        origin = 'estimated'
        sigma, level = _no_noise(values, sky)
    else:
        origin = 'estimated'
        sigma, gain, read_noise, electrons = _estimated_noise(
            sky, level, correlation, gain, read_noise)
    logger.info('noise level %.4g from %s, gain %s, read noise %s, lag-1 '
                'autocorrelation %.3f', level, origin, gain, read_noise,
                correlation)
    return NoiseModel(sigma, sky.background(), level, origin, gain,
                      read_noise, correlation, electrons, mesh)


def _estimated_noise(sky, level, correlation, gain, read_noise):
    """
    Noise map from the level of the sky and a gain, given or estimated.
    """
    gain_given = gain is not None
    if not gain_given and read_noise is not None:
        # level^2 = sky / gain + (read_noise / gain)^2
        counts = max(sky.level, 0)
        gain = (counts + math.hypot(counts, 2 * level * read_noise)
                ) / (2 * level**2)
    elif not gain_given:
        gain = _gain_of_sky(sky, level, correlation)
    if gain is None:
        shape = sky.values.shape
        return np.full(shape, level, np.float32), None, None, None
    if sky.level * gain > 1.2 * (level * gain)**2:
        logger.info('the sky of %.4g electrons has a noise of %.4g: there is '
                    'a pedestal, or exposures were averaged',
                    sky.level * gain, level * gain)
    electrons = electrons_of_sky(sky.level, level, gain)
    _, rest, pedestal = electrons
    if gain_given and gain != 1 and rest > _LARGEST_READ_NOISE:
        msg = (f'with gain={gain:.4g} electron per unit, the noise of the '
               f'blank sky is a read noise of {rest:.0f} electron, as few '
               f'detectors have: is the gain a setting of the camera (GAIN, '
               f'with the gain in EGAIN), or of another unit?')
        warnings.warn(msg, NoiseEstimateWarning, stacklevel=4)
    sigma = photon_noise_map(sky.values, sky.valid, gain, rest,
                             pedestal=pedestal)
    return sigma, gain, rest if gain_given else read_noise, electrons


def _sky_median(sigma, sky):
    """
    Median of a noise map on the blank sky, else on all valid pixels.
    """
    step = max(1, math.isqrt(sigma.size // 250_000))
    sample = sigma[::step, ::step]
    every = slice(None, None, step)
    valid = sky.valid[every, every]
    for use in (valid & sky.blank_pixels(every, every), valid):
        if use.any():
            return float(np.median(sample[use]))
    return float(np.median(sigma[sky.valid]))


def _known_noise(sigma, sky):
    level = _sky_median(sigma, sky)
    return np.where(sky.valid, sigma, level).astype(np.float32), level


def _compare_level(sigma, sky, measured):
    level = _sky_median(sigma, sky)
    if measured > 0 and not 1 / 1.5 < measured / level < 1.5:
        msg = (f'the noise of the blank sky is {measured:.4g}, but gain and '
               f'read_noise make it {level:.4g}; was the sky subtracted, or '
               'were exposures averaged?')
        warnings.warn(msg, NoiseEstimateWarning, stacklevel=3)
    return level


def _no_noise(values, sky):
    msg = ('the noise cannot be estimated: all valid pixels have the value '
           f'{sky.centre:g}')
    warnings.warn(msg, NoiseEstimateWarning, stacklevel=3)
    level = max(abs(sky.centre), 1.0) * 1e-6
    return np.full(values.shape, level, np.float32), level
