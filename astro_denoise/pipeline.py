# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From a FITS file to a denoised FITS file.
"""

import contextlib
import errno
import os
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS, FITSFixedWarning

from ._output import atomic_output

__all__ = ['denoise_file']

# Extensions that describe an image and hold none of their own: those of
# CCDData and of the Hubble and Webb pipelines.
_MASK_NAMES = ('MASK', 'DQ')
_UNCERTAINTY_NAMES = ('UNCERT', 'ERR')
_OTHER_NAMES = ('AREA', 'CON', 'CTX', 'IVAR', 'SAMP', 'TIME', 'VAR',
                'WEIGHT', 'WHT')

_UNCERTAINTIES = {
    'std': StdDevUncertainty, 'StdDevUncertainty': StdDevUncertainty,
    'var': VarianceUncertainty, 'VarianceUncertainty': VarianceUncertainty,
    'ivar': InverseVariance, 'InverseVariance': InverseVariance}

# Spellings in use that are not those of the FITS standard.
_UNITS = {'dn': u.adu, 'adus': u.adu, 'counts': u.count,
          'electrons': u.electron, 'e': u.electron, 'e-': u.electron}

_UNREADABLE = (OSError, EOFError, ValueError, TypeError, IndexError,
               zlib.error, fits.VerifyError)


def denoise_file(path, output, *, model='ccd', hdu=None, mask=None,
                 uncertainty=None, uncertainty_type=None, overwrite=False,
                 **options):
    """
    Denoise the images of a FITS file.

    Parameters
    ----------
    path : str or path-like
        The file to read.

    output : str or path-like
        The file to write. It holds every HDU of the input in the same
        order, those that were not denoised as they were, byte by byte;
        uncertainties and masks that are new come at the end.

    model : str, path-like or model object, optional
        As for `astro_denoise.denoise`.

    hdu : int, str or tuple, optional
        The one HDU to denoise: its number, its name, or name and
        version. `None` takes all extensions named ``SCI``; in a file
        without such, the image of the primary HDU; and where that has
        none, all extensions that are images.

    mask : bool or int array, or path-like, optional
        Pixels to leave out (not 0): an array, or a FITS file of an image
        for each image. They are added to those of an extension ``MASK``
        or ``DQ`` of the same version.

    uncertainty : array_like, uncertainty object or path-like, optional
        The noise, as for `astro_denoise.denoise`, or a FITS file. `None`
        takes the extension ``UNCERT`` or ``ERR`` of the same version.

    uncertainty_type : {'std', 'var', 'ivar'}, optional
        What an uncertainty read from a file is: a standard deviation,
        variance or inverse variance. `None` goes by the keyword
        ``UTYPE``, and without it takes a standard deviation.

    overwrite : bool, optional
        Whether to replace an existing output.

    **options
        Passed to `astro_denoise.denoise`, such as ``gain`` and
        ``read_noise``. A header keyword is looked for in the header of
        the image and then in the primary header.

    Returns
    -------
    output : `~pathlib.Path`
        The file written: denoised images and their standard deviations
        (extension ``UNCERT``, or ``ERR`` where the input has it) as
        32-bit floats, a mask where pixels are masked or not finite, and
        the log of `astro_denoise.denoise` in the header of each image.

    Raises
    ------
    FileExistsError
        If the output exists and ``overwrite`` is `False`.

    OSError
        If a file cannot be read or written; the error names it. No
        partial output is left.

    ValueError, TypeError
        If an argument is bad, or the file has no image. No output is
        left.

    Notes
    -----
    An image without ``BUNIT`` is taken to be in adu.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy.nddata import CCDData
    >>> from astro_denoise.data import get_example_path
    >>> from astro_denoise.pipeline import denoise_file
    >>> path = get_example_path('eso085_030_004.fits')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     output = denoise_file(path, Path(folder) / 'denoised.fits')
    ...     ccd = CCDData.read(output)
    >>> print(ccd.shape, ccd.unit, ccd.uncertainty.uncertainty_type)
    (480, 480) adu std
    """
    if uncertainty_type is not None and uncertainty_type not in (
            'std', 'var', 'ivar'):
        msg = ("uncertainty_type must be 'std', 'var' or 'ivar', got "
               f'{uncertainty_type!r}')
        raise ValueError(msg)
    path, output = Path(path), Path(output)
    with (atomic_output(output, overwrite=overwrite) as temporary,
          _open_fits(path) as hdus,
          _open_fits(path, disable_image_compression=True) as originals):
        chosen = _choose_images(hdus, hdu, path)
        changed, added = {}, []
        for number, image in enumerate(chosen):
            here = _Inputs(path, hdus, image, number, len(chosen))
            denoised = here.denoise(model, mask, uncertainty,
                                    uncertainty_type, options)
            here.collect(denoised, changed, added)
        result = fits.HDUList([changed.get(index, original)
                               for index, original in enumerate(originals)]
                              + added)
        result.update_extend()
        for each in (*changed.values(), *added):
            if 'CHECKSUM' in each.header:
                each.add_checksum()
        # Cards of the input that break the standard are kept.
        result.writeto(temporary, output_verify='silentfix+ignore')
    return output


def read_image(path, *, hdu=None, mask=None, uncertainty=None, kind=None):
    """
    Read one image as `~astropy.nddata.NDData`; see `denoise_file`.
    """
    with _open_fits(path) as hdus:
        images = _choose_images(hdus, hdu, path)
        if len(images) > 1:
            msg = f'hdu must say which of {len(images)} images, got None'
            raise ValueError(msg)
        inputs = _Inputs(path, hdus, images[0], 0, 1)
        return inputs.read(mask, uncertainty, kind)


@contextlib.contextmanager
def _open_fits(path, **options):
    """
    Open a FITS file that is there from beginning to end.
    """
    with contextlib.ExitStack() as stack:
        with _reading(path), warnings.catch_warnings():
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
def _reading(path):
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
class _Image:
    """
    An image to denoise.

    Parameters
    ----------
    index : int
        Number of the HDU.

    version : int
        ``EXTVER`` of the mask and the uncertainty that go with it.
    """

    index: int
    version: int


def _is_image(hdu):
    return hdu.is_image and hdu.header.get('NAXIS', 0) in (2, 3) and (
        0 not in hdu.shape)


def _choose_images(hdus, hdu, path):
    """
    The images to denoise.
    """
    indices = [index for index, each in enumerate(hdus)
               if each.name == 'SCI' and _is_image(each)]
    if indices:
        images = [_Image(index, hdus[index].ver) for index in indices]
    else:
        if _is_image(hdus[0]):
            indices = [0]
        else:
            others = {*_MASK_NAMES, *_UNCERTAINTY_NAMES, *_OTHER_NAMES}
            indices = [index for index, each in enumerate(hdus)
                       if _is_image(each) and each.name not in others]
        images = [_Image(index, version)
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
        msg = f'hdu={hdu!r} is not in {str(path)!r}'
        raise ValueError(msg) from error
    index %= len(hdus)
    if not _is_image(wanted):
        msg = f'hdu={hdu!r} of {str(path)!r} is not an image of 2 or 3 axes'
        raise ValueError(msg)
    return [image for image in images if image.index == index] or [
        _Image(index, len(images) + 1)]


class _Inputs:
    """
    One image of a file with what belongs to it.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.

    hdus : `~astropy.io.fits.HDUList`
        Its content.

    image : `_Image`
        The image.

    number, n_images : int
        Its place among the images that are denoised, and how many these
        are.
    """

    def __init__(self, path, hdus, image, number, n_images):
        self.path = path
        self.hdus = hdus
        self.image = image
        self.number = number
        self.n_images = n_images
        self.hdu = hdus[image.index]
        self.mask_index = self._find(_MASK_NAMES)
        self.uncertainty_index = self._find(_UNCERTAINTY_NAMES)

    def _find(self, names):
        for name in names:
            for index, each in enumerate(self.hdus):
                if (each.name == name and each.ver == self.image.version
                        and _is_image(each) and index != self.image.index):
                    return index
        return None

    def _values(self, hdu, path=None):
        with _reading(path or self.path):
            return hdu.data

    def _card(self, keyword):
        """A header value; extensions inherit from the primary header."""
        for header in (self.hdu.header, self.hdus[0].header):
            if keyword in header:
                return header[keyword]
        return None

    def _unit(self):
        text = str(self._card('BUNIT') or '').strip()
        if not text:
            return u.adu
        for spelling in (text, text.lower()):
            if spelling.lower() in _UNITS:
                return _UNITS[spelling.lower()]
            with contextlib.suppress(ValueError):
                return u.Unit(spelling)
        # BUNIT stays as it is; nothing can be derived from it.
        return u.dimensionless_unscaled

    def _from_file(self, path):
        """
        The HDU of another file that belongs to this image.
        """
        with _open_fits(Path(path)) as hdus:
            found = [each for each in hdus if _is_image(each)]
            named = [each for each in found if each.name == self.hdu.name
                     and each.ver == self.hdu.ver]
            if len(found) == self.n_images:
                found = found[self.number]
            elif len(named) == 1:
                found = named[0]
            else:
                msg = (f'{str(path)!r} must hold one image for each of the '
                       f'{self.n_images} to denoise, got {len(found)}')
                raise ValueError(msg)
            return np.array(self._values(found, path)), found.header

    def _all_masks(self, mask):
        masks = []
        if self.mask_index is not None:
            masks.append(self._values(self.hdus[self.mask_index]))
        if isinstance(mask, str | os.PathLike):
            masks.append(self._from_file(mask)[0])
        elif mask is not None:
            masks.append(np.asarray(mask))
        for number, one in enumerate(masks):
            if one.shape != self.hdu.shape:
                msg = (f'mask must have the shape {self.hdu.shape} of the '
                       f'image, got {one.shape}')
                raise ValueError(msg)
            # The bits of integers have a meaning for photometry.
            masks[number] = (one if one.dtype.kind in 'iu' else one != 0
                             ).astype(np.int64)
        return np.bitwise_or.reduce(masks) if masks else None

    def _noise(self, uncertainty, kind):
        if isinstance(uncertainty, str | os.PathLike):
            values, header = self._from_file(uncertainty)
        elif uncertainty is None and self.uncertainty_index is not None:
            hdu = self.hdus[self.uncertainty_index]
            values, header = self._values(hdu), hdu.header
        else:
            return uncertainty
        kind = kind or header.get('UTYPE', 'StdDevUncertainty')
        if kind not in _UNCERTAINTIES:
            msg = f'UTYPE={kind!r} is not a kind of uncertainty'
            raise ValueError(msg)
        return _UNCERTAINTIES[kind](values)

    def read(self, mask, uncertainty, kind):
        """
        The image with all that belongs to it, mask bits too.
        """
        header = self.hdu.header.copy()
        header.extend(self.hdus[0].header, unique=True)
        wcs = None
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter('ignore', FITSFixedWarning)
            found = WCS(header, self.hdus, naxis=2)
            wcs = found if found.has_celestial else None
        return NDData(np.array(self._values(self.hdu)), unit=self._unit(),
                      mask=self._all_masks(mask), meta=header, wcs=wcs,
                      uncertainty=self._noise(uncertainty, kind))

    def denoise(self, model, mask, uncertainty, kind, options):
        """
        Denoise the image.

        Returns
        -------
        denoised : `~astropy.nddata.CCDData`
            The result, without its WCS: that of the header stays.
        """
        from astro_denoise.denoising import denoise

        options = dict(options)
        for name in ('gain', 'read_noise'):
            keyword = options.get(name)
            if (isinstance(keyword, str) and keyword not in self.hdu.header
                    and isinstance(self._card(keyword), int | float)):
                options[name] = self._card(keyword)
        ccd = CCDData(self._values(self.hdu), unit=self._unit(),
                      meta=self.hdu.header.copy())
        return denoise(ccd, model, mask=self._all_masks(mask),
                       uncertainty=self._noise(uncertainty, kind), **options)

    def collect(self, denoised, changed, added):
        """
        Put HDUs of the result where they belong.

        Parameters
        ----------
        denoised : `~astropy.nddata.CCDData`
            The result.

        changed : dict of int to HDU
            What replaces an HDU of the input; filled here.

        added : list of HDU
            What comes after the HDUs of the input; filled here.
        """
        header = denoised.header
        for keyword in ('BSCALE', 'BZERO', 'BLANK'):
            header.remove(keyword, ignore_missing=True)
        if self._card('BUNIT') is None:
            header['BUNIT'] = ('adu', 'assumed')
        changed[self.image.index] = _with_data(self.hdu, denoised.data,
                                               header)

        index = self.uncertainty_index
        header = fits.Header() if index is None else (
            self.hdus[index].header.copy())
        header['UTYPE'] = 'StdDevUncertainty'
        bunit = denoised.header.get('BUNIT', self._card('BUNIT'))
        header['BUNIT'] = bunit
        sigma = np.asarray(denoised.uncertainty.array)
        if index is None:
            added.append(fits.ImageHDU(
                sigma.astype(np.float32), header, name='UNCERT',
                ver=self.image.version))
        else:
            changed[index] = _with_data(self.hdus[index], sigma, header)
        self._collect_mask(denoised.mask, changed, added)

    def _collect_mask(self, mask, changed, added):
        if mask is None:
            return
        index = self.mask_index
        if index is None:
            added.append(fits.ImageHDU(
                mask.astype(np.uint8), name='MASK', ver=self.image.version))
            return
        # Bits have a meaning: only pixels that had none get one.
        bits = np.array(self._values(self.hdus[index]))
        bits[mask & (bits == 0)] = 1
        if not np.array_equal(bits, self.hdus[index].data):
            hdu = self.hdus[index].copy()
            hdu.data = bits
            changed[index] = hdu


def _with_data(hdu, data, header):
    """
    An HDU of the same kind with other data, as 32-bit floats.
    """
    data = np.asarray(data).astype(np.float32)
    if isinstance(hdu, fits.CompImageHDU):
        return fits.CompImageHDU(data, header, compression_type='GZIP_2',
                                 tile_shape=hdu.tile_shape,
                                 quantize_level=0.0)
    return type(hdu)(data, header)
