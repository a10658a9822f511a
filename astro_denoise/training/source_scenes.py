# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise-free skies to train a finder of sources on: blank, crowded, with
galaxies whose halos and knots sources lie in, and empty ones.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import fftfreq, irfft2, rfftfreq
from scipy.ndimage import gaussian_filter

from ..frames.inputs import open_frame
from ..noise.measurement import measure_plane
from ..simulation.crowded_fields import EllipticalMoffat, render_field
from ..simulation.profiles import render_sources
from .scenes import draw_in_processes

__all__ = ['FIELDS', 'SourceScene', 'draw_source_scene',
           'draw_source_scenes', 'filter_noise']

#: Kinds of fields, and the share of each.
FIELDS = {'blank': 0.25, 'crowded': 0.35, 'halo': 0.3, 'empty': 0.1}

# Sources per 10^6 pixels, of a signal-to-noise ratio of 1 and more.
_DENSITIES = {'blank': (200.0, 5000.0), 'crowded': (5000.0, 60000.0),
              'halo': (500.0, 12000.0), 'empty': (1.0, 200.0)}

# Sources in an area of one FWHM squared: with more, none can be told.
_MOST_CROWDED = 1.0

# The widest galaxies, in FWHM, and the brightest, in noise of a filter, that
# are made of points.
_MOST_POINTED, _BRIGHTEST_POINTED = 2.0, 300.0

# Shares of skies with close pairs and with nebulae, the range of their
# brightness in noise, and what tells their random numbers from the others.
_PAIRED, _NEBULOUS, _NEBULA, _EXTRA = 0.4, 0.15, (0.2, 20.0), 71

# Light that is added to measure a background by what a frame would do.
_SKY = 100.0

# Pixels between the points at which the background is kept.
BACKGROUND_STEP = 16


@dataclass
class SourceScene:
    """
    A noise-free sky with its sources.

    Attributes
    ----------
    image : 2D `~numpy.ndarray`
        In units of the blank sky's noise.

    sources : 2D `~numpy.ndarray`
        Rows of x, y, signal-to-noise ratio of a matched filter on a blank
        sky, and 1 for stars and 0 for all others.

    psf : `~astro_denoise.simulation.crowded_fields.EllipticalMoffat`
        The point-spread function.

    background : 2D `~numpy.ndarray`
        What is measured as background and is not, every 16 pixels.

    fwhm : float
        Measured full width at half maximum in pixels; 0 if there is none.

    field : str
        One of `FIELDS`.
    """

    image: np.ndarray
    sources: np.ndarray
    psf: EllipticalMoffat
    background: np.ndarray
    fwhm: float
    field: str


def filter_noise(psf):
    """
    Compute the noise of a filter matched to a point-spread function.

    Parameters
    ----------
    psf : `~astro_denoise.simulation.crowded_fields.EllipticalMoffat`
        The point-spread function.

    Returns
    -------
    noise : float
        For noise of 1 in each pixel: the error of the flux of a star.
    """
    k = np.linspace(-np.pi, np.pi, 64, endpoint=False) + np.pi / 64
    transform = (psf.transform(k[:, None], k)
                 * np.sinc(k / (2.0 * np.pi))
                 * np.sinc(k[:, None] / (2.0 * np.pi)))
    # Parseval: the mean of the squared transform is the sum of the squared
    # point-spread function.
    return np.mean(transform**2)**-0.5


