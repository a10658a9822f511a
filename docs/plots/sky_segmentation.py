# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point sources of simulated images: AUC of each, cut values, reliability.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from astro_denoise import evaluation, segment_point_sources
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation import GalacticCenterSimulator

images, _, sources = GalacticCenterSimulator('legacy').sample(100, seed=2024)
flux = sources['gc'] + sources['disk']
maps = {'raw counts': images}
for name in ('unet-paper', 'galactic-center'):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UnusualImageWarning)  # one in 200
        found = segment_point_sources(images, name)
    maps[name] = np.stack([each.probability for each in found])

# Approach A, all sources, then B, the 250 brightest pixels.
for options in ({}, {'approach': 'B', 'n_brightest': 250}):
    scores = [evaluation.score_segmentation(map_, flux, **options)
              for map_ in maps.values()]
    figure = plt.figure(figsize=(9, 3), layout='constrained')
    figure.suptitle(f'approach {options.get("approach", "A")}: '
                    + ', '.join(maps))
    evaluation.plot_auc_histogram(*scores, figure=figure)

_, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout='constrained')
for ax, name in zip(axes, ('unet-paper', 'galactic-center'), strict=True):
    evaluation.plot_thresholds(evaluation.scan_thresholds(
        maps[name], flux), ax=ax)
    ax.set_title(name)
for name in ('unet-paper', 'galactic-center'):
    figure = plt.figure(figsize=(4.5, 4.5), layout='constrained')
    figure.suptitle(name)
    evaluation.plot_reliability(evaluation.reliability(
        maps[name], flux > 0), figure=figure)
