# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Do the fluxes survive?
======================

The same sources are measured on two real exposures, before and after
denoising. A denoiser that keeps flux leaves their fluxes where they were,
and what varies between the exposures becomes no smaller than it may.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import mad_std
from astropy.table import QTable
from photutils.detection import DAOStarFinder

from astro_denoise import denoise
from astro_denoise.data.examples import load_example_pair
from astro_denoise.photometry.apertures import annulus_photometry
from astro_denoise.photometry.plots import plot_apertures, plot_repeatability
from astro_denoise.photometry.repeatability import check_repeatability

# %%
# Two exposures of ESO 085-030, aligned to one another, and both denoised.

raw = load_example_pair()
denoised = [denoise(ccd) for ccd in raw]

# %%
# Sources are found on the sum of the two, so that the noise of neither has
# more of a part in the choice; those in the galaxy are left out. Magnitudes
# of that sum sort them into bins.

total = sum(ccd.data.astype(float) for ccd in raw)
total -= np.median(total)
fwhm = denoised[0].header['DNFWHM']
galaxy = np.zeros(total.shape, bool)
galaxy[95:200, 125:215] = True
found = DAOStarFinder(4 * mad_std(total), fwhm)(total, mask=galaxy)
catalog = QTable({'ref_id': found['id'], 'aperture_x': found['x_centroid'],
                  'aperture_y': found['y_centroid'], 'mag': found['mag']})
catalog['aperture_a'] = catalog['aperture_b'] = 0.72 * fwhm
catalog['aperture_theta'] = 0.0

# %%
# All frames are measured in the same way. Errors come from the raw ones:
# neighboring pixels of a denoised frame share their noise, and its scatter
# says nothing about sums. The gain is that of a sky with photon noise alone.


def measure(ccd, gain):
    """Fluxes in all apertures."""
    table = annulus_photometry(ccd, catalog, gain=gain, saturation=60000)
    table['mag'] = catalog['mag']
    return table


gains = [np.median(ccd.data) / mad_std(ccd.data)**2 for ccd in raw]
before = [measure(*pair) for pair in zip(raw, gains, strict=True)]
after = [measure(*pair) for pair in zip(denoised, gains, strict=True)]

# %%
# One zero point for both kinds, since the exposures differ in transparency.

bright = before[0]['flux'] > 30 * before[0]['flux_error']
ratio = float(np.nanmedian((before[0]['flux'] / before[1]['flux'])[bright]))
good = (before[0]['flag'] == 0) & (before[1]['flag'] == 0)
for table, reference in zip([*before, *after], 2 * before, strict=True):
    table['flux_error'] = reference['flux_error']
    table['zp'] = ratio if reference is before[1] else 1.0

# %%
# Where the sources are, and nine of them from bright to faint.

shown = catalog.copy()
for name in ('flux', 'flux_error', 'flag'):
    shown[name] = before[0][name]
plot_apertures(denoised[0], shown,
               figure=plt.figure(figsize=(14, 7.5), layout='constrained'))
plt.show()

# %%
# The fluxes before and after, and the check. Only with a response near 1,
# at which the flux is still there, does a smaller width mean anything.

report = check_repeatability([table[good] for table in after],
                             [table[good] for table in before],
                             column='mag', bins=3, seed=1)
print(report)
plot_repeatability(report,
                   figure=plt.figure(figsize=(13, 4), layout='constrained'))
plt.show()
