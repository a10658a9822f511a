# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise2Void on one's own frames
==============================

A network can learn from noisy frames alone: it predicts each pixel from
those around it, which share its sky and not its noise. Here that is done
for half a minute, and then looked at for what it does to flux.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import mad_std
from astropy.visualization import simple_norm
from photutils.aperture import CircularAperture
from photutils.detection import DAOStarFinder

from astro_denoise import denoise, train_denoiser
from astro_denoise.data.examples import load_example_pair
from astro_denoise.photometry.apertures import annulus_photometry

# %%
# The two exposures of ESO 085-030 that come with the package are all there
# is to learn from. A real training takes a quarter of an hour and more
# frames; three epochs of 100 steps are enough to see it at work.

frames = load_example_pair()
model = train_denoiser(frames, 'noise2void', epochs=3, n_patches=4, seed=1,
                       progress_bar=False)
training = model.metadata['training']
print(f'{training["n_steps"]} steps, held-out squared error '
      f'{model.metadata["figures"]["score"]:.3f} of that of the frame')

# %%
# The model is used like any other. ``model.save('survey.safetensors')``
# would keep it for later, and for machines without the frames.

first = frames[0]
ours = denoise(first, model)
shipped = denoise(first)

# %%
# Noise2Void looks best, since it leaves no noise where it sees nothing.

corner = (slice(300, 400), slice(120, 220))
norm = simple_norm(first.data[corner], 'asinh', percent=99)
figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), layout='constrained')
for ax, plane, title in zip(
        axes, (first.data, ours.data, shipped.data),
        ('raw', 'noise2void', 'ccd'), strict=True):
    ax.imshow(plane[corner], origin='lower', norm=norm, cmap='gray')
    ax.set(title=title, xlabel='x [pixel]', ylabel='y [pixel]')
    ax.label_outer()
plt.show()

# %%
# But a source that it does not see is noise to it. Sources are found, and
# sorted by their flux, on the second exposure; they are measured on the
# first, whose noise has no part in the choice. What is missing from the
# faint ones was taken away.

second = frames[1].data - np.median(frames[1].data)
found = DAOStarFinder(3 * mad_std(second), shipped.header['DNFWHM'])(second)
found.sort('flux')
faint = found[:len(found) // 2]
apertures = CircularAperture(
    np.transpose([faint['x_centroid'], faint['y_centroid']]), 2.0)
error = np.full(first.shape, shipped.header['DNSIGMA']) * first.unit
fluxes = [annulus_photometry(ccd, apertures, error=error)['flux']
          for ccd in (first, ours, shipped)]
for name, flux in zip(('noise2void', 'ccd'), fluxes[1:], strict=True):
    ratio = np.nansum(flux) / np.nansum(fluxes[0])
    print(f'{name}: {ratio:.2f} of the flux of the fainter half')
