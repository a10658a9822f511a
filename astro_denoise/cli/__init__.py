# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The command ``astro-denoise``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'main': ['main'],
})
