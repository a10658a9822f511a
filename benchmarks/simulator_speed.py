# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Speed of the simulator of the Galactic Center.

Run as ``python benchmarks/simulator_speed.py``. Prints images per second
of each tier, on as many threads as torch has, the median of several runs.
"""

import argparse
import time

import numpy as np
import torch

from astro_denoise.simulation.galactic_center import GalacticCenterSimulator


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--n', type=int, default=2048,
                        help='images of a run (default: 2048)')
    parser.add_argument('--device', default='cpu')
    options = parser.parse_args()
    print(f'{options.n} images, {options.device}, '
          f'{torch.get_num_threads()} threads')
    for tier in ('legacy', 'fixed', 'realistic'):
        for rotation in (False, True):
            simulator = GalacticCenterSimulator(tier, rotation=rotation,
                                                device=options.device)
            simulator.sample(128, seed=0)
            speeds = []
            for seed in range(5):
                start = time.perf_counter()
                simulator.sample(options.n, seed=seed)
                speeds.append(options.n / (time.perf_counter() - start))
            name = f'{tier}{", rotated" if rotation else ""}'
            print(f'{name:20s} {np.median(speeds):7.0f} images/s')


if __name__ == '__main__':
    main()
