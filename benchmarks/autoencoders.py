# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the error of the student project's autoencoders depends on.

The document states 0.0011 for Gaussian noise, and that the maximum of its
images varied by a factor of about 100. The recipe ``gc-gaussian`` is run with
images of other exposures, without rotation, and for longer; each network is
tested on images drawn as those that it was trained on. Beside it what can be
had for free: the mean of each image.

    python benchmarks/autoencoders.py
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

from astro_denoise.simulation import GalacticCenterSimulator, add_image_noise
from astro_denoise.training.options import Run
from astro_denoise.training.recipes.paper import AutoencoderRecipe

DOCUMENT = 0.0011
N_TEST, SEED = 1024, 987654

# Exposures, rotation, epochs.
CASES = ((1.0, 1.0, True, 20), (0.3, 3.0, True, 20), (0.1, 10.0, True, 20),
         (1.0, 1.0, False, 20), (1.0, 1.0, True, 60))


@dataclass(frozen=True, kw_only=True)
class VariedRecipe(AutoencoderRecipe):
    """Recipe of an autoencoder for images of other exposures."""

    exposures: tuple
    rotation: bool

    def images(self, n_images, seed):
        """Draw images, each divided by its maximum, and their maxima."""
        counts = GalacticCenterSimulator(
            'legacy', rotation=self.rotation, exposure=self.exposures
        ).sample(n_images, seed=seed)[0]
        most = counts.max((1, 2), keepdims=True)
        return counts / most, most.ravel()

    def dataset(self, network, n_images, seed):
        """Draw images, which are their own targets."""
        images = torch.from_numpy(self.images(n_images, seed)[0])[:, None]
        return images, images


def main():
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--noise', default='gaussian')
    options = parser.parse_args()
    print(f'{options.noise} noise, mean squared error of images divided by '
          f'their maximum; the document has {DOCUMENT} for gaussian\n'
          'exposures   rotated  epochs  maxima  autoencoder  mean of image',
          flush=True)
    for low, high, rotation, epochs in CASES:
        recipe = VariedRecipe(
            name=f'gc-{options.noise}', noise=options.noise, summary='',
            exposures=(low, high), rotation=rotation, epochs=epochs)
        network = recipe.train(Run(seed=1)).network.eval()
        clean, most = recipe.images(N_TEST, SEED)
        noisy = add_image_noise(clean, options.noise, seed=3)
        with torch.no_grad():
            denoised = network(torch.from_numpy(noisy)[:, None])[:, 0].numpy()
        error, constant = (float(np.mean((result - clean)**2)) for result in (
            denoised, clean.mean((1, 2), keepdims=True)))
        print(f'{f"{low:g} - {high:g}":10s} {"yes" if rotation else "no":>8s} '
              f'{epochs:7d} {most.max() / most.min():7.0f} {error:12.5f} '
              f'{constant:14.5f}', flush=True)


if __name__ == '__main__':
    main()
