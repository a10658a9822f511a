# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
FITS files: whether they are whole, which images they hold, and which files
beside them belong to these.
"""

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import math
import os
import re
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from .companions import find_planes

__all__ = ['ImagePlace', 'as_floats', 'choose_images', 'compressed',
           'image_places', 'is_image', 'open_fits', 'opened', 'reading',
           'skipped_images', 'with_data']

# Kinds of compression that keep floating-point numbers as they are.
_GZIP = ('GZIP_1', 'GZIP_2')

# How files that are compressed as a whole begin.
_COMPRESSIONS = {b'\x1f\x8b\x08': gzip.open, b'BZh': bz2.open,
                 b'\xfd7zXZ\0': lzma.open}

# Numbers all smaller than this have few digits as 32-bit floats.
_SMALL = 1e-32

# What keywords can be numbered up to.
_MOST = 999

# Others are what astropy makes of headers that it does not understand.
_STANDARD = (fits.PrimaryHDU, fits.ImageHDU, fits.TableHDU, fits.BinTableHDU,
             fits.hdu.base.NonstandardExtHDU)


@contextlib.contextmanager
def open_fits(path, *, ignore_checksum=False):
    """
    Open a FITS file that is there from beginning to end.

    A file that is compressed as a whole is read to its end first: what
    says that it was not damaged stands there.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.

    ignore_checksum : bool, optional
        Whether to read data that are not those of which ``DATASUM`` was
        taken.

    Yields
    ------
    hdus : `~astropy.io.fits.HDUList`
        The HDUs, images in tiles as images.

    originals : `~astropy.io.fits.HDUList`
        The same HDUs as they are in the file, images in tiles as tables.

    Raises
    ------
    OSError
        If it cannot be read, is cut short or damaged, or has a wrong
        checksum; the error names the file.

    Warns
    -----
    AstropyUserWarning
        If only a header was changed since ``CHECKSUM`` was taken.
    """
    with contextlib.ExitStack() as stack:
        with reading(path), warnings.catch_warnings():
            warnings.filterwarnings('error', 'Error validating header')
            # Also said of files that only lack the last padding.
            warnings.filterwarnings('ignore', 'File may have been truncated')
            file = stack.enter_context(_decompressed(path))
            _check_counts(file, 0)
            # Kept, and closed even if astropy fails half way.
            originals = stack.enter_context(fits.open(
                file, lazy_load_hdus=True, disable_image_compression=True,
                decompress_in_memory=True))
            for number, hdu in enumerate(originals):
                _check_complete(hdu, number)
                info = hdu.fileinfo()
                _check_counts(info['file'], info['datLoc'] + info['datSpan'])
            again = (io.BytesIO(file.getvalue())
                     if isinstance(file, io.BytesIO) else opened(path))
            hdus = stack.enter_context(fits.open(
                stack.enter_context(again), lazy_load_hdus=False))
            for number, hdu in enumerate(hdus):
                _check_image(hdu, originals[number], number)
            find_planes(hdus)  # as the choice of images does
        if not ignore_checksum:
            for number, hdu in enumerate(originals):
                _verify_checksum(hdu, number, path)
        yield hdus, originals


def opened(path):
    """
    Open a file to read its bytes.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.

    Returns
    -------
    file : file object
        The file.

    Raises
    ------
    OSError
        If that fails, or it is something else than a file: a pipe, for
        instance, would be waited for without end.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, 'not a regular file', str(path))
    return path.open('rb')


def _decompressed(path):
    """
    A file, in memory if it is compressed as a whole.
    """
    file = opened(path)
    start = file.read(6)
    file.seek(0)
    for magic, decompress in _COMPRESSIONS.items():
        if start.startswith(magic):
            with file:
                return io.BytesIO(decompress(file).read())
    return file


