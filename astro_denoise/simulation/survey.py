# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Exposures of a sky survey, with everything that is known about them.
"""

from numbers import Integral

import astropy.units as u
import numpy as np

from .arguments import check_not_negative, check_positive, interval
from .artefacts import bad_columns, cosmic_rays
from .camera import Detector, Optics
from .population import SourcePopulation
from .profiles import render_sources

__all__ = ['SurveySimulator']


class SurveySimulator:
    """
    Simulate repeated exposures of one field.

    The defaults are those of a PAU Camera exposure of 110 s through the
    narrow-band filter NB705: 0.263 arcsec a pixel, a sky of 1.70
    electrons per second and pixel, a read noise of 9 electrons. There
    are about 1,200 sources on 4096×2048 pixels, down to magnitude 22.5,
    and their counts rise as ``10**(0.3 m)``. Median signal-to-noise
    ratios in apertures that hold 62.5 per cent of the light are about
    those of the PAU Survey.

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

    Notes
    -----
    The attributes ``optics``, ``detector`` and ``population`` hold the
    arguments: scale and point-spread function; gain, noise and faults;
    number counts.

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
        #: ``(ny, nx)`` of an exposure.
        self.shape = (int(shape[0]), int(shape[1]))
        #: Seconds.
        self.exposure_time = exposure_time
        #: Electrons per second and pixel, the least and the most.
        self.sky_rate = interval('sky_rate', sky_rate)
        #: Mean number of cosmic rays per exposure and 10^6 pixels.
        self.n_cosmic_rays = n_cosmic_rays
        check_positive(self, 'exposure_time')
        check_not_negative(self, 'n_cosmic_rays')
        self.optics = Optics(pixel_scale, psf_fwhm, psf_beta)
        self.detector = Detector(gain, read_noise, dark_rate, full_well,
                                 n_bad_columns, unit)
        self.population = SourcePopulation(
            density, magnitude_range, magnitude_slope, rate_zeropoint,
            star_fraction)

    @property
    def sky_level(self):
        """
        Electrons per pixel of sky and dark current: the least and the most.
        """
        dark = self.detector.dark_rate * self.exposure_time / 3600.0
        return tuple(rate * self.exposure_time + dark
                     for rate in self.sky_rate)

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
              Sérsic disk: half-light radius in pixels, circularized (0
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
        catalog = self.population.draw(
            self.shape, np.random.default_rng(seed),
            pixel_scale=self.optics.pixel_scale,
            exposure_time=self.exposure_time)
        catalog.add_column(
            self.optics.wcs(self.shape).pixel_to_world(
                catalog['x_centroid'], catalog['y_centroid']),
            name='sky_centroid', index=3)
        return catalog

    def scene(self, catalog, *, psf_fwhm, psf_beta):
        """
        Draw the sources of a catalog without sky and noise.

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
        bad = bad_columns(self.shape, self.detector.n_bad_columns, rng=rng)
        frames, truths = [], []
        for number in range(1, n + 1):
            frame, truth = self._exposure(catalog, bad, rng)
            frame.header['EXPNUM'] = (number, 'exposure number')
            frames.append(frame)
            truths.append(truth)
        if return_truth:
            return frames, catalog, truths
        return frames, catalog

    def _exposure(self, catalog, bad, rng):
        """Simulate one exposure: frame and its truth."""
        fwhm, beta = self.optics.draw_psf(rng)
        sky = rng.uniform(*self.sky_level)
        image = self.scene(catalog, psf_fwhm=fwhm, psf_beta=beta) + sky
        n_rays = rng.poisson(self.n_cosmic_rays * image.size / 1e6)
        rays = cosmic_rays(self.shape, n_rays, rng=rng)
        frame, truth = self.detector.expose(
            image, rays, bad, exposure_time=self.exposure_time, rng=rng)
        frame.wcs = self.optics.wcs(self.shape)
        frame.header['SEEING'] = (round(fwhm, 4), 'PSF FWHM in pixels')
        frame.header['PSFBETA'] = (round(beta, 4), 'Moffat exponent')
        return frame, truth
