# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Posteriors of gamma-ray skies that the simulator did not draw.

Skies are made here, in numpy, independently of the package: the formulas of
the documentation, sources at their true positions on a grid eight times
finer, one thing changed at a time. For each, the share of images that
`astro_denoise.estimate_parameters` flags, and how often the central 95 per
cent of the posterior hold the true value, for the worst parameter.

    python benchmarks/misspecification.py -n 200
    python benchmarks/misspecification.py --part map
"""

import argparse
import warnings

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from astro_denoise import estimate_parameters
from astro_denoise.data.examples import load_fermi_map
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation import GalacticCenterSimulator

NAMES = ('a_dm', 'a_ic', 'a_pi0', 'a_bubbles', 'n_ps_gc', 'n_ps_disk')
FINE, HALF = 8, 15.0
GAIN = 2.047

# What is changed, and the exposure.
CASES = {
    'as simulated here': {},
    'exposure x 0.7': {'exposure': 0.7}, 'exposure x 1.1': {'exposure': 1.1},
    'exposure x 3': {'exposure': 3.0},
    'PSF 0.15 deg': {'psf': 0.15}, 'PSF 0.50 deg': {'psf': 0.5},
    'gas 3 deg': {'gas': 3.0}, 'IC 8 deg': {'ic': 8.0},
    'isotropic + 2': {'isotropic': 2.0}, 'isotropic + 5': {'isotropic': 5.0},
    'source flux x 1.35': {'flux': 1.35},
    'mirrored': {'mirrored': True}}

# Galactic latitude below which the plane is masked, and draws of the injected
# signal.
MASK, INJECTED, N_INJECTIONS = 2.0, 0.3, 20


def grid(steps=1):
    """Coordinates of pixels, each divided into steps, in degrees."""
    line = ((np.arange(64 * steps) + 0.5) / (64 * steps) - 0.5) * 2 * HALF
    return np.meshgrid(line, line)


def inside(rng, n, draw):
    """Draw positions until all are in the image."""
    x, y = draw(n)
    while (bad := (np.abs(x) >= HALF) | (np.abs(y) >= HALF)).any():
        x[bad], y[bad] = draw(int(bad.sum()))
    return x, y


def expected_counts(values, rng, *, psf=0.8 / 3, gas=5.0, ic=5.0,
                    isotropic=0.0, flux=1.0):
    """Compute the expected counts of a sky at exposure 1, and its sources."""
    x, y = grid()
    ripples = gaussian_filter(rng.standard_normal((64, 64)), 0.25 / 0.46875,
                              mode='constant')
    ripples *= 2 * np.pi * (0.25 / 0.46875)**2
    radius = np.hypot(x, y)
    north = 10.5 * (np.cosh((x + 1) / 10.5) - 1) + 1
    south = -8.7 * (np.cosh((x - 1.7) / 8.7) - 1) - 1
    smooth = (
        values['a_dm'] * 100 * np.exp(-radius / 5) / np.sqrt(
            5 * np.pi * radius)
        + values['a_ic'] * 25 * np.exp(-np.abs(y) / ic)
        + values['a_pi0'] * 50 * np.exp(ripples / 8 - (x / 20)**2
                                        - (y / gas)**2)
        + values['a_bubbles'] * 3 * np.where(
            y > 0, expit((y - north) / 0.6), expit((south - y) / 0.6)))

    def center(n):
        r, angle = rng.gamma(1.5, 5.0, n), rng.uniform(0, 2 * np.pi, n)
        return r * np.cos(angle), r * np.sin(angle)

    def disk(n):
        kpc = np.degrees(1 / 8.3)
        r, angle = rng.exponential(5.0 * kpc, n), rng.uniform(
            0, 2 * np.pi, n)
        return r * np.cos(angle), (rng.exponential(0.3 * kpc, n)
                                   * rng.choice([-1, 1], n))

    fluxes = np.zeros((64 * FINE, 64 * FINE))
    edges = np.linspace(-HALF, HALF, 64 * FINE + 1)
    for name, draw in (('n_ps_gc', center), ('n_ps_disk', disk)):
        n = int(values[name])
        place = inside(rng, n, draw)
        fluxes += np.histogram2d(place[1], place[0], bins=[edges, edges],
                                 weights=rng.lognormal(1.0, 1.2, n))[0]
    sigma = psf / 0.46875
    light, fluxes = (
        GAIN * flux * plane.reshape(64, FINE, 64, FINE).sum((1, 3))
        for plane in (gaussian_filter(fluxes, sigma * FINE, mode='constant'),
                      fluxes))
    return GAIN * gaussian_filter(
        smooth, sigma, mode='constant') + light + isotropic, fluxes


def skies(n, seed, *, exposure=1.0, mirrored=False, **options):
    """Draw images and their true parameters."""
    rng = np.random.default_rng(seed)
    low, high = [0, 0, 0, 0, 200, 1000], [1, 1, 1, 1, 800, 4000]
    drawn = rng.uniform(low, high, (n, 6))
    drawn[:, 4:] = np.floor(drawn[:, 4:])
    truth = dict(zip(NAMES, drawn.T, strict=True))
    images = np.stack([
        rng.poisson(exposure * expected_counts(
            dict(zip(NAMES, row, strict=True)), rng, **options)[0])
        for row in drawn])
    return images[:, :, ::-1] if mirrored else images, truth


def estimated(images, model, **options):
    """Estimate without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UnusualImageWarning)
        return estimate_parameters(images, model, n_samples=1000, seed=1,
                                   **options)


