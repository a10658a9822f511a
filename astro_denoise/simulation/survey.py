# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Exposures of a sky survey, with everything that is known about them.
"""

from numbers import Integral

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.wcs import WCS

from .artefacts import bad_columns, cosmic_rays, saturate
from .profiles import render_sources

__all__ = ['SurveySimulator']

def _interval(name, value, low=0.0):
    """A fixed value or a range, as a (low, high) pair."""
    pair = np.broadcast_to(np.asarray(value, dtype=float), (2,))
    if not np.all(np.isfinite(pair)) or pair[1] < pair[0]:
        msg = (f'{name} must be a number or an increasing pair of numbers, '
               f'got {value!r}')
        raise ValueError(msg)
    if pair[0] < low:
        msg = f'{name} must be at least {low:g}, got {value!r}'
        raise ValueError(msg)
    return float(pair[0]), float(pair[1])


class SurveySimulator:
    """
    Simulate repeated exposures of one field.

    The defaults are those of a PAU Camera exposure of 110 s through the
    narrow-band filter NB705: 0.263 arcsec a pixel, a sky of 1.70
    electrons per second and pixel, a read noise of 9 electrons. There
    are about 1,200 sources on 4096×2048 pixels, down to magnitude 22.5,
    and their counts rise as ``10**(0.3 m)``. The median signal-to-noise
    ratio in apertures that hold 62.5 per cent of the light is about 13
    at magnitudes 19-20, 5.8 at 20-21, 2.5 at 21-22 and 1.4 at 22-22.5.

    Parameters
    ----------
    shape : tuple of int, optional
        ``(ny, nx)`` of an exposure.

    pixel_scale : float, optional
        Arcseconds per pixel.

    exposure_time : float, optional
        Seconds.

    sky_rate : float or tuple of float, optional
        Electrons per second and pixel; a pair is a range from which
        each exposure draws.

    gain : float, optional
        Electrons per adu.

    read_noise : float, optional
        Electrons.

    dark_rate : float, optional
        Electrons per hour and pixel.

    full_well : float, optional
        Electrons; a brighter pixel is clipped and bleeds.

    psf_fwhm : float or tuple of float, optional
        Seeing in arcseconds, a value or a range from which each
        exposure draws.

    psf_beta : float or tuple of float, optional
        Exponent of the Moffat profile, a value or a range.

    density : float, optional
        Sources per 10^6 pixels.

    magnitude_range : tuple of float, optional
        Brightest and faintest ``i_auto``. Stars of the default range do
        not saturate; those brighter than about 12 do.

    magnitude_slope : float, optional
        Of the number counts, in dex per magnitude.

    rate_zeropoint : float, optional
        The magnitude of a source of one electron per second.

    star_fraction : float, optional
        Share of stars among the sources.

    n_cosmic_rays : float, optional
        Mean number per exposure and 10^6 pixels.

    n_bad_columns : int, optional
        Bad columns, the same in every exposure, with no signal.

    unit : {'adu', 'electron'}, optional
        Unit of the exposures.

    Raises
    ------
    ValueError
        If an argument is out of its range; the message names it.

    Examples
    --------
    >>> from astro_denoise.simulation import SurveySimulator
    >>> simulator = SurveySimulator(shape=(128, 128), density=500)
    >>> exposures, catalog = simulator.exposures(2, seed=1)
    >>> print(exposures[0].shape, exposures[0].unit, len(catalog))
    (128, 128) adu 9

    Two exposures that differ in nothing but their noise:

    >>> simulator = SurveySimulator(shape=(128, 128), psf_fwhm=1.0,
    ...                             psf_beta=3.5, n_cosmic_rays=0)
    >>> (first, second), catalog = simulator.exposures(2, seed=1)
    >>> print(first.header['SEEING'] == second.header['SEEING'])
    True
    """

    def __init__(self, shape=(4096, 2048), *, pixel_scale=0.263,
                 exposure_time=110.0, sky_rate=1.70, gain=0.65,
                 read_noise=9.0, dark_rate=1.0, full_well=2.1e5,
                 psf_fwhm=(0.7, 1.6), psf_beta=(2.5, 4.8), density=143.0,
                 magnitude_range=(18.0, 22.5), magnitude_slope=0.3,
                 rate_zeropoint=23.17, star_fraction=0.2,
                 n_cosmic_rays=20.0, n_bad_columns=2, unit='adu'):
        if (len(shape) != 2 or min(shape) < 1
                or any(int(length) != length for length in shape)):
            msg = f'shape must be two positive integers, got {shape!r}'
            raise ValueError(msg)
        for name, value in (('pixel_scale', pixel_scale), ('gain', gain),
                            ('exposure_time', exposure_time),
                            ('full_well', full_well)):
            if not value > 0:
                msg = f'{name} must be positive, got {value!r}'
                raise ValueError(msg)
        for name, value in (('read_noise', read_noise),
                            ('dark_rate', dark_rate), ('density', density),
                            ('n_cosmic_rays', n_cosmic_rays),
                            ('n_bad_columns', n_bad_columns)):
            if not value >= 0:
                msg = f'{name} must not be negative, got {value!r}'
                raise ValueError(msg)
        if not 0 <= star_fraction <= 1:
            msg = f'star_fraction must lie in 0-1, got {star_fraction!r}'
            raise ValueError(msg)
        if unit not in ('adu', 'electron'):
            msg = f"unit must be 'adu' or 'electron', got {unit!r}"
            raise ValueError(msg)

        self.shape = (int(shape[0]), int(shape[1]))
        self.pixel_scale = pixel_scale
        self.exposure_time = exposure_time
        self.sky_rate = _interval('sky_rate', sky_rate)
        self.gain = gain
        self.read_noise = read_noise
        self.dark_rate = dark_rate
        self.full_well = full_well
        self.psf_fwhm = _interval('psf_fwhm', psf_fwhm, 0.1)
        self.psf_beta = _interval('psf_beta', psf_beta, 1.5)
        self.density = density
        self.magnitude_range = _interval('magnitude_range', magnitude_range,
                                         -np.inf)
        self.magnitude_slope = magnitude_slope
        self.rate_zeropoint = rate_zeropoint
        self.star_fraction = star_fraction
        self.n_cosmic_rays = n_cosmic_rays
        self.n_bad_columns = n_bad_columns
        self.unit = u.Unit(unit)

    @property
    def sky_level(self):
        """
        Electrons per pixel of sky and dark current: the least and the most.
        """
        dark = self.dark_rate * self.exposure_time / 3600.0
        return tuple(rate * self.exposure_time + dark
                     for rate in self.sky_rate)

    def _wcs(self):
        """A tangential projection, north up, in the COSMOS field."""
        wcs = WCS(naxis=2)
        wcs.wcs.crpix = [(self.shape[1] + 1) / 2.0, (self.shape[0] + 1) / 2.0]
        wcs.wcs.cdelt = [-self.pixel_scale / 3600.0, self.pixel_scale / 3600.0]
        wcs.wcs.crval = [150.0, 2.2]
        wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
        wcs.wcs.radesys = 'ICRS'
        wcs.wcs.set()
        return wcs

    def catalog(self, *, seed=None):
        """
        Draw the sources of a field.

        Parameters
        ----------
        seed : int or `~numpy.random.Generator`, optional
            Same seed, same sources.

        Returns
        -------
        catalog : `~astropy.table.QTable`
            A row per source:

            * ``ref_id``, a number from 1 on
            * ``x_centroid``, ``y_centroid``, in pixels, and
              ``sky_centroid``, their `~astropy.coordinates.SkyCoord`
            * ``i_auto``, the magnitude
            * ``flux``, the total of one exposure, in electrons
            * ``r50``, ``sersic_n``, ``axis_ratio`` and ``theta``, the
              Sérsic disk: half-light radius in pixels, circularised (0
              for a star), index, minor over major axis, and angle from
              the x axis in degrees
            * ``bulge_fraction``, the share of the flux that is in a de
              Vaucouleurs bulge of half that radius
            * ``is_star``

        Examples
        --------
        >>> from astro_denoise.simulation import SurveySimulator
        >>> simulator = SurveySimulator(shape=(256, 256), density=200)
        >>> catalog = simulator.catalog(seed=1)
        >>> print(len(catalog), catalog['flux'].unit)
        9 electron
        """
        rng = np.random.default_rng(seed)
        ny, nx = self.shape
        n_sources = rng.poisson(self.density * ny * nx / 1e6)
        low, high = self.magnitude_range
        share = rng.random(n_sources)
        if self.magnitude_slope == 0:
            magnitude = low + share * (high - low)
        else:
            ends = 10.0**(self.magnitude_slope * np.array([low, high]))
            magnitude = (np.log10(ends[0] + share * (ends[1] - ends[0]))
                         / self.magnitude_slope)
        rate = 10.0**(-0.4 * (magnitude - self.rate_zeropoint))
        is_star = rng.random(n_sources) < self.star_fraction

        # Half-light radii of field galaxies: 0.55 arcsec at I = 21, larger
        # for the brighter ones, with a scatter of 0.2 dex.
        r50 = 0.55 * 10.0**(-0.08 * (magnitude - 21.0)
                            + 0.2 * rng.standard_normal(n_sources))
        r50 = np.clip(r50, 0.15, 8.0) / self.pixel_scale
        sersic_n = np.clip(np.exp(0.2 + 0.4 * rng.standard_normal(n_sources)),
                           0.5, 3.0)
        axis_ratio = np.clip(rng.beta(4.0, 2.0, n_sources), 0.15, 1.0)
        theta = rng.uniform(0.0, 180.0, n_sources)
        bulge_fraction = np.where(rng.random(n_sources) < 0.5,
                                  rng.beta(1.0, 2.0, n_sources), 0.0)
        for column in (r50, bulge_fraction):
            column[is_star] = 0.0

        x = rng.uniform(-0.5, nx - 0.5, n_sources)
        y = rng.uniform(-0.5, ny - 0.5, n_sources)
        catalog = QTable()
        catalog['ref_id'] = np.arange(1, n_sources + 1)
        catalog['x_centroid'] = x
        catalog['y_centroid'] = y
        catalog['sky_centroid'] = self._wcs().pixel_to_world(x, y)
        catalog['i_auto'] = magnitude
        catalog['flux'] = rate * self.exposure_time * u.electron
        catalog['r50'] = r50
        catalog['sersic_n'] = sersic_n
        catalog['axis_ratio'] = axis_ratio
        catalog['theta'] = theta * u.deg
        catalog['bulge_fraction'] = bulge_fraction
        catalog['is_star'] = is_star
        return catalog

    def scene(self, catalog, *, psf_fwhm, psf_beta):
        """
        The sources of a catalogue without sky and noise.

        Parameters
        ----------
        catalog : `~astropy.table.QTable`
            As `catalog` returns it.

        psf_fwhm, psf_beta : float
            Full width at half maximum in pixels, and exponent of the
            Moffat profile.

        Returns
        -------
        image : 2D `~numpy.ndarray`
            Expected electrons per pixel.

        Examples
        --------
        >>> from astro_denoise.simulation import SurveySimulator
        >>> simulator = SurveySimulator(shape=(256, 256), density=200)
        >>> catalog = simulator.catalog(seed=1)
        >>> image = simulator.scene(catalog, psf_fwhm=4.0, psf_beta=3.5)
        >>> print(image.shape, image.dtype)
        (256, 256) float32
        """
        flux = u.Quantity(catalog['flux']).to_value(u.electron)
        bulge = np.asarray(catalog['bulge_fraction'])
        common = {'x': catalog['x_centroid'], 'y': catalog['y_centroid'],
                  'theta': u.Quantity(catalog['theta']).to_value(u.rad)}
        disk = {**common, 'flux': flux * (1.0 - bulge), 'r50': catalog['r50'],
                'sersic_n': catalog['sersic_n'],
                'axis_ratio': catalog['axis_ratio']}
        image = render_sources(self.shape, disk, psf_fwhm, psf_beta)

        # The bulge: a de Vaucouleurs profile, rounder, half as large.
        with_bulge = bulge > 0
        if with_bulge.any():
            spheroid = {
                **common, 'flux': flux * bulge,
                'r50': np.asarray(catalog['r50']) / 2.0,
                'sersic_n': np.full(len(catalog), 4.0),
                'axis_ratio': 0.5 * (1.0 + np.asarray(catalog['axis_ratio']))}
            spheroid = {name: np.asarray(column)[with_bulge]
                        for name, column in spheroid.items()}
            image += render_sources(self.shape, spheroid, psf_fwhm, psf_beta)
        return image

    def exposures(self, n=2, *, seed=None, catalog=None, return_truth=False):
        """
        Simulate exposures of the same field.

        Noise, cosmic rays, seeing and sky are drawn anew for each
        exposure; sources and bad columns stay. Photon noise is Poisson
        and drawn on the final pixels.

        Parameters
        ----------
        n : int, optional
            Number of exposures.

        seed : int, optional
            Same seed, same exposures.

        catalog : `~astropy.table.QTable`, optional
            Sources with the columns of `catalog`; the default is drawn.

        return_truth : bool, optional
            Also return the frames without noise (cosmic rays, bad
            columns and saturation included).

        Returns
        -------
        exposures : list of `~astropy.nddata.CCDData`
            With ``GAIN``, ``RDNOISE``, ``EXPTIME``, ``SATURATE``,
            ``SEEING`` (PSF FWHM in pixels) and ``PSFBETA`` in the
            header, a WCS, and a mask of cosmic rays, bad columns,
            saturated pixels and their trails. The sky is left in.

        catalog : `~astropy.table.QTable`
            The sources with their true fluxes, see `catalog`.

        truth : list of 2D `~numpy.ndarray`
            Only with ``return_truth=True``; in the unit of the frames.

        Raises
        ------
        ValueError
            If ``n`` is not a positive integer.

        Examples
        --------
        >>> from astro_denoise.simulation import SurveySimulator
        >>> simulator = SurveySimulator(shape=(128, 128))
        >>> exposures, catalog = simulator.exposures(2, seed=1)
        >>> print(len(exposures), exposures[0].header['GAIN'])
        2 0.65
        """
        if not isinstance(n, Integral) or n < 1:
            msg = f'n must be a positive integer, got {n!r}'
            raise ValueError(msg)
        rng = np.random.default_rng(seed)
        if catalog is None:
            catalog = self.catalog(seed=rng)
        bad = bad_columns(self.shape, self.n_bad_columns, rng=rng)
        frames, truths = [], []
        for number in range(1, n + 1):
            fwhm = rng.uniform(*self.psf_fwhm) / self.pixel_scale
            beta = rng.uniform(*self.psf_beta)
            sky = rng.uniform(*self.sky_level)
            image = self.scene(catalog, psf_fwhm=fwhm, psf_beta=beta) + sky
            rays = cosmic_rays(
                self.shape,
                rng.poisson(self.n_cosmic_rays * image.size / 1e6), rng=rng)
            frame, truth = self._expose(image, rays, bad, rng)
            frame.wcs = self._wcs()
            frame.header['SEEING'] = (round(fwhm, 4), 'PSF FWHM in pixels')
            frame.header['PSFBETA'] = (round(beta, 4), 'Moffat exponent')
            frame.header['EXPNUM'] = (number, 'exposure number')
            frames.append(frame)
            truths.append(truth)
        if return_truth:
            return frames, catalog, truths
        return frames, catalog

    def _expose(self, image, rays, bad, rng):
        """One exposure of an expected image: frame and its truth."""
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

        gain = self.gain if self.unit == u.adu else 1.0
        header = fits.Header()
        header['GAIN'] = (gain, 'electrons per unit of the frame')
        header['RDNOISE'] = (self.read_noise, 'read noise in electrons')
        header['EXPTIME'] = (self.exposure_time, 'seconds')
        header['SATURATE'] = (self.full_well / gain,
                              'full well in the unit of the frame')
        frame = CCDData((electrons / gain).astype(np.float32), unit=self.unit,
                        mask=bad | saturated | (rays > 0.5), meta=header)
        return frame, (truth / gain).astype(np.float32)
