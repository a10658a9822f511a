# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Take plain arrays out of what the user gave, and put results back.
"""

import copy
import threading

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData, NDDataArray, StdDevUncertainty
from astropy.utils.masked import Masked

from .checks import warn_of_missing_noise
from .inputs import open_frame, plain_parts, working_type
from .memory_maps import release
from .subclasses import copy_attributes, new_like
from .windows import within

__all__ = ['FrameWriter', 'nothing_valid', 'result_type', 'unpack']


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

    Warns
    -----
    NoiseEstimateWarning
        If the uncertainty of finite pixels is NaN: they are not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.frames import unpack
    >>> frame = unpack(np.array([[1, 2], [3, 4]], '>i2'), uncertainty=0.5)
    >>> print(frame.values.shape, frame.values.dtype, frame.sigma[0, 0, 0])
    (1, 2, 2) float32 0.5
    """
    reader = open_frame(data, uncertainty=uncertainty, mask=mask)
    frame = reader.read()
    if not frame.valid.any():
        raise ValueError(' '.join(nothing_valid(reader)))
    warn_of_missing_noise(reader, stacklevel=5)
    return frame


def nothing_valid(reader):
    """
    Find out why no pixel of a frame is valid.

    Parameters
    ----------
    reader : `~astro_denoise.frames.FrameReader`
        The frame.

    Returns
    -------
    parameter, message : str
        What is at fault, and what it must have.
    """
    pixels = reader.pixels
    planes = [pixels[index] for index in reader.indices]
    if not any(np.isfinite(plane).any() for plane in planes):
        return 'data', f'must have finite pixels, got none of {pixels.size}'
    if not any(reader.read(index).valid.any() for index in reader.indices):
        for index in reader.indices:
            sigma = reader.sigma(index)
            if sigma is None or np.isfinite(sigma).any():
                return 'data', (f'must have valid pixels, all {pixels.size} '
                                f'are masked')
        return 'uncertainty', (f'must be finite for some valid pixel, got '
                               f'{sigma.flat[0]} and the like')
    sigma = reader.sigma(reader.indices[0])
    return 'uncertainty', (f'must be like the scatter of the pixels, got '
                           f'{sigma.flat[0]:g} and the like')


# Planes are written by several threads.
_making = threading.Lock()


