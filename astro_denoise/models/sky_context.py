# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Condense an image of the Galactic Center to what it says about its sources.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from ..exceptions import WeightsError
from .layers import (
    Pointwise,
    Standardized,
    box_matrix,
    computing_in,
    squashed,
    unshuffled,
)
from .sky_regions import N_SOURCE_PLANES, sky_regions, source_planes

__all__ = ['SkyContext', 'image_planes']

_SIZE = 64
_N_PLANES = 12


def image_planes(image, near, wide):
    """
    Transform images of counts to planes of order one.

    Parameters
    ----------
    image, near, wide : `torch.Tensor`
        Shape (n, 1, 64, 64): counts, and their means over 3x3 and 9x9
        pixels.

    Returns
    -------
    planes : list of `torch.Tensor`
        Eight of the same shape.
    """
    ring = (9.0 * near - image) / 8.0
    noise = torch.rsqrt(wide + 1.0)
    return [
        0.3 * torch.sqrt(image + 0.375) - 1.0,
        0.4 * torch.log(image + 1.0) - 1.0,
        0.4 * torch.log(near + 1.0) - 1.0,
        0.4 * torch.log(wide + 1.0) - 1.0,
        squashed((image - ring) * torch.rsqrt(ring.abs() + 1.0)),
        squashed((image - wide) * noise),
        squashed(3.0 * (near - wide) * noise),
        0.1 * torch.sqrt(wide) - 0.5]


