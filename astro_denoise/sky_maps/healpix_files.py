# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Read HEALPix maps from FITS files.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..io.fits_files import open_fits
from .healpix import healpix_to_image

__all__ = ['HealpixMap', 'find_healpix', 'read_healpix']

# Values of COORDSYS, as gammapy, healpy and the tools of Fermi-LAT write them.
_FRAMES = {
    'galactic': ('G', 'GAL', 'GALACTIC'),
    'icrs': ('C', 'CEL', 'CELESTIAL', 'ICRS', 'Q', 'EQU', 'EQUATORIAL'),
    'barycentricmeanecliptic': ('E', 'ECL', 'ECLIPTIC')}

_ORDERINGS = {'RING': False, 'NEST': True, 'NESTED': True}

# Columns that hold numbers of pixels, not what is in them.
_NUMBERS = ('PIX', 'PIXEL', 'HPX_INDEX')


@dataclass(eq=False)
class HealpixMap:
    """
    A HEALPix map of the whole sky.

    Attributes
    ----------
    counts : 1D `~numpy.ndarray`
        Counts, NaN where nothing was seen.

    nested : bool
        Whether pixels are in the nested ordering.

    frame : str
        Coordinates of the map.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.sky_maps import HealpixMap
    >>> sky = HealpixMap(np.full(12 * 32**2, 100), False, 'galactic')
    >>> sky.to_image(seed=1).shape
    (64, 64)
    """

    counts: np.ndarray
    nested: bool
    frame: str

    def to_image(self, *, seed=None):
        """
        Put the map onto the grid of the models.

        Parameters
        ----------
        seed : int, optional
            As for `~astro_denoise.sky_maps.healpix_to_image`.

        Returns
        -------
        image : `~astropy.nddata.CCDData`
            Counts with a WCS, shape (64, 64).

        Raises
        ------
        ValueError
            As by `~astro_denoise.sky_maps.healpix_to_image`.
        """
        return healpix_to_image(self.counts, nested=self.nested,
                                frame=self.frame, seed=seed)


def find_healpix(path, *, hdu=None):
    """
    Find the HEALPix map of a FITS file.

    Parameters
    ----------
    path : path-like
        The file.

    hdu : int, str or tuple, optional
        The only HDU that counts.

    Returns
    -------
    number : int or `None`
        Number of its HDU; `None` if the file holds no map, or images
        that are not empty besides.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open_fits(Path(path)) as (hdus, _):
        if hdu is not None:
            try:
                number = hdus.index_of(hdu)
                return number if _is_map(hdus[number]) else None
            except (KeyError, IndexError, ValueError):
                return None
        if any(each.is_image and each.size for each in hdus):
            return None
        return next((number for number, each in enumerate(hdus)
                     if _is_map(each)), None)


def _is_map(hdu):
    return str(hdu.header.get('PIXTYPE', '')).strip().upper() == 'HEALPIX'


def read_healpix(path, *, hdu=None, column=None):
    """
    Read a HEALPix map from a FITS file.

    Ordering, coordinates and, for maps of a part of the sky, the numbers
    of the pixels are those of the file.

    Parameters
    ----------
    path : path-like
        The file, as healpy, gammapy or the tools of Fermi-LAT write it:
        a table with ``PIXTYPE = 'HEALPIX'``.

    hdu : int, str or tuple, optional
        Which HDU; by default the first map.

    column : str, optional
        Which column holds the counts, if there are several: those of
        energy bins, for instance.

    Returns
    -------
    sky : `HealpixMap`
        The map.

    Raises
    ------
    OSError
        If the file cannot be read.

    ValueError
        If it holds no map, ``column`` must say which, or ordering or
        coordinates are not known.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from astro_denoise.sky_maps import read_healpix
    >>> table = Table({'COUNTS': np.arange(12 * 4**2)}, meta={
    ...     'PIXTYPE': 'HEALPIX', 'ORDERING': 'NESTED', 'COORDSYS': 'C'})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.write(f'{folder}/sky.fits')
    ...     sky = read_healpix(f'{folder}/sky.fits')
    >>> print(sky.counts.size, sky.nested, sky.frame)
    192 True icrs
    """
    number = find_healpix(path, hdu=hdu)
    if number is None:
        msg = (f'{str(path)!r} holds no HEALPix map (a table with PIXTYPE = '
               f"'HEALPIX')" + ('' if hdu is None else f' in hdu={hdu!r}'))
        raise ValueError(msg)
    with open_fits(Path(path)) as (hdus, _):
        table = hdus[number]
        header = table.header
        column = _column(table, column, path)
        values = np.asarray(table.data[column]).astype(float).ravel()
        nested = _known(_ORDERINGS, header.get('ORDERING', 'RING'),
                        'ORDERING', path)
        frame = _known({name: frame for frame, names in _FRAMES.items()
                        for name in names}, header.get('COORDSYS', 'G'),
                       'COORDSYS', path)
        return HealpixMap(_whole(table, values, path), nested, frame)


def _known(names, value, keyword, path):
    """Look up the value of a keyword."""
    key = str(value).strip().upper()
    if key not in names:
        msg = (f'{str(path)!r} has {keyword} = {value!r}, which must be one '
               f'of {", ".join(names)}')
        raise ValueError(msg)
    return names[key]


def _column(table, column, path):
    """Choose the column of the counts."""
    names = [each.name for each in table.columns
             if each.name.upper() not in _NUMBERS]
    if column is None and len(names) == 1:
        return names[0]
    if column not in names:
        msg = (f'column must be one of {", ".join(names)} in {str(path)!r}, '
               f'got {column!r}')
        raise ValueError(msg)
    return column


def _whole(table, values, path):
    """Put the values of a part of the sky in their places."""
    numbers = [each.name for each in table.columns
               if each.name.upper() in _NUMBERS]
    nside = table.header.get('NSIDE')
    size = None if nside is None else 12 * int(nside)**2
    if not numbers:
        first = int(table.header.get('FIRSTPIX', 0))
        if size is None or len(values) == size:
            return values
        pixels = np.arange(first, first + len(values))
    elif size is None:
        msg = f'{str(path)!r} has pixels of a part of the sky, but no NSIDE'
        raise ValueError(msg)
    else:
        pixels = np.asarray(table.data[numbers[0]]).ravel().astype(np.int64)
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) >= size:
        msg = (f'{str(path)!r} has pixel {int(pixels.max())}, but with NSIDE '
               f'= {nside} only {size} pixels')
        raise ValueError(msg)
    whole = np.full(size, np.nan)
    whole[pixels] = values
    return whole
