# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The calibration check on repeated exposures of simulated survey fields.

Run as ``python benchmarks/repeatability.py --help``. Fields of the survey
simulator with PAU Camera defaults, of twice the density and with more
bright galaxies than a survey has, are exposed several times; the fluxes of
the galaxies in apertures of 62.5 per cent of the light are compared. A
table for each method, a row for each magnitude: ``n`` pairs, ``s68`` of df
(raw errors, unchanged) with its error and that of the raw fluxes, the
response ``R`` against another exposure's raw flux with its error,
``s68/R``, denoised over raw flux, the Cramér-Rao floor from fitted
profiles, the share of pairs with abs(df) below 1 and 2, and after the bar
the same with errors from `recalibrate_errors`, for the half of the galaxies
that they were not fitted to, the mean of eight random halves.

Where the flux ratio of a denoiser is above 1 in the faintest bin, look at
the annuli: in a denoised frame faint sources there stand out and are
clipped, in the raw one they are part of the background.

The methods: ``raw``; the models; ``noise2void``, trained for ``--minutes``
on the noisy exposures of two more fields; a ``gaussian`` of 1 pixel;
``half``, the mean of the denoised frame of ``ccd`` and a constant, which the
verdict must call out; ``filter``, the matched filter on the raw frame, the
rival of them all.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from astropy.table import QTable, vstack
from methods import apply_baseline, apply_model, note
from scipy.ndimage import gaussian_filter
from trainings import KNOWN

from astro_denoise import train_denoiser
from astro_denoise.photometry.apertures import annulus_photometry
from astro_denoise.photometry.light_fraction import light_fraction_apertures
from astro_denoise.photometry.profile import profile_photometry
from astro_denoise.photometry.recalibration import recalibrate_errors
from astro_denoise.photometry.repeatability import check_repeatability
from astro_denoise.simulation.survey import SurveySimulator

SEED = 20150212_99  # used by no other script and no training

# Fields, exposures of each, and pixels per side.
FULL = {'n_fields': 6, 'n_exposures': 4, 'size': 2048}
QUICK = {'n_fields': 2, 'n_exposures': 3, 'size': 1024}

METHODS = ('raw', 'ccd', 'ccd-mmse', 'noise2void', 'gaussian', 'half',
           'filter')
DENSITY = 300.0  # sources per 10^6 pixels, twice those of a survey
SEEING = (0.7, 1.6)  # arcsec, a value for each field
BETA = 3.88  # exponent of the Moffat profile
BINS = np.arange(18.0, 24.0)
N_HALVES = 8
CALIBRATED = ('sigma68', 'coverage68', 'coverage95')


def simulate(size, n_exposures, seed):
    """
    Exposures of one field, and its apertures.

    Parameters
    ----------
    size : int
        Pixels per side.

    n_exposures : int
        Number of exposures.

    seed : sequence of int
        Same seed, same field.

    Returns
    -------
    frames : list of `~astropy.nddata.CCDData`
        The exposures, in adu, all of the same seeing.

    catalog : `~astropy.table.QTable`
        Apertures and magnitudes of the galaxies.
    """
    rng = np.random.default_rng(seed)
    simulator = SurveySimulator(
        shape=(size, size), density=DENSITY, magnitude_slope=0.1,
        psf_fwhm=rng.uniform(*SEEING), psf_beta=BETA)
    frames, sources = simulator.exposures(n_exposures, seed=rng)
    sources = sources[~sources['is_star']]
    catalog = light_fraction_apertures(
        sources['r50'], sources['sersic_n'], sources['axis_ratio'],
        sources['theta'], frames[0].meta['SEEING'], psf_beta=BETA)
    for name, source in (('ref_id', 'ref_id'), ('i_auto', 'i_auto'),
                         ('aperture_x', 'x_centroid'),
                         ('aperture_y', 'y_centroid')):
        catalog[name] = sources[source]
    return frames, catalog


def smoothed(ccd):
    """Pixels filtered with a Gaussian of 1 pixel."""
    return apply_baseline(lambda values, sigma: gaussian_filter(values, 1.0),
                          ccd, 1.0)


