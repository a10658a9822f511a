# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training a segmenter of point sources and the posterior that averages its
features together.
"""

import torch
from torch import nn

from ..loop import train
from .posterior import fold_whitening, principal_components
from .segmenter import SkySampler, answer_loss

__all__ = ['JointNetwork', 'joint_loss', 'train_joint']

# Of the posterior in the loss. Its gradient is mostly chance, that of the
# segmentation is not.
_WEIGHT = 0.003


class JointNetwork(nn.Module):
    """
    A posterior and its segmenter, in a form that both can be trained in.

    What small patches tell of an image stays as it is. The features of
    the segmenter are nearly collinear, and what tells the parameters is
    in small differences between them; so they are whitened, as they are
    at the beginning.

    Parameters
    ----------
    posterior : `~astro_denoise.models.posterior.PosteriorNetwork`
        With a segmenter; both are trained in place.

    counts : `torch.Tensor`
        Shape (n, 64, 64): images to whiten with, in the thousands.

    n_components : int, optional
        Principal components of the features that are used.
    """

    def __init__(self, posterior, counts, n_components=768):
        super().__init__()
        self.posterior = posterior
        self.segmenter = posterior._segmenter[0]
        posterior.requires_grad_(requires_grad=False).eval()
        for module in (self.segmenter, posterior.flow, posterior.correction):
            module.requires_grad_()
        first = posterior.correction[0]
        with torch.no_grad():
            features = torch.cat([
                posterior.standardised(posterior.sources(part))
                for part in counts.split(250)])
            mean, vectors, scale = principal_components(features,
                                                        n_components)
            n_features = len(vectors)
            self.entry = nn.Linear(
                n_components + first.in_features - n_features,
                first.out_features)
            kept = first.weight[:, :n_features] @ vectors
            self.entry.weight.copy_(torch.cat(
                [kept * scale, first.weight[:, n_features:]], 1))
            self.entry.bias.copy_(
                first.bias + first.weight[:, :n_features] @ mean)
        first.requires_grad_(requires_grad=False)
        self.register_buffer('mean', mean)
        self.register_buffer('whitening', vectors / scale)

    def train(self, mode=True):
        """Leave the statistics of features as they are."""
        super().train(mode)
        self.posterior.eval()
        return self

    def forward(self, image, valid, position, rows, dtype=torch.float32):
        """
        Compute what the segmenter says and what conditions the flow.

        Parameters
        ----------
        image, valid, position : `torch.Tensor`
            As for `~astro_denoise.models.galactic_center.SourceSegmenter`.

        rows : `torch.Tensor`
            Which images the posterior is for.

        dtype : `torch.dtype`, optional
            Precision of the convolutions.

        Returns
        -------
        answer : dict of `torch.Tensor`
            As of the segmenter.

        context : `torch.Tensor`
            Shape (n_rows, context).
        """
        posterior = self.posterior
        with torch.no_grad():
            context = posterior.embedding(
                posterior.patches(image[rows, 0]))
        features, answer, scale = self.segmenter.described(
            image, valid, position, dtype)
        sources = posterior.standardised(posterior.averaged(
            features[rows], {name: plane[rows]
                             for name, plane in answer.items()}, scale[rows]))
        change = posterior.correction[1:](self.entry(torch.cat(
            [(sources - self.mean) @ self.whitening, context], 1)))
        return self.segmenter.answered(answer, scale), context + change

    def folded(self):
        """
        Give the posterior, the whitening folded into it.

        Returns
        -------
        posterior : `~astro_denoise.models.posterior.PosteriorNetwork`
            That given at the beginning, without gradients.
        """
        fold_whitening(self.posterior.correction[0], self.entry, self.mean,
                       self.whitening)
        # It is no part of the posterior's modules.
        self.segmenter.requires_grad_(requires_grad=False)
        return self.posterior.requires_grad_(requires_grad=False)


def joint_loss(model, batch, step, dtype):
    """
    Compute the loss of `JointNetwork`.

    For `astro_denoise.training.loop.train`. That of the segmenter, and
    the negative log posterior of the true parameters of the images that
    are as the simulator's default draws them.
    """
    rows = batch['whole'] > 0
    answer, context = model(batch['image'], batch['valid'],
                            batch['position'], rows, dtype)
    loss, numbers = answer_loss(answer, batch)
    posterior = -model.posterior.log_prob(batch['parameters'][rows],
                                          context).mean()
    return (loss + _WEIGHT * posterior,
            {**numbers, 'posterior': float(posterior.detach())})


def train_joint(posterior, counts, schedule, run=None, *, batch_size=64):
    """
    Train a posterior and its segmenter on.

    Parameters
    ----------
    posterior : `~astro_denoise.models.posterior.PosteriorNetwork`
        Trained, with a segmenter.

    counts : `torch.Tensor`
        Shape (n, 64, 64): images to whiten features with.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the skies, devices and checkpoint.

    batch_size : int, optional
        Images a step.

    Returns
    -------
    posterior : `~astro_denoise.models.posterior.PosteriorNetwork`
        Trained on.

    segmenter : `~astro_denoise.models.galactic_center.SourceSegmenter`
        Likewise.

    log : list of dict
        The training log.
    """
    sampler = SkySampler(batch_size=batch_size)
    network, log = train(
        JointNetwork(posterior, counts), sampler.batch, joint_loss, schedule,
        run, configuration={'method': 'joint', 'model': posterior.config,
                            'batch_size': batch_size})
    return network.folded(), network.segmenter, log
