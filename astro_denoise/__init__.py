# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise astronomical images without losing flux.

The names below are loaded when they are first used, so that importing
the package is quick and brings in neither torch nor matplotlib.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version(__name__)
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = '0+unknown'

# Public name -> the module that defines it.
_EXPORTS = {
    'denoise': 'denoising',
    'estimate_parameters': 'estimation',
    'list_models': 'models',
    'load_model': 'models',
    'segment_point_sources': 'segmentation',
    'train_denoiser': 'training.denoiser',
}

__all__ = list(_EXPORTS)


def __getattr__(name):
    if name not in _EXPORTS:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    value = getattr(import_module(f'{__name__}.{_EXPORTS[name]}'), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__():
    return [*__all__, '__version__']
