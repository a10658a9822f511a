# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise-free simulated skies to train on.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..simulation.profiles import render_sources
from ..simulation.survey import SurveySimulator

__all__ = ['Scene', 'draw_in_processes', 'draw_scene', 'draw_scenes',
           'draw_survey_scenes', 'matched_filter_noise']


@dataclass
class Scene:
    """
    A noise-free sky.

    Attributes
    ----------
    image : 2D `~numpy.ndarray`
        In units of the blank sky's noise, for the faintest sources at a
        signal-to-noise ratio of about 0.5 over their area.

    psf_fwhm : float
        In pixels.
    """

    image: np.ndarray
    psf_fwhm: float


def matched_filter_noise(fwhm):
    """
    Compute the noise of a matched filter.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum of the point-spread function in pixels.

    Returns
    -------
    unit : float
        The noise in units of that of a pixel: the root of the number of
        pixels that the filter averages over.
    """
    return np.sqrt(4.0 * np.pi) * np.hypot(fwhm / 2.355, 0.4)


def draw_scene(seed, *, size=640, psf_fwhm=(1.4, 8.5)):
    """
    Draw a noise-free sky: Moffat stars, Sérsic galaxies, a few large ones.

    Parameters
    ----------
    seed : int or sequence of int
        Same seed, same sky.

    size : int, optional
        Pixels per side.

    psf_fwhm : tuple of float, optional
        Range of the full width at half maximum, in pixels, drawn
        uniformly in its logarithm.

    Returns
    -------
    scene : `Scene`
        The sky.
    """
    rng = np.random.default_rng(seed)
    fwhm = float(np.exp(rng.uniform(*np.log(psf_fwhm))))
    beta = float(rng.uniform(2.3, 5.0))
    parts = [_compact_sources(rng, size, fwhm)]
    for _ in range(rng.poisson(1.5)):
        parts += _large_galaxy(rng, size, fwhm)
    sources = {name: np.concatenate([part[name] for part in parts])
               for name in parts[0]}
    image = render_sources((size, size), sources, fwhm, beta)
    return Scene(np.maximum(image, 0.0), fwhm)


def _compact_sources(rng, size, fwhm):
    """Draw the catalog of stars and small galaxies."""
    crowding = np.exp(rng.uniform(np.log(1 / 4000), np.log(1 / 350)))
    n_sources = rng.poisson(size**2 * crowding * min(1.0, (5.0 / fwhm)**1.3))
    # Number counts fall by 0.9 dex per dex of flux; a tenth of the sources
    # is spread evenly, so that every brightness is seen often enough.
    log_flux = rng.exponential(1.0 / (0.9 * np.log(10.0)), n_sources)
    even = rng.random(n_sources) < 0.1
    log_flux[even] = rng.uniform(0.0, 4.3, even.sum())
    log_flux = np.minimum(log_flux, 4.5) - 0.3
    is_star = rng.random(n_sources) < rng.uniform(0.1, 0.9)
    r50 = fwhm * np.exp(np.log(0.55) + 0.5 * rng.standard_normal(n_sources))
    return {
        'x': rng.uniform(-10.0, size + 10.0, n_sources),
        'y': rng.uniform(-10.0, size + 10.0, n_sources),
        'flux': 10.0**log_flux * matched_filter_noise(fwhm),
        'r50': np.where(is_star, 0.0, np.clip(r50, 0.3, 15.0)),
        'sersic_n': rng.choice([0.5, 1.0, 1.0, 1.5, 2.5, 4.0], n_sources),
        'axis_ratio': np.clip(rng.beta(4.0, 2.0, n_sources), 0.15, 1.0),
        'theta': rng.uniform(0.0, np.pi, n_sources)}


def _large_galaxy(rng, size, fwhm):
    """
    Draw the catalogs of a large galaxy and, for every second, its knots.

    Its surface brightness is drawn.
    """
    radius = np.exp(rng.uniform(np.log(8.0), np.log(50.0)))
    brightness = np.exp(rng.uniform(np.log(0.3), np.log(100.0)))
    galaxy = {'x': rng.uniform(0.0, size), 'y': rng.uniform(0.0, size),
              'flux': brightness * 2.0 * np.pi * radius**2,
              'r50': radius, 'sersic_n': rng.choice([0.7, 1.0, 2.0, 4.0]),
              'axis_ratio': rng.uniform(0.2, 1.0),
              'theta': rng.uniform(0.0, np.pi)}
    catalogs = [{name: np.atleast_1d(value)
                 for name, value in galaxy.items()}]
    if rng.random() < 0.5:
        catalogs.append(_knots(rng, galaxy, fwhm))
    return catalogs


