# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Parameters of simulated images: true against predicted, ranks, coverage.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from astro_denoise import estimate_parameters, evaluation
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation import GalacticCenterSimulator

simulator = GalacticCenterSimulator('legacy')
images, truth, _ = simulator.sample(300, seed=2025)
with warnings.catch_warnings():
    warnings.simplefilter('ignore', UnusualImageWarning)  # one in 200
    table, samples = estimate_parameters(images, n_samples=500, seed=1,
                                         return_samples=True)
for name in ('cnn-dm-disk-gc', 'galactic-center'):
    figure = plt.figure(figsize=(9, 3.3), layout='constrained')
    figure.suptitle(name)
    evaluation.plot_parameters(
        table if name == 'galactic-center' else
        estimate_parameters(images, name), truth,
        ('a_dm', 'n_ps_disk', 'n_ps_gc'), figure=figure)

names = simulator.parameter_names
drawn, right = samples[..., :6], np.stack([truth[name] for name in names], 1)
evaluation.plot_ranks(
    evaluation.rank_statistics(drawn, right, names=names),
    figure=plt.figure(figsize=(9, 5), layout='constrained'))
_, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout='constrained')
evaluation.plot_coverage(evaluation.expected_coverage(drawn, right,
                                                      names=names),
                         ax=axes[0])
evaluation.plot_tarp(evaluation.tarp_coverage(
    drawn, right, bounds=simulator.bounds, n_repeats=20), ax=axes[1])
