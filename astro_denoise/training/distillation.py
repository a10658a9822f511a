# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A network for CCD frames that learns the answers of a larger one.
"""

import copy

import torch

from .losses import heteroscedastic_loss, logged_bias

__all__ = ['distillation_loss']

# Weights of the answer before flux is restored, and of the truth, over that
# of the answer.
_BEFORE, _TRUTH = 0.5, 0.2


def _answers(network, batch, dtype):
    """Answer before flux is restored, and after."""
    planes = [batch[name] for name in ('x', 'log_sigma', 'valid')]
    answer = network.trunk(network.features(*planes), batch['context'],
                           network.dtypes(dtype))
    noise, log_variance = network.estimated(answer, planes[0],
                                            batch['valid'])
    return ((noise, log_variance.clamp(-12.0, 8.0)),
            network.finished(noise, log_variance, *planes, batch['context']))


def distillation_loss(teacher, n_copies, bias_weight):
    """
    Make the loss of a network that learns the answers of another one.

    The loss is the expectation of that of
    `~astro_denoise.training.losses.supervised_loss` over the truths that
    the teacher holds likely, which scatters less than that of the one
    truth of a sky (Hinton et al. 2015, arXiv:1503.02531, for classes); a
    part of the latter, and the bias of the flux, are added.

    Parameters
    ----------
    teacher : `~astro_denoise.models.denoiser.CCDDenoiser`
        The trained network; its errors are not calibrated here.

    n_copies : int
        Noisy copies of each sky in a batch.

    bias_weight : float
        As for `~astro_denoise.training.losses.supervised_loss`.

    Returns
    -------
    loss_function : callable
        For `astro_denoise.training.loop.train`.
    """
    teacher = copy.deepcopy(teacher).train().requires_grad_(
        requires_grad=False)

    def loss_function(model, batch, step, dtype):
        teacher.to(batch['x'].device)
        valid = batch['valid']
        with torch.no_grad():
            expected = _answers(teacher, batch, dtype)
        answers = _answers(model, batch, dtype)
        loss = 0.0
        for weight, (noise, log_variance), (known, known_variance) in zip(
                (_BEFORE, 1.0), answers, expected, strict=True):
            loss = loss + weight * heteroscedastic_loss(
                noise - known, log_variance, valid,
                spread=known_variance.exp())
        noise, log_variance = answers[1]
        difference = (noise.detach() - expected[1][0]) * valid
        numbers = {'rms': float(difference.square().mean().sqrt())}
        error = (batch['x'] - noise - batch['truth']) * valid
        loss = loss + _TRUTH * heteroscedastic_loss(error, log_variance,
                                                    valid)
        if bias_weight:
            loss = loss + bias_weight * logged_bias(
                numbers, error, batch, n_copies, step)
        return loss, numbers

    return loss_function
