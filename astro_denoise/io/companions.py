# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Files and extensions that belong to an image: masks and uncertainties.
"""

from pathlib import Path

__all__ = ['MASK_NAMES', 'OTHER_NAMES', 'UNCERTAINTY_NAMES', 'companion',
           'is_companion']


# Extensions that describe an image and hold none of their own: those of
# CCDData, of the Hubble and Webb pipelines, and of others.
MASK_NAMES = ('MASK', 'DQ')
UNCERTAINTY_NAMES = ('UNCERT', 'ERR')
OTHER_NAMES = {
    *MASK_NAMES, *UNCERTAINTY_NAMES, 'AREA', 'BPM', 'CON', 'CTX', 'ERROR',
    'FLAGS', 'IMARR', 'IVAR', 'PSFIMAGE', 'QUALITY', 'RMS', 'SAMP', 'SIGMA',
    'STDDEV', 'TIME', 'UNCERTAINTY', 'VAR', 'VARIANCE', 'WCSDVARR', 'WEIGHT',
    'WHT'}


# Files beside a frame, as the PAU survey names them.
_COMPANIONS = ('mask', 'weight')
_COMPRESSED = ('', '.fz', '.gz', '.bz2')


def companion(path, kind):
    """
    The file beside a frame that holds its mask or its weights.

    Parameters
    ----------
    path : path-like
        The frame, ``name.fits``.

    kind : {'mask', 'weight'}
        What is wanted: ``name.mask.fits`` or ``name.weight.fits``, which
        may be compressed.

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
    for ending in _COMPRESSED:
        beside = path.with_name(f'{stem}.{kind}.fits{ending}')
        if beside.is_file():
            return beside
    return None


def is_companion(path):
    """
    Whether a file is, by its name, the mask or the weights of a frame.
    """
    name = Path(path).name
    return any(name.endswith(f'.{kind}.fits{ending}')
               for kind in _COMPANIONS for ending in _COMPRESSED)
