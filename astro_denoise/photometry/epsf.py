# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The effective point-spread function, built from stars.
"""

import warnings

import numpy as np
from astropy.stats import SigmaClip
from photutils.psf import EPSFBuilder, EPSFStar, EPSFStars, ImagePSF
from scipy import fft

from ..simulation.profiles import POINTS_PER_FWHM
from .psf_models import SampledPsf

__all__ = ['build_epsf']

_MAX_ITERATIONS = 5

# Between these, in units of the FWHM, what the stars show goes over into the
# wings of a Moffat profile: there is more noise than light.
_INNER, _OUTER = 1.5, 2.5

_REACH, _MOST_REACH = 14.0, 200.0  # in FWHM, and in pixels


def build_epsf(pixels, weights, positions, moffat):
    """
    Build the effective point-spread function of stars.

    Parameters
    ----------
    pixels, weights : list of 2D `~numpy.ndarray`
        Squares around the stars, neighbors and background subtracted, and
        the inverse variances.

    positions : 2D array_like
        Of the stars in the squares, x and y.

    moffat : `~astro_denoise.photometry.psf_models.MoffatPsf`
        A profile fitted to them, whose wings are taken.

    Returns
    -------
    psf : `~astro_denoise.photometry.psf_models.SampledPsf` or `None`
        `None` if the stars do not make one.
    """
    oversampling = max(2, int(np.ceil(POINTS_PER_FWHM / moffat.fwhm)))
    stars = EPSFStars([
        EPSFStar(np.asarray(values, float), weights=np.sqrt(weight),
                 cutout_center=tuple(place))
        for values, weight, place in zip(pixels, weights, positions,
                                         strict=True)])
    builder = EPSFBuilder(oversampling=oversampling, progress_bar=False,
                          maxiters=_MAX_ITERATIONS,
                          sigma_clip=SigmaClip(3.0, maxiters=5))
    with warnings.catch_warnings():
        # Of single stars that could not be fitted, and of convergence.
        warnings.simplefilter('ignore')
        try:
            core = builder(stars)[0].data
        except (ValueError, RuntimeError):
            return None
    if not np.all(np.isfinite(core)) or not core.max() > 0:
        return None
    return SampledPsf(ImagePSF(_with_wings(core, moffat, oversampling),
                               oversampling=oversampling))


def _with_wings(core, moffat, oversampling):
    """Put a core on the wings of a Moffat profile of as much light."""
    reach = int(min(_REACH * moffat.fwhm, _MOST_REACH))
    n_points = fft.next_fast_len(2 * (reach + 2) * oversampling)
    whole = fft.fftshift(fft.irfft2(
        moffat.transform(n_points, oversampling).astype(complex),
        s=(n_points, n_points))) * oversampling**2
    middle, reach = n_points // 2, reach * oversampling
    whole = whole[middle - reach:middle + reach + 1,
                  middle - reach:middle + reach + 1]
    half = min(core.shape[0] // 2, reach)
    here = (slice(reach - half, reach + half + 1),) * 2
    core = core[tuple(slice(n // 2 - half, n // 2 + half + 1)
                      for n in core.shape)]
    line = np.arange(-half, half + 1) / (oversampling * moffat.fwhm)
    inner = np.clip((_OUTER - np.hypot(line[:, np.newaxis], line))
                    / (_OUTER - _INNER), 0.0, 1.0)
    scale = np.sum(inner * whole[here]) / np.sum(inner * core)
    whole[here] += inner * (scale * core - whole[here])
    return whole
