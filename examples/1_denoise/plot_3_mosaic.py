# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A mosaic of denoised exposures
==============================

Dithered exposures are denoised one by one and then brought onto one grid
with `reproject <https://reproject.readthedocs.io>`_. The order matters:
resampled pixels share their noise, which is none that the models know.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import CCDData
from astropy.stats import mad_std
from reproject import reproject_interp
from reproject.mosaicking import (
    find_optimal_celestial_wcs,
    reproject_and_coadd,
)

from astro_denoise import denoise
from astro_denoise.denoising.plots import plot_denoised
from astro_denoise.simulation.survey import SurveySimulator

# %%
# Four exposures of a field, each shifted and with a seeing and a sky of its
# own. Gain and read noise are in their headers.

simulator = SurveySimulator((400, 500), density=500, psf_fwhm=(0.8, 1.1),
                            sky_rate=(1.5, 1.9), magnitude_range=(17, 23))
sources = simulator.catalog(seed=2)
exposures = []
for number, (dx, dy) in enumerate([(0, 0), (61.3, 22.6), (18.7, 70.1),
                                   (-40.2, 47.8)]):
    shifted = sources.copy()
    shifted['x_centroid'] -= dx
    shifted['y_centroid'] -= dy
    (ccd,), _ = simulator.exposures(1, seed=number, catalog=shifted)
    ccd.wcs.wcs.crpix -= dx, dy
    exposures.append(ccd)

denoised = [denoise(ccd, gain='GAIN', read_noise='RDNOISE')
            for ccd in exposures]

# %%
# The mosaics. Masked pixels are left out, and the levels of the sky are
# brought to one.


def coadd(frames):
    """Frames on one grid, and how many of them are in each pixel."""
    wcs, shape = find_optimal_celestial_wcs(
        [(ccd.shape, ccd.wcs) for ccd in frames])
    planes = [(np.where(ccd.mask, np.nan, ccd.data), ccd.wcs)
              for ccd in frames]
    mosaic, weight = reproject_and_coadd(
        planes, wcs, shape_out=shape, reproject_function=reproject_interp,
        match_background=True)
    return CCDData(mosaic, unit='adu', wcs=wcs, mask=weight == 0), weight


before, weight = coadd(exposures)
after, _ = coadd(denoised)

# %%
# Where exposures overlap there is less noise, and after denoising there is
# less everywhere.

noise = [[mad_std(mosaic.data[np.isclose(weight, n)])
          for mosaic in (before, after)] for n in (1, 2, 3, 4)]
for n, pair in enumerate(noise, 1):
    print(f'{n} exposures: noise {pair[0]:.1f} -> {pair[1]:.1f} adu')

# %%
# The whole field. Orange is where there is no exposure.

plot_denoised(before, after,
              uncertainty=noise[0][0] / np.sqrt(np.maximum(weight, 1)),
              figure=plt.figure(figsize=(12.6, 4.6), layout='compressed'))
plt.show()
