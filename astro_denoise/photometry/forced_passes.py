# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From one pass of the joint fit to the next: noise, weights, positions.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from astropy.stats import SigmaClip
from photutils.background import Background2D, MADStdBackgroundRMS
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from .forced_equations import tiles_of
from .forced_fit import Fit, Scene, Weights, improved
from .source_stamps import SourceStamps
from .stamp_drawing import render_stamps, stamp_radius

__all__ = ['Passes', 'residual_noise', 'run_passes']

_NOISE_BOX = 64

# Sources closer than this, in units of the FWHM, are one to the weights.
_TWIN_DISTANCE = 0.25

# Pairs of sources that may overlap, of which each needs some 100 bytes.
_MOST_PAIRS = 4e7

# Stamps grow if sources of this share of their light have larger ones.
_BRIGHTER = 0.8

# Sources as bright as this say how well the profiles are known.
_BRIGHT_SNR = 20.0
_MOST_MODEL_ERROR = 0.3

# The change of a flux in a pass, in units of its error, after which the next
# one would change it by less than a hundredth.
_SETTLED = 0.08

# A shift is believed if its error is below, and as far as this, in pixels.
_MOST_SHIFT_ERROR, _MOST_STEP = 0.1, 1.0
_LEAST_STEP = 0.1  # in units of its error: a smaller one is not worth it


