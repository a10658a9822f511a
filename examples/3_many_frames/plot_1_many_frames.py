# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A frame in chunks
=================

A frame that does not fit into memory, or that lies on a cluster, comes as a
dask array. ``denoise`` takes it as it is, computes nothing until the result
is wanted, and leaves no seam where the chunks meet. This needs ``dask``
(``pip install 'astro_denoise[dask]'``).
"""

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from astropy.visualization import simple_norm

from astro_denoise import denoise
from astro_denoise.data.examples import load_example_pair

# %%
# One of the two exposures that come with the package, in chunks of an odd
# size. A real one would come from ``da.from_zarr``, or from a memory-mapped
# file with ``da.from_array``.

exposure, _ = load_example_pair()
frame = da.from_array(exposure.data.astype(np.float32), chunks=(200, 170))
print(frame.shape, frame.numblocks)

# %%
# Nothing is computed here. The result has the chunks of the input.

denoised, uncertainty = denoise(frame, return_uncertainty=True)
print(type(denoised).__module__, denoised.chunks == frame.chunks)

# %%
# Now it is. The noise, the background and the seeing are those of the whole
# frame, measured once for both results.

values, errors = da.compute(denoised, uncertainty)

# %%
# The same frame in memory gives the same, within a thousandth of the noise
# of a pixel: the difference shows no chunks.

expected = denoise(np.asarray(frame))
difference = np.abs(values - expected) / errors
print(f'largest difference: {difference.max():.1e} sigma')

# %%
# The raw frame and the denoised one, with the borders of the chunks.

figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout='constrained')
norm = simple_norm(expected, 'asinh', percent=99.5)
for ax, image, title in zip(axes, (frame, values), ('raw', 'denoised'),
                            strict=True):
    ax.imshow(image, origin='lower', norm=norm, cmap='gray')
    for axis, draw in enumerate((ax.axhline, ax.axvline)):
        for border in np.cumsum(frame.chunks[axis])[:-1]:
            draw(border - 0.5, color='tab:orange', linewidth=0.5)
    ax.set(title=title, xlabel='x [pixel]', ylabel='y [pixel]')
    ax.label_outer()
plt.show()
