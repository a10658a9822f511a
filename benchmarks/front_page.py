# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What is gained, beside the filters that one would take instead.

Run as ``python benchmarks/front_page.py``. Each method denoises the same
simulated survey exposures, of which the truth is known (see ``guided.py``; the
catalog is exact). It prints a row for each method:

``noise``
    Root mean square of the error of pixels without a source, in units of
    the noise of the raw frame.

``flux kept``
    Slope of the flux in apertures with 62.5 per cent of the light against
    the true flux, in bins of the signal-to-noise ratio in the raw frame, and
    its error. 1 where flux is kept.

``covered``
    Share of the sources, in per cent, whose aperture flux is within its
    stated error of the truth; 68 if errors are right. Errors of ``ccd`` and
    ``blend`` are those of ``denoised_flux_error``, those of filters what
    the scatter of their sky gives, taken for independent from pixel to
    pixel; no error is right for ``ccd-mmse``, and none is given for
    ``model``, whose fluxes and errors are those of ``forced_photometry``.

The Gaussian filters are the one that is best for the faintest sources (a
quarter of the noise left) and one of the noise that ``ccd`` leaves with a
catalog, about. BM3D is that of the package ``bm3d`` with the true noise.
"""

import argparse
import sys
import time
import warnings
from itertools import pairwise

import numpy as np
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.utils.exceptions import AstropyUserWarning
from guided import (
    CASES,
    FWHM,
    SKY,
    denoise_all,
    make_scene,
    measure,
    on_frame,
)
from methods import apply_baseline, baseline, missing

from astro_denoise.photometry import (
    denoised_flux_error,
    light_fraction_apertures,
)
from astro_denoise.simulation import moffat_image

SEED = 20150212_99  # used by no other script and no training
BINS = (1.5, 3.0, 5.0, 12.0, 50.0)
FILTERS = {'Gaussian 1.1': ('gaussian', 1.1),
           'Gaussian 4': ('gaussian', 4.0), 'BM3D': ('bm3d', None)}
METHODS = ('raw', *FILTERS, 'ccd-mmse', 'ccd', 'blend', 'model')


def denoised_by(frame, known, psf, methods):
    """
    Denoise a frame by all methods.

    Parameters
    ----------
    frame : `~astropy.nddata.CCDData`
        The frame.

    known : `~astropy.table.QTable`
        The catalog.

    psf : 2D `~numpy.ndarray`
        The point-spread function.

    methods : sequence of str
        Which.

    Returns
    -------
    results : dict of `~astropy.nddata.CCDData`
        By method.
    """
    ours = [name for name in methods if name not in FILTERS]
    results = denoise_all(frame, known, psf, ours)
    for name in methods:
        if name in FILTERS:
            kind, width = FILTERS[name]
            results[name] = CCDData(apply_baseline(
                baseline(kind, width), frame, SKY), unit=frame.unit)
    return {name: results[name] for name in methods}


def stated_errors(method, result, apertures, sums, blank):
    """
    Errors of aperture fluxes, as a user would state them.

    Parameters
    ----------
    method : str
        The method.

    result : `~astropy.nddata.CCDData`
        What it made of the frame.

    apertures : `~astropy.table.QTable`
        The apertures.

    sums : dict of 1D `~numpy.ndarray`
        Of `guided.measure`.

    blank : 2D bool `~numpy.ndarray`
        Pixels without a source.

    Returns
    -------
    errors : 1D `~numpy.ndarray`
        NaN where none can be stated.
    """
    if method == 'raw':
        return sums['error']
    if method in FILTERS:
        area = np.pi * apertures['aperture_a'] * apertures['aperture_b']
        sky = mad_std(np.asarray(result.data)[blank])
        photons = np.sqrt(np.maximum(sums['truth'], 0.0)) * sky / SKY
        return np.hypot(sky * np.sqrt(np.asarray(area)), photons)
    if method in ('ccd', 'blend'):
        return np.asarray(denoised_flux_error(result, apertures, gain=1.0))
    return np.full(len(apertures), np.nan)


def apertures_for(catalog):
    """
    Apertures with 62.5 per cent of the light of each source.
    """
    apertures = light_fraction_apertures(
        catalog['r50'], catalog['sersic_n'], catalog['axis_ratio'],
        catalog['theta'], FWHM, psf_beta=3.5)
    apertures['ref_id'] = np.arange(len(catalog))
    apertures['aperture_x'] = catalog['x_centroid']
    apertures['aperture_y'] = catalog['y_centroid']
    return apertures


def measure_scene(number, size, methods):
    """
    Fluxes, errors and noise of one exposure, for each method.

    Parameters
    ----------
    number : int
        Of the exposure.

    size : int
        Pixels per side.

    methods : sequence of str
        Which.

    Returns
    -------
    sums : dict of 1D `~numpy.ndarray`
        Of `guided.measure`.

    errors : dict of 1D `~numpy.ndarray`
        Stated, by method.

    noise : dict of float
        Mean square of the error of blank sky, by method.
    """
    frame, truth, catalog, known = make_scene(
        CASES['exact'], size, [SEED, number])
    psf = moffat_image(61, FWHM, 3.5)
    results = denoised_by(frame, known, psf, methods)
    catalog = on_frame(catalog, size)
    sums, _ = measure(results, frame, truth, catalog)
    blank = ~np.asarray(frame.mask) & (
        truth - np.median(truth) < 0.05 * SKY)
    apertures = apertures_for(catalog)
    errors = {name: stated_errors(name, result, apertures, sums, blank)
              for name, result in results.items()}
    noise = {name: np.mean(((np.asarray(result.data) - truth)[blank]
                            / SKY)**2) for name, result in results.items()}
    return sums, errors, noise


def response(flux, raw, truth, error):
    """
    Slope of fluxes against the truth, and its error.

    The noise of the raw frame is in both fluxes and cancels.
    """
    base, other = truth / error, (flux - raw) / error
    slope = np.sum(other * base) / np.sum(base**2)
    least = np.sqrt(np.sum((other - slope * base)**2 * base**2)) / np.sum(
        base**2)
    return 1.0 + slope, least


def print_table(scenes, methods):
    """
    Print the row of each method.

    Parameters
    ----------
    scenes : list of tuple
        Of `measure_scene`.

    methods : sequence of str
        Which.
    """
    sums = {name: np.concatenate([scene[0][name] for scene in scenes])
            for name in scenes[0][0]}
    snr = sums['snr']
    bins = [(low, high) for low, high in pairwise(BINS)]
    print(f'{len(snr)} sources in {len(scenes)} exposures')
    print(f'{"":14s}{"noise":>7s}' + ''.join(
        f'{f"S/N {low:g}-{high:g}":>16s}' for low, high in bins)
        + f'{"covered":>9s}')
    print(f'{"sources":21s}' + ''.join(
        f'{np.sum((snr >= low) & (snr < high)):16d}' for low, high in bins))
    for name in methods:
        noise = np.sqrt(np.mean([scene[2][name] for scene in scenes]))
        errors = np.concatenate([scene[1][name] for scene in scenes])
        print(f'{name:14s}{noise:7.3f}', end='')
        for low, high in bins:
            use = (snr >= low) & (snr < high)
            kept, error = response(sums[name][use], sums['raw'][use],
                                   sums['truth'][use], sums['error'][use])
            print(f'{kept:9.2f} ± {error:.2f}', end='')
        inside = np.isfinite(errors) & (snr >= BINS[0]) & (snr < BINS[-1])
        covered = 100.0 * np.mean(np.abs(
            sums[name] - sums['truth'])[inside] < errors[inside]) if (
                inside.any()) else np.nan
        print(f'{covered:9.0f}' if inside.any() else f'{"-":>9s}')


def main():
    """
    Print the table.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--n-exposures', type=int, default=4)
    options = parser.parse_args()
    warnings.simplefilter('ignore', AstropyUserWarning)
    methods = METHODS
    if missing('bm3d'):
        methods = [name for name in METHODS if name != 'BM3D']
        print('BM3D: skipped (pip install bm3d==4.0.3)', file=sys.stderr)
    scenes = []
    for number in range(options.n_exposures):
        start = time.perf_counter()
        scenes.append(measure_scene(number, options.size, methods))
        print(f'exposure {number + 1}: {time.perf_counter() - start:.0f} s',
              file=sys.stderr)
    print_table(scenes, methods)


if __name__ == '__main__':
    main()