@dataclass
class Passes:
    """
    A fit on its way.

    Attributes
    ----------
    scene : `~astro_denoise.photometry.forced_fit.Scene`
        The plane.

    sources : `~astropy.table.QTable`
        Positions and shapes.

    psf : object
        The point-spread function.

    knows_noise : bool
        Whether the noise of the scene was given; else it is taken from
        what a pass leaves.

    shift : tuple of float
        Added to the positions, x and y.

    weighted, matrix : list of 3D `~numpy.ndarray`, `~scipy.sparse.csr_array`
        The weighted profiles and the equations of the last step.

    change : float
        The largest of a flux in the last step, in units of its error.

    psf_error : tuple of float
        From `~astro_denoise.photometry.psf_fit.fit_psf`.
    """

    scene: Scene
    sources: object
    psf: object
    knows_noise: bool
    shift: tuple = (0.0, 0.0)
    stamps: SourceStamps | None = None
    fit: Fit | None = None
    weights: Weights | None = None
    tiles: list | None = None
    weighted: list | None = None
    matrix: object = None
    change: float = np.inf
    psf_error: tuple = (0.0, 0.0)
    group: np.ndarray = field(init=False)
    _drawn: tuple | None = field(default=None, init=False, repr=False)

    def __post_init__(self):
        _check_density(self.sources, self.scene.values.shape, self.psf.fwhm)
        self.group = _twins(self.sources, _TWIN_DISTANCE * self.psf.fwhm)

    def render(self):
        """
        Draw the sources where they are now.
        """
        snr = np.ones(len(self.sources)) if self.fit is None else self.snr()
        radius = stamp_radius(self.psf, self.sources, snr)
        if self._drawn is not None:
            shift, drawn = self._drawn
            if shift == self.shift and np.all(stamp_radius(
                    self.psf, self.sources, _BRIGHTER * snr) <= drawn):
                return
            radius = np.maximum(radius, drawn)
        self._drawn = (self.shift, radius)
        # Memory for the new ones.
        self.stamps = self.tiles = self.weighted = self.matrix = None
        if self.fit is not None:
            self.fit.forget()
        self.stamps = render_stamps(
            self.psf, self.sources, radius, self.scene.values.shape,
            shift=self.shift)
        self.tiles = tiles_of(self.scene, self.stamps)

    def snr(self):
        """
        Compute the signal-to-noise ratios of isolated point sources.

        Of sources at an edge what is on the plane counts, and those at
        nearly one place have their mean.
        """
        flux = self.fit.shared_flux(self.group)
        variance = (
            4 * np.pi * (self.psf.fwhm / 2.355)**2 * self.scene.noise**2
            + self.scene.photon_variance(flux))
        return flux * np.sqrt(self.stamps.share / variance)

    def improve(self):
        """
        Make a step of least squares with the weights of the moment.
        """
        self.weighted = self.matrix = None
        self.fit, self.weighted, self.matrix, self.change = improved(
            self.scene, self.stamps, self.fit, self.weights, self.tiles)

    def flux_errors_of_psf(self):
        """
        Compute the errors of the fluxes that are due to a fitted profile.

        Of galaxies they are smaller, as the profile has less part in theirs.

        Returns
        -------
        errors, hybrid_errors : 1D `~numpy.ndarray`
            Of the fluxes, and of those of
            `~astro_denoise.photometry.hybrid_flux.hybrid_fluxes`.
        """
        r50 = np.asarray(self.sources['r50'])
        # As of Gaussians, whose squared widths add up.
        flux = self.fit.flux / (1.0 + (2.0 * r50 / self.psf.fwhm)**2)
        return tuple(error * np.abs(flux) for error in self.psf_error)

    def model(self):
        """
        Compute sources and background, as pixels of the frame.
        """
        scene = self.scene
        values = scene.background(self.fit.nodes) + self.stamps.image(
            self.fit.flux)
        return values * scene.scale + scene.level

    def measure_noise(self):
        """
        Take the noise from the residual, unless it was given.
        """
        if not self.knows_noise:
            residual = self.fit.residual(self.scene, self.stamps)
            self.scene = replace(self.scene, variance=residual_noise(
                residual, self.scene.valid)**2)

    def profile_excess(self, least_snr=_BRIGHT_SNR):
        """
        Compare what bright sources leave with what the noise leaves.

        Parameters
        ----------
        least_snr : float, optional
            Signal-to-noise ratio of a bright source.

        Returns
        -------
        bright : 1D int `~numpy.ndarray`
            These sources.

        squared, noise : 1D `~numpy.ndarray`
            Squared error of the profile of each in a pixel, relative to
            its value, and its standard deviation.
        """
        scene, flux = self.scene, self.fit.flux
        bright = self.snr() > least_snr
        if not bright.any():
            return np.zeros(0, int), *np.zeros((2, 0))
        chosen = self.stamps.select(bright)
        excess, fourth = np.zeros((2, len(flux)))
        residual = self.fit.residual(scene, self.stamps)
        photons = self.stamps.image(scene.photon_variance(flux))
        squares = self.stamps.image(np.zeros(len(flux)),
                                    np.maximum(flux, 0.0)**2)
        for group in chosen.sets:
            for part in group.blocks():
                valid = group.cut(scene.valid, part)
                weight = group.stamps[part] * valid
                left = (group.cut(residual, part)**2
                        - group.cut(photons, part)
                        - group.cut(scene.variance, part))
                for sums, values in ((excess, left), (
                        fourth, group.cut(squares, part))):
                    sums[group.rows[part]] = np.einsum('ijk,ijk->i', weight,
                                                       values)
        bright = np.flatnonzero(bright & (fourth > 0))
        noise = scene.noise**2 * np.sqrt(
            2 * self.stamps.squares[bright]) / fourth[bright]
        return bright, excess[bright] / fourth[bright], noise

    def measure_model_error(self):
        """
        Take the error of the profiles from what bright sources leave.
        """
        bright, squared, noise = self.profile_excess()
        if not len(bright):
            self.fit.model_error = 0.0
            return
        # The noise of the squares of noise: what does not exceed it is 0.
        least = 1.25 * np.median(noise) / np.sqrt(len(bright))
        self.fit.model_error = float(np.sqrt(np.clip(
            np.median(squared) - least, 0.0, _MOST_MODEL_ERROR**2)))

    def improve_shift(self):
        """
        Make a Gauss-Newton step of the shift common to all sources.
        """
        snr = self.snr()
        bright = snr > 5.0
        # Of a Gaussian profile; the pixels would say the same.
        if self.psf.fwhm > 2.355 * _MOST_SHIFT_ERROR * np.sqrt(
                np.sum(snr[bright]**2)):
            return
        moving = self.sources.copy()
        moving['x'][~bright] = np.nan
        radius = stamp_radius(self.psf, moving, snr)
        slopes = [render_stamps(
            self.psf, moving, radius, self.scene.values.shape,
            shift=self.shift, derivative=axis).image(self.fit.flux)
            for axis in 'xy']
        weight = self.weights.share / self.weights.variance
        residual = self.fit.residual(self.scene, self.stamps)
        matrix, left = np.empty((2, 2)), np.empty(2)
        for row, slope in enumerate(slopes):
            weighted = weight * slope
            matrix[row] = [np.vdot(weighted, other) for other in slopes]
            left[row] = np.vdot(weighted, residual)
        if not np.linalg.det(matrix) > 0:
            return
        inverse = np.linalg.inv(matrix)
        error = np.sqrt(np.diag(inverse))
        if error.max() > _MOST_SHIFT_ERROR:
            return
        step = inverse @ left
        if np.all(np.abs(step) < _LEAST_STEP * error):
            return
        step = np.clip(step, -_MOST_STEP, _MOST_STEP)
        self.shift = (self.shift[0] + float(step[0]),
                      self.shift[1] + float(step[1]))


