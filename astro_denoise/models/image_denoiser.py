# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network behind ``denoise(image, 'gc-mixed')``: one for four kinds of
noise on gamma-ray images, which also tells which kind it sees.
"""

import torch
from torch import nn

from .galactic_center import Trunk, local_mean
from .layers import shuffled

__all__ = ['MixedDenoiser']

_N_PLANES = 12

# Values below and above which a pixel may be one that noise has replaced,
# in units of the image's maximum.
_EMPTY, _FULL = 1e-6, 1.0 - 1e-6


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
        ny, nx = image.shape[-2:]
        whole = valid * (image > _EMPTY) * (image < _FULL)
        near, wide = (local_mean(image, valid, size) for size in (3, 9))
        y = torch.linspace(-1.0, 1.0, ny, device=image.device)
        x = torch.linspace(-1.0, 1.0, nx, device=image.device)
        radius = torch.hypot(y[:, None], x).expand_as(image)
        planes = torch.cat([
            image, torch.sqrt(image.clamp_min(0.0)), near, wide,
            local_mean(image, whole, 3), local_mean(image, whole, 9),
            local_mean(whole, valid, 5),
            10.0 * (image - near), (image <= _EMPTY).float(),
            (image >= _FULL).float(), valid, radius], 1)
        levels = self.trunk(planes, dtype)
        with torch.autocast(image.device.type, enabled=False):
            value, share, log_variance = shuffled(
                self.head(levels[0])).split(1, 1)
            share = torch.sigmoid(share - 2.0) * valid
            denoised = torch.lerp(value + wide, image, share)
            pooled = torch.cat([levels[-1].mean((2, 3)),
                                levels[0].mean((2, 3))], 1)
            return (denoised, log_variance.clamp(-10.0, 6.0) - 6.0,
                    self.kind(pooled))

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
