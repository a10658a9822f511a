# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Signals that end a training in good order.
"""

import contextlib
import signal
import threading
from dataclasses import dataclass

__all__ = ['Interrupts', 'deferred_interrupts']


@dataclass
class Interrupts:
    """
    The signal that came, if one did.

    Parameters
    ----------
    number : int, optional
        Of the signal; 0 if none came.
    """

    number: int = 0

    @property
    def name(self):
        """Name of the signal."""
        return signal.Signals(self.number).name if self.number else ''

    def receive(self, number, frame=None):
        """
        Note the first signal, and stop at the second.

        Parameters
        ----------
        number : int
            Of the signal.

        frame : object, optional
            Not used.

        Raises
        ------
        KeyboardInterrupt
            At the second signal.
        """
        if self.number:
            raise KeyboardInterrupt(number)
        self.number = number


@contextlib.contextmanager
def deferred_interrupts():
    """
    Let Ctrl-C and a batch system's SIGTERM wait for the end of a step.

    Yields
    ------
    interrupts : `Interrupts`
        To be asked after each step. Nothing is ever noted where this is
        not the main thread, which alone sees signals, or where they are
        ignored.
    """
    interrupts, originals = Interrupts(), {}
    if threading.current_thread() is threading.main_thread():
        originals = {number: signal.getsignal(number)
                     for number in (signal.SIGINT, signal.SIGTERM)}
    # What is ignored, as Ctrl-C is in the background, stays so.
    originals = {number: original for number, original in originals.items()
                 if original not in (signal.SIG_IGN, None)}
    try:
        for number in originals:
            signal.signal(number, interrupts.receive)
        yield interrupts
    finally:
        for number, original in originals.items():
            signal.signal(number, original)