def train_noise2void(settings, minutes, seed):
    """
    Noise2Void, trained on noisy exposures alone.

    Parameters
    ----------
    settings : dict
        ``FULL`` or ``QUICK``.

    minutes : float
        For how long.

    seed : int
        As of `measure`, whose fields it does not see.

    Returns
    -------
    model : `~astro_denoise.models.Model`
        The trained model.
    """
    frames = [frame for field in (1000, 1001) for frame in simulate(
        settings['size'], settings['n_exposures'], [seed, field])[0]]
    return train_denoiser(frames, 'noise2void', minutes=minutes, seed=seed,
                          progress_bar=False, **KNOWN)


def denoise_all(methods, models, ccd):
    """
    The denoised pixels of one exposure by all methods.

    Parameters
    ----------
    methods : list of str
        Some of ``METHODS``.

    models : dict
        Model or name of a model by method.

    ccd : `~astropy.nddata.CCDData`
        The exposure.

    Returns
    -------
    denoised : dict of 2D `~numpy.ndarray`
        The pixels by method; of ``raw`` and ``filter`` there are none.
    """
    denoised = {}
    for method in methods:
        if method == 'gaussian':
            denoised[method] = smoothed(ccd)
        elif method in models or (
                method == 'half' and 'ccd' not in denoised):
            name = 'ccd' if method == 'half' else method
            denoised[name] = apply_model(models.get(name, name), ccd)[0]
        if method == 'half':
            denoised[method] = 0.5 * (denoised['ccd']
                                      + np.median(denoised['ccd']))
    return denoised


def measure(methods, models, settings, seed):
    """
    Fluxes of all fields by all methods.

    Parameters
    ----------
    methods : list of str
        Some of ``METHODS``.

    models : dict
        Model or name of a model by method.

    settings : dict
        ``FULL`` or ``QUICK``.

    seed : int
        Same seed, same fields.

    Returns
    -------
    fluxes : dict of `~astropy.table.QTable`
        A table of exposures for each method; the errors are those of the
        raw fluxes.
    """
    fluxes = {method: [] for method in methods}
    for field in range(settings['n_fields']):
        start = time.perf_counter()
        frames, catalog = simulate(settings['size'], settings['n_exposures'],
                                   [seed, field])
        for number, frame in enumerate(frames):
            raw = annulus_photometry(frame, catalog, gain='GAIN')
            denoised = denoise_all(methods, models, frame)
            for method in methods:
                if method == 'raw':
                    table = raw.copy()
                elif method == 'filter':
                    table = profile_photometry(frame, catalog, gain='GAIN')
                else:
                    ccd = frame.copy()
                    ccd.data = denoised[method]
                    table = annulus_photometry(ccd, catalog)
                    table['flux_error'] = raw['flux_error']
                table['i_auto'] = catalog['i_auto']
                table['ref_id'] = 1_000_000 * field + catalog['ref_id']
                table['image_id'] = np.full(len(table), number)
                table.meta = {}
                fluxes[method].append(table[raw['flag'] == 0])
        note(f'field {field + 1} of {settings["n_fields"]}: '
             f'{time.perf_counter() - start:.0f} s')
    return {method: vstack(tables) for method, tables in fluxes.items()}


def check(method, fluxes, seed):
    """
    The report of a method, with the errors as they are and recalibrated.

    Parameters
    ----------
    method : str
        One of ``METHODS``.

    fluxes : dict of `~astropy.table.QTable`
        From `measure`.

    seed : int
        Seed of the bootstrap and of the halves.

    Returns
    -------
    report : `~astro_denoise.photometry.RepeatabilityReport`
        The report, errors unchanged.

    calibrated : dict of 1D `~numpy.ndarray`
        ``sigma68`` and coverages of the galaxies that the recalibration
        was not fitted to, a number per bin.
    """
    exposures = fluxes[method]
    if method == 'filter':
        exposures = exposures.copy()
        exposures['flux'] *= exposures['aperture_fraction']
        exposures['flux_error'] = fluxes['raw']['flux_error']
    report = check_repeatability(exposures, fluxes['raw'], bins=BINS,
                                 seed=seed, profile=fluxes['filter'])
    halves = []
    for half in range(N_HALVES):
        table = recalibrate_errors(exposures, seed=seed + half)
        halves.append(check_repeatability(
            table[~table['fitted']], bins=BINS, seed=seed,
            n_resamples=2).table)
    calibrated = {name: np.mean([half[name] for half in halves], axis=0)
                  for name in CALIBRATED}
    return report, calibrated


