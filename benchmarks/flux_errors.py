# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors of sums over denoised frames beside their scatter.

Run as ``python benchmarks/flux_errors.py``. Scenes of stars and compact
galaxies are exposed many times, denoised with ``ccd``, and measured in
apertures. Printed is the error that `~astro_denoise.photometry` predicts over
the scatter of the fluxes from exposure to exposure (root mean square over all
sources of a bin), for apertures of different radii, with and without a
background from an annulus, in bins of the signal-to-noise ratio of the source
(of a matched filter; the first bin is blank sky). ``alone`` is the root of the
sum of the squares of the pixels' uncertainties, which would be right if pixels
were independent. Seeds are used nowhere else.

With ``--structured`` the same for apertures anywhere on frames of the zoo
(``zoo_frames.py``) that are full of light, without annulus, the noise
estimated from each frame: of many apertures, and of the one in the middle.
"""

import argparse
import time
import warnings

import numpy as np
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.utils.exceptions import AstropyUserWarning
from fields import jittered_grid
from zoo_frames import draw

from astro_denoise import denoise
from astro_denoise.photometry import annulus_photometry, denoised_flux_error
from astro_denoise.photometry.apertures import ellipse_weights
from astro_denoise.simulation import render_sources

SEED = 20150212_99  # used by no other script and no training

BETA, LEVEL, READ_NOISE = 3.5, 190.0, 9.0
SPACING = 56
RADII = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
BINS = ((0.0, 0.0), (1.0, 5.0), (5.0, 15.0), (15.0, 30.0))
ANNULUS = (30, 45)
STRUCTURED = ('survey, PSF 3.0 px', 'globular cluster', 'spiral',
              'galaxy fills the frame', 'filaments',
              'nebula, structure of 2 px', 'nebula, structure of 4 px',
              'nebula, structure of 8 px', 'nebula, structure of 16 px',
              'solar disc')
STRUCTURED_SIZE, STRUCTURED_RADII = 384, (1.0, 3.0, 8.0)
N_APERTURES = 150


def make_scene(size, fwhm, rng):
    """
    Draw a scene: sources on a grid, in equal numbers of all bins.

    Parameters
    ----------
    size : int
        Pixels per side.

    fwhm : float
        Full width at half maximum of the point-spread function in pixels.

    rng : `~numpy.random.Generator`
        Random numbers.

    Returns
    -------
    truth : 2D `~numpy.ndarray`
        Expected electrons.

    sources : `~astropy.table.QTable`
        Positions, and the bin of each.
    """
    x, y = jittered_grid(size, SPACING, 8, rng)
    number = rng.permutation(len(x)) % len(BINS)
    low, high = np.array(BINS)[number].T
    snr = rng.uniform(low, high)
    noise = np.sqrt(LEVEL + READ_NOISE**2) * np.sqrt(
        4 * np.pi) * fwhm / 2.355
    sources = {'x': x, 'y': y, 'flux': snr * noise,
               'r50': np.where(rng.random(len(x)) < 0.5, 0.0,
                               rng.uniform(0.5, 2.0, len(x)))}
    truth = LEVEL + render_sources((size, size), sources, fwhm, BETA)
    return truth, QTable({'x': x, 'y': y, 'bin': number})


def apertures_of(sources, radius):
    """
    Circles around sources.
    """
    n_sources = len(sources)
    return QTable({
        'ref_id': np.arange(n_sources), 'aperture_x': sources['x'],
        'aperture_y': sources['y'],
        'aperture_a': np.full(n_sources, radius),
        'aperture_b': np.full(n_sources, radius),
        'aperture_theta': np.zeros(n_sources)})


def measure(frame, sources, radius):
    """
    Fluxes and errors in apertures of one size.

    Parameters
    ----------
    frame : `~astropy.nddata.CCDData`
        Denoised.

    sources : `~astropy.table.QTable`
        Positions.

    radius : float
        Of the apertures.

    Returns
    -------
    results : dict of tuple of 1D `~numpy.ndarray`
        Fluxes and errors, with annulus, without, and of independent pixels.
    """
    circles = apertures_of(sources, radius)
    table = annulus_photometry(frame, circles, r_in=ANNULUS[0],
                               r_out=ANNULUS[1])
    boxes = [ellipse_weights(x, y, radius, radius, 0.0)
             for x, y in zip(sources['x'], sources['y'], strict=True)]

    plain = sums_in(boxes, frame.data)
    return {'annulus': (table['flux'].value, table['flux_error'].value),
            'plain': (plain, denoised_flux_error(frame, circles).value),
            'alone': (plain, np.sqrt(sums_in(
                boxes, frame.uncertainty.array**2, 2)))}


def sums_in(boxes, image, power=1):
    """
    Sums in apertures, without background.

    Parameters
    ----------
    boxes : list of tuple
        Weights, and the box that they are of.

    image : 2D `~numpy.ndarray`
        The pixels.

    power : int, optional
        Of the weights.

    Returns
    -------
    sums : 1D `~numpy.ndarray`
        One for each aperture.
    """
    padded = np.pad(image, 24)
    return np.array([
        np.sum(weights**power * padded[y1 + 24:y2 + 24, x1 + 24:x2 + 24])
        for weights, (x1, x2, y1, y2) in boxes])


def report_errors(settings):
    """
    Print predicted errors over scatter.

    Parameters
    ----------
    settings : dict
        Pixels per side, numbers of scenes and of exposures, and the width
        of the point-spread function.
    """
    print(f'FWHM {settings["fwhm"]:g} pixels')
    sums = {}
    for scene in range(settings['n_scenes']):
        rng = np.random.default_rng([SEED, scene])
        truth, sources = make_scene(settings['size'], settings['fwhm'], rng)
        found = {}
        for _ in range(settings['n_exposures']):
            data = rng.poisson(truth) + rng.normal(0, READ_NOISE, truth.shape)
            frame = denoise(CCDData(data, unit='electron'), gain=1,
                            read_noise=READ_NOISE)
            for radius in RADII:
                for kind, result in measure(frame, sources, radius).items():
                    found.setdefault((kind, radius), []).append(result)
        for key, results in found.items():
            fluxes, errors = np.array(results).transpose(1, 0, 2)
            for number in range(len(BINS)):
                use = sources['bin'] == number
                sums.setdefault((*key, number), []).append((
                    np.var(fluxes[:, use], axis=0, ddof=1).sum(),
                    np.mean(errors[:, use]**2, axis=0).sum(),
                    np.count_nonzero(use)))
    titles = ['blank'] + [f'{low:g}-{high:g}' for low, high in BINS[1:]]
    for kind in ('plain', 'annulus', 'alone'):
        print(f'\n{kind:10s}' + ''.join(f'{title:>10s}' for title in titles))
        for radius in RADII:
            print(f'r = {radius:<6g}', end='')
            for number in range(len(BINS)):
                scatter, error, _ = np.sum(sums[kind, radius, number], axis=0)
                print(f'{np.sqrt(error / scatter):10.3f}', end='')
            print()
    n_sources = np.sum([part[2] for part in sums['plain', RADII[0], 0]])
    error = np.sqrt(0.5 / n_sources / (settings['n_exposures'] - 1))
    print(f'\nA ratio is known to +-{error:.3f}\n')


def report_structured(n_exposures):
    """
    Print predicted errors over scatter on frames full of light.

    Parameters
    ----------
    n_exposures : int
        Of each frame.
    """
    print(f'{"":28s}' + ''.join(f'{f"r = {radius:g}":>9s}{"middle":>9s}'
                                for radius in STRUCTURED_RADII))
    for number, name in enumerate(STRUCTURED):
        scene = draw(name, [SEED, number], 2 * (STRUCTURED_SIZE,))
        rng = np.random.default_rng([SEED, 50, number])
        x, y = rng.uniform(40, STRUCTURED_SIZE - 41, (2, N_APERTURES))
        places = QTable({'x': x, 'y': y})
        found = {radius: [] for radius in STRUCTURED_RADII}
        for _ in range(n_exposures):
            data = scene.truth + scene.sigma * rng.standard_normal(
                scene.truth.shape)
            frame = denoise(CCDData(data, unit='adu'))
            for radius, results in found.items():
                boxes = [ellipse_weights(*place, radius, radius, 0.0)
                         for place in zip(x, y, strict=True)]
                results.append((
                    sums_in(boxes, frame.data), denoised_flux_error(
                        frame, apertures_of(places, radius)).value))
        print(f'{name:28s}', end='')
        for results in found.values():
            fluxes, errors = np.array(results).transpose(1, 0, 2)
            scatter = np.var(fluxes, axis=0, ddof=1)
            error = np.mean(errors**2, axis=0)
            print(f'{np.sqrt(error.mean() / scatter.mean()):9.2f}'
                  f'{np.sqrt(np.median(error / scatter)):9.2f}', end='')
        print(flush=True)


def report_speed():
    """
    Print the time of many apertures on a large frame.
    """
    rng = np.random.default_rng([SEED, 99])
    small = denoise(CCDData(rng.normal(100, 5, (256, 256)), unit='adu'))
    data = np.tile(small.data, (16, 8))
    frame = CCDData(data, unit='adu', meta=small.meta)
    sources = QTable({'x': rng.uniform(0, 2047, 5000),
                      'y': rng.uniform(0, 4095, 5000)})
    for name, measured in (('denoised_flux_error', denoised_flux_error),
                           ('annulus_photometry', annulus_photometry)):
        measured(small, apertures_of(sources[:1], 3.0))  # what is imported
        times = []
        for _ in range(3):
            start = time.process_time()
            measured(frame, apertures_of(sources, 3.0))
            times.append(time.process_time() - start)
        print(f'# {name}: 5,000 apertures on 4096x2048: {min(times):.1f} s, '
              f'the first time {times[0]:.1f} s')


def main():
    """
    Print all figures.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--size', type=int, default=512)
    parser.add_argument('--n-scenes', type=int, default=3)
    parser.add_argument('--n-exposures', type=int, default=16)
    parser.add_argument('--fwhm', type=float, nargs='+',
                        default=[2.4, 3.8, 6.0])
    parser.add_argument('--structured', action='store_true')
    parser.add_argument('--speed', action='store_true')
    options = parser.parse_args()
    warnings.simplefilter('ignore', AstropyUserWarning)
    if options.speed:
        report_speed()
        return
    if options.structured:
        report_structured(options.n_exposures)
        return
    for fwhm in options.fwhm:
        report_errors({'size': options.size, 'n_scenes': options.n_scenes,
                       'n_exposures': options.n_exposures, 'fwhm': fwhm})


if __name__ == '__main__':
    main()
