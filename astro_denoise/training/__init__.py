# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train models: on frames of your own, or those that ship anew.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'denoiser': ['train_denoiser'],
    'methods': ['Method', 'MethodOptions'],
    'recipes.shipped': ['train_shipped'],
})
