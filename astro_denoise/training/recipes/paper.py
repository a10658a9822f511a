# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the networks of the source document are trained, as it did.
"""

import math
import time
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from ... import __version__
from ...inference.devices import resolve_device, resolve_precision
from ...models.paper import (
    MultiOutputCNN,
    PaperAutoencoder,
    PaperUNet,
    SingleOutputCNN,
    divide_by_maximum,
)
from ...models.registry import Model
from ...simulation.galactic_center import GalacticCenterSimulator
from ...simulation.image_noise import IMAGE_NOISES, add_image_noise
from ..epochs import train_epochs
from ..report import check_outputs, write_log

__all__ = ['PAPER_RECIPES', 'train_paper']

# Images of training, validation and test are drawn from seeds from here on.
_IMAGE_SEED = 5_200_000

_RANGES = {'a_dm': (0.0, 1.0), 'n_ps_gc': (200.0, 800.0),
           'n_ps_disk': (1000.0, 4000.0), 'n_ps_total': (1200.0, 4800.0)}


def _estimation(outputs, sizes, network):
    return {'task': 'estimate', 'network': network, 'outputs': outputs,
            'sizes': sizes, 'batch_size': 64, 'epochs': 40, 'patience': 8,
            'summary': ("the source document's network for "
                        + ', '.join(outputs))}


def _denoising(kind):
    return {'task': 'denoise', 'network': PaperAutoencoder, 'noise': kind,
            'sizes': (8192, 1024, 1024), 'batch_size': 64, 'epochs': 20,
            'patience': None,
            'summary': (f"the source document's autoencoder, {kind} noise "
                        f'of {IMAGE_NOISES[kind]}')}


#: Network, numbers of images for training, validation and test, batch and
#: epochs of each of the document's models. The learning rate is 1e-3.
PAPER_RECIPES = {
    'cnn-dm': _estimation(('a_dm',), (8192, 1966, 3072), SingleOutputCNN),
    'cnn-dm-total': _estimation(
        ('a_dm', 'n_ps_total'), (8192, 1024, 1024), MultiOutputCNN),
    'cnn-dm-disk-gc': _estimation(
        ('a_dm', 'n_ps_disk', 'n_ps_gc'), (8192, 1024, 1024),
        MultiOutputCNN),
    'unet-paper': {
        'task': 'segment', 'network': PaperUNet, 'sizes': (6592, 800, 800),
        'batch_size': 128, 'epochs': 60, 'patience': 10,
        'summary': "the source document's U-net for point sources"},
    'gc-gaussian': _denoising('gaussian'),
    'gc-poisson': _denoising('poisson'),
    'gc-masked': _denoising('masked'),
    'gc-saltpepper': _denoising('saltpepper'),
}

_CUT = 0.02  # of the document's masks


def _errors(output, targets):
    """Mean squared and mean absolute errors."""
    difference = output - targets
    return {'mse': difference.square().mean(),
            'mae': difference.abs().mean()}


def absolute_loss(output, targets):
    """
    Loss of the networks for parameters, which are scored by it.

    Parameters
    ----------
    output, targets : `torch.Tensor`
        Shape (n, k).

    Returns
    -------
    loss : `torch.Tensor`
        Mean absolute error.

    numbers : dict of `torch.Tensor`
        For the log.
    """
    numbers = _errors(output, targets)
    return numbers['mae'], numbers


def squared_loss(output, targets):
    """
    Loss of the autoencoders.

    Parameters
    ----------
    output, targets : `torch.Tensor`
        Images, shape (n, 1, 64, 64).

    Returns
    -------
    loss : `torch.Tensor`
        Mean squared error.

    numbers : dict of `torch.Tensor`
        For the log.
    """
    numbers = _errors(output, targets)
    return numbers['mse'], numbers


def counting_loss(logits, targets, *, point_cut):
    """
    Loss of the U-net: cross-entropy, and a count of points.

    Parameters
    ----------
    logits : `torch.Tensor`
        Output before the sigmoid, shape (n, 1, ny, nx).

    targets : `torch.Tensor`
        Flux of the sources in each pixel over its maximum in the image.

    point_cut : float
        Output from which on a point counts as predicted. The document
        takes 1.08 times the smallest non-zero target of its first image.

    Returns
    -------
    loss : `torch.Tensor`
        Binary cross-entropy, plus 1e-7 times the difference between the
        numbers of predicted and of true points in the batch. That
        second term has no gradient: it is there because it is in the
        document.

    numbers : dict of `torch.Tensor`
        For the log.
    """
    output = torch.sigmoid(logits)
    points = targets > 0
    penalty = ((output > point_cut).sum() - points.sum()).abs()
    accuracy = ((output > _CUT) == points).float().mean()
    return (F.binary_cross_entropy_with_logits(logits, targets)
            + 1e-7 * penalty,
            {**_errors(output, targets), 'accuracy': accuracy})


def _dataset(recipe, network, n, seed):
    """Images and targets of one of the three sets."""
    rotated = recipe['task'] == 'denoise'
    simulator = GalacticCenterSimulator('legacy', rotation=rotated)
    counts, parameters, sources = simulator.sample(n, seed=seed)
    counts = torch.from_numpy(counts)
    if recipe['task'] == 'estimate':
        values = torch.stack([
            torch.as_tensor(parameters[name].astype('f4'))
            for name in network.outputs], 1)
        return counts[:, None], network.scale(values)
    images = divide_by_maximum(counts)[0][:, None]
    if recipe['task'] == 'denoise':
        return images, images
    flux = torch.from_numpy(sources['gc'] + sources['disk'])
    return images, divide_by_maximum(flux)[0][:, None]


def _loss(recipe, training):
    if recipe['task'] == 'estimate':
        return absolute_loss
    if recipe['task'] == 'denoise':
        return squared_loss
    first = training[1][0]
    return partial(counting_loss,
                   point_cut=1.08 * float(first[first > 0].min()))


def _measure(network, test, loss_function, corrupt, seed):
    """The numbers of the log, for the test images."""
    images, targets = test
    if corrupt is not None:
        images = corrupt(images, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        output = torch.cat([network(part) for part in images.split(64)])
    _, numbers = loss_function(output, targets)
    return {name: float(f'{value:.5g}') for name, value in numbers.items()}


def train_paper(name, output, *, seed=1, checkpoint=None, n_images=None,
                epochs=None, device=None, progress_bar=False,
                overwrite=False):
    """
    Train a network of the source document and write its file.

    Images are of the simulator's ``legacy`` tier; their numbers, the
    batch, the learning rate and the loss are the document's. What it
    does not say was chosen: networks for parameters see counts as they
    are and are trained for the mean absolute error; those and the U-net
    stop when the validation loss falls no more, and keep the weights of
    the lowest. Autoencoders train 20 epochs.

    Parameters
    ----------
    name : str
        One of ``PAPER_RECIPES``.

    output : path-like
        The ``.safetensors`` file; the log, a row per epoch, is written
        beside it as ``.ecsv``.

    seed : int, optional
        Of images, noise and weights.

    checkpoint : path-like, optional
        Folder of checkpoints, from which an interrupted training goes
        on.

    n_images : int, optional
        Fewer or more training images than the document's; those for
        validation and test change in proportion.

    epochs : int, optional
        Fewer or more epochs than the recipe's.

    device : str, optional
        Where to train.

    progress_bar : bool, optional
        Show a progress bar.

    overwrite : bool, optional
        Replace an existing file.

    Returns
    -------
    model : `~astro_denoise.models.Model`
        The trained model; its metadata hold the figures of the test
        images.

    Raises
    ------
    ValueError
        If there is no such recipe, or ``output`` has another ending.

    OSError
        If the weights or the log exist, or cannot be written.
    """
    if name not in PAPER_RECIPES:
        msg = f'there is no recipe {name!r}; known are {list(PAPER_RECIPES)}'
        raise ValueError(msg)
    output, log_path = check_outputs(output, overwrite=overwrite)
    recipe = PAPER_RECIPES[name]
    started = time.monotonic()
    sizes = recipe['sizes']
    if n_images is not None:
        sizes = [math.ceil(size * n_images / sizes[0]) for size in sizes]
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = recipe['network'](**_options(recipe))
    training, validation, test = (
        _dataset(recipe, network, n, _IMAGE_SEED + 10 * seed + index)
        for index, n in enumerate(sizes))
    loss_function = _loss(recipe, training)
    corrupt = None
    if 'noise' in recipe:
        def corrupt(images, generator):
            return add_image_noise(images, recipe['noise'], seed=generator)
    device = resolve_device(device)
    settings = {'name': name, 'seed': seed, 'sizes': list(sizes)}
    if checkpoint is not None:
        checkpoint = Path(checkpoint) / f'{name}.pt'
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    network, log = train_epochs(
        network, training, validation, loss_function,
        epochs=recipe['epochs'] if epochs is None else epochs,
        batch_size=recipe['batch_size'], patience=recipe['patience'],
        seed=seed, corrupt=corrupt, device=device,
        dtype=(torch.float32 if recipe['task'] == 'denoise'
               else resolve_precision('auto', device)),
        checkpoint=checkpoint, configuration=settings,
        progress_bar=progress_bar)
    network = network.cpu()
    if corrupt is not None:
        noisy = corrupt(validation[0], torch.Generator().manual_seed(seed))
        network.calibrate(noisy[:, 0], validation[1][:, 0])
    kept = next(row['epoch'] for row in log if row['kept'])
    metadata = {
        'name': name, 'task': recipe['task'], 'version': __version__,
        'licence': 'BSD-3-Clause', 'summary': recipe['summary'],
        'training': {
            'command': f'astro-denoise train --recipe {name} --seed {seed}',
            'sizes': list(sizes), 'epochs': len(log), 'kept_epoch': kept,
            'batch_size': recipe['batch_size'], 'learning_rate': 1e-3,
            'seed': seed,
            'minutes': round((time.monotonic() - started) / 60.0, 1)},
        'figures': _measure(network, test, loss_function, corrupt, seed + 1)}
    if recipe['task'] == 'segment':
        metadata['threshold'] = _CUT
    if 'noise' in recipe:
        metadata['noise'] = {'kind': recipe['noise'],
                             'amount': IMAGE_NOISES[recipe['noise']]}
    model = Model(network, metadata)
    model.save(output, overwrite=overwrite)
    write_log(log, model, log_path)
    return model


def _options(recipe):
    """Arguments of the network's class."""
    if 'outputs' not in recipe:
        return {}
    return {'outputs': recipe['outputs'],
            'ranges': [_RANGES[name] for name in recipe['outputs']]}
