# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Learning from noisy frames alone: the methods of `train_denoiser` beside
CAREamics, all trained on the same frames for the same time.

Run as ``python benchmarks/self_supervised.py --help``. The parts:

``simulated``
    Trained on exposures of the survey simulator with PAU Camera defaults,
    tested on others. ``rms`` and ``blank`` are errors against the truth in
    noise of the sky, over all unmasked pixels and over blank sky;
    ``nyquist`` is the power of denoised pure noise at the Nyquist frequency
    over that a little below it, about 1 or less without a checkerboard
    (whatever predicts a pixel from its nearest neighbors has some of what
    their mean has, 1.6); then Mpix/s in training and in prediction (of
    1024² pixels, everything included, and of ours in seconds of the
    processor; of CAREamics tiled as it is by default), and in bins of the
    signal-to-noise ratio the columns of ``denoise_quality.py``.
``stated``
    What a trained model says of itself, beside the truth, on frames that it
    was not trained on: sigma68 of the pulls of pixels of blank sky, of a
    true signal of 0.5-2 sigmas, and above 3; on crowded frames, the flux
    that it keeps, measured without a truth (``kept``) and with it, of the
    same sources, in four bins of their signal-to-noise ratio; and their
    difference in units of the error that is stated.
``faint``
    What is left of faint sources, beside the models that need no training:
    trained and tested on frames with twice the sources of a survey, flux
    kept as ``flux ratio``, in circular apertures of a radius of 1.4 widths of
    the point-spread function, in which the signal-to-noise ratios are.
``real``
    Trained on real frames. Truth is not known: ``error`` is the root of the
    squared difference from another exposure less the noise of that, in
    units of the noise, ``R`` the response of sources, denoised flux against
    the raw flux of another exposure, ``flux ratio`` the sum of the denoised
    fluxes over that of the raw ones, ``left`` the scatter of blank sky over
    that of the raw frame. NaN where there is one exposure. ``nyquist`` is
    measured on the four blankest squares of each frame, with an error from
    how they differ: that of the identity, 1 for white noise, shows what
    chance or the camera do, that of the mean of the eight pixels around
    each what any blind spot may have.
``gr2r``
    ``ccd`` and what ``gr2r`` makes of it on one frame of a seeing and a
    noise outside the range of ``ccd``, after ``--minutes`` and after three
    times as long: the share of the final gain in squared error that was
    reached, R of all sources against the truth, the same over that of the
    raw counts (``/ raw``: the noise of the sources, common to both, moves R
    but not that), and sigma68 of the pulls of blank, faint and bright
    pixels; beside them the Gaussian filter of the least error.
``nan``
    A frame with 5 per cent NaN against the same frame without, after equal
    steps.
``resampled``
    Frames that are shifted by half a pixel, by linear interpolation, so
    that neighbors share their noise: errors against the truth, shifted
    alike, in units of the noise of the raw frame.

Every method is given ``--minutes``, or, with ``--epochs``, as many steps:
what else the machine does then makes no difference.

CAREamics needs an environment of its own, whose Python is given with
``--careamics``; without it, its rows are left out. Where torch is a build
for processors, its packages go in one by one::

    python -m venv careamics
    careamics/bin/pip install 'torch==2.13.0+cpu'
    careamics/bin/pip install --no-deps careamics==0.3.5 lightning==2.6.1 \
        pytorch-lightning==2.6.1 torchvision==0.28.0 microssim==0.0.5 \
        torchmetrics==1.8.2 lightning-utilities bioimageio-core==0.11.0
    careamics/bin/pip install 'pydantic<2.14' 'zarr<4' scikit-image \
        tifffile pyyaml pillow matplotlib psutil 'fsspec[http]' scipy \
        bioimageio.spec==0.5.12.0 xarray imagecodecs