def _check_density(sources, shape, fwhm):
    """Refuse more overlaps of sources than memory can hold."""
    side = max(6.0 * fwhm, 12.0)  # of the smallest stamps
    place = [np.asarray(sources[name]) for name in 'yx']
    on_plane = np.isfinite(place[0] + place[1])
    size = [int(n_pixels / side) + 3 for n_pixels in shape]
    cells = [np.clip(each[on_plane] / side + 1, 0, most - 1).astype(int)
             for each, most in zip(place, size, strict=True)]
    number = np.bincount(cells[0] * size[1] + cells[1],
                         minlength=size[0] * size[1]).reshape(size)
    near = uniform_filter(number.astype(float), 3, mode='constant') * 9.0
    n_pairs = np.sum(number * near) / 2.0
    if n_pairs > _MOST_PAIRS:
        msg = (f'catalog must have fewer sources on the frame, got '
               f'{np.count_nonzero(on_plane)} on {shape[0]} x {shape[1]} '
               f'pixels, at most {number.max()} in {side:.0f} x {side:.0f} '
               f'pixels: too many to tell their light apart. Leave out the '
               f'faint ones, or those that are listed more than once')
        raise ValueError(msg)


def _twins(sources, distance):
    """Number the sources so that those at one place have one number."""
    n_sources = len(sources)
    place = np.stack([sources['x'], sources['y']], axis=1)
    on_plane = np.flatnonzero(np.isfinite(place).all(axis=1))
    if not len(on_plane):
        return np.arange(n_sources)
    pairs = on_plane[KDTree(place[on_plane]).query_pairs(
        distance, output_type='ndarray')]
    graph = coo_array((np.ones(len(pairs)), pairs.T), (n_sources, n_sources))
    return connected_components(graph, directed=False)[1]


def residual_noise(residual, valid):
    """
    Measure the noise of a plane without sources, smooth over the plane.

    Parameters
    ----------
    residual, valid : 2D `~numpy.ndarray`
        The plane, and which of its pixels count.

    Returns
    -------
    noise : 2D `~numpy.ndarray`
        Standard deviation of every pixel.
    """
    box = tuple(min(_NOISE_BOX, n_pixels) for n_pixels in residual.shape)
    mesh = Background2D(residual, box, mask=~valid, exclude_percentile=95,
                        filter_size=3, sigma_clip=SigmaClip(3.0),
                        bkg_rms_estimator=MADStdBackgroundRMS(
                            sigma_clip=None))
    noise = mesh.background_rms
    typical = np.median(noise[valid])
    if not typical > 0:
        msg = ('error must be given for data without noise, got None and a '
               'residual of 0')
        raise ValueError(msg)
    return np.maximum(noise, 0.1 * typical)


def run_passes(passes, *, robust=True, shift=True, guide_flux=None):
    """
    Fit in passes until weights and positions have settled.

    Parameters
    ----------
    passes : `Passes`
        The fit, changed in place.

    robust, shift, guide_flux : bool, bool, 1D `~numpy.ndarray`
        As for `~astro_denoise.photometry.forced_photometry`.
    """
    passes.render()
    n_sources = len(passes.sources)
    if passes.fit is None:
        passes.fit = Fit.empty(passes.scene, n_sources)
    passes.weights = Weights.uniform(passes.scene, n_sources)
    passes.improve()
    for number in range(3):
        passes.weighted = passes.matrix = None  # memory
        passes.measure_noise()
        if number:
            passes.measure_model_error()
        passes.weights = Weights.of(
            passes.scene, passes.stamps, passes.fit, passes.group,
            guide_flux=guide_flux, robust=robust)
        if number < 2:
            if shift:
                passes.improve_shift()
            passes.render()
        passes.improve()
        if number and passes.change < _SETTLED:
            break
