# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Networks for images of point sources: the Galactic Center in gamma rays.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .layers import (
    asinh,
    box_sum,
    computing_in,
    rectified,
    shuffled,
    unshuffled,
)

__all__ = ['SourceSegmenter', 'Trunk', 'local_mean']

# Planes of the input: the image itself in several forms, validity, position.
_N_PLANES = 10


class _Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, features, dtype):
        change = rectified(self.first, features, dtype)
        return F.leaky_relu(self.second(change).add_(features), 0.1,
                            inplace=True)


def _modulation(n_context, width):
    """Make the scales and shifts of the features of a level."""
    last = nn.Linear(32, 2 * width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(n_context, 32), nn.LeakyReLU(0.1), last)


def local_mean(plane, valid, size):
    """
    Compute the mean over the valid pixels of a box around each pixel.

    Parameters
    ----------
    plane, valid : `torch.Tensor`
        Shape (n, 1, ny, nx); ``valid`` is 1 or 0.

    size : int
        Odd side of the box.

    Returns
    -------
    mean : `torch.Tensor`
        Same shape.
    """
    return (box_sum(plane * valid, size)
            / box_sum(valid, size).clamp_min(0.5))


class Trunk(nn.Module):
    """
    A U-Net at half resolution (pixel unshuffle), with residual blocks.

    Parameters
    ----------
    n_planes : int
        Planes of the input.

    widths : tuple of int
        Channels of the levels, from half resolution downwards.

    n_context : int, optional
        Numbers known of each image, which scale and shift the features of
        every level.
    """

    def __init__(self, n_planes, widths, n_context=0):
        super().__init__()
        self.widths = tuple(widths)
        n_in = 4 * n_planes
        self.enter = nn.ModuleList()
        self.encoders = nn.ModuleList()
        for width in widths:
            self.enter.append(nn.Conv2d(n_in, width, 3, padding=1))
            self.encoders.append(_Residual(width))
            n_in = width
        self.projections = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.projections.append(nn.Conv2d(widths[level + 1],
                                              widths[level], 1))
            self.decoders.append(_Residual(widths[level]))
        if n_context:
            self.films = nn.ModuleList(
                _modulation(n_context, width) for width in widths)

    @property
    def stride(self):
        """Sides of images must be multiples of this many pixels."""
        return 2**len(self.widths)

    @property
    def reach(self):
        """Pixels from which a result can be influenced, on each side."""
        n_levels = len(self.widths)
        reach = 0
        for pixel in range(self.stride):
            low, high = pixel // 2 - 1, pixel // 2 + 1       # head
            for _ in range(n_levels - 1):
                low, high = low - 2, high + 2                # decoder
                low, high = (low - 1) // 2, (high + 1) // 2  # bilinear
            for _ in range(n_levels):
                low, high = low - 3, high + 3                # encoder
                low, high = 2 * low, 2 * high + 1            # pool, unshuffle
            reach = max(reach, pixel - low, high - pixel)
        return reach + 8                                     # detail

    def forward(self, planes, dtype, context=None):
        """
        Compute features.

        Parameters
        ----------
        planes : `torch.Tensor`
            Shape (n, n_planes, ny, nx), sides multiples of ``stride``.

        dtype : `torch.dtype`
            Precision of the convolutions.

        context : `torch.Tensor`, optional
            Shape (n, n_context), what is known of each image.

        Returns
        -------
        features : tuple of `torch.Tensor`
            At half resolution, as the last decoder leaves them, and of the
            deepest level; float32.
        """
        if dtype == torch.bfloat16 and not planes.requires_grad:
            planes = planes.to(dtype)
        return self.levels(unshuffled(planes), dtype, context)

    def levels(self, features, dtype, context=None):
        """
        Compute features of planes that are unshuffled already.

        Parameters
        ----------
        features : `torch.Tensor`
            Shape (n, 4 n_planes, ny, nx), at half resolution.

        dtype, context
            As for `forward`.

        Returns
        -------
        features : tuple of `torch.Tensor`
            Of `forward`.
        """
        with computing_in(dtype, features.device):
            levels = []
            for level, (enter, encoder) in enumerate(
                    zip(self.enter, self.encoders, strict=True)):
                if level:
                    features = F.avg_pool2d(features, 2)
                scale = shift = None
                if context is not None:
                    scale, shift = self.films[level](context)[
                        ..., None, None].chunk(2, 1)
                    scale = 1.0 + scale
                features = encoder(rectified(
                    enter, features, dtype, scale=scale, shift=shift), dtype)
                levels.append(features)
            deepest = done = levels.pop()
            for projection, decoder in zip(self.projections, self.decoders,
                                           strict=True):
                skip = levels.pop()
                features = F.interpolate(projection(done),
                                         size=skip.shape[-2:],
                                         mode='bilinear',
                                         align_corners=False)
                done = decoder(features.add_(skip), dtype)
        return done.float(), deepest.float()


