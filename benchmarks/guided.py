# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoising with a catalog beside denoising without.

Run as ``python benchmarks/guided.py``; simulated exposures are of
`~astro_denoise.simulation.SurveySimulator` (with cosmic rays, which are
masked). For each case and method:

``rms``
    Root mean square of the error of the pixels, in units of their noise.

``sky``
    Mean error of the pixels without a source, in noise of the sky.

``pull``
    Root mean square of the error over the stated uncertainty, for all pixels
    and for those with and without a source (in the catalog or not).

``R``
    Slope of the flux in apertures with 62.5 per cent of the light against
    that without noise, in bins of the true signal-to-noise ratio, with its
    error. The noise of the raw frame is in both, so that it cancels: R is 1
    and the slope of the difference between denoised and raw flux.

``scatter``
    sigma68 of the error of these fluxes over that of the raw ones, over R.

On M13 (``--m13 FOLDER``, five exposures) the sources are found on the mean of
three exposures, and the frames denoised are the other two; on ESO 085-030
(``--eso085 FOLDER``) they are found on the mean of both. The point-spread
function is that of ``forced_photometry.py``. ``R`` and
``scatter`` are as in ``forced_photometry.py``: the sum of the products of the
aperture fluxes in one with the raw ones in the other, over that of the raw
ones, and sigma68 of the differences between both over R, over that of the raw
fluxes;
``sky`` is the scatter of the pixels without a source over that of the raw
frame.

