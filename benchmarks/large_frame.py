# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How much memory a frame larger than memory takes.

Run as ``python benchmarks/large_frame.py --help``; what is printed is
explained in ``benchmarks/README.rst``.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 512  # simulated at a time
GAIN, READ_NOISE, SKY = 0.65, 9.0, 287.0


def peak_memory():
    """
    The most memory that this process has had, in MB.
    """
    status = Path('/proc/self/status')
    if status.exists():  # not the peak of the process that started this one
        return _field(status, 'VmHWM')
    factor = 2**20 if sys.platform == 'darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / factor


def memory():
    """
    The memory that this process has now, in MB.
    """
    status = Path('/proc/self/status')
    return _field(status, 'VmRSS') if status.exists() else peak_memory()


def _field(status, name):
    lines = dict(line.split(':', 1) for line in
                 status.read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


def simulate(path, size):
    """Write a frame of stars and noise, some rows at a time."""
    import numpy as np

    from astro_denoise.simulation.profiles import render_sources

    frame = np.lib.format.open_memmap(path, 'w+', np.float32, (size, size))
    for start in range(0, size, ROWS):
        rng = np.random.default_rng(start)
        shape = (min(ROWS, size - start), size)
        n_stars = shape[0] * shape[1] // 5000
        stars = {'x': rng.uniform(0, size, n_stars),
                 'y': rng.uniform(0, shape[0], n_stars),
                 'flux': 10**rng.uniform(2.0, 4.5, n_stars)}
        image = render_sources(shape, stars, 3.5, 3.5) + np.float32(SKY)
        sigma = np.sqrt(image / GAIN + (READ_NOISE / GAIN)**2)
        image += sigma * rng.standard_normal(shape, dtype=np.float32)
        frame[start:start + shape[0]] = image
    frame.flush()


def measure(path, options):
    """Denoise it; runs in a process of its own."""
    import numpy as np
    import torch

    from astro_denoise import denoise, load_model

    frame = np.load(path, mmap_mode='r')
    output = np.lib.format.open_memmap(path.with_name('denoised.npy'), 'w+',
                                       np.float32, frame.shape)
    model = load_model(options.model)
    denoise(np.asarray(frame[:128, :128]), model,
            precision=options.precision)  # torch starts its threads
    start, begun, used = memory(), time.perf_counter(), time.process_time()
    noise = {} if options.estimated else {'gain': GAIN,
                                          'read_noise': READ_NOISE}
    denoise(frame, model, output_array=output, progress_bar=True,
            precision=options.precision, **noise)
    seconds = time.perf_counter() - begun
    used = time.process_time() - used
    peak = peak_memory()
    print(f'frame               {frame.shape[0]} x {frame.shape[1]}, '
          f'{frame.nbytes / 2**20:.0f} MB')
    print(f'memory at the start {start:.0f} MB (torch and model loaded)')
    print(f'peak                {peak:.0f} MB')
    print(f'peak above start    {peak - start:.0f} MB')
    print(f'time                {seconds:.0f} s, '
          f'{frame.size / seconds / 1e6:.2f} Mpix/s')
    print(f'time of processor   {used:.0f} s, '
          f'{frame.size / used / 1e6:.2f} Mpix/s, '
          f'{torch.get_num_threads()} threads')
    if options.compare:
        expected, error = denoise(
            np.array(frame), model, precision=options.precision,
            return_uncertainty=True, **noise)
        far = np.abs(expected - output) / error
        print(f'largest difference  {far.max():.1g} sigma from the frame '
              f'in memory')


def main():
    """Simulate a frame, and measure it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--size', type=int, default=8000,
        help='pixels a side (default: 8000)')
    add('--folder', type=Path, help='where there is room for two frames')
    add('--model', default='ccd', help='name or file (default: ccd)')
    add('--precision', default='auto', help='auto, float32 or bfloat16')
    add('--estimated', action='store_true',
        help='estimate the noise instead of giving gain and read noise')
    add('--compare', action='store_true',
        help='denoise the frame in memory as well')
    add('--measure', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options)
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / 'frame.npy'
        simulate(path, options.size)
        return subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], '--measure', str(path)],
            check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
