# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Tell images that a network was not trained on by the level and the
fluctuations of their blocks.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .galactic_center import local_mean

__all__ = ['BlockScores']

_BLOCK = 16

# Logarithms of the level, and of the fluctuations at two scales, over the
# maximum of the image; what is added to them.
_FLOORS = (1e-3, 1e-5, 1e-5)

# Share of a block that must be valid, and least variance that is believed.
_COVERED, _LEAST_VARIANCE = 0.3, 1e-3


class BlockScores(nn.Module):
    """
    Scores of images over their maximum, as the training set was.

    An image is described by the mean, the scatter, the least and the
    largest value over its blocks of each of three numbers: the level of the
    block and its fluctuations at two scales. How far these are from those
    of the training set is the score.
    """

    def __init__(self):
        super().__init__()
        n_statistics = 4 * len(_FLOORS)
        self.register_buffer('typical', torch.zeros(n_statistics))
        self.register_buffer('whitening', torch.eye(n_statistics))
        self.register_buffer('threshold', torch.tensor(math.inf))

    def forward(self, image, valid):
        """
        Measure how unlike the training set images are.

        Parameters
        ----------
        image, valid : `torch.Tensor`
            Shape (n, ny, nx): values of any scale, and 1 for pixels that
            count.

        Returns
        -------
        score : `torch.Tensor`
            Shape (n,), about 1 for images like those; NaN if no block is
            valid.
        """
        distance = (self.statistics(image, valid)
                    - self.typical) @ self.whitening
        return distance.square().mean(1).sqrt()

    @staticmethod
    def statistics(image, valid):
        """
        Describe images.

        Parameters
        ----------
        image, valid : `torch.Tensor`
            Shape (n, ny, nx).

        Returns
        -------
        statistics : `torch.Tensor`
            Shape (n, 12).
        """
        image, valid = (image * valid)[:, None], valid[:, None]
        maximum = image.amax((2, 3), keepdim=True)
        image = image / torch.where(maximum > 0, maximum, 1.0)
        near, wide = (local_mean(image, valid, size) for size in (3, 9))
        planes = image, (image - near).square(), (near - wide).square()
        pooled = {'kernel_size': _BLOCK, 'ceil_mode': True,
                  'count_include_pad': False}
        share = F.avg_pool2d(valid, **pooled)
        found = torch.cat([
            torch.log(F.avg_pool2d(plane * valid, **pooled)
                      / share.clamp_min(1e-6) + floor)
            for plane, floor in zip(planes, _FLOORS, strict=True)], 1)
        seen = share > _COVERED
        rows = torch.where(seen, found, math.nan).flatten(2)
        mean = rows.nanmean(2)
        scatter = (rows - mean[..., None]).square().nanmean(2).sqrt()
        seen = seen.flatten(2)
        least = torch.where(seen, found.flatten(2), math.inf).amin(2)
        largest = torch.where(seen, found.flatten(2), -math.inf).amax(2)
        return torch.cat([mean, scatter, least, largest], 1)

    @torch.no_grad()
    def learn(self, image, valid, *, margin=1.7):
        """
        Learn how images look.

        Parameters
        ----------
        image, valid : `torch.Tensor`
            Shape (n, ny, nx), about a thousand of them.

        margin : float, optional
            A score is unusual if it is so many times as large as that
            which 1 in 500 of them exceeds: a bright source lets all the
            others vanish.
        """
        rows = self.statistics(image, valid).double()
        rows = rows[rows.isfinite().all(1)]
        self.typical.copy_(rows.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(rows.T))
        self.whitening.copy_(
            vectors / values.clamp_min(_LEAST_VARIANCE).sqrt())
        self.threshold.copy_(margin * torch.quantile(
            self(image, valid).nan_to_num(), 0.998))
