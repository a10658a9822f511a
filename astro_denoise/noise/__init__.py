# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure the noise, the background and the seeing of a plane.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'gain': ['resolve_gain'],
    'measurement': ['Measurement', 'measure_plane'],
    'model': [
        'NoiseModel', 'estimate_background', 'estimate_gain',
        'estimate_noise_level', 'noise_model'],
    'photon_map': ['photon_noise_map'],
    'seeing': ['estimate_fwhm'],
})
