# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulated data that no network is trained on.
"""

import torch

__all__ = ['VALIDATION_SEED', 'held_out_batches', 'held_out_images']

#: Seeds of what networks are calibrated on begin here: far from those of
#: training.
VALIDATION_SEED = 1_000_000


def held_out_batches(sampler, n_batches, seed):
    """
    Draw batches to calibrate on.

    Parameters
    ----------
    sampler : object
        Its ``batch([seed, number])`` returns a dict of arrays.

    n_batches : int
        Number of batches.

    seed : int
        Seed of the training.

    Yields
    ------
    batch : dict of `torch.Tensor`
        A batch.
    """
    for index in range(n_batches):
        yield {name: torch.from_numpy(plane) for name, plane in
               sampler.batch([VALIDATION_SEED + seed, index]).items()}


def held_out_images(simulator, n_images, seed):
    """
    Draw images to calibrate on.

    Parameters
    ----------
    simulator : `~astro_denoise.simulation.GalacticCenterSimulator`
        Simulator of the images.

    n_images : int
        Number of images, a multiple of 500.

    seed : int
        Seed, `VALIDATION_SEED` or more.

    Returns
    -------
    images : `torch.Tensor`
        Shape (n_images, 64, 64).

    parameters : `torch.Tensor`
        Shape (n_images, 6).
    """
    drawn = [simulator.draw(500, [seed, index])
             for index in range(n_images // 500)]
    return [torch.cat([part[name] for part in drawn])
            for name in ('images', 'parameters')]
