# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A network for the centers of sources in optical frames.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .candidate_scores import CandidateScores
from .denoiser import psf_context
from .galactic_center import Trunk, local_mean
from .layers import asinh, shuffled

__all__ = ['HEADS', 'SourceFinder', 'smoothed']

#: Answers of the network, in the order of its planes.
HEADS = ('center', 'dx', 'dy', 'star', 'artefact')

_N_PLANES = 8

# Half the side of the filters, and the widest that they hold.
_HALF_FILTER = 12
_WIDTHS = 1.0, 9.0
_UNKNOWN_WIDTH = 3.0

# What the planes are bounded by.
_BOUND = 4.0

# Farthest center, in pixels, that an offset leads to.
_FARTHEST = 2.0


def smoothed(plane, widths):
    """
    Filter each image with a Gaussian of its own, of unit noise.

    Parameters
    ----------
    plane : `torch.Tensor`
        Shape (n, 1, ny, nx), with noise of 1 in each pixel.

    widths : `torch.Tensor`
        Full widths at half maximum in pixels, shape (n,).

    Returns
    -------
    answer : `torch.Tensor`
        Same shape: the flux of a star over its error.
    """
    n = len(plane)
    line = torch.arange(-_HALF_FILTER, _HALF_FILTER + 1,
                        dtype=torch.float32, device=plane.device)
    # The light of a pixel is that of all of it.
    squared = (widths / 2.3548)**2 + 1.0 / 12.0
    kernel = torch.exp(-0.5 * line**2 / squared[:, None])
    kernel = kernel / kernel.square().sum(1, keepdim=True).sqrt()
    plane = plane.transpose(0, 1)
    for shape, padding in (((n, 1, -1, 1), (_HALF_FILTER, 0)),
                           ((n, 1, 1, -1), (0, _HALF_FILTER))):
        plane = F.conv2d(plane, kernel.view(shape), padding=padding,
                         groups=n)
    return plane.transpose(0, 1)


class SourceFinder(nn.Module):
    """
    Find the centers of stars and galaxies in frames of any seeing.

    Parameters
    ----------
    widths : tuple of int, optional
        Channels of the levels, from half resolution downwards.
    """

    kind = 'ccd'

    #: Parts whose weights are stored in full precision.
    full_precision = ('scores',)

    def __init__(self, widths=(32, 64, 96)):
        super().__init__()
        self.config = {'widths': list(widths)}
        self.trunk = Trunk(_N_PLANES, widths, n_context=2)
        self.head = nn.Conv2d(widths[0], 4 * len(HEADS), 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # Few pixels hold a center, or an artefact.
        with torch.no_grad():
            for name in ('center', 'artefact'):
                self.head.bias[4 * HEADS.index(name):][:4] = -4.0
        self.scores = CandidateScores()

    @property
    def stride(self):
        """Sides of images must be multiples of this many pixels."""
        return self.trunk.stride

    @property
    def reach(self):
        """Pixels from which a result can be influenced, on each side."""
        return self.trunk.reach - 8 + max(2 * _HALF_FILTER, 16)

    def planes(self, image, valid, context):
        """
        Transform an image to several bounded planes.

        Parameters
        ----------
        image, valid, context : `torch.Tensor`
            As for `forward`.

        Returns
        -------
        planes : `torch.Tensor`
            Shape (n, 8, ny, nx).
        """
        image = image.clamp(-1e7, 1e7) * valid
        widths = torch.where(
            context[:, 1] > 0,
            math.e**context[:, 0] * _context_width(), _UNKNOWN_WIDTH)
        widths = widths.clamp(*_WIDTHS)
        near = local_mean(image, valid, 3)
        wide = local_mean(local_mean(image, valid, 9), valid, 9)
        matched = smoothed(image, widths)
        above = smoothed((image - wide) * valid, widths)
        broad = smoothed((image - wide) * valid, 1.5 * widths)
        planes = [
            0.4 * asinh(image), 0.2 * image.clamp(-5.0, 10.0),
            3.0 * (image - near) / (3.0 + near.abs()),
            0.4 * asinh(0.5 * matched), 0.4 * asinh(0.5 * above),
            # How much sharper than a wider source, whatever its flux.
            8.0 * (above - broad) / (8.0 + above.abs()),
            0.4 * asinh(4.0 * wide)]
        return torch.cat([plane.clamp(-_BOUND, _BOUND) * valid
                          for plane in planes] + [valid], 1)

    def forward(self, image, valid, context, *, dtype=torch.float32):
        """
        Look for centers.

        Parameters
        ----------
        image : `torch.Tensor`
            Shape (n, 1, ny, nx), sides multiples of ``stride``: above the
            background in units of the noise, 0 where not valid.

        valid : `torch.Tensor`
            Same shape, 1 for pixels that count and 0 for others.

        context : `torch.Tensor`
            Shape (n, 2), see `~astro_denoise.models.denoiser.psf_context`.

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        answer : dict of `torch.Tensor`
            Shape (n, 1, ny, nx), float32: the logits ``center`` (a source
            has its center in the pixel), ``star`` (the nearest source is
            a star) and ``artefact`` (the pixel holds light of none), and
            ``dx``, ``dy``, pixels to the center of the nearest source.
        """
        features = self.trunk(self.planes(image, valid, context), dtype,
                              context)[0]
        with torch.autocast(image.device.type, enabled=False):
            answer = dict(zip(HEADS, shuffled(
                self.head(features)).split(1, 1), strict=True))
            for name in ('dx', 'dy'):
                answer[name] = _FARTHEST * torch.tanh(answer[name])
        return answer


def _context_width():
    """Width of the context 0."""
    return math.exp(-psf_context(1.0)[0])
