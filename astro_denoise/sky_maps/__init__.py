# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of the sky on other grids.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'healpix': ['healpix_to_image'],
    'healpix_files': ['HealpixMap', 'read_healpix'],
})
