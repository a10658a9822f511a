# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Data that come with the package: exposures, a gamma-ray map.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'examples': ['get_example_path', 'load_example_pair', 'load_fermi_map',
                 'load_m51'],
})
