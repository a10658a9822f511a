# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How fast denoisers are, how much memory they take, and where the time goes.

Run as ``python benchmarks/denoise_speed.py --help``; what is printed is
explained in ``benchmarks/README.rst``.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData
from methods import apply_baseline, apply_model, baseline, missing, note
from profiling import profile_denoise, profile_photometry

from astro_denoise.noise import compiling
from astro_denoise.pipeline.waiting import brief_waits
from astro_denoise.simulation.survey import SurveySimulator

SHAPES = {'1024x1024': (1024, 1024), '4096x2048': (4096, 2048)}
FILTERS = ('gaussian', 'wavelet', 'nlm')
PRECISIONS = ('float32', 'bfloat16')
WAYS = (('float32', True), ('bfloat16', True), ('bfloat16', False))
SEED = 20150212_78
GAIN, READ_NOISE = 0.65, 9.0
N_APERTURES = 5000


def peak_memory():
    """
    The most memory that this process has had, in MB.

    A process starts from that of the one which started it, so that one
    must stay small: frames are simulated elsewhere.
    """
    factor = 2**20 if sys.platform == 'darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / factor


def simulate(job):
    """Write the frame of ``shape`` to ``path``, as an array and as FITS."""
    simulator = SurveySimulator(shape=job['shape'], gain=GAIN,
                                read_noise=READ_NOISE)
    (frame,), _ = simulator.exposures(1, seed=SEED)
    np.save(job['path'], frame.data)
    frame.mask = None
    frame.header.update(GAIN=GAIN, RDNOISE=READ_NOISE)
    frame.write(Path(job['path']).with_suffix('.fits'))


def measure(job):
    """
    Time one method on one frame; runs in a process of its own.

    Parameters
    ----------
    job : dict
        ``path`` of the frame, ``method``, ``precision`` (`None` for a
        filter), ``compiled`` (`False` to do without numba), ``repeats``.

    Returns
    -------
    result : dict
        ``first``, ``seconds`` and ``mean`` of the first, the fastest and
        all calls but the first, and ``memory`` above the process with the
        frame loaded, in MB.
    """
    frame = CCDData(np.load(job['path']), unit='adu')
    frame.header['GAIN'], frame.header['RDNOISE'] = GAIN, READ_NOISE
    if not job['compiled']:
        compiling.FEWEST_COMPILED = np.inf
    before = peak_memory()

    def call():
        if job['precision'] is None:
            denoise = baseline(job['method'], width=1.0)
            return apply_baseline(denoise, frame, 25.0)
        return apply_model(job['method'], frame, device='cpu',
                           precision=job['precision'])

    times = []
    for _ in range(job['repeats']):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {'first': times[0], 'seconds': min(times),
            'mean': float(np.mean(times[1:] or times)),
            'memory': peak_memory() - before}


def matrix_rates(job):
    """
    Rates of matrix products, in GFLOP/s.

    Parameters
    ----------
    job : dict
        ``size`` of the matrices, ``repeats`` of which the fastest counts.

    Returns
    -------
    rates : dict
        A number per precision.
    """
    import torch

    size = job.get('size', 2048)
    rates = {}
    for name in PRECISIONS:
        matrix = torch.randn(size, size).to(getattr(torch, name))
        times = []
        for _ in range(job.get('repeats', 5)):
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            times.append(time.perf_counter() - start)
        rates[name] = 2 * size**3 / min(times) / 1e9
    return rates


def profile(job):
    """
    Seconds in each stage of a call.

    Parameters
    ----------
    job : dict
        ``path`` of the FITS file, ``method`` (a model, or
        ``'photometry'``), ``precision``, ``repeats``.

    Returns
    -------
    seconds : dict
        A number per stage.
    """
    if job['method'] == 'photometry':
        return profile_photometry(job['path'], n_sources=N_APERTURES,
                                  seed=SEED, repeats=job['repeats'])
    return profile_denoise(job['path'], job['method'],
                           precision=job['precision'],
                           repeats=job['repeats'])


