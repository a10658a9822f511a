# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The example data that ship with the package.

Two exposures of 60 s of the galaxy ESO 085-030, aligned to one another
and cropped to 480 x 480 pixels: real data with all that real data
bring. A frame of M51, which the galaxy fills. And the gamma rays that
Fermi-LAT counted around the Galactic Center in 573 weeks. Sources and
licenses are in ``licenses/README.rst``.
"""

from pathlib import Path

from astropy.nddata import CCDData

__all__ = ['get_example_path', 'load_example_pair', 'load_fermi_map',
           'load_m51']

_PAIR_NAMES = ('eso085_030_004.fits', 'eso085_030_005.fits')
_FERMI_NAME = 'fermi_gc.fits'
_M51_NAME = 'm51.fits'
_EXAMPLE_NAMES = (*_PAIR_NAMES, _FERMI_NAME, _M51_NAME)


def get_example_path(name):
    """
    Return the path of an example file.

    Parameters
    ----------
    name : {'eso085_030_004.fits', 'eso085_030_005.fits', 'fermi_gc.fits', \
            'm51.fits'}
        The name of the file.

    Returns
    -------
    path : `~pathlib.Path`
        Where the file is on this computer.

    Raises
    ------
    ValueError
        If there is no example file of that name.

    Examples
    --------
    >>> from astro_denoise.data import get_example_path
    >>> get_example_path('eso085_030_004.fits').name
    'eso085_030_004.fits'
    """
    if name not in _EXAMPLE_NAMES:
        msg = (f'name={name!r} is not an example file; choose one of '
               f'{", ".join(_EXAMPLE_NAMES)}')
        raise ValueError(msg)
    return Path(__file__).parent / name


def load_example_pair():
    """
    Load the two example exposures of ESO 085-030.

    The frames hold unsigned 16-bit counts. Their headers give neither
    gain nor read noise, and no world coordinates.

    Returns
    -------
    first, second : `~astropy.nddata.CCDData`
        The exposures, 480 x 480 pixels each, in adu, aligned to one
        another to better than 0.1 pixel.

    Examples
    --------
    >>> from astro_denoise.data import load_example_pair
    >>> first, second = load_example_pair()
    >>> first.shape, str(first.unit), first.header['OBJECT']
    ((480, 480), 'adu', 'eso085-030')
    """
    return tuple(CCDData.read(get_example_path(name))
                 for name in _PAIR_NAMES)


def load_fermi_map():
    """
    Load the gamma rays of the Galactic Center that Fermi-LAT counted.

    Photons of 2 to 20 GeV in 573 weeks, in 64 x 64 pixels of 0.46875
    degrees: the grid of
    `~astro_denoise.simulation.GalacticCenterSimulator`, but with Galactic
    longitude growing to the left, as on the sky. Cite arXiv:2002.12370
    and arXiv:2002.12371 for the data.

    Returns
    -------
    image : `~astropy.nddata.CCDData`
        Counts, with a WCS in Galactic coordinates.

    Examples
    --------
    >>> from astro_denoise.data import load_fermi_map
    >>> image = load_fermi_map()
    >>> image.shape, str(image.unit), int(image.data.max())
    ((64, 64), 'ct', 1319)
    """
    return CCDData.read(get_example_path(_FERMI_NAME))


def load_m51():
    """
    Load a frame of M51, of which a galaxy with much structure fills all.

    600 s in B, taken in 1987; 320 x 320 pixels of 16-bit counts, with dead
    rows and other faults of its time, and without gain, read noise and
    world coordinates.

    Returns
    -------
    frame : `~astropy.nddata.CCDData`
        Counts in adu.

    Examples
    --------
    >>> from astro_denoise.data import load_m51
    >>> frame = load_m51()
    >>> frame.shape, str(frame.unit)
    ((320, 320), 'adu')
    """
    return CCDData.read(get_example_path(_M51_NAME))
