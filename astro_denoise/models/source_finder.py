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
from .galactic_center import Trunk
from .layers import asinh, at_hand, box_sum, exporting, shuffled, unshuffled

__all__ = ['BOUND', 'HEADS', 'LARGEST', 'SourceFinder', 'filter_widths',
           'smoothed', 'star_kernels']

#: Answers of the network, in the order of its planes.
HEADS = ('center', 'dx', 'dy', 'star', 'artefact')

_N_PLANES = 8

# Half the side of the filters, the pixels that are filtered at a time, and
# the widths of filters.
_HALF_FILTER = 12
_BLOCK = 32
_WIDTHS = 1.0, 9.0
_UNKNOWN_WIDTH = 3.0

#: What images, and what the planes are bounded by.
LARGEST, BOUND = 1e7, 4.0

# Farthest center, in pixels, that an offset leads to.
_FARTHEST = 2.0


def star_kernels(widths):
    """
    Compute Gaussian filters along an axis, of unit noise.

    Parameters
    ----------
    widths : `torch.Tensor`
        Full widths at half maximum in pixels, shape (n,).

    Returns
    -------
    kernels : `torch.Tensor`
        Shape (n, 25).
    """
    line = torch.arange(-_HALF_FILTER, _HALF_FILTER + 1,
                        dtype=torch.float32, device=widths.device)
    # The light of a pixel is that of all of it.
    squared = (widths / 2.3548)**2 + 1.0 / 12.0
    kernel = torch.exp(-0.5 * line**2 / squared[:, None])
    return kernel / kernel.square().sum(1, keepdim=True).sqrt()


def filter_widths(context):
    """
    Give the width of the filter that is matched to stars.

    Parameters
    ----------
    context : `torch.Tensor`
        Of `SourceFinder`, shape (n, 2).

    Returns
    -------
    widths : `torch.Tensor`
        Full widths at half maximum in pixels, shape (n,).
    """
    return torch.where(
        context[:, 1] > 0, math.e**context[:, 0] * _context_width(),
        _UNKNOWN_WIDTH).clamp(*_WIDTHS)


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
    kernel = star_kernels(widths)
    if exporting():
        # slower, but of any shape
        n = len(widths)
        plane = plane.transpose(0, 1)
        for sides, padding in (((-1, 1), (_HALF_FILTER, 0)),
                               ((1, -1), (0, _HALF_FILTER))):
            plane = F.conv2d(plane, kernel.view(n, 1, *sides),
                             padding=padding, groups=n)
        return plane.transpose(0, 1)
    # As a matrix that makes a block of pixels of those around it: faster
    # than a convolution of one channel.
    step = (torch.arange(_BLOCK + 2 * _HALF_FILTER, device=plane.device)
            [:, None] - torch.arange(_BLOCK, device=plane.device))
    last = kernel.shape[1] - 1
    matrix = torch.where((step >= 0) & (step <= last),
                         kernel[:, step.clamp(0, last)], 0.0)
    plane = plane[:, 0]
    for _ in range(2):
        plane = _along_rows(plane, matrix).transpose(1, 2)
    return plane[:, None]


def _count(valid, size):
    """Count the valid pixels of a box around each, at least half a one."""
    if not at_hand(valid) or not valid.all():
        return box_sum(valid, size).clamp_min(0.5)
    # Only the edges cut the boxes: those of a row and of a column tell all.
    return box_sum(valid[..., :1], size) * box_sum(valid[..., :1, :], size)


def _along_rows(plane, matrix):
    """Filter the rows of images, shape (n, ny, nx), by matrices."""
    n, ny, nx = plane.shape
    n_blocks = -(-nx // _BLOCK)
    plane = F.pad(plane, (_HALF_FILTER,
                          n_blocks * _BLOCK - nx + _HALF_FILTER))
    around = plane.unfold(2, _BLOCK + 2 * _HALF_FILTER, _BLOCK)
    return torch.bmm(around.reshape(n, ny * n_blocks, -1), matrix).view(
        n, ny, -1)[..., :nx]


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
        image = image.clamp(-LARGEST, LARGEST) * valid
        widths = filter_widths(context)
        near = box_sum(image, 3) / _count(valid, 3)
        count = _count(valid, 9)
        wide = box_sum(box_sum(image, 9) / count * valid, 9) / count
        rest = (image - wide) * valid
        matched = smoothed(image, widths)
        above, broad = smoothed(rest, widths), smoothed(rest, 1.5 * widths)
        planes = [
            0.4 * asinh(image), 0.2 * image.clamp(-5.0, 10.0),
            3.0 * (image - near) / (3.0 + near.abs()),
            0.4 * asinh(0.5 * matched), 0.4 * asinh(0.5 * above),
            # How much sharper than a wider source, whatever its flux.
            8.0 * (above - broad) / (8.0 + above.abs()),
            0.4 * asinh(4.0 * wide)]
        stack = torch.cat([*planes, valid], 1)
        return stack.clamp_(-BOUND, BOUND).mul_(valid)

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
        planes = self.planes(image, valid, context)
        if dtype == torch.bfloat16 and not planes.requires_grad:
            planes = planes.to(dtype)
        return self.answered(unshuffled(planes), context, dtype=dtype)

    def answered(self, features, context, *, dtype=torch.float32):
        """
        Look for centers in planes.

        Parameters
        ----------
        features : `torch.Tensor`
            What `planes` returns, unshuffled, shape (n, 32, ny, nx).

        context, dtype
            As for `forward`.

        Returns
        -------
        answer : dict of `torch.Tensor`
            Of `forward`.
        """
        features = self.trunk.levels(features, dtype, context)[0]
        device = features.device
        with torch.autocast(device.type, enabled=False):
            answer = dict(zip(HEADS, shuffled(
                self.head(features)).split(1, 1), strict=True))
            for name in ('dx', 'dy'):
                answer[name] = _FARTHEST * torch.tanh(answer[name])
        return answer


def _context_width():
    """Width of the context 0."""
    return math.exp(-psf_context(1.0)[0])
