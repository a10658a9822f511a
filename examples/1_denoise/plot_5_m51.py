# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Structure everywhere: M51, and where denoising stops
====================================================

Most of this frame is galaxy. There is little sky that tells the noise, its
pixels share their noise, and spiral arms look like neither noise nor stars.
What can be had from such a frame, and what cannot, is told by warnings.
"""

import textwrap
import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter

from astro_denoise import denoise
from astro_denoise.data import load_m51

frame = load_m51()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    denoised = denoise(frame)
for each in caught:
    print(textwrap.fill(f'{each.category.__name__}: {each.message}', 76,
                        subsequent_indent='    '))

# %%
# All three are true here. The header has the same for later: noise that
# neighbors share, and its level in the sky between the arms.

for keyword in ('DNVERDCT', 'DNCORR', 'DNSIGMA'):
    print(f'{keyword:8s} {denoised.header[keyword]} '
          f'({denoised.header.comments[keyword]})')

# %%
# What was taken away, beside a Gaussian filter that leaves about as smooth an
# image. The filter takes the arms, the knots and the stars. ``denoise`` takes
# noise and no structure. In the even patches it took nothing: the noise
# there is not known well enough, so that less is taken away and the
# uncertainty stays that of the frame. The dark rows are faults of the detector
# and stay as well; a mask would keep them out.

noise = denoised.header['DNSIGMA']
smooth = gaussian_filter(frame.data.astype(np.float32), 1.2)
left = abs(frame.data - denoised.data) < 1e-3
print(f'pixels left as they were: {100 * left.mean():.0f} %')
low, high = np.percentile(frame.data, [2, 98])
figure, axes = plt.subplots(2, 3, figsize=(10, 6.6), layout='constrained')
for column, (name, image) in zip(axes.T, {
        'frame': frame.data, 'denoise': denoised.data,
        'Gaussian filter': smooth}.items(), strict=True):
    column[0].imshow(image, origin='lower', cmap='magma', vmin=low,
                     vmax=high)
    column[0].set_title(name)
    taken = column[1].imshow((frame.data - image) / noise, origin='lower',
                             cmap='RdBu_r', vmin=-4, vmax=4)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[1, 0].clear()
axes[1, 0].set_axis_off()
figure.colorbar(taken, cax=axes[1, 0].inset_axes([0.7, 0.05, 0.07, 0.9]),
                label='taken away, in units of the noise')
