# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Random numbers on the device where skies are drawn.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['RandomNumbers']


@dataclass(frozen=True)
class RandomNumbers:
    """
    Draw random tensors from one generator.

    Parameters
    ----------
    generator : `torch.Generator`
        The source of random numbers; tensors are on its device.

    Examples
    --------
    >>> from astro_denoise.simulation.random_numbers import RandomNumbers
    >>> RandomNumbers.seeded(1).uniform(2, 3).shape
    torch.Size([2, 3])
    """

    generator: object

    @classmethod
    def seeded(cls, seed, *, device='cpu'):
        """
        Start a generator.

        Parameters
        ----------
        seed : int or sequence of int
            Same seed, same numbers.

        device : str or `torch.device`, optional
            Where to draw.

        Returns
        -------
        random : `RandomNumbers`
            The numbers.
        """
        import torch

        generator = torch.Generator(device)
        generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(
            1, np.uint64)[0] >> 1))
        return cls(generator)

    def uniform(self, *shape):
        """
        Draw numbers between 0 and 1.
        """
        import torch

        return torch.rand(shape, generator=self.generator,
                          dtype=torch.float32, device=self.generator.device)

    def normal(self, *shape):
        """
        Draw normally distributed numbers.
        """
        import torch

        return torch.randn(shape, generator=self.generator,
                           dtype=torch.float32,
                           device=self.generator.device)

    def poisson(self, expected):
        """
        Draw counts around those expected.
        """
        import torch

        return torch.poisson(expected, generator=self.generator)
