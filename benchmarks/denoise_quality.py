# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What denoisers do to pixels and to fluxes, on simulated survey frames.

Run as ``python benchmarks/denoise_quality.py --help``; what is printed is
explained in ``benchmarks/README.rst``.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from astropy.table import QTable
from checks import CHECKS
from fields import BINS, even_seeing, photometry_field, survey_field
from methods import (
    BASELINES,
    apply_baseline,
    apply_model,
    baseline,
    missing,
    note,
)
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq

from astro_denoise.photometry.apertures import annulus_photometry
from astro_denoise.photometry.calibration import (
    bootstrap_error,
    normalized_difference,
    sigma68,
)
from astro_denoise.photometry.response import flux_response

# The fields of the shipped models' training are drawn from other seeds
# and by other means; no test uses this one.
SEED = 20150212_77

# Frames of the two sizes: survey fields, photometry fields, pixels per
# side, and pixels of pure noise.
FULL = {'n_survey': 24, 'n_pulls': 16, 'n_photometry': 96, 'size': 1024,
        'n_noise': 10}
QUICK = {'n_survey': 2, 'n_pulls': 2, 'n_photometry': 8, 'size': 512,
         'n_noise': 1}

# Slow methods get the first fields only: of each kind, how many, and the
# pixels per side of the crop.
SLOW = {'full': {'nlm': (6, 1024), 'bm3d': (2, 768)},
        'quick': {'nlm': (2, 512), 'bm3d': (1, 256)}}
FEWEST = 8  # sources that a bin must have
FIGURES = ('flux_ratio', 'flux_ratio_error', 'sigma68', 'sigma68_error',
           'response', 'response_error', 'pair_response',
           'pair_response_error', 'scatter', 'floor', 'to_raw',
           'to_raw_error', 'to_floor', 'to_floor_error')
BLANK = 0.05  # signal of blank sky at most, in its sigma
RESPONSE_OF_GAUSSIAN = 0.92  # of the Gaussian named after it, at S/N 3


class Baseline:
    """
    One of the filters, as a method of the benchmark.

    Parameters
    ----------
    name : str
        One of ``BASELINES``.

    width : float, optional
        Of a Gaussian, in pixels.
    """

    def __init__(self, name, width=None):
        self.name = name
        self.width = width
        self.function = baseline(name, width)

    @property
    def label(self):
        """Name in the tables."""
        if self.width is None:
            return self.name
        return f'gaussian {self.width:.2f}'

    def __call__(self, field, number):
        """Denoised pixels and their errors (none)."""
        return apply_baseline(self.function, field.exposures[number],
                              field.sigma), None


class Network:
    """
    One of the models, as a method of the benchmark.

    Parameters
    ----------
    name : str
        Name or path.

    precision : str
        As for `astro_denoise.denoise`.
    """

    def __init__(self, name, precision):
        self.name = name
        self.precision = precision
        self.label = Path(name).stem

    def __call__(self, field, number):
        """Denoised pixels and their errors."""
        return apply_model(self.name, field.exposures[number],
                           precision=self.precision)


