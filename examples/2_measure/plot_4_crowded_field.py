# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A crowded field: find the stars, fit all of them
================================================

In a crowd, apertures hold the light of the neighbors, and no denoising takes
it out. This example finds the stars of a simulated field, fits all of them at
once on the raw frame, and compares the fluxes with the true ones. The denoised
frame is for the eye.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import CCDData
from astropy.table import QTable
from photutils.aperture import CircularAperture, aperture_photometry
from scipy.spatial import cKDTree

from astro_denoise import denoise, segment_point_sources
from astro_denoise.photometry import forced_photometry
from astro_denoise.simulation import moffat_image, render_sources

# %%
# 900 stars on 192 x 192 pixels with a FWHM of 3 pixels: one in 41 pixels.

rng = np.random.default_rng(11)
size, n, fwhm, sky, read_noise = 192, 900, 3.0, 150.0, 5.0
flux = 600.0 * 10.0**rng.exponential(0.45, n)
x, y = rng.uniform(0, size, (2, n))
electrons = sky + render_sources((size, size), {'x': x, 'y': y, 'flux': flux},
                                 fwhm, 3.5)
frame = CCDData(rng.poisson(electrons)
                + read_noise * rng.standard_normal(electrons.shape),
                unit='electron')

# %%
# The stars that ``ccd-sources`` finds. Its catalog has fluxes, of all of them
# and the background at once, for a profile as wide as the stars. Where the
# point-spread function is known, ``forced_photometry`` does the same with it;
# ``max_correlation`` tells how far a flux and that of a neighbor cannot be
# told apart.

sources = segment_point_sources(frame, 'ccd-sources', gain=1,
                                read_noise=read_noise)
found = sources.catalog
psf = moffat_image(31, fwhm, 3.5)
fluxes = forced_photometry(frame, QTable({
    'x_centroid': found['x_centroid'], 'y_centroid': found['y_centroid']}),
    psf, gain=1)
print(f'{n} stars, {len(found)} found')

# %%
# Fluxes in circles of one FWHM, on the raw frame and on the denoised one, with
# the light outside of the circle put right, as one would do it without
# crowding.

place = np.stack([found['x_centroid'], found['y_centroid']], 1)
circles = CircularAperture(place, fwhm)
share = aperture_photometry(psf, CircularAperture((15, 15), fwhm))[
    'aperture_sum'][0] / psf.sum()
denoised = denoise(frame, gain=1, read_noise=read_noise)
level = np.percentile(frame.data, 20)


def in_circles(image):
    """Fluxes above a constant sky."""
    table = aperture_photometry(np.asarray(image) - level, circles)
    return np.asarray(table['aperture_sum']) / share


measured = {'circles, raw': in_circles(frame.data),
            'circles, denoised': in_circles(denoised.data),
            'catalog': np.asarray(found['flux']),
            'all at once, raw': np.asarray(fluxes['flux'])}

# %%
# Each found star beside the true one that is nearest. The numbers are the
# median of measured over true flux, and half the width of the central
# 68 per cent, in two ranges of true flux.

distance, number = cKDTree(np.stack([x, y], 1)).query(place)
near = distance < 1.0
true = flux[number]
print(f'{"":18s}' + ''.join(f'{label:>22s}' for label in (
    '600-2000 electrons', '> 2000 electrons')))
for name, values in measured.items():
    print(f'{name:18s}', end='')
    for low, high in ((600, 2000), (2000, 1e9)):
        ratio = (values / true)[near & (true > low) & (true < high)]
        quantiles = np.percentile(ratio, [16, 50, 84])
        print(f'{quantiles[1]:14.2f} ± '
              f'{(quantiles[2] - quantiles[0]) / 2:5.2f}', end='')
    print()

# %%
# Circles count the neighbors as well, on either frame: denoising keeps the
# light, that of the neighbors too. The fit tells them apart. What is left of
# its scatter for faint stars is noise and stars that were not found: of two
# stars within a pixel, it measures one. ``blend_inflation`` says by how much
# the neighbors enlarge the error of each flux.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.7), layout='constrained')
limits = {'vmin': level - 40, 'vmax': level + 600}
for ax, (name, image) in zip(axes, {'frame': frame.data,
                                    'denoise': denoised.data}.items(),
                             strict=False):
    ax.imshow(image[40:120, 40:120], origin='lower', cmap='gray_r',
              extent=(39.5, 119.5, 39.5, 119.5), **limits)
    ax.set(title=name, xticks=[], yticks=[])
axes[1].plot(*place.T, 'o', mfc='none', mec='tab:red', ms=5, mew=0.8)
axes[1].set(xlim=(39.5, 119.5), ylim=(39.5, 119.5))
for name in ('circles, denoised', 'all at once, raw'):
    axes[2].loglog(true[near], np.maximum(measured[name][near], 50), '.',
                   ms=3, label=name)
axes[2].plot([300, 1e5], [300, 1e5], color='0.5', lw=1)
axes[2].set(xlabel='true flux [electron]', ylabel='measured [electron]')
axes[2].legend(fontsize=8)
