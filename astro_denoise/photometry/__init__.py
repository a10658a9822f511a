# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Photometry on raw and denoised frames, and the checks of its honesty.
"""

from astro_denoise.photometry.apertures import ApertureFlag, annulus_photometry
from astro_denoise.photometry.calibration import (
    bootstrap_error,
    calibrate_flux,
    normalized_difference,
    sigma68,
)
from astro_denoise.photometry.injection import measure_response
from astro_denoise.photometry.light_fraction import light_fraction_apertures
from astro_denoise.photometry.profile import profile_photometry
from astro_denoise.photometry.recalibration import recalibrate_errors
from astro_denoise.photometry.repeatability import (
    RepeatabilityReport,
    check_repeatability,
)
from astro_denoise.photometry.response import flux_response, pair_response
from astro_denoise.photometry.tables import read_table

__all__ = ['ApertureFlag', 'RepeatabilityReport', 'annulus_photometry',
           'bootstrap_error', 'calibrate_flux', 'check_repeatability',
           'flux_response', 'light_fraction_apertures', 'measure_response',
           'normalized_difference', 'pair_response', 'profile_photometry',
           'read_table', 'recalibrate_errors', 'sigma68']
