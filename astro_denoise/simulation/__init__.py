# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulated exposures with known truth.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'artefacts': ['bad_columns', 'cosmic_rays', 'saturate'],
    'galactic_center': ['GalacticCenterSimulator'],
    'image_noise': [
        'IMAGE_NOISES', 'add_gaussian_noise', 'add_image_noise',
        'add_masked_noise', 'add_poisson_noise', 'add_saltpepper_noise'],
    'profiles': [
        'moffat_image', 'render_sources', 'sersic_b', 'sersic_profile'],
    'survey': ['SurveySimulator'],
})
