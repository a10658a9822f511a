# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training segmenters of point sources: their loss, simulated images of the
Galactic Center, and the calibration of their probabilities.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ...simulation.galactic_center import GalacticCenterSimulator
from ..loop import train
from .held_out import held_out_batches

__all__ = ['SkySampler', 'answer_loss', 'calibrate_probability',
           'flux_likelihood', 'segmentation_loss', 'train_segmenter']


class SkySampler:
    """
    Draw batches of images of the Galactic Center with their sources.

    Most images are as the simulator's default draws them, with the
    position of each pixel known; the others are rotated, with another
    exposure and unknown positions, so that a network may be used on
    other images too. Some have masked pixels.

    Parameters
    ----------
    batch_size : int, optional
        Images in a batch.

    other_share : float, optional
        Share of the rotated images.
    """

    def __init__(self, *, batch_size=64, other_share=0.25):
        self.batch_size = batch_size
        self.n_other = round(other_share * batch_size)
        self.n_standard = batch_size - self.n_other
        self._standard = GalacticCenterSimulator('legacy')
        self._other = GalacticCenterSimulator('legacy', rotation=True,
                                              exposure=(0.2, 4.0))
        line = (np.arange(64) - 31.5) * 0.46875 / 15.0
        y, x = np.meshgrid(line, line, indexing='ij')
        self._position = np.stack([x, y, np.ones_like(x)]).astype(np.float32)

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
            Float32: ``image``, ``valid``, ``flux`` of the point sources
            as they are expected in the image, and ``present``, 1 where
            there are any, of shape (n, 1, 64, 64), ``offset`` (n, 2, 64,
            64) and ``position`` (n, 3, 64, 64); ``parameters`` of the
            simulator, (n, 6), integers with a
            number between 0 and 1 added, and ``whole`` (n,), 1 for
            images as the simulator's default draws them.
        """
        seed = list(np.atleast_1d(seed))
        parts = [self._standard.draw(self.n_standard, [*seed, 1])]
        if self.n_other:
            parts.append(self._other.draw(self.n_other, [*seed, 2]))
        drawn = {name: torch.cat([part[name] for part in parts])
                 for name in ('images', 'sources', 'exposure', 'offsets',
                             'parameters')}
        rng = np.random.default_rng([*seed, 3])
        n = len(drawn['images'])
        known = (np.arange(n) < self.n_standard) & (rng.random(n) < 0.9)
        valid = np.ones((n, 1, 64, 64), np.float32)
        for index in np.flatnonzero(rng.random(n) < 0.1):
            valid[index, 0] -= rng.random((64, 64)) < 10.0**rng.uniform(-3, -1)
        gain = drawn['exposure'] * self._standard.gain
        flux = (drawn['sources'].sum(1) * gain[:, None, None]).numpy()[:, None]
        parameters = drawn['parameters'].numpy()
        parameters[:, 4:] += rng.random((n, 2), np.float32)
        whole = known & (valid.min((1, 2, 3)) > 0)
        return {'image': drawn['images'].numpy()[:, None] * valid,
                'valid': valid, 'flux': flux,
                'present': (flux > 0).astype(np.float32),
                'offset': drawn['offsets'].numpy(),
                'parameters': parameters,
                'whole': whole.astype(np.float32),
                'position': self._position
                * known[:, None, None, None].astype(np.float32)}


def segmentation_loss(model, batch, step, dtype):
    """
    Compute the loss of `SourceSegmenter`.

    For `astro_denoise.training.loop.train`. Cross-entropy of the pixels
    with and without sources, the beta-NLL (arXiv:2203.09168, beta = 1/2)
    of their flux, and the squared error of the offset where the sources
    are bright.
    """
    return answer_loss(model(batch['image'], batch['valid'],
                             batch['position'], dtype=dtype), batch)


def answer_loss(answer, batch, *, entropy_weight=1.0):
    """
    Compute the loss of an answer of `SourceSegmenter`, and its parts.

    Parameters
    ----------
    answer : dict of `torch.Tensor`
        As the network gives it.

    batch : dict of `torch.Tensor`
        ``valid``, ``flux``, ``present`` and ``offset`` as of a
        `SkySampler`.

    entropy_weight : float, optional
        Weight of the cross-entropy: where few pixels have a source, it is
        small.

    Returns
    -------
    loss : `torch.Tensor`
        As explained at `segmentation_loss`.

    numbers : dict of float
        For the log.
    """
    valid, flux = batch['valid'], batch['flux']
    entropy = F.binary_cross_entropy_with_logits(
        answer['logit'], batch['present'], weight=valid)
    flux_loss = flux_likelihood(answer['flux'], answer['log_variance'], flux,
                                valid)
    log_variance = answer['log_variance']
    bright = (flux * torch.exp(-0.5 * log_variance.detach())
              ).clamp(0.0, 5.0) * valid
    distance = (torch.cat([answer['dx'], answer['dy']], 1)
                - batch['offset']).square().sum(1, keepdim=True)
    offset_loss = (distance * bright).sum() / bright.sum().clamp_min(1.0)
    numbers = {'entropy': float(entropy.detach()),
               'flux': float(flux_loss.detach()),
               'offset': float(offset_loss.detach())}
    return (entropy_weight * entropy + 0.02 * flux_loss
            + 0.1 * offset_loss), numbers


def flux_likelihood(mean, log_variance, flux, valid):
    """
    Compute the beta-NLL (arXiv:2203.09168, beta = 1/2) of fluxes.

    Parameters
    ----------
    mean, log_variance : `torch.Tensor`
        What a network says of them, shape (n, 1, ny, nx).

    flux, valid : `torch.Tensor`
        The true ones, and 1 for pixels that count.

    Returns
    -------
    loss : `torch.Tensor`
        Mean over all pixels.
    """
    likelihood = 0.5 * ((flux - mean)**2 * torch.exp(-log_variance)
                        + log_variance)
    weight = torch.exp(0.5 * log_variance.detach())
    weight = weight / weight.mean((2, 3), keepdim=True)
    return (likelihood * weight.clamp_max(10.0) * valid).mean()


def train_segmenter(model, schedule, run=None, *, sampler=None,
                    loss_function=segmentation_loss):
    """
    Train a segmenter of point sources in gamma-ray images.

    Parameters
    ----------
    model : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The network; trained in place.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the skies, devices and checkpoint.

    sampler : object, optional
        Draws the images by ``batch([seed, step])``, ``batch_size`` of them;
        a `SkySampler` by default.

    loss_function : callable, optional
        The loss, of ``(model, batch, step, dtype)`` as
        `segmentation_loss`.

    Returns
    -------
    model : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    sampler = sampler or SkySampler()
    return train(model, sampler.batch, loss_function, schedule, run,
                 configuration={'method': 'segmenter', 'model': model.config,
                                'batch_size': sampler.batch_size})


