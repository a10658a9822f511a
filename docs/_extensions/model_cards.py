# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The directive ``model-cards``: the cards of all shipped models.

The cards are read from the package, and what the registry knows (task,
hash, size of the file, license, number of parameters) from the models
themselves: the page shows what ships.
"""

import json
import re
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

import astro_denoise
from astro_denoise import load_model
from astro_denoise.exceptions import WeightsError

_WEIGHTS = Path(astro_denoise.__file__).parent / 'models' / 'weights'


def _restructured(markdown):
    """The few signs of Markdown that the cards use, in reStructuredText."""
    text = re.sub(r'`([^`]+)`', r'``\1``', markdown)
    return text.replace('\n- ', '\n\n- ')


def _facts(path):
    """What the registry knows of a model."""
    stem = path.stem
    name, _, task = stem.partition('.')
    model = load_model(name, task=task or None)
    weights = path.with_suffix('.safetensors')
    n_parameters = sum(parameter.numel()
                       for parameter in model.network.parameters())
    facts = {
        'Name': f'``{name}``',
        'For': f'``{_VERBS[model.task]}``',
        'Parameters': f'{n_parameters:,}',
        'File': f'``{weights.name}``, {weights.stat().st_size / 1e6:.1f} MB',
        'SHA-256': f'``{model.hash}``',
        'License': model.metadata.get('licence', 'BSD-3-Clause'),
    }
    command = (model.metadata.get('training') or {}).get('command')
    if command:
        facts['Training'] = f'``{command} -o FILE.safetensors``'
    figures = model.metadata.get('figures') or {}
    if figures:
        facts['Held-out figures'] = ', '.join(_figures(figures))
    log = path.with_suffix('.ecsv')
    if log.exists():
        facts['Log of the training'] = f'``{log.name}``'
    return facts


def _figures(figures):
    """Figures in words, those of parameters one by one."""
    for name, value in figures.items():
        if isinstance(value, dict):
            parts = ', '.join(f'``{key}`` {part:.4g}'
                              for key, part in value.items())
            yield f'{name}: {parts}'
        else:
            yield f'{name} {value:.4g}'


_VERBS = {'denoise': 'denoise', 'segment': 'segment_point_sources',
          'estimate': 'estimate_parameters'}


class ModelCards(SphinxDirective):
    """A section for each shipped model."""

    def run(self):
        names = json.loads((_WEIGHTS / 'hashes.json').read_text())
        lines = []
        for name in names:
            path = _WEIGHTS / f'{name}.md'
            self.env.note_dependency(str(path))
            title, _, body = path.read_text().partition('\n')
            title = title.removeprefix('# ').strip()
            lines += [title, '-' * len(title), '', _restructured(body), '']
            lines += ['.. list-table::', '   :widths: auto', '']
            try:
                facts = _facts(path)
            except WeightsError as error:
                raise self.error(str(error)) from error
            for key, value in facts.items():
                lines += [f'   * - {key}', f'     - {value}']
            lines.append('')
        return self.parse_text_to_nodes('\n'.join(lines),
                                        allow_section_headings=True)


def setup(app):
    """Called by Sphinx."""
    app.add_directive('model-cards', ModelCards)
    return {'version': '1', 'parallel_read_safe': True}
