# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The noise of two exposures
==========================

Two exposures of one field hold the same sky and different noise. Their
difference is therefore noise alone, and shows how much of it there is
before anything is denoised.
"""

import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import mad_std
from astropy.visualization import simple_norm

from astro_denoise.data import load_example_pair

# %%
# The two exposures of ESO 085-030 that come with the package. They are
# unsigned integers, so they are converted before they are subtracted.

first, second = load_example_pair()
values = np.stack([first.data, second.data]).astype(float)
difference = values[0] - values[1]

# %%
# The difference has the noise of both exposures. Sky and sources of the
# two differ a little in brightness, which the median takes out for the
# sky; what is left at the bright stars is their own photon noise and the
# change of the seeing.

difference -= np.median(difference)
noise = mad_std(difference) / np.sqrt(2)
print(f'noise of one exposure: {noise:.1f} adu')

# %%
# The same stretch for both exposures, and one of five sigma for the
# difference.

figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), layout='constrained')
norm = simple_norm(values[0], 'asinh', percent=99.5)
panels = [
    (values[0], {'norm': norm, 'cmap': 'gray'}, 'first exposure'),
    (values[1], {'norm': norm, 'cmap': 'gray'}, 'second exposure'),
    (difference, {'vmin': -5 * noise, 'vmax': 5 * noise, 'cmap': 'RdBu'},
     'difference'),
]
for ax, (image, options, title) in zip(axes, panels, strict=True):
    ax.imshow(image, origin='lower', **options)
    ax.set(title=title, xlabel='x [pixel]', ylabel='y [pixel]')
    ax.label_outer()
plt.show()