def _check_counts(file, start):
    """
    Raise OSError if a header counts what it cannot have so many of.

    astropy would look for the keyword of each.
    """
    file.seek(start)
    try:
        header = fits.Header.fromfile(file)
    except (OSError, EOFError, ValueError):
        header = {}  # none: astropy says what it is
    finally:
        file.seek(0)
    for keyword in ('NAXIS', 'ZNAXIS', 'TFIELDS',
                    *['PCOUNT'] * (header.get('GROUPS') is True)):
        if header.get(keyword, 0) > _MOST:
            msg = f'{keyword} = {header[keyword]} is above {_MOST}'
            raise OSError(msg)


def _check_complete(hdu, number):
    """
    Raise OSError unless an HDU is one of the standard, and is all there.
    """
    if not isinstance(hdu, _STANDARD):
        msg = f'HDU {number} does not keep to the standard'
        raise OSError(msg)
    if hdu.size < 0:
        # The next HDU would be looked for before this one, without end.
        msg = f'HDU {number} has a negative size'
        raise OSError(msg)
    info = hdu.fileinfo()
    file, end = info['file'], info['datLoc'] + info['datSpan']
    padding = info['datSpan'] - hdu.size
    if end > 0 and file.compression is None:
        complete = end - padding <= file.size
    else:
        file.seek(max(end - padding - 1, 0))
        complete = len(file.read(1)) == 1
    if not complete:
        msg = f'HDU {number} is cut short'
        raise OSError(msg)


def _check_image(hdu, original, number):
    """
    Raise an error if what a header says of an image cannot be.
    """
    # What the choice of images asks for.
    known = hdu.name, hdu.ver
    if is_image(hdu) and isinstance(hdu, fits.CompImageHDU):
        # Before memory is taken for all of it.
        wanted = math.prod(-(-length // tile) for length, tile in zip(
            hdu.shape, hdu.tile_shape, strict=True))
        n_tiles = original.header['NAXIS2']
        if n_tiles != wanted:
            msg = (f'HDU {number} {known} has {n_tiles} tiles, and its '
                   f'image {wanted}')
            raise OSError(msg)


def _verify_checksum(hdu, number, path):
    """
    Compare what a header says of the checksums with what is there.
    """
    with reading(path):
        # Blanks say that a sum is not known.
        stated = [str(hdu.header.get(keyword, '')).strip() or None
                  for keyword in ('DATASUM', 'CHECKSUM')]
        if stated == [None, None]:
            return
        info = hdu.fileinfo()
        start, middle, end = (info['hdrLoc'], info['datLoc'],
                              info['datLoc'] + info['datSpan'])
        data = _sum(info['file'], middle, end)
        header = _sum(info['file'], start, middle)
    data_right = stated[0] is None or stated[0] == str(data)
    # CHECKSUM makes the sum of an HDU all ones, or zero but for carries.
    whole_right = stated[1] is None or (header + data) % 0xFFFFFFFF == 0
    if not data_right or (stated[0] is None and not whole_right):
        msg = (f'wrong checksum in HDU {number}: its data were changed or '
               f'damaged; if they are as they should be, remove the cards '
               f'DATASUM and CHECKSUM, or denoise with ignore_checksum=True '
               f'(--ignore-checksum)')
        raise OSError(errno.EIO, msg, str(path))
    if not whole_right:
        msg = (f'{path}: wrong checksum in HDU {number}: its header was '
               f'changed after CHECKSUM was written')
        warnings.warn(msg, AstropyUserWarning, stacklevel=2)


def _sum(file, start, end):
    """
    The sum that DATASUM is, of a part of a file.

    ``verify_checksum`` of astropy adds up a header that it writes anew
    and, where there is no ``DATASUM``, no data; its ``add_datasum`` takes
    any bytes.
    """
    file.seek(start)
    content = file.read(end - start)
    # The last padding, which is zeros, may be missing.
    words = np.frombuffer(content + bytes(-len(content) % 4), '>i4')
    return int(fits.ImageHDU(words).add_datasum()) if words.size else 0


