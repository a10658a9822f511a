# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise, defects and seeing of some 90 kinds of frames whose truth is known.

Run as ``python benchmarks/frame_zoo.py``; ``--seed`` draws other frames.
The kinds are in ``zoo_frames.py``. For each the level over the true one of

``new``
    `~astro_denoise.noise.findings.measure_noise`, with its verdict and the
    correlation it names along y and x; where the sky has a gradient, over
    the noise of the sky that it names;
``old``
    the estimator of ``former_noise.py``, one number a frame;
``rms``
    the global background rms of sep, where it is installed, else the median
    of the rms of `~photutils.background.Background2D`, on pixels that hold
    data;
``d4``
    the median absolute fourth difference along rows, likewise.

``map`` is the 5-95 per cent range of the measured over the true noise of
the pixels, where something else than light makes it differ; ``fwhm`` the
measured over the true one. ``*`` marks levels off by more than 5 per cent,
``!`` those off by more than 15 without 'cannot tell'.

The second table is of what ``denoise`` makes of each: root mean square errors
in noise of the sky of the raw frame, of the best of several Gaussian filters
(it knows the truth), and of the result; the 68 per cent range of the pulls of
dark pixels and of those 10 sigma above, of several frames where one has
less than a thousand; the warnings. ``!`` marks errors above
those of the raw frame, ``*`` pulls outside 0.85-1.2, and ``?`` such without a
warning.

Then: false warnings of correlation on white frames of all kinds, and
correlations that are found; noise maps that are supplied, right and wrong.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from former_noise import former_noise
from photutils.background import Background2D
from scipy.ndimage import gaussian_filter
from zoo_frames import KINDS, draw

from astro_denoise import denoise
from astro_denoise.frames.scaling import Scale, single_precision
from astro_denoise.noise import estimate_background
from astro_denoise.noise.findings import measure_noise
from astro_denoise.noise.model import relative_mesh
from astro_denoise.noise.supplied import compare_supplied

SEED = 20220131_22  # used by no other script and no training
WIDTHS = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # of Gaussian filters
SMALL = ((256, 256), (384, 320))
FEW_BRIGHT = 1000  # pixels, below which pulls are averaged over frames,
MOST_FRAMES = 6    # this many at most
SMALLEST = 2**14   # pixels, below which levels are, too
CORRELATED = ((256, 0.08), (256, 0.12), (512, 0.05), (512, 0.08))


def in_range(frame):
    """Values in the range of single precision, valid pixels, exponent."""
    valid = frame.valid & np.isfinite(frame.values)
    scale = Scale.of_sample(frame.values[valid]) or Scale()
    values, _ = scale.apply(np.where(valid, frame.values, 0.0), valid, None)
    values = single_precision(values, scale.pedestal)
    return torch.from_numpy(values), torch.from_numpy(valid), scale.exponent


def measured(frame, *, seeing=False):
    """What the package finds, and the exponent it is counted in."""
    values, valid, exponent = in_range(frame)
    background = None
    if seeing:
        good = (frame.valid & frame.real & np.isfinite(frame.values))
        background = torch.from_numpy(estimate_background(
            values.numpy(), good))
    return measure_noise(values, valid, background=background), exponent


def old_level(frame):
    """Level and correlation of the estimator of one number a frame."""
    valid = frame.valid & np.isfinite(frame.values)
    try:
        return former_noise(np.where(valid, frame.values, 0), valid)
    except (ValueError, FloatingPointError):
        return np.nan, np.nan


def global_rms(frame):
    """Background rms as others measure it, told what holds no data."""
    good = frame.valid & frame.real & np.isfinite(frame.values)
    values = np.where(good, frame.values, 0.0)
    try:
        import sep
    except ImportError:
        box = tuple(min(64, n) for n in values.shape)
        try:
            return float(np.median(Background2D(
                values, box, mask=~good,
                exclude_percentile=90).background_rms))
        except ValueError:
            return np.nan
    return sep.Background(values, mask=~good).globalrms


def fourth_differences(frame):
    """Median absolute fourth difference along rows."""
    good = frame.valid & frame.real & np.isfinite(frame.values)
    values = np.where(good, frame.values, np.nan)
    return float(1.4826 * np.nanmedian(np.abs(np.diff(values, 4)))
                 / np.sqrt(70))


