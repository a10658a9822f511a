# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Take plain arrays out of what the user gave, and put results back.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'inputs': ['Frame', 'FrameReader', 'PlaneReader', 'open_frame'],
    'results': ['FrameWriter', 'unpack'],
})
