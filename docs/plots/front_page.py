# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A real frame, a Gaussian filter, and two ways to denoise it.

The catalog is of the other exposure of the field.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from astropy.convolution import Gaussian2DKernel, convolve_fft
from astropy.stats import mad_std, sigma_clipped_stats
from photutils.background import Background2D
from photutils.detection import DAOStarFinder

from astro_denoise import denoise
from astro_denoise.data.examples import load_example_pair

other, frame = load_example_pair()
_, sky, noise = sigma_clipped_stats(other.data)
sources = DAOStarFinder(4.0 * noise, 3.5)(other.data - sky)
denoised = denoise(frame)
with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of saturated stars
    guided = denoise(frame, catalog=sources['x_centroid', 'y_centroid'])
smooth = convolve_fft(frame.data.astype(float), Gaussian2DKernel(1.2))

window = np.s_[100:230, 90:220]
_, sky, _ = sigma_clipped_stats(frame.data)
noise = denoised.header['DNSIGMA']
background = Background2D(frame.data, 32).background
blank = abs(denoised.data - background) < noise
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout='constrained')
for axis, title, image in (
        (axes[0], 'frame', frame.data), (axes[1], 'Gaussian filter', smooth),
        (axes[2], 'denoise(frame)', denoised.data),
        (axes[3], 'with a catalog', guided.data)):
    axis.imshow(image[window], origin='lower', cmap='gray',
                vmin=sky - 2 * noise, vmax=sky + 6 * noise)
    share = mad_std((image - background)[blank]) / noise
    axis.set_title(f'{title}\nsky noise {share:.2f}', fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])
axes[0].plot([6, 36], [6, 6], color='white', lw=2)
axes[0].text(6, 9, '30 pixels', color='white', fontsize=8)
