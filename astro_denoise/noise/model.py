# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise of a frame: gain, read noise, noise maps, background, estimates.

Planes come as two arrays of the same shape: ``values``, and ``valid``,
which is `False` where a pixel is masked or not finite.
"""

import logging
import math
from dataclasses import dataclass, replace

import astropy.units as u
import numpy as np

from ..frames.scaling import Scale, single_precision
from .areas import RelativeNoise
from .background import BackgroundMesh
from .gain import check_positive
from .levels import Sky
from .photon_map import electrons_of_sky, photon_noise_map

__all__ = ['NoiseModel', 'estimate_background', 'estimate_gain',
           'estimate_noise_level', 'noise_model', 'photon_noise_map',
           'photons_of', 'relative_mesh']

logger = logging.getLogger(__name__)


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
        Lag-1 autocorrelation of the noise, the larger one of both axes; 0
        where it is not significant.

    electrons : tuple of float or `None`
        Gain, read noise and pedestal that `photon_noise_map` made
        ``sigma`` of; `None` where it did not.

    mesh : `~astro_denoise.noise.background.BackgroundMesh` or `None`
        What ``background`` was made of.

    valid : 2D bool `~numpy.ndarray` or `None`
        Pixels that hold a measurement.

    found : `~astro_denoise.noise.findings.NoiseFindings` or `None`
        All that the plane says of its noise.

    relative : `~astro_denoise.noise.areas.RelativeNoise` or `None`
        Noise over that of the level, without photons, where it differs
        from place to place.

    supplied : `~astro_denoise.noise.supplied.SuppliedNoise` or `None`
        How noise that was given compares with that of the plane.

    rest : float or `None`
        Noise of the sky in electrons without its photons, if a gain was
        given and no read noise.

    expected : tuple of float or `None`
        As ``electrons``, for the errors of what is made of the plane, where
        the growth of the noise with the light is that seen in it:
        ``electrons`` has it one error low, lest a network smooths the cores
        of stars.
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
    valid: np.ndarray | None = None
    found: object = None
    relative: RelativeNoise | None = None
    supplied: object = None
    rest: float | None = None
    expected: tuple | None = None


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
    found = _findings(values, valid)
    return found.pixel_level, found.largest_correlation


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
    slope = _findings(values, valid).photon_slope
    return 1 / slope if slope > 0 else None


def _findings(values, valid):
    """
    Measure the noise of a plane, without its seeing.
    """
    import torch

    from .findings import measure_noise

    scale = Scale.of_sample(values[valid]) or Scale()
    values, valid = np.where(valid, values, 0), np.array(valid)
    scaled, _ = scale.apply(values, valid, None)
    return measure_noise(
        torch.from_numpy(single_precision(scaled, scale.pedestal)),
        torch.from_numpy(valid), mapped=False).times(2.0**scale.exponent)


def noise_model(values, valid, *, sigma=None, gain=None, read_noise=None,
                unit=None, pedestal=0.0, mapped=True):
    """
    Model noise and background of one plane.

    The noise comes from ``sigma``, else from ``gain`` with ``read_noise``,
    else from the plane itself: its level from the blank sky, its growth
    with the mean from ``gain``, or ``read_noise``, or where neither is
    given from the plane too if that allows it.  A plane without a valid
    pixel has noise 1.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The plane, in a range of which single precision holds the squares.

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

    pedestal : float, optional
        As for `~astro_denoise.frames.scaling.single_precision`.

    mapped : bool, optional
        Whether the noise of all blocks is compared.

    Returns
    -------
    model : `NoiseModel`
        Noise and background; `~astro_denoise.noise.doubts.doubts_of` puts
        into words what is odd.

    Raises
    ------
    ValueError
        If ``gain`` or ``read_noise`` is not positive and finite, or the
        shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.noise import noise_model
    >>> values = np.random.default_rng(1).normal(100, 5, (256, 256))
    >>> model = noise_model(values, np.isfinite(values))
    >>> print(f'{model.level:.1f} {model.origin}')
    5.0 estimated
    """
    import torch

    from .findings import find_no_data, measure_noise

    given = _checked(values, valid, sigma, gain, read_noise, unit)
    plane = torch.from_numpy(single_precision(values, pedestal))
    no_data = find_no_data(plane, torch.from_numpy(valid))
    if no_data.defects:
        valid = valid & ~no_data.mask.numpy()
    sky = Sky(values, valid)
    mesh = BackgroundMesh(sky.mesh, sky.center, sky.scale)
    background = sky.background()
    if not valid.any():
        return NoiseModel(np.ones(values.shape, np.float32), background, 1.0,
                          'estimated', correlation=0.0, mesh=mesh,
                          valid=valid, **given)
    known = sigma is not None or None not in given.values()
    taken_off = 0.0 if values.dtype == np.float32 else pedestal
    found = replace(measure_noise(
        plane, torch.from_numpy(valid), no_data=no_data,
        background=torch.from_numpy(single_precision(background, pedestal)),
        mapped=mapped and not known,
        known_slope=lambda sky, level: _slope(
            sky + taken_off, level, **given)), pedestal=taken_off)
    shared = {'background': background, 'mesh': mesh, 'valid': valid,
              'found': found, 'correlation': found.largest_correlation}
    if known:
        return _known_noise(sky, sigma, given, shared)
    if not found.level > 0:
        level = max(abs(sky.center), 1.0) * 1e-6
        return NoiseModel(np.full(values.shape, level, np.float32),
                          level=level, origin='estimated', **given, **shared)
    return _estimated_noise(sky, given, shared)


def _checked(values, valid, sigma, gain, read_noise, unit):
    """
    Gain and read noise, after a look at all arguments.
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
    return {'gain': gain, 'read_noise': read_noise}


