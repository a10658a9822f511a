# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Networks and the registry of trained models.
"""

from .registry import Model, list_models, load_model

__all__ = ['Model', 'list_models', 'load_model']
