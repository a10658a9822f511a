# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Read images of FITS files, and write outputs whole or not at all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'fits_images': ['read_image'],
    'output': ['atomic_output', 'check_output'],
    'table_files': ['write_table'],
})
