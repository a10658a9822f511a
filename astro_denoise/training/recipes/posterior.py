# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training posteriors of the parameters of images of the Galactic Center.
"""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import nn

from ...inference.devices import Runtime
from ...simulation.galactic_center import GalacticCenterSimulator
from ..checkpoints import Checkpoint
from ..loop import train
from ..options import Descent, Run, Schedule, cosine_fall
from .held_out import VALIDATION_SEED, held_out_images

__all__ = ['Features', 'calibrate_posterior', 'draw_features',
           'fold_whitening', 'posterior_loss', 'principal_components',
           'train_head', 'train_posterior']

# Images whose features are kept in one file, and drawn at once.
_CHUNK, _DRAWN = 2000, 50

_WARMUP = 100  # steps of train_head


def posterior_loss(model, batch, step, dtype):
    """
    Compute the negative log posterior of the true parameters.

    For `astro_denoise.training.loop.train`; its mean over simulated
    images is least for the true posterior.
    """
    context = model.embed(batch['image'], dtype)
    loss = -model.log_prob(batch['parameters'], context).mean()
    return loss, {}


def train_posterior(model, schedule, run=None, *, batch_size=64,
                    simulator=None):
    """
    Train a posterior on images drawn anew for every step.

    Parameters
    ----------
    model : `~astro_denoise.models.posterior.PosteriorNetwork`
        The network; trained in place.

    schedule : `~astro_denoise.training.options.Schedule`
        Length and learning rate of the training.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the skies, devices and checkpoint.

    batch_size : int, optional
        Images a step.

    simulator : `~astro_denoise.simulation.GalacticCenterSimulator`, \
            optional
        Simulator of the images; one of the tier ``'legacy'`` by default.

    Returns
    -------
    model : `~astro_denoise.models.posterior.PosteriorNetwork`
        The trained network (mean of its last weights).

    log : list of dict
        The training log.
    """
    if simulator is None:
        simulator = GalacticCenterSimulator('legacy')

    def make_batch(seed):
        drawn = simulator.draw(batch_size, seed)
        rng = torch.Generator().manual_seed(seed[0] * 10_000_019 + seed[1])
        parameters = drawn['parameters']
        # Integers become continuous.
        parameters[:, 4:] += torch.rand((batch_size, 2), generator=rng)
        return {'image': drawn['images'].numpy(),
                'parameters': parameters.numpy()}

    return train(model, make_batch, posterior_loss, schedule, run,
                 configuration={'method': 'posterior', 'model': model.config,
                                'batch_size': batch_size,
                                'simulator': repr(simulator)})


@dataclass
class Features:
    """
    Features of simulated images, and their parameters.

    Attributes
    ----------
    contexts : `torch.Tensor`
        Shape (n_images, context): what small patches tell.

    features : `torch.Tensor`
        Shape (n_images, n_features): what the segmenter tells,
        standardized, in half precision.

    parameters : `torch.Tensor`
        Shape (n_images, 6).
    """

    contexts: torch.Tensor
    features: torch.Tensor
    parameters: torch.Tensor


def _digest(network):
    """Hash the weights of a posterior and of its segmenter."""
    digest = hashlib.sha256()
    for module in (network, *network._segmenter):
        for tensor in module.state_dict().values():
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _chunk(network, simulator, seed, norm):
    """
    Draw images and what is seen of them; the features are standardized.
    """
    contexts, features, parameters = [], [], []
    for index in range(_CHUNK // _DRAWN):
        drawn = simulator.draw(_DRAWN, [*seed, index])
        contexts.append(network.embedding(network.patches(drawn['images'])))
        features.append(network.sources(drawn['images']))
        parameters.append(drawn['parameters'])
    features = torch.cat(features)
    if norm is None:
        norm = features.mean(0), features.std(0) + 1e-6
    features = (features - norm[0]) / norm[1]
    return {'contexts': torch.cat(contexts), 'features': features.half(),
            'parameters': torch.cat(parameters), 'norm': norm}


@torch.no_grad()
def draw_features(network, n_images, run=None, *, name='features'):
    """
    Draw images and keep what a network sees of them.

    Parameters
    ----------
    network : `~astro_denoise.models.posterior.PosteriorNetwork`
        The network, with a segmenter; its scales are set from the first
        images.

    n_images : int
        Number of images, rounded up to thousands.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of the skies, and the folder of checkpoints, in which the
        features are kept.

    name : str, optional
        Beginning of the names of their files.

    Returns
    -------
    drawn : `Features`
        Features and parameters of all images.

    Raises
    ------
    ValueError
        If a file holds features of other images or another network.
    """
    from tqdm import tqdm

    run = run or Run()
    simulator = GalacticCenterSimulator('legacy')
    network.eval()
    configuration = {'method': 'features', 'model': network.config,
                     'weights': _digest(network), 'seed': run.seed}
    parts, norm = [], None
    for number in tqdm(range(-(-n_images // _CHUNK)),
                       disable=not run.progress_bar, desc='features'):
        checkpoint = run.stage(f'{name}.{number:04d}').checkpoint
        part = checkpoint.read({**configuration, 'number': number})
        if part is None:
            part = _chunk(network, simulator, [run.seed, number], norm)
            checkpoint.write({**configuration, 'number': number}, part)
        norm = part.pop('norm')
        parts.append(part)
    network.standardised.mean.copy_(norm[0])
    network.standardised.square.copy_(norm[1]**2)
    return Features(**{key: torch.cat([part[key] for part in parts])
                       for key in parts[0]})


@torch.no_grad()
def principal_components(features, n_components):
    """
    Find the strongest components of features.

    Parameters
    ----------
    features : `torch.Tensor`
        Shape (n, n_features); the first 40,000 are used.

    n_components : int
        Number of components.

    Returns
    -------
    mean : `torch.Tensor`
        Shape (n_features,).

    vectors : `torch.Tensor`
        Shape (n_features, n_components): their directions.

    scale : `torch.Tensor`
        Shape (n_components,): their standard deviations.
    """
    some = features[:40_000]
    mean = some[:20_000].float().mean(0)
    covariance = sum((part.float() - mean).T @ (part.float() - mean)
                     for part in some.split(4000)) / len(some)
    values, vectors = torch.linalg.eigh(covariance)
    keep = values.argsort(descending=True)[:n_components]
    return mean, vectors[:, keep], values[keep].clamp_min(1e-8).sqrt()


@torch.no_grad()
def fold_whitening(layer, entry, mean, whitening):
    """
    Make whitening a part of the linear layer that follows.

    Parameters
    ----------
    layer : `torch.nn.Linear`
        Takes features and other numbers; set in place.

    entry : `torch.nn.Linear`
        Takes whitened features and the same other numbers.

    mean, whitening : `torch.Tensor`
        Shapes (n_features,) and (n_features, n_components): whitened
        features are ``(features - mean) @ whitening``.
    """
    n_components = whitening.shape[1]
    weight = entry.weight[:, :n_components] @ whitening.T
    layer.weight.copy_(torch.cat([weight, entry.weight[:, n_components:]], 1))
    layer.bias.copy_(entry.bias - weight @ mean)


class _RisingCosine(Schedule):
    """Half a cosine from the beginning on, times a linear rise."""

    def rate(self, step, spent=0.0, peak=None):
        """Compute the learning rate."""
        return peak * (cosine_fall(step / self.n_steps)
                       * min(1.0, (step + 1) / self.warmup))


class _Head:
    """
    Steps of `train_head`: features in epochs, and their loss.
    """

    def __init__(self, network, drawn, inputs, n_training, batch_size, rng):
        self.network = network
        self.drawn = drawn
        self.inputs = inputs
        self.n_training = n_training
        self.batch_size = batch_size
        self.rng = rng
        self._order = None

    @property
    def n_batches(self):
        """Batches of an epoch."""
        return self.n_training // self.batch_size

    def _parameters(self, rows):
        """Make integers continuous."""
        values = self.drawn.parameters[rows].clone()
        values[:, self.network.integer] += torch.rand(
            (len(values), int(self.network.integer.sum())),
            generator=self.rng)
        return values

    def batch(self, seed):
        """Take the images of a step."""
        number = seed[1] % self.n_batches
        if number == 0:
            self._order = torch.randperm(self.n_training, generator=self.rng)
        rows = self._order[number * self.batch_size:][:self.batch_size]
        return {'rows': rows.numpy(),
                'parameters': self._parameters(rows).numpy()}

    def loss(self, model, batch, step, dtype):
        """Compute the negative log posterior of the true parameters."""
        rows = batch['rows']
        context = self.drawn.contexts[rows] + model['correction'](
            self.inputs[rows])
        return -self.network.log_prob(batch['parameters'], context).mean(), {}

    @torch.no_grad()
    def evaluate(self, model):
        """Compute the loss of the images for validation."""
        rows = torch.arange(self.n_training, len(self.inputs))
        loss, _ = self.loss(model, {'rows': rows, 'parameters':
                                    self._parameters(rows)}, 0, None)
        return {'validation': float(loss)}


def _adam_w(learning_rate, weight_decay):
    """Make the optimizer of `train_head`: the flow is trained already."""
    def optimizer(model, _):
        return torch.optim.AdamW([
            {'params': model['correction'].parameters()},
            {'params': model['flow'].parameters(),
             'lr': 0.3 * learning_rate}],
            lr=learning_rate, weight_decay=weight_decay)

    return optimizer


def train_head(network, drawn, run=None, *, epochs=4, n_components=768,
               batch_size=512, learning_rate=7e-4, weight_decay=3e-2,
               n_validation=4000):
    """
    Train what the segmenter adds to a posterior, and the flow on.

    The features are nearly collinear; what tells the parameters is in
    small differences between them. So they are whitened first, and the
    whitening is folded into the first layer at the end.

    Parameters
    ----------
    network : `~astro_denoise.models.posterior.PosteriorNetwork`
        Trained in place.

    drawn : `Features`
        From `draw_features`.

    run : `~astro_denoise.training.options.Run`, optional
        Seed of weights and order.

    epochs : int, optional
        Number of epochs.

    n_components : int, optional
        Principal components of the features that are used.

    batch_size : int, optional
        Images of a step.

    learning_rate, weight_decay : float, optional
        Options of AdamW, with a cosine schedule.

    n_validation : int, optional
        Images, the last ones, for validation alone.

    Returns
    -------
    log : list of dict
        Loss of each epoch, and of the validation images.
    """
    run = run or Run()
    n_training = len(drawn.features) - n_validation
    mean, vectors, scale = principal_components(drawn.features[:n_training],
                                                n_components)
    whitening = vectors / scale
    inputs = torch.cat([torch.cat([(part.float() - mean) @ whitening
                                   for part in drawn.features.split(8000)]),
                        drawn.contexts], 1)
    first, *others = network.correction
    with torch.random.fork_rng([]):
        torch.manual_seed(run.seed)
        entry = nn.Linear(inputs.shape[1], first.out_features)
    head = _Head(network, drawn, inputs, n_training, batch_size,
                 torch.Generator().manual_seed(run.seed))
    model = nn.ModuleDict({'correction': nn.Sequential(entry, *others),
                           'flow': network.flow}).requires_grad_()
    _, rows = train(
        model, head.batch, head.loss,
        _RisingCosine(epochs * head.n_batches, learning_rate, warmup=_WARMUP,
                      log_every=head.n_batches),
        replace(run, runtime=Runtime(torch.device('cpu')),
                checkpoint=Checkpoint()),
        evaluate=head.evaluate,
        descent=Descent(_adam_w(learning_rate, weight_decay),
                        largest_norm=5.0, averages=False, in_epochs=True))
    fold_whitening(first, entry, mean, whitening)
    return [{name: row[name] for name in ('step', 'loss', 'validation')}
            for row in rows]


@torch.no_grad()
def calibrate_posterior(network, simulator, seed):
    """
    Learn how images look and how wide posteriors are, and measure errors.

    Parameters
    ----------
    network : `~astro_denoise.models.posterior.PosteriorNetwork`
        The network; its statistics and spread are set.

    simulator : `~astro_denoise.simulation.GalacticCenterSimulator`
        Simulator of the images to calibrate on.

    seed : int
        Seed of the training.

    Returns
    -------
    found : dict
        ``figures`` with the mean absolute error of each parameter over
        the width of its prior.
    """
    counts, truth = held_out_images(simulator, 10_000, VALIDATION_SEED + seed)
    network.learn_statistics(counts)
    truth[:, 4:] += 0.5
    contexts = torch.cat([network.embed(part)
                          for part in counts[:8000].split(250)])
    network.learn_spread(contexts, truth[:8000])
    truth = truth[:1000]
    rng = torch.Generator().manual_seed(seed)
    samples = torch.cat([network.sample(part, 500, rng)
                         for part in counts[:len(truth)].split(100)])
    scale = network.upper - network.lower
    error = (samples.median(1).values - truth).abs().mean(0) / scale
    names = GalacticCenterSimulator.parameter_names
    return {'figures': {
        'mean absolute error': {name: round(float(value), 4) for name, value
                                in zip(names, error, strict=True)}}}