def map_range(frame, found, exponent):
    """5-95 per cent of the measured over the true noise of a pixel."""
    shape = frame.values.shape
    if found.phase_levels is not None:
        plane = np.empty(shape)
        for i, level in enumerate(found.phase_levels):
            plane[i // 2::2, i % 2::2] = level
    elif found.block_map is not None:
        whole = tuple(slice(0, n) for n in shape)
        plane = found.level * relative_mesh(found).over(whole, float)
    else:
        plane = np.full(shape, found.level)
    ratio = np.ldexp(plane, exponent) / frame.sigma
    return np.percentile(ratio[frame.valid & frame.real], [5, 95])


def zoo_table(seed, shape, kinds=''):
    """One row a kind."""
    print(f'{"":43}{"new":>7}  {"verdict":11}  {"rho y":>5} {"rho x":>5}'
          f'{"old":>8}{"rms":>7}{"d4":>7}  found')
    for number, name in enumerate(KINDS):
        if kinds not in name:
            continue
        frame = draw(name, [seed, number], shape)
        found, exponent = measured(frame, seeing=frame.fwhm is not None)
        ratio = _level_ratio(frame, found, exponent)
        if frame.values.size < SMALLEST:  # as its level is known to 3 %
            ratio = np.mean([ratio] + [
                _level_ratio(one, *measured(one)) for one in (
                    draw(name, [seed, number, more], shape)
                    for more in range(1, MOST_FRAMES))])
        off = abs(ratio - 1)
        mark = ('!' if off > 0.15 and found.verdict != 'cannot tell' else
                '*' if off > 0.05 else ' ')
        others = [old_level(frame)[0], global_rms(frame),
                  fourth_differences(frame)]
        others = ''.join(f'{one / frame.level:8.2f}'[:8].rjust(7 + (i == 0))
                         for i, one in enumerate(others))
        print(f'{name[:42]:42} {ratio:7.3f}{mark} {found.verdict:11}'
              f'  {found.correlation[0]:5.2f} {found.correlation[1]:5.2f}'
              f'{others}  {_notes(frame, found, exponent)}', flush=True)


def _level_ratio(frame, found, exponent):
    """The level found over the true one, of the same sky."""
    level, sky = (np.ldexp(one, exponent) for one in (found.level, found.sky))
    true = frame.level
    if frame.graded:
        near = np.abs(frame.truth - sky) < true / 4
        true = _rms(frame.sigma[near])
    return level / true


def _notes(frame, found, exponent):
    """What else was found."""
    notes = []
    if frame.map_matters:
        low, high = map_range(frame, found, exponent)
        notes.append(f'map {low:.2f}-{high:.2f}')
    if found.defects:
        missed = frame.valid & np.isfinite(frame.values) & ~frame.real
        mask = found.defect_mask.numpy()
        share = mask[missed].mean() if missed.any() else np.nan
        wrong = (mask & frame.real & frame.valid).mean()
        values = ', '.join(f'{one.value:.5g}' for one in found.defects[:2])
        notes.append(f'no data: {values} ({share:.0%}, wrongly {wrong:.1%})')
    if found.step:
        notes.append(f'step {np.ldexp(found.step, exponent):g}')
    if found.line_axis is not None:
        notes.append(f'{("rows", "columns")[found.line_axis]} '
                     f'{found.line_level / found.level:.2f}')
    if frame.fwhm is not None:
        fwhm = found.seeing.fwhm or np.nan
        notes.append(f'fwhm {fwhm / frame.fwhm:.2f} {found.seeing.verdict}')
    return ', '.join(notes)


def results_table(seed, shape, model, kinds=''):
    """What denoising makes of each kind: errors, pulls, warnings."""
    print(f'{"":43}{"raw":>7}{"gauss":>7}{model:>9}{"sky":>7}{"bright":>7}'
          '  warnings')
    worse = wide = 0
    for number, name in enumerate(KINDS):
        frame = draw(name, [seed, number], shape)
        if frame.truth is None or kinds not in name:
            continue
        denoised, use, pulls, said = _result(frame, model)
        raw, made = (_rms((plane - frame.truth)[use])
                     for plane in (frame.values, denoised))
        smooth = min(_rms((_smoothed(frame, width) - frame.truth)[use])
                     for width in WIDTHS)
        told = {each.category.__name__.removesuffix('Warning')
                for each in said}
        doubtful = any('cannot be told' in str(each.message)
                       for each in said)
        pulls = _of_several(pulls, (
            _result(draw(name, [seed, number, more], shape), model)[2]
            for more in range(1, MOST_FRAMES)))
        far = any(not 0.85 <= pull <= 1.2 for pull in pulls
                  if np.isfinite(pull))
        worse += made > raw
        wide += far and not told
        mark = ('!' if made > raw else ' ') + (
            ' ' if not far else '*' if told else '?')
        print(f'{name[:42]:42} {raw / frame.level:7.2f}'
              f'{smooth / frame.level:7.2f}{made / frame.level:8.2f}'
              f'{mark[0]}{pulls[0]:7.2f}{pulls[1]:7.2f}{mark[1]} '
              + ', '.join(sorted(told))
              + (' (cannot tell)' if doubtful else ''), flush=True)
    print(f'worse than the raw frame: {worse}; pulls outside 0.85-1.2 '
          f'without a warning: {wide}')


def _rms(values):
    return float(np.sqrt(np.mean(values**2)))


def _smoothed(frame, width):
    """A Gaussian filter that knows which pixels hold data."""
    good = frame.valid & frame.real & np.isfinite(frame.values)
    center = np.median(frame.values[good])
    total = gaussian_filter(np.where(good, frame.values - center, 0.0), width)
    weight = gaussian_filter(good.astype(float), width)
    return center + total / np.maximum(weight, 1e-6)


def _result(frame, model):
    """
    Denoised frame, pixels that count, absolute pulls, and warnings.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        denoised, error = denoise(frame.values, model, mask=~frame.valid,
                                  return_uncertainty=True)
    use = frame.valid & frame.real & np.isfinite(error)
    light = frame.truth - np.percentile(frame.truth[use], 5)
    pull = np.abs(denoised - frame.truth) / error
    pulls = [pull[part] for part in (use & (light < frame.level),
                                     use & (light > 10 * frame.level))]
    return denoised, use, pulls, said


def _of_several(pulls, others):
    """
    68 per cent range of the pulls of dark and of bright pixels.

    A few bright pixels are those of a few stars, whose errors have the
    growth of the noise in common: others of the kind are looked at until
    there are enough.
    """
    dark, bright = pulls
    if 100 < len(bright) < FEW_BRIGHT:
        for _, more in others:
            bright = np.concatenate([bright, more])
            if len(bright) >= FEW_BRIGHT:
                break
    return [float(np.quantile(part, 0.6827)) if len(part) > 100 else np.nan
            for part in (dark, bright)]


def false_alarms(seed, number):
    """Warnings of correlation on white frames of all kinds."""
    names = [name for name in KINDS
             if draw(name, 1, (64, 64)).white]
    counts = {'correlated': 0, 'cannot tell': 0, 'old': 0}
    for i in range(number):
        name = names[i % len(names)]
        frame = draw(name, [seed, 1, i], SMALL[i % 2])
        found, _ = measured(frame)
        if found.verdict in counts:
            counts[found.verdict] += 1
            print(f'  {name}: {found.verdict}', flush=True)
        counts['old'] += abs(old_level(frame)[1]) > 0.05
    print(f'{number} white frames: {counts["correlated"]} called correlated,'
          f' {counts["cannot tell"]} cannot tell; old {counts["old"]}')


def detections(seed, number):
    """Correlations that are found, by their size and that of the frame."""
    for size, rho in CORRELATED:
        # two taps 1 - a and a have a correlation of a (1 - a) / (sum of
        # squares)
        shift = _shift_of(rho)
        share = 0
        for i in range(number):
            frame = draw('survey, PSF 3.0 px', [seed, 2, i], (size, size))
            values = frame.values
            for axis in (0, 1):
                values = ((1 - shift) * values
                          + shift * np.roll(values, 1, axis))
            frame.values = values
            share += measured(frame)[0].verdict == 'correlated'
        print(f'rho {rho:.2f}, {size} pixels a side: {share} of {number} '
              f'found', flush=True)


def _shift_of(rho):
    """Weight of the second of two taps that makes a correlation."""
    shift = np.linspace(0, 0.5, 5001)
    made = shift * (1 - shift) / (shift**2 + (1 - shift)**2)
    return float(shift[np.argmin(np.abs(made - rho))])


def supplied_noise(seed, number):
    """Noise maps that are right, 1.5 times wrong, or something else."""
    counts = dict.fromkeys(['false alarms', 'low flagged', 'high flagged',
                            'variance', 'inverse variance'], 0)
    for i in range(number):
        rng = np.random.default_rng([seed, 3, i])
        frame = draw('survey, PSF 3.0 px', [seed, 3, i], (256, 256))
        scale = 10**rng.uniform(0.3, 2)
        frame.values = frame.values * scale
        found, exponent = measured(frame)
        valid = torch.from_numpy(frame.valid)
        right = torch.from_numpy(np.ldexp(frame.sigma * scale, -exponent))

        def look(sigma, found=found, valid=valid):
            return compare_supplied(found, sigma, valid)

        counts['false alarms'] += look(right).differs
        counts['low flagged'] += look(right / 1.5).differs
        counts['high flagged'] += look(1.5 * right).differs
        counts['variance'] += look(right**2).fits_as == 'variance'
        counts['inverse variance'] += (look(right**-2).fits_as
                                       == 'inverse variance')
    print(f'{number} supplied noise maps each:', ', '.join(
        f'{name} {count}' for name, count in counts.items()))


def main():
    """Print all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--seed', type=int, default=SEED)
    parser.add_argument('--size', type=int, default=512,
                        help='pixels per side (default: %(default)s)')
    parser.add_argument('--frames', type=int, default=200,
                        help='white frames (default: %(default)s)')
    parser.add_argument('--quick', action='store_true',
                        help='a quarter of the pixels and of the frames')
    parser.add_argument('--kinds', default='',
                        help='only those whose name has this in it, and '
                             'only their two tables')
    options = parser.parse_args()
    warnings.simplefilter('ignore')
    size, number = options.size, options.frames
    if options.quick:
        size, number = size // 2, number // 4
    start = time.perf_counter()
    zoo_table(options.seed, (size, size), options.kinds)
    print()
    for model in ('ccd', 'ccd-mmse'):
        results_table(options.seed, (size, size), model, options.kinds)
        print()
    if options.kinds:
        return
    false_alarms(options.seed, number)
    detections(options.seed, number // 4)
    supplied_noise(options.seed, number // 2)
    print(f'{time.perf_counter() - start:.0f} s, {torch.get_num_threads()} '
          f'threads')


if __name__ == '__main__':
    main()
