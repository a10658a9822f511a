# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Properties that a denoising model must have whatever its weights are.
"""

from unittest.mock import patch

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from fields import survey_field
from methods import apply_model

from astro_denoise.simulation.survey import SurveySimulator

SCALE, SHIFT = 0.0371, 1234.5
SMALL_WINDOW = 2**17  # pixels


def nyquist_excess(planes):
    """
    Power at the Nyquist frequency over that a little below it.

    Parameters
    ----------
    planes : list of 2D `~numpy.ndarray`
        Denoised frames of blank sky.

    Returns
    -------
    excess : float
        Of the mean power spectrum of windows of 64 x 64 pixels, the
        larger of both axes.

    error : float
        Its standard deviation, by leaving out each window; of two axes
        alike, chance makes the larger one exceed 1 by about half of it.
    """
    size = 64
    window = np.hanning(size)
    powers = []
    for plane in planes:
        ny, nx = (length // size * size for length in plane.shape)
        cut = plane[:ny, :nx] - np.mean(plane)
        cut = cut.reshape(ny // size, size, nx // size, size).swapaxes(1, 2)
        powers.append(np.abs(np.fft.fft2(
            cut * window * window[:, np.newaxis])
            ).reshape(-1, size, size)**2)
    power = np.concatenate(powers)
    middle = size // 2

    def larger(power):
        along = np.stack([power.mean(axis=-2), power.mean(axis=-1)])
        return (along[..., middle] / along[..., middle - 6:middle - 2]
                .mean(axis=-1)).max(axis=0)

    excess = larger(power.mean(axis=0))
    n = len(power)
    if n < 2:
        return float(excess), np.nan
    without = larger((power.sum(axis=0) - power) / (n - 1))
    return float(excess), float(np.sqrt(n - 1) * without.std())


def _bright_frame(scale, seed):
    """A frame with saturated stars and nothing masked, and its noise."""
    field = survey_field(scale['size'], [seed, 3], magnitude_range=(10., 22.),
                         magnitude_slope=0.15, density=300.0)
    noise = field.noise(0)
    frame = CCDData(field.exposures[0].data, unit='adu',
                    uncertainty=StdDevUncertainty(noise))
    return frame, noise


def _same_noise_map(model, scale, seed, factor, offset):
    frame, noise = _bright_frame(scale, seed)
    other = CCDData(
        frame.data.astype(float) * factor + offset, unit='adu',
        uncertainty=StdDevUncertainty(noise * factor))
    expected = apply_model(model, frame, precision='float32')[0]
    found = apply_model(model, other, precision='float32')[0]
    return float(np.max(np.abs((found - offset) / factor - expected)
                        / noise))


def scaled(model, scale, seed):
    """A frame and its noise map scaled: deviation, in sigmas."""
    return _same_noise_map(model, scale, seed, SCALE, 0.0)


def shifted(model, scale, seed):
    """A constant added to a frame: deviation, in sigmas."""
    return _same_noise_map(model, scale, seed, 1.0, SHIFT)


def tiled(model, scale, seed):
    """Small tiles against large ones: deviation, in sigmas."""
    from astro_denoise.inference import engine

    frame, noise = _bright_frame(scale, seed)
    whole = apply_model(model, frame, precision='float32')[0]
    windows = dict.fromkeys(engine._WINDOW_PIXELS, SMALL_WINDOW)
    with patch.dict(engine._WINDOW_PIXELS, windows):
        parts = apply_model(model, frame, precision='float32')[0]
    return float(np.max(np.abs(whole - parts) / noise))


def precisions(model, scale, seed):
    """Bfloat16 against float32: deviation, in sigmas."""
    frame, noise = _bright_frame(scale, seed)
    exact, fast = (apply_model(model, frame, precision=precision)[0]
                   for precision in ('float32', 'bfloat16'))
    return float(np.max(np.abs(exact - fast) / noise))


def pure_noise(model, scale, seed):
    """Pixels of pure noise left above 1 sigma, in 10 Mpix (or 1)."""
    simulator = SurveySimulator(shape=(1000, 1000), density=0,
                                n_cosmic_rays=0, n_bad_columns=0)
    found = 0
    for number in range(scale['n_noise']):
        (frame,), _, (truth,) = simulator.exposures(
            1, seed=[seed, 4, number], return_truth=True)
        gain, read_noise = frame.header['GAIN'], frame.header['RDNOISE']
        sigma = np.sqrt(truth / gain + (read_noise / gain)**2)
        denoised = apply_model(model, frame)[0]
        found += int(np.count_nonzero(np.abs(denoised - truth) > sigma))
    return found


CHECKS = {'scaled with its noise map, max / sigma': scaled,
          'shifted by a constant, max / sigma': shifted,
          'tile size, max / sigma': tiled,
          'bfloat16 - float32, max / sigma': precisions,
          'pure noise, pixels above 1 sigma': pure_noise}
