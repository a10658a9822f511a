# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Patches of a survey's own frames, prepared for a network to learn from.
"""

from dataclasses import dataclass

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from scipy.ndimage import gaussian_filter

from ..models.denoiser import psf_context

__all__ = ['BatchPlan', 'PatchSampler', 'blind_areas', 'blind_spots',
           'emphasized', 'pair', 'recorrupted', 'standardized']

_HELD_OUT = 0.1  # share of the frames, or of the rows of a single one
_LEAST_VALID = 0.2  # share of a patch

# Significance beyond which a source counts no more.
_SIGNIFICANT = 3.0


@dataclass(frozen=True)
class BatchPlan:
    """
    Patches of a batch, and which of them this process draws.

    Parameters
    ----------
    patch : int, optional
        Pixels per side of a patch.

    n_patches : int, optional
        Patches of a batch.

    seed : int, optional
        Seed of the choice of the data that are held out.

    rank, size : int, optional
        Of the patches of a batch, this process takes every ``size``-th,
        from number ``rank`` on.
    """

    patch: int = 128
    n_patches: int = 8
    seed: int = 0
    rank: int = 0
    size: int = 1

    def mine(self, n_patches):
        """
        Choose the patches of this process.

        Parameters
        ----------
        n_patches : int
            Number of patches.

        Returns
        -------
        numbers : range
            Their numbers.
        """
        return range(self.rank, n_patches, self.size)


class PatchSampler:
    """
    Cut patches out of frames, in all orientations.

    Parameters
    ----------
    frames : list of `~astro_denoise.training.frame_store.TrainingFrame`
        The frames.

    prepare : callable
        ``prepare(maps, rng)`` makes the arrays of a batch of one
        patch; see `blind_spots`.

    plan : `BatchPlan`
        Size, number and seed of the patches.

    pairs : bool, optional
        Draw a second exposure of the same group with each patch.
    """

    def __init__(self, frames, prepare, plan, *, pairs=False):
        self.frames = frames
        self.prepare = prepare
        self.plan = plan
        self.patch = plan.patch
        self.pairs = pairs
        self.training, self.held_out = self._split(plan.seed)
        self._shares = {}
        for name, areas in (('training', self.training),
                            ('held_out', self.held_out)):
            room = np.array([self._room(area).prod() for area in areas],
                            float)
            self._shares[name] = room / room.sum()

    def _split(self, seed):
        """
        Choose areas to train on and areas held out: a frame and rows.

        Whole groups are held out, or, where there is one, the last rows.
        """
        whole = [(index, 0, frame.shape[0])
                 for index, frame in enumerate(self.frames)]
        groups = sorted({self._unit(index) for index, _, _ in whole})
        if len(groups) > 1:
            rng = np.random.default_rng([seed, 2])
            n_out = max(1, round(_HELD_OUT * len(groups)))
            out = set(rng.permutation(groups)[:n_out].tolist())
            return ([area for area in whole if self._unit(area[0]) not in out],
                    [area for area in whole if self._unit(area[0]) in out])
        training, held_out = [], []
        for index, _, n_rows in whole:
            rows = max(self.patch, round(_HELD_OUT * n_rows))
            if n_rows - rows < self.patch:
                # Too small to be divided: better some overlap than nothing.
                rows, first = self.patch, max(self.patch, n_rows // 2)
                training.append((index, 0, first))
            else:
                training.append((index, 0, n_rows - rows))
            held_out.append((index, n_rows - rows, n_rows))
        return training, held_out

    def _unit(self, index):
        """Number the exposures that are held out together."""
        return self.frames[index].group if self.pairs else index

    def _room(self, area):
        index, first, last = area
        return np.array([last - first - self.patch + 1,
                         self.frames[index].shape[1] - self.patch + 1])

    def batch(self, seed):
        """
        Draw a batch.

        Parameters
        ----------
        seed : sequence of int
            Same seed, same batch.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            What ``prepare`` makes of each patch, one after the other.
        """
        parts = []
        for number in self.plan.mine(self.plan.n_patches):
            rng = np.random.default_rng([*seed, number])
            parts.append(self.prepare(self._draw('training', rng), rng))
        return {name: np.concatenate([part[name] for part in parts])
                for name in parts[0]}

    def validation(self, n_patches=16, *, seed=0):
        """
        Draw patches that are never trained on.

        Parameters
        ----------
        n_patches : int, optional
            Number of patches.

        seed : int, optional
            Seed of their places.

        Returns
        -------
        batch : dict of `~numpy.ndarray`
            Maps as in `standardized`.
        """
        rng = np.random.default_rng([seed, 3])
        parts = [standardized(self._draw('held_out', rng))
                 for _ in range(n_patches)]
        return {name: np.concatenate([part[name] for part in parts])
                for name in parts[0]}

    def _draw(self, name, rng):
        """Draw maps of a patch; one with enough valid pixels, if found."""
        areas = getattr(self, name)
        for _ in range(20):
            index, first, last = areas[
                rng.choice(len(areas), p=self._shares[name])]
            frame = self.frames[index]
            top, left = rng.integers(0, self._room((index, first, last)))
            cut = (slice(first + top, first + top + self.patch),
                   slice(left, left + self.patch))
            n_turns, mirrored = rng.integers(4), rng.random() < 0.5

            def turned(plane, cut=cut, n_turns=n_turns, mirrored=mirrored):
                part = np.rot90(plane[cut], n_turns)
                return np.ascontiguousarray(part[::-1] if mirrored else part)

            maps = {'signal': turned(frame.signal),
                      'log_sigma': turned(frame.log_sigma),
                      'context': np.float32(psf_context(frame.fwhm))}
            if self.pairs:
                other = self._other(index, rng)
                scale = np.float32(other.flux_scale / frame.flux_scale)
                maps['target'] = scale * turned(other.signal)
                maps['target_log_sigma'] = turned(
                    other.log_sigma) + np.log(scale)
            if np.isfinite(maps['signal']).mean() > _LEAST_VALID:
                break
        return maps

    def _other(self, index, rng):
        """Draw another exposure of the same group."""
        group = self.frames[index].group
        others = [frame for number, frame in enumerate(self.frames)
                  if frame.group == group and number != index]
        return others[rng.integers(len(others))]


def standardized(maps):
    """
    Make a batch of one patch, as networks take it.

    Parameters
    ----------
    maps : dict of `~numpy.ndarray`
        ``signal``, ``log_sigma``, ``context``, and for pairs ``target``
        and ``target_log_sigma``.

    Returns
    -------
    batch : dict of `~numpy.ndarray`
        ``x``, ``log_sigma``, ``valid`` of shape (1, 1, ny, nx),
        ``context`` of shape (1, 2), and for pairs ``target`` (in units
        of the noise of ``x``), ``target_variance`` and ``weight``.
    """
    valid = np.isfinite(maps['signal'])
    log_sigma = np.where(valid, maps['log_sigma'], 0.0)
    inverse = np.exp(-log_sigma)
    batch = {'x': np.where(valid, maps['signal'], 0.0) * inverse,
             'log_sigma': log_sigma, 'valid': valid}
    if 'target' in maps:
        both = valid & np.isfinite(maps['target'])
        batch['target'] = np.where(both, maps['target'], 0.0) * inverse
        batch['target_variance'] = np.exp(
            2.0 * np.where(both, maps['target_log_sigma'], 0.0)
            ) * inverse**2
        batch['weight'] = both
    batch = {name: plane[None, None].astype(np.float32)
             for name, plane in batch.items()}
    return {**batch, 'context': maps['context'][None]}


def pair(maps, rng):
    """
    Make the batch of Noise2Noise: a patch and another exposure of it.

    Parameters
    ----------
    maps : dict of `~numpy.ndarray`
        As for `standardized`, with ``target``.

    rng : `~numpy.random.Generator`
        Not used.

    Returns
    -------
    batch : dict of `~numpy.ndarray`
        See `standardized`.
    """
    return standardized(maps)


def recorrupted(tau):
    """
    Make batches of generalized recorrupted-to-recorrupted.

    ``y + tau sigma w`` and ``y - sigma w / tau`` have independent noise
    (Pang et al. 2021, CVPR; Monroy et al. 2025, arXiv:2412.04648). Both
    are given in units of the noise of the first, as a network sees it
    that is used on ``y`` itself in units of sigma.

    Parameters
    ----------
    tau : float
        Noise that is added, in units of that of the frame; small values
        make targets noisier.

    Returns
    -------
    prepare : callable
        For `PatchSampler`.
    """
    def prepare(maps, rng):
        batch = standardized(maps)
        noise = rng.standard_normal(batch['x'].shape, np.float32)
        unit = np.float32(1.0 / np.hypot(1.0, tau))
        y, valid = batch['x'], batch['valid']
        batch['x'] = (y + np.float32(tau) * noise) * unit * valid
        batch['target'] = (y - noise / np.float32(tau)) * unit * valid
        batch['target_variance'] = np.full_like(y, 1.0 / tau**2)
        batch['weight'] = valid
        return batch

    return prepare


def emphasized(tau, emphasis, fwhm):
    """
    Make batches of recorrupted pairs in which sources count more.

    What is left of a frame beside the first of `recorrupted` is split once
    more, into two of independent noise. Each is a target; its pixels count
    by how significant a source is there in the other: the weight is
    ``1 + emphasis * s``, with s the significance of a Gaussian of the width of
    the point-spread function, between -3 and 3. It knows nothing of the noise
    of input and target, and is 1 on average where the sky is blank.

    Parameters
    ----------
    tau : float
        As for `recorrupted`.

    emphasis : float
        How much more sources count.

    fwhm : float
        Of the point-spread function in pixels.

    Returns
    -------
    prepare : callable
        For `PatchSampler`; its batch has two channels of ``target`` and
        ``weight``.
    """
    width = fwhm * gaussian_fwhm_to_sigma
    reach = int(4.0 * width + 1.0)
    kernel = np.zeros((2 * reach + 1,) * 2)
    kernel[reach, reach] = 1.0
    norm = np.linalg.norm(gaussian_filter(kernel, width))
    scatter = np.float32(np.hypot(1.0, 1.0 / tau))

    def prepare(maps, rng):
        batch = standardized(maps)
        y, valid = batch['x'], batch['valid']
        first, second = rng.standard_normal((2, *y.shape), np.float32)
        unit = np.float32(1.0 / np.hypot(1.0, tau))
        batch['x'] = (y + np.float32(tau) * first) * unit * valid
        rest = y - first / np.float32(tau)
        halves = [(rest + sign * scatter * second) * valid
                  for sign in (np.float32(1.0), np.float32(-1.0))]
        found = [gaussian_filter(half, (0, 0, width, width))
                 / np.float32(norm * scatter * np.sqrt(2.0))
                 for half in halves]
        batch['target'] = np.concatenate(halves, 1) * unit
        batch['weight'] = valid * (1.0 + np.float32(emphasis) * np.clip(
            np.concatenate(found[::-1], 1), -_SIGNIFICANT, _SIGNIFICANT))
        batch['target_variance'] = np.full_like(y, 2.0 / tau**2)
        return batch

    return prepare


def blind_spots(fraction, radius, *, median=False):
    """
    Make batches of Noise2Void.

    In each patch, pixels at random places lose their value to that of a
    random neighbor, and are to be predicted.

    Parameters
    ----------
    fraction : float
        Share of the pixels.

    radius : int
        Neighbors are at most so far away, along both axes.

    median : bool, optional
        Take the median of all neighbors instead.

    Returns
    -------
    prepare : callable
        For `PatchSampler`; its batch holds ``x``, ``log_sigma``,
        ``valid`` and ``context`` as in `standardized`, ``target``, the
        signal that was there in units of the blank sky's noise, and
        ``weight``, 1 on the pixels to predict.
    """
    steps = np.arange(-radius, radius + 1)
    offsets = np.stack(np.meshgrid(steps, steps, indexing='ij'),
                       -1).reshape(-1, 2)
    offsets = offsets[(offsets != 0).any(1)]
    spacing = fraction**-0.5

    def prepare(maps, rng):
        signal = maps['signal']
        size = len(signal)
        places = _scattered(signal, spacing, rng)
        if median:
            near = places[:, None] + offsets
        else:
            near = places[:, None] + offsets[
                rng.integers(len(offsets), size=(len(places), 1))]
        near = _inside(near, places[:, None], size)
        values = signal[near[..., 0], near[..., 1]]
        known = np.isfinite(values).any(1)
        places, values = places[known], values[known]
        replaced = signal.copy()
        rows, columns = places.T
        replaced[rows, columns] = np.nanmedian(values, axis=1)
        return _to_be_predicted(maps, replaced, places)

    return prepare


def blind_areas(fraction, span):
    """
    Make batches of structN2V.

    Around pixels at random places, all within a span lose their values to
    those of random pixels beyond it, so that nothing that shares the noise
    of a pixel is left to predict it from (Broaddus et al. 2020, ISBI).

    Parameters
    ----------
    fraction : float
        Share of the pixels that are predicted, at most: areas keep apart.

    span : tuple of int
        Pixels along y and x to each side that are replaced too.

    Returns
    -------
    prepare : callable
        As from `blind_spots`.
    """
    area = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in span),
                                indexing='ij'), -1).reshape(-1, 2)
    reach = max(span) + 4
    steps = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(steps, steps, indexing='ij'),
                       -1).reshape(-1, 2)
    offsets = offsets[(abs(offsets) > np.add(span, 1)).any(1)]
    spacing = max(fraction**-0.5, 2 * max(span) + 3)

    def prepare(maps, rng):
        signal = maps['signal']
        size = len(signal)
        places = _scattered(signal, spacing, rng)
        covered = places[:, None] + area
        chosen = rng.integers(len(offsets), size=covered.shape[:2])
        near = _inside(places[:, None] + offsets[chosen], places[:, None],
                       size)
        values = signal[near[..., 0], near[..., 1]]
        inside = ((covered >= 0) & (covered < size)).all(-1)
        rows, columns = covered[inside].T
        replaced = signal.copy()
        known = np.isfinite(signal[rows, columns])
        replaced[rows[known], columns[known]] = np.where(
            np.isfinite(values[inside]), values[inside], 0.0)[known]
        return _to_be_predicted(maps, replaced, places)

    return prepare


def _scattered(signal, spacing, rng):
    """
    Draw one place with data in each box of a grid, so that they keep apart.
    """
    size = len(signal)
    corner = np.arange(0.0, size, spacing)
    places = np.stack(np.meshgrid(corner, corner, indexing='ij'),
                      -1).reshape(-1, 2)
    places = (places + spacing * rng.random(places.shape)).astype(int)
    return places[(places < size).all(1)
                  & np.isfinite(signal[tuple(
                      np.minimum(places, size - 1).T)])]


def _inside(near, places, size):
    """
    Take, beyond the patch, the neighbors on the other side.
    """
    return np.where((near < 0) | (near >= size), 2 * places - near, near)


def _to_be_predicted(maps, replaced, places):
    """
    Make a batch of a patch in which the pixels at some places are lost.
    """
    rows, columns = places.T
    batch = standardized({**maps, 'signal': replaced})
    weight = np.zeros_like(batch['x'])
    weight[0, 0, rows, columns] = 1.0
    target = np.nan_to_num(maps['signal'])[None, None]
    return {**batch, 'target': target, 'weight': weight}
