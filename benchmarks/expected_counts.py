# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Expected counts of gamma-ray images by ``denoise(counts, 'gc-counts')``.

For each tier and exposure: the squared error against the expected counts over
that of the counts themselves, the standard deviation of the pulls, and how
far totals are from those expected.

    python benchmarks/expected_counts.py -n 60
"""

import argparse
import warnings

import numpy as np

from astro_denoise import denoise
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation import GalacticCenterSimulator


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


def main():
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-n', type=int, default=60, help='images of a row')
    parser.add_argument('--model', default='gc-counts')
    options = parser.parse_args()
    print('tier       exposure    MSE    pulls   total %  rms %  Poisson %  '
          'warned')
    for tier in ('legacy', 'fixed', 'realistic'):
        for exposure in (0.3, 1.0, 3.0):
            report(tier, exposure, options.n, options.model)
    for exposure in (0.02, 0.1, 10.0, 30.0, 100.0):
        report('fixed', exposure, options.n, options.model)


if __name__ == '__main__':
    main()