def pixel_errors(method, fields, corner):
    """
    Errors of the pixels of survey fields.

    Parameters
    ----------
    method : callable
        Called with a field and the number of an exposure.

    fields : list of `~fields.Field`
        The fields.

    corner : tuple of int
        How many of the fields, and the pixels per side of them, the
        slowest method gets.

    Returns
    -------
    numbers : dict
        ``rms`` over all unmasked pixels against the truth, the same as
        ``corner_rms`` over the corners, and ``blank_rms`` and
        ``blank_mean`` over blank sky, in sigmas of the sky; the sigma68
        of the pulls ``pull_blank``, ``pull_faint`` (truth 0.5-3 sigmas)
        and ``pull_bright`` (above 3), NaN without errors.
    """
    n_corners, size = corner
    errors, signals, pulls, corners = [], [], [], []
    for index, field in enumerate(fields):
        for number, exposure in enumerate(field.exposures):
            denoised, uncertainty = method(field, number)
            good = ~exposure.mask
            difference = denoised - field.truth[number]
            errors.append(difference[good] / field.sigma)
            signals.append((field.truth[number][good] - field.sky)
                           / field.sigma)
            pulls.append(np.full(good.sum(), np.nan) if uncertainty is None
                         else difference[good] / uncertainty[good])
            if index < n_corners:
                inside = good[:size, :size]
                corners.append(difference[:size, :size][inside]
                               / field.sigma)
    errors, signals, pulls, corners = (
        np.concatenate(parts).astype(float)
        for parts in (errors, signals, pulls, corners))
    blank = signals < BLANK
    numbers = {'rms': np.sqrt(np.mean(errors**2)),
               'corner_rms': np.sqrt(np.mean(corners**2)),
               'blank_rms': np.sqrt(np.mean(errors[blank]**2)),
               'blank_mean': np.mean(errors[blank])}
    for name, inside in (('blank', blank),
                         ('faint', (signals > 0.5) & (signals < 3)),
                         ('bright', signals >= 3)):
        numbers[f'pull_{name}'] = sigma68(pulls[inside])
    return numbers


class RawPhotometry:
    """
    Fluxes in the raw frames of the photometry fields.

    Parameters
    ----------
    fields : list of `~fields.Field`
        The fields.
    """

    def __init__(self, fields):
        self.fields = fields
        self.label = np.concatenate([field.sources['bin']
                                     for field in fields])
        self.true = np.concatenate([field.sources['true_flux']
                                    for field in fields])
        tables = [[annulus_photometry(exposure.data, field.sources,
                                      error=field.noise(number))
                   for number, exposure in enumerate(field.exposures)]
                  for field in fields]
        self.flux, self.error = (
            np.concatenate([np.transpose([table[name] for table in pair])
                            for pair in tables])
            for name in ('flux', 'flux_error'))
        floor = np.concatenate([field.sources['floor'] for field in fields])
        self.floor = floor[:, np.newaxis] / self.error

    def measure(self, method):
        """
        Fluxes in the denoised frames.

        Parameters
        ----------
        method : callable
            Called with a field and the number of an exposure.

        Returns
        -------
        flux : 2D `~numpy.ndarray`
            A row per source, a column per exposure.
        """
        return np.concatenate([
            np.transpose([
                annulus_photometry(method(field, number)[0], field.sources,
                                   error=field.noise(number))['flux']
                for number in range(len(field.exposures))])
            for field in self.fields])

    def rows(self, flux, seed):
        """
        The figures of each bin.

        Parameters
        ----------
        flux : 2D `~numpy.ndarray`
            From `measure`.

        seed : int
            Of the bootstrap.

        Returns
        -------
        rows : list of dict
            A row per bin.
        """
        rows = []
        for label in BINS:
            use = self.label == label
            n_sources = np.count_nonzero(use)
            figures = (self._figures(flux, use, seed)
                       if n_sources >= FEWEST else dict.fromkeys(FIGURES,
                                                                 np.nan))
            rows.append({'snr': label, 'n': n_sources, **figures})
        return rows

    def _figures(self, flux, use, seed):
        """
        The figures of some sources.

        Fluxes are taken in units of the raw error: in electrons, the
        largest would be those of the largest sources, and the response
        to flux would be mixed with that to size.
        """
        error, floor = self.error[use], self.floor[use]
        scale = error.mean(axis=1, keepdims=True)
        denoised, raw = flux[use] / scale, self.flux[use] / scale
        true = np.broadcast_to(self.true[use][:, np.newaxis] / scale,
                               raw.shape)
        error = error / scale

        def scatter(flux, error):
            return sigma68(normalized_difference(flux[:, 0], error[:, 0],
                                                 flux[:, 1], error[:, 1]))

        def ratio(denoised, raw):
            return np.mean(denoised) / np.mean(raw)

        def relative(denoised, raw, error):
            return scatter(denoised, error) / scatter(raw, error)

        options = {'n_resamples': 100, 'seed': seed}
        width = scatter(denoised, error)
        # The truth stands for the raw flux of another exposure, and the
        # noise that raw and denoised flux share cancels.
        response, response_error = flux_response(
            denoised - raw + true, true, **options)
        pair, pair_error = flux_response(denoised, raw, **options)
        to_raw = relative(denoised, raw, error) / response
        to_raw_error = np.hypot(
            bootstrap_error(relative, denoised, raw, error, **options)
            / response, to_raw * response_error / response)
        floor = np.sqrt(np.mean(floor**2))
        return dict(zip(FIGURES, (
            ratio(denoised, raw),
            bootstrap_error(ratio, denoised, raw, **options),
            width, bootstrap_error(scatter, denoised, error, **options),
            response, response_error, pair, pair_error,
            width / response, floor, to_raw, to_raw_error,
            to_raw / floor, to_raw_error / floor), strict=True))


