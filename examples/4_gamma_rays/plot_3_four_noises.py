# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Four noises and five networks
=============================

Images of gamma rays, spoiled in four ways: an autoencoder for each kind of
noise, and one network, ``gc-mixed``, for them all, which is not told what it
has before it.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm
from scipy.ndimage import median_filter

from astro_denoise import denoise
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator
from astro_denoise.simulation.image_noise import IMAGE_NOISES, add_image_noise

# %%
# Simulated counts around the Galactic Center, each image divided by its
# maximum, and the noises, in the amounts of the document that the
# autoencoders are from.

counts, _, _ = GalacticCenterSimulator('legacy').sample(40, seed=8)
truth = (counts / counts.max((1, 2), keepdims=True)).astype(np.float32)
noisy = {kind: add_image_noise(truth, kind, seed=1) for kind in IMAGE_NOISES}
for kind, amount in IMAGE_NOISES.items():
    print(f'{kind}: {amount}')

# %%
# What comes out, and for comparison what a median filter makes of it.

restored = {kind: {
    'noisy': images,
    'median filter': median_filter(images, (1, 3, 3)),
    f'gc-{kind}': denoise(images, f'gc-{kind}'),
    'gc-mixed': denoise(images, 'gc-mixed')}
    for kind, images in noisy.items()}

# %%
# The root of the mean squared error over all images, in units of their
# maximum.

for results in restored.values():
    errors = [f'{name} {np.sqrt(np.mean((images - truth)**2)):.4f}'
              for name, images in results.items()]
    print(', '.join(errors))

# %%
# One of the images. The colors of all panels are the same; they follow the
# square root, so that the faint outskirts can be seen.

number = 5
figure, axes = plt.subplots(4, 5, figsize=(11, 9.4), layout='compressed')
options = {'origin': 'lower', 'norm': PowerNorm(0.5, 0, 1),
           'cmap': 'inferno', 'extent': (-15, 15, -15, 15)}
for row, (kind, results) in zip(axes, restored.items(), strict=True):
    for ax, (name, images) in zip(row, {'truth': truth, **results}.items(),
                                  strict=True):
        shown = ax.imshow(images[number], **options)
        ax.set_title(kind if name == 'noisy' else name, size='medium')
        ax.set(xticks=(-10, 0, 10), yticks=(-10, 0, 10))
        ax.label_outer()
for ax in axes[-1]:
    ax.set_xlabel('longitude [deg]')
for ax in axes[:, 0]:
    ax.set_ylabel('latitude [deg]')
figure.colorbar(shown, ax=axes, label='counts / maximum', shrink=0.5)
plt.show()
