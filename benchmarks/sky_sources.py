# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Catalogs of point sources on gamma-ray skies that the simulator did not draw.

Isolated sources anywhere in a pixel; skies made in numpy, one thing changed
at a time (see `misspecification`), and skies with nuisances; and the map of
Fermi-LAT beside the 8-year list of its sources. For each the models and, as
the free baseline, DAOStarFinder on the counts over a running median.

    python benchmarks/sky_sources.py
    python benchmarks/sky_sources.py --list lat_8year_gc.ecsv
"""

import argparse
import warnings

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from galactic_baselines import dao_finder
from misspecification import CASES, HALF, NAMES, expected_counts

from astro_denoise import evaluation, segment_point_sources
from astro_denoise.data.examples import load_fermi_map
from astro_denoise.exceptions import UnusualImageWarning
from astro_denoise.simulation import GalacticCenterSimulator

SCALE = 2 * HALF / 64

# Models, and the signal-to-noise ratio from which their rows are taken: the
# advice of the documentation.
MODELS = {'galactic-center': 3.8, 'galactic-sky': 0.0}

# The finder as `galactic_center.py` tunes it on skies of the simulator.
FINDER = dao_finder(box=11, threshold=4.5, fwhm=1.4)

# Signal-to-noise ratio of sources that should be found.
LIMIT = 5.0

# Level of the isolated sources, and their fluxes.
LEVEL, FLUXES = 15.0, (1000.0, 300.0, 100.0)

# Sources of the list that are looked for, their largest distance, and the
# shifts in longitude by which chance is measured.
N_LISTED, NEAR, SHIFTS = 100, 0.3, (-4, -3, -2, 2, 3, 4)


def catalogs(images, model):
    """Find x, y, flux and its error in images."""
    if model == 'DAOStarFinder':
        return [np.pad(np.asarray(FINDER(image)).reshape(-1, 2),
                       ((0, 0), (0, 2)), constant_values=np.nan)
                for image in images]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UnusualImageWarning)
        found = segment_point_sources(images, model)
    found = found if isinstance(found, list) else [found]
    return [np.stack([np.asarray(part[name]) for name in (
        'x_centroid', 'y_centroid', 'flux', 'flux_error')], 1)
        for part in (each.catalog[each.catalog['snr'] > MODELS.get(model, 0.0)]
                     for each in found)]


def report_isolated(models, n):
    """Print how isolated sources are listed."""
    print(f'\nIsolated sources anywhere in a pixel on a level of {LEVEL:g}, '
          f'{n} each\n'
          f'{"":18s}  flux  found  once  others  flux/true  pulls   deg')
    simulator = GalacticCenterSimulator()
    for flux in FLUXES:
        rng = np.random.default_rng([801, int(flux)])
        places = rng.uniform(-10, 10, (n, 2))
        images = np.stack([rng.poisson(LEVEL + simulator.expected_light(
            *place[:, None], [flux])) for place in places]).astype(float)
        places = (places + HALF) / SCALE - 0.5
        for model in models:
            rows, counts, others = [], [], 0
            for place, part in zip(places, catalogs(images, model),
                                   strict=True):
                distance = np.hypot(*(part[:, :2] - place).T)
                near = distance < 2.5
                counts.append(near.sum())
                others += (~near).sum()
                if near.any() and distance.min() < 1.0:
                    index = distance.argmin()
                    rows.append([*part[index, 2:], distance[index]])
            found, error, distance = np.array(rows).reshape(-1, 3).T
            print(f'{model:18s} {flux:5.0f}  {len(rows) / n:5.3f} '
                  f'{np.mean(np.array(counts) == 1):5.3f}  '
                  f'{others / n:6.2f}  {found.mean() / flux:9.3f}  '
                  f'{np.std((found - flux) / error):5.2f} '
                  f'{SCALE * np.sqrt(np.mean(distance**2)):5.3f}',
                  flush=True)


def made_skies(n, seed, *, exposure=1.0, mirrored=False, **options):
    """Draw images with expected counts and fluxes, shape (3, n, 64, 64)."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform([0, 0, 0, 0, 200, 1000], [1, 1, 1, 1, 800, 4000],
                       (n, 6))
    skies = exposure * np.stack([expected_counts(
        dict(zip(NAMES, row, strict=True)), rng, **options)
        for row in rows], 1)
    images = rng.poisson(skies[0])
    planes = np.stack([images, *skies])
    return planes[..., ::-1] if mirrored else planes


def profile(psf, fine=25):
    """Compute the light of a source in the middle of 11 x 11 pixels."""
    line = (np.arange(11 * fine) + 0.5) / fine - 5.5
    light = np.exp(-0.5 * (line * SCALE / psf)**2)
    light = light.reshape(11, fine).sum(1) / light.sum()
    return light[:, None] * light