def differences(job):
    """
    What bfloat16 changes in the results, on a simulated and on real frames.

    Parameters
    ----------
    job : dict
        ``path`` of the simulated frame, ``methods``.

    Returns
    -------
    rows : list of dict
        ``largest`` difference and ``rms`` in units of the noise of the
        pixel, ``beyond`` (the share of pixels where it is above 0.03) and
        ``error``, the rms change of the stated errors relative to them.
    """
    from astro_denoise.data import load_example_pair, load_m51
    from astro_denoise.noise import noise_model

    survey = CCDData(np.load(job['path']), unit='adu')
    survey.header['GAIN'], survey.header['RDNOISE'] = GAIN, READ_NOISE
    frames = {'survey': survey, 'ESO 085': load_example_pair()[1],
              'M51': load_m51()}
    rows = []
    for label, frame in frames.items():
        values = frame.data.astype(np.float32)
        sigma = noise_model(values, np.isfinite(values)).sigma
        known = ({'gain': 'GAIN', 'read_noise': 'RDNOISE'}
                 if frame is survey else {})
        for method in job['methods']:
            (one, its_error), (other, error) = (
                apply_model(method, frame, device='cpu', precision=precision,
                            **{'gain': None, 'read_noise': None, **known})
                for precision in PRECISIONS)
            off = np.abs(other - one) / sigma
            rows.append({
                'frame': label, 'method': Path(method).stem,
                'largest': float(off.max()),
                'rms': float(np.sqrt(np.mean(off**2))),
                'beyond': float(np.mean(off > 0.03)),
                'error': float(np.sqrt(np.mean(
                    (error / its_error - 1)**2)))})
    return rows


JOBS = {'simulate': simulate, 'measure': measure, 'profile': profile,
        'matrix_rates': matrix_rates, 'differences': differences}


def in_process(name, job, threads):
    """
    Do a job in a fresh process.

    Parameters
    ----------
    name : str
        One of ``JOBS``.

    job : dict
        What it is called with.

    threads : int or `None`
        Threads of the numerical libraries.

    Returns
    -------
    result : object
        What it returned.
    """
    return in_processes(1, name, job, threads)[0]


def in_processes(number, name, job, threads, **variables):
    """
    Do a job in several fresh processes at once.

    Parameters
    ----------
    number : int
        Processes.

    name, job, threads : object
        As for `in_process`.

    **variables
        Added to the environment.

    Returns
    -------
    results : list
        What each returned.
    """
    environment = dict(os.environ, **variables)
    if threads:
        environment['OMP_NUM_THREADS'] = str(threads)
    command = [sys.executable, __file__, '--job', name, json.dumps(job)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True,
                                env=environment) for _ in range(number)]
    results = []
    for each in running:
        output, errors = each.communicate()
        if each.returncode:
            msg = (errors.strip().splitlines() or ['no message'])[-1]
            raise RuntimeError(msg)
        results.append(json.loads(output.splitlines()[-1]))
    return results


def run_profiles(path, label, options):
    """
    Print where the time of a frame goes, from file to file.

    Parameters
    ----------
    path : `~pathlib.Path`
        FITS file of the frame.

    label : str
        Its size.

    options : `argparse.Namespace`
        See `main`.

    Returns
    -------
    rows : list of dict
        ``seconds`` and ``share`` of each ``stage``.
    """
    methods = [(name, precision) for name in options.models
               for precision in PRECISIONS] + [('photometry', None)]
    rows = []
    for name, precision in methods:
        job = {'path': str(path), 'method': name, 'precision': precision,
               'repeats': options.repeats}
        try:
            stages = in_process('profile', job, options.threads)
        except RuntimeError as error:
            note(f'profile of {name}: failed: {error}')
            continue
        total = sum(stages.values())
        what = f'{N_APERTURES} apertures' if precision is None else precision
        print(f'\n{label}  {Path(name).stem}  {what}: {total:.2f} s')
        for stage, seconds in sorted(stages.items(),
                                     key=lambda item: -item[1]):
            print(f'  {stage:20s}{seconds:8.3f} s{seconds / total:8.1%}',
                  flush=True)
            rows.append({'frame': label, 'method': Path(name).stem,
                         'precision': precision, 'stage': stage,
                         'seconds': seconds, 'share': seconds / total})
    return rows


def run_together(path, label, options):
    """
    Print how fast processes are that each take all cores at once.

    Parameters
    ----------
    path : `~pathlib.Path`
        Array of the frame.

    label : str
        Its size.

    options : `argparse.Namespace`
        See `main`.

    Returns
    -------
    rows : list of dict
        ``rate`` of all ``processes``, in Mpix/s, by how threads wait.
    """
    job = {'path': str(path), 'method': options.models[0],
           'precision': 'bfloat16', 'compiled': True,
           'repeats': options.repeats}
    n_pixels = SHAPES[label][0] * SHAPES[label][1]
    print(f'\n{"at once":12s}{"processes":>10s}{"threads wait":>14s}'
          f'{"Mpix/s":>8s}')
    rows = []
    for number in (1, 2):
        for how, variables in (('usually', {}), ('briefly', brief_waits({}))):
            results = in_processes(number, 'measure', job, options.threads,
                                   **variables)
            rate = sum(n_pixels / 1e6 / each['mean'] for each in results)
            rows.append({'frame': label, 'processes': number, 'waits': how,
                         'rate': rate})
            print(f'{label:12s}{number:10d}{how:>14s}{rate:8.2f}',
                  flush=True)
    return rows


