# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How fast a GPU denoises, and how much of its memory bandwidth that takes.

Run as ``python benchmarks/gpu_throughput.py --help``; what is printed is
explained in ``benchmarks/README.rst``.
"""

import argparse
import sys
import time

import numpy as np
import torch

from astro_denoise import denoise, load_model
from astro_denoise.frames import open_frame
from astro_denoise.inference import Runtime, denoise_windows
from astro_denoise.inference.devices import resolve_precision
from astro_denoise.noise import measure_plane
from astro_denoise.simulation.survey import SurveySimulator

GAIN, READ_NOISE = 0.65, 9.0


def best(function, repeat):
    """Seconds of the fastest of some calls, after one to warm up."""
    times = []
    for _ in range(repeat + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def bandwidths(device, repeat):
    """GB/s of copies within the card, to it and from it."""
    size = 2**28
    there = torch.empty(size, device=device)
    other = torch.empty_like(there)
    here = torch.empty(size, pin_memory=True)
    return (2 * 4 * size / best(lambda: other.copy_(there), repeat) / 1e9,
            4 * size / best(lambda: there.copy_(here), repeat) / 1e9,
            4 * size / best(lambda: here.copy_(there), repeat) / 1e9)


def traffic(network, run):
    """
    Bytes that the layers of a network read and write in a run.

    What happens between the layers is not counted: a lower bound.
    """
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        for tensor in (*inputs, output, *layer.parameters()):
            total += tensor.numel() * tensor.element_size()

    handles = [layer.register_forward_hook(count)
               for layer in network.modules()
               if not list(layer.children())]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return total


def main():
    """Measure, where there is a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--shape', type=int, nargs=2, default=(4096, 2048),
        metavar=('NY', 'NX'), help='pixels (default: 4096 2048)')
    add('--models', nargs='+', default=['ccd', 'ccd-mmse'],
        help='names or files (default: ccd ccd-mmse)')
    add('--precision', nargs='+', default=['auto', 'float32'],
        help='default: auto float32')
    add('--repeat', type=int, default=5, help='default: 5')
    options = parser.parse_args()
    if not torch.cuda.is_available():
        return ('there is no CUDA device here, or no torch that can use it: '
                'nothing was measured')

    device = torch.device('cuda')
    print(f'{torch.cuda.get_device_name(device)}, torch {torch.__version__}')
    copy, to_card, from_card = bandwidths(device, options.repeat)
    print(f'copies: {copy:.0f} GB/s within the card, {to_card:.1f} to it, '
          f'{from_card:.1f} from it')
    (frame,), _ = SurveySimulator(
        shape=tuple(options.shape), gain=GAIN,
        read_noise=READ_NOISE).exposures(1, seed=1)
    values = frame.data.astype(np.float32)
    measurement, planes = measure_plane(
        open_frame(values).plane(), gain=GAIN, read_noise=READ_NOISE,
        keep=True)
    print('model     precision  whole [s]  Mpix/s  network [s]  Mpix/s  '
          'share of bandwidth')
    for name in options.models:
        model = load_model(name)
        for precision in options.precision:
            dtype = resolve_precision(precision, device)
            runtime = Runtime(device, dtype)
            network = runtime.place(model.network)

            def run(network=network, runtime=runtime):
                denoise_windows(network, planes, measurement,
                                lambda *part: None, runtime=runtime)

            def whole(model=model, precision=precision):
                denoise(values, model, gain=GAIN, read_noise=READ_NOISE,
                        device=device, precision=precision)

            seconds = best(whole, options.repeat), best(run, options.repeat)
            share = traffic(network, run) / seconds[1] / 1e9 / copy
            rates = [values.size / each / 1e6 for each in seconds]
            print(f'{name:10s}{str(dtype).rpartition(".")[2]:9s}'
                  f'{seconds[0]:11.3f}{rates[0]:8.1f}{seconds[1]:13.3f}'
                  f'{rates[1]:8.1f}{100 * share:18.0f} %')
    print(f'most memory of the card: '
          f'{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
