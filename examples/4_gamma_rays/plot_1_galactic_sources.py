# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point sources of the Galactic Center
====================================

The gamma rays that Fermi-LAT counted around the Galactic Center in 573
weeks: where are point sources among them?
"""

import matplotlib.pyplot as plt
from astropy.visualization import simple_norm

from astro_denoise import segment_point_sources
from astro_denoise.data.examples import load_fermi_map

# %%
# The map has counts, and a WCS in Galactic coordinates, from which the
# model learns where it looks.

image = load_fermi_map()
sources = segment_point_sources(image)
print(sources)

# %%
# The catalog holds everything down to sources that hardly stand out. For
# those that do, the signal-to-noise ratio is the thing to cut at.

bright = sources.catalog[sources.catalog['snr'] > 8]
bright.sort('snr', reverse=True)
bright['l'] = bright['sky_centroid'].l.wrap_at('180d')
bright['b'] = bright['sky_centroid'].b
for name in ('l', 'b', 'flux', 'flux_error', 'snr'):
    bright[name].info.format = '.1f'
bright['l', 'b', 'flux', 'flux_error', 'snr'][:8].pprint()

# %%
# The counts with these sources, and the probability of a source in each
# pixel. The model has learned from simulated skies in which the Galactic
# plane is full of faint sources: there the probability is high even where
# nothing can be seen.

figure = plt.figure(figsize=(11, 4.6), layout='constrained')
left, right = (figure.add_subplot(1, 2, number, projection=image.wcs)
               for number in (1, 2))
left.imshow(image.data, origin='lower', cmap='gray_r',
            norm=simple_norm(image.data, 'asinh', asinh_a=0.01, percent=99.8))
left.scatter(bright['x_centroid'], bright['y_centroid'], s=60,
             facecolors='none', edgecolors='tab:red')
left.set_title(f'counts, and {len(bright)} sources')
shown = right.imshow(sources.probability.data, origin='lower', vmin=0,
                     vmax=1)
right.set_title('probability of a source')
figure.colorbar(shown, ax=right, label='probability')
for axes in (left, right):
    axes.set(xlabel='Galactic longitude', ylabel='Galactic latitude')
plt.show()
