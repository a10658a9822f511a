# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From a FITS file to a denoised FITS file.
"""

import gzip
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData

from ..exceptions import SkippedImageWarning
from ..io.fits_files import (
    choose_images,
    compressed,
    open_fits,
    reading,
    skipped_images,
    with_data,
)
from ..io.fits_images import FitsImage
from ..io.output import COMPRESSED, FITS_ENDINGS, atomic_output, check_output

__all__ = ['denoise_file']

# Cards of the input that break the standard are kept.
_VERIFY = 'silentfix+ignore'


def denoise_file(path, output, *, model='ccd', hdu=None, mask=None,
                 uncertainty=None, uncertainty_type=None, companions=True,
                 ignore_checksum=False, cards=None, overwrite=False,
                 **options):
    """
    Denoise the images of a FITS file.

    Parameters
    ----------
    path : str or path-like
        The file to read.

    output : str or path-like
        The file to write, whose name ends in ``.fits``, ``.fit`` or
        ``.fts``, and may in ``.gz``, ``.bz2``, ``.xz`` or ``.fz`` after it,
        or is that of the input. It holds every HDU of the input in the same
        order, those that were not denoised as they were, byte by byte;
        uncertainties and masks that are new come at the end.

    model : str, path-like or model object, optional
        As for `astro_denoise.denoise`.

    hdu : int, str or tuple, optional
        The one HDU to denoise: its number, its name, or name and
        version. `None` takes all extensions named ``SCI``, or ``SCI1``,
        ``SCI2`` and so on; in a file without such, the image of the
        primary HDU; and where that has none, all extensions that are
        images, but for those that are masks, weights and the like by
        their names.

    mask : bool or int array, or path-like, optional
        Pixels to leave out (not 0): an array, or a FITS file of an image
        for each image. They are added to those of an extension ``MASK``
        or ``DQ`` of the same version, and of the same number if the image
        has one in its name (``MASK2`` for ``SCI2``). `None` looks for a
        file beside the input too, ``name.mask.fits`` for ``name.fits``.

    uncertainty : array_like, uncertainty object or path-like, optional
        The noise, as for `astro_denoise.denoise`, or a FITS file. `None`
        takes the extension ``UNCERT`` or ``ERR`` of the same version and
        number, and without one ``name.weight.fits`` beside the input: inverse
        variances, 0 for pixels without a value.

    uncertainty_type : {'std', 'var', 'ivar'}, optional
        What an uncertainty read from a file is: a standard deviation,
        variance or inverse variance. `None` goes by the keyword
        ``UTYPE``, and without it takes a standard deviation.

    companions : bool, optional
        Whether files beside the input count.

    ignore_checksum : bool, optional
        Whether to denoise data that are not those of which ``DATASUM``
        was taken.

    cards : dict, optional
        More cards for the header of each denoised image.

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
        32-bit floats, a mask where pixels are masked or not finite (with
        the bits of the mask that was given), and the log of
        `astro_denoise.denoise` in the header of each image.

    Raises
    ------
    FileExistsError
        If the output exists and ``overwrite`` is `False`.

    OSError
        If a file cannot be read or written, or its data are not those of
        which its checksum was taken; the error names it. No partial output
        is left.

    ValueError, TypeError
        If an argument is bad, or the file has no image. No output is
        left.

    Warns
    -----
    SkippedImageWarning
        If ``hdu`` is `None`, and extensions that look like images of the
        sky are left as they are because others are named ``SCI``, or there
        is an image in the primary HDU.

    Notes
    -----
    An image without ``BUNIT`` is taken to be in adu. Only ``.gz``, ``.bz2``
    and ``.xz`` compress; in ``.fz`` images are compressed as they are in
    the input. The tiles of a
    compressed image are compressed without loss again, by ``GZIP_2`` where
    they were by a method that rounds floating-point numbers.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy.nddata import CCDData
    >>> from astro_denoise.data import get_example_path
    >>> from astro_denoise.pipeline import denoise_file
    >>> path = get_example_path('eso085_030_005.fits')
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
    check_denoised(path, output, overwrite=overwrite)
    with (open_fits(path, ignore_checksum=ignore_checksum) as (
              hdus, originals),
          atomic_output(output, overwrite=overwrite) as temporary):
        with reading(path):
            # What could not be written is an error before any work.
            originals.verify(_VERIFY)
        chosen = choose_images(hdus, hdu, path)
        if hdu is None and (skipped := skipped_images(hdus, chosen)):
            msg = (f'{path}: left as they are: the images '
                   f'{", ".join(skipped)}; hdu (--hdu) denoises one of them')
            warnings.warn(msg, SkippedImageWarning, stacklevel=2)
        changed, added = {}, []
        for number, image in enumerate(chosen):
            here = _DenoisedImage(path, hdus, image, number, len(chosen),
                                  companions=companions,
                                  ignore_checksum=ignore_checksum)
            denoised = here.denoise(model, mask, uncertainty,
                                    uncertainty_type, options)
            denoised.header.update(cards or {})
            here.collect(denoised, changed, added)
        # All but a full disk and the like is for what the input holds.
        with reading(path, but=OSError):
            _write(_merged(originals, changed, added), temporary)
    return output


