# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the finder of stars in CCD frames is trained: stars against galaxies,
cosmic rays, dead columns and bleeding trails.
"""

import numpy as np

from .galactic_center import segmentation_loss
from .loop import train
from .scenes import ExposureSampler

__all__ = ['FAINTEST', 'StarSampler', 'train_star_finder']

#: Stars fainter than this, in units of a matched filter's noise, are not
#: looked for.
FAINTEST = 3.0


class StarSampler:
    """
    Draw batches of CCD frames with their stars.

    Parameters
    ----------
    scenes : list of `~astro_denoise.training.scenes.Scene`
        The skies.

    batch_size : int, optional
        Patches in a batch.

    patch : int, optional
        Pixels per side of a patch.
    """

    def __init__(self, scenes, *, batch_size=8, patch=128):
        self._sampler = ExposureSampler(
            scenes, patch=patch, n_clean=batch_size, n_copies=1,
            empty_share=0.1, star_maps=True)

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : int or sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            As that of `~astro_denoise.training.galactic_center.SkySampler`,
            ``image`` being the standardised frame.
        """
        drawn = self._sampler.batch(seed)
        flux, significance, *offset = np.moveaxis(drawn['stars'], 1, 0)
        flux = np.where(significance >= FAINTEST, flux, 0.0)
        valid = drawn['valid']
        position = np.zeros((len(flux), 3, *flux.shape[1:]), np.float32)
        return {'image': drawn['x'] * valid, 'valid': valid,
                'flux': flux[:, None].astype(np.float32),
                'offset': np.stack(offset, 1), 'position': position}


def train_star_finder(model, scenes, *, n_steps, seed=0, batch_size=8,
                      **options):
    """
    Train a finder of stars in CCD frames.

    Parameters
    ----------
    model : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The network, of the kind ``'ccd'``; trained in place.

    scenes : list of `~astro_denoise.training.scenes.Scene`
        Skies to cut patches from.

    n_steps : int
        Number of steps.

    seed : int, optional
        Of exposures.

    batch_size : int, optional
        Patches of 128x128 pixels a step.

    **options
        Passed to `~astro_denoise.training.loop.train`.

    Returns
    -------
    model : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    sampler = StarSampler(scenes, batch_size=batch_size)
    configuration = {'method': 'stars', 'model': model.config,
                     'n_steps': n_steps, 'seed': seed,
                     'n_scenes': len(scenes), 'batch_size': batch_size}
    return train(model, sampler.batch, segmentation_loss, n_steps=n_steps,
                 seed=seed, configuration=configuration, **options)
