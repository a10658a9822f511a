# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How good answers about simulated images are: scores of point-source maps,
of catalogues and of parameters, calibration of posteriors, and figures.
"""

from .calibration import expected_coverage, rank_statistics, tarp_coverage
from .catalogs import ideal_snr, match_sources
from .estimation import parameter_errors, scale_parameters
from .plots import (
    plot_auc_histogram,
    plot_coverage,
    plot_image_panels,
    plot_parameters,
    plot_ranks,
    plot_reliability,
    plot_tarp,
    plot_thresholds,
    plot_training_log,
)
from .segmentation import (
    SegmentationScores,
    average_precision,
    brightest_pixels,
    reliability,
    roc_auc,
    scan_thresholds,
    score_segmentation,
)

__all__ = ['SegmentationScores', 'average_precision', 'brightest_pixels',
           'expected_coverage', 'ideal_snr', 'match_sources',
           'parameter_errors', 'plot_auc_histogram', 'plot_coverage',
           'plot_image_panels', 'plot_parameters', 'plot_ranks',
           'plot_reliability', 'plot_tarp', 'plot_thresholds',
           'plot_training_log', 'rank_statistics', 'reliability', 'roc_auc',
           'scale_parameters', 'scan_thresholds', 'score_segmentation',
           'tarp_coverage']