def run_differences(path, options):
    """
    Print what bfloat16 changes.

    Parameters
    ----------
    path : `~pathlib.Path`
        Array of the simulated frame.

    options : `argparse.Namespace`
        See `main`.

    Returns
    -------
    rows : list of dict
        As from `differences`.
    """
    rows = in_process('differences', {
        'path': str(path), 'methods': options.models}, options.threads)
    print(f'\n{"bfloat16 less float32":24s}{"method":12s}{"largest":>9s}'
          f'{"rms":>9s}{"> 0.03":>10s}{"errors":>9s}')
    for row in rows:
        print(f'{row["frame"]:24s}{row["method"]:12s}{row["largest"]:9.4f}'
              f'{row["rms"]:9.5f}{row["beyond"]:10.4%}{row["error"]:9.5f}',
              flush=True)
    return rows


def run(options):
    """
    The whole benchmark.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    Returns
    -------
    results : dict
        ``matrix_products`` in GFLOP/s, ``rows``, ``profiles``,
        ``differences`` and ``together``.
    """
    rates = in_process('matrix_rates', {}, options.threads)
    print('matrix products: ' + ', '.join(
        f'{name} {rate:.0f} GFLOP/s' for name, rate in rates.items()))
    print(f'{"frame":12s}{"method":20s}{"precision":10s}{"first s":>9s}'
          f'{"s":>8s}{"Mpix/s":>8s}{"x gaussian":>12s}{"MB":>7s}',
          flush=True)
    methods = [(name, None, True) for name in FILTERS]
    methods += [(name, *how) for name in options.models for how in WAYS]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for label in list(SHAPES)[:1 if options.quick else None]:
            path = Path(folder) / f'{label}.npy'
            in_process('simulate', {'path': str(path),
                                    'shape': SHAPES[label]}, options.threads)
            n_pixels = SHAPES[label][0] * SHAPES[label][1]
            for name, precision, compiled in methods:
                if missing(name):
                    note(f'{name}: skipped, it needs '
                         f'{" and ".join(missing(name))}')
                    continue
                job = {'path': str(path), 'method': name,
                       'precision': precision, 'compiled': compiled,
                       'repeats': 1 if name == 'nlm' else options.repeats}
                try:
                    result = in_process('measure', job, options.threads)
                except RuntimeError as error:
                    note(f'{name}: failed: {error}')
                    continue
                if name == 'gaussian':
                    unit = result['seconds']
                label_of = Path(name).stem + ('' if compiled else ', no numba')
                row = {'frame': label, 'method': label_of,
                       'precision': precision, **result,
                       'rate': n_pixels / 1e6 / result['seconds'],
                       'to_gaussian': result['seconds'] / unit}
                rows.append(row)
                print(f'{label:12s}{row["method"]:20s}{precision or "-":10s}'
                      f'{row["first"]:9.2f}{row["seconds"]:8.2f}'
                      f'{row["rate"]:8.2f}{row["to_gaussian"]:12.1f}'
                      f'{row["memory"]:7.0f}', flush=True)
        together = run_together(path, label, options)
        changes = run_differences(path, options)
        profiles = run_profiles(path.with_suffix('.fits'), label, options)
    return {'matrix_products': rates, 'rows': rows, 'profiles': profiles,
            'differences': changes, 'together': together}


def main(args=None):
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description='Time denoisers on simulated frames.')
    parser.add_argument('--quick', action='store_true',
                        help='the small frame only')
    parser.add_argument('--models', nargs='*', metavar='MODEL',
                        default=['ccd', 'ccd-mmse'],
                        help='names or paths of .safetensors files')
    parser.add_argument('--threads', type=int,
                        help='of the numerical libraries; default: theirs')
    parser.add_argument('--repeats', type=int, default=3,
                        help='calls, of which the fastest counts')
    parser.add_argument('--output', type=Path, metavar='FILE',
                        help='write the numbers as JSON')
    parser.add_argument('--job', nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.job:
        name, job = options.job
        print(json.dumps(JOBS[name](json.loads(job))))
        return
    results = run(options)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + '\n')


if __name__ == '__main__':
    main()