def _knots(rng, galaxy, fwhm):
    """Draw the catalog of the knots of a galaxy, in its plane."""
    n_knots = rng.integers(5, 60)
    distance = galaxy['r50'] * rng.rayleigh(0.8, n_knots)
    azimuth = rng.uniform(0.0, 2.0 * np.pi, n_knots)
    major = distance * np.cos(azimuth)
    minor = distance * np.sin(azimuth) * galaxy['axis_ratio']
    cos, sin = np.cos(galaxy['theta']), np.sin(galaxy['theta'])
    return {
        'x': galaxy['x'] + major * cos - minor * sin,
        'y': galaxy['y'] + major * sin + minor * cos,
        'flux': galaxy['flux'] * 0.01 * rng.exponential(1.0, n_knots),
        'r50': np.clip(rng.normal(0.4, 0.4, n_knots), 0.0, 2.0) * fwhm,
        'sersic_n': np.ones(n_knots),
        'axis_ratio': rng.uniform(0.4, 1.0, n_knots),
        'theta': rng.uniform(0.0, np.pi, n_knots)}


def _draw_numbered(arguments):
    seed, number, options = arguments
    return draw_scene([seed, number], **options)


def draw_scenes(n_scenes, *, seed=0, n_workers=1, progress_bar=False,
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
        Passed to `draw_scene`.

    Returns
    -------
    scenes : list of `Scene`
        The skies.
    """
    return draw_in_processes(
        _draw_numbered, [(seed, number, options)
                         for number in range(n_scenes)],
        n_workers=n_workers, progress_bar=progress_bar)


def draw_in_processes(draw, jobs, *, n_workers=1, progress_bar=False):
    """
    Draw scenes in parallel.

    Parameters
    ----------
    draw : callable
        A function of a module; called with a job.

    jobs : list
        What to draw.

    n_workers : int, optional
        Processes to draw in.

    progress_bar : bool, optional
        Show a progress bar.

    Returns
    -------
    scenes : list
        In the order of the jobs.
    """
    from tqdm import tqdm

    shown = {'total': len(jobs), 'disable': not progress_bar,
             'desc': 'scenes'}
    if n_workers == 1:
        return list(tqdm(map(draw, jobs), **shown))
    # A process that is forked amid threads may wait for their locks.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        return list(tqdm(pool.map(draw, jobs), **shown))


def draw_survey_scenes(n_scenes, *, seed=0, size=640, density=600.0,
                       psf_fwhm=None):
    """
    Draw noise-free skies as a survey sees them: most sources are compact.

    Every twelfth has bright sources instead, so that all brightnesses are
    seen.

    Parameters
    ----------
    n_scenes : int
        How many.

    seed : int, optional
        Same seed, same skies.

    size : int, optional
        Pixels per side.

    density : float, optional
        Sources per 10^6 pixels; by default several times those of a
        survey, so that fewer skies are needed.

    psf_fwhm : tuple of float, optional
        Range of the full width at half maximum, in pixels; by default
        that of PAU Camera.

    Returns
    -------
    scenes : list of `Scene`
        The skies.
    """
    simulator = SurveySimulator(shape=(size, size), density=density)
    bright = SurveySimulator(shape=(size, size), density=0.2 * density,
                             magnitude_range=(14.0, 19.0))
    noise = np.sqrt(simulator.sky_level[0] + simulator.detector.read_noise**2)
    if psf_fwhm is None:
        psf_fwhm = np.divide(simulator.optics.psf_fwhm,
                             simulator.optics.pixel_scale)
    scenes = []
    for number in range(n_scenes):
        rng = np.random.default_rng([seed, number])
        fwhm = rng.uniform(*psf_fwhm)
        catalog = (simulator if number % 12 else bright).catalog(seed=rng)
        image = simulator.scene(catalog, psf_fwhm=fwhm,
                                psf_beta=rng.uniform(
                                    *simulator.optics.psf_beta))
        image = np.maximum(image / noise, 0.0).astype(np.float32)
        scenes.append(Scene(image, float(fwhm)))
    return scenes
