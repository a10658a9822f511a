# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise files: one, or many on processes and clusters.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'many_files': ['denoise_files'],
    'one_file': ['denoise_file'],
})
