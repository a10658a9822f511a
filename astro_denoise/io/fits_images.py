# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of FITS files with what belongs to them: unit, mask, uncertainty, and
position on the sky.
"""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import (
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS, FITSFixedWarning

from ..exceptions import NoiseEstimateWarning
from ..frames.units import parse_unit
from ..noise.model import estimate_noise_level
from .companions import MASK_NAMES, UNCERTAINTY_NAMES, companion
from .fits_files import choose_images, is_image, open_fits, reading

__all__ = ['FitsImage', 'read_image']

_UNCERTAINTIES = {
    'std': StdDevUncertainty, 'StdDevUncertainty': StdDevUncertainty,
    'var': VarianceUncertainty, 'VarianceUncertainty': VarianceUncertainty,
    'ivar': InverseVariance, 'InverseVariance': InverseVariance}

def read_image(path, *, hdu=None, mask=None, uncertainty=None, kind=None):
    """
    Read one image as `~astropy.nddata.NDData`.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.

    hdu : int, str or tuple, optional
        Which image, if there are several.

    mask, uncertainty, kind : optional
        As ``mask``, ``uncertainty`` and ``uncertainty_type`` of
        `astro_denoise.pipeline.denoise_file`.

    Returns
    -------
    image : `~astropy.nddata.NDData`
        Values, unit, mask, uncertainty and WCS; the meta data are the
        header, with the cards of the primary header that it lacks.

    Raises
    ------
    OSError
        If a file cannot be read; the error names it.

    ValueError
        If there is no such image, or ``hdu`` must say which.

    Examples
    --------
    >>> from astro_denoise.io import read_image
    >>> from astro_denoise.data import get_example_path
    >>> image = read_image(get_example_path('eso085_030_004.fits'))
    >>> print(image.data.shape, image.unit)
    (480, 480) adu
    """
    with open_fits(path) as (hdus, _):
        images = choose_images(hdus, hdu, path)
        if len(images) > 1:
            msg = f'hdu must say which of {len(images)} images, got None'
            raise ValueError(msg)
        inputs = FitsImage(path, hdus, images[0], 0, 1)
        return inputs.read(mask, uncertainty, kind)


class FitsImage:
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

    ignore_checksum : bool, optional
        Whether to read other files whose checksums are wrong.
    """

    def __init__(self, path, hdus, image, number, n_images, *,
                 companions=True, ignore_checksum=False):
        self.path = path
        self.hdus = hdus
        self.image = image
        self.number = number
        self.n_images = n_images
        self.hdu = hdus[image.index]
        self.companions = companions
        self.ignore_checksum = ignore_checksum
        self.mask_index = self._find(MASK_NAMES)
        self.uncertainty_index = self._find(UNCERTAINTY_NAMES)

    def _find(self, names):
        for name in names:
            for wanted in self.image.companions(name):
                for index, each in enumerate(self.hdus):
                    if ((each.name, each.ver) == wanted and is_image(each)
                            and index != self.image.index):
                        return index
        return None

    def values(self, hdu, path=None):
        """
        The pixels of an HDU; whatever goes wrong names its file.
        """
        with reading(path or self.path):
            return hdu.data

    def card(self, keyword):
        """
        A header value; extensions inherit from the primary header.
        """
        with reading(self.path):
            for header in (self.hdu.header, self.hdus[0].header):
                if keyword in header:
                    return header[keyword]
        return None

    def unit(self):
        """
        The unit of the image; adu where none is stated.
        """
        text = str(self.card('BUNIT') or '').strip()
        if not text:
            return u.adu
        with contextlib.suppress(ValueError):
            return parse_unit(text)
        # BUNIT stays as it is; nothing can be derived from it.
        return u.dimensionless_unscaled

    def _from_file(self, path):
        """
        Values that belong to this image from another file, and their kind.
        """
        with open_fits(Path(path),
                       ignore_checksum=self.ignore_checksum) as (hdus, _):
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
            with reading(path):
                return (np.array(self.values(found, path)),
                        found.header.get('UTYPE'))

    def _beside(self, kind):
        return companion(self.path, kind) if self.companions else None

    def all_masks(self, mask):
        """
        The bits of all masks, or `None`.
        """
        masks = []
        if self.mask_index is not None:
            masks.append(self.values(self.hdus[self.mask_index]))
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

    def noise(self, uncertainty, kind):
        """
        The uncertainty of the image, or `None`.
        """
        if isinstance(uncertainty, str | os.PathLike):
            values, stated = self._from_file(uncertainty)
        elif uncertainty is None and self.uncertainty_index is not None:
            hdu = self.hdus[self.uncertainty_index]
            with reading(self.path):
                values, stated = hdu.data, hdu.header.get('UTYPE')
        elif uncertainty is None and (beside := self._beside('weight')):
            return self._weights(beside)
        else:
            return uncertainty
        kind = kind or stated or 'StdDevUncertainty'
        if kind not in _UNCERTAINTIES:
            msg = f'UTYPE={kind!r} is not a kind of uncertainty'
            raise ValueError(msg)
        kind = _UNCERTAINTIES[kind]
        # In files, 0 and less say that a pixel has no value. No information
        # at all is an inverse variance of 0 anyway.
        none = (values < 0) if kind is InverseVariance else (values <= 0)
        if none.any():
            values = np.where(none, np.nan, values)
        return kind(values)

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
            image = self.values(self.hdu)[first][middle]
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
        with reading(self.path):
            header = self.hdu.header.copy()
            header.extend(self.hdus[0].header, unique=True)
        wcs = None
        # A position on the sky that cannot be made out is none.
        with warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter('ignore', FITSFixedWarning)
            found = WCS(header, self.hdus, naxis=2)
            wcs = found if found.has_celestial else None
        return NDData(np.array(self.values(self.hdu)), unit=self.unit(),
                      mask=self.all_masks(mask), meta=header, wcs=wcs,
                      uncertainty=self.noise(uncertainty, kind))
