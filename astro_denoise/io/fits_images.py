# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of FITS files with what belongs to them: unit, mask, uncertainty, and
position on the sky.
"""

import contextlib
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import NDData
from astropy.wcs import WCS, FITSFixedWarning

from ..exceptions import CompanionWarning
from ..frames.units import parse_unit
from .companions import (
    NOISE_KINDS,
    companion,
    find_planes,
    kind_of_file,
    kind_of_name,
    planes_of,
)
from .fits_files import (
    ImagePlace,
    choose_images,
    image_places,
    is_image,
    open_fits,
    reading,
)
from .flags import (
    FlagNames,
    as_bits,
    good_bits_of,
    holds_flags,
    names_of_flags,
    warn_of_flags,
)
from .uncertainties import (
    UNCERTAINTY_TYPES,
    FileNoise,
    fit_to_image,
    kind_of_utype,
)

__all__ = ['Companions', 'FitsImage', 'read_image', 'warn_of_unused_planes']


@dataclass(frozen=True)
class Companions:
    """
    Options of the user for masks and uncertainties.

    Parameters
    ----------
    mask, uncertainty, uncertainty_type, good_bits : optional
        As for `astro_denoise.pipeline.denoise_file`.

    beside : bool, optional
        Whether files beside the image count.

    ignore_checksum : bool, optional
        Whether to read other files whose checksums are wrong.

    Raises
    ------
    ValueError
        If ``uncertainty_type`` is none.
    """

    mask: object = None
    uncertainty: object = None
    uncertainty_type: str = 'auto'
    good_bits: object = 'auto'
    beside: bool = True
    ignore_checksum: bool = False

    def __post_init__(self):
        if self.uncertainty_type not in UNCERTAINTY_TYPES:
            msg = ("uncertainty_type must be 'auto', 'std', 'var' or "
                   f"'ivar', got {self.uncertainty_type!r}")
            raise ValueError(msg)

    @property
    def kind(self):
        """The kind that the user says, or `None`."""
        return (None if self.uncertainty_type == 'auto'
                else self.uncertainty_type)


@dataclass
class Mask:
    """
    The mask of an image.

    Parameters
    ----------
    bits : `~numpy.ndarray` or `None`
        All flags, those of the files and of the user.

    bad : `~numpy.ndarray` or `None`
        Those that say that a pixel is bad; 1 for pixels without noise.

    good : int
        Flags that do not.
    """

    bits: np.ndarray | None = None
    bad: np.ndarray | None = None
    good: int = 0

    def add(self, bits, good):
        """Add the flags of a mask."""
        self.bits = bits if self.bits is None else self.bits | bits
        bad = bits & ~good
        self.bad = bad if self.bad is None else self.bad | bad
        self.good |= good

    def add_missing(self, missing):
        """Add pixels that are bad for another reason."""
        if not missing.any():
            return
        if self.bad is None:
            self.bad = np.zeros(missing.shape, np.int64)
        self.bad[missing & (self.bad == 0)] = 1

    def valid(self, shape):
        """Mark the pixels that are good."""
        return np.ones(shape, bool) if self.bad is None else self.bad == 0

    def new_flag(self, dtype):
        """A flag, of a type of integers, for what no mask knew as bad."""
        bits = np.iinfo(dtype).max.bit_length()
        return dtype.type(next((1 << bit for bit in range(bits)
                                if not self.good >> bit & 1), 1))


def read_image(path, *, hdu=None, mask=None, uncertainty=None,
               uncertainty_type='auto', good_bits='auto'):
    """
    Read one image as `~astropy.nddata.NDData`.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.

    hdu : int, str or tuple, optional
        Which image, if there are several.

    mask, uncertainty, uncertainty_type, good_bits : optional
        As for `astro_denoise.pipeline.denoise_file`.

    Returns
    -------
    image : `~astropy.nddata.NDData`
        Values, unit, mask (without the flags of ``good_bits``), uncertainty
        and WCS; the meta data are the header, with the cards of the primary
        header that it lacks.

    Raises
    ------
    OSError
        If a file cannot be read; the error names it.

    ValueError
        If there is no such image, or ``hdu`` must say which.

    Warns
    -----
    CompanionWarning, NoiseEstimateWarning
        As for `astro_denoise.pipeline.denoise_file`.

    Examples
    --------
    >>> from astro_denoise.io import read_image
    >>> from astro_denoise.data import get_example_path
    >>> image = read_image(get_example_path('eso085_030_004.fits'))
    >>> print(image.data.shape, image.unit)
    (480, 480) adu
    """
    companions = Companions(mask, uncertainty, uncertainty_type, good_bits)
    with open_fits(path) as (hdus, _):
        images = choose_images(hdus, hdu, path)
        if len(images) > 1:
            msg = f'hdu must say which of {len(images)} images, got None'
            raise ValueError(msg)
        inputs = FitsImage(path, hdus, images[0], 0, 1, companions)
        image = inputs.read()
        warn_of_unused_planes([inputs])
        return image


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

    companions : `Companions`, optional
        What the user says of masks and uncertainties.

    Attributes
    ----------
    planes : list of `~astro_denoise.io.companions.Plane`
        What describes the image in its file and has its shape.

    noise : `~astro_denoise.io.uncertainties.FileNoise` or `None`
        The uncertainty that a file gives, once it is read.
    """

    def __init__(self, path, hdus, image, number, n_images, companions=None):
        self.path = path
        self.hdus = hdus
        self.image = image
        self.number = number
        self.n_images = n_images
        self.hdu = hdus[image.index]
        self.companions = companions or Companions()
        self.planes = [
            plane for plane in planes_of(image, hdus, find_planes(hdus))
            if is_image(hdus[plane.index])
            and hdus[plane.index].shape == self.hdu.shape]
        self.noise = None

    def planes_of_kind(self, *kinds):
        """
        The planes of some kinds, best first.
        """
        return [plane for plane in self.planes if plane.kind in kinds]

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
        Values that belong to this image from another file, and the header.
        """
        with open_fits(Path(path), ignore_checksum=(
                self.companions.ignore_checksum)) as (hdus, _):
            found = [each for each in hdus if is_image(each)]
            named = [each for each in found if each.name == self.hdu.name
                     and each.ver == self.hdu.ver]
            places = [place.index for place in image_places(self.hdus)]
            if len(found) == len(places) and self.image.index in places:
                found = found[places.index(self.image.index)]
            elif len(found) == self.n_images:
                found = found[self.number]
            elif len(named) == 1:
                found = named[0]
            else:
                msg = (f'{str(path)!r} must hold one image for each of the '
                       f'{self.n_images} to denoise, got {len(found)}')
                raise ValueError(msg)
            with reading(path):
                return np.array(self.values(found, path)), found.header.copy()

    def _beside(self, kind):
        return companion(self.path, kind) if self.companions.beside else None

    def mask(self):
        """
        The flags of all masks together.

        Returns
        -------
        mask : `Mask`
            The flags, and those that count.
        """
        masks = self._masks()
        with reading(self.path):
            names = [names_of_flags(header, self.card)
                     for _, header, _ in masks]
        known = FlagNames({name: value for each in names
                           for name, value in each.values.items()})
        mask, chosen = Mask(), self.companions.good_bits
        given = self.companions.mask is not None
        for number, (values, _, source) in enumerate(masks, 1):
            own = names[number - 1]
            if values.shape != self.hdu.shape:
                msg = (f'mask must have the shape {self.hdu.shape} of the '
                       f'image, got {values.shape}')
                raise ValueError(msg)
            by_itself = isinstance(chosen, str) and chosen == 'auto'
            good = own.good if by_itself else good_bits_of(chosen, known)
            if values.dtype.kind not in 'iu':
                good = 0  # no flags
            bits = as_bits(values)
            mask.add(bits, good)
            # Who gives a mask of 0 and 1 has said what is bad.
            if by_itself and not own.documented and (
                    bits.max() > 1 or not (given and number == len(masks))):
                warn_of_flags(self.values(self.hdu), bits & ~good, own,
                              source)
        return mask

    def _masks(self):
        """
        Values, header and source of each mask.
        """
        masks = []
        for plane in self.planes_of_kind('mask'):
            hdu = self.hdus[plane.index]
            source = f'{self.path}, HDU {plane}'
            if holds_flags(self.values(hdu)):
                masks.append((hdu.data, hdu.header, source))
            else:
                msg = (f'{source} has numbers that are no flags, and is not '
                       f'used')
                warnings.warn(msg, CompanionWarning, stacklevel=4)
                self.planes.remove(plane)
                self.planes.append(replace(plane, kind='other'))
        given = self.companions.mask
        if given is None:
            given = self._beside('mask')
        if isinstance(given, str | os.PathLike):
            masks.append((*self._from_file(given), str(given)))
        elif given is not None:
            masks.append((np.asarray(given), {}, 'mask'))
        return masks

    def uncertainty(self, mask):
        """
        The uncertainty of the image.

        Parameters
        ----------
        mask : `Mask`
            Of the image; pixels that an uncertainty of a file calls
            unusable are added.

        Returns
        -------
        uncertainty : object or `None`
            What the user gave, if that is no file, or of astropy.
        """
        given = self.companions.uncertainty
        if given is not None and not isinstance(given, str | os.PathLike):
            return given
        noise = self._named(given) if given is not None else self._found()
        if noise is None:
            return None
        # In files, 0 and less say that a pixel has no value.
        missing = noise.values <= 0
        if missing.any():
            noise.values[missing] = 0 if noise.kind in (
                'ivar', 'weight') else np.nan
            if noise.values.shape == self.hdu.shape:
                mask.add_missing(missing)
        # What is left in a denoised frame is not what its noise is.
        if self.companions.kind is None and (
                noise.from_companion or not noise.stated) and (
                noise.values.shape == self.hdu.shape) and (
                self.card('DNMODEL') is None):
            noise = fit_to_image(noise, self.values(self.hdu),
                                 mask.valid(self.hdu.shape))
        self.noise = noise
        return None if noise is None else noise.uncertainty()

    def _named(self, path):
        """
        The uncertainty of a file that the user named.
        """
        values, header = self._from_file(path)
        with reading(path):
            utype, name = (header.get(keyword)
                           for keyword in ('UTYPE', 'EXTNAME'))
        by_name = (kind_of_utype(utype, str(path))
                   or kind_of_name(str(name or '')) or kind_of_file(path))
        if by_name not in NOISE_KINDS:
            by_name = None
        kind = self.companions.kind or by_name
        return FileNoise(_floats(values), kind or 'std', str(path),
                         from_companion=False, stated=kind is not None)

    def _found(self):
        """
        The uncertainty of the file itself, or of one beside it.
        """
        for plane in self.planes_of_kind(*NOISE_KINDS):
            hdu = self.hdus[plane.index]
            values = self.values(hdu)
            source = f'{self.path}, HDU {plane}'
            if not (values > 0).any():
                msg = (f'{source} has no positive value, and is not used: '
                       f'is it filled in later?')
                warnings.warn(msg, CompanionWarning, stacklevel=4)
                continue
            with reading(self.path):
                utype = hdu.header.get('UTYPE')
            kind = (self.companions.kind or kind_of_utype(utype, source)
                    or plane.kind)
            return FileNoise(_floats(values), kind, source,
                             from_companion=True, index=plane.index)
        if beside := self._beside('weight'):
            kind = self.companions.kind or kind_of_file(beside)
            return FileNoise(_floats(self._from_file(beside)[0]), kind,
                             str(beside), from_companion=True)
        return None

    def wcs(self, header):
        """
        The world coordinates of the image, `None` without a celestial pair.

        Parameters
        ----------
        header : `~astropy.io.fits.Header`
            Of the image.
        """
        # A position on the sky that cannot be made out is none.
        with warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter('ignore', FITSFixedWarning)
            found = WCS(header, self.hdus, naxis=2)
            return found if found.has_celestial else None
        return None

    def read(self):
        """
        The image with all that belongs to it, flags too.
        """
        with reading(self.path):
            header = self.hdu.header.copy()
            header.extend(self.hdus[0].header, unique=True)
        wcs = self.wcs(header)
        mask = self.mask()
        uncertainty = self.uncertainty(mask)
        image = NDData(np.array(self.values(self.hdu)), unit=self.unit(),
                       mask=mask.bad, meta=header, wcs=wcs,
                       uncertainty=uncertainty)
        # NDData have no flags of their own; CCDData do.
        image.flags = self._footprints()
        return image

    def _footprints(self):
        """
        The footprints of a catalog that the image was denoised with.
        """
        place = self.image.companions('CATMASK')[0]
        for hdu in self.hdus:
            if (hdu.name, hdu.ver) == place and hdu.is_image:
                return np.array(self.values(hdu))
        return None


def _floats(values):
    """A copy that can hold NaN."""
    return np.array(values, np.result_type(values.dtype, np.float32))


def warn_of_unused_planes(images):
    """
    Warn of planes that describe images of a file and were not used.

    Parameters
    ----------
    images : list of `FitsImage`
        Those of the file that were read.

    Warns
    -----
    CompanionWarning
        If there are such.
    """
    first = images[0]
    hdus, planes = first.hdus, find_planes(first.hdus)
    owned = {plane.index for image in images for plane in image.planes}
    # Those of other images are not looked at.
    others = image_places(hdus) + [
        ImagePlace(index, []) for index, hdu in enumerate(hdus)
        if is_image(hdu) and index not in planes]
    read = {image.image.index for image in images}
    owned |= {plane.index for image in others if image.index not in read
              for plane in planes_of(image, hdus, planes)}
    noisy = all(image.noise is not None
                or image.companions.uncertainty is not None
                for image in images)
    kinds = {'mask'} if noisy else {'mask', 'exposure', *NOISE_KINDS}
    shapes = {image.hdu.shape[-2:] for image in images}
    unused = [plane for plane in planes.values()
              if plane.kind in kinds and plane.index not in owned
              and plane.index not in read
              and is_image(hdus[plane.index])
              and hdus[plane.index].shape[-2:] in shapes]
    unused += [plane for image in images for plane in image.planes
               if plane.kind == 'exposure' and not noisy]
    if unused:
        msg = (f'{first.path}: not used: the planes '
               f'{", ".join(map(str, unused))}, which describe an image by '
               f'their names, but no image by name, version and shape that '
               f'is read; mask (--mask) and uncertainty (--uncertainty) take '
               f'files')
        warnings.warn(msg, CompanionWarning, stacklevel=3)

