# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network behind ``denoise(image, 'gc-counts')``: the counts that are
expected in each pixel of a gamma-ray image.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .galactic_center import Trunk, local_mean
from .layers import asinh, shuffled

__all__ = ['ExpectedCounts']

_N_PLANES = 8

# Pixels per side of the blocks by which a strange image is recognized, and
# numbers that describe a block.
_BLOCK, _N_STATISTICS = 16, 4

# Blocks from which on they tell whether an image has any structure.
_N_BLOCKS = 8


class ExpectedCounts(nn.Module):
    """
    Estimate the expected counts behind an image of counts.

    Parameters
    ----------
    widths : tuple of int, optional
        Channels of the levels, from half resolution downwards.
    """

    #: Images come as counts, not over their maximum.
    takes_counts = True

    def __init__(self, widths=(32, 64, 96, 96)):
        super().__init__()
        self.config = {'widths': list(widths)}
        self.trunk = Trunk(_N_PLANES, widths)
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # Errors over those that the network predicts.
        self.register_buffer('error_scale', torch.tensor(1.0))
        self.register_buffer('typical', torch.zeros(_N_STATISTICS))
        self.register_buffer('whitening', torch.eye(_N_STATISTICS))
        self.register_buffer('threshold', torch.tensor(math.inf))
        # Lowest and highest mean counts per pixel.
        self.register_buffer('levels', torch.tensor([0.0, math.inf]))
        # Least scatter of the logarithms of the levels of blocks.
        self.register_buffer('least_scatter', torch.tensor(0.0))

    @property
    def stride(self):
        """Sides of images must be multiples of this many pixels."""
        return self.trunk.stride

    def forward(self, image, valid, *, dtype=torch.float32):
        """
        Estimate expected counts.

        Parameters
        ----------
        image : `torch.Tensor`
            Shape (n, 1, ny, nx), sides multiples of ``stride``: counts, 0
            where not valid.

        valid : `torch.Tensor`
            Same shape, 1 for pixels that count and 0 for others.

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        expected : `torch.Tensor`
            Shape (n, 1, ny, nx).

        log_variance : `torch.Tensor`
            Same shape: of its error, over the expected counts.
        """
        near, middle, wide = (local_mean(image, valid, size)
                              for size in (3, 5, 9))
        planes = torch.cat([
            0.3 * torch.sqrt(image + 0.375) - 1.0,
            0.4 * torch.log1p(image) - 1.0,
            asinh((image - near) / torch.sqrt(near + 1.0)),
            asinh((image - wide) / torch.sqrt(wide + 1.0)),
            0.4 * torch.log1p(near) - 1.0, 0.4 * torch.log1p(middle) - 1.0,
            0.4 * torch.log1p(wide) - 1.0, torch.ones_like(image)],
            1) * valid
        features = self.trunk(planes, dtype)[0]
        with torch.autocast(image.device.type, enabled=False):
            change, share, log_variance = shuffled(
                self.head(features)).split(1, 1)
            base = torch.lerp(near, image, torch.sigmoid(share - 1.0) * valid)
            root = (torch.sqrt(base + 0.05) + change).clamp_min(0.02)
            return root.square(), log_variance.clamp(-8.0, 6.0) - 2.0

    def error(self, expected, log_variance):
        """
        Compute the standard deviation of the error.

        Parameters
        ----------
        expected, log_variance : `torch.Tensor`
            From `forward`.

        Returns
        -------
        error : `torch.Tensor`
            Same shape.
        """
        return (self.error_scale * torch.sqrt(expected + 0.3)
                * torch.exp(0.5 * log_variance))

    def denoise_images(self, values, valid=None):
        """
        Estimate the expected counts of images, all counts conserved.

        Parameters
        ----------
        values : `torch.Tensor`
            Counts, shape (n, ny, nx), sides multiples of ``stride``.

        valid : `torch.Tensor`, optional
            Same shape, 1 for pixels that count and 0 for others.

        Returns
        -------
        expected, error : `torch.Tensor`
            Shape (n, ny, nx), the error a standard deviation. The sums
            over the valid pixels are those of the counts.
        """
        valid = (torch.ones_like(values) if valid is None
                 else valid.to(values.dtype))
        image, valid = (values * valid)[:, None], valid[:, None]
        expected, log_variance = self(image, valid)
        error = self.error(expected, log_variance)
        factor = (image.sum((1, 2, 3), keepdim=True)
                  / (expected * valid).sum((1, 2, 3), keepdim=True
                                           ).clamp_min(1e-6))
        return (expected * factor)[:, 0], error[:, 0]

    def statistics(self, image, valid):
        """
        Describe blocks of images.

        Parameters
        ----------
        image, valid : `torch.Tensor`
            Shape (n, 1, ny, nx).

        Returns
        -------
        statistics : `torch.Tensor`
            Shape (n, n_blocks, 4): the logarithms of the level and of the
            fluctuations at three scales; NaN where a block has few valid
            pixels.
        """
        near, middle, wide = (local_mean(image, valid, size)
                              for size in (3, 5, 9))
        share = F.avg_pool2d(valid, _BLOCK, ceil_mode=True,
                             count_include_pad=False)
        planes = [(image, 0.1)] + [
            ((finer - coarser).square() / (coarser + 1.0), 1e-2)
            for finer, coarser in ((image, near), (near, middle),
                                   (middle, wide))]
        found = [torch.log(F.avg_pool2d(
            plane * valid, _BLOCK, ceil_mode=True, count_include_pad=False)
            / share.clamp_min(1e-6) + floor) for plane, floor in planes]
        return torch.where(share > 0.3, torch.cat(found, 1),
                           math.nan).flatten(2).mT

    def ood_score(self, image, valid):
        """
        Measure how unlike the training set images are.

        Parameters
        ----------
        image, valid : `torch.Tensor`
            Shape (n, ny, nx): counts, and 1 for pixels that count.

        Returns
        -------
        score : `torch.Tensor`
            Shape (n,), about 1 for images like those: the root of the
            mean square over blocks of the distance from the usual
            `statistics`; infinite if the mean of the counts is out of
            range, or if eight blocks or more are as bright as each other:
            a flat image. NaN without valid blocks.
        """
        level = (image * valid).sum((1, 2)) / valid.sum((1, 2))
        statistics = self.statistics(image[:, None] * valid[:, None],
                                     valid[:, None])
        far = ((level < self.levels[0]) | (level > self.levels[1])
               | (self._scatter(statistics) < self.least_scatter))
        distance = (statistics - self.typical) @ self.whitening
        score = distance.square().mean(2).nanmean(1).sqrt()
        return torch.where(far, math.inf, score)

    @staticmethod
    def _scatter(statistics):
        """Measure how different the levels of blocks are; NaN for few."""
        levels = statistics[..., 0]
        mean = levels.nanmean(1, keepdim=True)
        scatter = (levels - mean).square().nanmean(1).sqrt()
        enough = (~levels.isnan()).sum(1) >= _N_BLOCKS
        return torch.where(enough, scatter, math.nan)

    @property
    def ood_threshold(self):
        """Score that one in 500 images of the training set exceeds."""
        return float(self.threshold)

    @torch.no_grad()
    def learn_statistics(self, image, valid):
        """
        Learn the usual statistics of images.

        Parameters
        ----------
        image, valid : `torch.Tensor`
            Shape (n, ny, nx), n in the thousands.
        """
        level = (image * valid).sum((1, 2)) / valid.sum((1, 2))
        self.levels.copy_(torch.stack([level.min(), level.max()]))
        statistics = self.statistics(image[:, None] * valid[:, None],
                                     valid[:, None])
        scatter = self._scatter(statistics)
        self.least_scatter.copy_(scatter[~scatter.isnan()].min())
        rows = statistics.flatten(0, 1).double()
        rows = rows[~rows.isnan().any(1)]
        self.typical.copy_(rows.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(rows.T))
        self.whitening.copy_(vectors / values.clamp_min(1e-4).sqrt())
        self.threshold.copy_(torch.quantile(self.ood_score(image, valid),
                                            0.998))
