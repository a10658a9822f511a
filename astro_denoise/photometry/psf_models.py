# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Point-spread functions by their Fourier transforms.
"""

from dataclasses import dataclass, field

import numpy as np
from astropy.modeling import Model
from scipy import fft
from scipy.special import gammaincinv

from ..simulation.profiles import psf_transform, sersic_b

__all__ = ['MoffatPsf', 'SampledPsf', 'open_psf', 'shapes_from_apertures']

FRACTION = 0.625  # of the light, in an aperture of the PAU survey
_LEAST_FWHM, _MOST_FWHM = 0.5, 60.0

# A source whose aperture is less than so much larger than that of a star, in
# units of the FWHM, is a star.
_LEAST_R50 = 0.05


@dataclass(frozen=True)
class MoffatPsf:
    """
    A round Moffat profile.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum, in pixels.

    beta : float
        The exponent.
    """

    fwhm: float
    beta: float
    drawings: dict = field(default_factory=dict, init=False, repr=False,
                           compare=False)

    def transform(self, n_points, oversampling):
        """
        Compute the Fourier transform of the profile integrated over pixels.

        Parameters
        ----------
        n_points : int
            Points of a side.

        oversampling : int
            Points per pixel.

        Returns
        -------
        transform : 2D `~numpy.ndarray`
            In the order of ``rfft2``, 1 at wave number 0.
        """
        return psf_transform(n_points, oversampling, self.fwhm, self.beta)

    def light_radius(self, share):
        """
        Compute the radius in pixels that holds a share of the light.
        """
        scale = self.fwhm / (2.0 * np.sqrt(2.0**(1.0 / self.beta) - 1.0))
        return scale * np.sqrt((1.0 - share)**(-1.0 / (self.beta - 1.0))
                               - 1.0)

    def describe(self):
        """
        Return what the ``meta`` of a table says of the profile.
        """
        return {'kind': 'moffat', 'fwhm': float(self.fwhm),
                'beta': float(self.beta)}


@dataclass
class SampledPsf:
    """
    A point-spread function that is a photutils model.

    Parameters
    ----------
    model : `~astropy.modeling.Model`
        With the parameters ``flux``, ``x_0`` and ``y_0``; its values are
        those of pixels.
    """

    model: Model
    fwhm: float = field(init=False)
    drawings: dict = field(default_factory=dict, init=False, repr=False,
                           compare=False)

    def __post_init__(self):
        missing = {'flux', 'x_0', 'y_0'} - set(self.model.param_names)
        if missing:
            msg = ('psf must be a model with the parameters flux, x_0 and '
                   f'y_0, got {type(self.model).__name__} without '
                   f'{", ".join(sorted(missing))}')
            raise ValueError(msg)
        self.model = self.model.copy()
        self.model.flux, self.model.x_0, self.model.y_0 = 1.0, 0.0, 0.0
        self._cached = {}
        self.fwhm = self._measured_fwhm()

    def _values(self, n_points, oversampling):
        line = (np.arange(n_points) - n_points // 2) / oversampling
        return np.asarray(self.model(*np.meshgrid(line, line)))

    def _measured_fwhm(self):
        """Compute that of a circle of the area above half the maximum."""
        values = self._values(4 * int(_MOST_FWHM), 1)
        if np.all(np.isfinite(values)) and values.max() > 0:
            area = np.count_nonzero(values > values.max() / 2.0)
            side = min(1.5 * np.sqrt(area) + 4.0, 2.0 * _MOST_FWHM)
            values = self._values(16 * int(side), 8)
        if not np.all(np.isfinite(values)) or not values.max() > 0:
            msg = ('psf must be finite and positive at its center, got '
                   f'{type(self.model).__name__} with values from '
                   f'{values.min()} to {values.max()}')
            raise ValueError(msg)
        area = np.count_nonzero(values > values.max() / 2.0) / 64.0
        fwhm = 2.0 * np.sqrt(area / np.pi)
        if not _LEAST_FWHM < fwhm < _MOST_FWHM:
            msg = (f'psf must have a FWHM of {_LEAST_FWHM} to {_MOST_FWHM} '
                   f'pixels, got {fwhm:.3g}: is it sampled as the frame is?')
            raise ValueError(msg)
        return fwhm

    def transform(self, n_points, oversampling):
        """
        Compute the Fourier transform; see `MoffatPsf.transform`.
        """
        key = n_points, oversampling
        if key not in self._cached:
            values = self._values(*key) / oversampling**2
            self._cached[key] = fft.rfft2(fft.ifftshift(values)).astype(
                np.complex64)
        return self._cached[key]

    def light_radius(self, share):
        """
        Compute the radius in pixels that holds a share of the light.
        """
        n_points = int(2**np.ceil(np.log2(32 * self.fwhm)))
        values = self._values(n_points, 4).ravel()
        line = (np.arange(n_points) - n_points // 2) / 4.0
        radius = np.hypot(*np.meshgrid(line, line)).ravel()
        order = np.argsort(radius)
        light = np.cumsum(values[order]) / values.sum()
        return radius[order][np.searchsorted(light, share)]

    def describe(self):
        """
        Return what the ``meta`` of a table says of the profile.
        """
        return {'kind': type(self.model).__name__, 'fwhm': float(self.fwhm)}


def open_psf(psf):
    """
    Make a point-spread function of what the user gave.

    Parameters
    ----------
    psf : `~astropy.modeling.Model` or 2D array
        A photutils model, or an image, centered and with the pixels of
        the frame, of any sum.

    Returns
    -------
    psf : object
        With the attribute ``fwhm`` and the methods ``transform``,
        ``light_radius`` and ``describe``.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or makes no sense.
    """
    if isinstance(psf, MoffatPsf | SampledPsf):
        return psf
    if isinstance(psf, Model):
        return SampledPsf(psf)
    try:
        image = np.asarray(psf, dtype=float)
    except (TypeError, ValueError) as error:
        msg = ("psf must be 'fit', a photutils PSF model or an image, got "
               f'{psf!r}')
        raise TypeError(msg) from error
    if image.ndim != 2 or min(image.shape) < 3 or not np.all(
            np.isfinite(image)) or not image.sum() > 0:
        msg = ("psf must be 'fit', a photutils PSF model or a finite 2D "
               'image of positive sum and at least 3 pixels a side, got '
               f'{psf!r}' if image.ndim == 0 else
               'psf must be a finite 2D image of positive sum and at least 3 '
               f'pixels a side, got shape {image.shape} and sum '
               f'{image.sum():g}')
        raise ValueError(msg)
    # Slow to import, and no part of a frame without a catalog.
    from photutils.psf import ImagePSF

    return SampledPsf(ImagePSF(image / image.sum()))


def shapes_from_apertures(sources, psf):
    """
    Give Sérsic shapes to sources of which apertures are known.

    The apertures hold 62.5 per cent of the light, blurred by the PSF. The
    axes of the source itself are what is left when those of a star are
    subtracted in quadrature; its profile is taken as exponential.

    Parameters
    ----------
    sources : `~astropy.table.QTable`
        From `~astro_denoise.photometry.source_table.source_table`.

    psf : object
        From `open_psf`.

    Returns
    -------
    sources : `~astropy.table.QTable`
        The same with ``r50`` and ``q`` filled in.
    """
    if 'a' not in sources.colnames:
        return sources
    star = psf.light_radius(FRACTION)
    a, b = (np.sqrt(np.maximum(np.asarray(sources[name])**2 - star**2, 0.0))
            for name in ('a', 'b'))
    b = np.maximum(b, 0.15 * a)
    shapes = sources.copy()
    r50 = np.sqrt(a * b) * sersic_b(1.0) / gammaincinv(2.0, FRACTION)
    galaxy = r50 > _LEAST_R50 * psf.fwhm
    shapes['r50'] = np.where(galaxy, r50, 0.0)
    shapes['q'] = np.where(galaxy, b / np.where(galaxy, a, 1.0), 1.0)
    swapped = galaxy & (shapes['q'] > 1)
    shapes['q'][swapped] = 1.0 / shapes['q'][swapped]
    shapes['theta'] = shapes['theta'] + np.where(swapped, np.pi / 2, 0.0)
    return shapes