@contextlib.contextmanager
def reading(path, *, but=()):
    """
    Make an OSError that names the file of whatever goes wrong in it.

    Parameters
    ----------
    path : path-like
        The file.

    but : tuple of type, optional
        Errors that are none of its.
    """
    try:
        yield
    except but:
        raise
    except MemoryError as error:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM),
                      str(path)) from error
    except Exception as error:
        number = getattr(error, 'errno', None)
        too_large = isinstance(error, OverflowError) or number == errno.EINVAL
        if getattr(error, 'filename', None) is not None:
            raise
        if isinstance(error, OSError) and number is not None and (
                not too_large):
            raise OSError(number, error.strerror, str(path)) from error
        reason = ' '.join(str(error).split()) or type(error).__name__
        if too_large:
            reason = 'a header states a size that no file has'
        raise OSError(errno.EIO, f'cannot be read as FITS ({reason})',
                      str(path)) from error


@dataclass
class ImagePlace:
    """
    An image to denoise.

    Parameters
    ----------
    index : int
        Number of the HDU.

    places : list of tuple
        What is added to ``MASK`` or ``ERR`` and the like to make the names
        of what goes with it, and their ``EXTVER``; the first counts for
        extensions that are new.
    """

    index: int
    places: list

    def companions(self, name):
        """
        Name and version of the extensions that may go with the image.
        """
        return [(f'{name}{number}', version)
                for number, version in self.places]


def is_image(hdu):
    """
    Tell if an HDU holds an image of two or three axes that is not empty.

    Axes of length 1 before these (``NAXIS4 = 1``) do not count.
    """
    return hdu.is_image and hdu.header.get('NAXIS', 0) > 1 and (
        0 not in hdu.shape and all(n == 1 for n in hdu.shape[:-3]))


def choose_images(hdus, hdu, path):
    """
    The images to denoise.
    """
    images = image_places(hdus)
    if hdu is None:
        if not images:
            msg = f'{str(path)!r} holds no image'
            planes = [str(plane) for plane in find_planes(hdus).values()
                      if is_image(hdus[plane.index])]
            if planes:
                msg += (f' of the sky by the names of its HDUs, but '
                        f'{", ".join(planes)}; hdu (--hdu) takes one of them')
            raise ValueError(msg)
        with reading(path):
            return _without_flat_ones(hdus, images)

    try:
        index = hdus.index_of(hdu)
        wanted = hdus[index]
    except (KeyError, IndexError, ValueError) as error:
        known = ', '.join(f'{number} ({each.name or "no name"})'
                          for number, each in enumerate(hdus))
        msg = f'hdu={hdu!r} is not in {str(path)!r}, which has {known}'
        raise ValueError(msg) from error
    index %= len(hdus)
    if not is_image(wanted):
        msg = f'hdu={hdu!r} of {str(path)!r} is not an image of 2 or 3 axes'
        raise ValueError(msg)
    plane = find_planes(hdus).get(index)
    if plane and plane.kind == 'mask' and wanted.header['BITPIX'] > 0:
        # As floats, its flags would be lost.
        msg = (f'hdu={hdu!r} of {str(path)!r} is the mask {plane}, no image '
               f'of the sky')
        raise ValueError(msg)
    return [image for image in images if image.index == index] or [
        ImagePlace(index, [('', len(images) + 1)])]


def image_places(hdus):
    """
    The images that a file holds by the names of its extensions.
    """
    images = _science_images(hdus)
    if images:
        return images
    planes = find_planes(hdus)
    indices = [0] if is_image(hdus[0]) else [
        index for index, each in enumerate(hdus)
        if is_image(each) and index not in planes]
    return [ImagePlace(index, [('', version)])
            for version, index in enumerate(indices, 1)]


def _science_images(hdus):
    """
    Extensions named ``SCI``, or ``SCI`` and a number.
    """
    numbers = {index: each.name[3:] for index, each in enumerate(hdus)
               if re.fullmatch(r'SCI\d*', each.name) and is_image(each)}
    images = []
    for index, number in numbers.items():
        places = [(number, hdus[index].ver)]
        if '' not in numbers.values():
            # The version may be what has the number.
            places.append(('', int(number)))
        images.append(ImagePlace(index, places))
    return images