def inside_share(table, truth, level):
    """Share of images whose interval holds the true value."""
    low, high = {68: ('q16', 'q84'), 95: ('q025', 'q975')}[level]
    return {name: float(np.mean((table[f'{name}_{low}'] <= truth[name])
                                & (truth[name] <= table[f'{name}_{high}'])))
            for name in NAMES}


def report(label, images, truth, model, **options):
    """Print a row of the table."""
    table = estimated(images, model, **options)
    flagged = float(np.mean(table['ood_flag']))
    predictive = float(np.mean(table['p_predictive'] < 1e-4))
    row = f'{label:28s} {100 * flagged:7.1f} {100 * predictive:7.1f}'
    if truth is None:
        print(f'{row}{"":34s}{"yes" if flagged >= 0.9 else "NO":>8s}',
              flush=True)
        return
    wide, narrow = (inside_share(table, truth, level) for level in (95, 68))
    worst = min(wide, key=wide.get)
    width = float(np.mean(table['a_dm_std']))
    holds = flagged >= 0.9 or wide[worst] >= 0.9
    print(f'{row} {100 * np.mean(list(narrow.values())):6.1f} '
          f'{100 * wide[worst]:6.1f} {worst:>9s} {width:8.3f} '
          f'{"yes" if holds else "NO":>8s}', flush=True)


def report_skies(n, model, told):
    """Print the table of skies that the simulator did not draw."""
    print(f'\n{model}, {n} images each, exposure '
          f'{"given" if told else "not given"}\n'
          f'{"":28s} flagged  p<1e-4 68 % in  95 % in worst   a_dm std  '
          f'passes', flush=True)

    def exposure(value=1.0):
        return {'exposure': value} if told else {}

    for tier in ('fixed', 'legacy', 'realistic'):
        images, truth, _ = GalacticCenterSimulator(tier).sample(n, seed=901)
        report(f'tier {tier}', images, truth, model, **exposure())
    images, truth, _ = GalacticCenterSimulator(
        nuisances=True, exposure=(0.3, 3.0)).sample(n, seed=902)
    report('nuisances, exposure 0.3-3', images, truth, model,
           **exposure(np.asarray(truth['exposure'])))
    for number, (label, changed) in enumerate(CASES.items()):
        images, truth = skies(n, [903, number], **changed)
        report(label, images, truth, model,
               **exposure(changed.get('exposure', 1.0)))
    flat = np.random.default_rng(904).poisson(30.0, (n, 64, 64))
    report('flat Poisson(30)', flat, None, model, **exposure())
    plane = np.abs(grid()[1][:, :1]) < MASK
    images, truth = skies(n, 905)
    report(f'masked |b| < {MASK:g}', images, truth, model, **exposure(),
           mask=np.broadcast_to(plane, images.shape))


