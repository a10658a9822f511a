# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Take plain arrays out of what the user gave, and put the result back.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import NDData, NDUncertainty, StdDevUncertainty
from astropy.utils.masked import Masked

__all__ = ['Frame', 'repack', 'unpack']


@dataclass
class Frame:
    """
    Plain arrays of a frame or a stack of frames.

    Parameters
    ----------
    values : 3D `~numpy.ndarray`
        A copy of the pixels with shape (n, ny, nx), zero where not valid:
        float32 for integers of up to 16 bits, float16 and float32, else
        float64.

    valid : 3D bool `~numpy.ndarray`
        `False` where a pixel is masked, or it or its uncertainty is not
        finite.

    sigma : 3D `~numpy.ndarray` or `None`
        The known noise standard deviation in the unit of the frame.  It may
        be anything where a pixel is not valid.

    unit : `~astropy.units.Unit` or `None`
        The unit of the frame.

    header : mapping
        The metadata of the frame, not to be changed.

    source : object
        What the user gave.
    """

    values: np.ndarray
    valid: np.ndarray
    sigma: np.ndarray | None
    unit: u.UnitBase | None
    header: Mapping
    source: object


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
    pixels, own_mask, unit = _parts(data)
    if pixels.dtype.kind not in 'iuf':
        msg = ('data must have an integer or floating-point type, got '
               f'{pixels.dtype}')
        raise TypeError(msg)
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        msg = ('data must have shape (ny, nx) or (n, ny, nx), not empty, got '
               f'{pixels.shape}')
        raise ValueError(msg)

    working = np.result_type(np.float32, pixels.dtype)
    working = np.float32 if working == np.float32 else np.float64
    values = np.array(pixels, working, order='C')
    valid = np.isfinite(values)
    for one in (own_mask, mask):
        valid &= ~_checked_mask(one, values.shape)
    if not valid.any():
        msg = f'data must have valid pixels, all {valid.size} are masked'
        if not np.isfinite(values).any():
            msg = f'data must have finite pixels, got none of {valid.size}'
        raise ValueError(msg)

    if uncertainty is None and isinstance(data, NDData):
        uncertainty = data.uncertainty
    sigma = None
    if uncertainty is not None:
        sigma = _standard_deviation(uncertainty, values, valid, unit)
        valid &= np.isfinite(sigma)
        if not valid.any():
            msg = ('uncertainty must be finite for some valid pixel, got '
                   f'{sigma.flat[0]} and the like')
            raise ValueError(msg)
    values[~valid] = 0

    shape = (-1, *values.shape[-2:])
    return Frame(values.reshape(shape), valid.reshape(shape),
                 None if sigma is None else sigma.reshape(shape), unit,
                 data.meta if isinstance(data, NDData) else {}, data)


def _parts(data):
    """
    Pixels, mask and unit of whatever the user gave.
    """
    mask = unit = None
    if isinstance(data, NDData):
        return np.asarray(data.data), data.mask, data.unit
    if isinstance(data, Masked):
        mask, data = data.mask, data.unmasked
    elif isinstance(data, np.ma.MaskedArray):
        mask, data = data.mask, data.data
    if isinstance(data, u.Quantity):
        return data.value, mask, data.unit
    if not (isinstance(data, list | tuple) or hasattr(data, '__array__')):
        msg = ('data must be CCDData, NDData, Quantity or an array, got '
               f'{type(data).__name__} {data!r:.60}')
        raise TypeError(msg)
    try:
        return np.asarray(data), mask, unit
    except ValueError as exc:
        msg = f'data must be an array: {exc}'
        raise ValueError(msg) from exc


def _checked_mask(mask, shape):
    if mask is None or mask is np.ma.nomask:
        return np.zeros((), bool)
    mask = np.asarray(mask)
    if mask.dtype.kind not in 'biu':
        msg = f'mask must have a bool or integer type, got {mask.dtype}'
        raise TypeError(msg)
    if mask.shape not in ((), shape):
        msg = f'mask must have the shape of data {shape}, got {mask.shape}'
        raise ValueError(msg)
    return mask != 0


