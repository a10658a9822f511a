# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Shapes of sources, and fluxes in small apertures, on denoised frames.

Run as ``python benchmarks/shapes.py``. Stars and galaxies of known shape on a
grid, at known positions, with a seeing of 3.8 pixels. Printed are, for the raw
frame, a Gaussian filter and the models, in bins of the signal-to-noise ratio
(of a matched filter):

``shape``
    Response of the ellipticity: how much of that without noise is found.
    Ellipticities are second moments with a Gaussian weight of 1.2 times the
    seeing, over their sum; numerator and sum are averaged over the galaxies
    of a bin, so that noise has no part in the ratio. That of the Gaussian
    filter would be corrected for, as it is for the point-spread function.

``r = 2``, ``5``
    Flux of stars in apertures of 2 and 5 pixels over that without noise.

``+-`` is the error from a bootstrap over the sources. Seeds are used nowhere
else.
"""

import argparse
import warnings

import numpy as np
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from fields import jittered_grid
from scipy.ndimage import gaussian_filter

from astro_denoise import denoise
from astro_denoise.photometry.apertures import ellipse_weights
from astro_denoise.simulation import render_sources

SEED = 20150212_100  # used by no other script and no training

FWHM, BETA, LEVEL, READ_NOISE = 3.8, 3.5, 190.0, 9.0
SPACING, HALF = 40, 15
BINS = ((5.0, 10.0), (10.0, 20.0), (20.0, 60.0))
RADII = (2.0, 5.0)
METHODS = ('raw', 'Gaussian', 'ccd', 'ccd-mmse')


def make_scene(size, rng):
    """
    Draw a scene: half stars, half galaxies.

    Parameters
    ----------
    size : int
        Pixels per side.

    rng : `~numpy.random.Generator`
        Random numbers.

    Returns
    -------
    truth : 2D `~numpy.ndarray`
        Expected electrons.

    sources : dict of 1D `~numpy.ndarray`
        Positions, shapes, bins.
    """
    x, y = jittered_grid(size, SPACING, 4, rng)
    n_sources = len(x)
    number = rng.integers(0, len(BINS), n_sources)
    low, high = np.log(np.array(BINS)[number].T)
    snr = np.exp(rng.uniform(low, high))
    star = rng.random(n_sources) < 0.5
    noise = np.sqrt(LEVEL + READ_NOISE**2) * np.sqrt(
        4 * np.pi) * FWHM / 2.355
    r50 = np.where(star, 0.0, rng.uniform(1.5, 3.0, n_sources))
    sources = {
        'x': x, 'y': y, 'bin': number, 'star': star, 'r50': r50,
        # A larger source has a larger error.
        'flux': snr * noise * np.hypot(1.0, 2.0 * r50 / FWHM),
        'sersic_n': np.ones(n_sources),
        'axis_ratio': rng.uniform(0.4, 0.9, n_sources),
        'theta': rng.uniform(0, np.pi, n_sources)}
    return LEVEL + render_sources((size, size), sources, FWHM, BETA), sources


def moments(image, sources):
    """
    Weighted second moments of sources.

    Parameters
    ----------
    image : 2D `~numpy.ndarray`
        Without background.

    sources : dict of 1D `~numpy.ndarray`
        With positions.

    Returns
    -------
    moments : 2D `~numpy.ndarray`
        ``xx - yy``, ``2 xy`` and ``xx + yy`` of each.
    """
    found = []
    line = np.arange(-HALF, HALF + 1)
    for x, y in zip(sources['x'], sources['y'], strict=True):
        x_pixel, y_pixel = round(x), round(y)
        dx = line - (x - x_pixel)
        dy = (line - (y - y_pixel))[:, np.newaxis]
        light = image[y_pixel - HALF:y_pixel + HALF + 1,
                      x_pixel - HALF:x_pixel + HALF + 1] * np.exp(
            -0.5 * (dx**2 + dy**2) / (1.2 * FWHM / 2.355)**2)
        found.append([np.sum(light * each) for each in (
            dx**2 - dy**2, 2 * dx * dy, dx**2 + dy**2)])
    return np.array(found)


def fluxes(image, sources, radius):
    """
    Sums of the pixels in apertures.
    """
    parts = [ellipse_weights(x, y, radius, radius, 0.0)
             for x, y in zip(sources['x'], sources['y'], strict=True)]
    return np.array([np.sum(weights * image[y1:y2, x1:x2])
                     for weights, (x1, x2, y1, y2) in parts])


def measure(frame, method):
    """
    Denoise a frame.
    """
    if method == 'raw':
        return frame.data
    if method == 'Gaussian':
        return gaussian_filter(frame.data, 1.5)
    return denoise(frame, method, gain=1, read_noise=READ_NOISE).data


def with_error(numerator, denominator):
    """
    Ratio of two sums over sources, with its error.
    """
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(numerator), (200, len(numerator)))
    ratios = numerator[rows].sum(axis=1) / denominator[rows].sum(axis=1)
    return numerator.sum() / denominator.sum(), np.std(ratios)


def report(settings):
    """
    Print all figures.

    Parameters
    ----------
    settings : dict
        Pixels per side, and number of frames.
    """
    parts = {}
    for number in range(settings['n_frames']):
        rng = np.random.default_rng([SEED, number])
        truth, sources = make_scene(settings['size'], rng)
        data = rng.poisson(truth) + rng.normal(0, READ_NOISE, truth.shape)
        frame = CCDData(data, unit='electron')
        true = moments(truth - LEVEL, sources)
        shape = true[:, :2] / true[:, 2:]
        true_fluxes = [fluxes(truth - LEVEL, sources, radius)
                       for radius in RADII]
        for method in METHODS:
            image = measure(frame, method) - LEVEL
            found = moments(image, sources) / true[:, 2:]
            columns = [np.sum(found[:, :2] * shape, axis=1),
                       np.sum(shape**2, axis=1) * found[:, 2],
                       *(fluxes(image, sources, radius) / flux
                         for radius, flux in zip(RADII, true_fluxes,
                                                 strict=True)),
                       sources['bin'], sources['star']]
            parts.setdefault(method, []).append(np.array(columns))
    print(f'{"":10s}' + ''.join(f'{f"S/N {low:g}-{high:g}":>36s}'
                                for low, high in BINS))
    print(f'{"":10s}' + len(BINS) * ''.join(
        f'{title:>7s}{"+-":>5s}' for title in ('shape', 'r = 2', 'r = 5')))
    for method, found in parts.items():
        columns = np.concatenate(found, axis=1)
        print(f'{method:10s}', end='')
        for number in range(len(BINS)):
            here, star = columns[4] == number, columns[5] == 1
            galaxies, stars = (columns[:, here & kind]
                               for kind in (~star, star))
            for pair in ((galaxies[0], galaxies[1]),
                         *((stars[row], np.ones(stars.shape[1]))
                           for row in (2, 3))):
                value, error = with_error(*pair)
                print(f'{value:7.2f}{error:5.2f}', end='')
        print()
    print(f'\n{columns.shape[1]} sources')


def main():
    """
    Print all figures.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--size', type=int, default=640)
    parser.add_argument('--n-frames', type=int, default=12)
    options = parser.parse_args()
    warnings.simplefilter('ignore', AstropyUserWarning)
    report({'size': options.size, 'n_frames': options.n_frames})


if __name__ == '__main__':
    main()
