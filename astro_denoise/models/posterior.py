# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network behind `astro_denoise.estimate_parameters`: the posterior of the
simulator's parameters, given an image of the Galactic Center.
"""

import math
from typing import ClassVar

import torch
from torch.nn import functional as F

from .sky_context import SkyContext

__all__ = ['PosteriorNetwork']

_SIZE = 64

# Blocks of the statistics that tell a strange image: pixels per side for
# their means, and for their fluctuations.
MEAN_BLOCK, VARIANCE_BLOCK = 8, 16

# Samples that go through the flow at once, which bounds the memory.
_AT_ONCE = 2**18


class PosteriorNetwork(SkyContext):
    """
    Joint posterior of the parameters, given an image of 64x64 counts.

    A normalizing flow (neural spline flow, arXiv:1906.04032), conditioned
    on what `~astro_denoise.models.sky_context.SkyContext` makes of the
    image, gives the density of the parameters.

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

    segmenter : `~astro_denoise.models.galactic_center.SourceSegmenter`, \
            optional
        The segmenter that ``sources`` names, if it is at hand.
    """

    #: How its images are simulated, for predictive checks.
    simulated: ClassVar = {'tier': 'legacy'}

    #: Features are told apart by small differences of their means: the
    #: weights that make them are stored as they are.
    full_precision = ('enter.', 'blocks.')

    def __init__(self, width=64, n_blocks=2, context=192, transforms=4,
                 lower=(0, 0, 0, 0, 200, 1000), upper=(1, 1, 1, 1, 800, 4000),
                 integer=(False, False, False, False, True, True),
                 sources=None, rank=None, segmenter=None):
        # zuko is slow to import: not before it is needed.
        from .spline_flow import spline_flow

        super().__init__(width, n_blocks, context, sources=sources,
                         rank=rank, segmenter=segmenter)
        self.config = {'width': width, 'n_blocks': n_blocks,
                       'context': context, 'transforms': transforms,
                       'lower': list(lower), 'upper': list(upper),
                       'integer': list(integer), 'sources': sources,
                       'rank': rank}
        self.register_buffer('lower', torch.tensor(lower).float())
        self.register_buffer('upper', torch.tensor(upper).float())
        self.register_buffer('integer', torch.tensor(integer))
        self.flow = spline_flow(len(lower), context, transforms)
        n_statistics = ((_SIZE // MEAN_BLOCK)**2
                        + (_SIZE // VARIANCE_BLOCK)**2)
        self.register_buffer('typical', torch.zeros(n_statistics))
        self.register_buffer('whitening', torch.eye(n_statistics))
        self.register_buffer('threshold', torch.tensor(math.inf))
        # Width of the normal distribution that the flow starts from: more
        # than 1 after training on too few images.
        self.register_buffer('spread', torch.tensor(1.0))

    @torch.no_grad()
    def compressed(self, counts, rank):
        """
        Make a smaller network of nearly the same results.

        Only the principal components of what the first layer of the
        embedding makes of images are kept.

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
        standardize, first = self.embedding[:2]
        answers = torch.cat([
            standardize(self.patches(part)) @ first.weight.T
            for part in counts.split(250)])
        network = PosteriorNetwork(**{**self.config, 'sources': None,
                                      'rank': rank})
        network.load_state_dict(self.narrowed(answers, rank))
        return network.train(self.training)

    def narrowed(self, answers, rank):
        """
        Make the weights of a network of a lower rank.

        Parameters
        ----------
        answers : `torch.Tensor`
            Shape (n, 256): what the first layer of the embedding makes of
            typical images, without its bias.

        rank : int
            Number of components.

        Returns
        -------
        state : dict of `torch.Tensor`
            Weights.
        """
        first = self.embedding[1]
        vectors = torch.linalg.eigh(torch.cov(answers.T))[1][:, -rank:]
        # What the other components are on average goes into the bias.
        mean = answers.mean(0)
        return {
            **{name: tensor for name, tensor in self.state_dict().items()
               if not name.startswith('embedding.1.')},
            'embedding.1.0.weight': vectors.T @ first.weight,
            'embedding.1.1.weight': vectors,
            'embedding.1.1.bias': (first.bias + mean
                                   - vectors @ (vectors.T @ mean))}

    def log_prob(self, parameters, context):
        """
        Compute the logarithm of the posterior density.

        Parameters
        ----------
        parameters : `torch.Tensor`
            Shape (n, 6); integers with a number between 0 and 1 added.

        context : `torch.Tensor`
            Of `embed`.

        Returns
        -------
        log_prob : `torch.Tensor`
            Shape (n,), over the density of the prior: 0 where the image
            says nothing.
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
        return self.sampled(self.embed(counts), n_samples, generator)

    def sampled(self, context, n_samples, generator=None):
        """
        Draw from the posteriors of contexts.

        Parameters
        ----------
        context : `torch.Tensor`
            Of `embed`.

        n_samples : int
            For each image.

        generator : `torch.Generator` or list of it, optional
            Source of random numbers, or one for each image.

        Returns
        -------
        samples : `torch.Tensor`
            Shape (n, n_samples, 6), within the priors.
        """
        from .spline_flow import inverted

        base = self._start(n_samples, context, generator)
        n_rows = max(1, _AT_ONCE // len(context))
        normal = torch.cat([inverted(self.flow, context, self.spread * part)
                            for part in base.split(n_rows)])
        share = torch.special.ndtr(normal.double())
        values = self.lower + share * (self.upper - self.lower).double()
        # Rounding may not lead out of the prior.
        largest = torch.where(self.integer, self.upper - 1.0, self.upper)
        values = torch.where(self.integer, values.floor(), values)
        values = torch.minimum(torch.maximum(values, self.lower), largest)
        return values.transpose(0, 1).float()

    def _start(self, n_samples, context, generator):
        """Draw what the flow starts from, (n_samples, n, n_parameters)."""
        if isinstance(generator, list):
            return torch.cat([
                self._start(n_samples, part, one) for part, one in
                zip(context.split(1), generator, strict=True)], 1)
        return torch.randn((n_samples, len(context), len(self.lower)),
                           generator=generator, device=context.device)

    def statistics(self, counts):
        """
        Compute the numbers by which a strange image is recognized.

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
        mean = F.avg_pool2d(image, MEAN_BLOCK)
        near = self.box3 @ image @ self.box3.T
        power = F.avg_pool2d((image - near).square() / (near + 1.0),
                             VARIANCE_BLOCK)
        return torch.cat([torch.log(mean + 0.1).flatten(1),
                          torch.log(power + 1e-2).flatten(1)], 1)

    def ood_score(self, counts):
        """
        Measure how unlike the training set images are.

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
    def learn_spread(self, contexts, parameters, *, seed=0):
        """
        Learn the width that posteriors must have.

        The central intervals that should hold 68.3 per cent of the true
        values do so on average over the parameters.

        Parameters
        ----------
        contexts : `torch.Tensor`
            Of `embed`, of images not trained on, in the thousands.

        parameters : `torch.Tensor`
            Shape (n, 6).

        seed : int, optional
            Of the samples.
        """
        spreads, coverages = (1.0, 1.2), []
        for spread in spreads:
            self.spread.fill_(spread)
            rng = torch.Generator().manual_seed(seed)
            samples = torch.cat([self.sampled(part, 150, rng)
                                 for part in contexts.split(250)])
            rank = (samples < parameters[:, None]).float().mean(1)
            coverages.append(float(((rank - 0.5).abs() < 0.34135
                                    ).float().mean()))
        slope = (coverages[1] - coverages[0]) / (spreads[1] - spreads[0])
        self.spread.fill_(spreads[0] + (0.6827 - coverages[0])
                          / max(slope, 0.1))

    @torch.no_grad()
    def learn_statistics(self, counts):
        """
        Learn the usual statistics of images.

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