def _answers(network, sampler, n_batches, seed):
    """Collect logits of valid pixels, and which of them have a source."""
    logits, present = [], []
    with torch.no_grad():
        for batch in held_out_batches(sampler, n_batches, seed):
            answer = network(batch['image'], batch['valid'],
                             batch['position'])
            good = batch['valid'] > 0
            logits.append(answer['logit'][good])
            present.append(batch['present'][good])
    return torch.cat(logits).double(), torch.cat(present).double()


def calibrate_probability(network, sampler, n_batches, seed):
    """
    Make probabilities reliable and find the threshold of the best F1.

    Platt's scaling: a linear function of the logits, of the lowest
    cross-entropy.

    Parameters
    ----------
    network : `~astro_denoise.models.galactic_center.SourceSegmenter`
        The network; moved to the processor, and its scaling is set.

    sampler : object
        Sampler of the images to calibrate on, such as `SkySampler`.

    n_batches : int
        Number of its batches.

    seed : int
        Seed of the training.

    Returns
    -------
    found : dict
        ``threshold``, and ``figures`` with F1 and Brier score.
    """
    logits, present = _answers(network.cpu(), sampler, n_batches, seed)
    scaling = torch.tensor([1.0, 0.0], dtype=torch.float64,
                           requires_grad=True)
    optimizer = torch.optim.LBFGS([scaling], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(
            scaling[0] * logits + scaling[1], present)
        loss.backward()
        return loss

    optimizer.step(closure)
    network.scaling.copy_(scaling.detach())
    probability = torch.sigmoid(scaling[0] * logits + scaling[1]).detach()
    order = torch.argsort(probability, descending=True)
    found = torch.cumsum(present[order], 0)
    score = 2.0 * found / (torch.arange(1, len(order) + 1) + present.sum())
    best = int(score.argmax())
    brier = float((probability - present).square().mean())
    return {'threshold': round(float(probability[order[best]]), 4),
            'figures': {'f1': round(float(score[best]), 4),
                        'brier': round(brier, 4)}}
