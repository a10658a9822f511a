# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Detecting faint sources
=======================

A crowded field with a known truth: what the matched filter of the raw frame
finds, what ``ccd-sources`` finds, and why a denoised frame is no help.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from astro_denoise import denoise, segment_point_sources
from astro_denoise.simulation import render_sources

# %%
# A field of 256x256 pixels with 1,600 stars, a FWHM of 3 pixels, and noise of
# photons and read-out.

rng = np.random.default_rng(4)
n, sky, read_noise, width = 1600, 200.0, 5.0, 3.0 / 2.3548
flux = 250.0 * 10.0**rng.exponential(0.5, n)
x, y = rng.uniform(0, 256, (2, n))
electrons = sky + render_sources((256, 256), {'x': x, 'y': y, 'flux': flux},
                                 3.0, 3.5)
frame = CCDData(rng.poisson(electrons)
                + read_noise * rng.standard_normal(electrons.shape),
                unit='electron')
noise = np.sqrt(sky + read_noise**2)
true = np.stack([x, y], 1)[flux > 2.0 * noise * np.sqrt(4 * np.pi) * width]

# %%
# The matched filter: local maxima above four times its noise. In a crowd the
# sky is no constant, so that a wide filter is taken away.


def matched_filter(values, sigma=noise):
    """Maxima of a filter above four sigma, x and y."""
    height = ((gaussian_filter(values, width)
               - gaussian_filter(values, 2.5 * width))
              * np.sqrt(4 * np.pi) * width / sigma)
    found = (height == maximum_filter(height, 3)) & (height > 4.0)
    return np.argwhere(found)[:, ::-1]


def score(found):
    """How many of the true sources are found, and how many rows are true."""
    near = cKDTree(true).query(found)[0] < 1.5
    return near.sum(), len(found), near.mean()


sources = segment_point_sources(frame, 'ccd-sources', read_noise=read_noise)
ours = np.stack([sources.catalog[name]
                 for name in ('x_centroid', 'y_centroid')], 1)
lists = {'matched filter, raw': matched_filter(frame.data),
         'ccd-sources': ours}

# %%
# The naive recipe: the same threshold in units of the raw noise, on a denoised
# frame. Its noise is another one in each place, so that "four sigma" means
# nothing, and the filter makes the beam wider a second time.

for model in ('ccd', 'ccd-mmse'):
    clean = denoise(frame, model, read_noise=read_noise)
    lists[f'matched filter, {model}'] = matched_filter(clean.data)
for name, found in lists.items():
    print('{:26s} {:4d} true of {:4d} rows, purity {:.2f}'.format(
        name, *score(found)))

# %%
# A corner of the field: true sources as circles, found ones as crosses.

fig, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout='constrained')
for ax, name in zip(axes, ('matched filter, raw', 'ccd-sources'),
                    strict=True):
    ax.imshow(frame.data, origin='lower', cmap='gray_r',
              vmin=sky - 2 * noise, vmax=sky + 20 * noise)
    ax.plot(*true.T, 'o', mfc='none', mec='tab:blue', ms=8)
    ax.plot(*lists[name].T, 'x', color='tab:red', ms=5)
    ax.set(xlim=(20, 80), ylim=(20, 80), title=name, xlabel='x / pixel')
axes[0].set_ylabel('y / pixel')
plt.show()
