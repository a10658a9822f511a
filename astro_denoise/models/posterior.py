# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network behind `astro_denoise.estimate_parameters`: what an image of
the Galactic Centre says about the parameters of its simulator.
"""

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

from ..exceptions import WeightsError, needs_extra
from .layers import unshuffled
from .pointwise import Pointwise, Standardised, box, squashed
from .sky_regions import N_SOURCE_PLANES, sky_regions, source_planes

__all__ = ['PosteriorNetwork']

_SIZE = 64
_N_PLANES = 12

# Blocks of the statistics that tell a strange image: pixels per side for
# their means, and for their fluctuations.
_MEAN_BLOCK, _VARIANCE_BLOCK = 8, 16


def _segmenter(name, hash):  # noqa: A002
    """A copy of the shipped segmenter, if it is the one expected."""
    from .registry import load_model

    model = load_model(name, task='segment')
    if model.hash != hash:
        msg = (f'the posterior was trained with the segmenter {name!r} of '
               f'SHA-256 {hash}, but it is {model.hash}: install the '
               f'package again')
        raise WeightsError(msg)
    return copy.deepcopy(model.network)


class PosteriorNetwork(nn.Module):
    """
    Joint posterior of the parameters, given an image of 64x64 counts.

    What an image says about its sources is in the distribution of the
    counts near to each other, region by region. So features of small
    patches are averaged over regions, and those of a segmenter of point
    sources correct what follows from them; a normalising
    flow (neural spline flow, arXiv:1906.04032) conditioned on them gives
    the density of the parameters.

    Parameters
    ----------
    width : int, optional
        Features of a patch.

    n_blocks : int, optional
        Residual blocks that make them.

    context : int, optional
        Numbers that the flow is conditioned on.

    transforms : int, optional
        Transformations of the flow.

    lower, upper : sequence of float, optional
        Ends of the uniform priors.

    integer : sequence of bool, optional
        Which parameters are integers, below their upper end.

    sources : dict, optional
        ``name`` and ``hash`` of the shipped segmenter of point sources
        whose features are averaged too.

    rank : int, optional
        Features of patches are first combined to so many numbers, which
        makes the network smaller; see `compressed`.
    """

    #: Features are told apart by small differences of their means: the
    #: weights that make them are stored as they are.
    full_precision = ('enter.', 'blocks.')

    def __init__(self, width=64, n_blocks=2, context=192, transforms=4,
                 lower=(0, 0, 0, 0, 200, 1000), upper=(1, 1, 1, 1, 800, 4000),
                 integer=(False, False, False, False, True, True),
                 sources=None, rank=None, segmenter=None):
        with needs_extra('galactic', 'for posteriors of parameters'):
            import zuko

        super().__init__()
        self.config = {'width': width, 'n_blocks': n_blocks,
                       'context': context, 'transforms': transforms,
                       'lower': list(lower), 'upper': list(upper),
                       'integer': list(integer), 'sources': sources,
                       'rank': rank}
        # In a list, so that its weights are not taken for this network's.
        self._segmenter = []
        if sources is not None:
            self._segmenter.append(_segmenter(**sources)
                                   if segmenter is None else segmenter)
        self.register_buffer('lower', torch.tensor(lower).float())
        self.register_buffer('upper', torch.tensor(upper).float())
        self.register_buffer('integer', torch.tensor(integer))
        line = ((torch.arange(_SIZE) - (_SIZE - 1) / 2) * 30.0 / _SIZE) / 15.0
        y, x = torch.meshgrid(line, line, indexing='ij')
        self.register_buffer('position', torch.stack(
            [x, y, y.abs(), torch.hypot(x, y)])[None], persistent=False)
        self.register_buffer('coordinates', torch.stack(
            [x, y, torch.ones_like(x)])[None], persistent=False)

        for size in (3, 9):
            self.register_buffer(f'box{size}', box(size, _SIZE),
                                 persistent=False)
        self.enter = nn.Conv2d(4 * _N_PLANES, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *[Pointwise(width) for _ in range(n_blocks)])
        self.register_buffer('regions', sky_regions(), persistent=False)
        self.register_buffer('folded', sky_regions(folded=True),
                             persistent=False)
        n_pooled = len(self.regions) * width
        first = nn.Linear(n_pooled, 256)
        if rank is not None:
            first = nn.Sequential(nn.Linear(n_pooled, rank, bias=False),
                                  nn.Linear(rank, 256))
        self.embedding = nn.Sequential(
            Standardised(n_pooled), first, nn.SiLU(),
            nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, context))
        for segmenter in self._segmenter:
            n_sources = len(self.folded) * (2 * segmenter.trunk.widths[0]
                                            + N_SOURCE_PLANES)
            self.standardised = Standardised(n_sources)
            self.correction = nn.Sequential(
                nn.Linear(n_sources + context, 192), nn.SiLU(),
                nn.Linear(192, 256), nn.SiLU(), nn.Linear(256, context))
            nn.init.zeros_(self.correction[-1].weight)
            nn.init.zeros_(self.correction[-1].bias)
        self.flow = zuko.flows.NSF(
            len(lower), context, transforms=transforms, bins=8,
            hidden_features=(128, 128))
        n_statistics = ((_SIZE // _MEAN_BLOCK)**2
                        + (_SIZE // _VARIANCE_BLOCK)**2)
        self.register_buffer('typical', torch.zeros(n_statistics))
        self.register_buffer('whitening', torch.eye(n_statistics))
        self.register_buffer('threshold', torch.tensor(math.inf))
        # Width of the normal distribution that the flow starts from: more
        # than 1 after training on too few images.
        self.register_buffer('spread', torch.tensor(1.0))

    def _apply(self, function, *args, **options):
        # What moves this network to a device moves the other one too.
        for segmenter in self._segmenter:
            segmenter._apply(function, *args, **options)
        return super()._apply(function, *args, **options)

    @torch.no_grad()
    def compressed(self, counts, rank):
        """
        A smaller network of nearly the same results.

        Of what the first layer of the embedding makes of images, only
        the principal components are kept.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64): typical images, in the thousands.

        rank : int
            Number of components.

        Returns
        -------
        network : `PosteriorNetwork`
            Without the features of a segmenter.
        """
        standardise, first = self.embedding[:2]
        answers = torch.cat([
            standardise(self.patches(part)) @ first.weight.T
            for part in counts.split(250)])
        vectors = torch.linalg.eigh(torch.cov(answers.T))[1][:, -rank:]
        state = {name: tensor for name, tensor in self.state_dict().items()
                 if not name.startswith('embedding.1.')}
        # What the other components are on average goes into the bias.
        mean = answers.mean(0)
        state |= {
            'embedding.1.0.weight': vectors.T @ first.weight,
            'embedding.1.1.weight': vectors,
            'embedding.1.1.bias': (first.bias + mean
                                   - vectors @ (vectors.T @ mean))}
        network = PosteriorNetwork(**{**self.config, 'sources': None,
                                      'rank': rank})
        network.load_state_dict(state)
        return network.train(self.training)

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
        Features of small patches, averaged over regions.

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
        ring = (9.0 * near - image) / 8.0
        noise = torch.rsqrt(wide + 1.0)
        planes = torch.cat([
            0.3 * torch.sqrt(image + 0.375) - 1.0,
            0.4 * torch.log(image + 1.0) - 1.0,
            0.4 * torch.log(near + 1.0) - 1.0,
            0.4 * torch.log(wide + 1.0) - 1.0,
            squashed((image - ring) * torch.rsqrt(ring.abs() + 1.0)),
            squashed((image - wide) * noise),
            squashed(3.0 * (near - wide) * noise),
            0.1 * torch.sqrt(wide) - 0.5,
            self.position.expand(len(image), -1, -1, -1)], 1)
        planes = unshuffled(planes)
        with torch.autocast(planes.device.type, dtype=torch.bfloat16,
                            enabled=dtype == torch.bfloat16):
            features = F.leaky_relu(self.enter(planes), 0.1, inplace=True)
            features = self.blocks(features)
        with torch.autocast(planes.device.type, enabled=False):
            # Channels are the last axis in memory.
            features = features.permute(0, 2, 3, 1).flatten(1, 2).float()
            return (self.regions.flatten(1) @ features).flatten(1)

    def sources(self, counts, dtype=torch.float32):
        """
        What the segmenter makes of images, averaged over regions.

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
        Average what a segmenter says over regions.

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

    def log_prob(self, parameters, context):
        """
        Logarithm of the posterior density, in the units of the priors.

        Parameters
        ----------
        parameters : `torch.Tensor`
            Shape (n, 6); integers with a number between 0 and 1 added.

        context : `torch.Tensor`
            Of `embed`.

        Returns
        -------
        log_prob : `torch.Tensor`
            Shape (n,): 0 where the image says nothing.
        """
        share = (parameters - self.lower) / (self.upper - self.lower)
        # The prior becomes the normal distribution that the flow ends in.
        normal = torch.special.ndtri(share.double().clamp(1e-5, 1 - 1e-5)
                                     ).float()
        start, log_volume = self.flow(context).transform.call_and_ladj(normal)
        start = start / self.spread
        # Of both normal distributions the constant is the same.
        return (0.5 * (normal**2 - start**2).sum(1) + log_volume
                - normal.shape[1] * torch.log(self.spread))

    def sample(self, counts, n_samples, generator=None):
        """
        Draw from the posterior.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        n_samples : int
            For each image.

        generator : `torch.Generator`, optional
            Source of random numbers.

        Returns
        -------
        samples : `torch.Tensor`
            Shape (n, n_samples, 6), within the priors.
        """
        flow = self.flow(self.embed(counts))
        base = torch.randn((n_samples, len(counts), len(self.lower)),
                           generator=generator, device=counts.device)
        normal = flow.transform.inv(self.spread * base)
        share = torch.special.ndtr(normal.double())
        values = self.lower + share * (self.upper - self.lower).double()
        # Rounding may not lead out of the prior.
        largest = torch.where(self.integer, self.upper - 1.0, self.upper)
        values = torch.where(self.integer, values.floor(), values)
        values = torch.minimum(torch.maximum(values, self.lower), largest)
        return values.transpose(0, 1).float()

    def statistics(self, counts):
        """
        What an image is recognised by.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        Returns
        -------
        statistics : `torch.Tensor`
            Shape (n, 80): the level in 8x8 blocks, and the strength of
            the fluctuations in 4x4 blocks.
        """
        image = counts[:, None]
        mean = F.avg_pool2d(image, _MEAN_BLOCK)
        near = self.box3 @ image @ self.box3.T
        power = F.avg_pool2d((image - near).square() / (near + 1.0),
                             _VARIANCE_BLOCK)
        return torch.cat([torch.log(mean + 0.1).flatten(1),
                          torch.log(power + 1e-2).flatten(1)], 1)

    def ood_score(self, counts):
        """
        How unlike the training set images are.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        Returns
        -------
        score : `torch.Tensor`
            Shape (n,): Mahalanobis distance of the `statistics` from
            those of the training set, over the root of their number;
            about 1 for images like those.
        """
        distance = (self.statistics(counts) - self.typical) @ self.whitening
        return distance.square().mean(1).sqrt()

    @property
    def ood_threshold(self):
        """Score that one in 200 images of the training set exceeds."""
        return float(self.threshold)

    @torch.no_grad()
    def learn_spread(self, counts, parameters, *, seed=0):
        """
        Learn how wide posteriors must be.

        The central intervals that should hold 68.3 per cent of the true
        values do so on average over the parameters.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64): images not trained on, in the thousands.

        parameters : `torch.Tensor`
            Shape (n, 6).

        seed : int, optional
            Of the samples.
        """
        spreads, coverages = (1.0, 1.2), []
        for spread in spreads:
            self.spread.fill_(spread)
            rng = torch.Generator().manual_seed(seed)
            samples = torch.cat([self.sample(part, 150, rng)
                                 for part in counts.split(250)])
            rank = (samples < parameters[:, None]).float().mean(1)
            coverages.append(float(((rank - 0.5).abs() < 0.34135
                                    ).float().mean()))
        slope = (coverages[1] - coverages[0]) / (spreads[1] - spreads[0])
        self.spread.fill_(spreads[0] + (0.6827 - coverages[0])
                          / max(slope, 0.1))

    @torch.no_grad()
    def learn_statistics(self, counts):
        """
        Learn what images usually look like.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64), n in the thousands.
        """
        statistics = self.statistics(counts).double()
        self.typical.copy_(statistics.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(statistics.T))
        self.whitening.copy_(vectors / values.clamp_min(1e-6).sqrt())
        self.threshold.copy_(torch.quantile(self.ood_score(counts), 0.995))
