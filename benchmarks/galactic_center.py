# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of the Galactic Center: the student project's figures, its networks
trained again, what costs nothing, and the models of this package, all on
the same fresh images.

Run as ``python benchmarks/galactic_center.py --help``; what is printed is
explained in ``benchmarks/README.rst``.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from galactic_baselines import (
    QuadraticRegression,
    bm3d_filter,
    has,
    ring_statistics,
)
from galactic_report import MISSING, SEED, Models, Report, draw, mean, save
from galactic_sources import catalogs, segmentation
from scipy.ndimage import median_filter

from astro_denoise import evaluation
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator
from astro_denoise.simulation.image_noise import IMAGE_NOISES, add_image_noise

FULL = {'test': 3072, 'train': 24576, 'train_pixels': 300, 'tune': 40,
        'catalog': 400, 'autoencoder': 1024, 'bm3d': 48, 'samples': 1000}
QUICK = {'test': 256, 'train': 2048, 'train_pixels': 60, 'tune': 10,
         'catalog': 30, 'autoencoder': 128, 'bm3d': 2, 'samples': 200}

# Parameter and the document's network for it, with its figure.
PARAMETERS = [('a_dm', 'cnn-dm', 0.0807),
              ('a_dm', 'cnn-dm-total', 0.1093),
              ('n_ps_total', 'cnn-dm-total', 0.0354),
              ('a_dm', 'cnn-dm-disk-gc', 0.1175),
              ('n_ps_disk', 'cnn-dm-disk-gc', 0.0453),
              ('n_ps_gc', 'cnn-dm-disk-gc', 0.1364)]
# Dark matter that is added to the real map, and how often.
INJECTED, N_INJECTIONS = 0.3, 20
NAMES = ('a_dm', 'n_ps_total', 'n_ps_disk', 'n_ps_gc')
DOCUMENT_MSE = {'gaussian': 0.0011, 'poisson': 0.0012, 'masked': 0.0010,
                'saltpepper': 0.0019}


def scaled(table, names=NAMES):
    """Parameters on the scale of their priors, a row per image."""
    return np.stack([evaluation.scale_parameters(table[name], name)
                     for name in names], 1)


def ring_regression(n, seed):
    """The quadratic regression on ring statistics, trained."""
    features, targets = [], []
    for start in range(0, n, 2048):
        drawn = draw(min(2048, n - start), seed + start)
        features.append(ring_statistics(drawn['images']))
        targets.append(scaled(drawn['table']))
    return QuadraticRegression(np.concatenate(features),
                               np.concatenate(targets))


def parameters(report, models, test, sizes, figures):
    """Errors of the parameters."""
    from astro_denoise import estimate_parameters

    truth = scaled(test['table'])
    regression = ring_regression(sizes['train'], SEED + 10**6)
    rings = np.abs(regression(ring_statistics(test['images'])) - truth)
    constant = np.abs(truth - 0.5)
    ours = samples = None
    model = models.find('galactic-center', 'estimate')
    if model is not None:
        table, samples = estimate_parameters(
            test['images'], model, n_samples=sizes['samples'],
            return_samples=True, seed=1)
        ours = np.abs(scaled(table) - truth)
        if figures:
            save(figures, 'parameters', evaluation.plot_parameters(
                table, test['table']))
    report.title('Parameters: mean absolute error over the width of the '
                 'prior', 'document', 'reproduction', 'constant',
                 'regression', 'ours', 'ours/repro.')
    rows = []
    for name, network, document in PARAMETERS:
        index = NAMES.index(name)
        model = models.find(network, 'estimate')
        paper = None
        if model is not None:
            estimates = estimate_parameters(test['images'], model)
            paper = np.abs(evaluation.scale_parameters(
                estimates[name], name) - truth[:, index])
            if figures:
                save(figures, network, evaluation.plot_parameters(
                    estimates, test['table'], model.network.outputs))
        numbers = {
            'document': document, 'reproduction': mean(paper),
            'constant': constant[:, index].mean(),
            'regression': rings[:, index].mean(),
            'ours': None if ours is None else ours[:, index].mean()}
        ratio = (None if ours is None or paper is None
                 else numbers['ours'] / numbers['reproduction'])
        cells = {key: MISSING if value is None else value
                 for key, value in numbers.items()}
        report.line(f'{name} ({network})', *cells.values(), ratio)
        report.keep('parameters', f'{name} ({network})', **numbers)
        rows.append((name, network, numbers))
    spread = np.std(rings, 0) / np.sqrt(len(rings))
    report.line('error of a mean, about', '', '', '', spread.mean())
    report.title('Numbers of sources: the same, divided by the largest number '
                 'of the prior (what the document may have done)',
                 'document', 'reproduction', 'constant', 'regression', 'ours')
    for name, network, numbers in rows:
        if not name.startswith('n_'):
            continue
        # Of the width of the prior to its upper end.
        share = 1.0 / (1.0 - evaluation.scale_parameters(0.0, name))
        numbers = {key: value if value is None or key == 'document'
                   else share * value for key, value in numbers.items()}
        report.line(f'{name} ({network})', *(
            MISSING if value is None else value
            for value in numbers.values()))
        report.keep('over the maximum', f'{name} ({network})', **numbers)
    if samples is not None:
        calibration(report, samples, test, figures)