(torchvision outside the range that CAREamics names: the one that fits its
torch. CAREamics does not call it for these networks.)
"""

import argparse
import os
import tempfile
from itertools import chain
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance
from astropy.stats import mad_std, sigma_clipped_stats
from astropy.table import QTable
from checks import nyquist_excess
from columns import Column, Columns
from denoise_quality import RawPhotometry, best_width, pixel_errors
from fields import BINS, even_seeing, photometry_field, survey_field
from methods import note
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.detection import DAOStarFinder
from scipy.ndimage import gaussian_filter
from trainings import (
    KNOWN,
    OURS,
    THEIRS,
    Free,
    Ours,
    Shipped,
    length_of,
    train_all,
)

from astro_denoise import denoise, train_denoiser
from astro_denoise.models.denoiser import psf_context
from astro_denoise.photometry.calibration import bootstrap_error, sigma68
from astro_denoise.photometry.response import flux_response
from astro_denoise.simulation.survey import SurveySimulator
from astro_denoise.training.batches import standardized
from astro_denoise.training.flux_kept import measure_flux_kept
from astro_denoise.training.frame_store import FrameFolder, open_images

SEED = 20150212_55  # used by no other script and no training

# Training frames, test frames and photometry fields of 1024² pixels, and
# planes of pure noise.
FULL = {'n_train': 4, 'n_test': 2, 'n_photometry': 8, 'size': 1024,
        'n_noise': 8, 'n_steps': 2000, 'n_stated': 2, 'n_crowded': 5}
QUICK = {'n_train': 2, 'n_test': 1, 'n_photometry': 2, 'size': 512,
         'n_noise': 2, 'n_steps': 100, 'n_stated': 1, 'n_crowded': 1}

# The frame for gr2r: a seeing of 11 pixels and a read noise of 40
# electrons under a sky of half an electron; ccd knows 1.4-8.5 pixels,
# 1-15 electrons and a sky of 1-10^4.
OUTSIDE = {'psf_fwhm': 11.0 * 0.263, 'read_noise': 40.0,
           'sky_rate': 0.5 / 110.0, 'dark_rate': 0.0}

# Sources per 10^6 pixels where flux that is kept is compared with the truth,
# four times those of a survey: each bin needs some.
STATED_DENSITY = 600

# The same where faint sources are looked at, and radius of the apertures over
# the width of the point-spread function.
FAINT_DENSITY, FAINT_RADIUS = 300, 1.4

# Resampled skies, and trainings on them.
_N_SKIES = 3

# Of the Gaussian beside the networks on real frames, in pixels.
_WIDTH = 1.2


def _lookup(method, frames):
    """A function of field and exposure number, as for denoise_quality."""
    results = dict(zip(map(id, frames), method.denoise_all(frames),
                       strict=True))
    return lambda field, number: results[id(field.exposures[number])]


_RATES = (Column('train_rate', 'train', 2), Column('predict_rate',
                                                   'predict', 2, 9))
SIMULATED = Columns(
    Column('method', width=15), Column('rms', width=7),
    Column('blank_rms', 'blank', width=7), Column('blank_mean', 'mean', 4),
    Column('nyquist', width=9), *_RATES, Column('snr', 'S/N', width=6),
    Column('response', 'R', error='response_error'),
    Column('flux_ratio', 'flux ratio', width=12, error='flux_ratio_error'),
    Column('scatter', 's68/R', width=9), Column('floor', width=7))
FAINT = Columns(
    Column('method', width=15), Column('rms', digits=4),
    Column('blank_rms', 'blank', 4), *(
        Column(f'kept_{label}', f'kept, S/N {label}', width=14,
               error=f'kept_error_{label}') for label in BINS))
STATED = Columns(
    Column('method', width=15), Column('pull_blank', 'blank', width=7),
    Column('pull_faint', '0.5-2', width=7), Column('pull_bright', '> 3',
                                                   width=7),
    Column('raw_snr', 'S/N', 1), Column('number', 'sources', 0, 9),
    Column('kept', 'kept', error='kept_error'), Column('true', 'true'),
    Column('pull', 'difference', 1, 12))
REAL = Columns(
    Column('field', width=10), Column('method', width=15), Column('error'),
    Column('response', 'R', error='response_error'),
    Column('flux_ratio', 'flux ratio', width=12, error='flux_ratio_error'),
    Column('left', width=9),
    Column('nyquist', width=9, error='nyquist_error'))
FINE_TUNED = Columns(
    Column('method', 'model', width=19), Column('rms', digits=4),
    Column('blank_rms', 'blank', 4), Column('gain', digits=2, width=9),
    *(Column(f'{kind}_{name}', title, width=width,
             error=f'{kind}_error_{name}')
      for name, bins in (('faint', '3-10'), ('bright', '> 10'))
      for kind, title, width in (
          ('response', f'R, {bins}', 10), ('relative', '/ raw', 7),
          ('flux_ratio', f'flux, {bins}', 13))),
    Column('pull_blank', 'pulls blank', width=13),
    Column('pull_faint', 'faint', width=7),
    Column('pull_bright', 'bright', width=7))
NAN = Columns(Column('method', 'frame', width=12), Column('rms', digits=4))
RESAMPLED = Columns(Column('method', width=12), Column('number', 'sky', 0, 5),
                    Column('rms', digits=4),
                    Column('blank_rms', 'blank', 4))


def _length(options):
    """Length of the trainings, in words."""
    if options.epochs:
        return f'{options.epochs} epochs of 100 steps'
    return f'{options.minutes:g} minutes'


def simulated(options, scale):
    """
    The part ``simulated``.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    scale : dict
        ``FULL`` or ``QUICK``.

    Returns
    -------
    rows : list of dict
        A row per method and bin.
    """
    size = scale['size']
    frames = _training_frames(options, scale)
    tests = [survey_field(size, [options.seed, 2, number])
             for number in range(scale['n_test'])]
    raw = RawPhotometry([
        photometry_field(size, [options.seed, 3, number],
                         psf_fwhm=even_seeing(number))
        for number in range(scale['n_photometry'])])
    blank = SurveySimulator(
        shape=(size, size), density=0, n_cosmic_rays=0,
        n_bad_columns=0).exposures(scale['n_noise'], seed=options.seed)[0]
    fluxed = [frame for field in raw.fields for frame in field.exposures]
    tested = [frame for field in tests for frame in field.exposures]
    print(f'simulated: {len(frames)} frames of {size}², {_length(options)}\n'
          f'{SIMULATED.head}', flush=True)
    rows = []
    free = [Free('identity'), Free('gaussian', best_width(tests, (1, 256)))]
    for method in chain(free, train_all(
            options, frames, tested + fluxed + blank, **KNOWN)):
        numbers = pixel_errors(_lookup(method, tested), tests, (1, 256))
        numbers['nyquist'], numbers['nyquist_error'] = nyquist_excess(
            [plane for plane, _ in method.denoise_all(blank)])
        bins = raw.rows(raw.measure(_lookup(method, fluxed)), options.seed)
        found = [{'part': 'simulated', 'method': method.label, **numbers,
                  'train_rate': method.train_rate,
                  'predict_rate': method.predict_rate,
                  'minutes': method.minutes, **row} for row in bins]
        for index, row in enumerate(found):
            print(SIMULATED.line(row, n_first=6, blank=index > 0))
        print(flush=True)
        rows += found
    return rows


def _training_frames(options, scale, **density):
    """Exposures of survey fields, two of each."""
    fields = [survey_field(scale['size'], [options.seed, 1, number],
                           n_exposures=2, **density)
              for number in range(scale['n_train'] // 2)]
    return [frame for field in fields for frame in field.exposures]


def faint(options, scale):
    """
    The part ``faint``.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    scale : dict
        ``FULL`` or ``QUICK``.

    Returns
    -------
    rows : list of dict
        A row per method.
    """
    size, density = scale['size'], {'density': FAINT_DENSITY}
    frames = _training_frames(options, scale, **density)
    tests = [survey_field(size, [options.seed, 2, number], **density)
             for number in range(scale['n_test'])]
    raw = RawPhotometry([
        photometry_field(size, [options.seed, 3, number],
                         psf_fwhm=even_seeing(number), radius=FAINT_RADIUS)
        for number in range(scale['n_photometry'] // 2)])
    fluxed = [frame for field in raw.fields for frame in field.exposures]
    tested = [frame for field in tests for frame in field.exposures]
    print(f'\nfaint sources: {len(frames)} frames of {size}², '
          f'{_length(options)}\n{FAINT.head}', flush=True)
    rows = []
    free = (Shipped(name, **KNOWN) for name in ('ccd', 'ccd-mmse'))
    for method in chain([Free('identity')], free, train_all(
            options, frames, tested + fluxed, **KNOWN)):
        bins = raw.rows(raw.measure(_lookup(method, fluxed)), options.seed)
        rows.append({
            'part': 'faint', 'method': method.label,
            **pixel_errors(_lookup(method, tested), tests, (1, 256)),
            **{f'kept_{row["snr"]}': row['flux_ratio'] for row in bins},
            **{f'kept_error_{row["snr"]}': row['flux_ratio_error']
               for row in bins}})
        print(FAINT.line(rows[-1]), flush=True)
    return rows


def stated(options, scale):
    """
    The part ``stated``.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    scale : dict
        ``FULL`` or ``QUICK``.

    Returns
    -------
    rows : list of dict
        A row per method and bin.
    """
    size = scale['size']
    fields, crowded = (
        [survey_field(size, [options.seed, part, number], **density)
         for number in range(scale[name])]
        for name, part, density in (
            ('n_stated', 8, {}),
            ('n_crowded', 9, {'density': STATED_DENSITY})))
    print(f'\nwhat models say of themselves, {_length(options)}\n'
          f'{STATED.head}', flush=True)
    rows = []
    for method in train_all(
            options, _training_frames(options, scale), [], names=[
                name for name in options.methods if name not in THEIRS],
            **KNOWN):
        found = _stated(method, fields, crowded)
        for index, row in enumerate(found):
            print(STATED.line(row, n_first=3, blank=index > 0))
        print(flush=True)
        rows += found
    return rows


def _stated(method, fields, crowded):
    """
    What a trained model says of itself, beside the truth.
    """
    signals, pulls = [], []
    for field in fields:
        for frame, truth, (found, error) in zip(
                field.exposures, field.truth,
                method.denoise_all(field.exposures), strict=True):
            good = ~frame.mask
            signals.append((truth[good] - field.sky) / field.sigma)
            pulls.append((found[good] - truth[good]) / error[good])
    signals, pulls = np.concatenate(signals), np.concatenate(pulls)
    numbers = {f'pull_{name}': sigma68(pulls[inside]) for name, inside in (
        ('blank', signals < 0.05),
        ('faint', (signals > 0.5) & (signals < 2.0)),
        ('bright', signals > 3.0))}
    batch, true, fwhm = _cut(
        [frame for field in crowded for frame in field.exposures],
        [truth for field in crowded for truth in field.truth])
    network = method.model.network.eval()
    return [{'part': 'stated', 'method': method.label, **numbers,
             'raw_snr': one.snr, 'number': one.number, 'kept': one.kept,
             'kept_error': one.error, 'true': other.kept,
             'pull': (one.kept - other.kept) / one.error}
            for one, other in zip(
                measure_flux_kept(network, batch, fwhm),
                measure_flux_kept(network, batch, fwhm, truth=true),
                strict=True)]


def _cut(frames, truths, size=128):
    """Patches of frames as a training sees them, and of their truth."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        store = FrameFolder(folder, patch=size, **KNOWN)
        store.read(open_images(frames))
        parts, true = [], []
        for frame, given, truth in zip(store.frames, frames, truths,
                                       strict=True):
            noise = (given.data - truth) / frame.noise['level']
            for top in range(0, frame.shape[0] - size + 1, size):
                for left in range(0, frame.shape[1] - size + 1, size):
                    cut = np.s_[top:top + size, left:left + size]
                    parts.append(standardized({
                        'signal': frame.signal[cut],
                        'log_sigma': frame.log_sigma[cut],
                        'context': np.float32(psf_context(frame.fwhm))}))
                    true.append(np.where(np.isfinite(frame.signal[cut]),
                                         frame.signal[cut] - noise[cut], 0))
        fwhm = float(np.median([frame.fwhm for frame in store.frames]))
    return {name: torch.from_numpy(np.concatenate(
        [part[name] for part in parts])) for name in parts[0]
        }, np.stack(true), fwhm


