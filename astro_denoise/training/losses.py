# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Losses for denoisers that are judged by their photometry.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ..models.blind_spot import mixture_terms

__all__ = ['blind_spot_loss', 'boxed_bias', 'flux_bias',
           'heteroscedastic_loss', 'logged_bias', 'noisy_target_loss',
           'squared_loss', 'supervised_loss']

_BOXES = (3, 5, 7, 9, 13, 17)  # pixels


def heteroscedastic_loss(error, log_variance, valid, *, beta=0.5,
                         spread=0.0):
    """
    Weight the squared error by the predicted variance (beta-NLL).

    Seitzer et al. (2022, arXiv:2203.09168): the Gaussian negative
    log-likelihood times ``variance**beta``, without gradient through
    that factor. Errors above 3 (in sigmas of the frame) count linearly.

    Parameters
    ----------
    error, log_variance, valid : `torch.Tensor`
        Error of the denoised frame in units of the noise, the logarithm
        of its predicted variance, and the weight of each pixel.

    beta : float, optional
        0 is the plain likelihood, 1 the plain squared error.

    spread : float or `torch.Tensor`, optional
        Variance of the truth about what the error is relative to, in the
        same units squared: the loss is the expectation over it.

    Returns
    -------
    loss : `torch.Tensor`
        A number.
    """
    squared = 2.0 * F.huber_loss(error, torch.zeros_like(error), delta=3.0,
                                 reduction='none') + spread
    factor = (beta * log_variance.detach()).exp()
    loss = 0.5 * factor * (squared * (-log_variance).exp() + log_variance)
    return (loss * valid).sum() / valid.sum()


