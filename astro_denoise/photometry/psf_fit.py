# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The point-spread function from the sources themselves.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from ..exceptions import UnusualImageWarning
from .forced_passes import Passes, run_passes
from .hybrid_flux import APERTURE
from .psf_models import MoffatPsf, shapes_from_apertures
from .stamp_drawing import render_stamps, stamp_radius

__all__ = ['fit_psf', 'warn_of_sampling']

_START = MoffatPsf(3.5, 3.5)
_LEAST_SOURCES, _ENOUGH_STARS, _MOST_SOURCES = 3, 5, 40
# Of the sources that count, in each round. Fitted to fainter ones, the
# profile may become that of the unresolved light around them.
_LEAST_SNR = (10.0, 10.0)
_MODEL_ERROR = 0.05  # of the profile of a bright source
# A profile of the width of another sampling, which would fit better.
_OTHER_SAMPLINGS = (1 / 3, 1 / 2, 2.0, 3.0)
_LEAST_RATIO = 1.15  # of the powers of what they see of a source
# Stars that an effective point-spread function needs, and how bright.
_EPSF_STARS, _EPSF_SNR = 12, 30.0
_STEP = 0.02  # of the logarithms of FWHM and exponent, for slopes
_FWHM_LIMITS, _BETA_LIMITS = (1.0, 15.0), (1.6, 8.0)


def fit_psf(scene, sources, *, knows_noise, shift):
    """
    Fit the point-spread function, neighbors of each source subtracted.

    It is a Moffat profile, or the effective point-spread function of stars
    if there are enough and that of half of them fits the others better.

    Parameters
    ----------
    scene : `~astro_denoise.photometry.forced_fit.Scene`
        The plane.

    sources : `~astropy.table.QTable`
        Positions and shapes.

    knows_noise : bool
        Whether the noise of the scene was given.

    shift : bool
        Fit a shift common to all positions too.

    Returns
    -------
    psf : object
        From `~astro_denoise.photometry.psf_models`.

    shift : tuple of float
        To be added to the positions.

    psf_error : tuple of float
        Relative error of all fluxes from that of the profile, and of those
        of `~astro_denoise.photometry.hybrid_flux.hybrid_fluxes`.

    Raises
    ------
    ValueError
        If there are too few sources.
    """
    psf, place = _START, (0.0, 0.0)
    for number, least in enumerate(_LEAST_SNR):
        passes = Passes(scene, shapes_from_apertures(sources, psf), psf,
                        knows_noise, place)
        run_passes(passes, shift=False)
        cutouts = _Cutouts.of(passes, least)
        psf, place = _fit_moffat(cutouts, passes, shift=shift,
                                 widely=number == 0)
    return (_epsf(cutouts, psf, place) or psf, place,
            _flux_errors(cutouts, psf, place))


def _flux_errors(cutouts, moffat, place):
    """Propagate the noise of the sources through the profile to fluxes."""
    parameters = np.array([np.log(moffat.fwhm), np.log(moffat.beta - 1)])

    def drawn(steps):
        fwhm, rest = np.exp(parameters + steps)
        stamps = render_stamps(MoffatPsf(fwhm, 1 + rest), cutouts.sources,
                               cutouts.radius, cutouts.shape, shift=place)
        found = {row: _on_window(part, here, cutouts.windows[row])
                 for row, part, here in stamps.parts()}
        return [found[row] for row in range(len(cutouts.sources))]

    usual = drawn(np.zeros(2))
    slopes = [[(high - low) / (2 * _STEP) for high, low in zip(
        drawn(step), drawn(-step), strict=True)]
        for step in _STEP * np.eye(2)]
    total, scatter = np.zeros((2, 2, 2))
    leaks = []
    for profile, *shapes, (values, weight) in zip(
            usual, *slopes, cutouts.pixels, strict=True):
        basis = np.stack([profile, np.ones_like(profile)]).reshape(2, -1)
        shapes = np.stack(shapes).reshape(2, -1)
        weight, values = weight.ravel(), values.ravel()
        normal = np.linalg.inv((basis * weight) @ basis.T)
        flux = (normal @ (basis * weight) @ values)[0]
        # What the flux and the background of the source do not take of them.
        left = shapes - (shapes * weight) @ basis.T @ normal @ basis
        fisher = flux**2 * (left * weight) @ left.T
        power = flux**2 / normal[0, 0]
        share = 1.0 / (1.0 + _MODEL_ERROR**2 * power)
        total += share * fisher
        scatter += share**2 * fisher
        leaks.append(_leaks(profile, shapes, moffat.fwhm))
    inverse = np.linalg.pinv(total)
    covariance = inverse @ scatter @ inverse
    return tuple(float(np.sqrt(leak @ covariance @ leak))
                 for leak in np.median(leaks, axis=0))


