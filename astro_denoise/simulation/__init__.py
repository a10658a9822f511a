# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulated exposures with known truth.
"""

from .artefacts import bad_columns, cosmic_rays, saturate
from .galactic_center import GalacticCenterSimulator
from .image_noise import (
    IMAGE_NOISES,
    add_gaussian_noise,
    add_image_noise,
    add_masked_noise,
    add_poisson_noise,
    add_saltpepper_noise,
)
from .profiles import moffat_image, render_sources, sersic_b, sersic_profile
from .survey import SurveySimulator

__all__ = ['GalacticCenterSimulator', 'IMAGE_NOISES', 'SurveySimulator',
           'add_gaussian_noise', 'add_image_noise', 'add_masked_noise',
           'add_poisson_noise', 'add_saltpepper_noise', 'bad_columns',
           'cosmic_rays', 'moffat_image', 'render_sources', 'saturate',
           'sersic_b', 'sersic_profile']
