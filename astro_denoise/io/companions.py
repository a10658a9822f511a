# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Extensions and files that describe an image: masks, uncertainties, weights.
"""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ['NOISE_KINDS', 'Plane', 'companion', 'find_planes',
           'is_companion', 'kind_of_file', 'kind_of_name', 'planes_of']


# What extensions hold by their names, those first that come before others:
# the names of CCDData, of the Hubble, Webb, Gemini, LSST and Las Cumbres
# pipelines, of drizzled images, of SExtractor and of the Legacy Surveys.
_NAMES = {
    'mask': ('MASK', 'DQ', 'BPM', 'FLAGS'),
    'std': ('UNCERT', 'ERR', 'ERROR', 'UNCERTAINTY', 'SIGMA', 'STDDEV',
            'RMS', 'NOISE'),
    'var': ('VAR', 'VARIANCE'),
    'ivar': ('IVAR', 'INVVAR'),
    # Inverse variances, or only proportional to them.
    'weight': ('WHT', 'WEIGHT'),
    'exposure': ('EXP', 'TIME'),
    'other': ('AREA', 'CATMASK', 'CON', 'CTX', 'IMARR', 'PSFIMAGE', 'QUALITY',
              'SAMP', 'WCSDVARR')}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names}

# Those of which a noise map can be made, the surest first.
NOISE_KINDS = ('std', 'var', 'ivar', 'weight')

# Files beside a frame: ``name.mask.fits`` as the PAU survey names them, and
# ``_ood_`` for ``_ooi_`` as the pipeline of DECam does.
_BESIDE = {'mask': 'ood', 'weight': 'oow'}
_DECAM = re.compile(r'(?<![a-z0-9])oo([iwd])(?![a-z0-9])')
_COMPRESSED = ('', '.fz', '.gz', '.bz2')


def kind_of_name(name):
    """
    Find the kind of an extension by its name.

    Parameters
    ----------
    name : str
        Such as ``'ERR'``, ``'DQ2'`` or ``'CCD1_WEIGHT'``.

    Returns
    -------
    kind : {'mask', 'std', 'var', 'ivar', 'weight', 'exposure', 'other'} \
