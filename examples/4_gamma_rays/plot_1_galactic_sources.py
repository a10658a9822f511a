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
# model learns where it looks. ``galactic-sky`` has learned from skies whose
# point-spread function, exposure and diffuse emission differ as real ones may.

image = load_fermi_map()
sources = segment_point_sources(image, 'galactic-sky')
print(sources)

# %%
# The catalog holds the sources that stand out, each with its probability.

found = sources.catalog.copy()
found.sort('snr', reverse=True)
found['l'] = found['sky_centroid'].l.wrap_at('180d')
found['b'] = found['sky_centroid'].b
for name in ('l', 'b', 'flux', 'flux_error', 'snr'):
    found[name].info.format = '.1f'
found['probability'].info.format = '.2f'
found['l', 'b', 'probability', 'flux', 'flux_error', 'snr'][:8].pprint()

# %%
# The counts with these sources, and the probability that one is in a pixel.
# In the brightest part of the plane thin layers of gas look like rows of
# sources, of which the model is hardly ever sure.

figure = plt.figure(figsize=(11, 4.6), layout='constrained')
left, right = (figure.add_subplot(1, 2, number, projection=image.wcs)
               for number in (1, 2))
left.imshow(image.data, origin='lower', cmap='gray_r',
            norm=simple_norm(image.data, 'asinh', asinh_a=0.01, percent=99.8))
left.scatter(found['x_centroid'], found['y_centroid'], s=60,
             facecolors='none', edgecolors='tab:red')
left.set_title(f'counts, and {len(found)} sources')
shown = right.imshow(sources.probability.data, origin='lower', vmin=0,
                     vmax=1)
right.set_title('probability of a source')
figure.colorbar(shown, ax=right, label='probability')
for axes in (left, right):
    axes.set(xlabel='Galactic longitude', ylabel='Galactic latitude')
plt.show()
