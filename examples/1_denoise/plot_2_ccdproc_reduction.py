# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoise within a ccdproc reduction
==================================

From raw frames to a catalog: bias, flat field and cosmic rays with
``ccdproc``, then ``denoise``, then photometry with ``photutils``. Frames are
`~astropy.nddata.CCDData` all the way, and uncertainties and masks go along.
This needs ``ccdproc`` (``pip install ccdproc``).
"""

import astropy.units as u
import ccdproc
import matplotlib.pyplot as plt
import numpy as np
from astropy.nddata import CCDData
from astropy.stats import mad_std
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.detection import DAOStarFinder

from astro_denoise import denoise
from astro_denoise.denoising.plots import plot_denoised
from astro_denoise.simulation.artefacts import cosmic_rays
from astro_denoise.simulation.survey import SurveySimulator

# %%
# Raw frames, as a camera would write them: a gain of 1.6 electrons per adu, a
# read noise of 6 electrons, vignetting, and cosmic rays.

rng = np.random.default_rng(3)
gain, read_noise = 1.6 * u.electron / u.adu, 6 * u.electron
shape = 400, 600
y, x = np.mgrid[:shape[0], :shape[1]]
response = 1 - 0.3 * ((x - 320)**2 + (y - 180)**2) / 360**2
response *= rng.normal(1, 0.02, shape)


def expose(light, rays=0):
    """One raw frame."""
    electrons = rng.poisson(light * response) + rays
    electrons = electrons + read_noise.value * rng.standard_normal(shape)
    counts = electrons / gain.value + 500 + 0.02 * x
    return CCDData(np.rint(counts), unit='adu')


simulator = SurveySimulator(shape, density=600, magnitude_range=(17, 23))
sources = simulator.catalog(seed=5)
sky = simulator.scene(sources, psf_fwhm=3.2, psf_beta=3.5) + 190
biases = [expose(np.zeros(shape)) for _ in range(9)]
flats = [expose(np.full(shape, 3e4)) for _ in range(5)]
raw = expose(sky, cosmic_rays(shape, 25, rng=rng))

# %%
# The reduction. Cosmic rays are masked before denoising, since to the model
# they would be signal; masked pixels have no influence on others.

options = {'method': 'average', 'sigma_clip': True}
bias = ccdproc.combine(biases, **options)
flat = ccdproc.combine([ccdproc.subtract_bias(frame, bias)
                        for frame in flats], **options)
frame = ccdproc.subtract_bias(raw, bias)
frame = ccdproc.create_deviation(frame, gain=gain,
                                 readnoise=read_noise, disregard_nan=True)
frame = ccdproc.flat_correct(ccdproc.gain_correct(frame, gain), flat)
frame.mask = ccdproc.cosmicray_lacosmic(
    frame, readnoise=read_noise.value, gain_apply=False, sigclip=6).mask
denoised = denoise(frame)
print(f'{frame.mask.sum()} pixels masked, noise {mad_std(frame.data):.1f} '
      f'-> {mad_std(denoised.data):.1f} {denoised.unit}')

# %%
# A part of the reduced frame and of the denoised one. Masked pixels are
# orange.

part = np.s_[60:200, 60:240]
plot_denoised(frame[part], denoised[part],
              figure=plt.figure(figsize=(12.6, 4.6), layout='compressed'))
plt.show()

# %%
# Sources are found on the denoised frame, where faint ones stand out, and
# measured on both; the bars are the errors before.

level = np.median(denoised.data)
found = DAOStarFinder(5 * mad_std(denoised.data), 3.2)(
    denoised.data - level, mask=denoised.mask)
positions = np.transpose([found['x_centroid'], found['y_centroid']])
apertures = CircularAperture(positions, 4.0)
before, after = (
    aperture_photometry(ccd.data - level, apertures, mask=ccd.mask,
                        error=frame.uncertainty.array)
    for ccd in (frame, denoised))
flux, error = before['aperture_sum'], before['aperture_sum_err']

figure, ax = plt.subplots(figsize=(6.4, 4.2), layout='constrained')
ax.errorbar(flux, after['aperture_sum'] / flux, error / flux, fmt='.',
            ecolor='0.8')
ax.axhline(1, color='0.5', linewidth=1)
ax.set(xscale='log', xlabel='flux before [electron]',
       ylabel='flux after / before')
plt.show()