def _merged(originals, changed, added):
    """
    The HDUs of the output.
    """
    result = fits.HDUList([changed.get(index, original)
                           for index, original in enumerate(originals)]
                          + added)
    result.update_extend()
    for each in (*changed.values(), *added):
        if 'CHECKSUM' in each.header:
            each.add_checksum()
    return result


def check_denoised(path, output, *, overwrite=False, name='output'):
    """
    Refuse an output of `denoise_file`, see there, before any work.
    """
    # Whoever calls a FITS file something else may go on to do so.
    same = Path(output).name == Path(path).name
    check_output(output, overwrite=overwrite, name=name,
                 endings=() if same else FITS_ENDINGS,
                 packed=(*COMPRESSED, '.fz'))


def _write(hdus, path):
    """
    Write a file that is the same, byte by byte, whenever it is written.
    """
    if path.suffix != '.gz':
        hdus.writeto(path, output_verify=_VERIFY)
        return
    with (path.open('wb') as raw,
          gzip.GzipFile('', 'wb', fileobj=raw, mtime=0) as file):
        hdus.writeto(file, output_verify=_VERIFY)


class _DenoisedImage(FitsImage):
    """
    One image of a file that is denoised; the parameters are those of
    `FitsImage`.
    """

    bits = None  # of its masks, once they are read

    def denoise(self, model, mask, uncertainty, kind, options):
        """
        Denoise the image.

        Returns
        -------
        denoised : `~astropy.nddata.CCDData`
            The result, without its WCS: that of the header stays.
        """
        from ..denoising.core import denoise

        options = dict(options)
        for name in ('gain', 'read_noise'):
            keyword = options.get(name)
            if isinstance(keyword, str):
                value = self.card(keyword)
                if keyword not in self.hdu.header and isinstance(
                        value, int | float):
                    options[name] = value
        with reading(self.path):
            header = self.hdu.header.copy()
        ccd = CCDData(self.values(self.hdu), unit=self.unit(), meta=header)
        self.bits = self.all_masks(mask)
        return denoise(ccd, model, mask=self.bits,
                       uncertainty=self.noise(uncertainty, kind), **options)

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
        with reading(self.path):
            self._collect_image(denoised, changed, added)
            self._collect_mask(denoised.mask, changed, added)

    def _collect_image(self, denoised, changed, added):
        header = denoised.header
        for keyword in ('BSCALE', 'BZERO', 'BLANK'):
            header.remove(keyword, ignore_missing=True)
        if self.card('BUNIT') is None:
            header['BUNIT'] = ('adu', 'assumed')
        changed[self.image.index] = with_data(self.hdu, denoised.data,
                                              header)

        index = self.uncertainty_index
        header = fits.Header() if index is None else (
            self.hdus[index].header.copy())
        header['UTYPE'] = 'StdDevUncertainty'
        bunit = denoised.header.get('BUNIT', self.card('BUNIT'))
        header['BUNIT'] = bunit
        sigma = np.asarray(denoised.uncertainty.array)
        if index is None:
            name, version = self.image.companions('UNCERT')[0]
            added.append(fits.ImageHDU(sigma.astype(np.float32), header,
                                       name=name, ver=version))
        else:
            changed[index] = with_data(self.hdus[index], sigma, header)

    def _collect_mask(self, mask, changed, added):
        if mask is None:
            return
        index = self.mask_index
        # Bits have a meaning: only pixels that had none get one.
        if index is None:
            bits = np.zeros(mask.shape, int) if self.bits is None else (
                self.bits.copy())
            bits[mask & (bits == 0)] = 1
            kind = next(kind for kind in (np.uint8, np.int16, np.int32, int)
                        if np.all(bits == bits.astype(kind)))
            name, version = self.image.companions('MASK')[0]
            added.append(fits.ImageHDU(bits.astype(kind), name=name,
                                       ver=version))
            return
        bits = np.array(self.values(self.hdus[index]))
        bits[mask & (bits == 0)] = 1
        hdu = self.hdus[index]
        if np.array_equal(bits, hdu.data):
            return
        if isinstance(hdu, fits.CompImageHDU):
            changed[index] = compressed(hdu, bits, hdu.header,
                                        hdu.compression_type)
        else:
            changed[index] = hdu.copy()
            changed[index].data = bits