class SourceSegmenter(nn.Module):
    """
    Find point sources pixel by pixel: probability, flux and position.

    Parameters
    ----------
    widths : tuple of int, optional
        Channels of the levels, from half resolution downwards.

    kind : {'counts'}, optional
        What the images hold: counts of events.
    """

    _HEADS = ('logit', 'flux', 'gate', 'log_variance', 'dx', 'dy')

    def __init__(self, widths=(48, 96, 128), kind='counts'):
        super().__init__()
        if kind != 'counts':
            msg = f"kind must be 'counts', got {kind!r}"
            raise ValueError(msg)
        self.config = {'widths': list(widths), 'kind': kind}
        self.trunk = Trunk(_N_PLANES, widths)
        self.head = nn.Conv2d(widths[0], 4 * len(self._HEADS), 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # Platt's scaling of the logits: slope and offset.
        self.register_buffer('scaling', torch.tensor([1.0, 0.0]))

    @property
    def kind(self):
        """Kind of the images: ``'counts'``."""
        return self.config['kind']

    @property
    def stride(self):
        """Sides of images must be multiples of this many pixels."""
        return self.trunk.stride

    @property
    def reach(self):
        """Pixels from which a result can be influenced, on each side."""
        return self.trunk.reach

    def described(self, image, valid, position, dtype=torch.float32):
        """
        Compute the features of an image and the answer of the head.

        Parameters
        ----------
        image, valid, position : `torch.Tensor`
            As for `forward`.

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        features : `torch.Tensor`
            Shape (n, widths[0], ny / 2, nx / 2).

        answer : dict of `torch.Tensor`
            For `answered`: logits before Platt's scaling, and fluxes in
            units of the noise.

        scale : `torch.Tensor`
            That noise, shape (n, 1, ny, nx).
        """
        planes, scale, detail = self._forms(image, valid)
        features = self._features(planes, valid, position, dtype)
        with torch.autocast(image.device.type, enabled=False):
            answer = dict(zip(self._HEADS, shuffled(
                self.head(features)).split(1, 1), strict=True))
            answer['flux'] = answer['flux'] + answer.pop('gate') * detail
            answer['log_variance'] = answer['log_variance'].clamp(-12.0,
                                                                  12.0)
        return features, answer, scale

    def _features(self, planes, valid, position, dtype):
        # ONNX has no hypot
        radius = position[:, :2].square().sum(1, keepdim=True).sqrt()
        return self.trunk(torch.cat([*planes, valid, position, radius], 1),
                          dtype)[0]

    def _forms(self, image, valid):
        """
        Transform an image to several planes of order one.

        Returns five planes of order one, about the standard deviation of
        the noise in each pixel, and the image above its surroundings in
        units of that, not below 0.
        """
        wide = local_mean(image, valid, 9)
        near = local_mean(image, valid, 3)
        scale = torch.sqrt(wide + 1.0)
        detail = (image - wide).clamp_min(0.0) / scale * valid
        root = torch.sqrt(image + 0.375)
        planes = [0.3 * root - 1.0, 0.4 * torch.log1p(image) - 1.0,
                  asinh((image - near) / torch.sqrt(near + 1.0)),
                  asinh((image - wide) / scale),
                  0.4 * torch.log1p(wide) - 1.0]
        return [plane * valid for plane in planes], scale, detail

    def forward(self, image, valid, position, *, dtype=torch.float32):
        """
        Look for sources.

        Parameters
        ----------
        image : `torch.Tensor`
            Shape (n, 1, ny, nx), sides multiples of ``stride``; 0 where
            not valid.

        valid : `torch.Tensor`
            Same shape, 1 for pixels that count and 0 for others.

        position : `torch.Tensor`
            Shape (n, 3, ny, nx): Galactic longitude and latitude over
            15 degrees, and 1; zeros where they are unknown.

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        answer : dict of `torch.Tensor`
            Shape (n, 1, ny, nx), float32: ``logit`` of a source in the
            pixel; ``flux`` of the sources there, in the unit of the
            image, and the ``log_variance`` of its error; ``dx`` and
            ``dy``, pixels from the center of the pixel to the middle of
            their light.
        """
        _, answer, scale = self.described(image, valid, position, dtype)
        return self.answered(answer, scale)

    def answered(self, answer, scale):
        """
        Turn the answer of `described` into that of `forward`.

        Parameters
        ----------
        answer : dict of `torch.Tensor`
            From `described`.

        scale : `torch.Tensor`
            The noise there.

        Returns
        -------
        answer : dict of `torch.Tensor`
            As of `forward`.
        """
        answer = dict(answer)
        with torch.autocast(scale.device.type, enabled=False):
            if not self.training:
                answer['logit'] = (self.scaling[0] * answer['logit']
                                   + self.scaling[1])
            answer['flux'] = answer['flux'] * scale
            answer['log_variance'] = (
                answer['log_variance'] + 2.0 * torch.log(scale))
            for name in ('dx', 'dy'):
                answer[name] = 0.5 * torch.tanh(answer[name])
        return answer
