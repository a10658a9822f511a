# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Photometry on raw and denoised frames, and the checks of its honesty.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'aperture_columns': ['with_apertures'],
    'apertures': ['ApertureFlag', 'annulus_photometry'],
    'calibration': [
        'bootstrap_error', 'calibrate_flux', 'normalized_difference',
        'sigma68'],
    'denoised_errors': ['denoised_flux_error'],
    'forced': ['ForcedFlag', 'forced_photometry'],
    'injection': ['measure_response'],
    'light_fraction': ['light_fraction_apertures'],
    'plots': [
        'plot_apertures', 'plot_differences', 'plot_repeatability',
        'plot_response', 'plot_sigma68'],
    'profile': ['profile_photometry'],
    'recalibration': ['recalibrate_errors'],
    'repeatability': ['RepeatabilityReport', 'check_repeatability'],
    'response': ['flux_response', 'pair_response'],
    'tables': ['read_table'],
})
