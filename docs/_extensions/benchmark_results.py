# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Directives that show what the benchmarks printed.

Figures of the documentation come from the files of
``benchmarks/results``: none is typed by hand. A file that is not there
is no error: the page then names the command that prints it.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

# Value and error in the lines of denoise_quality.txt, from S/N on.
_COLUMNS = {'response': slice(4, 6), 'scatter': slice(11, 13)}

_RESULTS = Path(__file__).parents[2] / 'benchmarks' / 'results'


class _ResultsDirective(SphinxDirective):
    """What all of them share."""

    required_arguments = 1

    def lines(self):
        """The lines of the file; none if there is no such file."""
        path = _RESULTS / self.arguments[0]
        self.env.note_dependency(str(path))
        return path.read_text().splitlines() if path.exists() else []

    def table(self, header, rows):
        """A table of cells that are reStructuredText."""
        if not rows:
            msg = f'{self.arguments[0]} has no rows of the expected form'
            raise self.error(msg)
        lines = ['.. list-table::', '   :header-rows: 1',
                 '   :widths: auto', '']
        for row in (header, *rows):
            lines += [f'   {"-" if number else "* -":>3} {cell}'
                      for number, cell in enumerate(row)]
        return self.parse_text_to_nodes('\n'.join(lines))


class Results(_ResultsDirective):
    """
    What a benchmark printed, and the command that prints it.

    The options ``start`` and ``stop`` are regular expressions: the lines
    from the first that matches on, and up to the next that does.
    """

    option_spec = {  # noqa: RUF012
        'command': directives.unchanged_required,
        'start': directives.unchanged_required,
        'stop': directives.unchanged_required,
    }

    def run(self):
        command = self.options['command']
        lines = self.lines()
        if not lines:
            return self.parse_text_to_nodes(
                f'*The table is not part of this build:* ``{command}`` '
                f'*prints it.*')
        first, last = 0, len(lines)
        if 'start' in self.options:
            first = self.find(self.options['start'], lines, 0)
        if 'stop' in self.options:
            last = self.find(self.options['stop'], lines, first + 1)
        text = '\n'.join(lines[first:last]).rstrip()
        return [*self.parse_text_to_nodes(f'``{command}`` printed:'),
                nodes.literal_block(text, text, language='none',
                                    classes=['results-output'])]

    def find(self, pattern, lines, first):
        """The first line that matches."""
        for number in range(first, len(lines)):
            if re.search(pattern, lines[number]):
                return number
        msg = f'no line of {self.arguments[0]} matches {pattern!r}'
        raise self.error(msg)


class ResponseTable(_ResultsDirective):
    """
    A readable extract of ``denoise_quality.txt``.

    For each method the error per pixel, and for each bin of
    signal-to-noise ratio the ``response``, or the ``scatter`` over the
    floor.
    """

    option_spec = {  # noqa: RUF012
        'show': lambda text: directives.choice(text, list(_COLUMNS)),
    }

    def run(self):
        column = _COLUMNS[self.options['show']]
        methods = {}
        for line in self.lines():
            values = line[22:].replace('±', ' ').split()
            if not all(re.fullmatch(r'-?[\d.]+', value) for value in values):
                continue
            if len(values) == 17:  # the first bin of a method
                rms, *values = values[:1] + values[4:]
                name = line[:22].strip()
                methods[name] = {'rms': rms, 'bins': {}}
            if len(values) == 13 and methods:
                methods[name]['bins'][values[0]] = values
        bins = list(next(iter(methods.values()), {'bins': {}})['bins'])
        header = ['method', 'error per pixel',
                  *(f'S/N {name}' for name in bins)]
        rows = [[f'``{name}``', found['rms'],
                 *(' ± '.join(found['bins'][key][column]) for key in bins)]
                for name, found in methods.items()]
        return self.table(header, rows)


class CheckTable(_ResultsDirective):
    """
    One bin of ``repeatability.txt``, a row for each method.

    The option ``bin`` names the bin, ``published`` is the scatter that
    Chen and Eriksen state for it.
    """

    option_spec = {  # noqa: RUF012
        'bin': directives.unchanged_required,
        'published': directives.unchanged_required,
    }

    def run(self):
        rows = [['Chen & Eriksen', self.options['published'],
                 *'–––––']]
        name = None
        for line in self.lines():
            if re.fullmatch(r'[a-z][\w-]*', line.strip()):
                name = line.strip()
            elif line.split()[:1] == [self.options['bin']]:
                left, _, verdict = line.partition('|')
                (_, _, sigma68, _, _, response, _, corrected, ratio,
                 floor) = left.split()[:10]
                verdict = re.split(r'\s{2,}', verdict.strip(), maxsplit=1)
                rows.append([f'``{name}``', sigma68, response, corrected,
                             ratio, floor, verdict[-1].split('  ')[-1]])
        header = ['fluxes', 'sigma68', 'response R', 'sigma68/R',
                  'flux ratio', 'floor', 'verdict']
        return self.table(header, rows)


class GuidedTable(_ResultsDirective):
    """
    The first scenes of ``guided.txt``: noise of pixels and flux kept.
    """

    _NAMES = {  # noqa: RUF012
        'raw': 'the frame as it is', 'Gaussian': 'Gaussian filter',
        'ccd': '``denoise(frame)``',
        'blend': '``denoise(frame, catalog=sources)``',
        'model': "``denoise(frame, catalog=sources, guide='model', "
                 "psf=psf)``",
        'ccd-mmse': "``denoise(frame, 'ccd-mmse')``"}

    def run(self):
        lines = self.lines()
        if not lines:
            return []
        bins = re.findall(r'S/N [\d.]+-[\d.]+', '\n'.join(lines[:4]))
        found = {}
        for line in lines:
            name, *values = line.split() or ['']
            if name in self._NAMES and name not in found:
                found[name] = [values[0]] + [
                    value for value in values[4::3] if value != '-']
        n_bins = max(map(len, found.values())) - 1
        header = ['', 'error per pixel',
                  *(f'flux kept, {name}' for name in bins[:n_bins])]
        return self.table(header, [[self._NAMES[name], *found[name]]
                                   for name in self._NAMES if name in found])


def setup(app):
    """Called by Sphinx."""
    app.add_directive('guided-table', GuidedTable)
    app.add_directive('results', Results)
    app.add_directive('response-table', ResponseTable)
    app.add_directive('check-table', CheckTable)
    return {'version': '1', 'parallel_read_safe': True}
