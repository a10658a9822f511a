# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Simulated fields whose truth is known, for the benchmarks.
"""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable, vstack

from astro_denoise.photometry.apertures import ellipse_weights
from astro_denoise.photometry.light_fraction import light_fraction_apertures
from astro_denoise.simulation.survey import SurveySimulator

# Signal-to-noise ratios in the aperture: label, range, share of the
# sources, and the magnitude of galaxies that have it. The faint bins need
# more sources for the same error of the response.
BINS = {'21': (14.0, 32.0, 0.07, 18.8), '7': (4.5, 11.0, 0.10, 20.2),
        '3': (2.0, 4.5, 0.30, 21.4), '1.2': (0.6, 2.4, 0.50, 22.4)}
PSF_STARS = 'psf'
SPACING = 64  # pixels from source to source: no annulus holds another

# Ranges as in SurveySimulator, for PSFs that differ from field to field
# but not between the two exposures of one.
PSF_FWHM, PSF_BETA = (0.7, 1.6), (2.5, 4.8)


@dataclass
class Field:
    """
    Exposures of one field, and all that is known about them.

    Attributes
    ----------
    exposures : list of `~astropy.nddata.CCDData`
        In adu.

    truth : list of 2D `~numpy.ndarray`
        What the exposures are without noise.

    sky, sigma : float
        Level and noise of the blank sky, in adu.

    sources : `~astropy.table.QTable` or `None`
        Apertures, bins, true fluxes in them and Cramér-Rao floors.
    """

    exposures: list
    truth: list
    sky: float
    sigma: float
    sources: QTable | None = None

    def noise(self, number):
        """True noise of each pixel of an exposure, in adu."""
        header = self.exposures[number].header
        variance = (np.maximum(self.truth[number], 0.0) / header['GAIN']
                    + (header['RDNOISE'] / header['GAIN'])**2)
        return np.sqrt(variance)

    def crop(self, size):
        """The lower left corner, with the sources that lie inside."""
        corner = (slice(size), slice(size))
        inside = None if self.sources is None else self.sources[
            (self.sources['aperture_x'] < size - SPACING / 4)
            & (self.sources['aperture_y'] < size - SPACING / 4)]
        return Field([exposure[corner] for exposure in self.exposures],
                     [truth[corner] for truth in self.truth], self.sky,
                     self.sigma, inside)


def _sky(simulator):
    """Level and noise of the blank sky, in adu."""
    level = simulator.sky_level[0]
    detector = simulator.detector
    noise = np.hypot(np.sqrt(level), detector.read_noise)
    return level / detector.gain, noise / detector.gain


def survey_field(size, seed, *, n_exposures=1, **options):
    """
    A field as a survey has it, artefacts included.

    Parameters
    ----------
    size : int
        Pixels per side.

    seed : int or sequence of int
        Same seed, same field.

    n_exposures : int, optional
        Number of exposures.

    **options
        Passed to `~astro_denoise.simulation.SurveySimulator`.

    Returns
    -------
    field : `Field`
        The field.
    """
    simulator = SurveySimulator(shape=(size, size), **options)
    exposures, _, truth = simulator.exposures(n_exposures, seed=seed,
                                              return_truth=True)
    return Field(exposures, truth, *_sky(simulator))


def even_seeing(number):
    """
    The seeing of one of several fields.

    Any number of fields from the first on are spread over the range as
    evenly as can be (multiples of the golden ratio).

    Parameters
    ----------
    number : int
        Of the field, from 0.

    Returns
    -------
    psf_fwhm : float
        In arcsec.
    """
    low, high = PSF_FWHM
    return low + (high - low) * ((0.5 + 0.6180339887 * number) % 1.0)


def photometry_field(size, seed, *, psf_fwhm=None, n_exposures=2,
                     radius=None):
    """
    Clean exposures, a pair by default, with sources of all bins, far apart.

    Parameters
    ----------
    size : int
        Pixels per side.

    seed : sequence of int
        Same seed, same field.

    psf_fwhm : float, optional
        Seeing in arcsec; drawn without.

    n_exposures : int, optional
        Number of exposures.

    radius : float, optional
        Radius of circular apertures over the seeing; by default apertures
        hold 62.5 per cent of the light. Fluxes are such that the
        signal-to-noise ratios are those in the apertures.

    Returns
    -------
    field : `Field`
        The field.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(*PSF_FWHM)
    simulator = SurveySimulator(
        shape=(size, size), n_cosmic_rays=0, n_bad_columns=0,
        psf_fwhm=drawn if psf_fwhm is None else psf_fwhm,
        psf_beta=rng.uniform(*PSF_BETA))
    catalog = _draw_sources(simulator, rng)
    optics = simulator.optics
    psf = {'psf_fwhm': optics.psf_fwhm[0] / optics.pixel_scale,
           'psf_beta': optics.psf_beta[0]}
    catalog['flux'] = 1e4 * u.electron
    unit = simulator.scene(catalog, **psf).astype(float) / 1e4
    apertures = light_fraction_apertures(
        catalog['r50'], catalog['sersic_n'], catalog['axis_ratio'],
        catalog['theta'], psf['psf_fwhm'], psf_beta=psf['psf_beta'])
    if radius is not None:
        for name in ('aperture_a', 'aperture_b'):
            apertures[name] = radius * psf['psf_fwhm']
    sky, sigma = _sky(simulator)
    gain = simulator.detector.gain
    variance = (sigma * gain)**2
    _set_fluxes(catalog, apertures, unit, variance)

    exposures, _, truth = simulator.exposures(
        n_exposures, seed=rng, catalog=catalog, return_truth=True)
    sources = apertures
    sources['ref_id'] = np.arange(1, len(catalog) + 1)
    sources['aperture_x'] = catalog['x_centroid']
    sources['aperture_y'] = catalog['y_centroid']
    sources['bin'] = catalog['bin']
    flux = catalog['flux'].to_value(u.electron)
    sources['true_flux'] = catalog['fraction'] * flux / gain
    # Matched filter with the true profile, scaled as the aperture's flux.
    floor = [_matched_error(unit, row['x_centroid'], row['y_centroid'],
                            electrons, variance)
             for row, electrons in zip(catalog, flux, strict=True)]
    sources['floor'] = catalog['fraction'] * floor / gain
    return Field(exposures, truth, sky, sigma, sources)


