# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Check what kind of image was given: counts, an optical frame, a cube, or a
frame that was denoised before.
"""

import warnings

import astropy.units as u
import numpy as np
from astropy.nddata import NDData

from ..exceptions import (
    CountsWarning,
    NoiseEstimateWarning,
    ProcessedFrameWarning,
    UnusualImageWarning,
)

__all__ = ['check_counts', 'check_counts_unit', 'check_largest_count',
           'check_no_energy_axis', 'warn_of_counts', 'warn_of_denoised',
           'warn_of_missing_noise', 'warn_of_optical']

# Units in which a number may be that of photons. Frames without a unit are
# often given adu.
_COUNT_UNITS = (u.dimensionless_unscaled, u.count, u.photon, u.electron,
                u.adu)

# The networks square counts, and add squares, in single precision, which ends
# at 3e38.
_LARGEST_COUNT = 1e18

_STRIP = 1024  # rows that are looked at together

# Cards of optical detectors.
_DETECTOR_CARDS = ('GAIN', 'EGAIN', 'RDNOISE', 'READNOIS', 'RON', 'GAINA',
                   'RDNOISEA', 'CCDTEMP', 'SATURATE', 'DNMODEL')

# Variance of neighboring pixels over their mean that photons may have,
# structure at the scale of a pixel and all.
_POISSON = (0.75, 3.0)

# Median counts that the models for gamma rays know nothing like: in their
# training it is 6 to 24, and up to four times that.
_MANY_COUNTS = 500.0

# Median counts of a frame of photons that are few for an optical one.
_FEW_COUNTS = 30.0


def check_no_energy_axis(data, name):
    """
    Raise ValueError if the planes of a stack are energies of one image.

    Parameters
    ----------
    data : object
        The frame that was given.

    name : str
        Name of the parameter, for messages.
    """
    wcs = getattr(data, 'wcs', None) if isinstance(data, NDData) else None
    kinds = [str(kind) for kind in getattr(wcs, 'axis_type_names', ())]
    header = getattr(wcs, 'wcs', None)
    for number, kind in enumerate(kinds):
        ctype = '' if header is None else header.ctype[number].upper()
        if ctype.startswith(('ENER', 'FREQ', 'WAVE', 'WAVN', 'VELO', 'VOPT',
                             'VRAD', 'AWAV', 'ZOPT', 'BETA', 'SPEC')):
            msg = (f'{name} must hold images of the sky, got a cube with an '
                   f'axis {ctype!r} ({kind}): sum over energy first')
            raise ValueError(msg)


def warn_of_denoised(header, *, cure='give the raw frame', stacklevel=3):
    """
    Warn of a frame that was denoised before.

    Parameters
    ----------
    header : mapping
        Of the frame.

    cure : str, optional
        What to do about it.

    stacklevel : int, optional
        Of the warning.

    Warns
    -----
    ProcessedFrameWarning
        If the header has the card ``DNMODEL``.
    """
    if 'DNMODEL' in header:
        msg = (f'data was denoised before, by the model '
               f'{header["DNMODEL"]!r} (DNMODEL): its pixels share their '
               f'noise, which is taken for independent here; {cure}')
        warnings.warn(msg, ProcessedFrameWarning, stacklevel=stacklevel)


def warn_of_missing_noise(reader, *, sampled=False, stacklevel=3):
    """
    Warn of pixels that are left out because they have no uncertainty.

    Parameters
    ----------
    reader : `~astro_denoise.frames.FrameReader`
        The frame.

    sampled : bool, optional
        Whether it is a sample of the frame, for the message.

    stacklevel : int, optional
        Of the warning.

    Warns
    -----
    NoiseEstimateWarning
        If the uncertainty of a finite pixel that is not masked is NaN. An
        infinite one, or an inverse variance of 0, says so on purpose.
    """
    if reader.noise is None:
        return
    noise = reader.noise[0]
    n_missing = n_pixels = 0
    for index in reader.indices if noise.ndim else ():
        for start in range(0, reader.pixels.shape[-2], _STRIP):
            part = (*index, slice(start, start + _STRIP))
            missing = np.isnan(noise[part])
            valid = np.isfinite(reader.pixels[part])
            for mask in reader.masks:
                valid &= (mask[part] if mask.ndim else mask) == 0
            n_pixels += np.count_nonzero(valid)
            n_missing += np.count_nonzero(missing & valid)
    # A frame without any is an error that says so.
    if 0 < n_missing < n_pixels:
        pixels = 'valid pixels of a sample' if sampled else 'valid pixels'
        msg = (f'uncertainty is NaN for {n_missing} of the {pixels} '
               f'({100 * n_missing / n_pixels:.2g} %), which are left out; '
               f'if these are the low ones, as ccdproc.create_deviation makes '
               f'them of a frame without its sky, sky and fluxes come out '
               f'wrong: make the uncertainty before the sky is subtracted, '
               f'or give gain and read_noise')
        warnings.warn(msg, NoiseEstimateWarning, stacklevel=stacklevel)


def variance_over_mean(values, valid):
    """
    Variance of neighboring pixels over their mean: 1 for photons.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        An image.

    Returns
    -------
    ratio : float
        NaN where too few pixels are valid. The median of squares of
        differences of diagonal order, so that sources count little.
    """
    inside = (valid[1:, 1:] & valid[1:, :-1] & valid[:-1, 1:]
              & valid[:-1, :-1])
    if np.count_nonzero(inside) < 100:
        return np.nan
    parts = [values[1:, 1:], values[:-1, :-1], values[1:, :-1],
             values[:-1, 1:]]
    with np.errstate(over='ignore', invalid='ignore', divide='ignore'):
        difference = (parts[0] + parts[1] - parts[2] - parts[3]) / 2.0
        mean = sum(parts) / 4.0
        # Few counts take few values, whose median jumps.
        return float(np.mean(np.minimum(
            difference[inside]**2 / np.maximum(mean[inside], 0.5), 9.0)))


def warn_of_optical(frame, name, model, *, counts=True, stacklevel=3):
    """
    Warn of an optical frame that is given to a model for gamma rays.

    Parameters
    ----------
    frame : `~astro_denoise.frames.Frame`
        The images.

    name, model : str
        Names of the parameter and of the model, for messages.

    counts : bool, optional
        The model is for counts as they are, without other noise.

    stacklevel : int, optional
        Of the warning.

    Warns
    -----
    UnusualImageWarning
        If unit, header, noise or level are those of no gamma-ray image.
    """
    cards = [card for card in _DETECTOR_CARDS if card in frame.header]
    reason = ''
    if frame.unit in (u.adu, u.electron) and cards:
        reason = (f'its unit is {frame.unit} and its header has '
                  f'{", ".join(cards[:3])}, as optical frames have')
    for index, (values, valid) in enumerate(zip(frame.values, frame.valid,
                                                strict=True)):
        level = np.median(values[valid]) if valid.any() else 0.0
        ratio = variance_over_mean(values, valid)
        # Numbers that are no integers are warned of elsewhere.
        counted = counts and (values == np.rint(values)).all()
        if counts and level > _MANY_COUNTS:
            reason = f'the median of image {index} is {level:.0f}'
        elif not reason and counted and level >= 1 and (
                0 < ratio < _POISSON[0] or ratio > _POISSON[1]):
            reason = (f'the noise of image {index} is not that of counts '
                      f'(variance {ratio:.2g} times the mean)')
        if reason:
            msg = (f'{name}: {reason}: the model {model!r} is for gamma-ray '
                   f'images of up to some hundred counts; for sources in '
                   f"optical frames take model='ccd-sources', to denoise "
                   f"them "
                   f"model='ccd'")
            warnings.warn(msg, UnusualImageWarning, stacklevel=stacklevel)
            return


def warn_of_counts(values, valid, unit, *, stacklevel=3):
    """
    Warn of photons counted one by one that are given to a model for CCDs.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        A plane, or a piece of it.

    unit : `~astropy.units.Unit` or `None`
        Of the frame.

    stacklevel : int, optional
        Of the warning.

    Warns
    -----
    UnusualImageWarning
        If the plane holds small whole numbers with the noise of counts.
    """
    if unit not in (None, u.dimensionless_unscaled, u.count, u.photon):
        return
    sample = values[valid]
    if not sample.size or sample.min() < 0 or (
            np.median(sample) > _FEW_COUNTS or not sample.any()
            or (sample != np.rint(sample)).any()):
        return
    ratio = variance_over_mean(values, valid)
    if _POISSON[0] < ratio < _POISSON[1]:
        msg = ("data holds few counts with the noise of photons: the model is "
               "for CCD frames; 'gc-mixed' is for gamma-ray images")
        warnings.warn(msg, UnusualImageWarning, stacklevel=stacklevel)


def check_counts_unit(unit, name='image'):
    """
    Raise ValueError if a unit is not one of counts.

    Parameters
    ----------
    unit : `~astropy.units.Unit` or `None`
        The unit.

    name : str, optional
        Name of the parameter, for the message.
    """
    if unit is not None and unit not in _COUNT_UNITS:
        msg = (f'{name} must hold counts, got the unit '
               f"'{unit}' (multiply rates by the exposure first)")
        raise ValueError(msg)


def check_counts(values, valid, name, *, stacklevel=3):
    """
    Raise ValueError unless images hold counts.

    Parameters
    ----------
    values, valid : 3D `~numpy.ndarray`
        Images and their valid pixels, shape (n, ny, nx).

    name : str
        Name of the parameter, for messages.

    stacklevel : int, optional
        Of the warning.

    Raises
    ------
    ValueError
        If a valid pixel is negative or above 1e18, or all those of an image
        are 0.

    Warns
    -----
    CountsWarning
        If numbers are not integers: rates, or resampled images.
    """
    negative = valid & (values < 0)
    if negative.any():
        index = tuple(int(i) for i in np.argwhere(negative)[0])
        msg = (f'{name} must hold counts, which are not negative, got '
               f'{values[index]:g} at pixel {index[-2:]} of image '
               f'{index[0]}')
        raise ValueError(msg)
    check_largest_count(values, valid, name)
    empty = ~(values * valid).any((1, 2))
    if empty.any():
        msg = (f'{name} must hold counts, got 0 in all pixels of image '
               f'{int(np.flatnonzero(empty)[0])}')
        raise ValueError(msg)
    if (valid & (values != np.rint(values))).any():
        msg = (f'{name} holds numbers that are not integers: the models are '
               f'trained on counts, and rates mean something else to them')
        warnings.warn(msg, CountsWarning, stacklevel=stacklevel)


def check_largest_count(values, valid, name):
    """
    Raise ValueError if counts are too large for single precision.

    Parameters
    ----------
    values, valid : 3D `~numpy.ndarray`
        Images and their valid pixels, shape (n, ny, nx).

    name : str
        Name of the parameter, for the message.

    Raises
    ------
    ValueError
        If a valid pixel is above 1e18.
    """
    large = valid & (values > _LARGEST_COUNT)
    if large.any():
        index = tuple(int(i) for i in np.argwhere(large)[0])
        msg = (f'{name} must not exceed {_LARGEST_COUNT:g} counts in a pixel, '
               f'beyond which the arithmetic of the models overflows, got '
               f'{values[index]:g} at pixel {index[-2:]} of image {index[0]} '
               f'(are these counts of photons?)')
        raise ValueError(msg)
