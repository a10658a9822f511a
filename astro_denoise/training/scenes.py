# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulated skies to train on: noise-free scenes drawn once, exposures of
patches of them drawn anew for every step.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..models.denoiser import psf_context
from ..noise.photon_map import photon_noise_map
from ..simulation.artefacts import cosmic_rays, saturate
from ..simulation.profiles import render_sources
from ..simulation.survey import SurveySimulator

__all__ = ['ExposureSampler', 'Scene', 'draw_scene', 'draw_scenes',
           'draw_survey_scenes']

# Error of the background that is made from a frame's boxes of 64 pixels, in
# sigmas of a pixel: more than their noise makes, since no sky is flat.
_BACKGROUND_ERROR = 0.02


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

    stars : 2D `~numpy.ndarray`
        Rows of x, y, and the flux in units of the noise of a matched
        filter.
    """

    image: np.ndarray
    psf_fwhm: float
    stars: np.ndarray


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
    # Pixels that a matched filter averages over: flux per unit of S/N.
    flux_unit = np.sqrt(4.0 * np.pi) * np.hypot(fwhm / 2.355, 0.4)

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
    sources = {
        'x': rng.uniform(-10.0, size + 10.0, n_sources),
        'y': rng.uniform(-10.0, size + 10.0, n_sources),
        'flux': 10.0**log_flux * flux_unit,
        'r50': np.where(is_star, 0.0, np.clip(r50, 0.3, 15.0)),
        'sersic_n': rng.choice([0.5, 1.0, 1.0, 1.5, 2.5, 4.0], n_sources),
        'axis_ratio': np.clip(rng.beta(4.0, 2.0, n_sources), 0.15, 1.0),
        'theta': rng.uniform(0.0, np.pi, n_sources)}

    # Large galaxies, some with knots: their surface brightness is drawn.
    knots = []
    for _ in range(rng.poisson(1.5)):
        radius = np.exp(rng.uniform(np.log(8.0), np.log(50.0)))
        brightness = np.exp(rng.uniform(np.log(0.3), np.log(100.0)))
        large = {'x': rng.uniform(0.0, size), 'y': rng.uniform(0.0, size),
                 'flux': brightness * 2.0 * np.pi * radius**2,
                 'r50': radius, 'sersic_n': rng.choice([0.7, 1.0, 2.0, 4.0]),
                 'axis_ratio': rng.uniform(0.2, 1.0),
                 'theta': rng.uniform(0.0, np.pi)}
        knots.append({name: np.atleast_1d(value)
                      for name, value in large.items()})
        if rng.random() < 0.5:
            n_knots = rng.integers(5, 60)
            distance = radius * rng.rayleigh(0.8, n_knots)
            azimuth = rng.uniform(0.0, 2.0 * np.pi, n_knots)
            major = distance * np.cos(azimuth)
            minor = distance * np.sin(azimuth) * large['axis_ratio']
            cos, sin = np.cos(large['theta']), np.sin(large['theta'])
            knots.append({
                'x': large['x'] + major * cos - minor * sin,
                'y': large['y'] + major * sin + minor * cos,
                'flux': large['flux'] * 0.01 * rng.exponential(1.0, n_knots),
                'r50': np.clip(rng.normal(0.4, 0.4, n_knots), 0.0, 2.0)
                * fwhm,
                'sersic_n': np.ones(n_knots),
                'axis_ratio': rng.uniform(0.4, 1.0, n_knots),
                'theta': rng.uniform(0.0, np.pi, n_knots)})
    for extra in knots:
        sources = {name: np.concatenate([column, extra[name]])
                   for name, column in sources.items()}
    image = render_sources((size, size), sources, fwhm, beta)
    is_star = sources['r50'] == 0.0
    stars = np.stack([sources['x'][is_star], sources['y'][is_star],
                      sources['flux'][is_star] / flux_unit], 1)
    return Scene(np.maximum(image, 0.0), fwhm, stars)


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
    from tqdm import tqdm

    jobs = [(seed, number, options) for number in range(n_scenes)]
    if n_workers == 1:
        return [_draw_numbered(job) for job in tqdm(
            jobs, disable=not progress_bar, desc='scenes')]
    with ProcessPoolExecutor(n_workers) as pool:
        return list(tqdm(pool.map(_draw_numbered, jobs), total=n_scenes,
                         disable=not progress_bar, desc='scenes'))


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
        The skies, without ``stars``.
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
        scenes.append(Scene(image, float(fwhm), np.zeros((0, 3))))
    return scenes


class ExposureSampler:
    """
    Draw batches of noisy exposures of patches of noise-free skies.

    Each batch holds ``n_clean`` patches, each exposed ``n_copies``
    times: same sky, same artefacts, independent noise.

    Parameters
    ----------
    scenes : list of `Scene`
        The skies.

    patch : int, optional
        Pixels per side of a patch.

    n_clean, n_copies : int, optional
        Number of patches, and of exposures of each.

    empty_share : float, optional
        Share of the patches without any source.

    star_maps : bool, optional
        Draw maps of the stars too.

    as_drawn : bool, optional
        Leave the brightness of skies as it is, and know the level of the
        background as well as a frame gives it: to measure on, not to
        train.
    """

    def __init__(self, scenes, *, patch=128, n_clean=4, n_copies=4,
                 empty_share=0.3, star_maps=False, as_drawn=False):
        self.star_maps = star_maps
        self.as_drawn = as_drawn
        self.scenes = scenes
        self.patch = patch
        self.n_clean = n_clean
        self.n_copies = n_copies
        self.empty_share = empty_share

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : int or sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            Float32: ``x``, ``log_sigma``, ``valid``, ``truth`` (the
            standardised frame without noise) and ``unit`` (the assumed
            over the true noise) of shape (n_clean * n_copies, 1, patch,
            patch), copies of one patch next to each other, and
            ``context`` of shape (n_clean * n_copies, 2). With
            ``star_maps`` also ``stars``, (n_clean * n_copies, 4, patch,
            patch): within a pixel of a star its flux, in units of the
            blank sky's noise, and in those of a matched filter, and the
            x and y offset to it; elsewhere 0.
        """
        rng = np.random.default_rng(seed)
        planes = [self._exposures(rng) for _ in range(self.n_clean)]
        return {name: np.concatenate([plane[name] for plane in planes])
                for name in planes[0]}

    def _exposures(self, rng):
        size = self.patch
        scene = self.scenes[rng.integers(len(self.scenes))]
        top, left = rng.integers(0, np.array(scene.image.shape) - size + 1)
        image = scene.image[top:top + size, left:left + size]
        turns = rng.integers(4)
        image = np.rot90(image, turns)
        flipped = rng.random() < 0.5
        if flipped:
            image = image[::-1]
        empty = rng.random() < self.empty_share

        sky = np.exp(rng.uniform(0.0, np.log(1e4)))
        read_noise = np.exp(rng.uniform(0.0, np.log(15.0)))
        level = np.sqrt(sky + read_noise**2)
        scale = 0.0 if empty else (
            1.0 if self.as_drawn else 10.0**rng.uniform(-0.4, 0.5))
        signal = image * np.float32(scale * level)

        # Cosmic rays and dead columns that no mask names are signal.
        rays = np.zeros((size, size), np.float32)
        if rng.random() < 0.15:
            rays = cosmic_rays((size, size), rng.integers(1, 4), rng=rng,
                               charge=(40.0 * level, 3000.0 * level))
        dead = np.zeros((size, size), bool)
        if rng.random() < 0.08:
            column = rng.integers(size)
            start = 0 if rng.random() < 0.5 else rng.integers(size)
            dead[start:, column:column + rng.integers(1, 3)] = True
        full_well = np.inf
        if rng.random() < 0.1:
            full_well = sky + level * np.exp(
                rng.uniform(np.log(30.0), np.log(1000.0)))
        masked = self._mask(rng, rays, dead)

        n = self.n_copies
        expected = np.broadcast_to(signal + np.float32(sky), (n, size, size))
        electrons = rng.poisson(expected).astype(np.float32) + rays
        true = expected + rays
        variance = true - rays + np.float32(read_noise**2)
        if np.isfinite(full_well):
            true = np.minimum(true, full_well)
            for index in range(n):
                held, full = saturate(electrons[index], full_well)
                # Charge that bled into a pixel is there to be seen.
                true[index] += held - np.minimum(electrons[index], full_well)
                true[index][full] = full_well
                electrons[index] = held
        electrons[:, dead] = 0.0
        true = np.where(dead, np.float32(0.0), true)
        electrons += np.float32(read_noise) * rng.standard_normal(
            electrons.shape, dtype=np.float32)
        valid = ~masked

        # The noise map: the true one or made from the frame, a little off.
        if rng.random() < 0.4:
            sigma = np.sqrt(np.maximum(variance, 0.03))
        else:
            sigma = np.stack([photon_noise_map(frame, valid, 1.0, read_noise)
                              for frame in electrons])
        sigma = sigma * np.float32(np.exp(0.03 * rng.standard_normal()))
        background = np.float32(sky + level * self._background_error(rng))

        context = np.zeros((n, 2), np.float32)
        if rng.random() < 0.75:
            fwhm = scene.psf_fwhm * np.exp(0.08 * rng.standard_normal())
            context[:] = psf_context(fwhm)
        planes = {'x': (electrons - background) / sigma,
                  'log_sigma': np.log(sigma / np.float32(level)),
                  'truth': (true - background) / sigma,
                  'valid': np.broadcast_to(valid, sigma.shape),
                  'unit': sigma / np.sqrt(np.maximum(variance, 0.03))}
        for name in ('x', 'log_sigma', 'truth'):
            planes[name] = np.where(valid, planes[name], 0.0)
        batch = {name: plane[:, None].astype(np.float32)
                 for name, plane in planes.items()}
        batch['context'] = context
        if self.star_maps:
            maps = self._star_maps(scene, top, left, turns, flipped, scale)
            batch['stars'] = np.repeat(maps[None], n, axis=0)
        return batch

    def _star_maps(self, scene, top, left, turns, flipped, scale):
        """What `batch` says of ``stars``, for one patch."""
        size = self.patch
        x, y = scene.stars[:, 0] - left, scene.stars[:, 1] - top
        for _ in range(turns):  # as numpy.rot90 moves the pixels
            x, y = y, size - 1 - x
        if flipped:
            y = size - 1 - y
        significance = scene.stars[:, 2] * scale
        unit = np.sqrt(4.0 * np.pi) * np.hypot(scene.psf_fwhm / 2.355, 0.4)
        maps = np.zeros((4, size, size), np.float32)
        near = ((x > -2) & (x < size + 1) & (y > -2) & (y < size + 1)
                & (significance > 0))
        # The brightest last: it has the pixels that it shares.
        for index in np.flatnonzero(near)[np.argsort(significance[near])]:
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    column = int(np.rint(x[index])) + dx
                    row = int(np.rint(y[index])) + dy
                    offset = x[index] - column, y[index] - row
                    if (0 <= column < size and 0 <= row < size
                            and np.hypot(*offset) <= 1.0):
                        maps[:, row, column] = (
                            significance[index] * unit, significance[index],
                            *offset)
        return maps

    def _mask(self, rng, rays, dead):
        """Masked pixels: single ones, blobs, and the flagged artefacts."""
        masked = np.zeros(rays.shape, bool)
        if rng.random() < 0.5:
            masked |= (rays > 0) | dead
        if rng.random() < 0.15:
            masked |= rng.random(rays.shape) < 10.0**rng.uniform(-4, -1.2)
        if rng.random() < 0.08:
            y, x = np.ogrid[:rays.shape[0], :rays.shape[1]]
            radius = rng.uniform(3.0, 25.0)
            centre_y, centre_x = rng.uniform(0, rays.shape)
            masked |= np.hypot(y - centre_y, x - centre_x) < radius
        if rng.random() < 0.1:
            edge = rng.integers(1, rays.shape[0] // 2)
            masked |= np.rot90(np.arange(rays.shape[1])[None, :]
                               * np.ones((rays.shape[0], 1)) < edge,
                               rng.integers(4))
        return masked

    def _background_error(self, rng):
        """Error of the background in sigmas: small, sometimes a gradient."""
        if self.as_drawn:
            return _BACKGROUND_ERROR * rng.standard_normal()
        error = 0.1 * rng.standard_normal()
        if rng.random() < 0.2:
            y, x = np.mgrid[-1:1:self.patch * 1j, -1:1:self.patch * 1j]
            error = error + rng.standard_normal() + 0.5 * (
                rng.standard_normal() * y + rng.standard_normal() * x)
        return error
