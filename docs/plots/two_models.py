# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
One part of a real frame, raw and denoised by both models.
"""

import matplotlib.pyplot as plt
import numpy as np

from astro_denoise import denoise
from astro_denoise.data.examples import load_example_pair

frame, _ = load_example_pair()
panels = {'raw': frame.data,
          'ccd': denoise(frame).data,
          'ccd-mmse': denoise(frame, model='ccd-mmse').data}
window = np.s_[120:330, 40:250]
sky = np.median(frame.data)
spread = np.diff(np.percentile(frame.data[window], [16, 84]))[0]
figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout='constrained')
for axis, (title, image) in zip(axes, panels.items(), strict=True):
    axis.imshow(image[window], origin='lower', cmap='gray',
                vmin=sky - spread, vmax=sky + 3 * spread)
    axis.set_title(title)
    axis.set_axis_off()