def real_frames(folder):
    """
    The real frames.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Of the shared data.

    Returns
    -------
    fields : dict of list of `~astropy.nddata.CCDData`
        By name.
    """
    fields = {}
    for name, pattern in (('eso085', 'eso085_pair/*.fit'),
                          ('m13', 'm13_five/*.fits')):
        paths = sorted(folder.glob(pattern))
        fields[name] = [CCDData(fits.getdata(path).astype(np.float32),
                                unit='adu') for path in paths]
    paths = sorted((folder / 'decam_legacypipe' / 'tc4').glob('*_ooi_*.fits'))
    for path in paths:
        others = [Path(str(path).replace('_ooi_', f'_oo{kind}_'))
                  for kind in 'wd']
        image, weight, flags = (fits.getdata(each, 1)
                                for each in (path, *others))
        fields.setdefault('decam', []).append(CCDData(
            image.astype(np.float32), unit='adu', mask=flags != 0,
            uncertainty=InverseVariance(weight.astype(np.float64))))
    return fields


def _sources(plane, fwhm):
    """Positions of sources."""
    _, median, scatter = sigma_clipped_stats(plane)
    found = DAOStarFinder(5.0 * scatter, fwhm)(plane - median)
    return np.transpose([found['x_centroid'], found['y_centroid']])