class SkyContext(nn.Module):
    """
    Condense images of 64x64 counts to some hundred numbers.

    What an image says about its sources is in the distribution of the
    counts near to each other, region by region. So features of small
    patches are averaged over regions, and those of a segmenter of point
    sources correct what follows from them.

    Parameters
    ----------
    width : int
        Features of a patch.

    n_blocks : int
        Residual blocks that make them.

    context : int
        Numbers that describe an image.

    sources : dict, optional
        ``name`` and ``hash`` of the shipped segmenter of point sources
        whose features are averaged too.

    rank : int, optional
        Number of linear combinations that the features of patches are
        first reduced to, which makes the network smaller.

    segmenter : `~astro_denoise.models.galactic_center.SourceSegmenter`, \
            optional
        The segmenter that ``sources`` names, if it is at hand.
    """

    def __init__(self, width, n_blocks, context, *, sources=None, rank=None,
                 segmenter=None):
        super().__init__()
        # In a list, so that its weights are not taken for this network's.
        self._segmenter = []
        if sources is not None:
            self._segmenter.append(_segmenter(**sources)
                                   if segmenter is None else segmenter)
        self._add_grids()
        self._add_patches(width, n_blocks, context, rank)
        for segmenter in self._segmenter:
            self._add_correction(segmenter, context)

    def _add_grids(self):
        """Register what is known of the pixels beforehand."""
        line = ((torch.arange(_SIZE) - (_SIZE - 1) / 2) * 30.0 / _SIZE) / 15.0
        y, x = torch.meshgrid(line, line, indexing='ij')
        grids = {
            'position': torch.stack(
                [x, y, y.abs(), torch.hypot(x, y)])[None],
            'coordinates': torch.stack([x, y, torch.ones_like(x)])[None],
            'box3': box_matrix(3, _SIZE), 'box9': box_matrix(9, _SIZE),
            'regions': sky_regions(), 'folded': sky_regions(folded=True)}
        for name, grid in grids.items():
            self.register_buffer(name, grid, persistent=False)

    def _add_patches(self, width, n_blocks, context, rank):
        """Build the network of the small patches."""
        self.enter = nn.Conv2d(4 * _N_PLANES, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *[Pointwise(width) for _ in range(n_blocks)])
        n_pooled = len(self.regions) * width
        first = nn.Linear(n_pooled, 256)
        if rank is not None:
            first = nn.Sequential(nn.Linear(n_pooled, rank, bias=False),
                                  nn.Linear(rank, 256))
        self.embedding = nn.Sequential(
            Standardized(n_pooled), first, nn.SiLU(),
            nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, context))

    def _add_correction(self, segmenter, context):
        """Build the network of a segmenter's features."""
        n_sources = len(self.folded) * (2 * segmenter.trunk.widths[0]
                                        + N_SOURCE_PLANES)
        # spelled as in the weights that ship
        self.standardised = Standardized(n_sources)
        self.correction = nn.Sequential(
            nn.Linear(n_sources + context, 192), nn.SiLU(),
            nn.Linear(192, 256), nn.SiLU(), nn.Linear(256, context))
        nn.init.zeros_(self.correction[-1].weight)
        nn.init.zeros_(self.correction[-1].bias)

    def _apply(self, function, *args, **options):
        # What moves this network to a device moves the other one too.
        for segmenter in self._segmenter:
            segmenter._apply(function, *args, **options)
        return super()._apply(function, *args, **options)

    def embed(self, counts, dtype=torch.float32):
        """
        Condense images.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        context : `torch.Tensor`
            Shape (n, context).
        """
        patches = self.patches(counts, dtype)
        sources = self.sources(counts, dtype)
        with torch.autocast(counts.device.type, enabled=False):
            context = self.embedding(patches)
            if sources is not None:
                sources = torch.cat([self.standardised(sources), context], 1)
                context = context + self.correction(sources)
        return context

    def patches(self, counts, dtype=torch.float32):
        """
        Average features of small patches over regions.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        patches : `torch.Tensor`
            Shape (n, n_features).
        """
        image = counts[:, None]
        near = self.box3 @ image @ self.box3.T
        wide = self.box9 @ image @ self.box9.T
        planes = [*image_planes(image, near, wide),
                  self.position.expand(len(image), -1, -1, -1)]
        features = self.features(planes, dtype)
        with torch.autocast(features.device.type, enabled=False):
            return (self.regions.flatten(1) @ features).flatten(1)

    def features(self, planes, dtype=torch.float32):
        """
        Compute features of small patches.

        Parameters
        ----------
        planes : sequence of `torch.Tensor`
            Shapes (n, c, 64, 64).

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        features : `torch.Tensor`
            Shape (n, 1024, width), of groups of 2x2 pixels.
        """
        planes = unshuffled(torch.cat(planes, 1))
        with computing_in(dtype, planes.device):
            features = F.leaky_relu(self.enter(planes), 0.1, inplace=True)
            features = self.blocks(features)
        with torch.autocast(planes.device.type, enabled=False):
            # Channels are the last axis in memory.
            return features.permute(0, 2, 3, 1).flatten(1, 2).float()

    def sources(self, counts, dtype=torch.float32):
        """
        Average what the segmenter makes of images over regions.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        sources : `torch.Tensor` or `None`
            Shape (n, n_features); `None` without a segmenter.
        """
        if not self._segmenter:
            return None
        image = counts[:, None]
        return self.averaged(*self._segmenter[0].described(
            image, torch.ones_like(image),
            self.coordinates.expand(len(image), -1, -1, -1), dtype))

    def averaged(self, features, answer, scale):
        """
        Average the answer of a segmenter over regions.

        Parameters
        ----------
        features, answer, scale : `torch.Tensor`, dict, `torch.Tensor`
            From `~astro_denoise.models.galactic_center.SourceSegmenter.\
described`.

        Returns
        -------
        sources : `torch.Tensor`
            Shape (n, n_features).
        """
        planes = source_planes(features, answer, scale)
        planes = planes.permute(0, 2, 3, 1).flatten(1, 2)
        return (self.folded.flatten(1) @ planes).flatten(1)


def _segmenter(name, hash):  # noqa: A002
    """Copy the shipped segmenter, if it is the one expected."""
    from .registry import load_model

    model = load_model(name, task='segment')
    if model.hash != hash:
        msg = (f'the posterior was trained with the segmenter {name!r} of '
               f'SHA-256 {hash}, but it is {model.hash}: install the '
               f'package again')
        raise WeightsError(msg)
    return copy.deepcopy(model.network)