def _standard_deviation(uncertainty, values, valid, unit):
    """
    Standard deviation in the unit and with the shape of the frame.
    """
    power = 1
    if isinstance(uncertainty, NDUncertainty):
        powers = {'std': 1, 'var': 0.5, 'ivar': -0.5}
        if uncertainty.uncertainty_type not in powers:
            msg = ('uncertainty must be StdDevUncertainty, '
                   'VarianceUncertainty or InverseVariance, got '
                   f'{type(uncertainty).__name__}')
            raise TypeError(msg)
        power = powers[uncertainty.uncertainty_type]
        array, own_unit = uncertainty.array, uncertainty.unit
    elif isinstance(uncertainty, u.Quantity):
        array, own_unit = uncertainty.value, uncertainty.unit
    else:
        array, own_unit = uncertainty, None

    array = np.asarray(array)
    if array.dtype.kind not in 'iuf':
        msg = ('uncertainty must have an integer or floating-point type, '
               f'got {array.dtype}')
        raise TypeError(msg)
    if array.shape not in ((), values.shape):
        msg = (f'uncertainty must have the shape of data {values.shape}, '
               f'got {array.shape}')
        raise ValueError(msg)
    array = np.broadcast_to(array, values.shape)
    # no information at all is said with an inverse variance of 0
    bad = valid & ((array < 0) if power < 0 else (array <= 0))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        msg = (f'uncertainty must be positive, got {array[index]} at pixel '
               f'{index} (mask pixels that are not to be used)')
        raise ValueError(msg)

    factor = 1.0
    if own_unit is not None:
        frame_unit = u.dimensionless_unscaled if unit is None else unit
        try:
            factor = (own_unit**power).to(frame_unit)
        except u.UnitConversionError as exc:
            msg = (f'uncertainty in {own_unit} cannot be converted to the '
                   f'unit of data, {frame_unit}')
            raise ValueError(msg) from exc
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        sigma = array.astype(float)**power * factor
        return sigma.astype(values.dtype)


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
    pixels, own_mask, unit = _parts(frame.source)
    dtype = frame.values.dtype
    if pixels.dtype.kind == 'f':
        dtype = np.promote_types(pixels.dtype, np.float32)
    dtype = dtype.newbyteorder('=')
    valid = frame.valid.reshape(pixels.shape)
    result = np.where(valid, denoised.reshape(pixels.shape),
                      pixels).astype(dtype, copy=False)
    old = np.nan if frame.sigma is None else frame.sigma
    error = np.where(frame.valid, sigma, old).astype(dtype, copy=False)
    error = error.reshape(pixels.shape)

    if isinstance(frame.source, NDData):
        return _new_nddata(frame.source, result, error,
                           _new_mask(own_mask, valid), log)
    results = (result, error) if return_uncertainty else (result,)
    if unit is not None:
        kind = type(getattr(frame.source, 'unmasked', frame.source))
        results = [kind(array, unit=unit, copy=False) for array in results]
    for kind in (Masked, np.ma.MaskedArray):
        if isinstance(frame.source, kind):
            results = [kind(array, mask=~valid) for array in results]
    return tuple(results) if return_uncertainty else results[0]


def _new_mask(mask, valid):
    """
    The mask of the input with the pixels that are not valid added.

    The bits of an integer mask are kept and 1 is written where there were
    none.
    """
    if mask is None or mask is np.ma.nomask:
        return None if valid.all() else ~valid
    mask = np.array(np.broadcast_to(mask, valid.shape))
    mask[~valid & (mask == 0)] = 1
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
        values, uncertainty=StdDevUncertainty(sigma), mask=mask, meta=meta,
        unit=source.unit, wcs=copy.deepcopy(source.wcs),
        psf=copy.deepcopy(source.psf))
    if getattr(source, 'flags', None) is not None:
        result.flags = copy.deepcopy(source.flags)
    return result