def report_map(model):
    """Print what is said of the map of Fermi-LAT."""
    counts = np.asarray(load_fermi_map().data[:, ::-1], float)
    plane = np.broadcast_to(np.abs(grid()[1][:, :1]) < MASK, counts.shape)
    prior = {**dict.fromkeys(NAMES[:4], 12**-0.5), 'n_ps_gc': 600 / 12**0.5,
             'n_ps_disk': 3000 / 12**0.5}
    print('\nFermi-LAT, 2-20 GeV: medians, and the widths of posteriors over '
          'those of the priors\n'
          f'{"":26s} p_pred.  flag' + ''.join(f'{name:>17s}'
                                             for name in NAMES))
    for label, mask in (('whole', None), (f'|b| > {MASK:g}', plane)):
        for exposure in (None, 1.0):
            row = estimated(counts, model, mask=mask, exposure=exposure)[0]
            found = ''.join(
                f'{row[name]:10.3g} ({row[name + "_std"] / width:.2f})'
                for name, width in prior.items())
            print(f'{label + ", exposure " + str(exposure):26s} '
                  f'{row["p_predictive"]:7.4f} {row["ood_flag"]!s:>5s}{found}',
                  flush=True)
    rng = np.random.default_rng(5)
    shorter = rng.binomial(counts.astype(int), 413 / 573)
    print('\n413 of 573 weeks (thinned at random), difference of the medians '
          'over the error')
    for label, mask in (('whole', None), (f'|b| > {MASK:g}', plane)):
        long, short = (estimated(image, model, mask=mask,
                                 exposure=exposure)[0]
                       for image, exposure in ((counts, 1.0),
                                               (shorter, 413 / 573)))
        pulls = {name: (short[name] - long[name])
                 / np.hypot(long[name + '_std'], short[name + '_std'])
                 for name in NAMES}
        print(f'{label:26s}' + ''.join(
            f' {name} {pull:+.2f}' for name, pull in pulls.items()),
            flush=True)
    template = GalacticCenterSimulator().sample(
        1, seed=1, parameters={'a_dm': 1.0}, components=True)[3]['dm'][0]
    injected = counts + rng.poisson(INJECTED * template,
                                    (N_INJECTIONS, 64, 64))
    print(f'\n{INJECTED} of the template injected, {N_INJECTIONS} draws')
    for label, mask in (('whole', None), (f'|b| > {MASK:g}', plane)):
        before = estimated(counts, model, mask=mask, exposure=1.0)
        after = estimated(injected, model, exposure=1.0, mask=None
                          if mask is None else np.broadcast_to(
                              mask, injected.shape))
        start = before['a_dm'][0]
        right = np.sum((after['a_dm_q025'] - start <= INJECTED)
                       & (after['a_dm_q975'] - start >= INJECTED))
        moved = np.asarray(after['a_dm'] - start)
        print(f'{label:26s} right {right} of {N_INJECTIONS}, moved by '
              f'{moved.mean():.3f} +- {moved.std():.3f}', flush=True)


def main():
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-n', type=int, default=200, help='images of a case')
    parser.add_argument('--model', default='galactic-sky')
    parser.add_argument('--part', choices=('skies', 'map', 'both'),
                        default='both')
    parser.add_argument('--told', action='store_true',
                        help='give the exposure of each image')
    options = parser.parse_args()
    if options.part != 'map':
        report_skies(options.n, options.model, options.told)
    if options.part != 'skies':
        report_map(options.model)


if __name__ == '__main__':
    main()
