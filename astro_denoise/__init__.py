# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise astronomical images without losing flux.

The names below are loaded when they are first used, so that importing
the package is quick and brings in neither torch nor matplotlib.
"""

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

try:
    __version__ = version(__name__)
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = '0+unknown'

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'denoising.core': ['denoise'],
    'estimation.core': ['estimate_parameters'],
    'models.registry': ['list_models', 'load_model'],
    'segmentation.core': ['segment_point_sources'],
    'training.denoiser': ['train_denoiser'],
})
