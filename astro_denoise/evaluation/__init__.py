# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Scores of maps, catalogs, parameters and posteriors of simulated images.

Scores are a `~astropy.table.QTable` whose ``meta`` holds what was scored,
``version`` and ``date``; a score that is not defined is NaN, and values that
are masked or not finite are refused. ``plot_`` functions draw them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    'catalogs': ['ideal_snr', 'match_sources'],
    'maps': [
        'SegmentationScores', 'average_precision', 'brightest_pixels',
        'reliability', 'roc_auc', 'scan_thresholds', 'score_segmentation'],
    'parameters': ['parameter_errors', 'scale_parameters'],
    'plots': [
        'plot_auc_histogram', 'plot_coverage', 'plot_image_panels',
        'plot_parameters', 'plot_ranks', 'plot_reliability', 'plot_tarp',
        'plot_thresholds', 'plot_training_log'],
    'posteriors': ['expected_coverage', 'rank_statistics', 'tarp_coverage'],
})
