# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run networks over frames of any size, on any device.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'devices': ['Runtime', 'resolve_device', 'resolve_precision'],
    'engine': ['denoise_windows'],
    'images': ['denoise_images'],
    'point_sources': ['find_in_planes'],
    'shield': ['shielded'],
})