def _leaks(profile, shapes, fwhm):
    """Derivatives of a flux and of that with an aperture by a profile's."""
    y, x = np.indices(profile.shape)
    total = profile.sum()
    distance = np.hypot(y - np.sum(y * profile) / total,
                        x - np.sum(x * profile) / total)
    inside = (distance < APERTURE * fwhm).ravel()
    profile = profile.ravel()
    flux = -shapes @ profile / np.sum(profile**2)
    return flux, (flux * (1.0 - profile[inside].sum())
                  - shapes[:, inside].sum(axis=1))


def _epsf(cutouts, moffat, place):
    """Build the effective PSF of stars; `None` if it is no better."""
    # photutils.psf is slow to import.
    from .epsf import build_epsf

    bright = cutouts.powers(moffat, place) > _EPSF_SNR**2
    whole = np.array([values.shape == (2 * reach + 1,) * 2
                      for (values, _), reach in zip(
                          cutouts.pixels, cutouts.radius, strict=True)])
    stars = np.flatnonzero(
        bright & whole & (np.asarray(cutouts.sources['r50']) == 0)
        & (cutouts.radius == np.min(cutouts.radius)))
    if len(stars) < _EPSF_STARS:
        return None

    def build(rows):
        positions = [[float(cutouts.sources[name][row]) + add - side.start
                      for name, add, side in zip(
                          'xy', place, cutouts.windows[row][::-1],
                          strict=True)] for row in rows]
        return build_epsf(*zip(*(cutouts.pixels[row] for row in rows),
                               strict=True), positions, moffat)

    def seen(psf):
        return np.sum(np.log1p(_MODEL_ERROR**2 * cutouts.powers(
            psf, place)[stars[1::2]]))

    half = build(stars[::2])
    if half is None or seen(half) <= seen(moffat):
        return None
    return build(stars)


def warn_of_sampling(passes, *, stacklevel=3):
    """
    Warn if the bright sources are far wider or narrower than a profile.

    Parameters
    ----------
    passes : `~astro_denoise.photometry.forced_passes.Passes`
        A fit with a point-spread function that was given.

    stacklevel : int, optional
        Of the warning.

    Warns
    -----
    UnusualImageWarning
        If a Moffat profile of twice or three times its width, or a half
        or a third of it, fits them better than one of its width.
    """
    try:
        cutouts = _Cutouts.of(passes, _LEAST_SNR[0])
    except ValueError:  # too few to tell
        return
    def powers(factor):
        return cutouts.powers(
            MoffatPsf(factor * passes.psf.fwhm, 3.5), passes.shift)

    usual = np.maximum(powers(1.0), 1.0)
    ratio = {factor: np.median(powers(factor) / usual)
             for factor in _OTHER_SAMPLINGS
             if _FWHM_LIMITS[0] < factor * passes.psf.fwhm < _FWHM_LIMITS[1]}
    best = max(ratio, key=ratio.get, default=None)
    if best is not None and ratio[best] > _LEAST_RATIO:
        msg = (f'psf has a FWHM of {passes.psf.fwhm:.2f} pixels, and the '
               f'bright sources fit one of {best:.2g} times that better: is '
               f'it sampled as the frame is, and has the catalog the shapes '
               f'of the galaxies?')
        warnings.warn(msg, UnusualImageWarning, stacklevel=stacklevel)


