# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The posterior of parameters for real skies: some pixels may be masked, and the
exposure may be known or not.
"""

import math
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from .posterior import MEAN_BLOCK, VARIANCE_BLOCK, PosteriorNetwork
from .sky_context import image_planes

__all__ = ['SkyPosterior']

# Logarithms of levels, of which small differences matter, beside thousands of
# features: they are learned if they are large.
_LEVEL_SCALE = 3.0

# Logarithm of a usual level in counts per pixel, and what is added to levels.
_USUAL, _FLOOR = 3.0, 0.1

# Share of a block that must be valid for its statistics to count.
_COVERED = 0.3

_SIZE = 64


def _blurred(box, image, valid):
    """Compute means of valid pixels, shape (n, 1, 64, 64)."""
    total = box @ valid @ box.T
    return box @ (image * valid) @ box.T / total.clamp_min(1e-3)


class SkyPosterior(PosteriorNetwork):
    """
    Posterior of parameters and nuisances, given an image of counts.

    The first flow gives the parameters, a second one the nuisances of
    the simulator if the parameters are these: the exposure, and those of
    ``astro_denoise.simulation.nuisances.NUISANCE_NAMES``.

    Parameters
    ----------
    width, n_blocks, context, transforms, rank : int, optional
        As of `~astro_denoise.models.posterior.PosteriorNetwork`.

    lower, upper, integer : sequence, optional
        Likewise.

    exposure : sequence of float, optional
        Lowest and highest exposure.

    n_nuisances : int, optional
        Number of nuisances, the exposure included.
    """

    #: How its images are simulated, for predictive checks.
    simulated: ClassVar = {'tier': 'fixed', 'nuisances': True}

    #: What narrows nearly collinear features is stored as it is too.
    full_precision = (*PosteriorNetwork.full_precision, 'embedding.1.0.')

    def __init__(self, width=64, n_blocks=2, context=192, transforms=4,
                 lower=(0, 0, 0, 0, 200, 1000), upper=(1, 1, 1, 1, 800, 4000),
                 integer=(False, False, False, False, True, True),
                 rank=None, exposure=(0.2, 5.0), n_nuisances=7):
        # zuko is slow to import: not before it is needed.
        from .spline_flow import spline_flow

        super().__init__(width, n_blocks, context, transforms, lower, upper,
                         integer, rank=rank)
        del self.config['sources']
        self.config |= {'exposure': list(exposure),
                        'n_nuisances': n_nuisances}
        entry = self.enter
        self.enter = nn.Conv2d(entry.in_channels + 4, entry.out_channels, 3,
                               padding=1)
        n_levels = len(self.regions) + (_SIZE // MEAN_BLOCK)**2
        self.conditions = nn.Linear(len(self.regions) + n_levels + 4, 256)
        self.nuisance_flow = spline_flow(n_nuisances, context + len(lower), 2)
        self.register_buffer('covariance',
                             torch.eye(len(self.typical)))

    @property
    def exposures(self):
        """Lowest and highest exposure."""
        return tuple(self.config['exposure'])

    def start_from(self, posterior):
        """
        Take over what a posterior without masks has learned.

        Parameters
        ----------
        posterior : `~astro_denoise.models.posterior.PosteriorNetwork`
            Of the same width and context.
        """
        state = {name: tensor for name, tensor
                 in posterior.state_dict().items()
                 if name.startswith(('blocks.', 'embedding.', 'flow.',
                                     'enter.bias'))}
        weight = torch.zeros_like(self.enter.weight)
        old = posterior.enter.weight
        weight[:, :old.shape[1]] = old
        state['enter.weight'] = weight
        self.load_state_dict(state, strict=False)
        nn.init.zeros_(self.conditions.weight)
        nn.init.zeros_(self.conditions.bias)

    def embed(self, counts, dtype=torch.float32, *, valid=None,
              exposure=None):
        """
        Condense images.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        valid : `torch.Tensor`, optional
            Same shape, 1 for pixels that count and 0 for others.

        exposure : `torch.Tensor`, optional
            Shape (n,), NaN where it is not known.

        Returns
        -------
        context : `torch.Tensor`
            Shape (n, context).
        """
        return self.condensed(*self.described(counts, dtype, valid=valid,
                                              exposure=exposure))

    def described(self, counts, dtype=torch.float32, *, valid=None,
                  exposure=None):
        """
        Average features over regions.

        Parameters
        ----------
        counts, dtype, valid, exposure : optional
            As of `embed`.

        Returns
        -------
        features : `torch.Tensor`
            Shape (n, n_features): means over the valid pixels of regions,
            standardized.

        conditions : `torch.Tensor`
            Shape (n, n_conditions): coverage of the regions, levels and
            exposure.
        """
        image = counts[:, None]
        valid = torch.ones_like(image) if valid is None else valid[:, None]
        image = image * valid
        near = _blurred(self.box3, image, valid)
        wide = _blurred(self.box9, image, valid)
        planes = [plane * valid for plane in image_planes(image, near, wide)]
        features = self.features(
            [*planes, self.position.expand(len(image), -1, -1, -1), valid],
            dtype)
        with torch.autocast(counts.device.type, enabled=False):
            share = F.avg_pool2d(valid, 2).flatten(1)
            weights = self.regions.flatten(1) * share[:, None]
            coverage = weights.sum(2)
            means = (weights @ features) / coverage.clamp_min(1e-3)[..., None]
            return (self._standardized(means, coverage),
                    torch.cat([coverage, self._levels(image, valid,
                                                      exposure)], 1))

    def condensed(self, features, conditions):
        """
        Condense what `described` gives.

        Parameters
        ----------
        features, conditions : `torch.Tensor`
            From `described`.

        Returns
        -------
        context : `torch.Tensor`
            Shape (n, context).
        """
        first, *others = self.embedding[1:]
        hidden = first(features) + self.conditions(conditions)
        for layer in others:
            hidden = layer(hidden)
        return hidden

    def _levels(self, image, valid, exposure):
        """
        Compute what levels say: how light is shared, and how much there is.

        Returns the logarithms of the mean counts of regions and blocks
        over those of the image, 0 where little is seen; that of the
        image, with and without the exposure, which is 0 if it is not
        known; that of the exposure, and whether it is known.
        """
        sums, shares = (
            torch.cat([(self.regions.flatten(1) @ F.avg_pool2d(
                plane, 2).flatten(1).T).T,
                F.avg_pool2d(plane, MEAN_BLOCK).flatten(1)], 1)
            for plane in (image, valid))
        seen = shares > _COVERED
        whole = torch.log(image.sum((1, 2, 3)) / valid.sum(
            (1, 2, 3)).clamp_min(1.0) + _FLOOR)[:, None]
        local = torch.log(sums / shares.clamp_min(1e-3) + _FLOOR) - whole
        whole = whole - _USUAL
        if exposure is None:
            exposure = torch.full_like(whole[:, 0], math.nan)
        known = torch.isfinite(exposure)[:, None]
        log = torch.log(torch.where(known, exposure[:, None], 1.0))
        return _LEVEL_SCALE * torch.cat(
            [local * seen, whole, (whole - log) * known, log, known], 1)

    def _standardized(self, means, coverage):
        """Standardize features of regions, shape (n, n_features)."""
        # What is not seen is taken to be as usual.
        seen = (coverage > 1e-2).float()[..., None]
        features = self.embedding[0](means.flatten(1))
        return (features.unflatten(1, means.shape[1:]) * seen).flatten(1)

    def _normal(self, parameters):
        """Map parameters to numbers whose prior is normal."""
        share = (parameters - self.lower) / (self.upper - self.lower)
        return torch.special.ndtri(
            share.double().clamp(1e-5, 1 - 1e-5)).float()

    def exposure_share(self, exposure):
        """
        Map exposures to numbers between 0 and 1.

        Parameters
        ----------
        exposure : `torch.Tensor`
            Exposures.

        Returns
        -------
        share : `torch.Tensor`
            Where they are between the lowest and the highest,
            logarithmically.
        """
        low, high = self.exposures
        return torch.log(exposure / low) / math.log(high / low)

    def nuisance_log_prob(self, shares, parameters, context):
        """
        Compute the logarithm of the posterior density of nuisances.

        Parameters
        ----------
        shares : `torch.Tensor`
            Shape (n, n_nuisances), from 0 to 1, that of the exposure
            first.

        parameters : `torch.Tensor`
            Shape (n, 6); integers with a number between 0 and 1 added.

        context : `torch.Tensor`
            Of `embed`.

        Returns
        -------
        log_prob : `torch.Tensor`
            Shape (n,), over the density of the prior.
        """
        normal = torch.special.ndtri(shares.double().clamp(1e-5, 1 - 1e-5)
                                     ).float()
        condition = torch.cat([context, self._normal(parameters)], 1)
        start, log_volume = self.nuisance_flow(
            condition).transform.call_and_ladj(normal)
        return 0.5 * (normal**2 - start**2).sum(1) + log_volume

    def sample_nuisances(self, parameters, context, generator=None):
        """
        Draw nuisances that go with parameters.

        Parameters
        ----------
        parameters : `torch.Tensor`
            Shape (n, 6).

        context : `torch.Tensor`
            Of `embed`, shape (n, context).

        generator : `torch.Generator`, optional
            Source of random numbers.

        Returns
        -------
        exposure : `torch.Tensor`
            Shape (n,).

        shares : `torch.Tensor`
            Shape (n, n_nuisances - 1), of the others, from 0 to 1.
        """
        from .spline_flow import inverted

        parameters = parameters + 0.5 * self.integer
        condition = torch.cat([context, self._normal(parameters)], 1)
        base = torch.randn((len(condition), self.config['n_nuisances']),
                           generator=generator, device=context.device)
        shares = torch.special.ndtr(inverted(
            self.nuisance_flow, condition, base[None])[0].double()).float()
        low, high = self.exposures
        return low * (high / low)**shares[:, 0], shares[:, 1:]

    def sample(self, counts, n_samples, generator=None, *, valid=None,
               exposure=None):
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

        valid, exposure : `torch.Tensor`, optional
            As of `embed`.

        Returns
        -------
        samples : `torch.Tensor`
            Shape (n, n_samples, 6), within the priors.
        """
        return self.sampled(self.embed(counts, valid=valid,
                                       exposure=exposure),
                            n_samples, generator)

    @torch.no_grad()
    def learn_statistics(self, counts, valid):
        """
        Learn the usual statistics of images.

        Parameters
        ----------
        counts, valid : `torch.Tensor`
            Shape (n, 64, 64), n in the thousands.
        """
        statistics = self.statistics(counts).double()
        self.typical.copy_(statistics.mean(0))
        covariance = torch.cov(statistics.T)
        # The least variances are those of chance.
        values, vectors = torch.linalg.eigh(covariance)
        self.covariance.copy_(vectors * values.clamp_min(1e-4) @ vectors.T)
        self.threshold.copy_(torch.quantile(self.ood_score(counts, valid),
                                            0.995))

    def statistics(self, counts, valid=None):
        """
        Compute the numbers by which a strange image is recognized.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        valid : `torch.Tensor`, optional
            Same shape, 1 for pixels that count and 0 for others.

        Returns
        -------
        statistics : `torch.Tensor`
            Shape (n, 80), those of the valid pixels; NaN where less than
            a third of a block is valid.
        """
        if valid is None:
            return super().statistics(counts)
        image, valid = (counts * valid)[:, None], valid[:, None]
        near = _blurred(self.box3, image, valid)
        power = (image - near).square() / (near + 1.0) * valid
        found = []
        for plane, block, floor in ((image, MEAN_BLOCK, 0.1),
                                    (power, VARIANCE_BLOCK, 1e-2)):
            share = F.avg_pool2d(valid, block)
            mean = F.avg_pool2d(plane, block) / share.clamp_min(1e-6)
            found.append(torch.where(share > _COVERED,
                                     torch.log(mean + floor),
                                     math.nan).flatten(1))
        return torch.cat(found, 1)

    def ood_score(self, counts, valid=None):
        """
        Measure how unlike the training set images are.

        Parameters
        ----------
        counts : `torch.Tensor`
            Shape (n, 64, 64).

        valid : `torch.Tensor`, optional
            Same shape, 1 for pixels that count and 0 for others.

        Returns
        -------
        score : `torch.Tensor`
            Shape (n,): Mahalanobis distance of the `statistics` of valid
            pixels from those of the training set, over the root of their
            number; about 1 for images like those.
        """
        distance = (self.statistics(counts, valid) - self.typical).double()
        seen = ~torch.isnan(distance)
        distance = torch.where(seen, distance, 0.0)
        # What is not seen is made independent, and adds nothing.
        both = seen[:, :, None] & seen[:, None, :]
        covariance = torch.where(both, self.covariance.double(),
                                 torch.eye(len(self.typical),
                                           dtype=torch.float64,
                                           device=counts.device))
        whitened = torch.linalg.solve(covariance, distance)
        n_seen = seen.sum(1).clamp_min(1)
        return ((distance * whitened).sum(1) / n_seen).sqrt().float()
