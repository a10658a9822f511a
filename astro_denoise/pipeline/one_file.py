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
from astropy.io import fits
from astropy.nddata import CCDData

from ..denoising.header_log import read_cards
from ..exceptions import SkippedImageWarning, warnings_of
from ..io.companions import NOISE_KINDS
from ..io.fits_files import (
    as_floats,
    choose_images,
    compressed,
    open_fits,
    reading,
    skipped_images,
    with_data,
)
from ..io.fits_images import Companions, FitsImage, warn_of_unused_planes
from ..io.output import (
    COMPRESSED,
    FITS_ENDINGS,
    atomic_output,
    check_output,
    check_replaces_none,
)
from ..io.uncertainties import UTYPES, in_kind, kind_of_utype
from ..photometry.source_table import without_pixels
from ..photometry.tables import as_table, read_table

__all__ = ['denoise_file']

# Cards of the input that break the standard are kept.
_VERIFY = 'silentfix+ignore'

_LONGEST_NAME = 60  # of a file, in a header


def denoise_file(path, output, *, model='ccd', hdu=None, mask=None,
                 uncertainty=None, uncertainty_type='auto',
                 good_bits='auto', companions=True, ignore_checksum=False,
                 catalog=None, psf=None, cards=None, overwrite=False,
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
        for each image. They are added to those of the extensions ``MASK``,
        ``DQ``, ``BPM`` or ``FLAGS`` of the same version, and of the same
        number or name if the image has one (``MASK2`` for ``SCI2``,
        ``CCD1_MASK`` for ``CCD1``). `None` looks for a file beside the
        input too, ``name.mask.fits`` for ``name.fits`` and ``ood`` for
        ``ooi`` in a name of DECam's pipeline.

    uncertainty : array_like, uncertainty object or path-like, optional
        The noise, as for `astro_denoise.denoise`, or a FITS file. `None`
        takes an extension of the same version and number: ``UNCERT``,
        ``ERR`` or the like, ``VAR`` or ``VARIANCE``, ``IVAR`` or
        ``INVVAR``, or the weights ``WHT`` or ``WEIGHT``; and without one
        ``name.weight.fits`` beside the input, or ``oow`` for ``ooi``. What
        is found so is compared with the noise of the blank sky. If it is
        1.5 times more or less, it is taken for what fits it, standard
        deviations, variances or inverse variances, or else for relative,
        and scaled. Pixels of 0 or less have no value.

    uncertainty_type : {'auto', 'std', 'var', 'ivar'}, optional
        What an uncertainty read from a file is: a standard deviation,
        variance or inverse variance. ``'auto'`` goes by the keyword
        ``UTYPE``, by the name of extension or file, and of a file without
        such by what fits the noise of the image, or else takes standard
        deviations. Any other value is taken at its word, and nothing is
        scaled.

    good_bits : int, str, list or `None`, optional
        Flags of integer masks that do not say that a pixel is bad, as
        ``ignore_flags`` of
        ``astropy.nddata.bitmask.bitfield_to_boolean_mask``: a sum of flags,
        a list, or a string such as ``'DETECTED,INTRP'`` or ``'~4,8'``, with
        the names of the cards ``MP_...``, or of Webb's. `None` ignores all,
        and 0 none. ``'auto'`` ignores ``DETECTED`` and
        ``DETECTED_NEGATIVE`` of such cards, all of Webb's but
        ``DO_NOT_USE`` and ``NON_SCIENCE``, and the warm pixels (64) of
        Hubble's ACS and WFC3.

    companions : bool, optional
        Whether files beside the input count.

    ignore_checksum : bool, optional
        Whether to denoise data that are not those of which ``DATASUM``
        was taken.

    catalog : table or path-like, optional
        Sources that are known to be in the images, as for
        `astro_denoise.denoise`: a table, or a file that
        `~astro_denoise.photometry.read_table` reads. Where it has
        positions on the sky and an image a WCS, these count, and not
        those in pixels.

    psf : 'fit', path-like, model or 2D array, optional
        As for `astro_denoise.denoise`, or a FITS file of an image.

    cards : dict, optional
        More cards for the header of each denoised image.

    overwrite : bool, optional
        Whether to replace an existing output.

    **options
        Passed to `astro_denoise.denoise`, such as ``gain``,
        ``read_noise`` and ``guide``. A header keyword is looked for in
        the header of the image and then in the primary header.

    Returns
    -------
    output : `~pathlib.Path`
        The file written: denoised images as 32-bit floats; their
        uncertainties where the input has them, as what they are there
        (variances in ``VAR``), else standard deviations in an extension
        ``UNCERT``; a mask where pixels are masked or not finite (with the
        bits of the mask that was given); with a ``catalog``, an extension
        ``CATMASK`` that is 1 in the footprints of its sources; and the log of
        `astro_denoise.denoise` in the header of each image. Weights stay
        as they are. What is new is compressed in tiles if the image is.

    Raises
    ------
    FileExistsError
        If the output exists and ``overwrite`` is `False`.

    OSError
        If a file cannot be read or written, or its data are not those of
        which its checksum was taken; the error names it. No partial output
        is left.

    ValueError, TypeError
        If an argument is bad, the output is one of the files that are
        read, or the file has no image. No output is left.

    Warns
    -----
    SkippedImageWarning
        If ``hdu`` is `None`, and extensions that look like images of the
        sky are left as they are because others are named ``SCI``, there
        is an image in the primary HDU, or they have the same value
        everywhere or are mostly 0 as masks are.

    CompanionWarning
        If planes that describe an image are not used, or a mask leaves out
        most of what stands out above the sky, or pixels like all others.

    NoiseEstimateWarning
        If an uncertainty that was found is taken for something else than
        its name says, or scaled.

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
    described = Companions(mask, uncertainty, uncertainty_type, good_bits,
                           companions, ignore_checksum)
    if cards is not None:
        read_cards(cards, name='cards')
    path, output = Path(path), Path(output)
    check_denoised(path, output, overwrite=overwrite)
    check_replaces_none(output, (path, mask, uncertainty, model, catalog,
                                 psf))
    options |= {'catalog': _opened_catalog(catalog),
                'psf': open_psf_image(psf)}
    with open_fits(path, ignore_checksum=ignore_checksum) as (
            hdus, originals):
        with reading(path):
            # What could not be written is an error before any work.
            originals.verify(_VERIFY)
        chosen = choose_images(hdus, hdu, path)
        if hdu is None and (skipped := skipped_images(hdus, chosen)):
            msg = (f'{path}: left as they are: the images '
                   f'{", ".join(skipped)}; hdu (--hdu) denoises one of them')
            warnings.warn(msg, SkippedImageWarning, stacklevel=2)
        changed, added, images = {}, [], []
        for number, image in enumerate(chosen):
            here = _DenoisedImage(path, hdus, image, number, len(chosen),
                                  described)
            with warnings_of(path):
                denoised = here.denoise(model, options)
            denoised.header.update(cards or {})
            here.collect(denoised, changed, added)
            images.append(here)
        warn_of_unused_planes(images)
        # From here on, what goes wrong is the fault of the output; all but a
        # full disk and the like is for what the input holds.
        with (atomic_output(output, overwrite=overwrite) as temporary,
              reading(path, but=OSError)):
            _write(_merged(originals, changed, added), temporary)
    return output


def _opened_catalog(catalog):
    """A table, from its file if that is given."""
    if isinstance(catalog, str | os.PathLike):
        return read_table(catalog)
    return None if catalog is None else as_table(catalog, 'catalog')


def open_psf_image(psf):
    """
    Read the image of a point-spread function, if the name of one is given.

    Parameters
    ----------
    psf : object
        As for `denoise_file`.

    Returns
    -------
    psf : object
        As for `astro_denoise.denoise`.
    """
    if not isinstance(psf, str | os.PathLike) or psf == 'fit':
        return psf
    with open_fits(Path(psf)) as (hdus, _), reading(psf):
        image = choose_images(hdus, None, psf)[0]
        return np.array(hdus[image.index].data, float)


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

    flags = None  # its mask, once it is read

    def denoise(self, model, options):
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
        header.remove('DNUNCERT', ignore_missing=True)
        ccd = CCDData(self.values(self.hdu), unit=self.unit(), meta=header)
        if options['catalog'] is not None:
            ccd.wcs = self.wcs(header)
            options['catalog'] = without_pixels(options['catalog'], ccd.wcs)
        self.flags = self.mask()
        uncertainty = self.uncertainty(self.flags)
        denoised = denoise(ccd, model, mask=self.flags.bad,
                           uncertainty=uncertainty, **options)
        if self.noise is not None and 'DNNOISE' in denoised.header:
            denoised.header['DNUNCERT'] = (
                self.noise.describe(), 'what the uncertainty is taken for')
        name = self.path.name
        # What no card can hold is left out.
        if 'DNMODEL' in denoised.header and name.isascii() and (
                name.isprintable() and len(name) < _LONGEST_NAME):
            denoised.header['DNFILE'] = (name, 'file that was denoised')
        return denoised

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
            if denoised.flags is not None:
                self._collect_plane('CATMASK', denoised.flags, {}, changed,
                                    added)

    def _collect_image(self, denoised, changed, added):
        header = denoised.header
        for keyword in ('BSCALE', 'BZERO', 'BLANK'):
            header.remove(keyword, ignore_missing=True)
        if self.card('BUNIT') is None:
            header['BUNIT'] = ('adu', 'assumed')
        changed[self.image.index] = with_data(self.hdu, denoised.data,
                                              header)

        sigma = np.asarray(denoised.uncertainty.array)
        bunit = header.get('BUNIT', self.card('BUNIT'))
        rewritten = False
        for plane in self.planes_of_kind(*NOISE_KINDS[:3]):
            old = self.hdus[plane.index]
            # What has no name, no number or only zeros stays.
            if plane.has_name and (self.values(old) > 0).any():
                changed[plane.index] = self._new_noise(plane, sigma, bunit)
                rewritten = True
        if rewritten:
            return
        self._collect_plane('UNCERT', as_floats(sigma), {
            'UTYPE': 'StdDevUncertainty', 'BUNIT': bunit}, changed, added)

    def _collect_plane(self, stem, values, cards, changed, added):
        """
        Add a plane, or put it in the place of the one of its name.
        """
        name, version = self.image.companions(stem)[0]
        new = self._new_plane(values, name, version, cards)
        for index, old in enumerate(self.hdus):
            if (old.name, old.ver) == (name, version):
                changed[index] = new
                return
        added.append(new)

    def _new_plane(self, values, name, version, cards=()):
        """
        An HDU that was not there, compressed in tiles if the image is.
        """
        header = fits.Header(cards)
        if not isinstance(self.hdu, fits.CompImageHDU):
            return fits.ImageHDU(values, header, name=name, ver=version)
        header['EXTNAME'], header['EXTVER'] = name, version
        return compressed(self.hdu, values, header, 'GZIP_2')

    def _new_noise(self, plane, sigma, bunit):
        """
        The HDU of an uncertainty with the new one, as what it is.
        """
        old = self.hdus[plane.index]
        header = old.header.copy()
        kind = kind_of_utype(header.get('UTYPE'), plane.name) or plane.kind
        if self.noise is not None and self.noise.index == plane.index:
            kind = self.noise.kind
        if plane.name.startswith('UNCERT'):
            kind = 'std'  # its keyword says so
        header['UTYPE'] = UTYPES[kind]
        if kind == 'std':
            header['BUNIT'] = bunit
        elif 'BUNIT' not in header:
            power = 2 if kind == 'var' else -2
            with contextlib.suppress(ValueError):
                header['BUNIT'] = (self.unit()**power).to_string('fits')
        values = in_kind(sigma, 'std', kind)
        # What has no noise stays as it was.
        kept = np.array(self.values(old), float)
        return with_data(old, np.where(np.isfinite(values), values, kept),
                         header)

    def _collect_mask(self, mask, changed, added):
        if mask is None:
            return
        planes = self.planes_of_kind('mask')
        known = self.flags.bits
        if known is None:
            known = np.zeros(mask.shape, np.int64)
        # Bits have a meaning: only pixels that had none get one.
        new = mask & (known & ~self.flags.good == 0)
        if not planes:
            bits = known.copy()
            bits[new] |= self.flags.new_flag(bits.dtype)
            kind = next(kind for kind in (np.uint8, np.int16, np.int32, int)
                        if np.all(bits == bits.astype(kind)))
            name, version = self.image.companions('MASK')[0]
            added.append(self._new_plane(bits.astype(kind), name, version))
            return
        index = planes[0].index
        bits = np.array(self.values(self.hdus[index]))
        if bits.dtype.kind in 'iu':
            bits[new] |= self.flags.new_flag(bits.dtype)
        else:
            bits[new] = 1
        hdu = self.hdus[index]
        if np.array_equal(bits, hdu.data):
            return
        if isinstance(hdu, fits.CompImageHDU):
            changed[index] = compressed(hdu, bits, hdu.header,
                                        hdu.compression_type)
        else:
            changed[index] = hdu.copy()
            changed[index].data = bits
