# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network behind ``denoise(image, 'gc-mixed')``: one for four kinds of
noise on gamma-ray images, which also tells which kind it sees.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .block_scores import BlockScores
from .galactic_center import Trunk, local_mean
from .layers import shuffled

__all__ = ['MixedDenoiser']

_N_PLANES = 12

# Values below and above which a pixel may be one that noise has replaced,
# in units of the image's maximum.
_EMPTY, _FULL = 1e-6, 1.0 - 1e-6

# Of a pixel: far above, all numbers in single precision are whole.
_MOST_COUNTS = 2.0**22


class MixedDenoiser(nn.Module):
    """
    Denoise images whose noise is one of several kinds.

    A pixel of the result is between what it was and what its
    surroundings say, by a share that is predicted with it: where noise
    replaces some pixels, the others stay as they are.

    Parameters
    ----------
    widths : tuple of int, optional
        Channels of the levels, from half resolution downwards.

    noises : tuple of str, optional
        Kinds of noise that are told apart.
    """

    #: Scales of features are a part of it, which half precision would spoil.
    full_precision = ('several.',)

    def __init__(self, widths=(32, 64, 96, 96),
                 noises=('gaussian', 'poisson', 'masked', 'saltpepper',
                         'none')):
        super().__init__()
        self.config = {'widths': list(widths), 'noises': list(noises)}
        self.trunk = Trunk(_N_PLANES, widths)
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.kind = nn.Linear(widths[-1] + widths[0], len(noises))
        # Which kinds there are, each by itself; 'none' is none of them.
        self.several = nn.Sequential(
            nn.Linear(2 * (widths[-1] + widths[0]), 96), nn.SiLU(),
            nn.Linear(96, len(noises) - ('none' in noises)))
        self.scores = BlockScores()
        # Lowest and highest mean counts per pixel, where there are counts.
        self.register_buffer('levels', torch.tensor([0.0, math.inf]))

    @property
    def noises(self):
        """Kinds of noise that are told apart."""
        return tuple(self.config['noises'])

    @property
    def stride(self):
        """Sides of images must be multiples of this many pixels."""
        return self.trunk.stride

    def forward(self, image, valid, *, dtype=torch.float32):
        """
        Remove noise.

        Parameters
        ----------
        image : `torch.Tensor`
            Shape (n, 1, ny, nx), sides multiples of ``stride``; the
            largest value is about 1; 0 where not valid.

        valid : `torch.Tensor`
            Same shape, 1 for pixels that count and 0 for others.

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        denoised : `torch.Tensor`
            Shape (n, 1, ny, nx).

        log_variance : `torch.Tensor`
            Same shape, of its error.

        logits : `torch.Tensor`
            Shape (n, n_noises), of the kinds of noise.
        """
        levels = self.trunk(self._planes(image, valid), dtype)
        wide = local_mean(image, valid, 9)
        with torch.autocast(image.device.type, enabled=False):
            value, share, log_variance = shuffled(
                self.head(levels[0])).split(1, 1)
            share = torch.sigmoid(share - 2.0) * valid
            denoised = torch.lerp(value + wide, image, share)
            pooled = torch.cat([levels[-1].mean((2, 3)),
                                levels[0].mean((2, 3))], 1)
            return (denoised, log_variance.clamp(-10.0, 6.0) - 6.0,
                    self.kind(pooled))

    @staticmethod
    def _planes(image, valid):
        """Make planes of order one of images."""
        ny, nx = image.shape[-2:]
        whole = valid * (image > _EMPTY) * (image < _FULL)
        near, wide = (local_mean(image, valid, size) for size in (3, 9))
        y = torch.linspace(-1.0, 1.0, ny, device=image.device)
        x = torch.linspace(-1.0, 1.0, nx, device=image.device)
        radius = torch.hypot(y[:, None], x).expand_as(image)
        return torch.cat([
            image, torch.sqrt(image.clamp_min(0.0)), near, wide,
            local_mean(image, whole, 3), local_mean(image, whole, 9),
            local_mean(whole, valid, 5),
            10.0 * (image - near), (image <= _EMPTY).float(),
            (image >= _FULL).float(), valid, radius], 1)

    def described(self, image, valid, *, dtype=torch.float32):
        """
        Describe images, for `name_noises`.

        Parameters
        ----------
        image, valid, dtype : optional
            As of `forward`.

        Returns
        -------
        features : `torch.Tensor`
            Shape (n, n_features): means and scatter of what the network
            makes of the image.
        """
        levels = self.trunk(self._planes(image, valid), dtype)
        return torch.cat([part for level in (levels[-1], levels[0])
                          for part in (level.mean((2, 3)),
                                       level.std((2, 3)))], 1).float()

    def name_noise(self, values, valid=None):
        """
        Tell the kind of noise on images.

        Parameters
        ----------
        values : `torch.Tensor`
            Shape (n, ny, nx), sides multiples of ``stride``.

        valid : `torch.Tensor`, optional
            Same shape, 1 for pixels that count and 0 for others.

        Returns
        -------
        probabilities : `torch.Tensor`
            Shape (n, n_noises), in the order of ``noises``.
        """
        image, valid, _ = self._scaled(values, valid)
        return torch.softmax(self(image, valid)[2], 1)

    def name_noises(self, values, valid=None):
        """
        Tell all kinds of noise on images.

        Parameters
        ----------
        values, valid : `torch.Tensor`
            As of `name_noise`.

        Returns
        -------
        probabilities : `torch.Tensor`
            Shape (n, n_noises - 1): of each kind but ``'none'``, in their
            order.
        """
        image, valid, _ = self._scaled(values, valid)
        return torch.sigmoid(self.several(self.described(image, valid)))

    def ood_score(self, values, valid):
        """
        Measure how unlike the training set images are.

        Parameters
        ----------
        values, valid : `torch.Tensor`
            Shape (n, ny, nx), of any scale; 1 for pixels that count.

        Returns
        -------
        score : `torch.Tensor`
            Shape (n,), about 1 for images like those: of what is left when
            the noise is removed, whatever its kind. Infinite for counts,
            integers above 1, whose mean is out of range: those of another
            exposure.
        """
        ny, nx = values.shape[1:]
        margins = (0, -nx % self.stride, 0, -ny % self.stride)
        denoised = self.denoise_images(F.pad(values, margins),
                                       F.pad(valid, margins))[0]
        denoised = denoised[:, :ny, :nx]
        score = self.scores(denoised, torch.ones_like(denoised))
        whole = ((values == values.round()) | (valid == 0)).all(2).all(1)
        most = (values * valid).amax((1, 2))
        counts = whole & (most > 1) & (most < _MOST_COUNTS)
        level = denoised.mean((1, 2))
        far = (level < self.levels[0]) | (level > self.levels[1])
        return torch.where(counts & far, math.inf, score)

    @torch.no_grad()
    def learn_levels(self, counts, *, margin=1.1):
        """
        Learn how many counts images have.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, ny, nx), n about a thousand.

        margin : float, optional
            Means may be so many times less or more than theirs.
        """
        level = counts.mean((1, 2))
        self.levels.copy_(torch.stack([level.min() / margin,
                                       level.max() * margin]))

    @property
    def ood_threshold(self):
        """Score that hardly any image of the training set exceeds."""
        return float(self.scores.threshold)

    def denoise_images(self, values, valid=None):
        """
        Denoise images of any scale, and fill the pixels not valid.

        Parameters
        ----------
        values : `torch.Tensor`
            Shape (n, ny, nx), sides multiples of ``stride``.

        valid : `torch.Tensor`, optional
            Same shape, 1 for pixels that count and 0 for others.

        Returns
        -------
        denoised, error : `torch.Tensor`
            Shape (n, ny, nx), the error a standard deviation.
        """
        image, valid, scale = self._scaled(values, valid)
        denoised, log_variance, _ = self(image, valid)
        error = torch.exp(0.5 * log_variance)
        return (denoised * scale)[:, 0], (error * scale)[:, 0]

    @staticmethod
    def _scaled(values, valid):
        """Divide images by their maximum."""
        valid = torch.ones_like(values) if valid is None else valid
        image = (values * valid)[:, None]
        scale = image.amax((2, 3), keepdim=True)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        return image / scale, valid[:, None].to(image.dtype), scale
