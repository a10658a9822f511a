# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Measure how much flux a denoiser keeps, from noisy frames alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from astropy.stats import gaussian_fwhm_to_sigma
from scipy.ndimage import maximum_filter
from scipy.signal import oaconvolve

__all__ = ['FluxKept', 'measure_flux_kept', 'flux_kept_text']

# Significance of sources in the frame that they are selected on.
BINS = (3.0, 4.0, 6.0, 12.0, np.inf)

_TAU = 0.5          # as for recorrupted pairs
_N_REPEATS = 2      # of the noise that is added
_FEWEST = 10        # sources of a bin
_LEAST_SNR = 3.0    # of the flux of a bin
_N_RESAMPLES = 200

# Radii over the width of the point-spread function: of the aperture, and of
# the annulus of the sky around it.
_APERTURE, _INNER, _OUTER = 1.0, 2.5, 4.0


@dataclass(frozen=True)
class FluxKept:
    """
    Flux of sources of some brightness, denoised over raw.

    Attributes
    ----------
    snr : float
        Mean signal-to-noise ratio of these sources in the raw frame.

    kept : float
        Flux kept; NaN where there are too few sources to tell.

    error : float
        Its standard error.

    number : int
        Number of the sources.
    """

    snr: float
    kept: float
    error: float
    number: int

    def describe(self):
        """
        Give what the header of a model holds.

        Returns
        -------
        description : dict
            Numbers, `None` for those that are not known.
        """
        return {name: float(f'{value:.3g}') if np.isfinite(value) else None
                for name, value in (
                    ('snr', self.snr), ('kept', self.kept),
                    ('error', self.error))} | {'number': self.number}


def _kernels(fwhm):
    """An aperture less its sky, and the filter that finds sources."""
    outer = int(np.ceil(_OUTER * fwhm))
    y, x = np.mgrid[-outer:outer + 1, -outer:outer + 1]
    radius = np.hypot(x, y) / fwhm
    aperture = (radius <= max(_APERTURE, 1.0 / fwhm)).astype(float)
    sky = ((radius >= _INNER) & (radius <= _OUTER)).astype(float)
    matched = np.exp(-0.5 * (radius / gaussian_fwhm_to_sigma)**2)
    return (aperture - sky * aperture.sum() / sky.sum(),
            matched - sky * matched.sum() / sky.sum())


@torch.inference_mode()
def _recorrupted(network, batch, generator, n_at_once=8):
    """
    Split frames into two of independent noise, and denoise the first.

    All come in units of the noise of the blank sky of the first.
    """
    first, denoised, second = [], [], []
    unit = 1.0 / np.hypot(1.0, _TAU)
    for start in range(0, len(batch['x']), n_at_once):
        part = {name: plane[start:start + n_at_once]
                for name, plane in batch.items()}
        noise = torch.randn(part['x'].shape, generator=generator).to(
            part['x'].device)
        valid = part['valid']
        x = (part['x'] + _TAU * noise) * unit * valid
        other = (part['x'] - noise / _TAU) * unit * valid
        taken, _ = network(x, part['log_sigma'], valid, part['context'])
        sigma = part['log_sigma'].exp() * valid
        for planes, plane in ((first, x), (denoised, x - taken),
                              (second, other)):
            planes.append((plane * sigma)[:, 0].cpu().numpy())
    return [np.concatenate(planes).astype(float)
            for planes in (first, denoised, second)]


