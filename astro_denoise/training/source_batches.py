# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noisy exposures of simulated skies with the centers of their sources, drawn
anew for every step.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from ..models.denoiser import psf_context
from ..noise.photon_map import photon_noise_map
from ..simulation.artefacts import cosmic_rays, saturate
from .exposure_draws import (
    draw_background_error,
    draw_detector,
    draw_mask,
)
from .source_scenes import BACKGROUND_STEP

__all__ = ['FAINTEST', 'Exposure', 'SourceSampler', 'center_maps', 'expose']

#: Sources fainter than this, in units of the noise of a matched filter, are
#: not looked for.
FAINTEST = 2.0

_LEAST_VARIANCE = 0.03  # electrons squared

# Offsets lead to a center from pixels so far away.
_NEAR = 1.6


@dataclass
class Exposure:
    """
    An exposure of a patch, in electrons.

    Attributes
    ----------
    electrons : 2D `~numpy.ndarray`
        The patch.

    variance : 2D `~numpy.ndarray`
        Of its noise.

    artefact : 2D bool `~numpy.ndarray`
        Pixels with charge of no source.

    valid : 2D bool `~numpy.ndarray`
        Pixels that no mask names.

    sky, level, read_noise : float
        Of the blank sky: electrons and noise; and the read noise.

    correlation : float
        Of the noise of neighbors.
    """

    electrons: np.ndarray
    variance: np.ndarray
    artefact: np.ndarray
    valid: np.ndarray
    sky: float
    level: float
    read_noise: float
    correlation: float = 0.0

    @property
    def broadened(self):
        """Factor by which filters take the noise for too small."""
        return np.float32(1.0 + 2.0 * self.correlation)