def matched(rows, flux, snr):
    """
    Match rows with true pixels, those far above the noise first.

    Returns flux, error, and the true flux and signal-to-noise ratio.
    """
    free = np.ones(len(rows), bool)
    pairs = []
    for index in np.argsort(-snr, axis=None)[:np.count_nonzero(snr > 2)]:
        row, column = np.divmod(index, snr.shape[1])
        distance = np.hypot(rows[:, 0] - column, rows[:, 1] - row)
        distance[~free] = np.inf
        if len(rows) and distance.min() < 1.0:
            nearest = distance.argmin()
            free[nearest] = False
            pairs.append([*rows[nearest, 2:], flux.flat[index],
                          snr.flat[index]])
    return np.array(pairs).reshape(-1, 4)


def report_skies(label, planes, profiles, models):
    """Print how the catalogs of skies are."""
    images, expected, flux = planes
    snr = np.stack([evaluation.ideal_snr(*parts) for parts in zip(
        flux, expected, profiles, strict=True)])
    for model in models:
        found = catalogs(images, model)
        scores = evaluation.match_sources([part[:, :2] for part in found],
                                          snr)[0]
        pairs = np.concatenate([matched(*parts) for parts in zip(
            found, flux, snr, strict=True)])
        measured, error, true, true_snr = pairs.T
        bright = true_snr > LIMIT
        pulls = np.percentile(((measured - true) / error)[bright],
                              [15.87, 84.13])
        n_rows = sum(map(len, found)) / len(found)
        print(f'{label:22s} {model:16s} {n_rows:6.1f} '
              f'{scores["completeness"]:9.3f} {scores["purity"]:6.3f} '
              f'{measured.sum() / true.sum():9.3f} '
              f'{np.median(measured[bright] / true[bright]):7.3f} '
              f'{np.diff(pulls)[0] / 2:7.2f}', flush=True)


def report_all_skies(models, n):
    """Print the table of skies."""
    print(f'\nSources of ideal S/N > {LIMIT:g}, within 1 pixel, {n} images '
          'each; fluxes of all rows that are sources\nover the true ones, '
          'the median of the bright ones, and half the width of 68 % of '
          'their pulls\n'
          f'{"":39s}   rows  complete   pure  all flux  median   pulls')
    for number, (label, changed) in enumerate(CASES.items()):
        planes = made_skies(n, [803, number], **changed)
        report_skies(label, planes,
                     [profile(changed.get('psf', 0.8 / 3))] * n, models)
    for tier in ('fixed', 'realistic'):
        simulator = GalacticCenterSimulator(tier, nuisances=True,
                                            exposure=(0.3, 3.0))
        drawn = simulator.draw(n, [804, len(tier)], bright=(5, 100.0, 3000.0))
        gain = (simulator.gain * drawn['exposure'])[:, None, None]
        planes = [plane.numpy().astype(float) for plane in (
            drawn['images'], drawn['expected'],
            drawn['sources'].sum(1) * gain)]
        report_skies(f'{tier}, nuisances', planes,
                     drawn['profile'].numpy(), models)


def report_map(models, path):
    """Print how many entries are sources of the list, and the reverse."""
    listed = Table.read(path)
    listed.sort('Signif_Avg', reverse=True)
    listed = SkyCoord(listed['GLON'], listed['GLAT'], unit='deg',
                      frame='galactic')[:N_LISTED]
    image = load_fermi_map()

    def share(places, among):
        if not len(places):
            return np.nan
        return np.mean(places[:, None].separation(among[None]).min(1)
                       < NEAR * u.deg)

    print(f'\nFermi-LAT: entries within {NEAR:g} degrees of one of the '
          f'{N_LISTED} most significant sources of the list,\nthe same '
          'shifted in longitude, and sources with an entry\n'
          f'{"":31s} entries  near  by chance   listed  with entry')
    for model in models:
        place = catalogs([np.asarray(image.data, float)] if model
                         == 'DAOStarFinder' else image, model)[0]
        place = image.wcs.pixel_to_world(*place[:, :2].T).galactic
        for label, low, high in (('|b| < 2', 0, 2), ('|b| > 2', 2, 90)):
            own, of_list = (part[(abs(part.b.deg) >= low)
                                 & (abs(part.b.deg) < high)]
                            for part in (place, listed))
            chance = np.mean([share(SkyCoord(
                own.l + shift * u.deg, own.b, frame='galactic'), listed)
                for shift in SHIFTS])
            print(f'{model:22s} {label:8s} {len(own):7d} '
                  f'{share(own, listed):5.2f}  {chance:9.2f}  '
                  f'{len(of_list):7d}  {share(of_list, place):10.2f}',
                  flush=True)


def main():
    """Read the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-n', type=int, default=100, help='images of a case')
    parser.add_argument('--models', nargs='+', default=list(MODELS))
    parser.add_argument('--list', metavar='FILE',
                        help='the 8-year list of Fermi-LAT around the Center')
    options = parser.parse_args()
    models = [*options.models, 'DAOStarFinder']
    report_isolated(models, 2 * options.n)
    report_all_skies(models, options.n)
    if options.list:
        report_map(models, options.list)


if __name__ == '__main__':
    main()