def calibration(report, samples, test, figures):
    """Whether the posteriors mean what they say."""
    simulator = GalacticCenterSimulator('legacy')
    names = [*simulator.parameter_names, 'n_ps_total']
    truth = np.stack([test['table'][name] for name in names], 1)
    levels = np.sort(np.append(np.linspace(0.05, 0.95, 19), 0.68))
    coverage = evaluation.expected_coverage(samples, truth, names=names,
                                            levels=levels)
    # With one reference an image, chance alone brings 0.016 typically.
    tarp = {n: evaluation.tarp_coverage(
        samples[..., :6], truth[:, :6], bounds=simulator.bounds,
        n_repeats=n) for n in (1, 20)}
    report.title('Posteriors: fraction of central intervals that hold the '
                 'truth', *(f'{level:.2f}' for level in (0.5, 0.68, 0.95)))
    rows = [int(np.argmin(np.abs(levels - level)))
            for level in (0.5, 0.68, 0.95)]
    for name in names:
        report.line(name, *(coverage[name][row] for row in rows))
        report.keep('coverage', name, **{
            f'{levels[row]:.2f}': coverage[name][row] for row in rows})
    report.line('error of a fraction', *(coverage['error'][row]
                                         for row in rows))
    for n, table in tarp.items():
        report.line(f'TARP, {n} reference{"s" * (n > 1)}',
                    table.meta['deviation'])
        report.keep('tarp', f'{n} references', value=table.meta['deviation'])
    if figures:
        ranks = evaluation.rank_statistics(samples, truth, names=names)
        save(figures, 'ranks', evaluation.plot_ranks(ranks))
        save(figures, 'coverage', evaluation.plot_coverage(coverage).figure)
        save(figures, 'tarp', evaluation.plot_tarp(tarp[20]).figure)


def denoising(report, models, sizes, figures):
    """Errors of denoised images, of the document's four noises."""
    import torch

    from astro_denoise import denoise

    n = sizes['autoencoder']
    clean, tune = (part['images'] / part['images'].max((1, 2), keepdims=True)
                   for part in (draw(n, SEED + 5 * 10**6, rotation=True),
                                draw(32, SEED + 6 * 10**6, rotation=True)))
    ours = models.find('gc-mixed', 'denoise')
    report.title('Denoising: mean squared error, images divided by their '
                 'maximum', 'document', 'reproduction', 'noisy', 'constant',
                 'median', 'BM3D', 'ours', 'ours/repro.')
    for number, kind in enumerate(IMAGE_NOISES):
        noisy = add_image_noise(clean, kind, seed=number)
        practice = add_image_noise(tune, kind, seed=100 + number)

        def error(result, part=clean):
            return float(np.mean((result - part[:len(result)])**2))

        size = min((3, 5, 7, 9), key=lambda size, practice=practice: error(
            median_filter(practice, (1, size, size)), tune))
        numbers = {
            'document': DOCUMENT_MSE[kind], 'reproduction': None,
            'noisy': error(noisy),
            'constant': error(np.broadcast_to(
                clean.mean((1, 2), keepdims=True), clean.shape)),
            'median': error(median_filter(noisy, (1, size, size))),
            'bm3d': None, 'ours': None}
        results = {'median': median_filter(noisy[:1], (1, size, size))[0]}
        if has('bm3d'):
            sigma = min((0.1, 0.2, 0.4), key=lambda sigma, practice=practice:
                        error(np.stack([bm3d_filter(image, sigma)
                                        for image in practice[:2]]), tune))
            numbers['bm3d'] = error(np.stack([
                bm3d_filter(image, sigma)
                for image in noisy[:sizes['bm3d']]]))
        model = models.find(f'gc-{kind}', 'denoise')
        if model is not None:
            with torch.no_grad():
                output = model.network(torch.from_numpy(noisy)[:, None])
            results['reproduction'] = output[0, 0].numpy()
            numbers['reproduction'] = error(output[:, 0].numpy())
        if ours is not None:
            output = denoise(noisy, ours)
            results['ours'] = output[0]
            numbers['ours'] = error(output)
        ratio = (None if model is None or ours is None
                 else numbers['ours'] / numbers['reproduction'])
        cells = {key: (f'{value:.5f}' if value is not None else
                       '-' if key == 'bm3d' else MISSING)
                 for key, value in numbers.items()}
        report.line(f'{kind} {IMAGE_NOISES[kind]}', *cells.values(), ratio)
        report.keep('denoising', kind, **numbers)
        if figures:
            save(figures, f'denoised {kind}', evaluation.plot_image_panels(
                clean[0], noisy[0], results))
    print(f'BM3D on the first {sizes["bm3d"]} images; constant: the mean of '
          f'each image without noise.')