class FrameWriter:
    """
    Take finished windows, and make an object of the type the user gave.

    Pixels that are not valid come back as they were, with the mask set
    where the type has one.

    Parameters
    ----------
    reader : `~astro_denoise.frames.FrameReader`
        The frame.

    output : `~numpy.ndarray`
        Takes the new pixels.

    error : `~numpy.ndarray`, optional
        Takes their standard deviation; where a pixel is not valid that of
        the input, or NaN.

    area : tuple of slice, optional
        Rows and columns of the plane that the arrays are for, where that
        is not all of it; the rest is not written.

    flagged : bool, optional
        Keep a plane of flags, for types that have one; the flags that a
        frame has already stay as they are.
    """

    def __init__(self, reader, output, error=None, *, area=None,
                 flagged=False):
        self.reader = reader
        self.output = output
        self.error = error
        self.area = area
        self.flags = None
        if flagged and isinstance(reader.data, NDDataArray) and (
                reader.data.flags is None):
            self.flags = np.zeros(output.shape, np.uint8)
        self.invalid = None
        # Now, so that what cannot be copied is told before any work.
        self._copies = _copies(reader.data)
        self._has_mask = isinstance(
            reader.data, NDData | Masked | np.ma.MaskedArray)

    def write(self, plane, window, denoised, sigma, valid):
        """
        Take a window of a plane.

        Parameters
        ----------
        plane : `~astro_denoise.frames.PlaneReader`
            The plane, one of the reader's.

        window : tuple of slice
            Rows and columns.

        denoised, sigma : 2D `~numpy.ndarray`
            The new pixels and their standard deviation.

        valid : 2D bool `~numpy.ndarray`
            `False` where a pixel comes back as it was.
        """
        here = plane.place(window)
        if self.area is not None:
            inner = tuple(
                slice(max(side.start, limit.start), min(side.stop, limit.stop))
                for side, limit in zip(window, self.area, strict=True))
            if any(side.start >= side.stop for side in inner):
                return
            seen = within(inner, window)
            denoised, sigma, valid = (each[seen] for each in
                                      (denoised, sigma, valid))
            window, here = inner, within(inner, self.area)
        self.output[here] = denoised
        if self.error is not None:
            self.error[here] = sigma
        if not valid.all():
            self._put_back(here, plane.part(window), ~valid)

    def _put_back(self, here, part, bad):
        self.output[here][bad] = self.reader.pixels[part][bad]
        if self.error is not None:
            old = self.reader.sigma(part)
            self.error[here][bad] = np.nan if old is None else old[bad]
        self.mark(here, bad)

    def mark(self, here, bad):
        """
        Set the mask of some pixels, where the type of the frame has one.

        Parameters
        ----------
        here : tuple of slice and int
            A part of the frame.

        bad : bool `~numpy.ndarray`
            Pixels of that part.
        """
        if self._has_mask and bad.any():
            with _making:
                if self.invalid is None:
                    self.invalid = np.zeros(self.output.shape, bool)
            self.invalid[here] |= bad

    def flag(self, plane, window, chosen):
        """
        Set the flags of a window, where there are any.

        Parameters
        ----------
        plane, window : object
            As for `write`.

        chosen : 2D bool `~numpy.ndarray`
            The pixels that get a flag.
        """
        if self.flags is not None:
            self.flags[plane.place(window)] = chosen

    def release(self):
        """Give back the memory that pages of mapped files take."""
        release([*self.reader.arrays, self.output, self.error])

    def wrap(self, *, log=None, return_uncertainty=False):
        """
        Make an object of the type the user gave.

        Parameters
        ----------
        log : dict, optional
            Cards for the header: a value, or a value and a comment, for
            each keyword of at most 8 characters, or with HIERARCH. Only
            `~astropy.nddata.NDData` and its subclasses have a header.

        return_uncertainty : bool, optional
            Whether to return the uncertainty of an array or
            `~astropy.units.Quantity` too. `~astropy.nddata.NDData` holds
            it anyway.

        Returns
        -------
        result : same type as the input
            A new object with the shape, unit, wcs and metadata of the
            input. Floating-point types are kept, in native byte order and
            with float32 at least; integers become float32, those above 16
            bits float64.

        uncertainty : same type as the input
            The standard deviation. Only with ``return_uncertainty``.

        Raises
        ------
        ValueError
            If a keyword of ``log`` is longer, and without HIERARCH.
        """
        data = self.reader.data
        _, own_mask, unit = plain_parts(data)
        output, error, invalid, flags = (
            self._as_given(array) for array in (self.output, self.error,
                                                self.invalid, self.flags))
        if isinstance(data, NDData):
            result = _new_nddata(
                data, output, error,
                _new_mask(own_mask, invalid, output.shape),
                self._copies, log)
            if flags is not None:
                result.flags = flags
            return result
        results = [output]
        if return_uncertainty:
            results.append(error)
        if unit is not None:
            kind = type(getattr(data, 'unmasked', data))
            results = [kind(array, unit=unit, copy=False)
                       for array in results]
        for kind in (Masked, np.ma.MaskedArray):
            if isinstance(data, kind):
                mask = False if invalid is None else invalid
                results = [kind(array, mask=mask) for array in results]
        return tuple(results) if return_uncertainty else results[0]

    def _as_given(self, array):
        """An array with the empty axes that the frame had."""
        if array is None or not self.reader.n_empty:
            return array
        return array[(np.newaxis,) * self.reader.n_empty]


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


def _copies(data):
    """Copies of what belongs to a frame and stays as it is."""
    copies = {}
    if not isinstance(data, NDData):
        return copies
    for name in ('meta', 'wcs', 'psf', 'flags'):
        try:
            copies[name] = copy.deepcopy(getattr(data, name, None))
        except (TypeError, ValueError, AttributeError) as error:
            msg = f'data.{name} cannot be copied: {error}'
            raise TypeError(msg) from error
    copies['attributes'] = copy_attributes(data)
    return copies


def _new_nddata(data, values, sigma, mask, copies, log):
    meta = copies['meta']
    for keyword, card in (log or {}).items():
        if len(keyword) > 8 and not keyword.upper().startswith('HIERARCH '):
            msg = ('log must have keywords of at most 8 characters, or with '
                   f'HIERARCH, got {keyword!r}')
            raise ValueError(msg)
        value, comment = card if isinstance(card, tuple) else (card, '')
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(meta, fits.Header):
            meta[keyword] = (value, comment)
        else:
            meta[keyword] = value
    result = new_like(
        data, values, copies['attributes'], mask=mask, meta=meta,
        uncertainty=None if sigma is None else StdDevUncertainty(
            sigma, copy=False),
        unit=data.unit, wcs=copies['wcs'], psf=copies['psf'])
    if copies['flags'] is not None:
        result.flags = copies['flags']
    return result
