# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Error of an autoencoder against the epoch, and an image after some of them.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from astropy.table import Table

import astro_denoise
from astro_denoise import denoise, evaluation
from astro_denoise.simulation import GalacticCenterSimulator, add_image_noise
from astro_denoise.training import train_shipped

log = Table.read(Path(astro_denoise.__file__).parent / 'models' / 'weights'
                 / 'gc-gaussian.ecsv')
_, axes = plt.subplots(figsize=(6, 3.8), layout='constrained')
evaluation.plot_training_log(log, ax=axes)

original = GalacticCenterSimulator('legacy', rotation=True).sample(
    1, seed=2026)[0][0]
original /= original.max()
noisy = add_image_noise(original, 'gaussian', seed=1)
denoised = {}
with tempfile.TemporaryDirectory() as folder:
    for n_epochs in (1, 6):
        # The second training goes on from the first.
        model = train_shipped(
            'gc-gaussian', Path(folder) / f'{n_epochs}.safetensors',
            checkpoint=folder, n_steps=n_epochs)
        denoised[f'epoch {n_epochs}'] = denoise(noisy, model)
denoised['epoch 20'] = denoise(noisy, 'gc-gaussian')
evaluation.plot_image_panels(original, noisy, denoised, figure=plt.figure(
    figsize=(9, 6), layout='constrained'))