def _flux_ratio(found, other):
    return np.mean(found) / np.mean(other)


def _response(frames, denoised):
    """Response and ratio of the fluxes of sources, with their errors."""
    total = np.sum([frame.data for frame in frames], axis=0, dtype=float)
    apertures = CircularAperture(_sources(gaussian_filter(total, 2.0), 6.0),
                                 4.0)

    def fluxes(planes):
        return np.transpose([
            aperture_photometry(plane - np.median(plane),
                                apertures)['aperture_sum']
            for plane in planes])

    raw = fluxes([frame.data for frame in frames])
    # Faint ones: the response of bright ones is 1 whatever is done.
    order = np.argsort(raw.mean(axis=1))[:-len(raw) // 4]
    found, raw = fluxes(denoised)[order], raw[order]
    return (*flux_response(found, raw, seed=1), _flux_ratio(found, raw),
            bootstrap_error(_flux_ratio, found, raw, seed=1))


def _compare_exposures(frames, denoised):
    """Error by the other exposure, in noise of the sky, and response."""
    if len(frames) < 2:
        return (np.nan,) * 5
    total = []
    for number, plane in enumerate(denoised):
        other = frames[(number + 1) % len(frames)].data
        noise = mad_std(np.diff(other, axis=1)) / np.sqrt(2.0)
        difference = (plane - np.median(plane)) - (other - np.median(other))
        total.append(np.mean(np.clip(difference / noise, -5, 5)**2) - 1.0)
    return (np.sqrt(max(np.mean(total), 0.0)), *_response(frames, denoised))


def real(options, scale):
    """
    The part ``real``.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    scale : dict
        Not used.

    Returns
    -------
    rows : list of dict
        A row per field and method.
    """
    rows = []
    print(f'\nreal frames, {_length(options)}\n{REAL.head}')
    fields = real_frames(options.data)
    for name in options.fields or fields:
        frames = fields[name]
        patch = 128 if min(frames[0].shape) > 300 else 64
        free = [Free('identity'), Free('gaussian', _WIDTH),
                Free('mean of eight')]
        for method in chain(free, train_all(options, frames, frames,
                                            patch=patch)):
            planes = [plane for plane, _ in method.denoise_all(frames)]
            error, response, response_error, ratio, ratio_error = (
                _compare_exposures(frames, planes))
            blank = [part for frame, plane in
                     zip(frames, planes, strict=True)
                     for part in _blank_parts(frame, plane)]
            left = np.mean([after.std() / before.std()
                            for before, after in blank])
            excess, excess_error = nyquist_excess(
                [after for _, after in blank])
            rows.append({'part': 'real', 'field': name,
                         'method': method.label, 'error': error,
                         'response': response, 'left': left,
                         'response_error': response_error,
                         'flux_ratio': ratio,
                         'flux_ratio_error': ratio_error,
                         'nyquist': excess,
                         'nyquist_error': excess_error})
            print(REAL.line(rows[-1]), flush=True)
    return rows


def _blank_parts(frame, plane, size=64, number=4):
    """The squares of a frame with the least structure, raw and denoised."""
    data = np.asarray(frame.data, float)
    cuts = [(slice(top, top + size), slice(left, left + size))
            for top in range(0, data.shape[0] - size + 1, size)
            for left in range(0, data.shape[1] - size + 1, size)]
    cuts.sort(key=lambda cut: gaussian_filter(data[cut], 2.0).std())
    return [(data[cut], plane[cut]) for cut in cuts[:number]]


def fine_tuning(options, scale):
    """
    The part ``gr2r``.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    scale : dict
        ``FULL`` or ``QUICK``.

    Returns
    -------
    rows : list of dict
        A row per stage of the training.
    """
    size = scale['size']
    field = survey_field(size, [options.seed, 4], magnitude_range=(15., 20.),
                         **OUTSIDE)
    # Sources in the noise of that frame.
    tests = [survey_field(size, [options.seed, 5, number],
                          magnitude_range=(15.0, 20.0), **OUTSIDE)
             for number in range(2 * scale['n_test'])]
    print(f'\ngr2r on one frame of {size}², seeing 11 pixels, read noise 40 '
          f'electrons, sources by their S/N\n{FINE_TUNED.head}')
    frames = [test.exposures[0] for test in tests]
    identity, ccd = Free('identity'), Shipped('ccd', **KNOWN)
    raw = _lookup(identity, frames)

    def trained():
        for minutes in (options.minutes, 3 * options.minutes):
            model = Ours('gr2r', field.exposures, seed=options.seed,
                         minutes=minutes, **KNOWN)
            model.label = f'gr2r, {minutes:g} minutes'
            yield model

    gaussian = Free('gaussian', best_width(tests, (1, 256)))
    rows = []
    for model in chain((identity, gaussian, ccd), trained()):
        apply = _lookup(model, frames)
        rows.append({'part': 'gr2r', 'method': model.label,
                     **pixel_errors(apply, tests, (1, 256)),
                     **_true_response(tests, apply, raw)})
    errors = {row['method']: row['rms']**2 for row in rows}
    start, end = errors[ccd.label], errors[rows[-1]['method']]
    for row in rows:
        row['gain'] = (start - errors[row['method']]) / (start - end)
        print(FINE_TUNED.line(row))
    return rows


def _true_response(fields, apply, raw):
    """
    Response of sources without masked pixels, of a signal-to-noise ratio of
    3-10 and above, to the truth, and the same over that of the raw counts.
    """
    fluxes = []
    for field in fields:
        smooth = field.truth[0] - field.sky
        planes = (plane - field.sky for plane in (
            field.truth[0], raw(field, 0)[0], apply(field, 0)[0]))
        masked = field.exposures[0].mask.astype(float)
        ripple = np.sin(np.arange(smooth.size)).reshape(smooth.shape)
        positions = _sources(smooth + 1e-3 * field.sigma * ripple, 4.0)
        radius = 0.72 * 11.0
        apertures = CircularAperture(positions, radius)
        noise = field.sigma * np.sqrt(np.pi) * radius
        whole = aperture_photometry(masked, apertures)['aperture_sum'] == 0
        fluxes.append([np.asarray(aperture_photometry(
            plane, apertures)['aperture_sum'])[whole] / noise
            for plane in planes])
    fluxes = np.concatenate(fluxes, axis=1)

    def slope(found, other, true):
        return np.cov(found, true)[0, 1] / np.cov(other, true)[0, 1]

    numbers = {}
    for name, (low, high) in (('faint', (3.0, 10.0)),
                              ('bright', (10.0, 100.0))):
        true, counts, found = fluxes[
            :, (fluxes[0] > low) & (fluxes[0] < high)]
        numbers |= {
            f'flux_ratio_{name}': _flux_ratio(found, true),
            f'flux_ratio_error_{name}': bootstrap_error(
                _flux_ratio, found, true, seed=1)}
        for kind, other in (('response', true), ('relative', counts)):
            numbers |= {
                f'{kind}_{name}': slope(found, other, true),
                f'{kind}_error_{name}': bootstrap_error(
                    slope, found, other, true, seed=1)}
    return numbers


def with_nan(options, scale):
    """
    The part ``nan``.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    scale : dict
        ``FULL`` or ``QUICK``.

    Returns
    -------
    rows : list of dict
        With and without NaN.
    """
    field = survey_field(scale['size'], [options.seed, 6])
    holes = field.exposures[0].copy()
    rng = np.random.default_rng(options.seed)
    holes.data[rng.random(holes.shape) < 0.05] = np.nan
    print(f'\nnoise2void with NaN, {scale["n_steps"]} steps\n'
          f'{NAN.head}')
    rows = []
    for label, frame in (('whole', field.exposures[0]), ('5 % NaN', holes)):
        model = train_denoiser(
            frame, 'noise2void', epochs=scale['n_steps'] // 100,
            seed=options.seed, progress_bar=False, **KNOWN)

        def apply(field, number, model=model):
            return denoise(field.exposures[number], model,
                           add_keyword=False, **KNOWN).data, None

        numbers = pixel_errors(apply, [field], (1, 256))
        rows.append({'part': 'nan', 'method': label, **numbers})
        print(NAN.line(rows[-1]), flush=True)
    print(f'ratio {rows[1]["rms"] / rows[0]["rms"]:.3f}')
    return rows


def resampled(options, scale):
    """
    The part ``resampled``: frames shifted by half a pixel, bilinear.

    Parameters
    ----------
    options : `argparse.Namespace`
        See `main`.

    scale : dict
        ``FULL`` or ``QUICK``.

    Returns
    -------
    rows : list of dict
        A row per method: errors in units of the noise of the raw frame.
    """
    print(f'\nresampled by half a pixel, {_length(options)}, errors '
          f'in raw noise\n{RESAMPLED.head}', flush=True)
    rows = []
    for number in range(_N_SKIES):
        frames, truths = _shifted(scale['size'], [options.seed, 7, number])
        # What leaves the noise needs no second sky to show it.
        for name in (('struct_n2v',) if number else
                     ('noise2void', 'r2r', 'struct_n2v')):
            model = train_denoiser(
                frames[:2], name, seed=options.seed + number,
                progress_bar=False, **length_of(options))
            error = denoise(frames[2], model) - truths[2]
            noise = mad_std(frames[2] - truths[2])
            blank = abs(truths[2] - np.median(truths[2])) < 0.05 * noise
            rows.append({
                'part': 'resampled', 'method': name, 'number': number + 1,
                'rms': float(np.sqrt(np.mean(error**2))) / noise,
                'blank_rms': float(np.sqrt(np.mean(error[blank]**2))
                                   ) / noise})
            print(RESAMPLED.line(rows[-1]), flush=True)
    return rows


def _shifted(size, seed):
    """Three exposures that are shifted by half a pixel, and their truth."""
    simulator = SurveySimulator(shape=(size, size), n_cosmic_rays=0,
                                n_bad_columns=0)
    exposures, _, truths = simulator.exposures(3, seed=seed,
                                               return_truth=True)
    return ([_half_pixel(frame.data) for frame in exposures],
            [_half_pixel(truth) for truth in truths])


def _half_pixel(plane):
    """Shift by half a pixel along both axes, by linear interpolation."""
    plane = (plane[1:] + plane[:-1]) / 2
    return (plane[:, 1:] + plane[:, :-1]) / 2


PARTS = {'simulated': simulated, 'faint': faint, 'stated': stated,
         'real': real,
         'gr2r': fine_tuning, 'nan': with_nan, 'resampled': resampled}


def main():
    """
    Run the benchmark.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--minutes', type=float, default=15.0,
        help='training of each method (default: 15)')
    add('--epochs', type=int,
        help='of 100 steps, instead of --minutes')
    add('--quick', action='store_true', help='smaller frames, fewer steps')
    add('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    add('--methods', nargs='+', choices=(*OURS, *THEIRS),
        default=[*THEIRS, *OURS])
    add('--careamics', metavar='PYTHON',
        help='of an environment with CAREamics')
    add('--data', type=Path, metavar='FOLDER',
        help='of the real frames; their part is left out without')
    add('--fields', nargs='+', metavar='NAME',
        help='of the real frames: eso085, m13, decam (default: all)')
    add('--threads', type=int, default=min(2, os.cpu_count() or 1))
    add('--seed', type=int, default=SEED)
    add('--output', metavar='FILE', help='the rows, .ecsv')
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    rows = []
    for name in options.parts:
        if name == 'real' and options.data is None:
            note('real frames: left out, --data was not given')
            continue
        rows += PARTS[name](options, QUICK if options.quick else FULL)
    if options.output:
        names = list(dict.fromkeys(key for row in rows for key in row))
        table = QTable({name: [
            row.get(name, '' if name in ('part', 'method', 'field', 'snr')
                    else np.nan) for row in rows] for name in names})
        table.meta['seed'] = options.seed
        table.meta |= length_of(options)
        table.write(options.output, format='ascii.ecsv', overwrite=True)


if __name__ == '__main__':
    main()