def measure_flux_kept(network, batch, fwhm, *, seed=0, truth=None):
    """
    Measure the flux that a denoiser keeps, without a truth.

    With noise ``w`` of the width that is known, ``y + tau sigma w`` and
    ``y - sigma w / tau`` have independent noise (Pang et al. 2021, CVPR).
    Sources are found, and sorted by their signal-to-noise ratio, in the
    second; the sum of their apertures in the denoised first over that in
    the first itself is the flux kept, without the bias that a selection by
    the same noise has. The first has 12 per cent more noise than the
    frame: of the frame itself a little more is kept.

    Parameters
    ----------
    network : `torch.nn.Module`
        The denoiser, in evaluation mode.

    batch : dict of `torch.Tensor`
        Patches that were not trained on, from
        `~astro_denoise.training.batches.PatchSampler.validation`.

    fwhm : float
        Of the point-spread function in pixels.

    seed : int, optional
        Of the noise that is added.

    truth : 3D `~numpy.ndarray`, optional
        The patches without noise, in units of the noise of the blank sky,
        to compare with: the flux of the same sources that is kept of it.

    Returns
    -------
    rows : list of `FluxKept`
        Faint sources first, in four bins of the significance in the second:
        3-4, 4-6, 6-12, and above.
    """
    generator = torch.Generator().manual_seed(seed)
    aperture, matched = (kernel[None] for kernel in _kernels(fwhm))
    reach = aperture.shape[-1] // 2
    valid = batch['valid'][:, 0].cpu().numpy().astype(float)
    variance = (batch['log_sigma'][:, 0].exp().cpu().numpy() * valid)**2

    def seen(planes, kernel):
        return oaconvolve(planes, kernel, 'same', axes=(1, 2))

    # Of the first; the second has that of 1 / tau.
    noise = [np.sqrt(seen(variance, kernel**2).clip(1e-12))
             for kernel in (aperture, matched)]
    inside = seen(1.0 - valid, np.abs(aperture) > 0) < 0.5
    for edge in (np.s_[:, :reach], np.s_[:, -reach:], np.s_[:, :, :reach],
                 np.s_[:, :, -reach:]):
        inside[edge] = False
    side = 2 * round(fwhm) + 1
    sums = np.zeros((len(BINS) - 1, 6, len(valid)))
    for _ in range(_N_REPEATS):
        first, denoised, second = _recorrupted(network, batch, generator)
        if truth is not None:
            first = truth / np.hypot(1.0, _TAU)
        significance = seen(second, matched) * _TAU / noise[1]
        tops = inside & (significance == maximum_filter(
            significance, (1, side, side)))
        patch, *_ = places = np.nonzero(tops & (significance > BINS[0]))
        found = significance[places]
        number = np.digitize(found, BINS) - 1
        raw = seen(first, aperture)[places]
        # All sources count alike, however bright they are.
        for index, values in enumerate((
                seen(denoised, aperture)[places] / found, raw / found,
                raw / noise[0][places] / found, 1.0 / found, found**0,
                (noise[0][places] / found)**2 * (truth is None))):
            np.add.at(sums, (number, index, patch), values)
    return [_row(each, seed) for each in sums]


def _row(sums, seed):
    """Flux kept and its error, from how patches differ."""
    n_sources = round(sums[4].sum() / _N_REPEATS)
    snr = float(np.hypot(1.0, _TAU) * sums[2].sum()
                / max(sums[3].sum(), 1e-12))
    has = sums[3] > 0
    if n_sources < _FEWEST or np.count_nonzero(has) < 3:
        return FluxKept(snr, np.nan, np.nan, n_sources)
    kept, raw = sums[0, has], sums[1, has]
    # The noise of the frame is the same in all repeats.
    noise = np.sqrt(_N_REPEATS * sums[5].sum())
    if raw.sum() < _LEAST_SNR * noise:
        return FluxKept(snr, np.nan, np.nan, n_sources)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(raw), size=(_N_RESAMPLES, len(raw)))
    ratio = kept.sum() / raw.sum()
    left = (kept - ratio * raw)[drawn].sum(1).std()
    return FluxKept(snr, float(ratio), float(
        np.hypot(left, ratio * noise) / raw.sum()), n_sources)


def flux_kept_text(rows):
    """
    Put the flux kept into words.

    Parameters
    ----------
    rows : list of dict
        From `FluxKept.describe`.

    Returns
    -------
    text : str
        A line.
    """
    known = [f'{row["kept"]:.2f} ± {row["error"]:.2f} at S/N '
             f'{row["snr"]:.2g}' for row in rows
             if row['kept'] is not None]
    if not known:
        return 'flux kept: unknown, too few sources in the held-out frames'
    return f'flux kept: {", ".join(reversed(known))}'