def best_width(fields, corner):
    """Width of the Gaussian with the lowest pixel error, in pixels."""
    widths = np.arange(0.6, 6.01, 0.2)
    errors = [pixel_errors(Baseline('gaussian', width), fields,
                           corner)['rms'] for width in widths]
    return float(widths[np.argmin(errors)])


def width_of_response(fields, response):
    """
    Width of the Gaussian with a response at S/N 3, in pixels.

    A linear filter does to noisy frames on average what it does to those
    without noise, which are measured here.
    """
    faint = [field.sources[field.sources['bin'] == '3'] for field in fields]

    def excess(width):
        ratios = [
            annulus_photometry(gaussian_filter(field.truth[0], width),
                               sources)['flux'] / sources['true_flux']
            for field, sources in zip(fields, faint, strict=True)]
        return np.mean(np.concatenate(ratios)) - response

    return brentq(excess, 0.3, 3.0, xtol=0.01)


def print_rows(label, numbers, rows):
    """The lines of one method."""
    print(f'{label:20s}{numbers["rms"]:7.3f}{numbers["corner_rms"]:7.3f}'
          f'{numbers["blank_rms"]:7.3f}{numbers["blank_mean"]:8.4f}', end='')
    for index, row in enumerate(rows):
        if index:
            print(' ' * 49, end='')
        print(f'{row["snr"]:>6s}{row["n"]:6d}{row["flux_ratio"]:8.3f}'
              f'{row["sigma68"]:7.3f}'
              f'{row["response"]:8.3f} ± {row["response_error"]:.3f}'
              f'{row["pair_response"]:8.3f} ± {row["pair_response_error"]:.3f}'
              f'{row["scatter"]:8.3f}{row["floor"]:7.3f}'
              f'{row["to_raw"]:8.3f}{row["to_floor"]:7.3f} ± '
              f'{row["to_floor_error"]:.3f}')
    print(flush=True)


HEADER = (f'{"":20s}{"pixels, in noise of the sky":>29s}  fluxes\n'
          f'{"method":20s}{"rms":>7s}{"corner":>7s}{"blank":>7s}{"mean":>8s}'
          f'{"S/N":>6s}{"n":>6s}{"ratio":>8s}{"s68":>7s}{"R":>8s}{"":8s}'
          f'{"R pairs":>8s}{"":8s}{"s68/R":>8s}{"floor":>7s}{"/raw":>8s}'
          f'{"/floor":>7s}')


def select_methods(options):
    """
    The methods to run, those that cannot run left out.

    Models are loaded once here, so that a wrong name is told before the
    others have run for minutes.
    """
    from astro_denoise import load_model

    names = []
    for name in options.methods or [*BASELINES, *options.models]:
        lacking = missing(name)
        if lacking:
            note(f'{name}: skipped, it needs {" and ".join(lacking)} '
                 f'(pip install scikit-image PyWavelets bm3d==4.0.3)')
            continue
        if name not in BASELINES:
            load_model(name, task='denoise')
        names.append(name)
    return names


