# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How the shipped models for point sources, for images of the Galactic
Centre, and for its parameters are trained.
"""

import os
import time
from functools import partial
from pathlib import Path

import torch

from ... import __version__
from ...inference.devices import resolve_device, resolve_precision
from ...models.galactic_center import SourceSegmenter
from ...models.image_denoiser import MixedDenoiser
from ...models.posterior import PosteriorNetwork
from ...models.registry import Model, load_model
from ...simulation.galactic_center import GalacticCenterSimulator
from ..galactic_center import (
    NoisyImageSampler,
    SkySampler,
    train_mixed,
    train_segmenter,
)
from ..joint import train_joint
from ..posterior import draw_features, train_head, train_posterior
from ..report import check_outputs, write_log
from ..scenes import draw_scenes
from ..stars import StarSampler, train_star_finder

__all__ = ['GALACTIC_RECIPES', 'train_galactic']

# Seeds of what networks are calibrated on: far from those of training.
_VALIDATION = 1_000_000

_SCENE_SEED = 40


def _in_batches(sampler, n_batches, seed):
    for index in range(n_batches):
        yield {name: torch.from_numpy(plane) for name, plane in
               sampler.batch([_VALIDATION + seed, index]).items()}


def _drawn(simulator, n_images, seed):
    """Images that are not trained on, and their parameters."""
    drawn = [simulator.draw(500, [seed, index])
             for index in range(n_images // 500)]
    return [torch.cat([part[name] for part in drawn])
            for name in ('images', 'parameters')]


def _calibrate_probability(network, sampler, n_batches, seed):
    """Platt's scaling, and the threshold of the best F1."""
    network.cpu()
    logits, present = [], []
    with torch.no_grad():
        for batch in _in_batches(sampler, n_batches, seed):
            answer = network(batch['image'], batch['valid'],
                             batch['position'])
            good = batch['valid'] > 0
            logits.append(answer['logit'][good])
            present.append(batch['flux'][good] > 0)
    logits, present = torch.cat(logits).double(), torch.cat(present).double()
    scaling = torch.tensor([1.0, 0.0], dtype=torch.float64,
                           requires_grad=True)
    optimizer = torch.optim.LBFGS([scaling], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
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


def _train_segmenter(recipe, options):
    network, log = train_segmenter(SourceSegmenter(), **options)
    return network, log, _calibrate_probability(
        network, SkySampler(other_share=0.0), 30, options['seed'])


def _train_stars(recipe, options, n_scenes=None):
    scenes = draw_scenes(n_scenes or recipe['n_scenes'],
                         seed=_SCENE_SEED + options['seed'] - 1,
                         n_workers=os.cpu_count() or 1)
    network, log = train_star_finder(
        SourceSegmenter(kind='ccd', widths=recipe['widths']), scenes,
        **options)
    others = draw_scenes(16, seed=_SCENE_SEED + 1000)
    return network, log, _calibrate_probability(
        network, StarSampler(others), 40, options['seed'])


def _train_posterior(recipe, options, n_images=None):
    segmenter = load_model('galactic-center', task='segment')
    network, log = _posterior(segmenter.network, {
        'name': segmenter.name, 'hash': segmenter.hash},
        options, n_images or recipe['n_images'])
    return network, log, _calibrate_posterior(
        network, GalacticCenterSimulator('fixed'), options['seed'])


def _posterior(segmenter, sources, options, n_images):
    """A posterior that averages the features of a segmenter."""
    first, log = train_posterior(PosteriorNetwork(), batch_size=64,
                                 ema_decay=0.0, **options)
    network = PosteriorNetwork(sources=sources, segmenter=segmenter)
    network.load_state_dict(first.cpu().state_dict(), strict=False)
    folder = options['checkpoint']
    if folder is not None:
        folder = folder.with_suffix('.features')
    log += train_head(network, *draw_features(
        network, n_images, seed=options['seed'] + 8, folder=folder,
        progress_bar=options['progress_bar']),
        seed=options['seed'], progress_bar=options['progress_bar'])
    return network, log


def _train_joint(recipe, options, n_images=None):
    """A segmenter, a posterior that uses it, and then both together."""
    share = options['n_steps'] / recipe['n_steps']

    def stage(name, **others):
        first = GALACTIC_RECIPES[name]
        checkpoint = options['checkpoint']
        if checkpoint is not None:
            checkpoint = checkpoint.with_name(f'{name}.pt')
        return {**options, 'checkpoint': checkpoint,
                'n_steps': max(round(share * first['n_steps']), 1),
                'learning_rate': first['learning_rate'], **others}

    estimate = 'galactic-center.estimate'
    segmenter, _ = train_segmenter(SourceSegmenter(),
                                   **stage('galactic-center.segment'))
    network, _ = _posterior(
        segmenter.cpu(), {'name': 'galactic-center', 'hash': ''},
        stage(estimate),
        n_images or GALACTIC_RECIPES[estimate]['n_images'])
    simulator = GalacticCenterSimulator('fixed')
    log = []
    # The learning rate rises and falls in each round.
    n_steps = max(options['n_steps'] // len(recipe['batch_sizes']), 1)
    for number, batch_size in enumerate(recipe['batch_sizes']):
        seed = options['seed'] + 16 + number
        checkpoint = options['checkpoint']
        if checkpoint is not None:
            checkpoint = checkpoint.with_suffix(f'.{number}.pt')
        counts, _ = _drawn(simulator, 4000, _VALIDATION + seed - 1)
        network, segmenter, rows = train_joint(network, counts, **{
            **options, 'n_steps': n_steps, 'seed': seed,
            'batch_size': batch_size, 'checkpoint': checkpoint})
        network, segmenter = network.cpu(), segmenter.cpu()
        log += [{**row, 'step': row['step'] + number * n_steps}
                for row in rows]
    found = _calibrate_probability(segmenter, SkySampler(other_share=0.0),
                                   30, seed)
    return network, log, _calibrate_posterior(network, simulator, seed), (
        segmenter, found)


def _train_sky(recipe, options):
    """From the shipped posterior, without the features of sources."""
    network = PosteriorNetwork()
    network.load_state_dict({
        name: tensor for name, tensor in load_model(
            'galactic-center', task='estimate').network.state_dict().items()
        if not name.startswith(('correction.', 'standardised.'))})
    network.spread.fill_(1.0)
    network.requires_grad_()
    simulator = GalacticCenterSimulator('fixed', nuisances=True)
    network, log = train_posterior(network, batch_size=64, ema_decay=0.0,
                                   simulator=simulator, **options)
    network = network.cpu().eval()
    typical, _ = _drawn(simulator, 4000, 2 * _VALIDATION + options['seed'])
    network = network.compressed(typical, recipe['rank'])
    return network, log, _calibrate_posterior(network, simulator,
                                              options['seed'])


@torch.no_grad()
def _calibrate_posterior(network, simulator, seed):
    """What images look like, how wide posteriors are, and their errors."""
    counts, truth = _drawn(simulator, 10_000, _VALIDATION + seed)
    network.learn_statistics(counts)
    truth[:, 4:] += 0.5
    network.learn_spread(counts[:8000], truth[:8000])
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


def _train_mixed(recipe, options):
    network, log = train_mixed(MixedDenoiser(), batch_size=48, **options)
    network.cpu().requires_grad_(requires_grad=False)
    sampler = NoisyImageSampler(network.noises)
    squared, expected, right, total = 0.0, 0.0, 0, 0
    for batch in _in_batches(sampler, 10, options['seed']):
        denoised, log_variance, logits = network(batch['image'],
                                                 batch['valid'])
        squared += float((denoised - batch['truth']).square().sum())
        expected += float(log_variance.exp().sum())
        right += int((logits.argmax(1) == batch['kind']).sum())
        total += len(logits)
    return network, log, {'figures': {
        'noise named rightly': round(right / total, 4),
        'squared error over expected': round(squared / expected, 3)}}


#: What each model is trained with.
GALACTIC_RECIPES = {
    'galactic-center.estimate': {
        'train': _train_posterior, 'task': 'estimate', 'n_steps': 9000,
        'n_images': 300_000,
        'learning_rate': 1e-3,
        'summary': 'posterior of six parameters of the Galactic Centre'},
    # The shipped pair: a segmenter, a posterior, and both trained on.
    'galactic-center': {
        'train': _train_joint, 'task': 'estimate', 'n_steps': 22_500,
        'batch_sizes': (64, 64, 128), 'learning_rate': 3e-4,
        'with': 'galactic-center.segment',
        'summary': 'posterior of six parameters of the Galactic Centre'},
    'galactic-sky': {
        'train': _train_sky, 'task': 'estimate', 'n_steps': 4000,
        'learning_rate': 7e-4, 'rank': 32,
        'summary': 'the same posterior, for real skies'},
    'galactic-center.segment': {
        'train': _train_segmenter, 'task': 'segment', 'n_steps': 2500,
        'learning_rate': 1.5e-3,
        'summary': 'point sources in gamma-ray images'},
    'ccd-stars': {
        'train': _train_stars, 'task': 'segment', 'n_steps': 3000,
        'learning_rate': 1.5e-3, 'widths': (24, 48, 72), 'n_scenes': 160,
        'summary': 'stars in optical frames'},
    'gc-mixed': {
        'train': _train_mixed, 'task': 'denoise', 'n_steps': 2500,
        'learning_rate': 1.5e-3,
        'summary': 'gamma-ray images with any of four noises'},
}


def train_galactic(name, output, *, seed=1, checkpoint=None, n_steps=None,
                   device=None, progress_bar=False, overwrite=False,
                   **options):
    """
    Train a shipped model for point sources or the Galactic Centre anew.

    Parameters
    ----------
    name : str
        One of `GALACTIC_RECIPES`.

    output : path-like
        The ``.safetensors`` file; the training log is written beside it
        as ``.ecsv``. For ``'galactic-center'`` it is the posterior, and
        the segmenter that it uses is written with the ending
        ``.segment.safetensors``: both are to be installed together.

    seed : int, optional
        Of skies, noise and weights.

    checkpoint : path-like, optional
        Folder of checkpoints, from which an interrupted training goes
        on.

    n_steps : int, optional
        Fewer or more steps than the recipe's.

    device : str, optional
        Where to train.

    progress_bar : bool, optional
        Show a progress bar.

    overwrite : bool, optional
        Replace an existing file.

    **options
        Passed to the recipe, such as ``n_scenes``.

    Returns
    -------
    model : `~astro_denoise.models.Model`
        The trained model.

    Raises
    ------
    ValueError
        If there is no such recipe, or ``output`` has another ending.

    OSError
        If the weights or the log exist, or cannot be written.
    """
    if name not in GALACTIC_RECIPES:
        msg = (f'there is no recipe {name!r}; known are '
               f'{list(GALACTIC_RECIPES)}')
        raise ValueError(msg)
    recipe = GALACTIC_RECIPES[name]
    recipes, outputs = [recipe], [output]
    if 'with' in recipe:
        recipes.append(GALACTIC_RECIPES[recipe['with']])
        outputs.append(Path(output).with_suffix(
            f'.{recipes[1]["task"]}.safetensors'))
    outputs = [check_outputs(path, overwrite=overwrite) for path in outputs]
    started = time.monotonic()
    device = resolve_device(device)
    if checkpoint is not None:
        checkpoint = Path(checkpoint) / f'{name}.pt'
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    train = partial(recipe['train'], recipe, **options)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network, log, found, *other = train({
            'n_steps': n_steps or recipe['n_steps'], 'seed': seed,
            'learning_rate': recipe['learning_rate'], 'device': device,
            'dtype': resolve_precision('auto', device),
            'checkpoint': checkpoint, 'progress_bar': progress_bar})
    training = {
        'command': f'astro-denoise train --recipe {name} --seed {seed}',
        'n_steps': n_steps or recipe['n_steps'], 'seed': seed,
        'minutes': round((time.monotonic() - started) / 60.0, 1)}

    def saved(number, network, found):
        path, log_path = outputs[number]
        model = Model(network, {
            'name': name.partition('.')[0], 'task': recipes[number]['task'],
            'version': __version__, 'licence': 'BSD-3-Clause',
            'summary': recipes[number]['summary'], 'training': training,
            **found})
        model.save(path, overwrite=overwrite)
        write_log(log, model, log_path)
        return model

    for segmenter in other:
        model = saved(1, *segmenter)
        network.config['sources'] = {'name': model.name, 'hash': model.hash}
    return saved(0, network, found)
