# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tests of the training of a denoiser for several kinds of noise.
"""

import numpy as np

from astro_denoise.training.recipes.gc_mixed import NoisyImageSampler


def test_noisy_batches():
    sampler = NoisyImageSampler(('gaussian', 'masked', 'saltpepper', 'none'),
                                batch_size=24)
    batch = sampler.batch([1, 1])
    assert batch['truth'].max() == 1.0
    for image, truth, valid, kind in zip(*(
            batch[name] for name in ('image', 'truth', 'valid', 'kind')),
            strict=True):
        same = np.mean((image == truth)[valid > 0])
        name = sampler.noises[kind]
        if name == 'none':
            assert same == 1.0
        elif name == 'gaussian':
            assert same < 0.5
        else:
            assert 0.1 < same < 0.98
