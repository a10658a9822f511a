# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What smaller networks of the denoiser of CCD frames cost and save.

Run as ``python benchmarks/smaller_networks.py --help``; what is printed is
explained in ``benchmarks/README.rst``.
"""

import argparse
import time

import numpy as np
import torch
from denoise_quality import SEED, Network, RawPhotometry, pixel_errors
from fields import even_seeing, photometry_field, survey_field
from methods import note
from torch.utils.flop_counter import FlopCounterMode

from astro_denoise import load_model
from astro_denoise.models.denoiser import CCDDenoiser
from astro_denoise.photometry.calibration import (
    bootstrap_error,
    normalized_difference,
    sigma68,
)
from astro_denoise.photometry.response import flux_response

# The first is the shipped network.
NETWORKS = (
    {'widths': (32, 64, 96, 128)}, {'widths': (24, 40, 64, 96)},
    {'widths': (16, 40, 80, 128)}, {'widths': (16, 32, 64, 96)},
    *({'widths': widths, 'shuffle': 4, 'gated': True}
      for widths in ((48, 96, 128), (64, 64, 96), (32, 64, 96))))
DTYPES = (torch.bfloat16, torch.float32)
ROWS, COLUMNS = 320, 2048  # pixels that the engine takes at once
REPEATS = 15

# Fields of a survey and of photometry, and pixels per side.
FIELDS, QUICK_FIELDS, SIDE = (12, 32), (2, 8), 512
PIXEL_FIGURES = ('rms', 'blank_rms', 'pull_blank', 'pull_faint',
                 'pull_bright')


def operations(network):
    """
    Operations of the layers for a pixel.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network.

    Returns
    -------
    n_operations : float
        Multiplications and additions.
    """
    side = 8 * network.stride
    planes = [torch.zeros(1, 1, side, side)] * 2 + [
        torch.ones(1, 1, side, side)]
    # with a gradient: what is fused is not counted
    with FlopCounterMode(display=False) as counter:
        network.trunk(network.features(*planes), torch.zeros(1, 2),
                      network.dtypes(torch.float32))
    return counter.get_total_flops() / side**2


def seconds(networks, dtype):
    """
    Time of the layers, of one thread of the processor.

    Parameters
    ----------
    networks : list of `~astro_denoise.models.denoiser.CCDDenoiser`
        The networks; they take turns.

    dtype : `torch.dtype`
        Precision of the convolutions.

    Returns
    -------
    seconds : `~numpy.ndarray`
        For a pixel, of the fastest of some calls.
    """
    torch.manual_seed(1)
    planes = torch.randn(1, 3, ROWS, COLUMNS)
    planes[:, 1], planes[:, 2] = 0.0, 1.0
    context = torch.tensor([[0.0, 1.0]])
    times = np.empty((REPEATS + 1, len(networks)))
    with torch.inference_mode():
        features = [network.features(*planes.split(1, 1))
                    for network in networks]
        for row in times:
            for number, network in enumerate(networks):
                start = time.thread_time()
                network.trunk(features[number], context,
                              network.dtypes(dtype))
                row[number] = time.thread_time() - start
    return times[1:].min(axis=0) / (ROWS * COLUMNS)


def print_sizes():
    """What each network takes for a pixel, and over the shipped one."""
    torch.set_num_threads(1)
    kernel_fwhms = load_model('ccd').network.config['kernel_fwhms']
    networks = [CCDDenoiser(kernel_fwhms=kernel_fwhms, **options).eval().to(
        memory_format=torch.channels_last) for options in NETWORKS]
    times = np.transpose([seconds(networks, dtype) for dtype in DTYPES])
    print(f'{"":36s}{"weights":>9s}{"kFLOP":>8s}{"bfloat16":>16s}'
          f'{"float32":>16s}\n'
          f'{"channels":20s}{"squares":>8s}{"gate":>8s}{"10^6":>9s}'
          f'{"/ pixel":>8s}{"ns / pixel":>11s}{"/ now":>5s}'
          f'{"ns / pixel":>11s}{"/ now":>5s}')
    for network, spent in zip(networks, times, strict=True):
        n_weights = sum(weight.numel() for weight in network.parameters())
        print(f'{"-".join(map(str, network.config["widths"])):20s}'
              f'{network.shuffle:8d}{"yes" if network.gated else "no":>8s}'
              f'{n_weights / 1e6:9.2f}{operations(network) / 1e3:8.1f}',
              end='')
        for one, ratio in zip(spent * 1e9, spent / times[0], strict=True):
            print(f'{one:11.0f}{ratio:5.2f}', end='')
        print()


def survey_errors(method, fields):
    """
    Errors of the pixels of each field.

    Parameters
    ----------
    method : callable
        See `denoise_quality.pixel_errors`.

    fields : list of `~fields.Field`
        The fields.

    Returns
    -------
    numbers : dict of `~numpy.ndarray`
        By name of a figure, a number for each field.
    """
    rows = [pixel_errors(method, [field], (1, 64)) for field in fields]
    return {name: np.array([row[name] for row in rows])
            for name in PIXEL_FIGURES}


def flux_changes(raw, flux, shipped, seed):
    """
    Response and scatter of fluxes, beside those of the shipped network.

    Parameters
    ----------
    raw : `denoise_quality.RawPhotometry`
        Of the frames.

    flux, shipped : 2D `~numpy.ndarray`
        Fluxes of the same sources in the frames that the two denoised.

    seed : int
        Of the bootstrap.

    Returns
    -------
    rows : list of dict
        For each bin, the response ``R``, the scatter over R over its floor
        ``s68``, and the error of each; ``dR`` and ``ds68``, by how much the
        response changes and by which part the scatter over R, and the errors
        of these, in which the noise that both have in common cancels.
    """
    rows = raw.rows(flux, seed)
    options = {'n_resamples': 100, 'seed': seed}
    for row in rows:
        use = raw.label == row['snr']
        scale = raw.error[use].mean(axis=1, keepdims=True)
        error = raw.error[use] / scale
        new, old = flux[use] / scale, shipped[use] / scale
        true = np.broadcast_to(raw.true[use][:, np.newaxis] / scale,
                               new.shape)

        def scatter(flux, error):
            return sigma68(normalized_difference(flux[:, 0], error[:, 0],
                                                 flux[:, 1], error[:, 1]))

        def change(new, old, error):
            return scatter(new, error) / scatter(old, error)

        response, row['dR_error'] = flux_response(new - old + true, true,
                                                  **options)
        row['dR'] = response - 1.0
        row['ds68'] = change(new, old, error) / (
            1.0 + row['dR'] / (row['response'] - row['dR'])) - 1.0
        row['ds68_error'] = bootstrap_error(change, new, old, error,
                                            **options)
    return rows


def print_quality(models, *, quick, seed):
    """
    Figures of `denoise_quality` of several models, and how they differ.

    Parameters
    ----------
    models : list of str
        Names or paths; the others are compared to the first.

    quick : bool
        Few fields.

    seed : int
        Of the fields.
    """
    n_survey, n_photometry = QUICK_FIELDS if quick else FIELDS
    fields = [survey_field(SIDE, [seed, 1, number],
                           psf_fwhm=even_seeing(number))
              for number in range(n_survey)]
    raw = RawPhotometry([
        photometry_field(SIDE, [seed, 2, number],
                         psf_fwhm=even_seeing(number))
        for number in range(n_photometry)])
    shipped = None
    for name in models:
        method = Network(name, 'auto')
        errors, flux = survey_errors(method, fields), raw.measure(method)
        shipped = shipped or (errors, flux)
        print(f'\n{method.label:20s}{"":20s}change')
        for key, values in errors.items():
            print(f'{"":4s}{key:16s}', end='')
            for numbers in (values, values - shipped[0][key]):
                error = numbers.std(ddof=1) / len(numbers)**0.5
                print(f'{numbers.mean():9.4f} ± {error:.4f}', end='')
            print()
        for row in flux_changes(raw, flux, shipped[1], seed):
            print(f'    R, S/N {row["snr"]:9s}'
                  f'{row["response"]:9.4f} ± {row["response_error"]:.4f}'
                  f'{row["dR"]:9.4f} ± {row["dR_error"]:.4f}\n'
                  f'    s68 / R / floor {row["to_floor"]:9.4f} ± '
                  f'{row["to_floor_error"]:.4f}{row["ds68"]:9.4f} ± '
                  f'{row["ds68_error"]:.4f}', flush=True)
        note(f'{method.label}: done')


def main(args=None):
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description='Sizes, speeds and figures of smaller networks.')
    parser.add_argument('--models', nargs='+', metavar='MODEL',
                        help='names or paths of .safetensors files: their '
                        'figures instead, the first is compared to')
    parser.add_argument('--quick', action='store_true',
                        help='few fields, and large errors')
    parser.add_argument('--seed', type=int, default=SEED)
    options = parser.parse_args(args)
    if options.models:
        print_quality(options.models, quick=options.quick, seed=options.seed)
    else:
        print_sizes()


if __name__ == '__main__':
    main()
