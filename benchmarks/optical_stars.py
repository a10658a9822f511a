# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Stars in optical frames, found among galaxies and cosmic rays.

Run as ``python benchmarks/optical_stars.py``. Fields are of
`~astro_denoise.simulation.SurveySimulator`, of seeds used nowhere else. The
model ``ccd-stars`` at several cuts in probability stands beside
DAOStarFinder, told the seeing, with the same measurement of the fluxes.

For stars above some signal-to-noise ratio of a matched filter:
``complete``, the share that is found within 2 pixels, and ``offset``, their
median distance; ``pure``, the share of the entries above the same measured
ratio that are stars. Then, for the model, the ratio of found to true fluxes
of stars by true signal-to-noise ratio, and sigma68 of the difference over
the stated error.
"""

import argparse
import warnings
from itertools import pairwise

import numpy as np
from astropy.stats import mad_std
from astropy.table import QTable
from photutils.detection import DAOStarFinder
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.spatial import cKDTree

from astro_denoise import load_model, segment_point_sources
from astro_denoise.segmentation.catalog import measure_stars
from astro_denoise.simulation.survey import SurveySimulator

SEED = 20150212_91  # used by no other script and no training

LEVELS = (5.0, 10.0, 20.0)
BINS = (5.0, 10.0, 20.0, 50.0, 200.0, 1000.0)
NEAR = 2.0  # pixels
LEAST = 0.05  # probability from which on entries are looked at
CUTS = (LEAST, None, 0.2, 0.3, 0.4, 0.5)
NAMES = ('x_centroid', 'y_centroid', 'snr', 'probability', 'flux',
         'flux_error')

# Thresholds of DAOStarFinder, in noise of the sky, and its largest roundness.
FINDERS = ((3.0, 1.0), (4.0, 1.0), (3.0, 0.5), (3.0, 0.3))


def draw_field(seed, size):
    """
    A field, its stars and what the noise is.

    Parameters
    ----------
    seed : sequence of int
        Same seed, same field.

    size : int
        Pixels per side.

    Returns
    -------
    frame : `~astropy.nddata.CCDData`
        The exposure.

    stars : `~numpy.ndarray`
        Rows of x, y, flux in the unit of the frame, and matched-filter
        signal-to-noise ratio.

    noise : float
        Of a pixel of the sky.
    """
    simulator = SurveySimulator(shape=(size, size), star_fraction=0.4)
    exposures, catalog = simulator.exposures(1, seed=seed)[:2]
    frame = exposures[0]
    noise = mad_std(frame.data, ignore_nan=True)
    flux = catalog['flux'].value / frame.header['GAIN']
    area = 4.0 * np.pi * (frame.header['SEEING'] / 2.355)**2
    stars = np.stack([catalog['x_centroid'], catalog['y_centroid'], flux,
                      flux / (noise * np.sqrt(area))], 1)
    stars = stars[np.asarray(catalog['is_star'])]
    inside = np.all((stars[:, :2] >= 0) & (stars[:, :2] <= size - 1), axis=1)
    return frame, stars[inside], noise


def by_model(frame, model):
    """x, y, signal-to-noise ratio, probability, flux and error."""
    table = segment_point_sources(frame, model, threshold=LEAST).catalog
    return np.stack([getattr(table[name], 'value', table[name])
                     for name in NAMES], 1)


def by_finder(frame, noise, threshold, roundness):
    """The same of DAOStarFinder; it is sure of everything."""
    values = np.where(frame.mask, 0.0, frame.data - np.median(frame.data))
    table = DAOStarFinder(
        threshold * noise, frame.header['SEEING'],
        roundness_range=(-roundness, roundness))(values, mask=frame.mask)
    if table is None:
        return np.zeros((0, 6))
    catalog = QTable({name: np.asarray(table[name], dtype=float)
                      for name in ('x_centroid', 'y_centroid')})
    catalog['label'] = np.arange(1, len(table) + 1)
    catalog['probability'] = np.ones(len(table))
    measure_stars(catalog, values, np.full(values.shape, noise), ~frame.mask)
    return np.stack([catalog[name] for name in NAMES], 1)


def scores(fields, found, level, cut):
    """
    Completeness, purity and offset.

    Parameters
    ----------
    fields, found : list
        Of `draw_field`, and entries for each.

    level, cut : float
        Least signal-to-noise ratio and probability.

    Returns
    -------
    complete, pure, offset : float
        See above.
    """
    hits, right = [], []
    for (_, stars, _), entries in zip(fields, found, strict=True):
        sure = entries[entries[:, 3] > cut]
        hits.append(cKDTree(sure[:, :2]).query(
            stars[stars[:, 3] > level, :2])[0] if len(sure)
            else np.full((stars[:, 3] > level).sum(), np.inf))
        strong = sure[sure[:, 2] > level]
        right.append(cKDTree(stars[:, :2]).query(strong[:, :2])[0] < NEAR)
    hits, right = np.concatenate(hits), np.concatenate(right)
    near = hits < NEAR
    return near.mean(), right.mean(), np.median(hits[near])


def fluxes(fields, found):
    """Print how well the fluxes of stars are known."""
    true, rows = [], []
    for (_, stars, _), entries in zip(fields, found, strict=True):
        distance, index = cKDTree(entries[:, :2]).query(stars[:, :2])
        near = distance < NEAR
        true.append(stars[near])
        rows.append(entries[index[near]])
    true, rows = np.concatenate(true), np.concatenate(rows)
    print(f'\n{"true S/N":>14s}{"stars":>8s}{"flux ratio":>12s}'
          f'{"sigma68 of pulls":>18s}')
    for low, high in pairwise(BINS):
        inside = ((true[:, 3] > low) & (true[:, 3] <= high)
                  & np.isfinite(rows[:, 4]))
        if inside.sum() < 5:
            continue
        ratio = rows[inside, 4] / true[inside, 2]
        pull = (rows[inside, 4] - true[inside, 2]) / rows[inside, 5]
        print(f'{f"{low:g}-{high:g}":>14s}{inside.sum():8d}'
              f'{np.median(ratio):12.3f}'
              f'{np.percentile(np.abs(pull), 68.27):18.2f}')


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='ccd-stars')
    parser.add_argument('--fields', type=int, default=16)
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--seed', type=int, default=SEED)
    options = parser.parse_args()
    warnings.simplefilter('ignore', NoDetectionsWarning)
    model = load_model(options.model, task='segment')
    fields = [draw_field([options.seed, number], options.size)
              for number in range(options.fields)]
    stars = np.concatenate([stars for _, stars, _ in fields])
    counts = ', '.join(f'{(stars[:, 3] > level).sum()} above {level:g}'
                       for level in LEVELS)
    print(f'{options.fields} fields of {options.size}²; stars by S/N: '
          f'{counts}\n')
    print(f'{"":30s}' + ''.join(f'{f"S/N > {level:g}":^27s}'
                                for level in LEVELS))
    print(f'{"":30s}' + f'{"complete":>9s}{"pure":>9s}{"offset":>9s}'
          * len(LEVELS))
    ours = [by_model(frame, model) for frame, *_ in fields]
    threshold = model.metadata['threshold']
    methods = [
        (f'DAOStarFinder {sigmas:g}, round {roundness:g}',
         [by_finder(frame, noise, sigmas, roundness)
          for frame, _, noise in fields], 0.0)
        for sigmas, roundness in FINDERS] + [
        (f'{model.name} > {cut or threshold:.2f}'
         + ' (default)' * (cut is None), ours, cut or threshold)
        for cut in CUTS]
    for label, found, cut in methods:
        print(f'{label:30s}' + ''.join(
            f'{complete:9.3f}{pure:9.3f}{offset:9.3f}'
            for complete, pure, offset in (
                scores(fields, found, level, cut) for level in LEVELS)))
    fluxes(fields, ours)


if __name__ == '__main__':
    main()
