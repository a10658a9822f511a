# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noisy exposures of simulated skies, drawn anew for every step.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d

from ..models.denoiser import psf_context
from ..noise.photon_map import photon_noise_map
from ..simulation.artefacts import cosmic_rays, saturate
from .exposure_draws import (
    draw_background_error,
    draw_detector,
    draw_mask,
)
from .scenes import Scene

__all__ = ['Conditions', 'ExposureSampler']

# Error of the background that is made from a frame's boxes of 64 pixels, in
# sigmas of a pixel: more than their noise makes, since no sky is flat.
_BACKGROUND_ERROR = 0.02

# The same in frames: a background from boxes of 64 pixels is off by 0.010
# where there is nothing but noise, and by 0.011-0.014 in simulated frames of a
# survey, with the light of sources that are too faint to be masked.
_ERROR_IN_FRAMES = 0.0125

# Correlation of noise from which on pixels share it, and the largest.
_LEAST_SHARED, _MOST_SHARED = 0.05, 0.95

_LEAST_VARIANCE = 0.03  # electrons squared
_MANY_PHOTONS = 1e5


@dataclass(frozen=True)
class Conditions:
    """
    Conditions under which frames were exposed, to expose skies alike.

    Such exposures have no defects: in frames these are masked, or signal.

    Parameters
    ----------
    sky, read_noise : float
        In electrons.

    background_error : float, optional
        Of the background that is subtracted, in sigmas of a pixel, where
        these do not share their noise.

    correlation : tuple of float, optional
        Correlation of the noise of neighbors along y and x, as that of a
        frame that was resampled.
    """

    sky: float
    read_noise: float
    background_error: float = _ERROR_IN_FRAMES
    correlation: tuple = (0.0, 0.0)

    @classmethod
    def of_frame(cls, noise, correlation=(0.0, 0.0)):
        """
        Find those of a frame.

        Parameters
        ----------
        noise : dict
            ``gain``, ``read_noise`` and ``level``, as from
            `~astro_denoise.noise.Measurement.describe`.

        correlation : tuple of float, optional
            As above.

        Returns
        -------
        conditions : `Conditions`
            Without a gain, photons in such numbers that their noise is
            Gaussian.
        """
        if not noise['gain']:
            return cls(_MANY_PHOTONS, 0.0, correlation=correlation)
        variance = (noise['level'] * noise['gain'])**2
        read_noise = min(noise['read_noise'] or 0.0, 0.99 * variance**0.5)
        return cls(variance - read_noise**2, read_noise,
                   correlation=correlation)

    def shared(self, noise):
        """
        Let pixels share their noise, as linear interpolation makes them.

        Parameters
        ----------
        noise : 3D `~numpy.ndarray`
            Independent from pixel to pixel.

        Returns
        -------
        noise : 3D `~numpy.ndarray`
            Of the same variance.
        """
        for axis, taps in zip((1, 2), self._taps(), strict=True):
            if len(taps) > 1:
                noise = convolve1d(noise, taps, axis, mode='wrap')
        return noise

    def error_of_background(self):
        """
        Give the error of the background; it has the noise of many pixels.

        Returns
        -------
        error : float
            In sigmas of a pixel.
        """
        return self.background_error * math.prod(map(sum, self._taps()))

    def _taps(self):
        """Kernels along y and x that leave the variance as it is."""
        return [_box(shared) for shared in self.correlation]


def _box(shared):
    """
    Make a box whose noise has a correlation at lag 1; the last pixel counts
    in part. One of up to two pixels is linear interpolation.
    """
    if shared < _LEAST_SHARED:
        return np.ones(1, np.float32)
    shared = min(shared, _MOST_SHARED)
    whole = int(1.0 / (1.0 - shared) + 1e-6)
    rest = (1.0 - math.sqrt(max(1.0 - 4.0 * shared * (
        1.0 - whole * (1.0 - shared)), 0.0))) / (2.0 * shared)
    taps = np.append(np.ones(whole, np.float32), np.float32(rest))
    return taps / np.linalg.norm(taps)


@dataclass
class _Cut:
    """
    A patch of a scene, rotated by quarter turns and perhaps mirrored.
    """

    scene: Scene
    top: int
    left: int
    size: int
    n_turns: int
    mirrored: bool

    @classmethod
    def draw(cls, scenes, size, rng):
        """Draw a patch of one of several scenes."""
        scene = scenes[rng.integers(len(scenes))]
        top, left = rng.integers(0, np.array(scene.image.shape) - size + 1)
        return cls(scene, top, left, size, rng.integers(4),
                   rng.random() < 0.5)

    def image(self):
        """Give the pixels."""
        image = np.rot90(self.scene.image[self.top:self.top + self.size,
                                          self.left:self.left + self.size],
                         self.n_turns)
        return image[::-1] if self.mirrored else image


@dataclass
class _Brightness:
    """
    Sky and read noise of an exposure in electrons, and what scales sources.
    """

    sky: float
    read_noise: float
    scale: float

    @property
    def level(self):
        """Noise of the blank sky in electrons."""
        return np.sqrt(self.sky + self.read_noise**2)

    @classmethod
    def draw(cls, rng, *, empty, as_drawn):
        """Draw a sky; scale sources unless there are to be none."""
        sky, read_noise = draw_detector(rng)
        if empty:
            scale = 0.0
        elif as_drawn:
            scale = 1.0
        else:
            scale = 10.0**rng.uniform(-0.4, 0.5)
        return cls(sky, read_noise, scale)


