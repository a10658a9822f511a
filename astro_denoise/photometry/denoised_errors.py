# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Errors of sums over the pixels of a denoised frame.
"""

import numpy as np

from .annulus import check_annulus
from .apertures import filtered_variance
from .correlated_noise import (
    FilteredNoise,
    denoised_noise,
    frame_kernel,
    refusal,
)
from .plane import open_plane, with_unit
from .tables import aperture_table

__all__ = ['denoised_flux_error']


def denoised_flux_error(denoised, apertures, *, error=None, gain=None,
                        kernel=None, annulus=None, mask=None, wcs=None,
                        theta_sign=1):
    r"""
    Compute the errors of sums over the pixels of a denoised frame.

    The pixels of a denoised frame share their noise. Where a model with a
    restoring kernel :math:`K`, such as ``'ccd'``, sees no source, it is a
    linear filter, and the error of a sum with weights :math:`w` is exactly
    :math:`\sqrt{\sum (K * w)^2 \sigma^2}`, with :math:`\sigma` the noise
    of the raw pixels. Where it sees a source, more of the noise comes
    through, and the more, the brighter the source: what of a raw pixel is
    in a sum follows then from the light on the denoised frame, to first
    order. The root of the sum of the squares of the pixels' uncertainties
    is too small, several times in large apertures.

    Parameters
    ----------
    denoised : `~astropy.nddata.NDData` or 2D array
        The frame, as `~astro_denoise.denoise` returns it: its header has
        the kernel and the noise.

    apertures : table, photutils aperture, list of apertures or array
        As the ``catalog`` of
        `~astro_denoise.photometry.annulus_photometry`, or the weights of
        all pixels, shape (ny, nx) or (n, ny, nx).

    error : array_like, `~astropy.units.Quantity` or uncertainty, optional
        Standard deviation of the raw pixels. By default it follows from
        the header (``DNSIGMA``, ``DNGAIN``), and from place to place as
        the frame's own uncertainty.

    gain : float, `~astropy.units.Quantity` or str, optional
        Electrons per unit of the frame, or a header keyword: the photon
        noise of the sources is added.

    kernel : 2D array, optional
        The kernel, symmetric and of odd size, if the header has none.

    annulus : tuple of float, optional
        Inner and outer radius of the annulus that the background comes
        from.

    mask : bool or int array, optional
        Pixels to leave out (not 0), added to the frame's own mask.

    wcs : WCS object, optional
        World coordinates, by default those of the frame.

    theta_sign : {1, -1}, optional
        As in `~astro_denoise.photometry.annulus_photometry`.

    Returns
    -------
    error : 1D `~numpy.ndarray` or `~astropy.units.Quantity`
        A number for each aperture, NaN for those off the frame. If the
        frame was denoised with a catalog (``guide='blend'``) and has its
        flags, also NaN for apertures of which less than half is in the
        footprints of its sources: no error of others is right.

    Raises
    ------
    ValueError
        If the frame was denoised by a model without kernel: for
        ``'ccd-mmse'`` no error of a sum is right. Also if there is no
        noise, or an argument makes no sense.

    Warns
    -----
    NoiseEstimateWarning
        If the uncertainty of finite pixels is NaN: they are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astro_denoise import denoise
    >>> from astro_denoise.photometry import denoised_flux_error
    >>> from photutils.aperture import CircularAperture
    >>> rng = np.random.default_rng(1)
    >>> frame = CCDData(rng.normal(100, 5, (128, 128)), unit='adu')
    >>> aperture = CircularAperture([(40, 50), (80, 70)], r=3)
    >>> result = denoise(frame)
    >>> error = denoised_flux_error(result, aperture)
    >>> alone = np.sqrt(np.sum(aperture.to_mask()[0].multiply(
    ...     result.uncertainty.array**2)))
    >>> bool(1.5 < error[0].value / alone < 3)
    True
    """
    header = getattr(denoised, 'meta', None) or {}
    kernel = (frame_kernel(header) if kernel is None
              else _checked_kernel(kernel))
    if kernel is None:
        raise ValueError(refusal(header))
    if annulus is not None:
        check_annulus(*annulus, None)
    plane = open_plane(denoised, error=error, gain=gain, mask=mask, wcs=wcs)
    noise = FilteredNoise.of(plane, header, kernel,
                             knows_noise=error is not None,
                             denoised=denoised_noise(denoised))
    weights = _as_weights(apertures, plane.values.shape)
    if weights is None:
        table = aperture_table(apertures, wcs=plane.wcs,
                               theta_sign=theta_sign)
        variance = filtered_variance(plane, table, noise, annulus)
    else:
        if annulus is not None:
            msg = ('annulus must be None for weights, whose own sum it can '
                   f'be part of, got {annulus!r}')
            raise ValueError(msg)
        box = (0, plane.values.shape[1], 0, plane.values.shape[0])
        variance = np.array([noise.of_sum(plane, each * plane.valid, box)
                             for each in weights])
    return with_unit(np.sqrt(variance), plane.unit)


def _checked_kernel(kernel):
    kernel = np.asarray(kernel, dtype=float)
    if (kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]
            or not kernel.shape[0] % 2 or not np.all(np.isfinite(kernel))):
        msg = ('kernel must be a finite square array of odd size, got shape '
               f'{kernel.shape}')
        raise ValueError(msg)
    return kernel


def _as_weights(apertures, shape):
    """Tell weights from apertures; `None` for those."""
    if not isinstance(apertures, np.ndarray) or apertures.dtype.names:
        return None
    weights = apertures[np.newaxis] if apertures.ndim == 2 else apertures
    if weights.ndim != 3 or weights.shape[1:] != shape or not np.all(
            np.isfinite(weights)):
        msg = (f'apertures must be finite weights of shape {shape} or '
               f'(n, *{shape}), got {apertures.shape}')
        raise ValueError(msg)
    return weights
