# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulated exposures with known truth.
"""

from .artefacts import bad_columns, cosmic_rays, saturate
from .profiles import moffat_image, render_sources, sersic_b, sersic_profile
from .survey import SurveySimulator

__all__ = ['SurveySimulator', 'bad_columns', 'cosmic_rays', 'moffat_image',
           'render_sources', 'saturate', 'sersic_b', 'sersic_profile']
