# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
FITS files: whether they are whole, which images they hold, and which files
beside them belong to these.
"""

import contextlib
import errno
import io
import re
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from .companions import OTHER_NAMES

__all__ = ['ImagePlace', 'choose_images', 'compressed', 'is_image',
           'open_fits', 'reading', 'skipped_images', 'verify_checksums',
           'with_data']

# Kinds of compression that keep floating-point numbers as they are.
_GZIP = ('GZIP_1', 'GZIP_2')

_UNREADABLE = (OSError, EOFError, ValueError, TypeError, IndexError,
               zlib.error, fits.VerifyError)


@contextlib.contextmanager
def open_fits(path, **options):
    """
    Open a FITS file that is there from beginning to end.
    """
    with contextlib.ExitStack() as stack:
        with reading(path), warnings.catch_warnings():
            warnings.filterwarnings('error', 'Error validating header')
            # Also said of files that only lack the last padding.
            warnings.filterwarnings('ignore', 'File may have been truncated')
            # Closed even if astropy fails half way.
            file = stack.enter_context(path.open('rb'))
            hdus = stack.enter_context(fits.open(
                file, lazy_load_hdus=False, **options))
            for number, hdu in enumerate(hdus):
                _check_complete(hdu, number)
        yield hdus


def _check_complete(hdu, number):
    if isinstance(hdu, fits.CompImageHDU):
        return  # its sizes are those of the image within
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


@contextlib.contextmanager
def reading(path):
    """
    Make an OSError that names the file of whatever goes wrong in it.
    """
    try:
        yield
    except (*_UNREADABLE, Warning) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = ' '.join(str(error).split()) or type(error).__name__
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
    Whether an HDU holds an image of two or three axes that is not empty.
    """
    return hdu.is_image and hdu.header.get('NAXIS', 0) in (2, 3) and (
        0 not in hdu.shape)


def choose_images(hdus, hdu, path):
    """
    The images to denoise.
    """
    images = _science_images(hdus)
    if not images:
        indices = [0] if is_image(hdus[0]) else [
            index for index, each in enumerate(hdus)
            if is_image(each) and not _describes(each)]
        images = [ImagePlace(index, [('', version)])
                  for version, index in enumerate(indices, 1)]
    if hdu is None:
        if not images:
            msg = f'{str(path)!r} holds no image'
            raise ValueError(msg)
        return images

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
    return [image for image in images if image.index == index] or [
        ImagePlace(index, [('', len(images) + 1)])]


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


def _describes(hdu):
    """
    Whether an image is, by its name, a mask, a weight or the like.
    """
    return not OTHER_NAMES.isdisjoint(re.findall('[A-Z]+', hdu.name))


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
    chosen = {image.index for image in images}
    return [f'{index} ({hdu.name or "no name"})'
            for index, hdu in enumerate(hdus)
            if index not in chosen and is_image(hdu) and not _describes(hdu)]


def verify_checksums(hdus, path):
    """
    Compare what the headers say of the checksums with what is there.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        From `open_fits`, with ``disable_image_compression=True``.

    path : path-like
        The file, for messages.

    Raises
    ------
    OSError
        If data are not those of which ``DATASUM`` was taken, or without
        it ``CHECKSUM``.

    Warns
    -----
    AstropyUserWarning
        If only a header was changed since ``CHECKSUM`` was taken.
    """
    for number, hdu in enumerate(hdus):
        # Blanks say that a sum is not known.
        stated = [str(hdu.header.get(keyword, '')).strip() or None
                  for keyword in ('DATASUM', 'CHECKSUM')]
        if stated == [None, None]:
            continue
        info = hdu.fileinfo()
        start, middle, end = (info['hdrLoc'], info['datLoc'],
                              info['datLoc'] + info['datSpan'])
        with reading(path):
            data = _sum_words(info['file'], middle, end)
            whole = _sum_words(info['file'], start, middle, data)
        data_right = stated[0] is None or stated[0] == str(data)
        # A checksum makes the sum of an HDU all ones.
        whole_right = stated[1] is None or whole == 0xFFFFFFFF
        if not data_right or (stated[0] is None and not whole_right):
            msg = (f'wrong checksum in HDU {number}: its data were changed '
                   f'or damaged')
            raise OSError(errno.EIO, msg, str(path))
        if not whole_right:
            msg = (f'{path}: wrong checksum in HDU {number}: its header was '
                   f'changed after CHECKSUM was written')
            warnings.warn(msg, AstropyUserWarning, stacklevel=2)


def _sum_words(file, start, end, total=0):
    """
    Ones' complement sum of the 32-bit words of a part of a file.
    """
    file.seek(start)
    while start < end:
        part = file.read(min(end - start, 2**22))
        start += len(part)
        if not part:
            break  # without the last padding, which is zeros
        words = np.frombuffer(part + bytes(-len(part) % 4), '>u4')
        total += int(words.sum(dtype=np.uint64))
    while total > 0xFFFFFFFF:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def with_data(hdu, data, header):
    """
    An HDU of the same kind with other data, as 32-bit floats.

    Parameters
    ----------
    hdu : HDU
        An image, compressed or not.

    data : `~numpy.ndarray`
        The other data.

    header : `~astropy.io.fits.Header`
        Of the new HDU.

    Returns
    -------
    hdu : HDU
        The new one; compressed images are compressed without loss.
    """
    data = np.asarray(data).astype(np.float32)
    if isinstance(hdu, fits.CompImageHDU):
        # The other kinds would round floating-point numbers.
        kind = hdu.compression_type
        return compressed(hdu, data, header, kind if kind in _GZIP
                           else 'GZIP_2')
    return type(hdu)(data, header)


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
    and the same image would never be the same file again.
    """
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(
        file, output_verify='silentfix+ignore')
    content = np.frombuffer(bytearray(file.getvalue()), np.uint8)
    with fits.open(io.BytesIO(content),
                   disable_image_compression=True) as hdus:
        table = hdus[1]
        info, length = table.fileinfo(), table.header['NAXIS1']
        start = info['datLoc']
        n_tiles = table.header['NAXIS2']
        column = table.columns['COMPRESSED_DATA']
        place = table.columns.dtype.fields[column.name][1]
        number = '>i8' if 'Q' in column.format else '>i4'
        rows = content[start:start + n_tiles * length].reshape(n_tiles, -1)
        width = 2 * np.dtype(number).itemsize
        places = np.ascontiguousarray(
            rows[:, place:place + width]).view(number)
        heap = start + table.header.get('THEAP', n_tiles * length)
        for size, offset in places:
            if size:
                content[heap + offset + 4:heap + offset + 8] = 0
    return fits.BinTableHDU.fromstring(
        content[info['hdrLoc']:start + info['datSpan']].tobytes())
