# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors that say how to read a file that was given in the place of an array.
"""

import os

from astropy.io import fits

__all__ = ['refuse_files']

_READERS = {'data': "CCDData.read(path, unit='adu')",
            'catalog': 'astro_denoise.photometry.read_table(path)',
            'array': 'astropy.io.fits.getdata(path)'}


def refuse_files(value, name, *, kind='array'):
    """
    Raise an error that says the cure if a value is a file or an HDU.

    Parameters
    ----------
    value : object
        The argument.

    name : str
        Its name.

    kind : {'data', 'catalog', 'array'}, optional
        What it must be: a frame, a table, or any other array.

    Raises
    ------
    TypeError
        If it is a path, a list of paths, an HDU or a list of HDUs.

    Examples
    --------
    >>> from astro_denoise.frames.files_for_arrays import refuse_files
    >>> refuse_files('bad.fits', 'mask')
    Traceback (most recent call last):
    ...
    TypeError: mask must be an array, got the path 'bad.fits': read it with
    astropy.io.fits.getdata(path)
    """
    wanted = {'data': 'CCDData, NDData, Quantity or an array',
              'catalog': 'a table', 'array': 'an array'}[kind]
    reader = _READERS[kind]
    if isinstance(value, str | os.PathLike):
        cure = f'the path {os.fspath(value)!r:.300}: read it with {reader}'
    elif isinstance(value, list | tuple) and value and all(
            isinstance(each, str | os.PathLike) for each in value):
        cure = f'{len(value)} paths: read each with {reader}'
        if kind == 'data':
            cure += (', or give them to '
                     'astro_denoise.pipeline.denoise_files(paths, folder)')
    elif isinstance(value, fits.HDUList):
        cure = f'an HDUList, which may hold several: use {reader}'
    elif hasattr(value, 'fileinfo') and hasattr(value, 'header'):
        cure = f'a {type(value).__name__}: ' + {
            'data': "give CCDData(hdu.data, unit='adu', meta=hdu.header)",
            'catalog': 'give QTable.read(hdu)',
            'array': 'give hdu.data'}[kind]
    else:
        return
    msg = f'{name} must be {wanted}, got {cure}'
    raise TypeError(msg)
