# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Dark matter or point sources?
=============================

Around the Galactic Center, dark matter and point sources too faint to be
seen have one and the same profile. What an image says about them is a
joint posterior, in which one may stand for the other.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from astro_denoise import estimate_parameters
from astro_denoise.data.examples import load_fermi_map
from astro_denoise.estimation.plots import plot_posterior
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator

# %%
# A simulated image, of which the truth is known.

images, truth, _ = GalacticCenterSimulator().sample(100, seed=3)
table = estimate_parameters(images, n_samples=500, seed=1)
for name in ('a_dm', 'a_dm_q16', 'a_dm_q84', 'n_ps_gc'):
    table[name].info.format = '.2f'
print(table['a_dm', 'a_dm_q16', 'a_dm_q84', 'n_ps_gc', 'ood_flag'][:3])

# %%
# Its posterior, from more samples; lines are the truth.

_, samples = estimate_parameters(images[0], n_samples=10000,
                                 return_samples=True, seed=1)
plot_posterior(samples[0], names=['a_dm', 'n_ps_gc', 'n_ps_disk'],
               truth=dict(truth[0]), figure=plt.figure(figsize=(6.5, 6.5)))
plt.show()

# %%
# Are the error bars right? Over many images, 68 per cent of the truths
# should lie within them.

inside = ((table['a_dm_q16'] <= truth['a_dm'])
          & (truth['a_dm'] <= table['a_dm_q84']))
print(f'{100 * inside.mean():.0f} per cent within 16-84')

figure, axes = plt.subplots(figsize=(5, 4.4), layout='constrained')
axes.errorbar(truth['a_dm'], table['a_dm'],
              [table['a_dm'] - table['a_dm_q16'],
               table['a_dm_q84'] - table['a_dm']],
              fmt='.', color='tab:blue', ecolor='0.8')
axes.plot([0, 1], [0, 1], color='black', linewidth=1)
axes.set(xlabel='true dark matter', ylabel='median of the posterior')
plt.show()

# %%
# The real sky is unlike the simulator's: the model says so, and its
# posterior is not to be believed. The score would be about 1 for an image
# like those it was trained on.

with warnings.catch_warnings():
    warnings.simplefilter('ignore', UnusualImageWarning)
    real = estimate_parameters(load_fermi_map(), seed=1)
print(f'ood_score {real["ood_score"][0]:.1f}, above '
      f'{real.meta["ood_threshold"]:.2f}: {real["ood_flag"][0]}')

# %%
# Simulated images for comparison.

print(f'simulated: {np.median(table["ood_score"]):.2f}, at most '
      f'{table["ood_score"].max():.2f}')
