# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Take plain arrays out of what the user gave, and put the result back.
"""

import copy

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData, StdDevUncertainty
from astropy.utils.masked import Masked

from .inputs import Frame, inspect, plain_parts, working_type

__all__ = ['Frame', 'merge', 'repack', 'result_type', 'unpack', 'wrap']


def unpack(data, *, uncertainty=None, mask=None):
    """
    Take plain arrays out of a frame, which is left as it is.

    Parameters
    ----------
    data : `~astropy.nddata.NDData`, `~astropy.units.Quantity`, or array_like
        A frame with shape (ny, nx) or a stack with shape (n, ny, nx), of
        any integer or floating-point type.  `~astropy.nddata.CCDData`,
        `~numpy.ma.MaskedArray` and `~astropy.utils.masked.Masked` are
        accepted.

    uncertainty : scalar, array_like, or `~astropy.nddata.NDUncertainty`
        The noise of the pixels: a standard deviation (with a unit or in
        that of the frame), or a standard deviation, variance or inverse
        variance of `astropy.nddata`.  It takes the place of the frame's
        own.  Pixels where it is not finite, or the inverse variance is 0,
        are not valid.

    mask : array_like, optional
        Non-zero where a pixel must not be used, a bool or integer array. It
        is combined with the frame's own.

    Returns
    -------
    frame : `Frame`
        The arrays.

    Raises
    ------
    TypeError
        If an argument or its data type is not supported.

    ValueError
        If shapes or units do not fit, the uncertainty is negative or zero,
        or no pixel is valid.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.frames import unpack
    >>> frame = unpack(np.array([[1, 2], [3, 4]], '>i2'), uncertainty=0.5)
    >>> print(frame.values.shape, frame.values.dtype, frame.sigma[0, 0, 0])
    (1, 2, 2) float32 0.5
    """
    frame = inspect(data, uncertainty=uncertainty, mask=mask).read()
    if not frame.valid.any():
        pixels, sigma = frame.values, frame.sigma
        msg = f'data must have valid pixels, all {pixels.size} are masked'
        if not np.isfinite(plain_parts(data)[0]).any():
            msg = f'data must have finite pixels, got none of {pixels.size}'
        elif sigma is not None and not np.isfinite(sigma).any():
            msg = ('uncertainty must be finite for some valid pixel, got '
                   f'{sigma.flat[0]} and the like')
        raise ValueError(msg)
    return frame


def repack(frame, denoised, sigma, *, log=None, return_uncertainty=False):
    """
    Put a result into an object of the type the user gave.

    Pixels that are not valid come back as they were, with the mask set
    where the type has one.

    Parameters
    ----------
    frame : `Frame`
        What `unpack` returned.

    denoised, sigma : 3D `~numpy.ndarray`
        The new pixels and their standard deviation, (n, ny, nx).

    log : dict, optional
        Cards for the header: a value, or a value and a comment, for each
        keyword of at most 8 characters.  Only `~astropy.nddata.NDData` and
        its subclasses have a header.

    return_uncertainty : bool, optional
        Whether to return the uncertainty of an array or
        `~astropy.units.Quantity` too.  `~astropy.nddata.NDData` holds it
        anyway.

    Returns
    -------
    result : same type as the input
        A new object with the shape, unit, wcs and metadata of the input.
        Floating-point types are kept, in native byte order and with float32
        at least; integers become float32, those above 16 bits float64.

    uncertainty : same type as the input
        The standard deviation; where a pixel is not valid that of the
        input, or NaN.  Only with ``return_uncertainty``.

    Raises
    ------
    ValueError
        If a shape is not that of the frame, or a keyword of ``log`` is
        longer than 8 characters.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.frames import repack, unpack
    >>> frame = unpack(np.array([[1.0, np.nan], [3.0, 4.0]]))
    >>> print(repack(frame, frame.values + 1, frame.values))
    [[ 2. nan]
     [ 4.  5.]]
    """
    for name, array in (('denoised', denoised), ('sigma', sigma)):
        if array.shape != frame.values.shape:
            msg = (f'{name} must have the shape {frame.values.shape}, got '
                   f'{array.shape}')
            raise ValueError(msg)
    shape = plain_parts(frame.source)[0].shape
    result, error = merge(frame, denoised, sigma)
    return wrap(frame.source, result.reshape(shape), error.reshape(shape),
                ~frame.valid.reshape(shape), log=log,
                return_uncertainty=return_uncertainty)


def merge(frame, denoised, sigma, part=()):
    """
    Put the pixels that are not valid back into a result.

    Parameters
    ----------
    frame : `Frame`
        What was denoised.

    denoised, sigma : 3D `~numpy.ndarray`
        The new pixels and their standard deviation, (n, ny, nx).

    part : tuple of slice and int, optional
        The part of what the user gave that ``frame`` was read from.

    Returns
    -------
    result, error : 3D `~numpy.ndarray`
        The pixels and their standard deviation, in the type of `repack`.
    """
    pixels = plain_parts(frame.source)[0]
    dtype = result_type(pixels.dtype)
    result = np.where(frame.valid, denoised,
                      pixels[part].reshape(frame.values.shape))
    old = np.nan if frame.sigma is None else frame.sigma
    error = np.where(frame.valid, sigma, old)
    return result.astype(dtype, copy=False), error.astype(dtype, copy=False)


def result_type(dtype):
    """
    The type of denoised pixels of some type.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.frames.results import result_type
    >>> result_type(np.dtype('>i2'))
    dtype('float32')
    """
    if dtype.kind == 'f':
        return np.promote_types(dtype, np.float32).newbyteorder('=')
    return np.dtype(working_type(dtype))


def wrap(data, result, error, invalid, *, log=None,
         return_uncertainty=False):
    """
    Make an object of the type the user gave.

    Parameters
    ----------
    data : object
        What the user gave.

    result : `~numpy.ndarray`
        The pixels of the new object.

    error : `~numpy.ndarray` or `None`
        Their standard deviation.

    invalid : bool `~numpy.ndarray` or `None`
        Pixels that were not used, `None` if all were.

    log, return_uncertainty : optional
        As for `repack`.

    Returns
    -------
    result, uncertainty : same type as the input
        As for `repack`.
    """
    _, own_mask, unit = plain_parts(data)
    if isinstance(data, NDData):
        return _new_nddata(data, result, error,
                           _new_mask(own_mask, invalid, result.shape), log)
    results = (result, error) if return_uncertainty else (result,)
    if unit is not None:
        kind = type(getattr(data, 'unmasked', data))
        results = [kind(array, unit=unit, copy=False) for array in results]
    for kind in (Masked, np.ma.MaskedArray):
        if isinstance(data, kind):
            mask = False if invalid is None else invalid
            results = [kind(array, mask=mask) for array in results]
    return tuple(results) if return_uncertainty else results[0]


def _new_mask(mask, invalid, shape):
    """
    The mask of the input with the pixels that are not valid added.

    The bits of an integer mask are kept and 1 is written where there were
    none.
    """
    if mask is None or mask is np.ma.nomask:
        return invalid if invalid is not None and invalid.any() else None
    mask = np.array(np.broadcast_to(mask, shape))
    if invalid is not None:
        mask[invalid & (mask == 0)] = 1
    return mask


def _new_nddata(source, values, sigma, mask, log):
    meta = copy.deepcopy(source.meta)
    for keyword, card in (log or {}).items():
        if len(keyword) > 8:
            msg = ('log must have keywords of at most 8 characters, got '
                   f'{keyword!r}')
            raise ValueError(msg)
        value, comment = card if isinstance(card, tuple) else (card, '')
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(meta, fits.Header):
            meta[keyword] = (value, comment)
        else:
            meta[keyword] = value
    result = type(source)(
        values, mask=mask, meta=meta,
        uncertainty=None if sigma is None else StdDevUncertainty(
            sigma, copy=False),
        unit=source.unit, wcs=copy.deepcopy(source.wcs),
        psf=copy.deepcopy(source.psf))
    if getattr(source, 'flags', None) is not None:
        result.flags = copy.deepcopy(source.flags)
    return result
