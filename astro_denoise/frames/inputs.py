# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Readers: a frame as the user gave it, checked at once, read window by window.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.nddata import NDData, NDUncertainty
from astropy.utils.masked import Masked

from .files_for_arrays import refuse_files
from .memory_maps import release

__all__ = ['Frame', 'FrameReader', 'PlaneReader', 'empty_axes', 'open_frame',
           'plain_parts', 'without_axes', 'working_type']

# Colors, with or without transparency, of pictures of (ny, nx, n).
_CHANNELS = (3, 4)


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

    data : object
        What the user gave.
    """

    values: np.ndarray
    valid: np.ndarray
    sigma: np.ndarray | None
    unit: u.UnitBase | None
    header: Mapping
    data: object


class FrameReader:
    """
    A frame or a stack as the user gave it, read as a whole or in windows.

    Parameters
    ----------
    data : object
        What the user gave.

    pixels : `~numpy.ndarray`
        The pixels, of two or three axes.

    masks : list of `~numpy.ndarray`
        Masks of the same shape, or single values.

    noise : tuple or `None`
        Array of the uncertainty, the power that makes it a standard
        deviation, and the factor that gives this the unit of the frame.

    unit : `~astropy.units.Unit` or `None`
        The unit of the frame.

    n_empty : int, optional
        Axes of length 1 in ``data`` before those of ``pixels``.
    """

    def __init__(self, data, pixels, masks, noise, unit, *, n_empty=0):
        self.data = data
        self.n_empty = n_empty
        self.pixels = pixels
        self.masks = masks
        self.noise = noise
        self.unit = unit

    @property
    def header(self):
        """The metadata of the frame."""
        return self.data.meta if isinstance(self.data, NDData) else {}

    @property
    def arrays(self):
        """All arrays that are read."""
        noise = [] if self.noise is None else [self.noise[0]]
        return [self.pixels, *self.masks, *noise]

    @property
    def indices(self):
        """Indices of the planes of the frame: ``()`` if it is one."""
        if self.pixels.ndim == 2:
            return [()]
        return [(number,) for number in range(len(self.pixels))]

    def plane(self, index=()):
        """
        Read one plane.

        Parameters
        ----------
        index : tuple of int, optional
            One of ``indices``.

        Returns
        -------
        plane : `PlaneReader`
            The plane, of which nothing has been read.
        """
        return PlaneReader(self, index)

    def sigma(self, part):
        """
        Read the noise that came with a part of the frame.

        Parameters
        ----------
        part : tuple of slice and int
            What is to be read of each axis.

        Returns
        -------
        sigma : `~numpy.ndarray` or `None`
            Standard deviation in the unit of the frame, whatever it is;
            `None` if no uncertainty came with the frame.
        """
        if self.noise is None:
            return None
        array, power, factor = self.noise
        shape, dtype = self.pixels[part].shape, working_type(
            self.pixels.dtype)
        if power == factor == 1 and array.ndim:
            return np.array(array[part], dtype)
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            sigma = (array[part] if array.ndim else array).astype(
                float)**power * factor
            sigma = sigma.astype(dtype)
        return sigma if sigma.shape == shape else np.full(shape, sigma)

    def read(self, part=()):
        """
        Take plain arrays out of a part of the frame.

        Parameters
        ----------
        part : tuple of slice and int, optional
            What is to be read of each axis; two axes must be left.

        Returns
        -------
        frame : `Frame`
            The arrays, a copy.

        Raises
        ------
        ValueError
            If the uncertainty is negative or zero.
        """
        pixels = self.pixels[part]
        values = np.array(pixels, working_type(pixels.dtype), order='C')
        valid = np.isfinite(values)
        for mask in self.masks:
            valid &= (mask[part] if mask.ndim else mask) == 0
        sigma = self.sigma(part)
        if sigma is not None:
            self._check_noise(valid, part)
            valid &= np.isfinite(sigma)
        values[~valid] = 0
        shape = (-1, *values.shape[-2:])
        return Frame(values.reshape(shape), valid.reshape(shape),
                     None if sigma is None else sigma.reshape(shape),
                     self.unit, self.header, self.data)

    def _check_noise(self, valid, part):
        """Refuse noise that is not positive where a pixel is valid."""
        array, power, _ = self.noise
        array = array[part] if array.ndim else array
        # no information at all is said with an inverse variance of 0
        bad = (array < 0) if power < 0 else (array <= 0)
        if np.any(bad) and np.any(bad & valid):
            index = tuple(int(i) for i in np.argwhere(bad & valid)[0])
            array = np.broadcast_to(array, valid.shape)
            where = f'at pixel {index}' + (f' of {part}' if part else '')
            msg = (f'uncertainty must be positive, got {array[index]} '
                   f'{where} (mask pixels that are not to be used)')
            raise ValueError(msg)


class PlaneReader:
    """
    One plane, read window by window.

    Parameters
    ----------
    frame : `FrameReader`
        The frame that holds the plane, or the part of it that is at hand.

    index : tuple of int, optional
        Number of the plane in a stack; empty for a single one.

    origin : tuple of int, optional
        First row and column of what ``frame`` holds, if that is a part of
        the plane, such as one chunk of a dask array.

    shape : tuple of int, optional
        Shape of the plane, if ``frame`` holds a part of it.

    phase : tuple of int, optional
        First row and column, if it is every second row and column of what
        ``frame`` holds.
    """

    def __init__(self, frame, index=(), *, origin=(0, 0), shape=None,
                 phase=None):
        self.frame = frame
        self.index = index
        self.origin = origin
        self.phase = phase
        self.shape = frame.pixels.shape[-2:] if shape is None else shape
        if phase is not None:
            self.shape = tuple(-(-(n - first) // 2) for n, first in zip(
                frame.pixels.shape[-2:], phase, strict=True))

    @property
    def unit(self):
        """The unit of the frame."""
        return self.frame.unit

    @property
    def dtype(self):
        """The type that values are read in."""
        return working_type(self.frame.pixels.dtype)

    @property
    def knows_noise(self):
        """True if an uncertainty came with the frame."""
        return self.frame.noise is not None

    @property
    def held(self):
        """Rows and columns of the plane that the frame holds."""
        if self.phase is not None:
            return tuple(slice(0, n) for n in self.shape)
        return tuple(slice(first, first + n) for first, n in zip(
            self.origin, self.frame.pixels.shape[-2:], strict=True))

    def phases(self):
        """
        Take a mosaic of filters apart.

        Returns
        -------
        planes : list of `PlaneReader`
            Every second row and column of the plane, four of them.
        """
        return [PlaneReader(self.frame, self.index, phase=(row, column))
                for row in (0, 1) for column in (0, 1)]

    def place(self, window):
        """
        Turn a window of the plane into one of the frame as a whole.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns of the plane.

        Returns
        -------
        place : tuple
            Index of the plane, rows and columns.
        """
        if self.phase is None:
            return (*self.index, *window)
        return (*self.index, *(
            _every_second(side, first, n) for side, first, n in zip(
                window, self.phase, self.shape, strict=True)))

    def part(self, window):
        """
        Turn a window of the plane into an index of what the frame holds.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns, within what the frame holds.

        Returns
        -------
        part : tuple
            For the arrays of the frame.
        """
        if not any(self.origin):
            return self.place(window)
        return (*self.index, *(
            slice(side.start - first, side.stop - first)
            for side, first in zip(window, self.origin, strict=True)))

    def read(self, window=(slice(None), slice(None))):
        """
        Take plain arrays out of a window.

        Parameters
        ----------
        window : tuple of slice, optional
            Rows and columns; the whole plane by default.

        Returns
        -------
        values, valid : 2D `~numpy.ndarray`
            As in `Frame`, copies.

        sigma : 2D `~numpy.ndarray` or `None`
            The noise, if an uncertainty came with the frame.
        """
        frame = self.frame.read(self.part(window))
        return (frame.values[0], frame.valid[0],
                None if frame.sigma is None else frame.sigma[0])

    def release(self):
        """Give back the memory that pages of mapped files take."""
        release(self.frame.arrays)


def _every_second(side, first, length):
    """Place a slice of every second pixel among all pixels."""
    start, stop, step = side.indices(length)
    return slice(first + 2 * start, max(first + 2 * stop - 1, 0), 2 * step)


def open_frame(data, *, uncertainty=None, mask=None):
    """
    Check a frame and what belongs to it without reading its pixels.

    Parameters
    ----------
    data, uncertainty, mask : object
        As for `~astro_denoise.frames.unpack`.

    Returns
    -------
    reader : `FrameReader`
        The frame, to be read.

    Raises
    ------
    TypeError, ValueError
        As for `~astro_denoise.frames.unpack`, but for what only the pixels
        can tell.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.frames import open_frame
    >>> reader = open_frame(np.arange(12).reshape(3, 4), mask=True)
    >>> print(reader.read(np.s_[1:, :2]).valid.shape)
    (1, 2, 2)
    """
    pixels, own_mask, unit = plain_parts(data)
    if pixels.dtype.kind not in 'iuf':
        msg = ('data must have an integer or floating-point type, got '
               f'{pixels.dtype}')
        raise TypeError(msg)
    shape, n_empty = pixels.shape, empty_axes(pixels.shape)
    pixels = without_axes(pixels, n_empty)
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        msg = ('data must have shape (ny, nx) or (n, ny, nx), not empty, got '
               f'{shape}')
        raise ValueError(msg)
    if pixels.ndim == 3 and pixels.shape[2] in _CHANNELS and (
            min(pixels.shape[:2]) > max(_CHANNELS)):
        msg = (f'data must have shape (ny, nx) or (n, ny, nx), got '
               f'{pixels.shape}, which looks like channels on the last axis: '
               f'give them one by one, or numpy.moveaxis(data, -1, 0)')
        raise ValueError(msg)
    masks = [without_axes(_checked_mask(one, shape), n_empty)
             for one in (own_mask, mask)
             if one is not None and one is not np.ma.nomask]
    if uncertainty is None and isinstance(data, NDData):
        uncertainty = data.uncertainty
    noise = None
    if uncertainty is not None:
        array, *kind = _checked_uncertainty(uncertainty, shape, unit)
        noise = without_axes(array, n_empty), *kind
    return FrameReader(data, pixels, masks, noise, unit, n_empty=n_empty)


def empty_axes(shape):
    """
    Count axes of length 1 that lead those of a frame, as in ``NAXIS = 4``.
    """
    if len(shape) < 4:
        return 0
    leading = shape[:-2]
    return next((number for number, n in enumerate(leading) if n != 1),
                len(leading))


def without_axes(array, number):
    """
    Leave out the first axes of an array that has axes.
    """
    return array[(0,) * number] if number and array.ndim else array


def working_type(dtype):
    """
    The type to compute in.
    """
    working = np.result_type(np.float32, dtype)
    return np.float32 if working == np.float32 else np.float64


def plain_parts(data):
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
    refuse_files(data, 'data', kind='data')
    if isinstance(data, list | tuple) and any(
            len(getattr(each, 'shape', ())) > 1 for each in data):
        msg = (f'data must be one frame or a stack, got a '
               f'{type(data).__name__} of {len(data)} frames, whose masks '
               f'and units would be lost: give them one by one, as one array '
               f'with numpy.stack, or as files to '
               f'astro_denoise.pipeline.denoise_files')
        raise TypeError(msg)
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
    refuse_files(mask, 'mask')
    mask = np.asarray(mask)
    if mask.dtype.kind not in 'biu':
        msg = f'mask must have a bool or integer type, got {mask.dtype}'
        raise TypeError(msg)
    if mask.shape not in ((), shape):
        msg = f'mask must have the shape of data {shape}, got {mask.shape}'
        raise ValueError(msg)
    return mask


def _checked_uncertainty(uncertainty, shape, unit):
    """
    Array, power and factor that give a standard deviation.
    """
    refuse_files(uncertainty, 'uncertainty')
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
    if array.shape not in ((), shape):
        msg = (f'uncertainty must have the shape of data {shape}, '
               f'got {array.shape}')
        raise ValueError(msg)
    factor = 1.0
    if own_unit is not None:
        frame_unit = u.dimensionless_unscaled if unit is None else unit
        try:
            factor = (own_unit**power).to(frame_unit)
        except u.UnitConversionError as exc:
            msg = (f'uncertainty in {own_unit} cannot be converted to the '
                   f'unit of data, {frame_unit}')
            if frame_unit == u.electron and (
                    own_unit**power).is_equivalent(u.adu):
                msg += (': ccdproc.cosmicray_lacosmic multiplies data by the '
                        'gain, but not their uncertainty (nor does '
                        'gain_apply=False help, after which the unit is '
                        'wrong); call ccdproc.gain_correct before it')
            raise ValueError(msg) from exc
    return array, power, factor
