# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The segmenter for real images of the Galactic Center, ``galactic-sky``:
trained on skies with nuisances, of any exposure, partly masked.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ...models.layers import box_sum
from ...models.sky_segmenter import KNOTS, SkySegmenter
from ...simulation.galactic_center import GalacticCenterSimulator
from ...simulation.masks import random_validity
from ...sky_maps.galactic_grid import position_planes
from ..options import Schedule
from .held_out import held_out_batches
from .saving import Recipe, TrainedNetwork
from .segmenter import (
    answer_loss,
    calibrate_probability,
    flux_likelihood,
    train_segmenter,
)

__all__ = ['RECIPES', 'RealSkySampler', 'SkySegmenterRecipe',
           'calibrate_fluxes', 'real_sky_loss', 'standing_out']

# Signal-to-noise ratio of an ideal observer from which a source stands out:
# that of a test statistic of 25 with a free position and spectral index.
_STANDS_OUT = 4.0

# Share of the realistic tier, of rotated skies, whose position is unknown,
# and of masked ones.
_REALISTIC, _ROTATED, _MASKED = 0.25, 0.25, 0.3

_EXPOSURES = (0.25, 4.0)

# Share of the pulls that are within an error, and how many tell it.
_SHARE, _N_NEEDED = 0.6827, 50.0

# Weight of the cross-entropy: few pixels have a source that stands out.
_ENTROPY = 8.0

# Largest number and range of fluxes of sources brighter than those of the
# simulator's two populations.
_BRIGHT = (12, 30.0, 5000.0)


def standing_out(flux, expected, profile, valid):
    """
    Compute the signal-to-noise ratio of sources for an ideal observer.

    As `~astro_denoise.evaluation.ideal_snr`, for images that have point-
    spread functions and masks of their own.

    Parameters
    ----------
    flux, expected, valid : `torch.Tensor`
        Shape (n, ny, nx): flux in each pixel, expected counts of
        everything, and 1 or 0.

    profile : `torch.Tensor`
        Shape (n, 11, 11): light of a source in the middle of a pixel.

    Returns
    -------
    snr : `torch.Tensor`
        Shape (n, ny, nx).
    """
    weight = valid / expected.clamp_min(1e-3)
    information = F.conv2d(weight[None], profile.square()[:, None],
                           padding=profile.shape[-1] // 2,
                           groups=len(profile))[0]
    return flux * information.sqrt() * valid


