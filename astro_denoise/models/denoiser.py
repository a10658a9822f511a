# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network behind `astro_denoise.denoise`: a U-Net that predicts the
standardised noise of every pixel, and restores from the residual the
flux that it would have removed.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ['CCDDenoiser']

# The noise of a pixel is taken to be at most this many sigmas: whatever
# exceeds it (a cosmic ray that the network has not seen) stays.
_LARGEST_NOISE = 6.0


def _block(n_in, n_out, n_convolutions=2):
    """Some 3x3 convolutions with leaky rectifiers."""
    layers = []
    for index in range(n_convolutions):
        layers += [nn.Conv2d(n_out if index else n_in, n_out, 3, padding=1),
                   nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*layers)


class CCDDenoiser(nn.Module):
    """
    Predict the noise in a frame, its error, and where flux goes back.

    The frame comes standardised, ``x = (frame - background) / sigma``.
    The network sees ``asinh(x)``, the logarithm of the noise map and the
    validity mask, at half resolution (pixel unshuffle), and answers with
    the noise ``n`` in each pixel, the logarithm of the variance of its
    final error, and weights ``c_j`` of a bank of Gaussian kernels
    ``G_j``, which restore flux from the residual (twicing, Tukey 1977):
    ``result = x - n + sum_j c_j G_j * n`` with ``sum_j c_j = 1``. A faint
    source that the network took for noise is still in the residual and
    comes back.

    Parameters
    ----------
    widths : tuple of int, optional
        Channels of the levels, from half resolution downwards.

    kernel_sigmas : tuple of float, optional
        Widths of the restoring Gaussians in pixels; empty for a network
        that restores nothing.
    """

    def __init__(self, widths=(32, 64, 96, 128),
                 kernel_sigmas=(0.6, 1.0, 1.6, 2.5)):
        super().__init__()
        self.config = {'widths': list(widths),
                       'kernel_sigmas': list(kernel_sigmas)}
        self.encoders = nn.ModuleList()
        n_in = 12
        for width in widths:
            self.encoders.append(_block(n_in, width))
            n_in = width
        self.decoders = nn.ModuleList()
        self.projections = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.projections.append(nn.Conv2d(widths[level + 1],
                                              widths[level], 1))
            self.decoders.append(_block(widths[level], widths[level],
                                        2 if level else 1))
        self.context = nn.Sequential(nn.Linear(2, 32), nn.SiLU(),
                                     nn.Linear(32, sum(widths[1:])))
        self.head = nn.Conv2d(widths[0], 8 + len(kernel_sigmas), 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if kernel_sigmas:
            self.kernel_context = nn.Sequential(
                nn.Linear(2, 32), nn.SiLU(),
                nn.Linear(32, len(kernel_sigmas)))
            self.register_buffer('kernels', _gaussian_bank(kernel_sigmas),
                                 persistent=False)

    @property
    def stride(self):
        """Tiles must start at multiples of this many pixels."""
        return 2**len(self.config['widths'])

    @property
    def reach(self):
        """
        Pixels from which a result can still be influenced, on each side.

        Counted layer by layer: a 3x3 convolution at level k (one pixel
        there is ``2**(k+1)`` pixels) reaches that far, average pooling
        and pixel unshuffling one cell, bilinear up-sampling one pixel of
        the level below.
        """
        n_levels = len(self.config['widths'])
        reach = 2  # head
        for level in range(n_levels):
            cell = 2**(level + 1)
            n_convolutions = 2 if level == n_levels - 1 else 4
            if level == 0 and n_levels > 1:
                n_convolutions = 3
            reach += n_convolutions * cell + cell
            if level:
                reach += cell
        if self.config['kernel_sigmas']:
            reach += self.kernels.shape[-1] // 2
        return reach

    def trunk(self, features, context):
        """The features at half resolution, before the head."""
        shifts = iter(self.context(context).split(self.config['widths'][1:], 1))
        levels = []
        for index, encoder in enumerate(self.encoders):
            if index:
                features = F.avg_pool2d(features, 2)
            features = encoder[0](features)
            if index:
                features = features + next(shifts)[:, :, None, None].to(
                    features.dtype)
            features = encoder[1:](features)
            levels.append(features)
        features = levels.pop()
        for projection, decoder in zip(self.projections, self.decoders,
                                       strict=True):
            features = F.interpolate(projection(features), scale_factor=2,
                                     mode='bilinear', align_corners=False)
            features = decoder(features + levels.pop())
        return features

    def forward(self, x, log_sigma, valid, context, *, dtype=torch.float32):
        """
        Estimate the noise.

        Parameters
        ----------
        x, log_sigma, valid : `torch.Tensor`
            Shape (n, 1, ny, nx), sides multiples of ``stride``: the
            standardised frame, the logarithm of the noise in units of
            the blank sky's, and 1 for pixels that count (elsewhere both
            others must be 0).

        context : `torch.Tensor`
            Shape (n, 2): logarithm of the PSF's full width at half
            maximum over 3.5 pixels, and 1; or two zeros if unknown.

        dtype : `torch.dtype`, optional
            Precision of the convolutions; head and everything after it
            are float32 always.

        Returns
        -------
        noise : `torch.Tensor`
            Shape (n, 1, ny, nx); ``x - noise`` is the denoised frame.

        log_variance : `torch.Tensor`
            Of the error of ``x - noise``.
        """
        planes = torch.cat([torch.asinh(x), log_sigma, valid], 1)
        features = F.pixel_unshuffle(planes, 2).contiguous(
            memory_format=torch.channels_last)
        with torch.autocast(x.device.type, dtype=torch.bfloat16,
                            enabled=dtype == torch.bfloat16):
            features = self.trunk(features, context)
        with torch.autocast(x.device.type, enabled=False):
            answer = self.head(features.float())
            noise = F.pixel_shuffle(answer[:, :4], 2)
            log_variance = F.pixel_shuffle(answer[:, 4:8], 2)
            noise = noise.clamp(-_LARGEST_NOISE, _LARGEST_NOISE) * valid
            if self.config['kernel_sigmas']:
                noise = noise - self._restored(noise, valid, answer[:, 8:],
                                               context)
        return noise, log_variance.clamp(-12.0, 8.0)

    def _restored(self, noise, valid, local, context):
        """The part of the estimated noise that goes back as flux."""
        weights = local + self.kernel_context(context)[:, :, None, None]
        n_kernels = weights.shape[1]
        weights = weights + (1.0 - weights.sum(1, keepdim=True)) / n_kernels
        weights = F.interpolate(weights, scale_factor=2, mode='nearest')
        smooth = self._smoothed(noise)
        if not valid.min():
            smooth = smooth / self._smoothed(valid).clamp_min(1e-3)
        return (weights * smooth).sum(1, keepdim=True) * valid

    def _smoothed(self, plane):
        # Edges are replicated, so that a plane of ones stays one.
        padding = (self.kernels.shape[-1] // 2,) * 4
        return F.conv2d(F.pad(plane, padding, mode='replicate'),
                        self.kernels)


def _gaussian_bank(sigmas):
    """Normalised Gaussian kernels of one common size, shape (n, 1, k, k)."""
    radius = math.ceil(2.4 * max(sigmas))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    lines = [torch.exp(-0.5 * (offsets / sigma)**2) for sigma in sigmas]
    return torch.stack([torch.outer(line, line) / line.sum()**2
                        for line in lines])[:, None]
