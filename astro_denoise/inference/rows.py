# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run a denoising network down a frame, some rows at a time.

Every layer keeps the few rows that the next ones still need, so that
nothing is computed twice and the planes in work stay in the cache.
"""

import torch
from torch.nn import functional as F

__all__ = ['RowStream']

# Rows on each side that the two convolutions of a level need, and also the
# plane of fine detail.
_MARGIN = 2


class _Rows:
    """The last rows of a plane that grows downwards."""

    def __init__(self):
        self.start = self.stop = 0
        self._rows = None

    def add(self, rows):
        """Append rows."""
        if self.stop > self.start:
            rows = torch.cat([self._rows, rows], 2)
        self._rows = rows
        self.stop = self.start + rows.shape[2]

    def take(self, start=None, stop=None):
        """The rows from ``start`` to ``stop``, or all."""
        first = 0 if start is None else start - self.start
        last = None if stop is None else stop - self.start
        return self._rows[:, :, first:last]

    def drop(self, stop):
        """Forget the rows before ``stop``."""
        if stop > self.start:
            # A copy, since a view would hold all of the memory.
            self._rows = self.take(stop).clone()
            self.start = stop


class _Skips:
    """Rows that wait for those of the next level, in pieces as they came."""

    def __init__(self):
        self._pieces = []
        self._stop = 0

    def add(self, rows):
        """Append rows."""
        self._pieces.append((self._stop, rows))
        self._stop += rows.shape[2]

    def between(self, start, stop):
        """List the pieces of some rows, each with its distance to start."""
        pieces = []
        for first, piece in self._pieces:
            low = max(start, first)
            high = min(stop, first + piece.shape[2])
            if low < high:
                pieces.append((low - start,
                               piece[:, :, low - first:high - first]))
        return pieces

    def drop(self, stop):
        """Forget the pieces that end before ``stop``."""
        self._pieces = [(first, piece) for first, piece in self._pieces
                        if first + piece.shape[2] > stop]


class _Encoder:
    """A level on the way down: two convolutions."""

    def __init__(self, network, level, shift, dtype):
        self._encode = lambda rows: network.encoded(level, rows, shift, dtype)
        self._rows = _Rows()
        self._answered = 0

    def push(self, rows, *, last):
        """Take rows of what is to be encoded, return those encoded."""
        self._rows.add(rows)
        start, stop = self._rows.start, self._rows.stop
        # An even number of rows, for the pooling.
        stop = stop if last else (stop - _MARGIN) // 2 * 2
        if stop <= self._answered:
            return None
        rows = self._encode(self._rows.take())
        rows = rows[:, :, self._answered - start:stop - start]
        self._answered = stop
        self._rows.drop(stop - _MARGIN)
        return rows


class _Decoder:
    """A level on the way up: two convolutions of what is added to a skip."""

    def __init__(self, network, level, dtype, elementwise):
        self._join = lambda *parts: elementwise.joined(level, *parts, dtype)
        self._decode = lambda rows: network.decoded(level, rows, dtype)
        self._rows, self.skips = _Rows(), _Skips()
        self._answered = 0

    def push(self, rows, *, last):
        """Take rows of the next level, return those of this one."""
        self._rows.add(rows)
        start, known = 2 * self._rows.start, 2 * self._rows.stop
        # The last row enlarged depends on one that is not known yet.
        known = known if last else known - 1
        stop = known if last else known - _MARGIN
        if stop <= self._answered:
            return None
        first = max(self._answered - _MARGIN, 0)
        rows = self._decode(self._join(
            self._rows.take(), slice(first - start, known - start),
            self.skips.between(first, known)))
        rows = rows[:, :, self._answered - first:stop - first]
        self._answered = stop
        first = max(stop - _MARGIN, 0)
        self.skips.drop(first)
        self._rows.drop((first - 1) // 2)
        return rows


class RowStream:
    """
    A denoising network that is given a frame some rows at a time.

    The answers are those for the whole frame, up to rounding; they come
    some rows later, as far as the network reaches.

    Parameters
    ----------
    network : `~astro_denoise.models.denoiser.CCDDenoiser`
        The network, not in training.

    height : int
        Rows of the frame, a multiple of the network's ``stride``.

    context : `torch.Tensor`
        Shape (1, 2), see `~astro_denoise.models.denoiser.psf_context`.

    dtype, outermost : `torch.dtype`
        Precision of the convolutions, as for the network.

    elementwise : object, optional
        As from `~astro_denoise.inference.elementwise.elementwise_of`; by
        default the network.

    Examples
    --------
    >>> import torch
    >>> from astro_denoise import load_model
    >>> from astro_denoise.inference.rows import RowStream
    >>> stream = RowStream(load_model('ccd').network, 320,
    ...                    torch.zeros(1, 2), torch.float32)
    >>> planes = torch.zeros(1, 3, 160, 32)
    >>> with torch.inference_mode():
    ...     print([stream.push(planes)[0] for _ in range(2)])
    [slice(0, 38, None), slice(38, 320, None)]
    """

    def __init__(self, network, height, context, dtype, outermost=None,
                 elementwise=None):
        self._network = network
        self._elementwise = elementwise or network
        self._height = height
        self._context = context
        dtypes = network.dtypes(dtype, outermost)
        self._encoders = [
            _Encoder(network, level, shift, dtypes[level])
            for level, shift in enumerate(network.shifts(context))]
        self._decoders = [_Decoder(network, level, dtypes[level],
                                   self._elementwise)
                          for level in range(len(self._encoders) - 1)]
        self._planes = _Rows()
        self._estimates = _Rows(), _Rows()  # noise and log variance
        self._n_seen = self._n_estimated = self._n_finished = 0

    def push(self, planes):
        """
        Take the next rows, answer for those that can be answered for.

        Parameters
        ----------
        planes : `torch.Tensor`
            Shape (1, 3, n, nx), n and nx multiples of the network's
            ``stride``: what `CCDDenoiser` takes as ``x``,
            ``log_sigma`` and ``valid``.

        Returns
        -------
        rows : slice
            The rows of the frame that the answer is for, next to those
            of the last answer. There may be none.

        noise, log_variance : `torch.Tensor`
            Shape (1, 1, rows, nx), as from `CCDDenoiser`.
        """
        self._planes.add(planes)
        last = self._planes.stop == self._height
        answer = self._answer(last=last)
        if answer is None:
            nothing = planes[:, :1, :0]
            return (slice(self._n_finished, self._n_finished), nothing,
                    nothing)
        start, n_rows = self._n_estimated, answer.shape[2]
        stop = self._n_estimated = start + n_rows * self._network.shuffle
        planes = self._planes.take(start, stop)
        estimates = self._elementwise.estimated(answer, planes[:, :1],
                                                planes[:, 2:])
        for kept, new in zip(self._estimates, estimates, strict=True):
            kept.add(new)

        margin = self._network.restoring_reach
        start, stop = self._estimates[0].start, self._estimates[0].stop
        planes = self._planes.take(start, stop)
        stop = stop if last else max(stop - margin, self._n_finished)
        rows = slice(self._n_finished, stop)
        answers = self._elementwise.finished(
            *(kept.take() for kept in self._estimates),
            *planes.split(1, 1), self._context)
        self._n_finished = stop
        for kept in (*self._estimates, self._planes):
            kept.drop(stop - margin)
        return (rows, *(answer[:, :, rows.start - start:stop - start]
                        for answer in answers))

    def _answer(self, *, last):
        """Compute the answer of the head, at half resolution, or `None`."""
        rows = self._features(last=last)
        for level, encoder in enumerate(self._encoders):
            if level:
                rows = F.avg_pool2d(rows, 2)
            rows = encoder.push(rows, last=last)
            if rows is None:
                return None
            if level < len(self._decoders):
                self._decoders[level].skips.add(rows)
        for decoder in reversed(self._decoders):
            rows = decoder.push(rows, last=last)
            if rows is None:
                return None
        return rows

    def _features(self, *, last):
        """Make the input of the network for the rows not seen yet."""
        start, stop = self._n_seen, self._planes.stop
        side = self._network.shuffle
        margin = max(_MARGIN, side)
        stop = stop if last else stop - margin
        low = max(start - margin, 0)
        high = stop if last else stop + margin
        features = self._elementwise.features(
            *self._planes.take(low, high).split(1, 1))
        self._n_seen = stop
        return features[:, :, (start - low) // side:(stop - low) // side]
