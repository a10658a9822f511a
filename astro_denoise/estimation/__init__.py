# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Estimate parameters of the Galactic Center, as posteriors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'core': ['PARAMETER_NAMES', 'estimate_parameters'],
    'plots': ['plot_posterior', 'plot_predictive'],
    'prediction': ['PredictedImage', 'predict_image'],
})
