# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Layers that look at small patches of an image, and at their averages.
"""

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ['Pointwise', 'Standardised', 'box', 'squashed']

# Share of a batch in the running mean of what features look like.
_SHARE = 0.01


def squashed(plane):
    """Of order one, whatever the size; quicker than a logarithm."""
    return plane / (1.0 + 0.3 * plane.abs())


class Pointwise(nn.Module):
    """Two 1x1 convolutions beside the identity."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 1)
        self.second = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, features):
        """
        Features with the answer of the two layers added.
        """
        change = F.leaky_relu(self.first(features), 0.1, inplace=True)
        return self.second(change) + features


def box(size, n_pixels):
    """A matrix that takes the mean of a line of pixels around each."""
    pixel = torch.arange(n_pixels)
    near = ((pixel - pixel[:, None]).abs() <= size // 2).float()
    return near / near.sum(1, keepdim=True)


class Standardised(nn.Module):
    """
    Subtract the mean of each feature and divide by its scatter.

    Both are running means, in training too: a batch adds no noise.
    """

    def __init__(self, n_features):
        super().__init__()
        self.register_buffer('mean', torch.zeros(n_features))
        self.register_buffer('square', torch.ones(n_features))
        self.register_buffer('steps', torch.zeros(()))

    def forward(self, features):
        """
        Features over their scatter, from which their mean is taken.
        """
        if self.training:
            with torch.no_grad():
                self.steps += 1.0
                share = (1.0 / self.steps).clamp_min(_SHARE)
                self.mean.lerp_(features.mean(0), share)
                self.square.lerp_((features - self.mean).square().mean(0),
                                  share)
        return (features - self.mean) * torch.rsqrt(self.square + 1e-8)
