# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Networks and the registry of trained models.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'onnx_export': ['export_onnx'],
    'registry': ['Model', 'list_models', 'load_model'],
})
