# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The joint least squares of sources and background, tile by tile.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .forced_equations import joint_matrix, parts_of, sky_sums

__all__ = ['Fit', 'Scene', 'Weights', 'improved', 'solvable', 'typical']

_TILE = 64
_HUBER = 3.0

# Relative to the diagonal: makes two sources at one place solvable.
_RIDGE = 1e-6

# Errors of a profile that add less than this to the variance of the sky, in
# its brightest pixel, are left out.
_LEAST_SQUARE = 1e-3

# Sources whose variance, in units of that of the sky, is more are bright.
_BRIGHT = 1e3

_SAMPLE = 2**18  # pixels that a median needs


def _hats(n_pixels, step):
    """Make the linear interpolation from nodes to pixels along an axis."""
    n_nodes = max(2, int(np.ceil((n_pixels - 1) / step)) + 1)
    place = np.linspace(0.0, n_nodes - 1.0, n_pixels)
    return np.maximum(0.0, 1.0 - np.abs(
        place[:, np.newaxis] - np.arange(n_nodes))).astype(np.float32)


def typical(plane, valid):
    """
    Compute the median of a plane from a part of its pixels.

    Parameters
    ----------
    plane, valid : 2D `~numpy.ndarray`
        Values, and which of them count.

    Returns
    -------
    value : float
        The median.
    """
    step = max(1, int(np.sqrt(plane.size / _SAMPLE)))
    part = np.s_[::step, ::step]
    if not valid[part].any():
        part = np.s_[:, :]
    return float(np.median(plane[part][valid[part]]))


@dataclass
class Scene:
    """
    A plane on which sources are fitted.

    Parameters
    ----------
    values, valid : 2D `~numpy.ndarray`
        Pixels, less ``level`` and in units of ``scale`` (float32), and
        whether they count.

    variance : 2D `~numpy.ndarray`
        Of the noise without that of the sources, in the same units
        (float32).

    gain : float or `None`
        Electrons per unit of the values.

    step : float
        Pixels between the nodes of the background.

    tile : int, optional
        Pixels of a side of the tiles.

    level, scale : float, optional
        From the pixels of the frame to the values.
    """

    values: np.ndarray
    valid: np.ndarray
    variance: np.ndarray
    gain: float | None
    step: float
    tile: int = _TILE
    level: float = 0.0
    scale: float = 1.0
    hats: tuple = field(init=False)

    def __post_init__(self):
        self.hats = tuple(_hats(n_pixels, self.step)
                          for n_pixels in self.values.shape)

    @cached_property
    def noise(self):
        """Typical noise of a pixel of the sky."""
        return np.sqrt(typical(self.variance, self.valid))

    def background(self, nodes):
        """
        Interpolate the background.

        Parameters
        ----------
        nodes : 2D `~numpy.ndarray`
            Its values at the nodes.

        Returns
        -------
        background : 2D `~numpy.ndarray`
            On every pixel.
        """
        return (self.hats[0] @ nodes.astype(np.float32)) @ self.hats[1].T

    def photon_variance(self, flux):
        """
        Compute the variance of a source's photons over its profile.
        """
        if self.gain is None:
            return np.zeros_like(flux)
        return np.maximum(flux, 0.0) / self.gain


@dataclass
class Fit:
    """
    State of the fit of a scene.

    Attributes
    ----------
    flux : 1D `~numpy.ndarray`
        Of the sources.

    nodes : 2D `~numpy.ndarray`
        The background.

    model_error : float
        Error of the profiles in a pixel, relative to their values.
    """

    flux: np.ndarray
    nodes: np.ndarray
    model_error: float = 0.05
    _kept: tuple | None = field(default=None, init=False, repr=False)

    @classmethod
    def empty(cls, scene, n_sources):
        """
        Begin with nothing.
        """
        shape = tuple(hats.shape[1] for hats in scene.hats)
        return cls(np.zeros(n_sources), np.zeros(shape))

    def shared_flux(self, group):
        """
        Compute the mean fluxes of sources at nearly one place.

        How their light is shared out between them says nothing.

        Parameters
        ----------
        group : 1D int `~numpy.ndarray`
            A number for each source, the same for those at one place.

        Returns
        -------
        flux : 1D `~numpy.ndarray`
            Of each source, not negative.
        """
        size = len(self.flux)
        number = np.maximum(np.bincount(group, minlength=size), 1)
        return (np.maximum(np.bincount(group, self.flux, size), 0.0)
                / number)[group]

    def forget(self):
        """
        Let the residual go, and the stamps that it belongs to.
        """
        self._kept = None

    def residual(self, scene, stamps):
        """
        Subtract sources and background from a scene.

        Parameters
        ----------
        scene, stamps : `Scene`, `SourceStamps`
            What was fitted.

        Returns
        -------
        residual : 2D `~numpy.ndarray`
            Not to be changed: it is kept for the next to ask.
        """
        if self._kept is None or self._kept[0] is not stamps or (
                self._kept[1] is not scene.values):
            residual = scene.values
            if self.nodes.any() or self.flux.any():
                residual = self._less_background(scene, stamps.passes)
                stamps.image(-self.flux, onto=residual)
            self._kept = stamps, scene.values, residual
        return self._kept[2]

    def _less_background(self, scene, passes):
        """Subtract the background from a scene."""
        if passes is None:
            result = scene.background(self.nodes)
            return np.subtract(scene.values, result, out=result)
        result = np.empty_like(scene.values)
        passes.less_background(
            scene.values, self.nodes.astype(np.float32) @ scene.hats[1].T,
            result)
        return result