@dataclass
class _Cutouts:
    """
    The brightest sources, with all others subtracted.

    Attributes
    ----------
    sources : `~astropy.table.QTable`
        Positions and shapes.

    radius : 1D `~numpy.ndarray`
        How far their stamps reach.

    shape : tuple of int
        Of the plane.

    windows : list of tuple of slice
        The pixels around each source.

    pixels : list of tuple of 2D `~numpy.ndarray`
        Values and weights on them.
    """

    sources: object
    radius: np.ndarray
    shape: tuple
    windows: list
    pixels: list

    @classmethod
    def of(cls, passes, least_snr):
        """Cut the brightest sources out of a fit."""
        rows = _brightest(passes, least_snr)
        scene, chosen = passes.scene, passes.sources[rows]
        residual = passes.fit.residual(scene, passes.stamps)
        radius = stamp_radius(MoffatPsf(1.5 * passes.psf.fwhm, 3.0), chosen,
                              np.ones(len(rows)))
        windows = [_window(source, reach, residual.shape)
                   for source, reach in zip(chosen, radius, strict=True)]
        own = {row: (stamp, here) for row, stamp, here in
               passes.stamps.select(np.isin(np.arange(len(passes.sources)),
                                            rows)).parts()}
        pixels = []
        for row, window in zip(rows, windows, strict=True):
            values = residual[window].copy()
            values += passes.fit.flux[row] * _on_window(*own[row], window)
            pixels.append((values, scene.valid[window]
                           / scene.variance[window]))
        return cls(chosen, radius, residual.shape, windows, pixels)

    def gain(self, psf, shift):
        """
        Compute how much a profile sees of all sources.

        No profile fits a bright source exactly: none decides alone.
        """
        return np.sum(np.log1p(_MODEL_ERROR**2 * self.powers(psf, shift)))

    def powers(self, psf, shift):
        """Squared signal-to-noise ratio of each source by a profile."""
        stamps = render_stamps(psf, self.sources, self.radius, self.shape,
                               shift=shift)
        powers = np.zeros(len(self.sources))
        for row, part, here in stamps.parts():
            powers[row] = _power(part, here, self.windows[row],
                                 *self.pixels[row])
        return powers


def _fit_moffat(cutouts, passes, *, shift, widely):
    """Fit FWHM, exponent and shift to the brightest sources."""
    def loss(parameters):
        psf = MoffatPsf(np.exp(parameters[0]), 1 + np.exp(parameters[1]))
        return -cutouts.gain(psf, tuple(parameters[2:]) if shift
                             else passes.shift)

    start = [np.log(passes.psf.fwhm), np.log(passes.psf.beta - 1)]
    steps = [0.25 if widely else 0.08, 0.3]
    limits = [np.log(_FWHM_LIMITS), np.log(np.subtract(_BETA_LIMITS, 1))]
    if shift:
        start += passes.shift
        steps += [0.3, 0.3]
        limits += [(-3, 3), (-3, 3)]
    if widely:
        start[0] = min(np.log(np.geomspace(*_FWHM_LIMITS, 14)),
                       key=lambda fwhm: loss([fwhm, *start[1:]]))
    start = np.array(start)
    simplex = start + np.vstack([np.zeros(len(start)), np.diag(steps)])
    best = minimize(loss, start, method='Nelder-Mead', bounds=limits,
                    options={'initial_simplex': simplex, 'xatol': 2e-3,
                             'fatol': 1e-4, 'maxfev': 150}).x
    place = tuple(map(float, best[2:])) if shift else passes.shift
    return MoffatPsf(float(np.exp(best[0])), float(1 + np.exp(best[1]))), place


def _brightest(passes, least_snr):
    """Choose the sources that the profile is fitted to."""
    snr = passes.snr()
    stamps = passes.stamps.select(snr > least_snr)
    valid = stamps.sums(passes.scene.valid)
    bright = np.flatnonzero((snr > least_snr)
                            & (valid > 0.98 * stamps.total))
    if len(bright) < _LEAST_SOURCES:
        msg = (f"psf='fit' needs {_LEAST_SOURCES} sources of a "
               f'signal-to-noise ratio above {least_snr:g} whose pixels '
               f'are valid, got {len(bright)}: give a photutils PSF model or '
               f'an image')
        raise ValueError(msg)
    # Stars say more than galaxies, whose shapes the catalog may not know.
    stars = bright[np.asarray(passes.sources['r50'])[bright] == 0]
    if len(stars) >= _ENOUGH_STARS:
        bright = stars
    return np.sort(bright[np.argsort(-snr[bright])][:_MOST_SOURCES])


def _window(source, radius, shape):
    """Slices of the pixels around a source."""
    return tuple(
        slice(max(int(np.rint(source[name]) - radius), 0),
              min(int(np.rint(source[name]) + radius) + 1, n_pixels))
        for name, n_pixels in zip('yx', shape, strict=True))


def _on_window(part, here, window):
    """Put a stamp on the pixels of a window."""
    profile = np.zeros([side.stop - side.start for side in window])
    both = [slice(max(one.start, other.start), min(one.stop, other.stop))
            for one, other in zip(here, window, strict=True)]
    to, of = (tuple(slice(side.start - whole.start, side.stop - whole.start)
                    for side, whole in zip(both, place, strict=True))
              for place in (window, here))
    profile[to] = part[of]
    return profile


def _power(part, here, window, values, weight):
    """Squared signal-to-noise ratio of a source, its background free."""
    profile = _on_window(part, here, window)
    total = weight.sum()
    profile -= np.sum(weight * profile) / total
    return (max(np.sum(weight * profile * values), 0.0)**2
            / np.sum(weight * profile**2))
