# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Record what made a table.
"""

from datetime import UTC, datetime
from importlib.metadata import version

from .. import __version__

__all__ = ['table_meta']


def table_meta():
    """
    Return the ``meta`` common to all tables of the package.

    Returns
    -------
    meta : dict
        The ``version`` of each package that took part, and the ``date``.
    """
    versions = {package: version(package)
                for package in ('astropy', 'photutils', 'numpy')}
    versions['astro_denoise'] = __version__
    return {'version': versions,
            'date': datetime.now(UTC).strftime('%Y-%m-%d %H:%M:%S UTC')}
