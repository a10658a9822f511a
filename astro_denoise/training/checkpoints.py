# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Files from which an interrupted training goes on.
"""

import json
import logging
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..io.output import atomic_output, remove_leftovers

__all__ = ['Checkpoint']

logger = logging.getLogger(__name__)

_FIRST = 20.0  # seconds


def _text(configuration):
    return json.dumps(configuration, sort_keys=True)


@dataclass(frozen=True)
class Checkpoint:
    """
    A file with the state of a training.

    Parameters
    ----------
    path : path-like, optional
        The file. With `None` nothing is written, and nothing is ever
        found.

    minutes : float, optional
        Time between two writes; the first comes after 20 seconds at most.
    """

    path: Path | None = None
    minutes: float = 3.0

    def pause(self, *, first=False):
        """
        Give the time to the next write.

        Parameters
        ----------
        first : bool, optional
            Whether there was none yet.

        Returns
        -------
        seconds : float
            The time.
        """
        seconds = 60.0 * self.minutes
        return min(seconds, _FIRST) if first else seconds

    def sibling(self, name):
        """
        Name the checkpoint of another stage of the training.

        Parameters
        ----------
        name : str
            Name of a file in the same folder.

        Returns
        -------
        checkpoint : `Checkpoint`
            That file, or none if this is none.
        """
        if self.path is None:
            return self
        return replace(self, path=Path(self.path).with_name(name))

    def _state(self, device='cpu'):
        """Read the file, if there is one."""
        if self.path is None or not Path(self.path).exists():
            return None
        try:
            return torch.load(self.path, map_location=device,
                              weights_only=True)
        except (RuntimeError, EOFError, LookupError, ValueError,
                pickle.UnpicklingError) as error:
            msg = f'{self.path} is not a whole checkpoint: {error}'
            raise OSError(msg) from error

    def configuration(self):
        """
        Read the configuration of the training.

        Returns
        -------
        configuration : dict
            As given to `write`; empty if there is no file.

        Raises
        ------
        OSError
            If the file is not whole.
        """
        state = self._state()
        return {} if state is None else json.loads(state['configuration'])

    def read(self, configuration, device='cpu'):
        """
        Read the state to go on from.

        Parameters
        ----------
        configuration : dict
            What the result depends on; a file that was written for
            another one is refused.

        device : str or `torch.device`, optional
            Device of the tensors.

        Returns
        -------
        state : dict or `None`
            The state, or `None` if there is no file.

        Raises
        ------
        ValueError
            If the file belongs to another configuration.

        OSError
            If the file is not whole.
        """
        if self.path is not None:
            remove_leftovers(Path(self.path).parent)
        state = self._state(device)
        if state is None:
            return None
        found, expected = state.pop('configuration'), _text(configuration)
        if found != expected:
            msg = (f'checkpoint {self.path} was written for {found}, not '
                   f'for {expected}')
            raise ValueError(msg)
        logger.info('resumed %s', self.path)
        return state

    def write(self, configuration, state):
        """
        Write a state, or leave the file that there is.

        Parameters
        ----------
        configuration : dict
            What the result depends on, as JSON can hold it.

        state : dict
            Tensors and plain values.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if self.path is None:
            return
        with atomic_output(self.path, overwrite=True) as temporary:
            torch.save({'configuration': _text(configuration), **state},
                       temporary)
