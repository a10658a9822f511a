# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Find point sources.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'core': ['PointSourceFinder', 'PointSources', 'segment_point_sources'],
    'plots': ['plot_sources'],
})
