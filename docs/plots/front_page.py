# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A real frame before and after, and what was taken away.
"""

import matplotlib.pyplot as plt
import numpy as np

from astro_denoise import denoise
from astro_denoise.data.examples import load_example_pair

frame, _ = load_example_pair()
denoised = denoise(frame)
residual = frame.data.astype(float) - denoised.data
window = np.s_[100:230, 90:220]
sky = np.median(frame.data)
noise = residual.std(where=abs(residual) < 5 * np.median(abs(residual)))
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout='constrained')
for axis, title, image, low, high in (
        (axes[0], 'frame', frame.data, sky - 3 * noise, sky + 9 * noise),
        (axes[1], 'denoised', denoised.data, sky - 3 * noise,
         sky + 9 * noise),
        (axes[2], 'frame - denoised', residual, -5 * noise, 5 * noise)):
    axis.imshow(image[window], origin='lower', cmap='gray', vmin=low,
                vmax=high)
    axis.set_title(title)
    axis.set_axis_off()
