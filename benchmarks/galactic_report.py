# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Models, images and rows of the benchmark of the Galactic Center.
"""

from pathlib import Path

import numpy as np

from astro_denoise import list_models, load_model
from astro_denoise.simulation.galactic_center import GalacticCenterSimulator

# No training and no test draws images from these seeds.
SEED = 20150212_88

MISSING = 'not trained'


class Models:
    """
    The models that there are.

    Parameters
    ----------
    folders : list of str
        Where else weights may be.
    """

    def __init__(self, folders):
        self._folders = [Path(folder) for folder in folders]

    def find(self, name, task):
        """The model, or `None`."""
        for folder in self._folders:
            for stem in (f'{name}.{task}', name):
                path = folder / f'{stem}.safetensors'
                if path.exists():
                    return load_model(path, task=task)
        if name in list_models(task=task):
            return load_model(name, task=task)
        return None


class Report:
    """Rows that are printed and kept."""

    def __init__(self):
        self.rows = []

    def title(self, text, *columns):
        """A heading, with the names of the columns."""
        print(f'\n{text}\n' + '-' * len(text), flush=True)
        if columns:
            self.line('', *columns)

    def line(self, name, *cells, width=13):
        """A line of the table."""
        texts = [cell if isinstance(cell, str) else
                 '-' if cell is None else f'{cell:.4f}' for cell in cells]
        print(f'{name:26s}' + ''.join(f'{text:>{width}s}'
                                      for text in texts), flush=True)

    def keep(self, section, name, **numbers):
        """Numbers for the output file."""
        self.rows.append({'section': section, 'row': name, **{
            key: (float(value) if isinstance(value, float | np.floating)
                  else value) for key, value in numbers.items()}})


def draw(n, seed, **options):
    """Images with everything about them, from the ``legacy`` tier."""
    import torch

    simulator = GalacticCenterSimulator('legacy', **options)
    parts = [simulator.draw(min(128, n - start), [seed, start])
             for start in range(0, n, 128)]
    drawn = {name: torch.cat([part[name] for part in parts]).numpy()
             for name in ('images', 'parameters', 'sources', 'expected')}
    drawn['flux'] = drawn.pop('sources').sum(1)
    table = dict(zip(simulator.parameter_names, drawn['parameters'].T,
                     strict=True))
    table['n_ps_total'] = table['n_ps_gc'] + table['n_ps_disk']
    return {**drawn, 'table': table}


def mean(values):
    """The mean, or `None` of nothing."""
    return None if values is None else float(np.mean(values))


def save(folder, name, figure):
    """Write a figure."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f'{name.replace(" ", "_")}.png', dpi=110)
