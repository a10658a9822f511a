# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Forced photometry beside apertures and fits of one source at a time.

Run as ``python benchmarks/forced_photometry.py``; ``--m13 FOLDER`` adds five
exposures of M13. Simulated exposures are of
`~astro_denoise.simulation.SurveySimulator`, with the point-spread function
known to all methods but ``forced, fitted``.

For each method and bin of true signal-to-noise ratio (of a matched filter
without neighbors): ``R``, the slope of the measured against the true flux;
``scatter``, sigma68 of the difference over the Cramér-Rao bound with all
neighbors and the background free, over R; ``pull``, sigma68 of the difference
over the stated error. Aperture fluxes are divided by the share of a star's
light in the aperture.

``+-`` is the error of R, from the scatter of the differences in simulations
and by a bootstrap over the sources on real frames.

On M13 (``--m13 FOLDER``, all pairs of five exposures) the sources are found on
the mean of the three other exposures, on ESO 085-030 (``--eso085 FOLDER``) on
the mean of both. The point-spread function of both fields is a Moffat profile
with an exponent of 3, whose width is that of the mean of the brightest
sources in exposures other than those in which they were found, so that no
noise that made them bright is in it. All fluxes are scaled
to those in the aperture by the median of bright sources, and divided by the
error of the raw flux. ``R`` is the sum of the
products of the fluxes in one exposure with the raw aperture fluxes in the
other over that of the raw fluxes; ``scatter`` is sigma68 of the differences
between both, over R and over that of the raw aperture. ``raw, sky of ccd`` are
the raw pixels above the sky that the annulus has on the frame denoised with
``ccd``, on which faint sources in it are clipped.
"""

import argparse
import resource
import time
import warnings
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.modeling.fitting import TRFLSQFitter
from astropy.modeling.models import Const2D, Moffat2D
from astropy.nddata import CCDData
from astropy.stats import mad_std
from astropy.table import QTable, vstack
from astropy.utils.exceptions import AstropyUserWarning
from photutils.background import Background2D
from photutils.detection import DAOStarFinder
from photutils.psf import ImagePSF, PSFPhotometry, SourceGrouper

from astro_denoise import denoise
from astro_denoise.photometry import (
    annulus_photometry,
    forced_photometry,
    profile_photometry,
    sigma68,
)
from astro_denoise.simulation import (
    SurveySimulator,
    moffat_image,
    render_sources,
)

SEED = 20150212_97  # used by no other script and no training

SPEED_RUNS = 3
REAL_BINS = (1.5, 3.0, 5.0, 10.0, 30.0, 200.0)
REAL_BETA, MOST_STARS = 3.0, 40
SCALE, FWHM, BETA = 0.263, 3.8, 3.5
LEVEL = 268.0
SKY = np.sqrt(1.70 * 110 + 110 / 3600 + 81)
RADIUS, SHARE = 0.72 * FWHM, 0.625
BINS = (1.5, 5.0, 15.0, 50.0, 500.0)
METHODS = ('aperture', 'ccd aperture', 'one at a time', 'photutils', 'forced',
           'forced, fitted', 'forced, hybrid')
# Density per 10^6 pixels, share of stars, exposures for each asked for.
SCENES = {'isolated stars': (400, 1.0, 4), 'crowded stars': (5000, 1.0, 1),
          'galaxies': (1000, 0.2, 2)}


@dataclass(frozen=True)
class Field:
    """
    How a real field is measured.

    Attributes
    ----------
    filter_fwhm : float
        Of the filter that finds sources, in pixels.

    threshold : float
        Of the finder, in standard deviations.

    radius : float
        Of the apertures.

    annulus : tuple of float
        Inner and outer radius.

    background_step : int
        Of forced photometry.

    star_reach : int
        Pixels on each side of a star that its width is measured on.
    """

    filter_fwhm: float
    threshold: float
    radius: float
    annulus: tuple
    background_step: int
    star_reach: int

    def find(self, image):
        """
        Find sources.

        Parameters
        ----------
        image : 2D `~numpy.ndarray`
            Without background.

        Returns
        -------
        catalog : `~astropy.table.QTable`
            Positions.
        """
        return DAOStarFinder(self.threshold * mad_std(image),
                             self.filter_fwhm)(image)

    def measure(self, image, catalog, **options):
        """
        Measure a catalog in apertures.

        Parameters
        ----------
        image : `~astropy.nddata.CCDData` or 2D `~numpy.ndarray`
            The frame.

        catalog : `~astropy.table.QTable`
            Positions.

        **options
            Of `~astro_denoise.photometry.annulus_photometry`.

        Returns
        -------
        table : `~astropy.table.QTable`
            Fluxes.
        """
        return annulus_photometry(
            image, apertures_of(catalog, self.radius), r_in=self.annulus[0],
            r_out=self.annulus[1], **options)


# Stars of M13 are out of focus, and 9 pixels wide.
M13 = Field(9.0, 4.0, 6.0, (18, 30), 48, 20)
ESO085 = Field(2.7, 2.0, 2.0, (10, 20), 24, 7)


def apertures_of(catalog, radius):
    """
    Circles around sources.

    Parameters
    ----------
    catalog : `~astropy.table.QTable`
        With ``x_centroid`` and ``y_centroid``.

    radius : float
        In pixels.

    Returns
    -------
    apertures : `~astropy.table.QTable`
        For `~astro_denoise.photometry.annulus_photometry`.
    """
    n_sources = len(catalog)
    return QTable({
        'ref_id': np.arange(n_sources), 'aperture_x': catalog['x_centroid'],
        'aperture_y': catalog['y_centroid'],
        'aperture_a': np.full(n_sources, radius),
        'aperture_b': np.full(n_sources, radius),
        'aperture_theta': np.zeros(n_sources)})


def measure_all(frame, catalog, psf, noise, stars):
    """
    Fluxes and errors of a simulated frame by all methods.

    Parameters
    ----------
    frame : `~astropy.nddata.CCDData`
        In electrons.

    catalog : `~astropy.table.QTable`
        The sources.

    psf : 2D `~numpy.ndarray`
        The point-spread function.

    noise : float
        Of the sky.

    stars : bool
        Whether all sources are stars: else only the fits that know their
        shapes are tried.

    Returns
    -------
    tables : dict of `~astropy.table.QTable`
        With ``flux`` and ``flux_error``.
    """
    noise = noise * u.electron
    tables = {}
    if stars:
        circles = apertures_of(catalog, RADIUS)
        tables['aperture'] = annulus_photometry(frame, circles, gain=1,
                                                error=noise)
        denoised = denoise(frame, gain=1, read_noise=9)
        tables['ccd aperture'] = annulus_photometry(denoised, circles)
        for name in tables:
            for column in ('flux', 'flux_error'):
                tables[name][column] /= SHARE
        stamps = np.array([moffat_image(
            31, FWHM, BETA, x_offset=x - np.rint(x), y_offset=y - np.rint(y))
            for x, y in zip(catalog['x_centroid'], catalog['y_centroid'],
                            strict=True)])
        tables['one at a time'] = profile_photometry(
            frame, circles, stamps, gain=1, error=noise)
        tables['photutils'] = photutils_fit(frame, catalog, psf, noise)
    tables['forced'] = forced_photometry(frame, catalog, psf, gain=1,
                                         error=noise)
    tables['forced, hybrid'] = QTable({
        'flux': tables['forced']['hybrid_flux'],
        'flux_error': tables['forced']['hybrid_error']})
    tables['forced, fitted'] = forced_photometry(frame, catalog, gain=1,
                                                 error=noise)
    return tables


def photutils_fit(frame, catalog, psf, noise):
    """
    Fluxes by photutils: groups of near neighbors, positions known.

    Parameters
    ----------
    frame, catalog, psf, noise : object
        As for `measure_all`.

    Returns
    -------
    table : `~astropy.table.QTable`
        With ``flux`` and ``flux_error``.
    """
    model = ImagePSF(psf)
    model.x_0.fixed = model.y_0.fixed = True
    background = Background2D(frame.data, 64).background
    variance = noise.value**2 + np.maximum(frame.data - background, 0.0)
    fit = PSFPhotometry(model, (9, 9), aperture_radius=RADIUS,
                        grouper=SourceGrouper(FWHM))
    start = QTable({'x_0': catalog['x_centroid'],
                    'y_0': catalog['y_centroid']})
    found = fit(frame.data - background, mask=frame.mask,
                error=np.sqrt(variance), init_params=start)
    return QTable({'flux': found['flux_fit'] * noise.unit,
                   'flux_error': found['flux_err'] * noise.unit})


def simulate(name, settings, seed):
    """
    Fluxes of all methods on one kind of scene.

    Parameters
    ----------
    name : str
        One of `SCENES`.

    settings : dict
        Pixels per side and number of exposures.

    seed : sequence of int
        Same seed, same scene.

    Returns
    -------
    truth, snr, floor : 1D `~numpy.ndarray`
        Of all sources in all exposures.

    fluxes, errors : dict of 1D `~numpy.ndarray`
        Of each method.
    """
    density, stars, share = SCENES[name]
    simulator = SurveySimulator(
        shape=(settings['size'],) * 2, density=density, star_fraction=stars,
        psf_fwhm=FWHM * SCALE, psf_beta=BETA, n_cosmic_rays=20,
        n_bad_columns=0, magnitude_range=(17.0, 22.5), unit='electron')
    catalog = simulator.catalog(seed=seed)
    catalog['bulge_fraction'] = 0.0
    frames, catalog = simulator.exposures(share * settings['n_exposures'],
                                          seed=seed, catalog=catalog)
    psf = moffat_image(81, FWHM, BETA)
    alone = 1 / np.sqrt(np.sum(psf**2)) * SKY
    parts = {'truth': [], 'snr': [], 'floor': []}
    fluxes, errors = {}, {}
    for frame in frames:
        tables = measure_all(frame, catalog, psf, SKY, stars == 1.0)
        truth = catalog['flux'].value
        parts['truth'].append(truth)
        parts['snr'].append(truth / np.hypot(alone, np.sqrt(truth)))
        parts['floor'].append(tables['forced']['floor_error'].value)
        for method, table in tables.items():
            fluxes.setdefault(method, []).append(table['flux'].value)
            errors.setdefault(method, []).append(table['flux_error'].value)
    joined = [np.concatenate(part) for part in parts.values()]
    return (*joined, {key: np.concatenate(part)
                      for key, part in fluxes.items()},
            {key: np.concatenate(part) for key, part in errors.items()})


def report_simulated(settings):
    """
    Print the figures of all scenes.

    Parameters
    ----------
    settings : dict
        As for `simulate`.
    """
    for number, name in enumerate(SCENES):
        start = time.perf_counter()
        truth, snr, floor, fluxes, errors = simulate(name, settings,
                                                     [SEED, number])
        print(f'\n{name}: {len(truth)} fluxes')
        print(f'{"":16s}' + ''.join(
            f'{f"S/N {low:g}-{high:g}":>28s}' for low, high in pairwise(BINS)))
        print(f'{"":16s}'
              + 4 * f'{"R":>8s}{"+-":>6s}{"scatter":>8s}{"pull":>6s}')
        for method in METHODS:
            if method not in fluxes:
                continue
            print(f'{method:16s}', end='')
            for low, high in pairwise(BINS):
                use = ((snr >= low) & (snr < high)
                       & np.isfinite(fluxes[method]) & np.isfinite(floor))
                if np.count_nonzero(use) < 20:
                    print(f'{"-":>8s}{"-":>6s}{"-":>8s}{"-":>6s}', end='')
                    continue
                flux, true = fluxes[method][use], truth[use]
                slope = np.sum(flux * true) / np.sum(true**2)
                difference = flux - true
                least = np.sqrt(np.sum(
                    (flux - slope * true)**2 * true**2)) / np.sum(true**2)
                print(f'{slope:8.3f}{least:6.3f}'
                      f'{sigma68(difference / floor[use]) / slope:8.2f}'
                      f'{sigma68(difference / errors[method][use]):6.2f}',
                      end='')
            print()
        note(f'{name}: {time.perf_counter() - start:.0f} s')


def faulty(simulator, number):
    """
    Fluxes of forced photometry where something is wrong.

    Parameters
    ----------
    simulator : `~astro_denoise.simulation.SurveySimulator`
        Draws stars.

    number : int
        Same number, same exposure.

    Returns
    -------
    truth : 1D `~numpy.ndarray`
        Of the sources.

    tables : dict of `~astropy.table.QTable`
        By what is wrong; ``'spurious'`` has the sources that are not there.
    """
    psf = moffat_image(81, FWHM, BETA)
    rng = np.random.default_rng([SEED, 9, number])
    catalog = simulator.catalog(seed=rng)
    (frame,), catalog = simulator.exposures(1, seed=rng, catalog=catalog)
    known = catalog['x_centroid', 'y_centroid']
    moved = known.copy()
    angle = rng.uniform(0, 2 * np.pi, len(known))
    moved['x_centroid'] += 0.3 * np.cos(angle)
    moved['y_centroid'] += 0.3 * np.sin(angle)
    struck = frame.copy()
    hits = rng.choice(struck.data.size, struck.data.size // 5000)
    struck.data.ravel()[hits] += rng.exponential(2000, len(hits))
    blank = QTable({name: rng.uniform(20, frame.shape[0] - 20, 300)
                    for name in ('x_centroid', 'y_centroid')})
    cases = {'exact': (frame, known, psf),
             'positions 0.3 px': (frame, moved, psf),
             'PSF 10 % wider': (frame, known,
                                moffat_image(81, 1.1 * FWHM, BETA)),
             'cosmic rays': (struck, known, psf),
             'spurious': (frame, vstack([known, blank]), psf)}
    tables = {name: forced_photometry(*arguments, gain=1,
                                      error=SKY * u.electron)
              for name, arguments in cases.items()}
    tables['spurious'] = tables['spurious'][len(known):]
    return catalog['flux'].value, tables


def report_faults(settings):
    """
    Print what catalogs, profiles and frames with faults do.

    Parameters
    ----------
    settings : dict
        As for `simulate`.
    """
    simulator = SurveySimulator(
        shape=(settings['size'],) * 2, density=1000, star_fraction=1.0,
        psf_fwhm=FWHM * SCALE, psf_beta=BETA, n_cosmic_rays=0,
        n_bad_columns=0, magnitude_range=(17.0, 22.5), unit='electron')
    alone = 1 / np.sqrt(np.sum(moffat_image(81, FWHM, BETA)**2)) * SKY
    found, spurious = {}, []
    for number in range(4 * settings['n_exposures']):
        truth, tables = faulty(simulator, number)
        table = tables.pop('spurious')
        spurious.append((table['flux'] / table['flux_error']).value)
        snr = truth / np.hypot(alone, np.sqrt(truth))
        for name, table in tables.items():
            found.setdefault(name, []).append(
                (truth, snr, table['flux'].value, table['flux_error'].value))
    print(f'\n{"faults":16s}' + ''.join(
        f'{f"S/N {low:g}-{high:g}":>24s}' for low, high in pairwise(BINS)))
    print(f'{"":16s}' + 4 * f'{"R":>10s}{"+-":>6s}{"pull":>8s}')
    for name, parts in found.items():
        truth, snr, flux, error = np.concatenate(parts, axis=1)
        print(f'{name:16s}', end='')
        for low, high in pairwise(BINS):
            use = (snr >= low) & (snr < high) & np.isfinite(flux)
            ratio = np.sum((flux * truth / error**2)[use]) / np.sum(
                (truth**2 / error**2)[use])
            pull = sigma68(((flux - truth) / error)[use])
            least = pull / np.sqrt(np.sum((truth**2 / error**2)[use]))
            print(f'{ratio:10.3f}{least:6.3f}{pull:8.2f}', end='')
        print()
    spurious = np.concatenate(spurious)
    spurious = spurious[np.isfinite(spurious)]
    print(f'spurious entries: mean {np.mean(spurious):.3f} +- '
          f'{np.std(spurious) / np.sqrt(len(spurious)):.3f} of the error, '
          f'scatter {sigma68(spurious):.2f}')
    report_linearity()


def report_linearity():
    """
    Print the flux over the truth where the profile is wrong.
    """
    ratios = []
    for flux in np.geomspace(1e3, 1e7, 5):
        catalog = {'x': np.array([50.3, 150.1, 100.2]),
                   'y': np.array([49.8, 60.2, 140.0]),
                   'flux': np.full(3, flux)}
        image = LEVEL + render_sources((200, 200), catalog, FWHM, BETA)
        table = forced_photometry(
            image, QTable(catalog), moffat_image(81, 1.1 * FWHM, BETA),
            error=np.sqrt(LEVEL), gain=1)
        ratios.append(np.mean(table['flux'] / flux))
    print('flux over truth with a PSF 10 % wider, 1e3 to 1e7 electrons: '
          + ' '.join(f'{ratio:.3f}' for ratio in ratios))


def read_m13(folder):
    """
    The five exposures of M13.

    Parameters
    ----------
    folder : path-like
        Where they are.

    Returns
    -------
    frames : list of `~astropy.nddata.CCDData`
        Banding of rows removed.
    """
    frames = []
    for path in sorted(Path(folder).glob('*.fits')):
        data = fits.getdata(path).astype(float)
        data -= np.median(data, axis=1, keepdims=True)
        frames.append(CCDData(data, unit='adu'))
    return frames


def read_eso085(folder):
    """
    The two exposures of ESO 085-030.

    Parameters
    ----------
    folder : path-like
        Where they are.

    Returns
    -------
    frames : list of `~astropy.nddata.CCDData`
        As they are.

    images : list of 2D `~numpy.ndarray`
        Without background.
    """
    frames = [CCDData(fits.getdata(path).astype(float), unit='adu')
              for path in sorted(Path(folder).glob('*.fit*'))]
    return frames, [frame.data - Background2D(frame.data, 32).background
                    for frame in frames]


def with_other_sky(raw, clean):
    """
    Fluxes of raw pixels above the sky of a denoised frame.

    In an annulus of the raw frame, faint sources are hidden in the noise and
    not clipped: its mean is too high.

    Parameters
    ----------
    raw, clean : `~astropy.table.QTable`
        What was measured on both.

    Returns
    -------
    flux : 1D `~numpy.ndarray`
        In the unit of the frame.
    """
    return raw['flux'].value + raw['area'].value * (
        raw['annulus_mean'] - clean['annulus_mean']).value


def measure_real(frame, field, catalog, psf):
    """
    Fluxes of a real frame by all methods that need no simulation.

    Parameters
    ----------
    frame : `~astropy.nddata.CCDData`
        The frame.

    field : `Field`
        How to measure it.

    catalog : `~astropy.table.QTable`
        Positions.

    psf : 2D `~numpy.ndarray` or 'fit'
        The point-spread function.

    Returns
    -------
    fluxes, errors : dict of 1D `~numpy.ndarray`
        By method.

    meta : dict
        Of forced photometry.
    """
    tables = {
        'aperture': field.measure(frame, catalog),
        'ccd aperture': field.measure(denoise(frame), catalog),
        'forced': forced_photometry(
            frame, catalog['x_centroid', 'y_centroid'], psf,
            background_step=field.background_step)}
    fluxes, errors = ({key: table[name].value
                       for key, table in tables.items()}
                      for name in ('flux', 'flux_error'))
    for parts, name in ((fluxes, 'hybrid_flux'), (errors, 'hybrid_error')):
        parts['forced, hybrid'] = tables['forced'][name].value
    fluxes['raw, sky of ccd'] = with_other_sky(tables['aperture'],
                                               tables['ccd aperture'])
    errors['raw, sky of ccd'] = errors['aperture']
    return fluxes, errors, tables['forced'].meta


def pairs_of_m13(folder):
    """
    All pairs of exposures of M13, and the sources on the three others.

    Parameters
    ----------
    folder : path-like
        Where the exposures are.

    Returns
    -------
    scenes : list of tuple
        Two frames, the mean of the others, and the sources on it.

    fwhm : float
        Of the point-spread function.
    """
    frames = read_m13(folder)
    scenes, others = [], []
    for pair in combinations(frames, 2):
        mean = np.mean([frame.data for frame in frames if all(
            frame is not each for each in pair)], axis=0)
        scenes.append((pair, mean, M13.find(mean)))
        others.append(np.mean([frame.data for frame in pair], axis=0))
    return scenes, star_width([
        (mean, other, catalog) for (_, mean, catalog), other in zip(
            scenes, others, strict=True)], M13)


def report_m13(folder):
    """
    Print the figures of M13: all pairs of exposures.

    Parameters
    ----------
    folder : path-like
        Where the exposures are.
    """
    found, snr = {}, []
    scenes, fwhm = pairs_of_m13(folder)
    for pair, mean, catalog in scenes:
        parts = [measure_real(frame, M13, catalog,
                              moffat_image(61, fwhm, REAL_BETA))
                 for frame in pair]
        for method in parts[0][0]:
            found.setdefault(method, []).append(np.array(
                [fluxes[method] / parts[0][1]['aperture']
                 for fluxes, _, _ in parts]))
        snr.append(np.asarray(M13.measure(mean, catalog)['flux']
                              / parts[0][1]['aperture']))
    fluxes = {method: np.concatenate(parts, axis=1)
              for method, parts in found.items()}
    scale = scales(fluxes, np.concatenate(snr), 3.0)
    fluxes = {method: flux * scale[method] for method, flux in fluxes.items()}
    print(f'\nM13, ten pairs of exposures, FWHM {fwhm:.2f} pixels:')
    print_pairs(fluxes, np.concatenate(snr))


def star_width(scenes, field):
    """
    Measure the width of the point-spread function of real frames.

    Parameters
    ----------
    scenes : list of tuple
        Images that sources were found on, images of the same sky with
        other noise, and the catalogs.

    field : `Field`
        How it is measured.

    Returns
    -------
    fwhm : float
        Of a Moffat profile fitted to the mean of the brightest sources.
    """
    squares, reach = [], field.star_reach
    for found, other, catalog in scenes:
        flux = np.asarray(field.measure(found, catalog)['flux'])
        x, y = (np.rint(catalog[name]).astype(int)
                for name in ('x_centroid', 'y_centroid'))
        inside = np.isfinite(flux) & (flux < np.percentile(flux[
            np.isfinite(flux)], 99)) & np.all([
                (place > reach) & (place < size - reach - 1)
                for place, size in zip((y, x), found.shape, strict=True)],
                axis=0)
        rows = np.flatnonzero(inside)
        for row in rows[np.argsort(-flux[rows])][:MOST_STARS]:
            squares.append(other[
                y[row] - reach:y[row] + reach + 1,
                x[row] - reach:x[row] + reach + 1])
    mean = np.mean(squares, axis=0)
    line = np.arange(-reach, reach + 1)
    profile = Moffat2D(mean.max(), 0, 0, field.filter_fwhm, REAL_BETA,
                       fixed={'alpha': True})
    fit = TRFLSQFitter()(profile + Const2D(0), *np.meshgrid(line, line), mean)
    return float(fit[0].fwhm)


def scales(fluxes, snr, least):
    """
    Compare the fluxes of bright sources with those in the aperture.

    Parameters
    ----------
    fluxes : dict of 2D `~numpy.ndarray`
        Shape (2, n_sources).

    snr : 1D `~numpy.ndarray`
        Of the sources.

    least : float
        From which signal-to-noise ratio on they are bright.

    Returns
    -------
    scales : dict of float
        Medians, by method.
    """
    bright = np.all([np.isfinite(flux).all(axis=0)
                     for flux in fluxes.values()], axis=0) & (snr > least)
    raw = fluxes['aperture'][:, bright].sum(axis=0)
    return {method: np.median(raw / flux[:, bright].sum(axis=0))
            for method, flux in fluxes.items()}


def report_eso085(folder):
    """
    Print the figures of the two exposures of ESO 085-030.

    Both are measured at the positions that their mean shows. What that does
    to the response is seen in the second table: each exposure is measured at
    the positions that the other shows, whose noise has no part in it.

    Parameters
    ----------
    folder : path-like
        Where the exposures are.
    """
    frames, images = read_eso085(folder)
    catalog = find_inside(np.mean(images, axis=0))
    catalogs = [find_inside(image) for image in images]
    fwhm = star_width([(*images, catalogs[0]), (*images[::-1], catalogs[1])],
                      ESO085)
    psf = moffat_image(41, fwhm, REAL_BETA)
    (first, errors, _), (second, _, _) = (
        measure_real(frame, ESO085, catalog, psf) for frame in frames)
    fluxes = {method: np.array([first[method], second[method]])
              / errors['aperture'] for method in first}
    snr = fluxes['aperture'].mean(axis=0)
    scale = scales(fluxes, snr, 15.0)
    fluxes = {method: flux * scale[method] for method, flux in fluxes.items()}
    print(f'\nESO 085-030, FWHM {fwhm:.2f} pixels, positions from the mean of '
          'the pair:')
    print_pairs(fluxes, snr)
    own, other = {}, []
    for number in (0, 1):
        catalog = catalogs[number]
        fluxes, errors, _ = measure_real(frames[1 - number], ESO085, catalog,
                                         psf)
        other.append(ESO085.measure(frames[number], catalog)['flux'].value
                     / errors['aperture'])
        for method, flux in fluxes.items():
            own.setdefault(method, []).append(
                flux * scale[method] / errors['aperture'])
    print('\nESO 085-030, positions from the other exposure: R')
    print_slopes({method: np.concatenate(parts)
                  for method, parts in own.items()}, np.concatenate(other))


def find_inside(image):
    """
    Find sources that are not near the edges.
    """
    catalog = ESO085.find(image)
    x, y = catalog['x_centroid'], catalog['y_centroid']
    return catalog[(np.minimum(x, y) > 25) & (x < image.shape[1] - 25)
                   & (y < image.shape[0] - 25)]


def print_slopes(own, other):
    """
    Print the response against raw fluxes of other frames.

    Parameters
    ----------
    own : dict of 1D `~numpy.ndarray`
        Fluxes of each method, over the errors of the raw ones.

    other : 1D `~numpy.ndarray`
        Raw ones of the other frames, over the same.
    """
    good = np.isfinite(other) & np.all(
        [np.isfinite(flux) for flux in own.values()], axis=0)
    print_head(good, other)
    for method, flux in own.items():
        print(f'{method:16s}', end='')
        for low, high in pairwise(REAL_BINS):
            use = good & (other >= low) & (other < high)
            if np.count_nonzero(use) < 20:
                print(f'{"-":>10s}{"-":>6s}{"":8s}', end='')
                continue
            ratio, least = ratio_with_error(
                flux[use] * other[use], (own['aperture'] * other)[use])
            print(f'{ratio:10.3f}{least:6.3f}{"":8s}', end='')
        print()


def ratio_with_error(numerator, denominator):
    """
    Divide two sums over sources, with an error from a bootstrap.

    Parameters
    ----------
    numerator, denominator : 1D `~numpy.ndarray`
        Of each source.

    Returns
    -------
    ratio, error : float
        Of the sums.
    """
    rows = np.random.default_rng(SEED).integers(
        0, len(numerator), (400, len(numerator)))
    ratios = numerator[rows].sum(axis=1) / denominator[rows].sum(axis=1)
    return numerator.sum() / denominator.sum(), sigma68(ratios)


def print_head(good, snr):
    """
    Print the bins, and how many sources there are.
    """
    print(f'{"":16s}' + ''.join(f'{f"S/N {low:g}-{high:g}":>24s}'
                                for low, high in pairwise(REAL_BINS)))
    print(f'{"sources":16s}' + ''.join(
        f'{np.count_nonzero(good & (snr >= low) & (snr < high)):24d}'
        for low, high in pairwise(REAL_BINS)))


def mean_snr(field, catalog, mean, table):
    """
    Signal-to-noise ratio of a single exposure, from the mean of others.

    Parameters
    ----------
    field : `Field`
        How it is measured.

    catalog : `~astropy.table.QTable`
        The sources.

    mean : 2D `~numpy.ndarray`
        Mean of the exposures that they were found on.

    table : `~astropy.table.QTable`
        Aperture fluxes of one exposure.

    Returns
    -------
    snr : 1D `~numpy.ndarray`
        Of each source.
    """
    return field.measure(mean, catalog)['flux'] / table['flux_error'].value


def print_pairs(fluxes, snr):
    """
    Print scatter and response of fluxes measured twice.

    Parameters
    ----------
    fluxes : dict of 2D `~numpy.ndarray`
        Shape (2, n_sources).

    snr : 1D `~numpy.ndarray`
        Of the sources.
    """
    good = np.all([np.isfinite(flux).all(axis=0)
                   for flux in fluxes.values()], axis=0)
    print_head(good, snr)
    raw = fluxes['aperture']
    for method, flux in fluxes.items():
        print(f'{method:16s}', end='')
        for low, high in pairwise(REAL_BINS):
            use = good & (snr >= low) & (snr < high)
            if np.count_nonzero(use) < 20:
                print(f'{"-":>10s}{"-":>6s}{"-":>8s}', end='')
                continue
            mine, other = flux[:, use], raw[:, use]
            response, least = ratio_with_error(
                np.sum(mine * other[::-1], axis=0),
                2 * other[0] * other[1])
            scatter = (sigma68(mine[0] - mine[1])
                       / sigma68(other[0] - other[1]))
            print(f'{response:10.2f}{least:6.2f}{scatter / response:8.2f}',
                  end='')
        print()


def report_speed(settings):
    """
    Print the least time of some runs on large frames, and the memory.

    Parameters
    ----------
    settings : dict
        As for `simulate`.
    """
    for shape, n_sources in settings['speed']:
        rng = np.random.default_rng(SEED)
        catalog = QTable({'x': rng.uniform(0, shape[1] - 1, n_sources),
                          'y': rng.uniform(0, shape[0] - 1, n_sources)})
        image = rng.normal(100, 5, shape)
        times = []
        for _ in range(SPEED_RUNS):
            start = time.perf_counter(), time.process_time()
            forced_photometry(image, catalog, moffat_image(61, FWHM, BETA),
                              error=5.0, gain=1)
            times.append((time.perf_counter() - start[0],
                          time.process_time() - start[1]))
        first, least = times[0], np.min(times, axis=0)
        print(f'{n_sources} sources on {shape[0]}x{shape[1]}: '
              f'{least[0]:.1f} s, {least[1]:.1f} s of the processor, the '
              f'first time {first[1]:.1f} s, at most '
              f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f}'
              ' GB')


def note(text):
    """Print how long a part took, which is no result."""
    print(f'# {text}')


def main():
    """
    Print all figures.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--size', type=int, default=512)
    parser.add_argument('--n-exposures', type=int, default=2)
    parser.add_argument('--m13', metavar='FOLDER')
    parser.add_argument('--eso085', metavar='FOLDER')
    parser.add_argument('--speed', action='store_true')
    options = parser.parse_args()
    warnings.simplefilter('ignore', AstropyUserWarning)
    settings = {'size': options.size, 'n_exposures': options.n_exposures,
                'speed': [((1024, 1024), 1000), ((4096, 2048), 10000),
                          ((4096, 2048), 100000)]}
    if options.speed:
        report_speed(settings)
        return
    report_simulated(settings)
    report_faults(settings)
    if options.m13:
        report_m13(options.m13)
    if options.eso085:
        report_eso085(options.eso085)


if __name__ == '__main__':
    main()
