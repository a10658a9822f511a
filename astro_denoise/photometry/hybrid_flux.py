# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fluxes of bright, isolated sources, whatever their profile.
"""

import numpy as np

__all__ = ['APERTURE', 'hybrid_fluxes']

# Sources brighter than this are limited by their profiles, if no neighbor
# makes their error larger than so much, and nearly all pixels are valid.
_LEAST_SNR, _MOST_INFLATION, _LEAST_VALID = 20.0, 1.05, 0.98

#: Radius of the aperture of a star, in units of the FWHM.
APERTURE = 1.5
_R50_SHARE = 2.0  # and of the half-light radius of a galaxy


def hybrid_fluxes(passes, errors, valid):
    """
    Add to fitted fluxes what is left in an aperture around each source.

    That is an aperture flux, with neighbors and background subtracted, and
    with the model's share of the light outside.

    Parameters
    ----------
    passes : `~astro_denoise.photometry.forced_passes.Passes`
        A fit.

    errors : `~astro_denoise.photometry.forced_errors.Errors`
        Its errors.

    valid : 1D `~numpy.ndarray`
        The share of each source on valid pixels.

    Returns
    -------
    flux, error : 1D `~numpy.ndarray`
        Those of the fit where a source is faint, not isolated, or not on
        valid pixels.
    """
    scene, stamps = passes.scene, passes.stamps
    flux, error = passes.fit.flux.copy(), errors.error.copy()
    with np.errstate(invalid='ignore', divide='ignore'):
        chosen = ((flux > _LEAST_SNR * error) & (valid > _LEAST_VALID)
                  & (errors.inflation < _MOST_INFLATION))
    if not chosen.any():
        return flux, error
    residual = passes.fit.residual(scene, stamps) * passes.weights.share
    noise = scene.variance + stamps.image(
        scene.photon_variance(passes.fit.flux))
    radius = (APERTURE * passes.psf.fwhm
              + _R50_SHARE * np.asarray(passes.sources['r50']))
    x, y = (np.asarray(passes.sources[name]) + shift
            for name, shift in zip('xy', passes.shift, strict=True))
    _, of_psf = passes.flux_errors_of_psf()
    for group in stamps.select(chosen).sets:
        for part in group.blocks():
            rows = group.rows[part]
            dy, dx = (low[part, np.newaxis] + np.arange(side)
                      - place[rows, np.newaxis] for low, side, place in zip(
                          (group.y_low, group.x_low), group.stamps.shape[1:],
                          (y, x), strict=True))
            distance = np.hypot(dy[:, :, np.newaxis], dx[:, np.newaxis])
            inside = np.clip(radius[rows, np.newaxis, np.newaxis] + 0.5
                             - distance, 0.0, 1.0)
            n_pixels = inside.sum(axis=(1, 2))
            flux[rows] += np.sum(inside * group.cut(residual, part),
                                 axis=(1, 2))
            # Then that of the background between its nodes, and the profile's.
            error[rows] = np.sqrt(
                np.sum(inside**2 * group.cut(noise, part), axis=(1, 2))
                + (n_pixels * scene.noise / scene.step)**2
                + of_psf[rows]**2)
    return flux, error