def center_maps(sources, shape):
    """
    Map the centers of sources.

    Parameters
    ----------
    sources : 2D `~numpy.ndarray`
        Rows of x, y, signal-to-noise ratio, and 1 for stars.

    shape : tuple of int
        ``(ny, nx)``.

    Returns
    -------
    maps : 3D `~numpy.ndarray`
        Planes: 1 where a source has its center, else 0; near a center,
        the signal-to-noise ratio of the source, the offsets to it in x
        and y, and 1 for stars; elsewhere 0.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_denoise.training.source_batches import center_maps
    >>> maps = center_maps(np.array([[2.25, 1.0, 9.0, 1.0]]), (4, 6))
    >>> print(maps[:, 1, 2])
    [1.   9.   0.25 0.   1.  ]
    """
    maps = np.zeros((5, *shape), np.float32)
    column, row = np.rint(sources[:, :2]).astype(int).T
    inside = ((column > -2) & (column < shape[1] + 1)
              & (row > -2) & (row < shape[0] + 1))
    sources, column, row = sources[inside], column[inside], row[inside]
    # The brightest and nearest last: they have the pixels that they share.
    order = np.argsort(sources[:, 2])
    steps = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    steps = steps[np.argsort(-(steps**2).sum(1), kind='stable')]
    for dy, dx in steps:
        y, x = row[order] + dy, column[order] + dx
        offset_x, offset_y = sources[order, 0] - x, sources[order, 1] - y
        seen = ((x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
                & (np.hypot(offset_x, offset_y) <= _NEAR))
        place = y[seen], x[seen]
        for number, values in ((1, sources[order, 2]), (2, offset_x),
                               (3, offset_y), (4, sources[order, 3])):
            maps[(number, *place)] = values[seen]
        if dy == dx == 0:
            maps[(0, *place)] = 1.0
    return maps


class SourceSampler:
    """
    Draw batches of exposures with the centers of their sources.

    Parameters
    ----------
    scenes : list of `~astro_denoise.training.source_scenes.SourceScene`
        The skies.

    batch_size : int, optional
        Patches in a batch.

    patch : int, optional
        Pixels per side of a patch.

    as_drawn : bool, optional
        Leave the brightness of the skies as it is.
    """

    def __init__(self, scenes, *, batch_size=8, patch=128, as_drawn=False):
        self.scenes = scenes
        self.batch_size = batch_size
        self.patch = patch
        self.as_drawn = as_drawn

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
            Float32: ``image``, the standardized frame, ``valid``, and
            ``artefact``, 1 where a pixel holds charge of no source, of
            shape (n, 1, patch, patch); ``maps`` of `center_maps`, (n, 5,
            patch, patch); ``context``, (n, 2).
        """
        rng = np.random.default_rng(seed)
        drawn = [self._patch(rng) for _ in range(self.batch_size)]
        return {name: np.stack([each[name] for each in drawn])
                .astype(np.float32) for name in drawn[0]}

    def _patch(self, rng):
        scene = self.scenes[rng.integers(len(self.scenes))]
        image, background, sources = self._cut(scene, rng)
        scale = (1.0 if self.as_drawn else 10.0**rng.uniform(-0.4, 0.5))
        exposure = expose(image * np.float32(scale), rng)
        sigma = exposure.broadened * _noise_map(exposure, rng)
        error = 0.0 if self.as_drawn else draw_background_error(
            rng, self.patch, scatter=0.03, often=0.15, jump=0.5)
        level = np.float32(exposure.level)
        value = (exposure.electrons - np.float32(exposure.sky)
                 - level * (scale * background + error)) / sigma
        sources = sources.copy()
        place = np.clip(np.rint(sources[:, 1::-1].T).astype(int), 0,
                        self.patch - 1)
        sources[:, 2] *= scale * level / exposure.broadened / np.sqrt(
            exposure.variance[tuple(place)])
        sources = sources[sources[:, 2] >= FAINTEST]
        valid = exposure.valid
        return {'image': np.where(valid, value, 0.0)[None],
                'valid': valid[None],
                'artefact': (exposure.artefact & valid)[None],
                'maps': center_maps(sources, valid.shape),
                'context': _context(scene, rng)}

    def _cut(self, scene, rng):
        """Cut a patch, turned and perhaps mirrored."""
        size, whole = self.patch, scene.image.shape
        top, left = (rng.integers(0, length - size + 1) for length in whole)
        background = _enlarged(scene.background, whole)
        sources = scene.sources.copy()
        sources[:, 0] -= left
        sources[:, 1] -= top
        planes = [plane[top:top + size, left:left + size]
                  for plane in (scene.image, background)]
        for _ in range(rng.integers(4)):
            planes = [np.rot90(plane) for plane in planes]
            sources[:, 0], sources[:, 1] = (sources[:, 1].copy(),
                                            size - 1 - sources[:, 0])
        if rng.random() < 0.5:
            planes = [plane[::-1] for plane in planes]
            sources[:, 1] = size - 1 - sources[:, 1]
        return *planes, sources


def _enlarged(mesh, shape):
    """Interpolate what is kept of a background."""
    line = [np.clip((np.arange(length) - BACKGROUND_STEP // 2)
                    / BACKGROUND_STEP, 0, side - 1)
            for length, side in zip(shape, mesh.shape, strict=True)]
    low = [np.minimum(each.astype(int), side - 2)
           for each, side in zip(line, mesh.shape, strict=True)]
    part_y, part_x = (np.float32(each - start)
                      for each, start in zip(line, low, strict=True))
    rows = (mesh[low[0]] * (1 - part_y[:, None])
            + mesh[low[0] + 1] * part_y[:, None])
    return (rows[:, low[1]] * (1 - part_x)
            + rows[:, low[1] + 1] * part_x)


def expose(image, rng):
    """Expose a patch, with its defects."""
    sky, read_noise = draw_detector(rng)
    level = np.sqrt(sky + read_noise**2)
    expected = np.maximum(image, 0.0) * np.float32(level) + np.float32(sky)
    electrons = rng.poisson(expected).astype(np.float32)
    electrons += np.float32(read_noise) * rng.standard_normal(
        image.shape, dtype=np.float32)
    correlation = 0.0
    if rng.random() < 0.15:
        electrons, correlation = _resampled(electrons, expected, rng)
    charge = _false_charge(image.shape, level, rng)
    electrons += charge
    artefact = charge > 1.5 * level
    if rng.random() < 0.15:
        well = sky + level * np.exp(rng.uniform(np.log(30.0), np.log(3000.0)))
        held, _ = saturate(electrons, well, bleed=rng.random() < 0.5)
        artefact |= held - np.minimum(electrons, well) > 2.0 * level
        electrons = np.asarray(held, np.float32)
    masked = np.zeros(image.shape, bool)
    if rng.random() < 0.3:
        masked |= artefact
    if rng.random() < 0.1:
        column = rng.integers(image.shape[1])
        dead = np.s_[rng.integers(image.shape[0]):,
                     column:column + rng.integers(1, 4)]
        electrons[dead] = 0.0
        artefact[dead] = True
        masked[dead] = rng.random() < 0.6
    masked |= draw_mask(rng, image.shape, pixels=(0.1, -1.5), blob=0.06,
                        edge=0.15)
    return Exposure(electrons, expected + np.float32(read_noise**2),
                    artefact, ~masked, sky, level, read_noise, correlation)


def _resampled(electrons, expected, rng):
    """Let neighbors share their noise; return its correlation, too."""
    width = rng.uniform(0.35, 1.1)
    spike = np.zeros(17)
    spike[8] = 1.0
    kernel = gaussian_filter(spike, width)
    noise = gaussian_filter(electrons - expected, width, mode='wrap')
    power = (kernel**2).sum()
    return (expected + noise / np.float32(power),
            float((kernel[1:] * kernel[:-1]).sum() / power))


def _false_charge(shape, level, rng):
    """Draw cosmic rays and hot pixels."""
    charge = np.zeros(shape, np.float32)
    area = max(shape[0] * shape[1] // 128**2, 1)
    if rng.random() < 0.55:
        charge = cosmic_rays(shape, area * rng.integers(1, 10), rng=rng,
                             charge=(3.0 * level, 3000.0 * level))
    if rng.random() < 0.35:
        n = area * rng.integers(1, 12)
        row, column = rng.integers(0, shape, (n, 2)).T
        height = np.float32(level) * np.exp(
            rng.uniform(np.log(3.0), np.log(3000.0), n))
        charge[row, column] += height
        # Some share their charge with a neighbor or two.
        for _ in range(2):
            near = (np.clip(row + rng.integers(-1, 2, n), 0, shape[0] - 1),
                    np.clip(column + rng.integers(-1, 2, n), 0,
                            shape[1] - 1))
            charge[near] += np.where(rng.random(n) < 0.3,
                                     rng.random(n) * height, 0.0)
    return charge


def _noise_map(exposure, rng):
    """Give the true noise, that made from the frame, or that of the sky."""
    kind = rng.random()
    if kind < 0.35:
        sigma = np.sqrt(np.maximum(exposure.variance, _LEAST_VARIANCE))
    elif kind < 0.65:
        sigma = photon_noise_map(exposure.electrons, exposure.valid, 1.0,
                                 exposure.read_noise)
    else:
        sigma = np.full(exposure.valid.shape, exposure.level, np.float32)
    return sigma * np.float32(np.exp(0.03 * rng.standard_normal()))


def _context(scene, rng):
    """Tell the seeing as a frame does, or not quite right, or nothing."""
    kind = rng.random()
    if kind < 0.5 and scene.fwhm > 0:
        return psf_context(scene.fwhm)
    if kind < 0.92:
        error = 0.05 if kind < 0.8 else 0.3
        return psf_context(scene.psf.fwhm
                           * np.exp(error * rng.standard_normal()))
    return psf_context()
