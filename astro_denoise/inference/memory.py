# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Go on with smaller windows where memory does not suffice.
"""

import logging

import torch

__all__ = ['run_within_memory']

logger = logging.getLogger(__name__)

_SMALLEST_WINDOW = 2**14


def run_within_memory(run, window_pixels, *, device, progress=None):
    """
    Run with windows that are halved for as long as memory does not suffice.

    Parameters
    ----------
    run : callable
        ``run(window_pixels)`` does all of the work, and yields the share
        of it that each step finished. It is begun anew where memory does
        not suffice: what is done is done again.

    window_pixels : int
        Pixels in a window to begin with.

    device : `torch.device`
        Where it runs.

    progress : callable, optional
        Called with each share; a negative one takes all of them back.

    Raises
    ------
    RuntimeError, MemoryError
        If memory does not suffice for the smallest window.
    """
    while True:
        done = 0.0
        try:
            for share in run(window_pixels):
                done += share
                if progress is not None:
                    progress(share)
        except (RuntimeError, MemoryError) as failure:
            if (not _is_out_of_memory(failure)
                    or window_pixels <= _SMALLEST_WINDOW):
                raise
            if device.type == 'cuda':
                torch.cuda.empty_cache()
            if progress is not None:
                progress(-done)
            window_pixels //= 2
            logger.warning('out of memory on %s: going on with windows of '
                           '%d pixels', device, window_pixels)
        else:
            return


def _is_out_of_memory(error):
    """Tell whether torch ran out of memory, on a GPU or on the processor."""
    return (isinstance(error, (torch.OutOfMemoryError, MemoryError))
            or "can't allocate memory" in str(error)
            or 'not enough memory' in str(error))
