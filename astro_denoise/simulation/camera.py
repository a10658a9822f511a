# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The camera of a simulated survey: optics and detector.
"""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS

from .arguments import check_not_negative, check_positive, interval
from .artefacts import saturate

__all__ = ['Detector', 'Optics']


@dataclass(frozen=True)
class Optics:
    """
    Scale of the pixels, and point-spread function.

    Parameters
    ----------
    pixel_scale : float
        Arcseconds per pixel.

    psf_fwhm : float or tuple of float
        Seeing in arcseconds, a value or a range from which each
        exposure draws; kept as a range.

    psf_beta : float or tuple of float
        Exponent of the Moffat profile, a value or a range.

    Examples
    --------
    >>> from astro_denoise.simulation.camera import Optics
    >>> Optics(0.25, 1.0, 3.5)
    Optics(pixel_scale=0.25, psf_fwhm=(1.0, 1.0), psf_beta=(3.5, 3.5))
    """

    pixel_scale: float
    psf_fwhm: tuple
    psf_beta: tuple

    def __post_init__(self):
        check_positive(self, 'pixel_scale')
        for name, low in (('psf_fwhm', 0.1), ('psf_beta', 1.5)):
            # Frozen, but for this.
            object.__setattr__(self, name,
                               interval(name, getattr(self, name), low))

    def draw_psf(self, rng):
        """
        Draw the point-spread function of an exposure.

        Parameters
        ----------
        rng : `~numpy.random.Generator`
            The source of random numbers.

        Returns
        -------
        fwhm, beta : float
            Full width at half maximum in pixels, and Moffat exponent.
        """
        fwhm = rng.uniform(*self.psf_fwhm) / self.pixel_scale
        return fwhm, rng.uniform(*self.psf_beta)

    def wcs(self, shape):
        """
        Make a tangential projection, north up, in the COSMOS field.

        Parameters
        ----------
        shape : tuple of int
            ``(ny, nx)`` of the exposures.

        Returns
        -------
        wcs : `~astropy.wcs.WCS`
            With the center of the field in the middle of the exposure.
        """
        wcs = WCS(naxis=2)
        wcs.wcs.crpix = [(shape[1] + 1) / 2.0, (shape[0] + 1) / 2.0]
        wcs.wcs.cdelt = [-self.pixel_scale / 3600.0, self.pixel_scale / 3600.0]
        wcs.wcs.crval = [150.0, 2.2]
        wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
        wcs.wcs.radesys = 'ICRS'
        wcs.wcs.set()
        return wcs


@dataclass(frozen=True)
class Detector:
    """
    Noise, gain and faults of a CCD.

    Parameters
    ----------
    gain : float
        Electrons per adu.

    read_noise : float
        Electrons.

    dark_rate : float
        Electrons per hour and pixel.

    full_well : float
        Electrons; a brighter pixel is clipped and bleeds.

    n_bad_columns : int
        Bad columns, the same in every exposure, with no signal.

    unit : {'adu', 'electron'} or `~astropy.units.Unit`
        Unit of the exposures; kept as a unit.

    Examples
    --------
    >>> from astro_denoise.simulation.camera import Detector
    >>> Detector(0.65, 9.0, 1.0, 2.1e5, 2, 'electron').electrons_per_unit
    1.0
    """

    gain: float
    read_noise: float
    dark_rate: float
    full_well: float
    n_bad_columns: int
    unit: u.Unit

    def __post_init__(self):
        check_positive(self, 'gain', 'full_well')
        check_not_negative(self, 'read_noise', 'dark_rate', 'n_bad_columns')
        if self.unit not in ('adu', 'electron'):
            msg = f"unit must be 'adu' or 'electron', got {self.unit!r}"
            raise ValueError(msg)
        object.__setattr__(self, 'unit', u.Unit(self.unit))

    @property
    def electrons_per_unit(self):
        """Electrons in the unit of the exposures."""
        return self.gain if self.unit == u.adu else 1.0

    def expose(self, image, rays, bad, *, exposure_time, rng):
        """
        Expose an image without noise.

        Parameters
        ----------
        image : 2D `~numpy.ndarray`
            Expected electrons per pixel, of sky and dark current too.

        rays : 2D `~numpy.ndarray`
            Electrons of cosmic rays.

        bad : 2D bool `~numpy.ndarray`
            True on bad pixels.

        exposure_time : float
            Seconds, for the header.

        rng : `~numpy.random.Generator`
            The source of random numbers.

        Returns
        -------
        frame : `~astropy.nddata.CCDData`
            The exposure, with a mask and a header.

        truth : 2D `~numpy.ndarray`
            The frame without noise, in its unit.
        """
        charge = rng.poisson(np.maximum(image, 0.0)).astype(np.float32)
        charge += rays
        electrons, full = saturate(charge, self.full_well)
        # Where a trail ends, pixels hold charge of others and are not full.
        saturated = full | (electrons > charge)
        truth = np.where(saturated, electrons, image + rays)
        electrons[bad] = 0.0
        truth[bad] = 0.0
        electrons += self.read_noise * rng.standard_normal(
            image.shape, dtype=np.float32)

        gain = self.electrons_per_unit
        header = fits.Header()
        header['GAIN'] = (gain, 'electrons per unit of the frame')
        header['RDNOISE'] = (self.read_noise, 'read noise in electrons')
        header['EXPTIME'] = (exposure_time, 'seconds')
        header['SATURATE'] = (self.full_well / gain,
                              'full well in the unit of the frame')
        frame = CCDData((electrons / gain).astype(np.float32), unit=self.unit,
                        mask=bad | saturated | (rays > 0.5), meta=header)
        return frame, (truth / gain).astype(np.float32)
