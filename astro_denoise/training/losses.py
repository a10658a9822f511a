# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Losses for denoisers that are judged by their photometry.
"""

import torch
from torch.nn import functional as F

from ..models.blind_spot import mixture_terms

__all__ = ['blind_spot_loss', 'flux_bias', 'heteroscedastic_loss',
           'noisy_target_loss']


def heteroscedastic_loss(error, log_variance, valid, *, beta=0.5):
    """
    Squared error weighted by the predicted variance (beta-NLL).

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

    Returns
    -------
    loss : `torch.Tensor`
        A number.
    """
    squared = 2.0 * F.huber_loss(error, torch.zeros_like(error), delta=3.0,
                                 reduction='none')
    factor = (beta * log_variance.detach()).exp()
    loss = 0.5 * factor * (squared * (-log_variance).exp() + log_variance)
    return (loss * valid).sum() / valid.sum()


def flux_bias(error, signal, n_copies, box, *, bright=8.0):
    """
    Unbiased estimate of the squared bias of the flux in square boxes.

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


def blind_spot_loss(mixture=((1.0, 0.0, 1.0),)):
    """
    The loss of Noise2Void and of probabilistic Noise2Void.

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


def noisy_target_loss(model, batch, step, dtype):
    """
    Likelihood of a noisy target under the denoised pixel and its error.

    Parameters
    ----------
    model : `torch.nn.Module`
        The network.

    batch : dict of `torch.Tensor`
        With ``target``, its ``target_variance``, and ``weight``.

    step : int
        Not used.

    dtype : `torch.dtype`
        For the network.

    Returns
    -------
    loss : `torch.Tensor`
        A number.

    numbers : dict
        For the log.
    """
    noise, log_variance = model(batch['x'], batch['log_sigma'],
                                batch['valid'], batch['context'],
                                dtype=dtype)
    weight = batch['weight']
    variance = log_variance.exp() + batch['target_variance']
    error = batch['x'] - noise - batch['target']
    pull = error * variance.rsqrt()
    squared = 2.0 * F.huber_loss(pull, torch.zeros_like(pull), delta=3.0,
                                 reduction='none')
    loss = (0.5 * (squared + variance.log()) * weight).sum() / weight.sum()
    return loss, {}