def draw_source_scene(seed, *, size=256, field=None, fwhm=None,
                      density=None, plain=False):
    """
    Draw a noise-free sky.

    Parameters
    ----------
    seed : int or sequence of int
        Same seed, same sky.

    size : int, optional
        Pixels per side.

    field : str, optional
        One of `FIELDS`; drawn by default.

    fwhm : float, optional
        Full width at half maximum in pixels; by default drawn from 1 to 8.

    density : float, optional
        Sources per 10^6 pixels; drawn by default.

    plain : bool, optional
        Leave out what is added to some skies: close pairs, structure of
        large galaxies (arms, clumps and dust) and nebulae.

    Returns
    -------
    scene : `SourceScene`
        The sky.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.choice(list(FIELDS), p=list(FIELDS.values()))
    field = field or str(drawn)
    drawn = float(np.exp(rng.uniform(0.0, np.log(8.0))))
    # Now and then a beam that is nearly Gaussian.
    beta = rng.uniform(2.2, 5.0) if rng.random() < 0.8 else 12.0
    psf = EllipticalMoffat(fwhm or drawn, float(beta),
                           1.0 - 0.3 * float(rng.random()**2),
                           float(rng.uniform(0.0, np.pi)))
    drawn = float(np.exp(rng.uniform(*np.log(_DENSITIES[field]))))
    density = min(density or drawn, 1e6 * _MOST_CROWDED / psf.fwhm**2)
    parts = [_compact_sources(rng, size, psf, density, field)]
    if field == 'halo':
        for _ in range(1 + rng.poisson(0.6 * (size / 256.0)**2)):
            parts += _large_galaxy(rng, size, psf)
    extra = None if plain else np.random.default_rng(
        [*np.atleast_1d(seed), _EXTRA])
    if extra is not None and extra.random() < _PAIRED:
        parts.append(_close_pairs(extra, size, psf))
    image, sources = _rendered({
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]}, size, psf, extra)
    background, measured = _measured(image, rng)
    return SourceScene(image.astype(np.float32), sources.astype(np.float32),
                       psf, background, measured, field)


def _rendered(catalog, size, psf, extra):
    """Draw a catalog; return its image and the rows of its sources."""
    pointed = ((catalog['r50'] < _MOST_POINTED * psf.fwhm)
               & ((catalog['snr'] < _BRIGHTEST_POINTED)
                  | (catalog['r50'] == 0)))
    image = render_field((size, size), {
        name: column[pointed] for name, column in catalog.items()}, psf,
        dtype=float)
    # Of the largest, the point-spread function matters little: few of them
    # serve all.
    large = catalog['r50'] > _MOST_POINTED * psf.fwhm
    step = float(np.exp(0.5 * np.round(2.0 * np.log(psf.fwhm))))
    for chosen, fwhm, beta in ((~pointed & ~large, psf.fwhm, psf.beta),
                               (large, step, 3.5)):
        if chosen.any():
            light = render_sources((size, size), {
                name: column[chosen] for name, column in catalog.items()},
                fwhm, beta)
            if chosen is large and extra is not None:
                light *= _structure(extra, size, psf, {
                    name: column[chosen] for name, column in catalog.items()})
            image += light
    if extra is not None and extra.random() < _NEBULOUS:
        brightness = np.exp(extra.uniform(*np.log(_NEBULA)))
        image += brightness * _clumps(extra, size, psf.fwhm)
    # How the light of a galaxy is spread lowers its ratio.
    spread = np.hypot(psf.fwhm / 2.355, catalog['r50'] / 1.18)
    snr = catalog['snr'] * psf.fwhm / 2.355 / spread
    return image, np.stack([catalog['x'], catalog['y'], snr,
                            catalog['star']], 1)


def _compact_sources(rng, size, psf, density, field):
    """Draw the catalog of stars and small galaxies."""
    edge = 3.0 * psf.fwhm
    n = rng.poisson(density * (size + 2.0 * edge)**2 / 1e6)
    x, y = rng.uniform(-edge, size + edge, (2, n))
    if field == 'crowded' and rng.random() < 0.3:
        # A cluster.
        radius = size * rng.uniform(0.05, 0.4)
        members = rng.random(n) < 0.7
        center = rng.uniform(0, size, 2)
        x[members] = center[0] + radius * rng.standard_normal(members.sum())
        y[members] = center[1] + radius * rng.standard_normal(members.sum())
    # Number counts, with some spread evenly that all brightnesses are seen.
    log_snr = rng.exponential(
        1.0 / (rng.uniform(0.5, 1.0) * np.log(10.0)), n)
    even = rng.random(n) < 0.08
    log_snr[even] = rng.uniform(0.0, 4.3, even.sum())
    log_snr = np.minimum(log_snr, 4.5)
    # Companions.
    share = rng.uniform(0.0, 0.3) * np.where(log_snr > 1.0, 2.0, 1.0)
    chosen = np.flatnonzero(rng.random(n) < share)
    distance = psf.fwhm * rng.uniform(0.5, 2.5, len(chosen))
    angle = rng.uniform(0.0, 2.0 * np.pi, len(chosen))
    x = np.concatenate([x, x[chosen] + distance * np.cos(angle)])
    y = np.concatenate([y, y[chosen] + distance * np.sin(angle)])
    log_snr = np.concatenate([log_snr, log_snr[chosen]
                              - rng.uniform(0.0, 1.0, len(chosen))])
    return _shaped(rng, x, y, 10.0**log_snr, psf,
                   star_share=rng.uniform(0.8, 1.0) if field == 'crowded'
                   else rng.uniform(0.1, 0.9))


def _close_pairs(rng, size, psf):
    """Draw the catalog of close pairs, and of as many single sources."""
    density = min(np.exp(rng.uniform(np.log(2e-4), np.log(3e-3))),
                  0.05 / psf.fwhm**2)
    n = rng.poisson(density * size**2)
    x, y = rng.uniform(0.0, size, (2, 2 * n))
    log_snr = rng.uniform(0.7, 2.3, 2 * n)
    distance = psf.fwhm * rng.uniform(0.6, 1.7, n)
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    return _shaped(
        rng, np.concatenate([x, x[:n] + distance * np.cos(angle)]),
        np.concatenate([y, y[:n] + distance * np.sin(angle)]),
        10.0**np.concatenate([log_snr, log_snr[:n]
                              - rng.uniform(0.0, 0.8, n)]), psf,
        star_share=rng.uniform(0.8, 1.0))


def _clumps(rng, size, fwhm):
    """
    Draw clumpy light of a mean of about 1, seen with some seeing.

    The exponential of a random field whose power falls with frequency.
    """
    k = np.hypot(fftfreq(size)[:, None], rfftfreq(size))
    largest = np.exp(rng.uniform(np.log(12.0), np.log(size)))
    amplitude = (k**2 + largest**-2.0)**(-0.5 * rng.uniform(1.2, 2.0))
    noise = (rng.standard_normal(k.shape)
             + 1j * rng.standard_normal(k.shape)) * amplitude
    noise[0, 0] = 0.0
    field = irfft2(noise, (size, size))
    contrast = rng.uniform(0.2, 1.3)
    return gaussian_filter(np.exp(
        contrast * field / field.std() - 0.5 * contrast**2),
        np.hypot(fwhm / 2.3548, 12.0**-0.5), mode='wrap')


def _structure(rng, size, psf, galaxies):
    """
    Draw what the light of large galaxies is to be multiplied with.

    Clumps and dust, in some with spiral arms around the brightest.
    """
    if rng.random() < 0.35:
        return 1.0
    factor = _clumps(rng, size, psf.fwhm)
    if rng.random() < 0.5:
        first = np.argmax(galaxies['flux'])
        y, x = np.mgrid[:size, :size]
        across = x - galaxies['x'][first], y - galaxies['y'][first]
        theta = galaxies['theta'][first]
        along = across[0] * np.cos(theta) + across[1] * np.sin(theta)
        other = (across[1] * np.cos(theta) - across[0] * np.sin(theta)
                 ) / galaxies['axis_ratio'][first]
        winding = rng.choice([-1.0, 1.0]) / np.tan(rng.uniform(0.15, 0.6))
        phase = rng.choice([2, 2, 3, 4]) * (
            np.arctan2(other, along)
            - winding * np.log(np.hypot(along, other) + psf.fwhm))
        arms = rng.uniform(0.2, 1.0) * np.cos(phase)
        factor = factor * gaussian_filter(np.exp(arms), psf.fwhm / 2.3548)
    return factor


def _shaped(rng, x, y, snr, psf, *, star_share):
    """Make stars and galaxies of sources."""
    n = len(x)
    star = rng.random(n) < star_share
    r50 = psf.fwhm * np.exp(np.log(0.55) + 0.5 * rng.standard_normal(n))
    return {
        'x': x, 'y': y, 'snr': snr, 'flux': snr * filter_noise(psf),
        'r50': np.where(star, 0.0, np.clip(r50, 0.15 * psf.fwhm, 15.0)),
        'sersic_n': rng.choice([0.5, 1.0, 1.0, 1.5, 2.5, 4.0], n),
        'axis_ratio': np.clip(rng.beta(4.0, 2.0, n), 0.15, 1.0),
        'theta': rng.uniform(0.0, np.pi, n), 'star': star.astype(float)}


def _large_galaxy(rng, size, psf):
    """
    Draw the catalogs of a large galaxy and, for most, its knots.
    """
    radius = np.exp(rng.uniform(np.log(6.0), np.log(45.0)))
    brightness = np.exp(rng.uniform(np.log(0.3), np.log(100.0)))
    noise = filter_noise(psf)
    galaxy = {'x': rng.uniform(0.0, size), 'y': rng.uniform(0.0, size),
              'flux': brightness * 2.0 * np.pi * radius**2,
              'snr': brightness * 2.0 * np.pi * radius**2 / noise,
              'r50': radius,
              'sersic_n': rng.choice([0.7, 1.0, 2.0, 4.0 if radius < 20.0
                                      else 1.5]),
              'axis_ratio': rng.uniform(0.25, 1.0),
              'theta': rng.uniform(0.0, np.pi), 'star': 0.0}
    parts = [{name: np.atleast_1d(np.float64(value))
              for name, value in galaxy.items()}]
    if rng.random() < 0.7:
        n = int(rng.integers(5, 80))
        distance = radius * rng.rayleigh(0.8, n)
        azimuth = rng.uniform(0.0, 2.0 * np.pi, n)
        major = distance * np.cos(azimuth)
        minor = distance * np.sin(azimuth) * galaxy['axis_ratio']
        cos, sin = np.cos(galaxy['theta']), np.sin(galaxy['theta'])
        knots = _shaped(
            rng, galaxy['x'] + major * cos - minor * sin,
            galaxy['y'] + major * sin + minor * cos,
            10.0**rng.exponential(0.5, n).clip(0.0, 3.5), psf,
            star_share=0.0)
        knots['r50'] *= 0.8
        parts.append(knots)
    return parts


def _measured(image, rng):
    """Measure the background and the seeing as in a frame."""
    noisy = image + _SKY + rng.standard_normal(image.shape)
    measurement, whole = measure_plane(open_frame(noisy).plane(), keep=True)
    factor = 2.0**measurement.scale.exponent
    signal = (whole.values - whole.background) * factor
    background = np.where(whole.valid, noisy - _SKY - signal, 0.0)
    half = BACKGROUND_STEP // 2
    return (background[half::BACKGROUND_STEP,
                       half::BACKGROUND_STEP].astype(np.float32),
            float(measurement.fwhm or 0.0))


def draw_source_scenes(n_scenes, *, seed=0, n_workers=1, progress_bar=False,
                       **options):
    """
    Draw many skies, in parallel.

    Parameters
    ----------
    n_scenes : int
        How many.

    seed : int, optional
        Same seed, same skies, whatever the number of workers.

    n_workers : int, optional
        Processes to draw them in.

    progress_bar : bool, optional
        Show a progress bar.

    **options
        Passed to `draw_source_scene`.

    Returns
    -------
    scenes : list of `SourceScene`
        The skies.
    """
    return draw_in_processes(
        _draw_numbered, [(seed, number, options)
                         for number in range(n_scenes)],
        n_workers=n_workers, progress_bar=progress_bar)


def _draw_numbered(job):
    import warnings

    seed, number, options = job

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return draw_source_scene([seed, number], **options)
