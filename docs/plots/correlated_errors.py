# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the errors of denoised pixels correlate, on simulated blank sky.
"""

import matplotlib.pyplot as plt
import numpy as np
from photutils.aperture import CircularAperture

from astro_denoise import denoise
from astro_denoise.simulation.survey import SurveySimulator

simulator = SurveySimulator(shape=(600, 600), density=300, psf_fwhm=1.0,
                            psf_beta=3.88, magnitude_range=(19, 23),
                            n_cosmic_rays=0, n_bad_columns=0)
(frame,), _, (truth,) = simulator.exposures(1, seed=1, return_truth=True)
rng = np.random.default_rng(1)
sky = truth < np.percentile(truth, 70)
lags = np.arange(9)
radii = np.array([1, 1.5, 2, 3, 4, 6, 8])
positions = rng.uniform(20, 580, size=(2000, 2))
positions = positions[[bool(sky[int(y), int(x)]) for x, y in positions]]
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.4),
                                     layout='constrained')
for model, color in (('ccd', 'C0'), ('ccd-mmse', 'C1')):
    result = denoise(frame, model=model, gain='GAIN', read_noise='RDNOISE')
    error = np.where(sky, result.data - truth, np.nan)
    error -= np.nanmedian(error)
    correlation = [np.nanmean(error[:, :600 - lag] * error[:, lag:])
                   / np.nanmean(error**2) for lag in lags]
    left.plot(lags, correlation, 'o-', color=color, label=model)
    ratio = []
    for radius in radii:
        apertures = CircularAperture(positions, radius)
        scatter, _ = apertures.do_photometry(result.data - truth)
        _, naive = apertures.do_photometry(
            result.data, error=result.uncertainty.array)
        low, high = np.percentile(scatter, [15.865, 84.135])
        ratio.append((high - low) / 2 / np.median(naive))
    right.plot(radii, ratio, 'o-', color=color, label=model)
left.set(xlabel='distance in pixels', ylabel='correlation of the errors')
left.axhline(0, color='0.7', lw=0.8, zorder=0)
left.legend()
right.set(xlabel='radius of the aperture in pixels',
          ylabel='scatter / naive error of a sum', ylim=(0, None))
right.axhline(1, color='0.7', lw=0.8, zorder=0)
