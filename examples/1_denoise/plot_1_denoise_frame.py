# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise a real frame
====================

One call denoises a frame and says how sure it is of each pixel. A second
exposure of the same sky, which the network has not seen, tells whether
that is true.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import mad_std
from astropy.visualization import simple_norm

from astro_denoise import denoise
from astro_denoise.data.examples import load_example_pair
from astro_denoise.denoising.plots import plot_denoised, plot_profile

# %%
# Two exposures of the galaxy ESO 085-030, 60 s each, come with the package.
# Their headers give neither gain nor read noise: the noise is estimated
# from the frame, and the header of the result says so.

first, second = load_example_pair()
denoised = denoise(first)
for key in ('DNMODEL', 'DNNOISE'):
    print(key, '=', denoised.header[key], '/', denoised.header.comments[key])

# %%
# Before, after, and what was taken out, in units of the noise. The residual
# shows neither galaxy nor stars.

plot_denoised(first, denoised,
              figure=plt.figure(figsize=(12.6, 5.1), layout='compressed'))
plt.show()

# %%
# A closer look at the faint sources around the galaxy.

# sphinx_gallery_thumbnail_number = 2

region = np.s_[300:420, 60:220]
figure, axes = plt.subplots(2, 1, figsize=(8, 8.4), sharex=True, sharey=True,
                            layout='compressed')
level = np.median(first.data)
norm = simple_norm(first.data[region], 'asinh', asinh_a=0.2,
                   vmin=level - 60, vmax=level + 400)
for ax, ccd, title in zip(axes, (first, denoised), ('before', 'after'),
                          strict=True):
    shown = ax.imshow(ccd.data, origin='lower', norm=norm, cmap='gray')
    ax.set(title=title, ylabel='y [pixel]')
ax.set(xlim=(region[1].start, region[1].stop),
       ylim=(region[0].start, region[0].stop), xlabel='x [pixel]')
figure.colorbar(shown, ax=axes, label='value [adu]', shrink=0.6)
plt.show()

# %%
# One row of it, counted from the lower edge, with the uncertainty of the
# result.

_, ax = plt.subplots(figsize=(9, 4), layout='constrained')
plot_profile(first[region], denoised[region], row=56, ax=ax)
plt.show()

# %%
# The second exposure has other noise. What a denoised frame and the raw
# other one differ by on blank sky is the error of the first and the noise of
# the other; what the raw ones differ by is the noise of both.

others = denoise(second)
raw = [ccd.data - np.median(ccd.data) for ccd in (first, second)]
clean = [ccd.data - np.median(ccd.data) for ccd in (denoised, others)]
noise = mad_std(raw[0] - raw[1])
errors = [mad_std(clean[0] - raw[1]), mad_std(raw[0] - clean[1])]
error = np.sqrt((np.sum(np.square(errors)) - noise**2) / 2)
own = [np.median(ccd.uncertainty.array) for ccd in (denoised, others)]
print(f'noise of one exposure: {noise / np.sqrt(2):.1f} adu')
print(f'error after denoising: {error:.1f} adu')
print(f'its own uncertainty:   {np.mean(own):.1f} adu')