def flux_bias(error, signal, n_copies, box, *, bright=8.0):
    """
    Estimate the squared bias of the flux in square boxes, unbiased.

    Bias-constrained estimation (Diskin, Eldar & Wiesel 2021,
    arXiv:2110.12403): with a_m the summed error in a box of noisy copy
    m of the same sky, ``((sum a)^2 - sum a^2) / (M (M - 1))`` has the
    expectation ``bias^2``, without the scatter that a mean over few
    copies would leave in.

    Parameters
    ----------
    error : `torch.Tensor`
        Error of the denoised frames in units of the true noise, zero on
        pixels that do not count; shape (n * n_copies, 1, ny, nx),
        copies of one sky next to each other.

    signal : `torch.Tensor`
        The frames without sky and noise, in the same units.

    n_copies : int
        Noisy copies of each sky, M.

    box : int
        Pixels per side of a box.

    bright : float, optional
        Above this signal-to-noise ratio of the box, the bias relative
        to the signal counts, instead of that relative to the noise.

    Returns
    -------
    squared_bias : `torch.Tensor`
        Mean over the boxes, in units of the variance of the noise.
    """
    step = max(box // 2, 1)

    def boxes(plane):
        summed = F.avg_pool2d(plane, box, step) * box
        return summed.view(-1, n_copies, *summed.shape[1:])

    flux_error = boxes(error)
    with torch.no_grad():
        weight = 1.0 / (1.0 + (boxes(signal)[:, 0] / bright)**2)
    total = flux_error.sum(1)
    squared = (total**2 - (flux_error**2).sum(1)) / (
        n_copies * (n_copies - 1))
    return (squared * weight).mean()


def boxed_bias(error, batch, n_copies, step):
    """
    Estimate the bias of the flux in boxes of two of several sizes.

    Parameters
    ----------
    error : `torch.Tensor`
        Of the denoised frames, in units of the assumed noise.

    batch : dict of `torch.Tensor`
        ``truth`` and ``unit``, from
        `~astro_denoise.training.scenes.ExposureSampler`.

    n_copies : int
        Noisy copies of each sky.

    step : int
        By which the sizes are drawn.

    Returns
    -------
    squared_bias : `torch.Tensor`
        See `flux_bias`.
    """
    rng = np.random.default_rng(step)
    error, signal = error * batch['unit'], batch['truth'] * batch['unit']
    return sum(flux_bias(error, signal, n_copies, int(box))
               for box in rng.choice(_BOXES, 2, replace=False)) / 2


def logged_bias(numbers, error, batch, n_copies, step):
    """
    Estimate the bias of the flux, and put it among the numbers of a step.

    Parameters
    ----------
    numbers : dict
        What the log will have of the step; ``bias`` is added.

    error, batch, n_copies, step : object
        As for `boxed_bias`.

    Returns
    -------
    squared_bias : `torch.Tensor`
        See `flux_bias`.
    """
    bias = boxed_bias(error, batch, n_copies, step)
    numbers['bias'] = float(bias.detach())
    return bias


def supervised_loss(n_copies, bias_weight):
    """
    Make the loss of the supervised method.

    Parameters
    ----------
    n_copies : int
        Noisy copies of each sky in a batch.

    bias_weight : float
        Weight of the squared bias of the flux in boxes of 3 to 17
        pixels; 0 gives the lowest error per pixel.

    Returns
    -------
    loss_function : callable
        For `astro_denoise.training.loop.train`.
    """
    def loss_function(model, batch, step, dtype):
        noise, log_variance = model(
            batch['x'], batch['log_sigma'], batch['valid'], batch['context'],
            dtype=dtype)
        valid = batch['valid']
        error = (batch['x'] - noise - batch['truth']) * valid
        loss = heteroscedastic_loss(error, log_variance, valid)
        numbers = {'rms': float(error.detach().square().mean().sqrt())}
        if bias_weight:
            loss = loss + bias_weight * logged_bias(
                numbers, error, batch, n_copies, step)
        return loss, numbers

    return loss_function


def blind_spot_loss(mixture=((1.0, 0.0, 1.0),)):
    """
    Make the loss of Noise2Void and of probabilistic Noise2Void.

    On the pixels that were replaced: for a network that predicts the
    mean, the squared error in units of the noise, above 3 counting
    linearly; for one that predicts a distribution, the negative
    logarithm of the likelihood of the noisy pixel (Krull et al. 2020,
    arXiv:1906.00651).

    Parameters
    ----------
    mixture : sequence of tuple of float, optional
        The noise, see `~astro_denoise.models.blind_spot.mixture_terms`.

    Returns
    -------
    loss_function : callable
        For `astro_denoise.training.loop.train`.
    """
    def loss_function(model, batch, step, dtype):
        prior = model(batch['x'], batch['log_sigma'], batch['valid'],
                      dtype=dtype, prior=True)
        # Few pixels count: the others cost nothing from here on.
        chosen = (batch['weight'] > 0)[:, 0]

        def picked(plane):
            return plane.movedim(1, -1)[chosen].T[None, :, None]

        target, log_sigma = picked(batch['target']), picked(
            batch['log_sigma'])
        logits, means, log_variances = (
            None if plane is None else picked(plane) for plane in prior)
        if logits is None:
            error = (means - target) * (-log_sigma).exp()
            loss = 2.0 * F.huber_loss(error, torch.zeros_like(error),
                                      delta=3.0)
        else:
            terms = mixture_terms(target, log_sigma, logits, means,
                                  log_variances, mixture)
            likelihood = torch.cat([term[0] for term in terms], 1)
            loss = (-likelihood.logsumexp(1) - log_sigma[:, 0]).mean()
        return loss, {}

    return loss_function


def squared_loss(model, batch, step, dtype):
    """
    Square the difference to a noisy target, on all pixels.

    Beyond five times the noise of the target, it counts linearly. Of several
    targets, and weights with them, each counts.

    Parameters
    ----------
    model : `torch.nn.Module`
        The network.

    batch : dict of `torch.Tensor`
        With ``target``, its ``target_variance`` and ``weight``, which may
        be negative.

    step : int
        Not used.

    dtype : `torch.dtype`
        Of the convolutions.

    Returns
    -------
    loss : `torch.Tensor`
        In units of the noise of the target.

    numbers : dict
        Empty.
    """
    noise, _ = model(batch['x'], batch['log_sigma'], batch['valid'],
                     batch['context'], dtype=dtype)
    pull = (batch['x'] - noise - batch['target']) * (
        batch['target_variance'].rsqrt())
    squared = 2.0 * F.huber_loss(pull, torch.zeros_like(pull), delta=5.0,
                                 reduction='none')
    weight = batch['weight']
    return (squared * weight).sum() / weight.abs().sum(), {}


def noisy_target_loss(n_copies, bias_weight):
    """
    Make the loss of Noise2Noise and of recorrupted pairs, flux kept.

    Likelihood of a noisy target under the denoised pixel and its error.
    That alone is least for a network that pulls faint flux down; so the
    bias of the flux on simulated skies is added, as in `supervised_loss`.

    Parameters
    ----------
    n_copies : int
        Noisy copies of each simulated sky in a batch.

    bias_weight : float
        Weight of the squared bias.

    Returns
    -------
    loss_function : callable
        For `astro_denoise.training.loop.train`; its batch has
        ``target``, its ``target_variance`` and ``weight``, and the
        planes of the skies with names that begin with ``sky_``.
    """
    def loss_function(model, batch, step, dtype):
        n_patches = len(batch['x'])
        noise, log_variance = model(*(
            torch.cat([batch[name], batch[f'sky_{name}']])
            for name in ('x', 'log_sigma', 'valid', 'context')), dtype=dtype)
        noise, sky_noise = noise[:n_patches], noise[n_patches:]
        weight = batch['weight']
        variance = log_variance[:n_patches].exp() + batch['target_variance']
        pull = (batch['x'] - noise - batch['target']) * variance.rsqrt()
        # Counting linearly from 3 on, the noise of the target itself would
        # look smaller than it is by more than the error of the result.
        squared = 2.0 * F.huber_loss(pull, torch.zeros_like(pull), delta=5.0,
                                     reduction='none')
        loss = (0.5 * (squared + variance.log()) * weight
                ).sum() / weight.sum()
        sky = {name: batch[f'sky_{name}']
               for name in ('x', 'truth', 'valid', 'unit')}
        error = (sky['x'] - sky_noise - sky['truth']) * sky['valid']
        bias = boxed_bias(error, sky, n_copies, step)
        return loss + bias_weight * bias, {'bias': float(bias.detach())}

    return loss_function
