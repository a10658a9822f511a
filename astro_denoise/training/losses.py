# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Losses for denoisers that are judged by their photometry.
"""

import torch
from torch.nn import functional as F

__all__ = ['flux_bias', 'heteroscedastic_loss']


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