class RealSkySampler:
    """
    Draw batches of skies with nuisances and their sources.

    Parameters
    ----------
    batch_size : int, optional
        Images in a batch, a multiple of 16.

    Raises
    ------
    ValueError
        If it is another number.
    """

    def __init__(self, *, batch_size=64):
        if batch_size < 16 or batch_size % 16:
            msg = f'batch_size must be a multiple of 16, got {batch_size}'
            raise ValueError(msg)
        self.batch_size = batch_size
        self._parts = []
        for rotated, among in ((False, 1.0 - _ROTATED), (True, _ROTATED)):
            for tier, share in (('fixed', 1.0 - _REALISTIC),
                                ('realistic', _REALISTIC)):
                simulator = GalacticCenterSimulator(
                    tier, nuisances=True, rotation=rotated,
                    exposure=_EXPOSURES)
                self._parts.append((simulator,
                                    round(among * share * batch_size)))
        self._position = position_planes(None, (64, 64))

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : int or sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            Float32: ``image``, ``valid``, ``present``, 1 where sources
            stand out, and their ``flux`` as it is expected in the image,
            of shape (n, 1, 64, 64), ``offset`` (n, 2, 64, 64) and
            ``position`` (n, 3, 64, 64).
        """
        seed = list(np.atleast_1d(seed))
        parts = [simulator.draw(number, [*seed, index], bright=_BRIGHT)
                 for index, (simulator, number) in enumerate(self._parts)]
        drawn = {name: torch.cat([part[name] for part in parts])
                 for name in ('images', 'sources', 'expected', 'exposure',
                              'offsets', 'profile')}
        known = np.concatenate([
            np.full(number, not simulator.rotation)
            for simulator, number in self._parts])
        rng = np.random.default_rng([*seed, 9])
        valid = random_validity(drawn['images'].numpy(), _MASKED, rng)
        gain = self._parts[0][0].gain * drawn['exposure']
        flux = drawn['sources'].sum(1) * gain[:, None, None]
        present = (standing_out(
            flux, drawn['expected'], drawn['profile'],
            torch.from_numpy(valid)) > _STANDS_OUT).float()
        return {'image': (drawn['images'].numpy() * valid)[:, None],
                'valid': valid[:, None],
                'flux': (flux * present).numpy()[:, None],
                'present': present.numpy()[:, None],
                'offset': drawn['offsets'].numpy(),
                'position': self._position * known.astype(np.float32)[
                    :, None, None, None]}


def real_sky_loss(model, batch, step, dtype):
    """
    Compute the loss of `~astro_denoise.models.sky_segmenter.SkySegmenter`.

    For `astro_denoise.training.loop.train`. That of any segmenter, and the
    likelihood of the fluxes in 3x3 pixels.

    Parameters
    ----------
    model, batch, step, dtype : object
        As for `~astro_denoise.training.recipes.segmenter.segmentation_loss`;
        batches of a `RealSkySampler`.

    Returns
    -------
    loss : `torch.Tensor`
        The loss.

    numbers : dict of float
        For the log.
    """
    answer = model(batch['image'], batch['valid'], batch['position'],
                   dtype=dtype)
    loss, numbers = answer_loss(answer, batch, entropy_weight=_ENTROPY)
    near = flux_likelihood(box_sum(answer['flux'], 3),
                           answer['near_log_variance'],
                           box_sum(batch['flux'], 3), batch['valid'])
    return loss + 0.02 * near, {**numbers, 'near': float(near.detach())}


@torch.no_grad()
def calibrate_fluxes(network, sampler, n_batches, seed):
    """
    Make the fluxes of sources right in the mean, and their errors, too.

    At each flux over its error, factors of fluxes are found by least
    squares on the highest pixels of probable sources; errors hold 68 per
    cent of what is left. Some are confused with others, and far off.

    Parameters
    ----------
    network : `~astro_denoise.models.sky_segmenter.SkySegmenter`
        The network, on the processor; its factors are set.

    sampler : object
        Sampler of the images to calibrate on.

    n_batches : int
        Number of its batches.

    seed : int
        Seed of the training.
    """
    found = []
    for factors in (network.flux_factors, network.error_factors):
        factors.fill_(1.0)
    for batch in held_out_batches(sampler, n_batches, seed):
        answer = network(batch['image'], batch['valid'], batch['position'])
        flux = answer['flux']
        top = ((flux == F.max_pool2d(flux, 3, 1, 1)) & (flux > 0)
               & (box_sum(torch.sigmoid(answer['logit']), 3) > 0.5)
               & (batch['valid'] > 0))
        found.append(torch.stack([plane[top] for plane in (
            network.near_snr(answer), box_sum(flux, 3),
            torch.exp(0.5 * answer['near_log_variance']),
            box_sum(batch['flux'], 3))]))
    snr, flux, error, truth = torch.cat(found, 1).double()
    hats = network.hats(snr)
    # Of few sources far above the noise little is learned: near 1.
    prior = torch.eye(len(KNOTS), dtype=torch.float64)
    columns = hats * snr[:, None]
    weight = 1.0 / (1.0 + 0.01 * snr**2)[:, None]
    factors = torch.linalg.solve(
        (columns * weight).T @ columns + prior,
        (columns * weight).T @ (truth / error) + prior.sum(1))
    network.flux_factors.copy_(factors)
    pulls = (truth / error - columns @ factors) / (hats @ factors)
    network.error_factors.copy_(_half_widths(pulls, hats))


def _half_widths(pulls, hats):
    """Find what holds 68 per cent of the pulls around each knot."""
    size, order = torch.sort(pulls.abs())
    widths = torch.ones(hats.shape[1], dtype=pulls.dtype)
    for knot, weight in enumerate(hats[order].T):
        if weight.sum() >= _N_NEEDED:
            share = torch.cumsum(weight, 0) / weight.sum()
            widths[knot] = size[torch.searchsorted(share, _SHARE)]
    return widths


@dataclass(frozen=True, kw_only=True)
class SkySegmenterRecipe(Recipe):
    """
    Recipe of a segmenter of point sources for real skies.

    Parameters
    ----------
    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    widths : tuple of int
        Channels of the levels of the network.
    """

    task: str = 'segment'
    schedule: Schedule
    widths: tuple

    def train(self, run, *, n_steps=None):
        """Train the network and calibrate its probabilities."""
        schedule = self.schedule.with_steps(n_steps)
        sampler = RealSkySampler()
        network, log = train_segmenter(
            SkySegmenter(self.widths), schedule, run, sampler=sampler,
            loss_function=real_sky_loss)
        found = calibrate_probability(network, sampler, 30, run.seed)
        calibrate_fluxes(network, sampler, 30, run.seed + 1)
        # Of a source, not of a pixel: more probable than not.
        return TrainedNetwork(network, log, {'n_steps': schedule.n_steps},
                              {**found, 'threshold': 0.5})


#: Recipes by name.
RECIPES = {'galactic-sky.segment': SkySegmenterRecipe(
    name='galactic-sky.segment',
    summary='point sources in gamma-ray images of real skies',
    schedule=Schedule(5000, 1.5e-3), widths=(40, 80, 112))}
