# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise with a catalog of the sources
=====================================

Where the sources of a frame are known, their light is kept and the sky
between them becomes smooth. Here the catalog comes from another exposure of
the field, as that of a survey comes from a deeper one.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import mad_std
from astropy.visualization import AsinhStretch, ImageNormalize
from photutils.detection import DAOStarFinder

from astro_denoise import denoise
from astro_denoise.data import load_example_pair
from astro_denoise.photometry import (
    annulus_photometry,
    denoised_flux_error,
    with_apertures,
)

# %%
# Sources are found on the first exposure of ESO 085-030, denoised: the second
# one has no part in the choice.

first, second = load_example_pair()
smooth = denoise(first, 'ccd-mmse')
sky = np.median(smooth.data)
finder = DAOStarFinder(0.7 * smooth.header['DNSIGMA'],
                       smooth.header['DNFWHM'])
catalog = finder(smooth.data - sky)['x_centroid', 'y_centroid']
print(f'{len(catalog)} sources')

# %%
# The second exposure without a catalog, by both models, and with it.

results = {'raw': second, 'ccd': denoise(second),
           'ccd-mmse': denoise(second, 'ccd-mmse'),
           'ccd, catalog': denoise(second, catalog=catalog)}
blank = results['ccd, catalog'].flags == 0
for name, result in results.items():
    print(f'{name:14s} scatter of the sky '
          f'{mad_std(result.data[blank]):6.1f} {result.unit}')

# %%
# A piece with faint sources; the footprints are outlined in the last one.

window = np.s_[260:420, 40:200]
norm = ImageNormalize(vmin=sky - 60, vmax=sky + 400, stretch=AsinhStretch(0.2))
figure, axes = plt.subplots(2, 2, figsize=(8, 8.4), layout='constrained')
for axis, (name, result) in zip(axes.flat, results.items(), strict=True):
    axis.imshow(result.data[window], norm=norm, cmap='gray', origin='lower')
    axis.set(title=name, xticks=[], yticks=[])
axes[1, 1].contour(results['ccd, catalog'].flags[window], [0.5],
                   colors='tab:orange', linewidths=0.7)

# %%
# Fluxes in the footprints are those of ``ccd``, and so are their errors.

apertures = with_apertures(catalog, second, radius_fwhm=0.72)
fluxes = {name: annulus_photometry(result, apertures, r_in=15, r_out=25,
                                   error=1.0 * result.unit)['flux'].value
          for name, result in results.items()}
errors = denoised_flux_error(results['ccd, catalog'], apertures,
                             annulus=(15, 25)).value
snr = fluxes['raw'] / errors
faint = (snr > 2) & (snr < 30)
figure, axis = plt.subplots(figsize=(6, 4), layout='constrained')
for name in ('ccd-mmse', 'ccd, catalog'):
    axis.plot(snr[faint], ((fluxes[name] - fluxes['raw']) / errors)[faint],
              '.', label=name)
axis.axhline(0, color='0.6', lw=1)
axis.set(xscale='log', xlabel='flux of the raw frame / error',
         ylabel='(denoised - raw flux) / error', ylim=(-8, 8))
axis.legend()
plt.show()
