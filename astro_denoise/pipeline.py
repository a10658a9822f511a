# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From a FITS file to a denoised FITS file.
"""

import contextlib
import gzip
import os
import warnings
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

from ._fits_files import (
    MASK_NAMES,
    UNCERTAINTY_NAMES,
    choose_images,
    companion,
    compressed,
    is_image,
    open_fits,
    reading,
    verify_checksums,
    with_data,
)
from ._output import atomic_output
from .exceptions import NoiseEstimateWarning
from .noise import estimate_noise_level

__all__ = ['denoise_file']

_UNCERTAINTIES = {
    'std': StdDevUncertainty, 'StdDevUncertainty': StdDevUncertainty,
    'var': VarianceUncertainty, 'VarianceUncertainty': VarianceUncertainty,
    'ivar': InverseVariance, 'InverseVariance': InverseVariance}

# Spellings in use that are not those of the FITS standard.
_UNITS = {'dn': u.adu, 'adus': u.adu, 'counts': u.count,
          'electrons': u.electron, 'e': u.electron, 'e-': u.electron}


def denoise_file(path, output, *, model='ccd', hdu=None, mask=None,
                 uncertainty=None, uncertainty_type=None, companions=True,
                 cards=None, overwrite=False, **options):
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
        or ``DQ`` of the same version. `None` looks for a file beside the
        input too, ``name.mask.fits`` for ``name.fits``.

    uncertainty : array_like, uncertainty object or path-like, optional
        The noise, as for `astro_denoise.denoise`, or a FITS file. `None`
        takes the extension ``UNCERT`` or ``ERR`` of the same version, and
        without one ``name.weight.fits`` beside the input: inverse
        variances, 0 for pixels without a value.

    uncertainty_type : {'std', 'var', 'ivar'}, optional
        What an uncertainty read from a file is: a standard deviation,
        variance or inverse variance. `None` goes by the keyword
        ``UTYPE``, and without it takes a standard deviation.

    companions : bool, optional
        Whether files beside the input count.

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

    Notes
    -----
    An image without ``BUNIT`` is taken to be in adu. The tiles of a
    compressed image are compressed without loss again, by ``GZIP_2`` where
    they were by a method that rounds floating-point numbers.

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
          open_fits(path) as hdus,
          open_fits(path, disable_image_compression=True) as originals):
        chosen = choose_images(hdus, hdu, path)
        verify_checksums(originals, path)
        changed, added = {}, []
        for number, image in enumerate(chosen):
            here = _Inputs(path, hdus, image, number, len(chosen),
                           companions=companions)
            denoised = here.denoise(model, mask, uncertainty,
                                    uncertainty_type, options)
            denoised.header.update(cards or {})
            here.collect(denoised, changed, added)
        result = fits.HDUList([changed.get(index, original)
                               for index, original in enumerate(originals)]
                              + added)
        result.update_extend()
        for each in (*changed.values(), *added):
            if 'CHECKSUM' in each.header:
                each.add_checksum()
        _write(result, temporary)
    return output


def _write(hdus, path):
    """
    Write a file that is the same, byte by byte, whenever it is written.
    """
    # Cards of the input that break the standard are kept.
    options = {'output_verify': 'silentfix+ignore'}
    if path.suffix != '.gz':
        hdus.writeto(path, **options)
        return
    with (path.open('wb') as raw,
          gzip.GzipFile('', 'wb', fileobj=raw, mtime=0) as file):
        hdus.writeto(file, **options)


def read_image(path, *, hdu=None, mask=None, uncertainty=None, kind=None):
    """
    Read one image as `~astropy.nddata.NDData`; see `denoise_file`.
    """
    with open_fits(path) as hdus:
        images = choose_images(hdus, hdu, path)
        if len(images) > 1:
            msg = f'hdu must say which of {len(images)} images, got None'
            raise ValueError(msg)
        inputs = _Inputs(path, hdus, images[0], 0, 1)
        return inputs.read(mask, uncertainty, kind)


class _Inputs:
    """
    One image of a file with what belongs to it.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.

    hdus : `~astropy.io.fits.HDUList`
        Its content.

    image : `ImagePlace`
        The image.

    number, n_images : int
        Its place among the images that are denoised, and how many these
        are.

    companions : bool, optional
        Whether files beside this one count.
    """

    def __init__(self, path, hdus, image, number, n_images, *,
                 companions=True):
        self.path = path
        self.hdus = hdus
        self.image = image
        self.number = number
        self.n_images = n_images
        self.hdu = hdus[image.index]
        self.companions = companions
        self.bits = None
        self.mask_index = self._find(MASK_NAMES)
        self.uncertainty_index = self._find(UNCERTAINTY_NAMES)

    def _find(self, names):
        for name in names:
            for index, each in enumerate(self.hdus):
                if (each.name == name and each.ver == self.image.version
                        and is_image(each) and index != self.image.index):
                    return index
        return None

    def _values(self, hdu, path=None):
        with reading(path or self.path):
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
        with open_fits(Path(path)) as hdus:
            found = [each for each in hdus if is_image(each)]
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

    def _beside(self, kind):
        return companion(self.path, kind) if self.companions else None

    def _all_masks(self, mask):
        masks = []
        if self.mask_index is not None:
            masks.append(self._values(self.hdus[self.mask_index]))
        if isinstance(mask, str | os.PathLike):
            masks.append(self._from_file(mask)[0])
        elif mask is not None:
            masks.append(np.asarray(mask))
        elif beside := self._beside('mask'):
            masks.append(self._from_file(beside)[0])
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
        elif uncertainty is None and (beside := self._beside('weight')):
            return self._weights(beside)
        else:
            return uncertainty
        kind = kind or header.get('UTYPE', 'StdDevUncertainty')
        if kind not in _UNCERTAINTIES:
            msg = f'UTYPE={kind!r} is not a kind of uncertainty'
            raise ValueError(msg)
        return _UNCERTAINTIES[kind](values)

    def _weights(self, path):
        """
        Inverse variances of a file of weights, warned of if they are not.
        """
        weights = self._from_file(path)[0]
        if weights.shape == self.hdu.shape:
            middle = tuple(slice(max(0, n // 2 - 512), n // 2 + 512)
                           for n in weights.shape[-2:])
            first = (0,) * (weights.ndim - 2)
            part = weights[first][middle]
            image = self._values(self.hdu)[first][middle]
            valid = np.isfinite(image) & np.isfinite(part) & (part > 0)
            if valid.any():
                level, _ = estimate_noise_level(
                    np.where(valid, image, 0).astype(float), valid)
                stated = np.median(part[valid])**-0.5
                if level > 0 and not 1 / 2 < level / stated < 2:
                    msg = (f'{path}: the weights make the noise {stated:.4g}, '
                           f'but that of the blank sky is {level:.4g}; are '
                           f'they inverse variances?')
                    warnings.warn(msg, NoiseEstimateWarning, stacklevel=2)
        return InverseVariance(weights)

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
        self.bits = self._all_masks(mask)
        return denoise(ccd, model, mask=self.bits,
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
        changed[self.image.index] = with_data(self.hdu, denoised.data,
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
            changed[index] = with_data(self.hdus[index], sigma, header)
        self._collect_mask(denoised.mask, changed, added)

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
            added.append(fits.ImageHDU(bits.astype(kind), name='MASK',
                                       ver=self.image.version))
            return
        bits = np.array(self._values(self.hdus[index]))
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
