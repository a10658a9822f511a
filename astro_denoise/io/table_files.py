# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tables in files whose kind is told by the ending of their name.
"""

import json
from pathlib import Path

import numpy as np

from ..exceptions import needs_extra
from .output import atomic_output, check_output

__all__ = ['TABLE_ENDINGS', 'check_table_output', 'write_table']

_FORMATS = {'.ecsv': 'ascii.ecsv', '.csv': 'ascii.csv', '.fits': 'fits',
            '.fit': 'fits', '.parquet': 'parquet'}

# Endings of the names of tables that can be written.
TABLE_ENDINGS = tuple(_FORMATS)


def write_table(table, path, *, overwrite=False):
    """
    Write a table to a file, completely or not at all.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table.

    path : str or path-like
        The file to make. Its name ends in ``.ecsv``, ``.csv``, ``.fits``,
        ``.fit`` or ``.parquet``, which tells the kind. Only ``.ecsv`` holds
        all that there is; in the others a column of positions on the sky is
        the two columns ``ra`` and ``dec`` (ICRS, in degrees), ``.csv`` has
        neither units nor metadata, and those of ``.fits`` are comments.

    overwrite : bool, optional
        Whether to replace an existing file.

    Raises
    ------
    ValueError
        If the name has another ending.

    ModuleNotFoundError
        If a Parquet file is written without ``pyarrow`` and ``pandas``.

    FileExistsError
        If the file exists and ``overwrite`` is `False`.

    OSError
        If the file cannot be written; the error names it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy.table import QTable
    >>> from astro_denoise.io import write_table
    >>> from astro_denoise.photometry import read_table
    >>> table = QTable({'ref_id': [1, 2], 'flux': [10.5, 3.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / 'fluxes.fits'
    ...     write_table(table, path)
    ...     print(read_table(path)['flux'][0])
    10.5
    """
    check_table_output(path, overwrite=overwrite)
    kind = _FORMATS[Path(path).suffix.lower()]
    if kind != 'ascii.ecsv':
        table = flat_table(table)
    if kind == 'fits':
        table.meta = {'comments': [
            f'{name} = {json.dumps(value, default=str)}'
            for name, value in table.meta.items()]}
    elif kind == 'ascii.csv':
        table.meta = {}
    with atomic_output(path, overwrite=overwrite) as temporary:
        table.write(temporary, format=kind)


def check_table_output(path, *, overwrite=False, name='path'):
    """
    Refuse the name of a table that cannot or must not be written.

    Parameters and errors are those of `write_table`.
    """
    check_output(path, overwrite=overwrite, name=name, endings=TABLE_ENDINGS)
    if Path(path).suffix.lower() == '.parquet':
        with needs_extra('parquet', f'to write {str(path)!r}'):
            import pandas as pd  # noqa: F401
            import pyarrow as pa  # noqa: F401


def flat_table(table):
    """
    Return a copy of a table that every kind of file can hold.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table.

    Returns
    -------
    flat : `~astropy.table.QTable`
        The same with ``ra`` and ``dec`` in the place of a column of
        positions on the sky, and text in the place of other objects.
    """
    # Commands that write no table need not wait for them.
    from astropy.coordinates import SkyCoord
    from astropy.table import QTable

    flat = QTable(meta=dict(table.meta))
    for name in table.colnames:
        column = table[name]
        if isinstance(column, SkyCoord):
            flat['ra'], flat['dec'] = column.icrs.ra, column.icrs.dec
        elif getattr(column, 'dtype', None) == np.dtype(object):
            flat[name] = [str(value) for value in column]
        else:
            flat[name] = column
    return flat
