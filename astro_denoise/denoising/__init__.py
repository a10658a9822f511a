# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise frames, and show what denoising did.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'core': ['denoise'],
    'image_noises': ['classify_noise'],
    'plots': ['plot_denoised', 'plot_profile'],
})