@dataclass
class Weights:
    """
    Variance of the pixels, and what is left of the weight of outliers.

    Attributes
    ----------
    flux : 1D `~numpy.ndarray`
        The fluxes that the variances of the sources follow from.

    variance : 2D `~numpy.ndarray`
        With that of all sources.

    share : 2D `~numpy.ndarray`
        The factor of Huber's weights, 0 where a pixel is not valid.

    square : 1D `~numpy.ndarray`
        Variance of the errors of each profile over its square.

    group : 1D int `~numpy.ndarray`
        A number for each source, the same for those at one place.
    """

    flux: np.ndarray
    variance: np.ndarray
    share: np.ndarray
    square: np.ndarray
    group: np.ndarray

    @classmethod
    def uniform(cls, scene, n_sources):
        """
        Make weights that know of no source.
        """
        return cls(np.zeros(n_sources), scene.variance,
                   scene.valid.astype(np.float32), np.zeros(n_sources),
                   np.arange(n_sources))

    @classmethod
    def of(cls, scene, stamps, fit, group, *, guide_flux=None, robust=True):
        """
        Make weights from a fit.

        Parameters
        ----------
        scene, stamps, fit : `Scene`, `SourceStamps`, `Fit`
            What was fitted.

        group : 1D int `~numpy.ndarray`
            As in the attributes.

        guide_flux : 1D `~numpy.ndarray`, optional
            Fluxes to take instead of the fitted ones.

        robust : bool, optional
            Give pixels far off the model less weight.

        Returns
        -------
        weights : `Weights`
            For the next fit.
        """
        guide = fit if guide_flux is None else replace(fit, flux=guide_flux)
        flux = guide.shared_flux(group)
        square = (fit.model_error * flux)**2
        square[square * stamps.squares
               < _LEAST_SQUARE * scene.noise**2] = 0.0
        variance = stamps.image(scene.photon_variance(flux), square,
                                onto=scene.variance.copy())
        if not robust:
            share = scene.valid.astype(np.float32)
        elif stamps.passes is not None:
            share = np.empty_like(variance)
            stamps.passes.robust_share(
                fit.residual(scene, stamps), variance, scene.valid,
                np.float32(_HUBER**2), share)
        else:
            share = scene.valid.astype(np.float32)
            chi2 = fit.residual(scene, stamps)**2
            chi2 /= variance
            far = np.flatnonzero(chi2 > _HUBER**2)
            share.reshape(-1)[far] *= _HUBER / np.sqrt(
                chi2.reshape(-1)[far])
        return cls(flux, variance, share, square, group)

    def of_stamps(self, scene, stamps):
        """
        Give the sources their weights.

        A source does not count in the variance that its own weights
        follow: weights that grow or fall with its flux would curve it.

        Parameters
        ----------
        scene, stamps : `Scene`, `SourceStamps`
            The plane and its sources.

        Returns
        -------
        weighted : list of 3D `~numpy.ndarray`
            The profiles with their weights.
        """
        linear = scene.photon_variance(self.flux).astype(np.float32)
        square = self.square.astype(np.float32)
        twins = self._twins(stamps, linear, square)
        bright = _BRIGHT * scene.noise**2
        weighted = []
        for group in stamps.sets:
            result = np.empty_like(group.stamps)
            weighted.append(result)
            if stamps.passes is not None:
                stamps.passes.weighted_stamps(
                    group.stamps, group.low, linear[group.rows],
                    square[group.rows],
                    (self.variance, scene.variance, self.share), result)
                self._weigh_twins(group, twins, scene, result)
                continue
            for part in group.blocks():
                rows, profile = group.rows[part], group.stamps[part]
                free = group.cut(self.variance, part)
                factors = (each[rows, np.newaxis, np.newaxis]
                           for each in (linear, square))
                free -= _own(profile, *factors, rows, twins)
                # Of a bright source the difference may be rounded to 0.
                if np.any(linear[rows] + square[rows] > bright):
                    np.maximum(free, group.cut(scene.variance, part),
                               out=free)
                np.divide(group.cut(self.share, part), free, out=free)
                np.multiply(profile, free, out=result[part])
        return weighted

    def _weigh_twins(self, group, twins, scene, result):
        """Give weights to the sources of a set that have twins."""
        for number in np.flatnonzero(np.isin(group.rows, list(twins))):
            part = slice(number, number + 1)
            variance, least, share = (group.cut(plane, part) for plane in (
                self.variance, scene.variance, self.share))
            result[part] = group.stamps[part] * share / np.maximum(
                variance - twins[group.rows[number]], least)

    def _twins(self, stamps, linear, square):
        """Own variance of sources at nearly one place, all that is there."""
        number = np.bincount(self.group)[self.group]
        chosen = (number > 1) & ((linear > 0) | (square > 0))
        if not chosen.any():
            return {}
        members = {}
        for row, stamp, here in stamps.select(chosen).parts():
            members.setdefault(self.group[row], []).append((row, stamp, here))
        found = {}
        for twins in members.values():
            for row, stamp, here in twins:
                total = np.zeros_like(stamp)
                for other, profile, there in twins:
                    both = [slice(max(a.start, b.start), min(a.stop, b.stop))
                            for a, b in zip(here, there, strict=True)]
                    part, whole = (tuple(
                        slice(a.start - b.start, a.stop - b.start)
                        for a, b in zip(both, place, strict=True))
                        for place in (there, here))
                    light = profile[part]
                    total[whole] += light * (linear[other]
                                             + square[other] * light)
                found[row] = total
        return found