def real_sky(report, models):
    """The map of Fermi-LAT, and what a known signal in it does."""
    from astro_denoise import estimate_parameters
    from astro_denoise.data.examples import load_fermi_map

    # In the map, longitude grows to the left.
    counts = np.asarray(load_fermi_map().data[:, ::-1], np.float32)
    template = GalacticCenterSimulator('legacy').sample(
        1, seed=1, parameters={'a_dm': 1.0}, components=True)[3]['dm'][0]
    rng = np.random.default_rng(SEED)
    injected = (counts + rng.poisson(INJECTED * template,
                                     (N_INJECTIONS, 64, 64))
                ).astype(np.float32)
    report.title(f'Fermi-LAT, 573 weeks: a_dm, and how it moves when '
                 f'{INJECTED} of the template are added ({N_INJECTIONS} '
                 f'draws)', 'a_dm', '2.5 %', '97.5 %', 'ood score',
                 'threshold', 'moved by', 'scatter', 'right')
    for name in ('galactic-center', 'galactic-sky'):
        model = models.find(name, 'estimate')
        if model is None:
            report.line(name, MISSING)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', UnusualImageWarning)
            before, after = (estimate_parameters(
                images, model, n_samples=4000, seed=1)
                for images in (counts, injected))
        start = before['a_dm'][0]
        moved = np.asarray(after['a_dm'] - start)
        # The true step lies in the central 95 per cent of the new
        # posterior, seen from where the old one was.
        right = int(((after['a_dm_q025'] - start <= INJECTED)
                     & (after['a_dm_q975'] - start >= INJECTED)).sum())
        report.line(name, start, before['a_dm_q025'][0],
                    before['a_dm_q975'][0], before['ood_score'][0],
                    before.meta['ood_threshold'], moved.mean(), moved.std(),
                    f'{right} of {N_INJECTIONS}')
        report.keep('real sky', name, a_dm=start,
                    ood_score=before['ood_score'][0],
                    moved=moved.mean(), scatter=moved.std(), right=right)


def speed(report, models):
    """Seconds of what has a limit."""
    from astro_denoise import estimate_parameters, segment_point_sources

    simulator = GalacticCenterSimulator('legacy')
    image = simulator.sample(1, seed=SEED)[0][0]
    report.title('Speed', 'seconds')
    model = models.find('galactic-center', 'estimate')
    report.line('10,000 posterior samples', MISSING if model is None else
                fastest(lambda: estimate_parameters(image, model,
                                                    n_samples=10_000)))
    images = simulator.sample(200, seed=SEED)[0]
    for name in ('galactic-center', 'galactic-sky'):
        model = models.find(name, 'estimate')
        if model is None:
            report.line(f'an image by {name}', MISSING)
            continue
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', UnusualImageWarning)
            estimate_parameters(images, model)
        report.line(f'an image by {name}, of one core',
                    (time.process_time() - started) / len(images))
    segmenter = models.find('galactic-center', 'segment')
    report.line('2048 x 2048 segmentation', MISSING if segmenter is None
                else fastest(lambda: segment_point_sources(
                    np.tile(image, (32, 32)), segmenter)))
    report.line('1000 images drawn', fastest(
        lambda: simulator.sample(1000, seed=1)))


def fastest(function, repeats=3):
    """Seconds of the fastest of some calls."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


SECTIONS = ('parameters', 'real sky', 'segmentation', 'catalog',
            'denoising', 'speed')


def main(arguments=None):
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--quick', action='store_true',
                        help='few images, large errors')
    parser.add_argument('--images', type=int,
                        help='number of test images (default: 3072)')
    parser.add_argument('--weights', nargs='*', default=[], metavar='FOLDER',
                        help='folders of weights that are not shipped')
    parser.add_argument('--only', nargs='+', choices=SECTIONS,
                        default=SECTIONS, help='parts to run')
    parser.add_argument('--output', help='a .json file of all figures')
    parser.add_argument('--figures', metavar='FOLDER',
                        help='where to write figures')
    options = parser.parse_args(arguments)
    sizes = dict(QUICK if options.quick else FULL)
    if options.images is not None:
        sizes['test'] = options.images
    started = time.monotonic()
    models, report = Models(options.weights), Report()
    test = draw(sizes['test'], SEED)
    print(f'{sizes["test"]} images of the legacy tier; mean '
          f'{test["images"].mean():.1f} counts, '
          f'{100 * (test["flux"] > 0).mean():.1f} % of pixels with a source')
    if 'parameters' in options.only:
        parameters(report, models, test, sizes, options.figures)
    if 'real sky' in options.only:
        real_sky(report, models)
    if 'segmentation' in options.only:
        segmentation(report, models, test, sizes, options.figures)
    if 'catalog' in options.only:
        catalogs(report, models, test, sizes)
    if 'denoising' in options.only:
        denoising(report, models, sizes, options.figures)
    if 'speed' in options.only:
        speed(report, models)
    print(f'{(time.monotonic() - started) / 60:.0f} minutes',
          file=sys.stderr)
    if options.output:
        Path(options.output).write_text(json.dumps(report.rows, indent=1))


if __name__ == '__main__':
    main()
