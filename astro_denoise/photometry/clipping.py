# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Sigma clipping of many samples at once.
"""

import numpy as np

__all__ = ['clipped_statistics']


def clipped_statistics(values, sigma_clip):
    """
    Compute statistics of the rows of an array after sigma clipping.

    What clipping about the median leaves of a row in order is a run of it.
    The rows are sorted once, and both ends of the run are moved: what leaves
    it is taken from its sums. The answers are those of
    `~astropy.stats.SigmaClip`, which does all other kinds of clipping: what
    is within the last limits is left, though it may have gone before.

    Parameters
    ----------
    values : 2D `~numpy.ndarray`
        The samples, a row each, and infinity in place of values that a row
        lacks; sorted in place.

    sigma_clip : `~astropy.stats.SigmaClip` or `None`
        The clipping.

    Returns
    -------
    mean, median, sigma : 1D `~numpy.ndarray`
        Of what is left of each row, NaN where nothing is.

    count : 1D int `~numpy.ndarray`
        How many values are left.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.stats import SigmaClip
    >>> from astro_denoise.photometry.clipping import clipped_statistics
    >>> values = np.tile([1.0, 2.0, 3.0], (1, 7))
    >>> values[0, 20] = 900.0
    >>> mean, median, sigma, count = clipped_statistics(values, SigmaClip(3))
    >>> print(mean, median, count)
    [1.95] [2.] [20]
    """
    values.sort(axis=1)
    if sigma_clip is None:
        runs = _Runs(values)
    elif _about_the_median(sigma_clip):
        runs = _Runs(values)
        runs.clip(sigma_clip)
    else:
        runs = _Runs(_clipped(values, sigma_clip))
    found = np.where(runs.count > 0, 1.0, np.nan)
    mean, median, sigma = runs.mean(), runs.median(), runs.sigma()
    return ((mean + runs.center) * found, (median + runs.center) * found,
            sigma * found, runs.count)


def _about_the_median(sigma_clip):
    """Tell if clipping takes from the ends of what is in order."""
    return (sigma_clip.cenfunc == 'median' and sigma_clip.stdfunc == 'std'
            and not sigma_clip.grow)


def _clipped(values, sigma_clip):
    """Clip rows as astropy does; infinity takes the place of what goes."""
    clipped = sigma_clip(np.ma.masked_array(values, np.isinf(values)), axis=1)
    return np.sort(clipped.filled(np.inf), axis=1)


class _Runs:
    """
    A run of each row of values in order, less the middle of the row.
    """

    def __init__(self, values):
        n_rows, n_columns = values.shape
        self._rows = np.arange(n_rows)
        self.start = np.zeros(n_rows, int)
        self.stop = self._bisected(values, self.start,
                                   np.full(n_rows, n_columns), np.inf)
        self.count = self.stop - self.start
        some = np.where(self.count > 0, values[self._rows, self.count // 2], 0)
        self.center = some.astype(float)
        # Differences from the middle are exact enough in the precision of
        # the values; their squares may be beyond it.
        self._values = values
        self._values -= some[:, np.newaxis]
        self._sums = [self._total(self._values, self.start, self.stop),
                      self._total(np.square(self._values, dtype=float),
                                  self.start, self.stop)]

    @staticmethod
    def _total(values, start, stop):
        """Sums of runs."""
        n_columns = values.shape[1]
        first = np.arange(len(values)) * n_columns
        ends = np.stack([first + start, first + stop], 1).ravel()
        # a last run that goes to the end has no index behind it
        flat = ends if ends[-1] < values.size else ends[:-1]
        total = np.add.reduceat(values.ravel(), np.minimum(
            flat, values.size - 1), dtype=float)[::2]
        return np.where(stop > start, total, 0.0)

    def _bisected(self, values, low, high, bound, *, right=False):
        """First place in each run from which on values are not below."""
        low, high = low.copy(), high.copy()
        while np.any(low < high):
            middle = (low + high) // 2
            value = values[self._rows, np.minimum(middle, values.shape[1] - 1)]
            below = value <= bound if right else value < bound
            below &= low < high
            low, high = (np.where(below, middle + 1, low),
                         np.where(below, high, np.minimum(middle, high)))
        return low

    def mean(self):
        """Mean of each run, less the middle of its row."""
        return self._sums[0] / np.maximum(self.count, 1)

    def sigma(self):
        """Standard deviation of each run."""
        some = np.maximum(self.count, 1)
        variance = self._sums[1] / some - (self._sums[0] / some)**2
        return np.sqrt(np.maximum(variance, 0.0))

    def median(self):
        """Median of each run, less the middle of its row."""
        last = self._values.shape[1] - 1
        return 0.5 * sum(
            self._values[self._rows, np.clip(place, 0, last)].astype(float)
            for place in (self.start + (self.count - 1) // 2,
                          self.start + self.count // 2))

    def _leave(self, start, stop):
        """Take what is not in new runs from the sums."""
        for first, last in ((self.start, start), (stop, self.stop)):
            n_gone = last - first
            ends = np.cumsum(n_gone)
            rows = np.repeat(self._rows, n_gone)
            columns = np.arange(ends[-1]) - np.repeat(ends - n_gone - first,
                                                      n_gone)
            gone = self._values[rows, columns].astype(float)
            for power, total in enumerate(self._sums, 1):
                total -= np.bincount(rows, gone**power,
                                     minlength=len(self._rows))
        self.start, self.stop, self.count = start, stop, stop - start

    def _within(self, low, high, start, stop):
        """Bounds of the values of runs from a number to another one."""
        start = self._bisected(self._values, start, stop, low)
        return start, self._bisected(self._values, start, stop, high,
                                     right=True)

    def clip(self, sigma_clip):
        """Clip until nothing goes any more, or as often as is allowed."""
        whole = self.start, self.stop
        n_done, limit = 0, sigma_clip.maxiters or np.inf
        while n_done < limit:
            median, sigma = self.median(), self.sigma()
            limits = (median - sigma_clip.sigma_lower * sigma,
                      median + sigma_clip.sigma_upper * sigma)
            start, stop = self._within(*limits, self.start, self.stop)
            if (start == self.start).all() and (stop == self.stop).all():
                break
            self._leave(start, stop)
            n_done += 1
        self._take_back(*self._within(*limits, *whole))

    def _take_back(self, start, stop):
        """Add what went before and is within the last limits after all."""
        for row in np.flatnonzero((start < self.start) | (stop > self.stop)):
            values = self._values[row, start[row]:stop[row]].astype(float)
            for power, total in enumerate(self._sums, 1):
                total[row] = np.sum(values**power)
        self.start, self.stop, self.count = start, stop, stop - start