def show(method, report, calibrated):
    """
    Print the figures of a method, and return them.

    Parameters
    ----------
    method : str
        The method.

    report, calibrated : report, dict
        From `check`.

    Returns
    -------
    table : `~astropy.table.QTable`
        A row per bin.
    """
    table = report.table.copy()
    for name in CALIBRATED:
        table[f'calibrated_{name}'] = calibrated[name]
    table['method'] = [method] * len(table)
    print(f'\n{method}')
    print('   I_auto      n    s68    ±     raw      R     ±    s68/R   '
          'ratio  floor  68%   95%  | recalibrated: s68    68%   95%  verdict')
    for row in table:
        print(f'{row["low"]:4.0f}-{row["high"]:2.0f}   {row["n"]:6d}  '
              f'{row["sigma68"]:.3f} {row["sigma68_error"]:.3f}  '
              f'{row["raw_sigma68"]:.3f}  {row["response"]:.3f} '
              f'{row["response_error"]:.3f}  '
              f'{row["sigma68_over_response"]:.3f}  '
              f'{row["flux_ratio"]:.3f}  {row["floor"]:.3f} '
              f'{100 * row["coverage68"]:5.1f} '
              f'{100 * row["coverage95"]:5.1f} |              '
              f'{row["calibrated_sigma68"]:.3f} '
              f'{100 * row["calibrated_coverage68"]:5.1f} '
              f'{100 * row["calibrated_coverage95"]:5.1f}  '
              f'{row["verdict"]}')
    return table


def main(args=None):
    """
    Run the benchmark.

    Parameters
    ----------
    args : list of str, optional
        The arguments, by default those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--quick', action='store_true',
                        help='few galaxies, large errors')
    parser.add_argument('--methods', nargs='+', choices=METHODS,
                        default=METHODS, metavar='METHOD',
                        help=f'some of {", ".join(METHODS)} (default: all)')
    parser.add_argument('--minutes', type=float, default=5.0,
                        help='training of noise2void (default: 5)')
    parser.add_argument('--seed', type=int, default=SEED,
                        help='other fields')
    parser.add_argument('--output', type=Path, metavar='FILE.ecsv',
                        help='write the figures')
    parser.add_argument('--figures', type=Path, metavar='FOLDER',
                        help='draw a figure for each method')
    options = parser.parse_args(args)
    settings = QUICK if options.quick else FULL
    measured = list(dict.fromkeys(['raw', *options.methods, 'filter']))
    models = {name: name for name in ('ccd', 'ccd-mmse')}
    if 'noise2void' in measured:
        models['noise2void'] = train_noise2void(settings, options.minutes,
                                                options.seed)
    fluxes = measure(measured, models, settings, options.seed)
    galaxies = len(np.unique(fluxes['raw']['ref_id']))
    print(f'{galaxies} galaxies in {settings["n_fields"]} fields of '
          f'{settings["n_exposures"]} exposures')
    tables = []
    for method in options.methods:
        report, calibrated = check(method, fluxes, options.seed)
        tables.append(show(method, report, calibrated))
        if options.figures is not None:
            options.figures.mkdir(parents=True, exist_ok=True)
            report.plot().savefig(options.figures / f'{method}.png')
    if options.output is not None:
        result = QTable(vstack(tables, metadata_conflicts='silent'))
        result.write(options.output, overwrite=True)


if __name__ == '__main__':
    main()