def _slope(sky, level, gain, read_noise):
    """
    Variance per unit of light where the user knows it, else `None`.
    """
    if gain is not None:
        return 1 / gain
    if read_noise is None:
        return None
    # level^2 = sky / gain + (read_noise / gain)^2
    counts = max(sky, 0)
    return 2 * level**2 / (counts + math.hypot(counts,
                                               2 * level * read_noise))


def photons_of(found, gain, *, known):
    """
    Collect gain, read noise and pedestal of a photon noise map.

    Parameters
    ----------
    found : `~astro_denoise.noise.findings.NoiseFindings`
        What was measured.

    gain : float
        Electrons per unit of the plane.

    known : bool
        Whether gain or read noise were given. The growth of the noise that
        is seen in a plane says nothing of its pedestal, and a plane
        shifted by a number is to have the same map.

    Returns
    -------
    gain, read_noise, pedestal : float
        As for `photon_noise_map`.
    """
    sky, level = found.sky + found.pedestal, found.pixel_level
    if known:
        return electrons_of_sky(sky, level, gain)
    return gain, 0.0, sky - level**2 * gain


def relative_mesh(found):
    """
    Noise over that of the level, where it differs from place to place.

    Parameters
    ----------
    found : `~astro_denoise.noise.findings.NoiseFindings`
        What was measured.

    Returns
    -------
    relative : `~astro_denoise.noise.areas.RelativeNoise` or `None`
        Factors of all pixels.
    """
    if found.block_map is None:
        return None
    mesh = (found.block_map / found.level).cpu().numpy()
    return RelativeNoise(BackgroundMesh(
        mesh.astype(np.float32), cell=found.block_size), found.areas)


def _estimated_noise(sky, given, shared):
    """
    Noise map from the level of the sky and a gain, given or estimated.
    """
    found = shared['found']
    level, sky_value = found.pixel_level, found.sky + found.pedestal
    slope = _slope(sky_value, level, **given) or found.photon_slope
    gain, read_noise = 1 / slope if slope > 0 else None, given['read_noise']
    relative, electrons, rest = relative_mesh(found), None, None
    expected = None
    if found.photon_mean > 0 and not any(given.values()):
        expected = photons_of(found, 1 / found.photon_mean, known=False)
    if gain is None:
        sigma = np.full(sky.values.shape, level, np.float32)
    else:
        if sky_value * gain > 1.2 * (level * gain)**2:
            logger.info('the sky of %.4g electrons has a noise of %.4g: '
                        'there is a pedestal, or exposures were averaged',
                        sky_value * gain, level * gain)
        electrons = photons_of(found, gain,
                               known=any(given.values()))
        if given['gain'] is not None:
            read_noise = rest = electrons[1]
        sigma = photon_noise_map(sky.values, sky.valid, *electrons[:2],
                                 pedestal=electrons[2])
    # Structure that is taken for noise would be taken away.
    if relative is not None and found.verdict != 'cannot tell':
        sigma *= relative.over(
            tuple(slice(0, n) for n in sigma.shape), np.float32)
    return NoiseModel(sigma, level=level, origin='estimated', gain=gain,
                      read_noise=read_noise, electrons=electrons,
                      expected=expected, relative=relative, rest=rest,
                      **shared)


def _known_noise(sky, sigma, given, shared):
    """
    Noise that was given, compared with that of the plane.
    """
    from .supplied import compare_supplied

    found, electrons, origin = shared['found'], None, 'uncertainty'
    if sigma is None:
        electrons, origin = (given['gain'], given['read_noise'], 0.0), 'gain'
        sigma = photon_noise_map(sky.values, sky.valid, *electrons[:2])
    level = _sky_median(sigma, sky)
    dark = _sky_median(sigma, sky, brightest=(
        found.sky + found.pedestal + 2 * found.pixel_level))
    supplied = compare_supplied(found, dark, None)
    if electrons is None:
        sigma = np.where(sky.valid, sigma, level).astype(np.float32)
    elif not sky.valid.all():
        sigma[~sky.valid] = level
    return NoiseModel(sigma, level=level, origin=origin, electrons=electrons,
                      supplied=supplied, **given, **shared)


def _sky_median(sigma, sky, *, brightest=math.inf):
    """
    Median of a noise map on the blank sky, else on all valid pixels.
    """
    step = max(1, math.isqrt(sigma.size // 250_000))
    sample = sigma[::step, ::step]
    every = slice(None, None, step)
    valid = sky.valid[every, every]
    dark = valid & (sky.values[every, every] < brightest)
    for use in (dark & sky.blank_pixels(every, every), dark, valid):
        if use.any():
            return float(np.median(sample[use]))
    return float(np.median(sigma[sky.valid]))