The cases with faults give the methods a catalog that is wrong: positions off
by 0.5 pixels, sizes by 20 per cent, the point-spread function 10 per cent too
wide, bulges that it does not know, 3 per cent of the pixels masked, a fifth of
the sources missing (``missing`` are their R).
"""

import argparse
import time
import warnings
from itertools import pairwise

import numpy as np
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.utils.exceptions import AstropyUserWarning
from forced_photometry import (
    ESO085,
    M13,
    REAL_BETA,
    find_inside,
    mean_snr,
    pairs_of_m13,
    print_pairs,
    read_eso085,
    star_width,
    with_other_sky,
)
from scipy.ndimage import gaussian_filter

from astro_denoise import denoise
from astro_denoise.photometry import (
    light_fraction_apertures,
    sigma68,
)
from astro_denoise.photometry.apertures import ellipse_weights
from astro_denoise.simulation import SurveySimulator, moffat_image

SEED = 20150212_98  # used by no other script and no training

SCALE, FWHM, BETA = 0.263, 3.8, 3.5
DENSITY = 143.0
READ_NOISE = 9.0
SKY = np.sqrt(1.70 * 110 + 110 / 3600 + READ_NOISE**2)
METHODS = ('raw', 'Gaussian', 'ccd', 'ccd-mmse', 'blend', 'model')
BINS = (1.5, 5.0, 12.0, 50.0, 1000.0)

# What is wrong with the catalog, or different in the frame.
CASES = {
    'exact': {},
    'positions': {'shift': 0.5},
    'sizes': {'size': 1.2},
    'PSF': {'psf': 1.1},
    'bulges': {'bulges': True},
    'masked': {'masked': 0.03},
    'all five': {'shift': 0.5, 'size': 1.2, 'psf': 1.1, 'bulges': True,
                 'masked': 0.03},
    'saturated': {'brightest': 12.0},
    'missing': {'missing': 0.2},
    'density x 8': {'density': 8 * DENSITY},
}


def make_scene(case, size, seed):
    """
    Draw an exposure of one case.

    Parameters
    ----------
    case : dict
        One of `CASES`.

    size : int
        Pixels per side.

    seed : sequence of int
        Same seed, same exposure.

    Returns
    -------
    frame : `~astropy.nddata.CCDData`
        In electrons.

    truth : 2D `~numpy.ndarray`
        Without noise.

    catalog : `~astropy.table.QTable`
        The sources.

    known : `~astropy.table.QTable`
        What the methods are told of them; ``row`` says which they are.
    """
    simulator = SurveySimulator(
        shape=(size, size), density=case.get('density', DENSITY),
        psf_fwhm=FWHM * SCALE, psf_beta=BETA, n_bad_columns=0,
        magnitude_range=(case.get('brightest', 18.0), 22.5), unit='electron')
    rng = np.random.default_rng(seed)
    catalog = simulator.catalog(seed=rng)
    if not case.get('bulges'):
        catalog['bulge_fraction'] = 0.0
    (frame,), catalog, (truth,) = simulator.exposures(
        1, seed=rng, catalog=catalog, return_truth=True)
    if case.get('masked'):
        frame.mask = frame.mask | (rng.random(frame.shape) < case['masked'])
    known = catalog['x_centroid', 'y_centroid', 'r50', 'sersic_n',
                    'axis_ratio', 'theta'].copy()
    angle = rng.uniform(0.0, 2.0 * np.pi, len(known))
    known['x_centroid'] += case.get('shift', 0.0) * np.cos(angle)
    known['y_centroid'] += case.get('shift', 0.0) * np.sin(angle)
    known['r50'] *= case.get('size', 1.0)
    known['row'] = np.arange(len(known))
    known = known[rng.random(len(known)) >= case.get('missing', 0.0)]
    return frame, truth, catalog, known


def denoise_all(frame, known, psf, methods):
    """
    Denoise a frame by all methods.

    Parameters
    ----------
    frame : `~astropy.nddata.CCDData`
        The frame.

    known : `~astropy.table.QTable`
        What is known of the sources.

    psf : 2D `~numpy.ndarray`
        The point-spread function, as it is known.

    methods : sequence of str
        Which.

    Returns
    -------
    results : dict of `~astropy.nddata.CCDData`
        By method.
    """
    options = {'gain': 1, 'read_noise': READ_NOISE}
    results = {}
    for method in methods:
        if method == 'raw':
            results[method] = frame
        elif method == 'Gaussian':
            values = np.where(frame.mask, np.median(frame.data), frame.data)
            results[method] = CCDData(gaussian_filter(values, 1.5),
                                      unit=frame.unit)
        elif method in ('blend', 'model'):
            guided = {'psf': psf} if method == 'model' else {}
            results[method] = denoise(frame, catalog=known, guide=method,
                                      **guided, **options)
        else:
            results[method] = denoise(frame, method, **options)
    return results


def measure(results, frame, truth, catalog):
    """
    Compare results with the truth.

    Parameters
    ----------
    results : dict of `~astropy.nddata.CCDData`
        By method.

    frame : `~astropy.nddata.CCDData`
        The raw frame.

    truth, catalog : object
        As from `make_scene`.

    Returns
    -------
    fluxes : dict of 1D `~numpy.ndarray`
        Aperture fluxes by method, with ``truth``, ``snr`` and ``error``.

    pixels : dict of tuple
        Sums of squared errors and the like, by method.
    """
    good = ~np.asarray(frame.mask)
    noise = np.sqrt(np.maximum(truth, 0.0) + READ_NOISE**2)
    light = truth - np.median(truth)
    source = light > 0.05 * SKY
    pixels = {}
    for method, result in results.items():
        error = (np.asarray(result.data) - truth)
        sigma = (np.ones(error.shape) if result.uncertainty is None
                 else result.uncertainty.array)
        pixels[method] = (
            np.mean((error / noise)[good]**2),
            np.mean(error[good & ~source]) / SKY,
            *(np.mean((error / sigma)[good & part]**2)
              for part in (True, source, ~source)))
    apertures = light_fraction_apertures(
        catalog['r50'], catalog['sersic_n'], catalog['axis_ratio'],
        catalog['theta'], FWHM, psf_beta=BETA)
    apertures['ref_id'] = np.arange(len(catalog))
    apertures['aperture_x'] = catalog['x_centroid']
    apertures['aperture_y'] = catalog['y_centroid']
    weights = [ellipse_weights(
        row['aperture_x'], row['aperture_y'], row['aperture_a'],
        row['aperture_b'], row['aperture_theta'].to_value('rad'))
        for row in apertures]

    def sums(image):
        return np.array([np.sum(part * image[y1:y2, x1:x2])
                         for part, (x1, x2, y1, y2) in weights])

    level = np.median(truth)
    # Masked pixels hold no measurement: the truth is put there.
    fluxes = {method: sums(np.where(good, result.data, truth) - level)
              for method, result in results.items()}
    fluxes['truth'] = sums(truth - level)
    fluxes['error'] = np.sqrt(sums(np.maximum(truth, 0.0)
                                   + READ_NOISE**2))
    fluxes['snr'] = fluxes['truth'] / fluxes['error']
    return fluxes, pixels


def on_frame(catalog, size, margin=48):
    """
    Leave out sources whose aperture leaves the frame.
    """
    x, y = catalog['x_centroid'], catalog['y_centroid']
    return catalog[(np.minimum(x, y) > margin)
                   & (np.maximum(x, y) < size - margin)]


def report_case(name, settings):
    """
    Print the figures of one case.

    Parameters
    ----------
    name : str
        One of `CASES`.

    settings : dict
        Pixels per side, number of seeds, methods.
    """
    case = CASES[name]
    fluxes, pixels, missing = {}, {}, []
    for number in range(settings['n_seeds']):
        seed = [SEED, list(CASES).index(name), number]
        frame, truth, catalog, known = make_scene(case, settings['size'],
                                                  seed)
        psf = moffat_image(61, FWHM * case.get('psf', 1.0), BETA)
        results = denoise_all(frame, known, psf, settings['methods'])
        catalog['known'] = np.isin(np.arange(len(catalog)), known['row'])
        catalog = on_frame(catalog, settings['size'])
        missing.append(~catalog['known'])
        found, of_pixels = measure(results, frame, truth, catalog)
        for key, values in found.items():
            fluxes.setdefault(key, []).append(values)
        for key, values in of_pixels.items():
            pixels.setdefault(key, []).append(values)
    fluxes = {key: np.concatenate(parts) for key, parts in fluxes.items()}
    missing = np.concatenate(missing)
    print(f'\n{name}: {len(missing)} sources')
    titles = [f'S/N {low:g}-{high:g}' for low, high in pairwise(BINS)]
    print(f'{"":10s}{"rms":>7s}{"sky":>8s}{"pull":>18s}'
          + ''.join(f'{title:>24s}' for title in titles))
    print(f'{"":10s}{"":15s}{"all":>6s}{"in":>6s}{"out":>6s}'
          + len(titles) * f'{"R":>10s}{"+-":>7s}{"scatter":>7s}')
    for method in settings['methods']:
        mean = np.mean(pixels[method], axis=0)
        print(f'{method:10s}{np.sqrt(mean[0]):7.3f}{mean[1]:8.4f}'
              + ''.join(f'{value:6.2f}' for value in np.sqrt(mean[2:])),
              end='')
        print_bins(fluxes, method, ~missing)
        if missing.any():
            print(f'{"  missing":43s}', end='')
            print_bins(fluxes, method, missing)


def print_bins(fluxes, method, chosen):
    """
    Print response and scatter of some sources in all bins.

    Parameters
    ----------
    fluxes : dict of 1D `~numpy.ndarray`
        From `measure`.

    method : str
        One of its keys.

    chosen : 1D bool `~numpy.ndarray`
        The sources.
    """
    for low, high in pairwise(BINS):
        use = chosen & (fluxes['snr'] >= low) & (fluxes['snr'] < high)
        if np.count_nonzero(use) < 10:
            print(f'{"-":>10s}{"-":>7s}{"-":>7s}', end='')
            continue
        truth, error, raw, flux = (fluxes[key][use] for key in (
            'truth', 'error', 'raw', method))
        # In units of the errors: no source decides alone.
        base = truth / error
        other = (flux - raw) / error
        slope = np.sum(other * base) / np.sum(base**2)
        least = np.sqrt(np.sum(
            (other - slope * base)**2 * base**2)) / np.sum(base**2)
        scatter = sigma68((flux - (1 + slope) * truth) / error) / (1 + slope)
        print(f'{1 + slope:10.3f}{least:7.3f}'
              f'{scatter / sigma68((raw - truth) / error):7.2f}', end='')
    print()


def report_m13(folder):
    """
    Print the figures of all pairs of exposures of M13.

    Parameters
    ----------
    folder : path-like
        Where the five exposures are.
    """
    scenes, fwhm = pairs_of_m13(folder)
    report_real('M13, ten pairs of exposures', M13, scenes, fwhm)


def report_eso085(folder):
    """
    Print the figures of the two exposures of ESO 085-030.

    Parameters
    ----------
    folder : path-like
        Where they are.
    """
    frames, images = read_eso085(folder)
    catalogs = [find_inside(image) for image in images]
    fwhm = star_width([(*images, catalogs[0]), (*images[::-1], catalogs[1])],
                      ESO085)
    mean = np.mean(images, axis=0)
    report_real('ESO 085-030, pair of exposures', ESO085,
                [(frames, mean, find_inside(mean))], fwhm)


def report_real(name, field, scenes, fwhm):
    """
    Print the figures of pairs of exposures of the same sky.

    Parameters
    ----------
    name : str
        Of the field.

    field : `~forced_photometry.Field`
        How it is measured.

    scenes : list of tuple
        Two exposures, the image that the sources were found on, and the
        sources.

    fwhm : float
        Of the point-spread function.
    """
    psf = moffat_image(61, fwhm, REAL_BETA)
    found, sky, snr = {}, {}, []
    for pair, mean, catalog in scenes:
        known = catalog['x_centroid', 'y_centroid']
        fluxes = {}
        for frame in pair:
            results = {'aperture': frame, 'ccd': denoise(frame),
                       'ccd-mmse': denoise(frame, 'ccd-mmse'),
                       'blend': denoise(frame, catalog=known),
                       'model': denoise(frame, catalog=known, guide='model',
                                        psf=psf)}
            blank = results['blend'].flags == 0
            tables = {}
            for method, result in results.items():
                tables[method] = field.measure(result, catalog,
                                               error=1.0 * frame.unit)
                fluxes.setdefault(method, []).append(
                    tables[method]['flux'].value)
                sky.setdefault(method, []).append(
                    mad_std(result.data[blank]))
            fluxes.setdefault('raw, sky of ccd', []).append(
                with_other_sky(tables['aperture'], tables['ccd']))
        for method, parts in fluxes.items():
            found.setdefault(method, []).append(np.array(parts))
        snr.append(np.asarray(mean_snr(field, catalog, mean,
                                       field.measure(pair[0], catalog))))
    snr = np.concatenate(snr)
    print(f'\n{name}: {len(snr)} sources')
    print_pairs({method: np.concatenate(parts, axis=1)
                 for method, parts in found.items()}, snr)
    raw = np.mean(sky['aperture'])
    print('sky: ' + ', '.join(f'{method} {np.mean(parts) / raw:.2f}'
                              for method, parts in sky.items()), flush=True)


def note(text):
    """Print how long a part took, which is no result."""
    print(f'# {text}', flush=True)


def main():
    """
    Print all figures.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--n-seeds', type=int, default=4)
    parser.add_argument('--m13', metavar='FOLDER')
    parser.add_argument('--eso085', metavar='FOLDER')
    parser.add_argument('--cases', nargs='*', default=list(CASES),
                        choices=list(CASES), metavar='CASE')
    parser.add_argument('--methods', nargs='+', default=METHODS,
                        choices=METHODS, metavar='METHOD')
    options = parser.parse_args()
    warnings.simplefilter('ignore', AstropyUserWarning)
    settings = {'size': options.size, 'n_seeds': options.n_seeds,
                'methods': options.methods}
    for name in options.cases:
        start = time.perf_counter()
        report_case(name, settings)
        note(f'{name}: {time.perf_counter() - start:.0f} s')
    if options.m13:
        report_m13(options.m13)
    if options.eso085:
        report_eso085(options.eso085)


if __name__ == '__main__':
    main()