@dataclass
class _Defects:
    """
    Defects of an exposure; those that no mask names are signal.

    Attributes
    ----------
    rays : 2D `~numpy.ndarray`
        Charge of cosmic rays in electrons.

    dead : 2D `~numpy.ndarray` of bool
        Dead columns.

    full_well : float
        Electrons that a pixel holds; more of them bleed.

    masked : 2D `~numpy.ndarray` of bool
        Masked pixels.
    """

    rays: np.ndarray
    dead: np.ndarray
    full_well: float
    masked: np.ndarray

    @classmethod
    def none(cls, size):
        """Leave a patch without defects."""
        nowhere = np.zeros((size, size), bool)
        return cls(nowhere.astype(np.float32), nowhere, np.inf, nowhere)

    @classmethod
    def draw(cls, rng, size, brightness):
        """Draw the defects of a patch; most patches have none."""
        level = brightness.level
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
            full_well = brightness.sky + level * np.exp(
                rng.uniform(np.log(30.0), np.log(1000.0)))
        return cls(rays, dead, full_well, _draw_mask(rng, rays, dead))


def _draw_mask(rng, rays, dead):
    """Mask single pixels, blobs, and the flagged artifacts."""
    flagged = np.zeros(rays.shape, bool)
    if rng.random() < 0.5:
        flagged |= (rays > 0) | dead
    return flagged | draw_mask(rng, rays.shape, pixels=(0.15, -1.2),
                               blob=0.08, edge=0.1)


class ExposureSampler:
    """
    Draw batches of noisy exposures of patches of noise-free skies.

    Each batch holds ``n_clean`` patches, each exposed ``n_copies``
    times: same sky, same artifacts, independent noise.

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

    as_drawn : bool, optional
        Leave the brightness of skies as it is, and know the level of the
        background as well as a frame gives it: to measure on, not to
        train.

    like : sequence of `Conditions`, optional
        Expose under one of these, and not under any.
    """

    def __init__(self, scenes, *, patch=128, n_clean=4, n_copies=4,
                 empty_share=0.3, as_drawn=False, like=()):
        self.as_drawn = as_drawn
        self.like = like
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
            standardized frame without noise) and ``unit`` (the assumed
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
        """Draw exposures of one patch."""
        cut = _Cut.draw(self.scenes, self.patch, rng)
        brightness = _Brightness.draw(
            rng, empty=rng.random() < self.empty_share,
            as_drawn=self.as_drawn)
        error = _BACKGROUND_ERROR
        if self.like:
            found = self.like[rng.integers(len(self.like))]
            brightness.sky, brightness.read_noise = (
                found.sky, found.read_noise)
            error = found.error_of_background()
            defects = _Defects.none(self.patch)
        else:
            defects = _Defects.draw(rng, self.patch, brightness)
        electrons, true, variance = self._expose(rng, cut, brightness,
                                                 defects)
        if self.like:
            electrons = true + found.shared(electrons - true)
        valid = ~defects.masked
        level = brightness.level
        sigma = self._noise_map(rng, electrons, variance, valid,
                                brightness.read_noise)
        background = np.float32(
            brightness.sky + level * self._background_error(rng, error))
        planes = {'x': (electrons - background) / sigma,
                  'log_sigma': np.log(sigma / np.float32(level)),
                  'truth': (true - background) / sigma,
                  'valid': np.broadcast_to(valid, sigma.shape),
                  'unit': sigma / np.sqrt(np.maximum(variance,
                                                     _LEAST_VARIANCE))}
        for name in ('x', 'log_sigma', 'truth'):
            planes[name] = np.where(valid, planes[name], 0.0)
        batch = {name: plane[:, None].astype(np.float32)
                 for name, plane in planes.items()}
        batch['context'] = self._context(rng, cut.scene)
        return batch

    def _expose(self, rng, cut, brightness, defects):
        """
        Expose a patch: electrons, those without noise, and the variance.
        """
        signal = cut.image() * np.float32(brightness.scale
                                          * brightness.level)
        expected = np.broadcast_to(signal + np.float32(brightness.sky),
                                   (self.n_copies, *signal.shape))
        rays, full_well = defects.rays, defects.full_well
        electrons = rng.poisson(expected).astype(np.float32) + rays
        true = expected + rays
        variance = true - rays + np.float32(brightness.read_noise**2)
        if np.isfinite(full_well):
            true = np.minimum(true, full_well)
            for index in range(self.n_copies):
                held, full = saturate(electrons[index], full_well)
                # Charge that bled into a pixel is there to be seen.
                true[index] += held - np.minimum(electrons[index], full_well)
                true[index][full] = full_well
                electrons[index] = held
        electrons[:, defects.dead] = 0.0
        true = np.where(defects.dead, np.float32(0.0), true)
        electrons += np.float32(brightness.read_noise) * rng.standard_normal(
            electrons.shape, dtype=np.float32)
        return electrons, true, variance

    def _noise_map(self, rng, electrons, variance, valid, read_noise):
        """Give the true noise, or that made from the frame, a little off."""
        if not self.like and rng.random() < 0.4:
            sigma = np.sqrt(np.maximum(variance, _LEAST_VARIANCE))
        else:
            sigma = np.stack([photon_noise_map(plane, valid, 1.0, read_noise)
                              for plane in electrons])
        return sigma * np.float32(np.exp(0.03 * rng.standard_normal()))

    def _context(self, rng, scene):
        """Tell the seeing, not quite right, or nothing."""
        context = np.zeros((self.n_copies, 2), np.float32)
        if rng.random() < 0.75:
            fwhm = scene.psf_fwhm * np.exp(0.08 * rng.standard_normal())
            context[:] = psf_context(fwhm)
        return context

    def _background_error(self, rng, known):
        """Draw an error in sigmas: small, sometimes a gradient."""
        if self.as_drawn:
            return known * rng.standard_normal()
        return draw_background_error(rng, self.patch, scatter=0.1, often=0.2,
                                      jump=1.0)
