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

# Cells without a value, bold ones too.
_NOTHING = {'-', 'nan', 'nan ± nan', '**nan**', '**nan ± nan**', '**-**'}

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
            # A lone sign would begin a list.
            lines += [f'   {"-" if number else "* -":>3} '
                      f'{"–" if cell in _NOTHING else cell}'
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
            first = find_line(self, self.options['start'], lines, 0)
        if 'stop' in self.options:
            last = find_line(self, self.options['stop'], lines, first + 1)
        text = '\n'.join(lines[first:last]).rstrip()
        depth = self.env.docname.count('/') + 1
        source = f'{"../" * depth}benchmarks/results/{self.arguments[0]}'
        return [*self.parse_text_to_nodes(
            f'``{command}`` printed (:download:`as a file <{source}>`):'),
            nodes.literal_block(text, text, language='none',
                                classes=['results-output'])]


class ResultsTable(_ResultsDirective):
    """
    A table of what a benchmark printed, with the output as a download.

    The content is the caption: what is in the columns, and their units.
    The options say where in the file the rows are (``start`` and ``stop``,
    as for ``results``; the first line is that of the heads), and

    ``command``
        The command that prints them.
    ``width``
        Number of characters of the labels of the rows.
    ``heads``
        Heads of the columns, separated by ``|``, that of the label first.
    ``columns``
        Which cells after the label are shown: numbers from 0 on.
    ``rows``
        A regular expression that the labels of shown rows match.
    ``rename``
        Other labels, as in ``raw: the frame | ccd: denoise(frame)``; their
        order is that of the rows, and others are left out.
    ``ours``
        A regular expression for the labels of rows in bold letters.
    ``pivot``
        Rows without a label belong to that above. Of these rows, the
        number of the cell that names them (S/N, for instance) and of the
        one that is shown: a column for each. In rows with a label they are
        ``shift`` cells further on.
    """

    has_content = True
    option_spec = dict.fromkeys(
        ('command', 'start', 'stop', 'width', 'heads', 'columns', 'rows',
         'rename', 'ours', 'pivot', 'shift'), directives.unchanged_required)

    def run(self):
        lines = self.lines()
        command = self.options['command']
        if not lines:
            return self.parse_text_to_nodes(
                f'*The table is not part of this build:* ``{command}`` '
                f'*prints it.*')
        groups = self.groups(lines)
        names = self.renamed()
        pattern = self.options.get('rows', '')
        labels = [label for label in (names or groups)
                  if label in groups and re.search(pattern, label)]
        ours = self.options.get('ours', '(?!)')
        heads = [head.strip() for head in self.options['heads'].split('|')]
        columns = list(map(int, self.options['columns'].split()))
        rows = []
        for label in labels:
            cells = [names.get(label, label)]
            cells += [groups[label][0][number] for number in columns]
            cells += self.pivoted(groups[label])
            if re.search(ours, label):
                cells = [f'**{cell}**' if '`' not in cell else cell
                         for cell in cells]
            rows.append(cells)
        if rows and len({len(row) for row in (heads, *rows)}) > 1:
            msg = (f'{self.arguments[0]}: {len(heads)} heads for rows of '
                   f'{sorted({len(row) for row in rows})} cells')
            raise self.error(msg)
        caption = '\n'.join(self.content)
        name = self.arguments[0]
        depth = self.env.docname.count('/') + 1
        source = f'{"../" * depth}benchmarks/results/{name}'
        return [*self.parse_text_to_nodes(
            f'{caption} (``{command}``; :download:`raw output <{source}>`)'),
            *self.table(heads, rows)]

    def groups(self, lines):
        """The cells of the rows of each label, in their order."""
        first, last = 0, len(lines)
        if 'start' in self.options:
            first = find_line(self, self.options['start'], lines, 0)
        if 'stop' in self.options:
            last = find_line(self, self.options['stop'], lines, first + 1)
        groups, label = {}, None
        for line in lines[first + 1:last]:
            if not line.strip() or line.startswith('#'):
                continue
            found, cells = split_row(line, int(self.options['width']))
            if found:
                label = found
                groups.setdefault(label, [])
            if label is not None and cells:
                groups[label].append(cells)
        return {label: rows for label, rows in groups.items() if rows}

    def renamed(self):
        """New labels by the old ones."""
        names = {}
        for part in filter(None, self.options.get('rename', '').split('|')):
            old, _, new = part.partition(':')
            names[old.strip()] = new.strip()
        return names

    def pivoted(self, rows):
        """The cells of the rows that are a column each."""
        if 'pivot' not in self.options:
            return []
        value = int(self.options['pivot'])
        shift = int(self.options.get('shift', 0))
        return [rows[0][value + shift], *(row[value] for row in rows[1:])]


def split_row(line, width):
    """
    Split a line of a benchmark into a label and cells.

    Parameters
    ----------
    line : str
        The line.

    width : int
        Number of characters of the label.

    Returns
    -------
    label : str
        Empty if the line begins with blanks.

    cells : list of str
        The others, between blanks; a value and its error are one.
    """
    return (' '.join(line[:width].split()),
            re.findall(r'\S+ ± \S+|cannot tell|\S+', line[width:]))


def find_line(directive, pattern, lines, first):
    """The first line that matches; an error that names the file if none."""
    for number in range(first, len(lines)):
        if re.search(pattern, lines[number]):
            return number
    msg = f'no line of {directive.arguments[0]} matches {pattern!r}'
    raise directive.error(msg)


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


def setup(app):
    """Called by Sphinx."""
    app.add_directive('results-table', ResultsTable)
    app.add_directive('results', Results)
    app.add_directive('response-table', ResponseTable)
    app.add_directive('check-table', CheckTable)
    return {'version': '1', 'parallel_read_safe': True}
