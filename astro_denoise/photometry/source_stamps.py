# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Sources of unit flux on stamps of pixels, many at a time.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import sparse
from scipy.spatial import KDTree

from ..noise.compiling import compiling_pays

__all__ = ['SourceStamps', 'StampPairs', 'StampSet', 'stamp_passes']

_BLOCK_PIXELS = 2**19  # of stamps, worked on at a time
# Of the size of the smallest stamps, which are those of faint sources: farther
# apart, the product of two is below 0.001 of their squares.
_FAINT_REACH = 0.67
_FEW = 3000  # stamps, which are added to a plane one by one
_COMPILED_SHARE = 0.25  # of a pass over a plane, to load what was compiled
_PAIR_PIXELS = 600  # what a pair of stamps takes that is not compiled


def stamp_passes(n_pixels):
    """
    Load passes over stamps that were compiled, if they pay.

    Parameters
    ----------
    n_pixels : int
        Of all stamps.

    Returns
    -------
    passes : module or `None`
        `~astro_denoise.photometry.compiled_stamps`; `None` if there is little
        to do, or no numba.
    """
    if not compiling_pays((int(_COMPILED_SHARE * n_pixels), 1)):
        return None
    from . import compiled_stamps

    return compiled_stamps


@dataclass
class StampSet:
    """
    Stamps of one size, all of them on the plane.

    Attributes
    ----------
    rows : 1D int `~numpy.ndarray`
        The sources.

    stamps : 3D `~numpy.ndarray`
        Shape (n, height, width), the share of the light in each pixel
        (float32).

    y_low, x_low : 1D int `~numpy.ndarray`
        The first pixel of each stamp.
    """

    rows: np.ndarray
    stamps: np.ndarray
    y_low: np.ndarray
    x_low: np.ndarray

    def __getitem__(self, chosen):
        return StampSet(self.rows[chosen], self.stamps[chosen],
                        self.y_low[chosen], self.x_low[chosen])

    @property
    def low(self):
        """First pixels of the stamps, y and x."""
        return self.y_low, self.x_low

    def blocks(self):
        """
        Go through the stamps, some at a time.

        Yields
        ------
        part : slice
            Of the stamps.
        """
        step = max(1, _BLOCK_PIXELS // self.stamps[:1].size)
        for start in range(0, len(self.rows), step):
            yield slice(start, start + step)

    def cut(self, plane, part=slice(None)):
        """
        Cut the pixels of stamps out of a plane.

        Parameters
        ----------
        plane : 2D `~numpy.ndarray`
            Of the sources.

        part : slice, optional
            Of the stamps.

        Returns
        -------
        pixels : 3D `~numpy.ndarray`
            As the stamps.
        """
        windows = sliding_window_view(plane, self.stamps.shape[1:])
        return windows[self.y_low[part], self.x_low[part]]

    def add(self, plane, flux, squared=None):
        """
        Add the stamps to a plane.

        Parameters
        ----------
        plane : 2D `~numpy.ndarray`
            Changed in place.

        flux, squared : 1D `~numpy.ndarray`
            Factors of the profiles and of their squares.
        """
        if len(self.rows) < _FEW:
            self._add_each(plane, flux, squared)
            return
        height, width = self.stamps.shape[1:]
        square = (np.arange(height)[:, np.newaxis] * plane.shape[1]
                  + np.arange(width)).ravel().astype(np.int32)
        for part in self.blocks():
            factors, values = flux[part], self.stamps[part]
            low = self.y_low[part], self.x_low[part]
            if squared is not None:
                curved = np.flatnonzero(squared[part])
                values, factors = values.copy(), factors.copy()
                values[curved] *= (
                    factors[curved, np.newaxis, np.newaxis]
                    + squared[part][curved, np.newaxis, np.newaxis]
                    * values[curved])
                factors[curved] = 1.0
            used = factors != 0
            if not used.all():
                factors, values = factors[used], values[used]
                low = [each[used] for each in low]
            if not len(factors):
                continue
            top, bottom = low[0].min(), low[0].max() + height
            strip = plane[top:bottom].reshape(-1)
            pixels = ((low[0] - top) * plane.shape[1] + low[1]
                      ).astype(np.int32)[:, np.newaxis] + square
            ends = np.arange(0, pixels.size + 1, len(square), dtype=np.int32)
            strip += sparse.csr_array(
                (values.reshape(-1), pixels.reshape(-1), ends),
                shape=(len(factors), len(strip))).T @ factors

    def _add_each(self, plane, flux, squared):
        """Add the stamps one by one, where there are few."""
        height, width = self.stamps.shape[1:]
        for number, (y, x) in enumerate(zip(
                self.y_low.tolist(), self.x_low.tolist(), strict=True)):
            stamp = self.stamps[number]
            if squared is not None and squared[number]:
                stamp = stamp * (flux[number] + squared[number] * stamp)
            elif flux[number]:
                stamp = stamp * flux[number]
            else:
                continue
            plane[y:y + height, x:x + width] += stamp


@dataclass(frozen=True)
class StampPairs:
    """
    Pairs of stamps that overlap.

    Attributes
    ----------
    first, second : 1D int `~numpy.ndarray`
        The sources of each pair.

    groups : list of tuple
        For each pair of sets these two, the offset of the second stamp in y
        and x of each pair of stamps, the places of the stamps in their sets,
        and the slice of the pairs.

    passes : module or `None`
        From `stamp_passes`. If there are none, pairs of one offset follow
        each other.
    """

    first: np.ndarray
    second: np.ndarray
    groups: list
    passes: object = None

    def products(self, left, right, *, symmetric=False):
        """
        Sum the products of stamps where they overlap.

        Parameters
        ----------
        left, right : list of 3D `~numpy.ndarray`
            Values on the pixels of all stamps, for each set.

        symmetric : bool, optional
            The products are the same both ways.

        Returns
        -------
        forth, back : 1D `~numpy.ndarray`
            Of the first one's left with the second one's right values,
            and of the second one's left with the first one's right ones.
        """
        forth, back = np.empty((2, len(self.first)), np.float32)
        for a, b, offset, places, part in self.groups:
            if self.passes is not None:
                self.passes.pair_products(
                    (left[a], left[b]), (right[a], right[b]), places, offset,
                    forth[part], back[part])
                continue
            edges = 1 + np.flatnonzero(np.any(np.diff(offset, axis=0),
                                              axis=1))
            for low, high in pairwise([0, *edges, len(offset)]):
                here, there = _overlap(offset[low], left[a].shape,
                                       left[b].shape)
                here = places[0][low:high], *here
                there = places[1][low:high], *there
                forth[part][low:high] = np.einsum(
                    'ijk,ijk->i', left[a][here], right[b][there])
                if not symmetric:
                    back[part][low:high] = np.einsum(
                        'ijk,ijk->i', left[b][there], right[a][here])
        return forth, (forth if symmetric else back)


def _overlap(offset, shape, other_shape):
    """Slices of two stamps on the pixels that both have."""
    here, there = [], []
    for first, size, other in zip(offset, shape[1:], other_shape[1:],
                                  strict=True):
        low, high = max(first, 0), min(size, first + other)
        here.append(slice(low, high))
        there.append(slice(low - first, high - first))
    return here, there


@dataclass
class SourceStamps:
    """
    All sources of a catalog on stamps.

    Attributes
    ----------
    sets : list of `StampSet`
        Each with stamps of another size.

    n_sources : int
        Rows of the catalog.

    shape : tuple of int
        ``(ny, nx)`` of the plane.

    total : 1D `~numpy.ndarray`
        Sum of each profile, what is not on the plane included; 0 for
        sources without stamp.

    share : 1D `~numpy.ndarray`
        Of the sum of the squares of each profile, what is on the plane.
    """

    sets: list
    n_sources: int
    shape: tuple
    total: np.ndarray
    share: np.ndarray

    @cached_property
    def passes(self):
        """Compiled passes over the stamps, `None` if they do not pay."""
        n_pixels = sum(group.stamps.size for group in self.sets)
        n_sources = sum(len(group.rows) for group in self.sets)
        # As many as overlap if they are anywhere.
        n_pairs = 2.0 * n_sources * n_pixels / (self.shape[0] * self.shape[1])
        return stamp_passes(n_pixels + _PAIR_PIXELS * n_pairs)

    def image(self, flux, squared=None, *, onto=None):
        """
        Sum the sources of given fluxes.

        Parameters
        ----------
        flux : 1D `~numpy.ndarray`
            A factor for the profile of each source.

        squared : 1D `~numpy.ndarray`, optional
            A factor for its square.

        onto : 2D `~numpy.ndarray`, optional
            A plane (float32) to add them to, changed in place.

        Returns
        -------
        image : 2D `~numpy.ndarray`
            The plane (float32).
        """
        image = np.zeros(self.shape, np.float32) if onto is None else onto
        flux = np.asarray(flux, np.float32)
        if squared is not None:
            squared = np.asarray(squared, np.float32)
            if not squared.any():
                squared = None
        if squared is None and not flux.any():
            return image
        if self.passes is not None and squared is None:
            squared = np.zeros_like(flux)
        for group in self.sets:
            factors = (each if each is None else each[group.rows]
                       for each in (flux, squared))
            if self.passes is None:
                group.add(image, *factors)
            else:
                self.passes.add_stamps(image, group.stamps, group.low,
                                       *factors)
        return image

    def sums(self, plane):
        """
        Sum the pixels of a plane, weighted with each source's profile.

        Parameters
        ----------
        plane : 2D `~numpy.ndarray`
            Of the sources.

        Returns
        -------
        sums : 1D `~numpy.ndarray`
            0 for sources without stamp.
        """
        return self.products([group.stamps for group in self.sets], plane)

    def products(self, values, plane):
        """
        Sum the pixels of a plane, weighted with values on the stamps.

        Parameters
        ----------
        values : list of 3D `~numpy.ndarray`
            For each set.

        plane : 2D `~numpy.ndarray`
            Of the sources.

        Returns
        -------
        sums : 1D `~numpy.ndarray`
            0 for sources without stamp.
        """
        sums = np.zeros(self.n_sources)
        if not self.sets:
            return sums
        plane = np.ascontiguousarray(plane, np.float32)
        for group, each in zip(self.sets, values, strict=True):
            if self.passes is not None:
                found = np.empty(len(group.rows))
                self.passes.product_sums(each, group.low, plane, found)
                sums[group.rows] = found
                continue
            for part in group.blocks():
                sums[group.rows[part]] = np.einsum(
                    'ijk,ijk->i', each[part], group.cut(plane, part))
        return sums

    def inner(self, values, others):
        """
        Sum the products of two values on each stamp.

        Parameters
        ----------
        values, others : list of 3D `~numpy.ndarray`
            For each set.

        Returns
        -------
        sums : 1D `~numpy.ndarray`
            0 for sources without stamp.
        """
        sums = np.zeros(self.n_sources)
        for group, one, other in zip(self.sets, values, others, strict=True):
            if self.passes is None:
                sums[group.rows] = np.einsum('ijk,ijk->i', one, other)
                continue
            # Rounded as those of pairs: two at one place are the same.
            line = np.arange(len(one), dtype=np.int32)
            found = np.empty((2, len(one)), np.float32)
            self.passes.pair_products(
                (one, one), (other, other), (line, line),
                np.zeros((len(one), 2), np.int32), *found)
            sums[group.rows] = found[0]
        return sums

    def light(self):
        """Sum of each profile on the plane, 0 for sources without stamp."""
        sums = np.zeros(self.n_sources)
        for group in self.sets:
            sums[group.rows] = group.stamps.sum(axis=(1, 2))
        return sums

    @property
    def profiles(self):
        """The stamps of each set."""
        return [group.stamps for group in self.sets]

    @cached_property
    def squares(self):
        """Sum of the square of each profile on the plane."""
        return self.inner(self.profiles, self.profiles)

    def select(self, chosen):
        """
        Leave sources out.

        Parameters
        ----------
        chosen : 1D bool `~numpy.ndarray`
            The others.

        Returns
        -------
        stamps : `SourceStamps`
            Of a catalog of the same length.
        """
        sets = [group[chosen[group.rows]] for group in self.sets
                if chosen[group.rows].any()]
        return SourceStamps(sets, self.n_sources, self.shape, self.total,
                            self.share)

    def parts(self):
        """
        Go through the sources.

        Yields
        ------
        row : int
            The source.

        stamp : 2D `~numpy.ndarray`
            Its profile.

        here : tuple of slice
            Where it is.
        """
        for group in self.sets:
            height, width = group.stamps.shape[1:]
            for row, stamp, y, x in zip(group.rows, group.stamps,
                                        group.y_low, group.x_low,
                                        strict=True):
                yield row, stamp, (slice(y, y + height), slice(x, x + width))

    @cached_property
    def pairs(self):
        """All pairs of stamps that overlap by more than faint wings."""
        found = [self._pairs_of(a, b) for a in range(len(self.sets))
                 for b in range(a, len(self.sets))]
        first, second, groups, n_pairs = [], [], [], 0
        for a, b, keys, one, other in (each for each in found
                                       if len(each[2])):
            first.append(self.sets[a].rows[one].astype(np.int32))
            second.append(self.sets[b].rows[other].astype(np.int32))
            groups.append((a, b, keys, (one, other),
                           slice(n_pairs, n_pairs + len(keys))))
            n_pairs += len(keys)
        if not groups:
            return StampPairs(*np.zeros((2, 0), int), [])
        return StampPairs(np.concatenate(first), np.concatenate(second),
                          groups, self.passes)

    def _pairs_of(self, a, b):
        """Pairs of two sets, and the offset of their stamps."""
        places, sizes, trees = [], [], []
        for number in (a, b):
            group = self.sets[number]
            size = np.array(group.stamps.shape[1:])
            sizes.append(size)
            places.append(np.stack([group.y_low, group.x_low], axis=1))
            trees.append(KDTree(places[-1] + (size - 1) / 2))
        reach, power = np.max(sizes[0] + sizes[1]) / 2, np.inf
        if a == b == 0:  # of faint sources: the wings of both say nothing
            reach, power = _FAINT_REACH * np.min(sizes[0] - 1), 2.0
        if a == b:
            one, other = trees[0].query_pairs(
                reach, p=power, output_type='ndarray').T
        else:
            near = trees[0].sparse_distance_matrix(
                trees[1], reach, p=np.inf, output_type='ndarray')
            one, other = near['i'], near['j']
        offset = places[1][other] - places[0][one]
        if a == b:  # the sign says nothing, and halves the groups
            swap = offset[:, 0] < 0
            one, other = (np.where(swap, other, one),
                          np.where(swap, one, other))
            offset = np.where(swap[:, np.newaxis], -offset, offset)
        real = np.all((offset < sizes[0]) & (offset > -sizes[1]), axis=1)
        order = (np.lexsort(offset[real].T) if self.passes is None
                 else slice(None))
        return (a, b, *(each[real][order].astype(np.int32)
                        for each in (offset, one, other)))