def _own(profile, linear, square, rows, twins):
    """Variance of the sources on their own stamps."""
    own = linear
    if square.any():
        own = own + square * profile
    own = own * profile
    for number in np.flatnonzero(np.isin(rows, list(twins))):
        own[number] = twins[rows[number]]
    return own


def solvable(matrix):
    """
    Change equations so that they can be solved.

    Parameters
    ----------
    matrix : 2D `~numpy.ndarray`
        Of a tile, changed in place: some unknowns may have no valid pixel.

    Returns
    -------
    matrix : 2D `~numpy.ndarray`
        The same.
    """
    diagonal = np.einsum('ii->i', matrix)
    empty = ~(diagonal > 0)
    diagonal *= 1.0 + _RIDGE
    diagonal[empty] = 1.0
    return matrix


def improved(scene, stamps, fit, weights, tiles):
    """
    Improve a fit by one step of least squares.

    Every tile is solved for what the fit has left, with all sources in
    its halo free, so that what is farther away counts as it was fitted
    before.

    Parameters
    ----------
    scene, stamps, fit, weights : `Scene`, `SourceStamps`, `Fit`, `Weights`
        What to fit, and how.

    tiles : list of `~astro_denoise.photometry.forced_equations.Tile`
        The parts of the plane.

    Returns
    -------
    fit : `Fit`
        A new one.

    weighted : list of 3D `~numpy.ndarray`
        The profiles with their weights.

    matrix : `~scipy.sparse.csr_array`
        The equations.

    change : float
        The largest of a flux, in units of its error without neighbors.
    """
    residual = fit.residual(scene, stamps)
    of_sky, sums = sky_sums(scene.hats, weights, residual, stamps.passes)
    weighted = weights.of_stamps(scene, stamps)
    left = np.concatenate([stamps.products(weighted, residual),
                           sums.ravel()])
    fit.forget()
    del residual  # memory
    symmetric = not weights.flux.any()
    sides = weighted, None
    matrix = joint_matrix(
        scene, stamps, weighted, stamps.profiles,
        (sides, sides if symmetric else (stamps.profiles, of_sky)),
        of_sky, symmetric=symmetric)
    step = np.zeros(len(left))
    for tile, part in parts_of(tiles, stamps.passes, matrix):
        unknowns = tile.unknowns
        found = np.linalg.solve(solvable(part), left[unknowns])
        step[unknowns[tile.own]] = found[tile.own]
    n_sources = stamps.n_sources
    fit = replace(fit, flux=fit.flux + step[:n_sources],
                  nodes=fit.nodes + step[n_sources:].reshape(fit.nodes.shape))
    change = np.abs(step[:n_sources]) * np.sqrt(np.maximum(
        matrix.diagonal()[:n_sources], 0.0))
    return fit, weighted, matrix, change.max(initial=0.0)
