# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Skies that are drawn once and trained on many times, with new counts, another
exposure, another orientation and other masked pixels each time.
"""

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...simulation.galactic_center import GalacticCenterSimulator
from ...simulation.nuisances import NUISANCE_NAMES

__all__ = ['SkyStore', 'draw_part', 'sky_folder']

# Skies in a file, and numbers of each tier among them.
_PART = 1024
_KINDS = {'nuisances': {'fixed': 864, 'realistic': 160},
          'tiers': {'legacy': 384, 'fixed': 384, 'realistic': 256}}

_CHUNK = 64


def draw_part(folder, number, seed, *, kind='nuisances'):
    """
    Draw skies into a file, unless it is there already.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Folder of the files.

    number : int
        Number of the part.

    seed : int
        Seed of all parts.

    kind : {'nuisances', 'tiers'}, optional
        Skies with nuisances, or those of the plain tiers.

    Returns
    -------
    path : `~pathlib.Path`
        The file of expected counts at exposure 1, float16 of the shape
        (1024, 64, 64); parameters and shares of nuisances, (1024, 12),
        are in the one beside it, ``.parameters.npy``.
    """
    begin = 'skies' if kind == 'nuisances' else kind
    path = Path(folder) / f'{begin}-{seed}-{number:04d}.npy'
    if path.exists():
        return path
    expected, parameters = [], []
    for which, (tier, n_skies) in enumerate(_KINDS[kind].items()):
        simulator = GalacticCenterSimulator(tier,
                                            nuisances=kind == 'nuisances')
        for index in range(0, n_skies, _CHUNK):
            drawn = simulator.draw(min(_CHUNK, n_skies - index),
                                   [seed, number, which, index])
            expected.append(drawn['expected'].half())
            shares = drawn.get('nuisances', torch.full(
                (len(drawn['parameters']), len(NUISANCE_NAMES)), torch.nan))
            parameters.append(torch.cat([drawn['parameters'], shares], 1))
    np.save(path.with_suffix('.parameters.npy'),
            torch.cat(parameters).numpy())
    temporary = path.with_suffix('.part.npy')
    np.save(temporary, torch.cat(expected).numpy())
    return temporary.rename(path)


def sky_folder(run):
    """
    Make the folder of the skies of a training.

    Parameters
    ----------
    run : `~astro_denoise.training.options.Run`
        Its checkpoint's folder is taken, else a temporary one.

    Returns
    -------
    folder : context manager
        Gives the path.
    """
    if run.checkpoint.path is None:
        return tempfile.TemporaryDirectory()
    folder = Path(run.checkpoint.path).parent / 'skies'
    folder.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(folder)


@dataclass
class SkyStore:
    """
    Skies in memory-mapped files.

    Parameters
    ----------
    folder : path-like
        Folder of the files, which are drawn if they are not there.

    n_skies : int
        Number of skies, rounded up to thousands.

    seed : int
        Seed.

    kind : {'nuisances', 'tiers'}, optional
        Skies with nuisances, or those of the plain tiers.

    progress_bar : bool, optional
        Show a progress bar while they are drawn.
    """

    folder: Path
    n_skies: int
    seed: int
    kind: str = 'nuisances'
    progress_bar: bool = False

    def __post_init__(self):
        from tqdm import tqdm

        paths = [draw_part(self.folder, number, self.seed, kind=self.kind)
                 for number in tqdm(range(-(-self.n_skies // _PART)),
                                    disable=not self.progress_bar,
                                    desc='skies')]
        self._expected = [np.load(path, mmap_mode='r') for path in paths]
        self._parameters = np.concatenate([
            np.load(path.with_suffix('.parameters.npy')) for path in paths])

    def __len__(self):
        return len(self._parameters)

    def skies(self, rows):
        """
        Read skies.

        Parameters
        ----------
        rows : 1D `~numpy.ndarray`
            Numbers of the skies.

        Returns
        -------
        expected : `torch.Tensor`
            Counts at exposure 1, shape (n, 64, 64).

        parameters : `torch.Tensor`
            Shape (n, 6).

        nuisances : `torch.Tensor`
            Shares of nuisances, shape (n, 6).
        """
        expected = np.stack([self._expected[row // _PART][row % _PART]
                             for row in rows]).astype(np.float32)
        parameters = torch.from_numpy(self._parameters[rows])
        return (torch.from_numpy(expected),
                *parameters.split([6, len(NUISANCE_NAMES)], 1))