def _without_flat_ones(hdus, images):
    """
    Of several images, those that may be of the sky by their values.
    """
    if len(images) == 1:
        return images
    skies = [image for image in images
             if not _is_constant(hdus[image.index].data)] or images
    # A mask that nothing names is mostly 0, as few images of floats are.
    measured = {hdus[image.index].shape for image in skies
                if hdus[image.index].data.dtype.kind == 'f'}
    return [image for image in skies
            if hdus[image.index].shape not in measured
            or not _is_mostly_zero(hdus[image.index].data)]


def _is_constant(data):
    # Without a warning of planes that are NaN everywhere.
    return bool(np.fmin.reduce(data, axis=None)
                == np.fmax.reduce(data, axis=None))


def _is_mostly_zero(data):
    return data.dtype.kind in 'iu' and (
        2 * np.count_nonzero(data) < data.size)


def skipped_images(hdus, images):
    """
    Images that are not denoised, though they may be of the sky.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.

    images : list of `ImagePlace`
        What is denoised.

    Returns
    -------
    names : list of str
        Their numbers and names.
    """
    known = {image.index for image in images} | find_planes(hdus).keys()
    return [f'{index} ({hdu.name or "no name"})'
            for index, hdu in enumerate(hdus)
            if index not in known and is_image(hdu)]


def with_data(hdu, data, header):
    """
    An HDU of the same kind with other data, as floats of 32 bits.

    Parameters
    ----------
    hdu : HDU
        An image, compressed or not.

    data : `~numpy.ndarray`
        The other data; they have 64 bits if 32 do not hold them.

    header : `~astropy.io.fits.Header`
        Of the new HDU.

    Returns
    -------
    hdu : HDU
        The new one; compressed images are compressed without loss.
    """
    data = as_floats(data)
    if isinstance(hdu, fits.CompImageHDU):
        # The other kinds would round floating-point numbers.
        kind = hdu.compression_type
        return compressed(hdu, data, header, kind if kind in _GZIP
                           else 'GZIP_2')
    return type(hdu)(data, header)


def as_floats(data):
    """
    Numbers as 32-bit floats, or 64-bit ones if these do not hold them.
    """
    data = np.asarray(data)
    with np.errstate(over='ignore', under='ignore'):
        single = data.astype(np.float32)
    # Variances of fluxes in physical units may be beyond their range.
    largest = np.fmax.reduce(np.abs(data), axis=None)
    lost = 0 < largest < _SMALL or (np.isinf(single)
                                    & np.isfinite(data)).any()
    return data if lost else single


def compressed(hdu, data, header, kind):
    """
    A compressed image with other data, in the tiles of an old one.

    Parameters
    ----------
    hdu : `~astropy.io.fits.CompImageHDU`
        The old one.

    data : `~numpy.ndarray`
        The other data.

    header : `~astropy.io.fits.Header`
        Of the image within.

    kind : str
        How to compress, ``'GZIP_2'`` for instance.

    Returns
    -------
    hdu : HDU
        The new one; the same data give the same bytes.
    """
    new = fits.CompImageHDU(
        data, header, compression_type=kind, tile_shape=hdu.tile_shape,
        quantize_level=0.0)
    return _undated(new) if kind in _GZIP else new


def _undated(hdu):
    """
    The table of a compressed image without the time of its compression.

    astropy lets gzip write the current time into the head of each tile,
    as `gzip.compress` does by itself before Python 3.14, and the same
    image would never be the same file again.
    """
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(
        file, output_verify='silentfix+ignore')
    file.seek(0)
    with fits.open(file, disable_image_compression=True) as hdus:
        table = hdus[1]
        for tile in table.data['COMPRESSED_DATA']:
            tile[4:8] = 0
    return table