def run(options):
    """
    The whole benchmark.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per method and bin; the checks of the models are in its
        ``meta``.
    """
    scale, slow = ((QUICK, SLOW['quick']) if options.quick
                   else (FULL, SLOW['full']))
    names = select_methods(options)
    note(f'{scale["n_survey"]} survey fields and {scale["n_photometry"]} '
         f'photometry fields of {scale["size"]}² pixels, seed '
         f'{options.seed}')
    survey = [survey_field(scale['size'], [options.seed, 1, number],
                           psf_fwhm=even_seeing(number))
              for number in range(scale['n_survey'])]
    raw = RawPhotometry([
        photometry_field(scale['size'], [options.seed, 2, number],
                         psf_fwhm=even_seeing(number))
        for number in range(scale['n_photometry'])])

    results, checks = [], {}
    print(HEADER)
    for name in names:
        start = time.perf_counter()
        if name == 'gaussian':
            method = Baseline(name, best_width(survey, slow['bm3d']))
        elif name == 'gaussian-0.92':
            method = Baseline(name, width_of_response(
                raw.fields, RESPONSE_OF_GAUSSIAN))
        elif name in BASELINES:
            method = Baseline(name)
        else:
            method = Network(name, options.precision)
        fields, pairs = survey, raw
        if name in slow:
            n_fields, size = slow[name]
            fields = [field.crop(size) for field in survey[:n_fields]]
            pairs = RawPhotometry([field.crop(size)
                                   for field in raw.fields[:n_fields]])
        numbers = pixel_errors(method, fields, slow['bm3d'])
        rows = pairs.rows(pairs.measure(method), options.seed)
        print_rows(method.label, numbers, rows)
        results += [{'method': method.label, **numbers, **row}
                    for row in rows]
        note(f'{method.label}: {time.perf_counter() - start:.0f} s')
        if name not in BASELINES:
            # Bright pixels are few and have their errors in common.
            more = [survey_field(scale['size'], [options.seed, 4, number],
                                 psf_fwhm=even_seeing(number))
                    for number in range(scale['n_pulls'])]
            numbers = pixel_errors(method, survey + more, slow['bm3d'])
            checks[method.label] = {
                **{key: float(value) for key, value in numbers.items()
                   if key.startswith('pull')},
                **{label: check(name, scale, options.seed)
                   for label, check in CHECKS.items()}}
    for label, numbers in checks.items():
        print(f'\n{label}')
        for key, value in numbers.items():
            print(f'  {key:44s}{value:10.4g}')
    table = QTable(rows=results)
    table.meta.update(seed=options.seed, quick=options.quick,
                      precision=options.precision, checks=checks)
    return table


def write(table, path):
    """Write the table as JSON or ECSV, told by the name of the file."""
    if path.suffix == '.json':
        # JSON has no NaN.
        rows = [{name: None if row[name] != row[name] else row[name].item()
                 for name in table.colnames} for row in table]
        path.write_text(json.dumps({'meta': dict(table.meta), 'rows': rows},
                                   indent=1, allow_nan=False) + '\n')
    else:
        for name in table.colnames:
            if table[name].dtype.kind == 'f':
                table[name] = np.round(table[name], 5)
        table.write(path, format='ascii.ecsv', overwrite=True)


def main(args=None):
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description='Compare denoisers on simulated survey frames.')
    parser.add_argument('--quick', action='store_true',
                        help='small frames: a minute, and large errors')
    parser.add_argument('--methods', nargs='+', metavar='METHOD',
                        help=f'only these: {", ".join(BASELINES)}, or models')
    parser.add_argument('--models', nargs='*', metavar='MODEL',
                        default=['ccd', 'ccd-mmse'],
                        help='names or paths of .safetensors files')
    parser.add_argument('--precision', default='auto',
                        choices=('auto', 'float32', 'bfloat16'))
    parser.add_argument('--seed', type=int, default=SEED)
    parser.add_argument('--output', type=Path, metavar='FILE',
                        help='write the table: .ecsv or .json')
    options = parser.parse_args(args)
    if options.output and options.output.suffix not in ('.ecsv', '.json'):
        parser.error(f'--output must end in .ecsv or .json, got '
                     f'{options.output}')
    try:
        table = run(options)
    except (OSError, ValueError) as error:
        parser.exit(1, f'{parser.prog}: {error}\n')
    if options.output:
        write(table, options.output)


if __name__ == '__main__':
    main()
