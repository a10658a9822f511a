# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Detection of faint, crowded and close sources in CCD frames.

Run as ``python benchmarks/source_detection.py``. Fields are blank, crowded
(5,000-60,000 sources per Mpix) and galaxies' halos, of seeds used nowhere
else. The model ``ccd-sources`` stands beside filters of the raw frame
(Gaussians of several widths, differences of two of them, the true
point-spread function), `sep` where it is installed, DAOStarFinder, and
filters of denoised frames. All are told the noise; the filters are told the
seeing too, the model measures it.

``true at 99/95/90/80 %``: sources with a signal-to-noise ratio above 2 that
are found before the list of all fields of a kind, the surest first, falls
below that purity. A detection is true if a source that no surer one has is
within half a FWHM, at least one pixel.
"""

import argparse
import importlib.util
import time
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.wcs import WCS
from forced_photometry import ESO085, apertures_of
from photutils.detection import DAOStarFinder
from photutils.psf import MoffatPSF
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree

from astro_denoise import denoise, load_model, segment_point_sources
from astro_denoise.data import load_example_pair
from astro_denoise.frames.inputs import open_frame
from astro_denoise.inference import Runtime
from astro_denoise.inference.candidates import (
    find_candidates,
    probabilities,
)
from astro_denoise.inference.source_centers import find_centers
from astro_denoise.noise import measure_plane
from astro_denoise.noise.seeing import frame_fwhm
from astro_denoise.photometry import (
    profile_photometry,
    sigma68,
)
from astro_denoise.simulation.artefacts import cosmic_rays
from astro_denoise.simulation.crowded_fields import (
    EllipticalMoffat,
    render_field,
)
from astro_denoise.training.source_batches import FAINTEST
from astro_denoise.training.source_calibration import match
from astro_denoise.training.source_scenes import (
    draw_source_scene,
    filter_noise,
)

SEED = 20261128  # used by no training
PURITIES = (0.99, 0.95, 0.9, 0.8)
FIELDS = ('blank', 'halo', 'crowded')
SNR_BINS = (5.0, 7.0, 10.0, 20.0, 50.0, 1000.0)
SIZES = (512, 1024, 2048)  # of the frames that are timed
LEAST = 0.02  # probability from which on rows are looked at
SHARP = (1.2, 1.6, 2.2, 3.0, 4.5)  # FWHM of fields with artefacts, pixels
SKY, READ_NOISE = 200.0, 5.0
FALSE_CHARGE = 8.0  # noise of the sky: cosmic rays that could be sources


@dataclass(eq=False)
class Field:
    """A frame and what is true of it."""

    frame: CCDData
    sources: np.ndarray
    psf: EllipticalMoffat
    signal: np.ndarray
    sigma: np.ndarray


def exposed(image, rng, *, charge=0.0):
    """Expose an image that is in units of the noise of the sky."""
    level = np.sqrt(SKY + READ_NOISE**2)
    expected = np.maximum(image, 0.0) * level + SKY
    electrons = rng.poisson(expected) + charge * level + (
        READ_NOISE * rng.standard_normal(image.shape))
    return (CCDData(electrons.astype(np.float32), unit='electron'),
            np.sqrt(expected + READ_NOISE**2) / level)


def draw_field(seed, kind, size):
    """A field of a kind, measured as the model measures it."""
    rng = np.random.default_rng([*seed, 1])
    fwhm = float(rng.uniform(2.0, 6.0))
    scene = draw_source_scene(seed, size=size, field=kind, fwhm=fwhm,
                              plain=True)
    frame, noise = exposed(scene.image, rng)
    _, whole = measure_plane(open_frame(frame).plane(), gain=1.0,
                             read_noise=READ_NOISE, keep=True)
    sources = scene.sources.copy()
    place = np.rint(sources[:, 1::-1].T).astype(int)
    inside = np.all((place >= 0) & (place < size), axis=0)
    sources = sources[inside]
    sources[:, 2] /= noise[tuple(place[:, inside])]
    sources = sources[sources[:, 2] >= FAINTEST]
    return Field(frame, sources, scene.psf, whole.values - whole.background,
                 whole.noise_map)


def peaks(height, least):
    """Local maxima: x, y and height, the surest first."""
    top = (height == maximum_filter(height, 3)) & (height > least)
    y, x = np.nonzero(top)
    return np.stack([x, y, height[top]], 1).astype(float)


def filtered(signal, sigma, width):
    """A Gaussian filter of unit noise."""
    weight = sigma**-2.0
    norm = gaussian_filter(weight, width / np.sqrt(2.0)) / (4 * np.pi
                                                            * width**2)
    return gaussian_filter(signal * weight, width) / np.sqrt(norm)


def by_gaussian(field, factor):
    """A Gaussian filter of the raw frame."""
    width = factor * field.psf.fwhm / 2.3548
    return peaks(filtered(field.signal, field.sigma, width), 2.0)


def difference(signal, sigma, width, ratio):
    """A difference of two Gaussian filters, of about unit noise."""
    scaled = signal / sigma
    return ((gaussian_filter(scaled, width)
             - gaussian_filter(scaled, ratio * width))
            * np.sqrt(4.0 * np.pi) * width)


def by_difference(field, factor, ratio=2.0):
    """A difference of Gaussians on the raw frame."""
    width = factor * field.psf.fwhm / 2.3548
    return peaks(difference(field.signal, field.sigma, width, ratio), 1.5)


def by_psf(field):
    """The filter matched to the true point-spread function."""
    half = int(4 * field.psf.fwhm)
    psf = render_field((2 * half + 1, 2 * half + 1), {
        'x': np.array([half]), 'y': np.array([half]),
        'flux': np.array([1.0])}, field.psf)
    weight = field.sigma**-2.0
    total = fftconvolve(field.signal * weight, psf[::-1, ::-1], 'same')
    norm = fftconvolve(weight, psf[::-1, ::-1]**2, 'same')
    return peaks(total / np.sqrt(np.maximum(norm, 1e-12)), 2.0)


def by_daofind(field, sigmas):
    """DAOStarFinder, told seeing and noise, roundness cut off."""
    table = DAOStarFinder(
        sigmas * np.median(field.sigma), field.psf.fwhm,
        sharpness_range=(0.0, 2.0), roundness_range=(-2.0, 2.0))(
            np.asarray(field.signal, float))
    if table is None:
        return np.zeros((0, 3))
    return np.stack([np.asarray(table[name], float) for name in (
        'x_centroid', 'y_centroid', 'daofind_mag')], 1) * [1, 1, -1]


def by_sep(field):
    """SEP (Source Extractor), with a filter of the seeing."""
    import sep

    half = int(np.ceil(field.psf.fwhm))
    line = np.arange(-half, half + 1)
    kernel = np.exp(-0.5 * (line / field.psf.fwhm * 2.3548)**2)
    sep.set_extract_pixstack(2_000_000)
    found = sep.extract(
        np.ascontiguousarray(field.signal, np.float32), 1.0,
        err=np.ascontiguousarray(field.sigma, np.float32), minarea=3,
        filter_kernel=np.outer(kernel, kernel), deblend_nthresh=32,
        deblend_cont=0.001)
    sigma = map_coordinates(field.sigma, [found['y'], found['x']], order=0)
    return np.stack([found['x'], found['y'], found['cpeak'] / sigma], 1)


def by_denoised(field, model, factor):
    """A narrow filter of a denoised frame, ranked by its height."""
    height = _denoised(field, model) / field.sigma
    return peaks(gaussian_filter(height, factor * field.psf.fwhm / 2.3548),
                 0.05)


def by_denoised_difference(field, model):
    """A difference of Gaussians of a denoised frame."""
    return peaks(difference(_denoised(field, model), field.sigma,
                            0.5 * field.psf.fwhm / 2.3548, 3.0), 0.2)


def by_model(field, model):
    """What the model lists, without the fluxes, which take longer."""
    measurement, whole = measure_plane(
        open_frame(field.frame).plane(), gain=1.0, read_noise=READ_NOISE,
        keep=True)
    signal = (whole.values - whole.background).astype(np.float32)
    fwhm = frame_fwhm(measurement, signal, whole.noise_map, whole.valid)
    answers = find_centers(
        model.network, (signal / whole.noise_map).astype(np.float32),
        whole.valid, fwhm, runtime=Runtime.resolve())
    found = find_candidates(answers, signal, whole.noise_map, whole.valid,
                            fwhm)
    probability, star = probabilities(model.network.scores, found)
    rows = np.stack([found.x, found.y, probability, star, found.artefact], 1)
    return rows[probability > LEAST]


@lru_cache(maxsize=64)
def _denoised(field, model):
    """A denoised frame above the background of the raw one."""
    clean = denoise(field.frame, model, gain=1.0, read_noise=READ_NOISE).data
    return clean - (field.frame.data - field.signal)


def methods():
    """All methods by name; ours is the first."""
    named = {}
    for factor in (0.7, 1.0, 1.3):
        named[f'Gaussian {factor:g} FWHM, raw'] = (
            lambda field, factor=factor: by_gaussian(field, factor))
    for factor, ratio in ((0.6, 2.0), (0.8, 1.6), (1.0, 2.0)):
        named[f'DoG {factor:g}, x {ratio:g}, raw'] = (
            lambda field, factor=factor, ratio=ratio: by_difference(
                field, factor, ratio))
    named['true PSF, raw'] = by_psf
    for sigmas in (1.0, 2.0):
        named[f'DAOStarFinder {sigmas:g}'] = (
            lambda field, sigmas=sigmas: by_daofind(field, sigmas))
    if importlib.util.find_spec('sep'):
        named['sep'] = by_sep
    named['ccd + 0.5 FWHM'] = lambda field: by_denoised(field, 'ccd', 0.5)
    named['ccd-mmse + 0.5 FWHM'] = lambda field: by_denoised(
        field, 'ccd-mmse', 0.5)
    named['DoG on ccd-mmse'] = lambda field: by_denoised_difference(
        field, 'ccd-mmse')
    return named


def reach(field):
    """Within which a detection is true, in pixels."""
    return max(0.5 * field.psf.fwhm, 1.0)


def hits(field, found):
    """Row of the source of each detection, -1 for none."""
    return match(found[:, 0], found[:, 1], found[:, 2], field.sources,
                 reach(field))


def counts_at(scores, true):
    """True detections at each purity."""
    order = np.argsort(-scores, kind='stable')
    right = np.cumsum(true[order])
    purity = right / np.arange(1, len(order) + 1)
    counts = []
    for wanted in PURITIES:
        enough = np.flatnonzero(purity >= wanted)
        counts.append(int(right[enough[-1]]) if len(enough) else 0)
    return counts


def detection(fields, model):
    """Print what is found at each purity; return the rows of the model."""
    print('\nTrue detections at a purity of '
          + ', '.join(f'{100 * purity:g} %' for purity in PURITIES))
    ours = {}
    for kind in FIELDS:
        n = sum(len(field.sources) for field in fields[kind])
        print(f'\n{kind}: {n} sources with S/N > {FAINTEST:g}')
        rows = [by_model(field, model) for field in fields[kind]]
        ours[kind] = rows
        best = None
        for name, method in {model.name: None, **methods()}.items():
            found = rows if method is None else [
                method(field) for field in fields[kind]]
            true = np.concatenate([hits(field, each) >= 0 for field, each in
                                   zip(fields[kind], found, strict=True)])
            counts = counts_at(np.concatenate(
                [each[:, 2] for each in found]), true)
            best = best or counts[2]
            print(f'{name:24s}' + ''.join(f'{count:8d}' for count in counts)
                  + f'{best / max(counts[2], 1):8.3f}')
    print('\nThe last column is what the model finds at 90 % over what the '
          'method does.')
    return ours


def whole_catalog(field, model):
    """What the model lists, with fluxes."""
    return segment_point_sources(field.frame, model, gain=1.0,
                                 read_noise=READ_NOISE).catalog


def speed(model, seed):
    """Print what a frame takes, by kind and size."""
    for words, find in (('without fluxes', by_model),
                        ('with fluxes', whole_catalog)):
        print(f'\nCPU seconds per Mpix for {model.name}, {words}')
        print(f'{"":10s}' + ''.join(f'{f"{size}²":>8s}' for size in SIZES))
        for kind in FIELDS:
            best = []
            for size in SIZES:
                field = draw_field([seed, 8], kind, size)
                seconds = []
                for _ in range(4):  # the first one loads what is compiled
                    started = time.process_time()
                    find(field, model)
                    seconds.append(time.process_time() - started)
                best.append(1e6 * min(seconds) / field.signal.size)
            print(f'{kind:10s}' + ''.join(f'{each:8.2f}' for each in best))


def calibration(fields, ours):
    """Print the error of the probabilities in each kind of field."""
    print('\nMean error of the probability of candidates (expected '
          'calibration error, 10 bins)')
    for kind in FIELDS:
        probability = np.concatenate([rows[:, 2] for rows in ours[kind]])
        true = np.concatenate([hits(field, rows) >= 0 for field, rows in zip(
            fields[kind], ours[kind], strict=True)])
        bins = np.minimum((10 * probability).astype(int), 9)
        error = sum(abs(np.mean(probability[bins == each])
                        - np.mean(true[bins == each]))
                    * np.mean(bins == each) for each in np.unique(bins))
        print(f'{kind:10s}{error:8.3f}')


def pairs(model, size, seed):
    """Print how many close pairs are told apart, by both sources found."""
    edges = (0.6, 0.9, 1.2, 1.5, 2.0)
    print('\nPairs of which both are found, the fainter of S/N > 10')
    print(f'{"separation in FWHM":24s}' + ''.join(
        f'{f"{low:g}-{high:g}":>10s}' for low, high in pairwise(edges)))
    found = {name: [] for name in (model.name, 'Gaussian 0.7 FWHM, raw',
                                   'DoG 0.6, x 2, raw', 'ccd + 0.5 FWHM')}
    separations = []
    for number in range(6):
        rng = np.random.default_rng([seed, 7, number])
        psf = EllipticalMoffat(float(rng.uniform(2.0, 6.0)),
                               float(rng.uniform(2.5, 4.5)), 0.9, 1.0)
        field, first, distance = _field_of_pairs(rng, psf, size)
        separations.append(distance / psf.fwhm)
        for name, told in found.items():
            rows = (by_model(field, model) if name == model.name
                    else methods()[name](field))
            rows = rows[rows[:, 2] > (0.5 if name == model.name else 1.0
                                      if name.startswith('ccd') else 4.0)]
            seen = np.zeros(len(field.sources), bool)
            matched = hits(field, rows)
            seen[matched[matched >= 0]] = True
            told.append(seen[:first] & seen[first:])
    separations = np.concatenate(separations)
    for name, told in found.items():
        told = np.concatenate(told)
        shares = [np.mean(told[(separations > low) & (separations <= high)])
                  for low, high in pairwise(edges)]
        print(f'{name:24s}' + ''.join(f'{share:10.3f}' for share in shares))


def _field_of_pairs(rng, psf, size):
    """Pairs on a grid: the field, their number and their separations."""
    step = int(10 * psf.fwhm)
    grid = np.arange(step, size - step, step)
    x, y = (each.ravel() + rng.uniform(-2, 2, each.size)
            for each in np.meshgrid(grid, grid))
    n = len(x)
    angle = rng.uniform(0, 2 * np.pi, n)
    distance = psf.fwhm * rng.uniform(0.6, 2.0, n)
    fainter = 10.0**rng.uniform(1.0, 2.0, n)
    snr = np.concatenate([fainter * 10.0**rng.uniform(0, 0.7, n), fainter])
    x = np.concatenate([x, x + distance * np.cos(angle)])
    y = np.concatenate([y, y + distance * np.sin(angle)])
    image = render_field((size, size), {
        'x': x, 'y': y, 'flux': snr * filter_noise(psf)}, psf)
    frame, _ = exposed(image, rng)
    _, whole = measure_plane(open_frame(frame).plane(), gain=1.0,
                             read_noise=READ_NOISE, keep=True)
    sources = np.stack([x, y, snr, np.ones(2 * n)], 1)
    return Field(frame, sources, psf, whole.values - whole.background,
                 whole.noise_map), n, distance


def area(score, star):
    """Area under the curve: how often a star scores above a galaxy."""
    rank = np.argsort(np.argsort(score)) + 1.0
    n_stars, n_others = star.sum(), (~star).sum()
    return ((rank[star].sum() - n_stars * (n_stars + 1) / 2)
            / (n_stars * n_others))


def area_within(score, star, number):
    """The same, of stars and galaxies of one field only."""
    total = pairs = 0
    for each in np.unique(number):
        truth = star[number == each]
        n = truth.sum() * (~truth).sum()
        if n:
            total += n * area(score[number == each], truth)
            pairs += n
    return total / max(pairs, 1)


def concentration(field, x, y, narrow, wide):
    """Flux in a narrow filter over that in a wide one, of the true PSF."""
    half = 32
    star = render_field((2 * half + 1, 2 * half + 1), {
        'x': np.array([half]), 'y': np.array([half]),
        'flux': np.array([1.0])}, field.psf)
    width = field.psf.fwhm / 2.3548

    def ratio(plane, place):
        thin, thick = (map_coordinates(
            gaussian_filter(plane, factor * width), place, mode='nearest')
            for factor in (narrow, wide))
        return thin / np.maximum(thick, 1e-3 * np.abs(thin) + 1e-9)

    return (ratio(field.signal, [y, x])
            / ratio(star.astype(float), [[half], [half]]))


def stars(fields, ours):
    """Print how stars are told from galaxies, and how pure they are."""
    print('\nArea under the curve of stars against galaxies, by S/N: of all '
          'fields\ntogether, and within a field; the concentration knows the '
          'true PSF')
    for kind in ('blank', 'halo'):
        columns = [[], [], [], [], [], []]
        for number, (field, rows) in enumerate(zip(fields[kind], ours[kind],
                                                   strict=True)):
            matched = hits(field, rows)
            rows, matched = rows[matched >= 0], matched[matched >= 0]
            for column, values in zip(columns, (
                    field.sources[matched, 2], field.sources[matched, 3],
                    rows[:, 3],
                    concentration(field, rows[:, 0], rows[:, 1], 1.0, 1.6),
                    concentration(field, rows[:, 0], rows[:, 1], 0.6, 1.5),
                    np.full(len(rows), number)), strict=True):
                column.append(values)
        snr, star, *scores, number = map(np.concatenate, columns)
        for low, high in pairwise(SNR_BINS):
            seen = (snr > low) & (snr <= high)
            truth = star[seen] > 0.5
            if truth.all() or not truth.any():
                continue
            model, *ratios = (area(each[seen], truth) for each in scores)
            within, *others = (area_within(each[seen], truth, number[seen])
                               for each in scores)
            print(f'{kind:8s}{f"{low:g}-{high:g}":>10s}{seen.sum():7d}'
                  f'   model {model:.3f} {within:.3f}   concentration '
                  f'{max(ratios):.3f} {max(others):.3f}')
    print('\nStars above S/N 10 at a purity of 90 %: share that is found')
    for kind in ('blank', 'halo'):
        print(f'{kind:8s}{_star_completeness(fields[kind], ours[kind]):8.3f}')


def _star_completeness(fields, ours):
    """Share of bright stars in the purest list of them."""
    scores, right, n = [], [], 0
    for field, rows in zip(fields, ours, strict=True):
        matched = hits(field, rows)
        snr = np.where(matched >= 0, field.sources[matched, 2], 0.0)
        star = np.where(matched >= 0, field.sources[matched, 3], 0.0)
        measured = map_coordinates(
            filtered(field.signal, field.sigma, field.psf.fwhm / 2.3548),
            [rows[:, 1], rows[:, 0]], order=1)
        # Those that are fainter than asked for are neither right nor wrong.
        kept = (measured > 10.0) & ~((star > 0.5) & (snr <= 10.0))
        scores.append((rows[:, 2] * rows[:, 3])[kept])
        right.append((star > 0.5)[kept])
        n += np.count_nonzero((field.sources[:, 2] > 10.0)
                              & (field.sources[:, 3] > 0.5))
    return counts_at(np.concatenate(scores), np.concatenate(right))[2] / n


def positions(fields, ours):
    """Print errors of positions beside those of the matched filter."""
    print('\nMedian error of positions in pixels, blank fields, by S/N')
    columns = [[], [], []]
    for field, rows in zip(fields['blank'], ours['blank'], strict=True):
        matched = hits(field, rows)
        rows, matched = rows[matched >= 0], matched[matched >= 0]
        true = field.sources[matched]
        height = filtered(field.signal, field.sigma,
                          field.psf.fwhm / 2.3548)
        top = _parabola(height, rows)
        columns[0].append(true[:, 2])
        columns[1].append(np.hypot(*(rows[:, :2] - true[:, :2]).T))
        columns[2].append(np.hypot(*(top - true[:, :2]).T))
    snr, model, matched_filter = map(np.concatenate, columns)
    for low, high in pairwise(SNR_BINS):
        seen = (snr > low) & (snr <= high)
        error = np.median(model[seen]), np.median(matched_filter[seen])
        print(f'{f"{low:g}-{high:g}":>10s}{seen.sum():7d}   model '
              f'{error[0]:.3f}   matched filter {error[1]:.3f}   ratio '
              f'{error[0] / error[1]:.3f}')


def fluxes(fields, model):
    """Print measured over true S/N, beside fits of one source at a time."""
    print('\nS/N that is measured over the true one of sources that are '
          'listed: median and\nsigma68, and the share of negative fluxes; '
          'all at once as in the catalog, and one\nat a time above the sky '
          'around, for the true point-spread function')
    edges = (3.0, 6.0, 12.0, 30.0, 1000.0)
    print(f'{"":20s}' + ''.join(
        f'{f"{low:g}-{high:g}":>19s}' for low, high in pairwise(edges)))
    for kind in FIELDS:
        true, found = [], {'catalog': [], 'one at a time': []}
        for field in fields[kind]:
            catalog = whole_catalog(field, model)
            rows = np.stack([np.asarray(catalog[name]) for name in (
                'x_centroid', 'y_centroid', 'probability')], 1)
            matched = hits(field, rows)
            right = matched >= 0
            true.append(field.sources[matched[right], 2])
            found['catalog'].append(np.asarray(catalog['snr'])[right])
            found['one at a time'].append(_alone(field, catalog[right]))
        true = np.concatenate(true)
        for name, parts in found.items():
            ratio = np.concatenate(parts) / true
            print(f'{kind:8s}{name:14s}', end='')
            for low, high in pairwise(edges):
                some = ratio[(true > low) & (true <= high)
                             & np.isfinite(ratio)]
                print(f'{np.median(some):6.2f}{sigma68(some):6.2f}'
                      f'{np.mean(some < 0):7.3f}', end='')
            print()


def _alone(field, catalog):
    """S/N of sources that are fitted one at a time."""
    circles = apertures_of(catalog, 0.42 * field.psf.fwhm)
    beta = min(field.psf.beta, 10.0)
    alpha = 0.5 * field.psf.fwhm / np.sqrt(2.0**(1.0 / beta) - 1.0)
    measured = profile_photometry(field.signal, circles, MoffatPSF(
        alpha=alpha, beta=beta), error=field.sigma)
    return np.asarray(measured['flux']) / np.asarray(measured['flux_error'])


def _parabola(height, rows):
    """Maxima of a filtered frame nearest to positions."""
    tops = peaks(height, 0.0)
    index = cKDTree(tops[:, :2]).query(rows[:, :2])[1]
    x, y = (np.clip(tops[index, axis].astype(int), 1,
                    height.shape[1 - axis] - 2) for axis in (0, 1))
    place = []
    for dy, dx in ((0, 1), (1, 0)):
        low, high = height[y - dy, x - dx], height[y + dy, x + dx]
        bend = 2.0 * height[y, x] - low - high
        place.append((x if dx else y) + np.where(
            bend > 0, 0.5 * (high - low) / np.maximum(bend, 1e-9), 0.0
        ).clip(-0.5, 0.5))
    return np.stack(place, 1)


def artefacts(model, size, seed):
    """Print how many cosmic rays and hot pixels become sources."""
    print('\nUnmasked artefacts with a source of p > 0.5 on them')
    print(f'{"FWHM in pixels":16s}' + ''.join(f'{fwhm:14g}'
                                              for fwhm in SHARP))
    for name in ('cosmic rays', 'hot pixels'):
        counts = [np.sum([_taken(model, size, [seed, 9, column, number],
                                 fwhm, name) for number in range(5)], axis=0)
                  for column, fwhm in enumerate(SHARP)]
        print(f'{name:16s}' + ''.join(f'{f"{wrong} of {n}":>14s}'
                                      for wrong, n in counts))


def _taken(model, size, seed, fwhm, name):
    """How many artefacts of a field become sources, and how many it has."""
    rng = np.random.default_rng(seed)
    scene = draw_source_scene(seed, size=size, field='blank', plain=True,
                              fwhm=fwhm)
    charge = np.zeros(scene.image.shape)
    if name == 'hot pixels':
        place = rng.integers(8, size - 8, (80, 2))
        charge[tuple(place.T)] = np.exp(rng.uniform(
            np.log(FALSE_CHARGE), np.log(3000.0), len(place)))
    else:
        charge += cosmic_rays(charge.shape, 80, rng=rng,
                              charge=(2 * FALSE_CHARGE, 3000.0))
    frame, _ = exposed(scene.image, rng, charge=charge)
    table = segment_point_sources(frame, model, gain=1.0,
                                  read_noise=READ_NOISE, threshold=0.5).catalog
    return _false_sources(charge, scene, table)


def _false_sources(charge, scene, table):
    """How many marks of charge hold a source, and how many there are."""
    from scipy.ndimage import label

    marks, n = label(charge > 3.0, np.ones((3, 3)))
    sources = scene.sources[scene.sources[:, 2] > FAINTEST]
    x, y = (np.rint(np.asarray(table[name])).astype(int).clip(
        0, charge.shape[0] - 1) for name in ('x_centroid', 'y_centroid'))
    # What is at a true source is one.
    alone = np.ones(len(table), bool)
    if len(sources) and len(table):
        alone = cKDTree(sources[:, :2]).query(
            np.stack([x, y], 1))[0] > max(0.5 * scene.psf.fwhm, 1.5)
    return len(set(marks[y[alone], x[alone]]) - {0}), n


def real_pair(model):
    """Print how alike two real exposures are, beside aperture fluxes."""
    catalogs, flux_pairs = [], []
    wide = replace(ESO085, radius=ESO085.filter_fwhm)
    for frame in load_example_pair():
        catalog = segment_point_sources(frame, model).catalog
        catalogs.append(np.stack([np.asarray(catalog[name]) for name in (
            'x_centroid', 'y_centroid', 'snr')], 1))
        flux_pairs.append([np.asarray(table['flux'].value) for table in (
            catalog, wide.measure(frame, catalog))])
    first, second = catalogs
    apart, index = cKDTree(second[:, :2]).query(first[:, :2])
    again = apart < 1.0
    pairs = [(one[again], other[index[again]])
             for one, other in zip(*flux_pairs, strict=True)]
    snr, other = first[:, 2], second[index[again], 2]
    print(f'\nTwo exposures of ESO 085-030, {len(first)} and {len(second)} '
          'rows: the share that the other has\nwithin a pixel, scatter of the '
          'relative difference of fluxes and of those in\napertures of one '
          'FWHM, and difference over its error by S/N')
    flux = pairs[0]
    pull = (flux[1] / np.nanmedian(flux[1] / flux[0]) - flux[0]) / np.hypot(
        flux[0] / snr[again], flux[1] / other)
    for low, high in pairwise(SNR_BINS):
        bright = (snr > low) & (snr <= high)
        # Fluxes of sources beyond the edge are not known.
        some = bright[again] & np.isfinite(pull)
        scatter = [sigma68((2.0 * (one - two) / (one + two))[some])
                   for one, two in pairs]
        print(f'{f"{low:g}-{high:g}":>10s}{bright.sum():7d}'
              f'{np.mean(again[bright]):7.2f}   catalog {scatter[0]:.3f}   '
              f'aperture {scatter[1]:.3f}   pull {sigma68(pull[some]):.2f}')


def real_catalog(model, folder):
    """Print what is found of the stars of the GLIMPSE catalog."""
    table = Table.read(folder / 'spitzer_example_catalog.xml',
                       format='votable')
    with fits.open(folder / 'spitzer_example_image.fits') as hdus:
        frame, wcs = hdus[0].data.astype(np.float32), WCS(hdus[0].header)
    catalog = segment_point_sources(frame, model).catalog
    place = np.stack(wcs.world_to_pixel_values(table['l'], table['b']), 1)
    apart, index = cKDTree(np.stack([
        catalog['x_centroid'], catalog['y_centroid']], 1)).query(place)
    found = apart < 1.0
    ratio = (np.asarray(catalog['flux'])[index]
             / np.asarray(table['f4_5']))[found]
    star = np.asarray(catalog['star_probability'])[index[found]]
    print(f'\nSpitzer at 4.5 microns, {len(catalog)} rows: {found.sum()} of '
          f'{len(table)} stars of the GLIMPSE catalog within a\npixel, '
          f'{np.mean(star > 0.5):.1%} of them stars; scatter of the flux over '
          f'that of GLIMPSE {sigma68(ratio) / np.median(ratio):.3f}; '
          f'{np.mean(catalog["flux"] < 0):.1%} of\nall fluxes are negative')


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='ccd-sources')
    parser.add_argument('--fields', type=int, default=8,
                        help='of each kind')
    parser.add_argument('--size', type=int, default=512)
    parser.add_argument('--seed', type=int, default=SEED)
    parser.add_argument('--spitzer', type=Path, metavar='FOLDER',
                        help='with the example image of photutils and the '
                             'GLIMPSE catalog of its stars')
    options = parser.parse_args()
    warnings.simplefilter('ignore')
    warnings.simplefilter('ignore', NoDetectionsWarning)
    model = load_model(options.model, task='segment')
    fields = {kind: [draw_field([options.seed, number], kind, options.size)
                     for number in range(options.fields)]
              for kind in FIELDS}
    print(f'{options.fields} fields of {options.size}² of each kind')
    ours = detection(fields, model)
    speed(model, options.seed)
    calibration(fields, ours)
    pairs(model, options.size, options.seed)
    stars(fields, ours)
    positions(fields, ours)
    fluxes(fields, model)
    artefacts(model, options.size, options.seed)
    real_pair(model)
    if options.spitzer:
        real_catalog(model, options.spitzer)


if __name__ == '__main__':
    main()