or `None`
        `None` if it is no name of a plane that describes an image.

    Examples
    --------
    >>> from astro_denoise.io.companions import kind_of_name
    >>> print(kind_of_name('VAR'), kind_of_name('DQ2'), kind_of_name('SCI'))
    var mask None
    """
    name = name.upper()
    words = re.findall('[A-Z]+', name)
    # Exposures of the sky may be numbered.
    return next((_KINDS[word] for word in words if word in _KINDS
                 and (word != 'EXP' or word == name)), None)


@dataclass(frozen=True)
class Plane:
    """
    An extension that describes an image.

    Parameters
    ----------
    index : int
        Number of the HDU.

    kind : str
        As for `kind_of_name`.

    name : str
        By which the kind is known.

    has_name : bool
        Whether that is its ``EXTNAME``.
    """

    index: int
    kind: str
    name: str
    has_name: bool = True

    def __str__(self):
        return f'{self.index} ({self.name})'

    @property
    def rank(self):
        """Place among planes of the same image, the first counts."""
        names = [name for each in _NAMES.values() for name in each]
        stem = next((word for word in re.findall('[A-Z]+', self.name)
                     if word in names), names[-1])
        return names.index(stem), self.index


def find_planes(hdus):
    """
    Find the extensions that describe an image.

    They are known by ``EXTNAME``; else by ``EXTTYPE``, or by the cards
    ``MP_BAD`` and so on that name the bits of a mask, as in files of LSST
    and HSC before these had names, where the variance follows the mask.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.

    Returns
    -------
    planes : dict of int to `Plane`
        By the number of the HDU.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astro_denoise.io.companions import find_planes
    >>> hdus = fits.HDUList([fits.PrimaryHDU(), *(
    ...     fits.ImageHDU(np.ones((4, 4)), name=name)
    ...     for name in ('SCI', 'VAR', 'DQ'))])
    >>> print(*find_planes(hdus).values())
    2 (VAR) 3 (DQ)
    """
    planes = {}
    for index, hdu in enumerate(hdus):
        if not hdu.is_image:
            continue
        # What astropy calls compressed images without a name.
        name = '' if hdu.name == 'COMPRESSED_IMAGE' else hdu.name
        if kind := kind_of_name(name):
            planes[index] = Plane(index, kind, name)
            continue
        stated = str(hdu.header.get('EXTTYPE', '')).strip().upper()
        if kind := kind_of_name(stated):
            planes[index] = Plane(index, kind, stated, has_name=False)
        elif stated or name:
            continue
        elif hdu.header['BITPIX'] > 0 and len(hdu.header['MP_*']):
            planes[index] = Plane(index, 'mask', 'MASK', has_name=False)
        elif (before := planes.get(index - 1)) and (
                before.kind == 'mask' and not before.has_name
                and hdu.header['BITPIX'] < 0
                and hdu.shape == hdus[index - 1].shape):
            planes[index] = Plane(index, 'var', 'VARIANCE', has_name=False)
    return planes


def planes_of(image, hdus, planes):
    """
    The planes that describe an image, best first.

    Parameters
    ----------
    image : `~astro_denoise.io.fits_files.ImagePlace`
        The image.

    hdus : `~astropy.io.fits.HDUList`
        The file.

    planes : dict of int to `Plane`
        Of `find_planes`.

    Returns
    -------
    planes : list of `Plane`
        Those whose names, numbers and versions are those of the image; of
        those without a name, those that follow it.
    """
    own = hdus[image.index]
    found = []
    for plane in planes.values():
        if plane.index == image.index:
            continue
        if plane.has_name:
            hdu = hdus[plane.index]
            wanted = [place for name in _KINDS if _KINDS[name] == plane.kind
                      for place in image.companions(name)]
            if own.name:
                wanted += [(name, own.ver) for word in _NAMES[plane.kind]
                           for name in (f'{own.name}_{word}',
                                        f'{word}_{own.name}')]
            if (hdu.name, hdu.ver) in wanted:
                found.append(plane)
        elif image.index == max((index for index in range(plane.index)
                                 if index not in planes
                                 and hdus[index].is_image
                                 and hdus[index].shape), default=None):
            found.append(plane)
    return sorted(found, key=lambda plane: plane.rank)


def companion(path, kind):
    """
    The file beside a frame that holds its mask or its weights.

    Parameters
    ----------
    path : path-like
        The frame, ``name.fits``.

    kind : {'mask', 'weight'}
        What is wanted: ``name.mask.fits`` or ``name.weight.fits``, which
        may be compressed; of ``name_ooi_more.fits``, ``ood`` or ``oow`` in
        the place of ``ooi``.

    Returns
    -------
    companion : `~pathlib.Path` or `None`
        The file, if it is there.

    Examples
    --------
    >>> from astro_denoise.io.companions import companion
    >>> companion('no_such_frame.fits', 'mask') is None
    True
    """
    path = Path(path)
    stem, found, _ = path.name.partition('.fits')
    if not found or is_companion(path):
        return None
    stems = [f'{stem}.{kind}']
    if _DECAM.search(stem):
        stems.append(_DECAM.sub(_BESIDE[kind], stem, count=1))
    for name in stems:
        for ending in _COMPRESSED:
            beside = path.with_name(f'{name}.fits{ending}')
            if beside.is_file():
                return beside
    return None


def kind_of_file(path):
    """
    Find the kind of a file by its name.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    kind : {'mask', 'weight', 'ivar'} or `None`
        `None` if it is not, by its name, the mask or the weights of a
        frame. Those of DECam are inverse variances.

    Examples
    --------
    >>> from astro_denoise.io.companions import kind_of_file
    >>> print(kind_of_file('red.mask.fits'), kind_of_file('c4d_1_oow_g.fits'))
    mask ivar
    """
    stem, found, ending = Path(path).name.partition('.fits')
    if not found or ending not in _COMPRESSED:
        return None
    for kind in _BESIDE:
        if stem.endswith(f'.{kind}'):
            return kind
    letters = _DECAM.search(stem)
    return {'d': 'mask', 'w': 'ivar'}.get(letters and letters[1])


def is_companion(path):
    """
    Tell if a file is, by its name, the mask or the weights of a frame.
    """
    return kind_of_file(path) is not None