def _draw_sources(simulator, rng):
    """Sources on a grid, with the shapes of their magnitude."""
    ny, nx = simulator.shape
    cells = np.indices((ny // SPACING, nx // SPACING)).reshape(2, -1).T
    n_cells = len(cells)
    labels = list(BINS)
    shares = [BINS[label][2] for label in labels]
    drawn = rng.choice([*labels, PSF_STARS], n_cells,
                       p=[*shares, 1 - sum(shares)])
    # Widths of the PSF are measured on stars, as in any field.
    drawn[rng.choice(n_cells, min(8, n_cells // 8), replace=False)] = \
        PSF_STARS
    parts = []
    for label in (*labels, PSF_STARS):
        magnitude = BINS[label][3] if label in BINS else 17.5
        like = SurveySimulator(
            magnitude_range=(magnitude - 0.3, magnitude + 0.3),
            star_fraction=0.2 if label in BINS else 1.0)
        part = like.catalog(seed=rng)[:np.count_nonzero(drawn == label)]
        part['bin'] = np.full(len(part), label, dtype='U3')
        low, high = BINS[label][:2] if label in BINS else (60.0, 150.0)
        part['snr'] = np.exp(rng.uniform(np.log(low), np.log(high),
                                         len(part)))
        parts.append(part)
    catalog = vstack(parts)
    catalog.remove_column('sky_centroid')
    center = (rng.permutation(cells)[:len(catalog)] + 0.5) * SPACING
    center += rng.uniform(-4.0, 4.0, center.shape)
    catalog['y_centroid'], catalog['x_centroid'] = center.T
    return catalog


def _set_fluxes(catalog, apertures, unit, variance):
    """Fluxes that give the signal-to-noise ratios drawn."""
    fraction, flux = np.empty((2, len(catalog)))
    for row, (source, aperture) in enumerate(zip(catalog, apertures,
                                                 strict=True)):
        weights, (x1, x2, y1, y2) = ellipse_weights(
            source['x_centroid'], source['y_centroid'],
            aperture['aperture_a'], aperture['aperture_b'],
            aperture['aperture_theta'].to_value(u.rad))
        profile = unit[y1:y2, x1:x2]
        fraction[row] = np.sum(weights * profile)
        # The positive root of (snr)² = signal² / (sky + photon noise).
        square = source['snr']**2
        photons = square * np.sum(weights**2 * profile)
        blank = square * np.sum(weights**2) * variance
        flux[row] = (photons + np.sqrt(
            photons**2 + 4 * fraction[row]**2 * blank)) / (
                2 * fraction[row]**2)
    catalog['fraction'] = fraction
    catalog['flux'] = flux * u.electron


def _matched_error(unit, x, y, flux, variance):
    """Cramér-Rao error of a flux in electrons, profile and sky known."""
    half = SPACING // 2
    x, y = round(float(x)), round(float(y))
    profile = unit[max(y - half, 0):y + half, max(x - half, 0):x + half]
    return 1 / np.sqrt(np.sum(profile**2 / (variance + flux * profile)))


def jittered_grid(size, spacing, jitter, rng):
    """
    Draw positions of sources that do not touch.

    Parameters
    ----------
    size : int
        Pixels per side of the scene.

    spacing, jitter : float
        Pixels from one position to the next, and how far each is from the
        grid at most.

    rng : `~numpy.random.Generator`
        Random numbers.

    Returns
    -------
    x, y : 1D `~numpy.ndarray`
        The positions.
    """
    line = np.arange(spacing // 2, size - spacing // 4, spacing)
    y, x = (each.ravel() + rng.uniform(-jitter, jitter, each.size)
            for each in np.meshgrid(line, line))
    return x, y
