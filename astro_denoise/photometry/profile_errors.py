# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors of the profiles of sources, from what a fit of them leaves.
"""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ['light_variance']

# Sources that say how wrong profiles are.
_LEAST_SNR, _LEAST_SOURCES = 5.0, 3

# The most of the squared errors: in units of the pixel and of the size.
_MOST_SQUARED = 4.0


@dataclass
class _Distortions:
    """
    Residuals of sources, as distortions of their profiles.

    A profile that is moved, too wide, or stretched leaves the derivative
    of the profile by the position, by the size, or by the ellipticity,
    less what the fit of the flux takes of it.

    Attributes
    ----------
    amplitude, noise : 2D `~numpy.ndarray`
        Of each distortion and source, in units of the flux, and the
        standard deviation that noise alone gives it; infinite where
        nothing is known.
    """

    amplitude: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(cls, passes):
        """Look for distortions in the residual of a fit."""
        scene, stamps = passes.scene, passes.stamps
        residual = passes.fit.residual(scene, stamps)
        weight = scene.valid / (scene.variance + stamps.image(
            scene.photon_variance(passes.fit.flux)))
        found, power = np.zeros((2, 5, len(passes.sources)))
        bright = passes.snr() > _LEAST_SNR
        for group in stamps.select(bright).sets:
            for part in group.blocks():
                rows = group.rows[part]
                weights = group.cut(weight, part)
                left = group.cut(residual, part) * weights
                for number, shape in enumerate(_shapes(passes, group, part)):
                    found[number, rows] = np.einsum('ijk,ijk->i', shape, left)
                    power[number, rows] = np.einsum(
                        'ijk,ijk,ijk->i', shape, shape, weights)
        flux = np.where(bright, passes.fit.flux, 1.0)
        known = power > 0
        power = np.where(known, power, 1.0)
        return cls(np.where(known, found / power, 0.0) / flux,
                   np.where(known, 1.0 / np.sqrt(power), np.inf) / flux)

    def squared(self, kind):
        """
        Compute the squared errors to expect of each source of a kind.

        They are those of all sources of this kind, and of what the source
        itself shows as much as its noise allows.
        """
        amplitude, noise = self.amplitude[:, kind], self.noise[:, kind]**2
        known = np.isfinite(noise)
        squared = np.zeros_like(amplitude)
        for each, value, variance, use in zip(squared, amplitude**2, noise,
                                              known, strict=True):
            if np.count_nonzero(use) < _LEAST_SOURCES:
                continue
            value = np.minimum(value, _MOST_SQUARED)
            spread = 0.0
            for _ in range(20):  # the weights follow from the result
                weights = 1.0 / (variance[use] + spread + 1e-6)**2
                spread = max(np.average(value[use] - variance[use],
                                        weights=weights), 0.0)
            share = np.where(use, spread / (
                spread + np.where(use, variance, 1.0) + 1e-30), 0.0)
            each[:] = share**2 * value + (1.0 - share) * spread
        return squared


def _shapes(passes, group, part):
    """Draw the distortions of some sources: two shifts, size, stretches."""
    profile, rows = group.stamps[part], group.rows[part]
    height, width = profile.shape[1:]
    slope_y, slope_x = np.gradient(profile, axis=(1, 2))
    y, x = ((low[part, np.newaxis] + np.arange(side)
             - np.asarray(passes.sources[name])[rows, np.newaxis]
             - shift).astype(np.float32)
            for low, side, name, shift in (
                (group.y_low, height, 'y', passes.shift[1]),
                (group.x_low, width, 'x', passes.shift[0])))
    y, x = y[:, :, np.newaxis], x[:, np.newaxis]
    norm = np.einsum('ijk,ijk->i', profile, profile)
    for shape in (slope_y, slope_x, 2 * profile + y * slope_y + x * slope_x,
                  x * slope_x - y * slope_y, x * slope_y + y * slope_x):
        taken = np.einsum('ijk,ijk->i', shape, profile) / norm
        yield shape - taken[:, np.newaxis, np.newaxis] * profile


def light_variance(passes, flux_error):
    """
    Compute the variance of the light of fitted sources.

    It has the errors of the fluxes and, since no catalog is exact, those of
    the profiles: of positions, sizes and ellipticities, as the residual
    shows them, for stars and for galaxies.

    Parameters
    ----------
    passes : `~astro_denoise.photometry.forced_passes.Passes`
        A fit.

    flux_error : 1D `~numpy.ndarray`
        The errors of the fluxes.

    Returns
    -------
    variance : 2D `~numpy.ndarray`
        Of the plane, in the units of the scene.
    """
    stamps, flux = passes.stamps, np.maximum(passes.fit.flux, 0.0)
    distortions = _Distortions.of(passes)
    squared = np.zeros_like(distortions.amplitude)
    galaxy = np.asarray(passes.sources['r50']) > 0
    for kind in (galaxy, ~galaxy):
        squared[:, kind] = distortions.squared(kind)
    squared *= flux**2
    variance = stamps.image(np.zeros(len(flux)), flux_error**2)
    wrong = squared.any(axis=0)
    for group in stamps.select(wrong).sets:
        for part in group.blocks():
            values = sum(
                factor[group.rows[part], np.newaxis, np.newaxis] * shape**2
                for factor, shape in zip(squared, _shapes(
                    passes, group, part), strict=True))
            replace(group[part], stamps=values.astype(np.float32)).add(
                variance, np.ones(len(values), np.float32))
    return variance
