# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Expected counts of gamma-ray images by ``denoise(counts, 'gc-counts')``.

For each tier and exposure: the squared error against the expected counts over
that of the counts themselves, the standard deviation of the pulls, and how
far totals are from those expected.

    python benchmarks/expected_counts.py -n 60

No estimate can be better than that of who knows more than the image: all
emission but that of the sources, where each source is, and how fluxes are
distributed. Then only the fluxes are not known, and the mean of their
posterior has the least squared error that there is. It is drawn here by
Hamiltonian Monte Carlo, from the true fluxes on, which are a draw of it:

    python benchmarks/expected_counts.py --bound -n 4
"""

import argparse
import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, vstack
from scipy.special import ndtr, ndtri

from astro_denoise import denoise
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation import GalacticCenterSimulator

TIERS, EXPOSURES = ('legacy', 'fixed', 'realistic'), (0.3, 1.0, 3.0)

# Skies of one source each, from which those of images are taken, and the
# share of a source's light in a pixel below which it is left out.
POOL = {'n_ps_gc': 800, 'n_ps_disk': 4000}
FAINTEST = 1e-6

# Hamiltonian Monte Carlo: draws, steps of each, those before in which their
# length is tuned, and the first length.
N_DRAWS, N_STEPS, N_TUNED, FIRST_STEP = 300, 20, 80, 0.1


def report(tier, exposure, n, model):
    """Print a row of the table."""
    drawn = GalacticCenterSimulator(tier, exposure=exposure).draw(
        n, [5, round(100 * exposure)])
    counts, truth = (drawn[name].numpy() for name in ('images', 'expected'))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', UnusualImageWarning)
        result, error = denoise(counts, model, return_uncertainty=True)
    ratio = np.sum((result - truth)**2) / np.sum((counts - truth)**2)
    pull = (result - truth) / error
    total = result.sum((1, 2)) / truth.sum((1, 2)) - 1
    print(f'{tier:10s} {exposure:8g} {ratio:8.3f} {pull.std():8.3f} '
          f'{100 * total.mean():8.2f} {100 * total.std():8.2f} '
          f'{100 / np.sqrt(truth.sum((1, 2))).mean():8.2f} '
          f'{"yes" if caught else "":>7s}', flush=True)


@dataclass
class Sources:
    """Point sources: light of a unit of flux in each pixel, and fluxes."""

    light: csr_array
    flux: np.ndarray

    def chosen(self, rng, n):
        """Take some of the sources."""
        index = rng.choice(len(self.flux), n, replace=False)
        return Sources(self.light[index], self.flux[index])


def source_pool(tier, population, seed):
    """Draw skies of one source each."""
    simulator = GalacticCenterSimulator(tier)
    given = dict.fromkeys(simulator.parameter_names, 0.0)
    rows, fluxes = [], []
    n = POOL[population]
    for start in range(0, n, 200):
        drawn = simulator.draw(200, [seed, start], **{
            name: np.full(200, float(name == population)) for name in given})
        light = (drawn['expected'] / simulator.gain).numpy().reshape(200, -1)
        flux = drawn['sources'].sum((1, 2, 3)).numpy()
        light = light / flux[:, None]
        light[light < FAINTEST] = 0.0
        rows.append(csr_array(light.astype(float)))
        fluxes.append(flux)
    return Sources(vstack(rows).tocsr(), np.concatenate(fluxes).astype(float))


def lognormal(normal):
    """Fluxes of standard normal numbers, and their slope: lognormal."""
    flux = np.exp(1.0 + 1.2 * normal)
    return flux, 1.2 * flux


class BrokenPowerLaw:
    """
    Fluxes of standard normal numbers, and their slope: realistic tier.

    Number counts dN/dF of the exponents 0, -1.3 and -10, with breaks a
    factor 10 apart, and the mean flux of the other tiers.
    """

    def __init__(self):
        self.exponents = np.array([0.0, 1.3, 10.0])
        self.heights = np.array([1.0, 1.0, 10.0**8.7])
        self.edges = np.array([0.0, 1.0, 10.0, np.inf])
        numbers, light = self.moments(0.0), self.moments(1.0)
        self.shares = np.append(0.0, np.cumsum(numbers) / numbers.sum())
        self.total = numbers.sum()
        self.scale = (math.exp(1.0 + 0.5 * 1.2**2) * self.total
                      / light.sum())

    def moments(self, power):
        """Integrate the pieces."""
        order = power + 1.0 - self.exponents
        return self.heights * (self.edges[1:]**order
                               - self.edges[:-1]**order) / order

    def __call__(self, normal):
        """Compute fluxes and slopes."""
        share = np.clip(ndtr(normal), 1e-12, 1.0 - 1e-12)
        piece = np.searchsorted(self.shares[1:-1], share)
        order = 1.0 - self.exponents[piece]
        height = self.heights[piece]
        flux = (self.edges[piece]**order + (share - self.shares[piece])
                * self.total * order / height)**(1.0 / order)
        density = height * flux**(order - 1.0) / self.total
        slope = np.exp(-0.5 * normal**2) / math.sqrt(2 * math.pi) / density
        return self.scale * flux, self.scale * slope

    def inverse(self, flux):
        """Compute the normal numbers of fluxes."""
        flux = flux / self.scale
        piece = np.searchsorted(self.edges[1:-1], flux)
        order = 1.0 - self.exponents[piece]
        share = self.shares[piece] + self.heights[piece] * (
            flux**order - self.edges[piece]**order) / order / self.total
        return ndtri(np.clip(share, 1e-12, 1.0 - 1e-12))


@dataclass
class Image:
    """Counts of an image, and all that is known of it but the fluxes."""

    counts: np.ndarray
    smooth: np.ndarray
    light: csr_array
    fluxes: object

    def posterior(self, normal):
        """Compute log density, its gradient, and the expected counts."""
        flux, slope = self.fluxes(normal)
        expected = self.smooth + self.light.T @ flux
        density = (self.counts @ np.log(expected) - expected.sum()
                   - 0.5 * normal @ normal)
        gradient = slope * (self.light @ (self.counts / expected - 1.0))
        return density, gradient - normal, expected

    def mean(self, normal, rng):
        """
        Average the expected counts over the posterior of fluxes.

        Returns that, their variance, and the share of steps accepted.
        """
        state = (normal, *self.posterior(normal))
        # Widths of the posterior about these fluxes, for the masses.
        width = 1.0 / np.sqrt(1.0 + self.fluxes(normal)[1]**2 * (
            self.light.power(2) @ (1.0 / state[-1])))
        step, drawn, accepted = FIRST_STEP, [], 0
        for number in range(N_TUNED + N_DRAWS):
            moved = self.moved(state, step * rng.uniform(0.7, 1.3), width,
                               rng)
            state = state if moved is None else moved
            if number < N_TUNED:
                step *= 0.85 if moved is None else 1.06
                continue
            accepted += moved is not None
            drawn.append(state[-1])
        return (np.mean(drawn, 0), np.var(drawn, 0, ddof=1),
                accepted / N_DRAWS)

    def moved(self, state, step, width, rng):
        """Follow a path through the posterior; nothing if it is refused."""
        normal, density, gradient, _ = state
        momentum = speed = rng.standard_normal(len(normal))
        for _ in range(N_STEPS):
            speed = speed + 0.5 * step * width * gradient
            normal = normal + step * width * speed
            there, gradient, expected = self.posterior(normal)
            speed = speed + 0.5 * step * width * gradient
        gain = there - density - 0.5 * (speed @ speed - momentum @ momentum)
        if not np.log(rng.random()) < gain:
            return None
        return normal, there, gradient, expected


def report_bound(tier, n):
    """Print the least squared errors that there are, for a tier."""
    rng = np.random.default_rng([7, TIERS.index(tier)])
    pools = {name: source_pool(tier, name, [8, number])
             for number, name in enumerate(POOL)}
    simulator = GalacticCenterSimulator(tier)
    _, table, _, parts = simulator.sample(n, seed=9, components=True)
    skies = []
    for index in range(n):
        chosen = [pool.chosen(rng, int(table[name][index]))
                  for name, pool in pools.items()]
        smooth = sum(parts[name][index] for name in ('dm', 'ic', 'pi0',
                                                     'bubbles'))
        skies.append((smooth.ravel().astype(float),
                      vstack([part.light for part in chosen]).tocsr()
                      * simulator.gain,
                      np.concatenate([part.flux for part in chosen])))
    realistic = BrokenPowerLaw()
    for exposure in EXPOSURES:
        squared, spread, noise, accepted = 0.0, 0.0, 0.0, []
        for smooth, light, flux in skies:
            truth = exposure * (smooth + light.T @ flux)
            counts = rng.poisson(truth)
            fluxes, normal = lognormal, (np.log(flux) - 1.0) / 1.2
            if tier == 'realistic':
                fluxes, normal = realistic, realistic.inverse(flux)
            mean, variance, share = Image(
                counts, exposure * smooth, exposure * light,
                fluxes).mean(normal, rng)
            squared += ((mean - truth)**2).sum()
            spread += variance.sum()
            noise += ((counts - truth)**2).sum()
            accepted.append(share)
        print(f'{tier:10s} {exposure:8g} {squared / noise:8.3f} '
              f'{spread / noise:8.3f} {np.mean(accepted):9.2f}', flush=True)


def main():
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('-n', type=int, default=60, help='images of a row')
    parser.add_argument('--model', default='gc-counts')
    parser.add_argument('--bound', action='store_true',
                        help='the least error that there can be, instead')
    options = parser.parse_args()
    if options.bound:
        print('tier       exposure    MSE   variance  accepted')
        for tier in TIERS:
            report_bound(tier, options.n)
        return
    print('tier       exposure    MSE    pulls   total %  rms %  Poisson %  '
          'warned')
    for tier in TIERS:
        for exposure in EXPOSURES:
            report(tier, exposure, options.n, options.model)
    for exposure in (0.02, 0.1, 10.0, 30.0, 100.0):
        report('fixed', exposure, options.n, options.model)


if __name__ == '__main__':
    main()
